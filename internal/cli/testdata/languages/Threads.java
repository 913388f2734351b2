import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

// Leaks COUNT sockets on the threads of an executor and COUNT on a thread with a
// name of its own, PAUSE ms apart, and ends.
public class Threads {
    static final List<SocketChannel> kept = Collections.synchronizedList(new ArrayList<>());

    static void leakInPool() {
        try {
            kept.add(SocketChannel.open()); // POOL
        } catch (Exception e) {
            throw new RuntimeException(e);
        }
    }

    static void leakInThread(int count, int pause) {
        try {
            for (int i = 0; i < count; i++) {
                kept.add(SocketChannel.open()); // THREAD
                Thread.sleep(pause);
            }
        } catch (Exception e) {
            throw new RuntimeException(e);
        }
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[0]), pause = Integer.parseInt(args[1]);
        ExecutorService pool = Executors.newFixedThreadPool(4);
        Thread thread = new Thread(() -> leakInThread(count, pause), "heartbeat");
        thread.start();
        for (int i = 0; i < count; i++) {
            pool.submit(Threads::leakInPool).get();
            Thread.sleep(pause);
        }
        thread.join();
        Runtime.getRuntime().halt(0);
    }
}
