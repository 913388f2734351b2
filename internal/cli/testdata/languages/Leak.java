import java.nio.channels.SocketChannel;
import java.util.ArrayList;

// Leaks COUNT sockets, PAUSE ms apart, and ends.
public class Leak {
    static final ArrayList<SocketChannel> kept = new ArrayList<>();

    static void leakHere() throws Exception {
        kept.add(SocketChannel.open()); // LEAK
    }

    public static void main(String[] args) throws Exception {
        for (int i = 0; i < Integer.parseInt(args[0]); i++) {
            leakHere();
            Thread.sleep(Integer.parseInt(args[1]));
        }
        Runtime.getRuntime().halt(0);
    }
}
