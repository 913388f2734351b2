import java.nio.channels.DatagramChannel;

public class Sock {
    static DatagramChannel open() throws Exception {
        return DatagramChannel.open(); // SOCKET
    }

    static void serve(int fast) throws Exception {
        for (int i = 0; ; i++) {
            open().close();
            if (i >= fast)
                Thread.sleep(100);
        }
    }

    // The argument is how many to make without a pause: enough of them and the
    // methods are compiled.
    public static void main(String[] args) throws Exception {
        serve(args.length > 0 ? Integer.parseInt(args[0]) : 0);
    }
}
