import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.util.ArrayList;
import java.util.List;

/**
 * Asks a service for its status every second, with HttpURLConnection.
 *
 * Forgets: to read the body or to disconnect; the connections are kept, in a
 * history of the last checks that nobody trims.
 * The healthy twin reads to the end and closes, so that the connection is used
 * again. As every JVM, it has half a socketpair in addition.
 *
 *   java UrlBodies leak|ok ADDRESS
 */
class UrlBodies {
    static HttpURLConnection check(URL url) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) url.openConnection();
        if (connection.getResponseCode() != 200) // LEAK
            throw new IOException("status " + connection.getResponseCode());
        return connection;
    }

    static void endWithInput() {
        try (InputStream in = System.in) {
            in.transferTo(java.io.OutputStream.nullOutputStream());
        } catch (IOException e) {
            // ends all the same
        }
        Runtime.getRuntime().halt(0);
    }

    public static void main(String[] args) throws Exception {
        boolean forgets = args[0].equals("leak");
        new Thread(UrlBodies::endWithInput).start();
        URL url = new URL("http://" + args[1] + "/large");
        List<HttpURLConnection> history = new ArrayList<>();
        System.out.println("peer " + args[1] + "\nready");
        for (;;) {
            HttpURLConnection connection = check(url);
            if (forgets) {
                history.add(connection);
                System.out.println("leaked " + history.size());
            } else {
                try (InputStream body = connection.getInputStream()) {
                    body.readAllBytes();
                }
            }
            Thread.sleep(1000);
        }
    }
}
