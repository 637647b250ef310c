// The bench's back-end: a REP that returns each request as it came, so that a client can tell whose reply it got.
//
//     echo ENDPOINT
#include "peer.h"

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: echo ENDPOINT\n");
        return 2;
    }
    die_with_parent();
    void *socket = zmq_socket(zmq_ctx_new(), ZMQ_REP);
    if (!socket || zmq_connect(socket, argv[1]) < 0)
        fail("connect");
    for (;;) {
        zmq_msg_t body;
        zmq_msg_init(&body);
        if (zmq_msg_recv(&body, socket, 0) < 0)
            fail("receive a request");
        if (zmq_msg_send(&body, socket, zmq_msg_more(&body) ? ZMQ_SNDMORE : 0) < 0)
            fail("send a reply");
    }
}
