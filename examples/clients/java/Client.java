import org.zeromq.ZMQ;

/**
 * The Hello, World client in Java (JeroMQ): five requests, five replies.
 *
 * <pre>
 * java -cp /usr/share/java/jeromq.jar Client.java [ENDPOINT]        default tcp://127.0.0.1:5555
 * </pre>
 *
 * A DEALER has all five requests in flight at once; a REQ would have to wait for each reply. The empty frame before the
 * body is the delimiter that a REQ adds by itself and that a REP expects. Replies may come in any order when several
 * back-ends serve, so they are counted as they arrive.
 */
public final class Client {
    private static final int REQUESTS = 5;
    private static final int REPLY_MS_MAX = 5000;

    public static void main(String[] arguments) {
        String endpoint = arguments.length > 0 ? arguments[0] : "tcp://127.0.0.1:5555";
        if (endpoint.equals("-h") || endpoint.equals("--help")) {
            System.out.println("usage: Client.java [ENDPOINT]        default tcp://127.0.0.1:5555");
            return;
        }
        ZMQ.Context context = ZMQ.context(1);
        ZMQ.Socket socket = context.socket(ZMQ.DEALER);
        socket.setReceiveTimeOut(REPLY_MS_MAX);
        // After the last reply, or after a failure, nothing unsent is worth waiting for.
        socket.setLinger(0);
        try {
            talk(socket, endpoint);
        } catch (IllegalStateException silence) {
            fail(
                silence.getMessage() + " from " + endpoint,
                "is the bus running, with a back-end? scripts/run starts both"
            );
        } catch (RuntimeException error) {
            fail(endpoint + ": " + error.getMessage(), "an endpoint looks like tcp://127.0.0.1:5555");
        }
        socket.close();
        context.term();
    }

    private static void talk(ZMQ.Socket socket, String endpoint) {
        System.out.println("Connecting to server...");
        socket.connect(endpoint);
        for (int number = 1; number <= REQUESTS; number++) {
            System.out.println("Sending request " + number + "...");
            socket.send("", ZMQ.SNDMORE);
            socket.send("Hello", 0);
        }
        for (int number = 1; number <= REQUESTS; number++) {
            System.out.println("Received reply " + number + ": " + body(socket));
        }
    }

    /** One whole message's last frame: the body behind the delimiter. */
    private static String body(ZMQ.Socket socket) {
        String frame;
        do {
            frame = socket.recvStr(0);
            if (frame == null) {
                throw new IllegalStateException("no answer within " + REPLY_MS_MAX / 1000 + " s");
            }
        } while (socket.hasReceiveMore());
        return frame;
    }

    private static void fail(String why, String hint) {
        System.err.println("cannot get five replies: " + why);
        System.err.println("hint: " + hint);
        System.exit(1);
    }
}
