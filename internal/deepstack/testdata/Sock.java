import java.net.Socket;
import java.nio.channels.DatagramChannel;

public class Sock {
    static DatagramChannel open() throws Exception {
        return DatagramChannel.open(); // SOCKET
    }

    static void serve() throws Exception {
        while (true) {
            open().close();
            Thread.sleep(100);
        }
    }

    public static void main(String[] args) throws Exception {
        serve();
    }
}
