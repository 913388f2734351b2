import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;

/**
 * A client of java.nio asks a question every second.
 *
 * Forgets: to close the channel when the answer is there. It cancels the key,
 * which only takes the channel out of the selector. With "keep" the server
 * waits for the next question, with "gone" it closes its side.
 * The healthy twin closes the channel.
 *
 *   java NioChannels leak|ok keep|gone ADDRESS
 */
class NioChannels {
    static SocketChannel connect(Selector selector, InetSocketAddress server) throws IOException {
        SocketChannel channel = SocketChannel.open(); // LEAK
        channel.configureBlocking(false);
        channel.connect(server);
        channel.register(selector, SelectionKey.OP_CONNECT);
        return channel;
    }

    /** Waits until the channel is ready for what it is registered for. */
    static SelectionKey next(Selector selector) throws IOException {
        selector.select();
        SelectionKey key = selector.selectedKeys().iterator().next();
        selector.selectedKeys().clear();
        return key;
    }

    static void ask(Selector selector, SocketChannel channel, byte[] question) throws IOException {
        SelectionKey key = next(selector);
        channel.finishConnect();
        channel.write(ByteBuffer.wrap(question));
        key.interestOps(SelectionKey.OP_READ);
        next(selector);
        channel.read(ByteBuffer.allocate(64));
        key.cancel();
        selector.selectNow(); // carries the cancellation out
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
        byte[] question = (args[1].equals("gone") ? "bye\n" : "ping\n").getBytes();
        String[] server = args[2].split(":");
        new Thread(NioChannels::endWithInput).start();
        List<SocketChannel> kept = new ArrayList<>();
        System.out.println("peer " + args[2] + "\nready");
        try (Selector selector = Selector.open()) {
            for (;; Thread.sleep(1000)) {
                SocketChannel channel = connect(selector, new InetSocketAddress(server[0], Integer.parseInt(server[1])));
                ask(selector, channel, question);
                if (forgets) {
                    kept.add(channel);
                    System.out.println("leaked " + kept.size());
                } else {
                    channel.close();
                }
            }
        }
    }
}
