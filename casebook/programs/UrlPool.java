import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;

/**
 * Healthy: HttpURLConnection keeps up to five connections for each host alive
 * and uses them again. With "busy" six threads ask all the time; with "idle"
 * they ask for two seconds of every 45. The first of these threads also holds a
 * plain connection that waits for a message (java.net.Socket, blocked in read).
 *
 *   java UrlPool idle|busy HTTP LINES
 */
class UrlPool {
    static void get(URL url) {
        try {
            HttpURLConnection connection = (HttpURLConnection) url.openConnection();
            try (InputStream body = connection.getInputStream()) {
                body.readAllBytes();
            }
            Thread.sleep(20);
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException("ask the service", e);
        }
    }

    static void ask(URL url, boolean busy) {
        for (;;) {
            for (int n = 0; n < 100; n++)
                get(url);
            if (!busy)
                sleep(43_000);
        }
    }

    static void subscribe(String address) {
        String[] server = address.split(":");
        try (java.net.Socket socket = new java.net.Socket(server[0], Integer.parseInt(server[1]))) {
            socket.getInputStream().read();
        } catch (IOException e) {
            throw new IllegalStateException("wait for a message", e);
        }
    }

    static void sleep(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void endWithInput() {
        try (InputStream in = System.in) {
            in.transferTo(OutputStream.nullOutputStream());
        } catch (IOException e) {
            // ends all the same
        }
        Runtime.getRuntime().halt(0);
    }

    public static void main(String[] args) throws Exception {
        new Thread(UrlPool::endWithInput).start();
        URL url = new URL("http://" + args[1] + "/small");
        new Thread(() -> subscribe(args[2])).start();
        for (int n = 0; n < 6; n++)
            new Thread(() -> ask(url, args[0].equals("busy"))).start();
        System.out.println("ready");
    }
}
