// The Hello, World client in C (libzmq): five requests, five replies.
//
//     client [ENDPOINT]        default tcp://127.0.0.1:5555
//
// A DEALER has all five requests in flight at once; a REQ would have to wait for each reply. The empty frame before
// the body is the delimiter that a REQ adds by itself and that a REP expects. Replies may come in any order when
// several back-ends serve, so they are counted as they arrive.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define REQUESTS 5
#define REPLY_MS_MAX 5000

static const char *endpoint = "tcp://127.0.0.1:5555";

static void fail(const char *cannot) {
    if (errno == EAGAIN) {
        fprintf(stderr, "cannot %s: no answer from %s within %d s\n", cannot, endpoint, REPLY_MS_MAX / 1000);
        fprintf(stderr, "hint: is the bus running, with a back-end? scripts/run starts both\n");
    } else {
        fprintf(stderr, "cannot %s: %s: %s\n", cannot, endpoint, zmq_strerror(errno));
        fprintf(stderr, "hint: an endpoint looks like tcp://127.0.0.1:5555\n");
    }
    exit(1);
}

// Receives one whole message and prints its last frame: the body behind the delimiter.
static void print_reply(void *socket, int number) {
    int more;
    do {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, socket, 0) < 0)
            fail("receive a reply");
        more = zmq_msg_more(&frame);
        if (!more)
            printf("Received reply %d: %.*s\n", number, (int)zmq_msg_size(&frame), (char *)zmq_msg_data(&frame));
        zmq_msg_close(&frame);
    } while (more);
}

int main(int argc, char **argv) {
    if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
        printf("usage: client [ENDPOINT]        default %s\n", endpoint);
        return 0;
    }
    if (argc > 1)
        endpoint = argv[1];
    // Lines appear as they are printed, to a pipe too.
    setvbuf(stdout, NULL, _IOLBF, 0);

    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_DEALER);
    int timeout_ms = REPLY_MS_MAX, linger_ms = 0;
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    // After the last reply, or after a failure, nothing unsent is worth waiting for.
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);

    printf("Connecting to server...\n");
    if (zmq_connect(socket, endpoint) < 0)
        fail("connect");

    for (int number = 1; number <= REQUESTS; number++) {
        printf("Sending request %d...\n", number);
        if (zmq_send(socket, "", 0, ZMQ_SNDMORE) < 0 || zmq_send(socket, "Hello", 5, 0) < 0)
            fail("send a request");
    }
    for (int number = 1; number <= REQUESTS; number++)
        print_reply(socket, number);

    zmq_close(socket);
    zmq_ctx_term(context);
    return 0;
}
