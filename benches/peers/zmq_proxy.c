// The peer that Torus is measured against: libzmq's own request broker, a ROUTER and a DEALER joined by zmq_proxy(),
// everything at its default. It tells the two endpoints that it bound, then serves until it is killed.
#include "peer.h"

static void *bound(void *context, int type, const char *side) {
    void *socket = zmq_socket(context, type);
    if (!socket || zmq_bind(socket, "tcp://127.0.0.1:*") < 0)
        fail("bind");
    char endpoint[256];
    size_t length = sizeof endpoint;
    zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &length);
    printf("%s %s\n", side, endpoint);
    return socket;
}

int main(void) {
    die_with_parent();
    void *context = zmq_ctx_new();
    void *front = bound(context, ZMQ_ROUTER, "front");
    void *back = bound(context, ZMQ_DEALER, "back");
    fflush(stdout);
    zmq_proxy(front, back, NULL);
    fail("go on forwarding");
}
