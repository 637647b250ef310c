// The Hello, World back-end in C (libzmq): answers every request with "World".
//
//     server                       listens on tcp://*:5555, alone, without a bus
//     server --connect ENDPOINT    serves behind a bus: ENDPOINT is the bus's port for back-ends
//     server --bind ENDPOINT       listens elsewhere; port * takes any free one
//
// Run by the bus as a service it needs no argument: TORUS_REQUESTS_BACK tells the endpoint.
// SIGTERM and SIGINT end it with exit code 0.
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <zmq.h>

static void fail(const char *cannot, const char *where) {
    fprintf(stderr, "cannot %s %s: %s\n", cannot, where, zmq_strerror(errno));
    exit(1);
}

static void usage(FILE *to, int code) {
    fprintf(to, "usage: server [--connect ENDPOINT | --bind ENDPOINT]\n");
    exit(code);
}

// A descriptor that becomes readable when it is time to end. It is polled beside the socket: a signal handler could
// run just before a blocking receive, and be noticed only after the next request.
static int end_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int descriptor = signalfd(-1, &signals, SFD_CLOEXEC);
    if (descriptor < 0)
        fail("watch for", "signals");
    return descriptor;
}

static void connect_or_bind(void *socket, bool connects, const char *endpoint) {
    if (connects) {
        if (zmq_connect(socket, endpoint) < 0)
            fail("connect to", endpoint);
        printf("serving behind %s\n", endpoint);
        return;
    }
    if (zmq_bind(socket, endpoint) < 0) {
        bool taken = errno == EADDRINUSE;
        fprintf(stderr, "cannot listen on %s: %s\n", endpoint, zmq_strerror(errno));
        if (taken)
            fprintf(stderr, "hint: is a bus running? then --connect tcp://127.0.0.1:5556\n");
        exit(1);
    }
    char bound[256];
    size_t length = sizeof bound;
    zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &length);
    printf("listening on %s\n", bound);
}

// Takes one request, whatever it says and however many frames it has, and answers it.
static void answer(void *socket) {
    zmq_msg_t frame;
    int more;
    zmq_msg_init(&frame);
    do {
        if (zmq_msg_recv(&frame, socket, 0) < 0)
            fail("receive", "a request");
        more = zmq_msg_more(&frame);
    } while (more);
    zmq_msg_close(&frame);
    if (zmq_send(socket, "World", 5, 0) < 0)
        fail("send", "a reply");
}

int main(int argc, char **argv) {
    const char *bus = getenv("TORUS_REQUESTS_BACK");
    bool connects = bus != NULL;
    const char *endpoint = connects ? bus : "tcp://*:5555";
    if (argc == 3 && (strcmp(argv[1], "--connect") == 0 || strcmp(argv[1], "--bind") == 0)) {
        connects = strcmp(argv[1], "--connect") == 0;
        endpoint = argv[2];
    } else if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
        usage(stdout, 0);
    } else if (argc != 1) {
        usage(stderr, 2);
    }
    // The startup line is there when the server is, to a pipe too.
    setvbuf(stdout, NULL, _IOLBF, 0);

    // Before the context: its threads inherit the blocked signals.
    int end = end_signals();
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_REP);
    int linger_ms = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    connect_or_bind(socket, connects, endpoint);

    zmq_pollitem_t items[] = {{.socket = socket, .events = ZMQ_POLLIN}, {.fd = end, .events = ZMQ_POLLIN}};
    while (zmq_poll(items, 2, -1) >= 0 && !items[1].revents)
        if (items[0].revents)
            answer(socket);

    zmq_close(socket);
    zmq_ctx_term(context);
    return 0;
}
