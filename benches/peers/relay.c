// The floor under a round trip: what comes on one connection goes out on the other, unread. It knows no ZMTP, waits for
// one client and one back-end, and starts anew when either leaves. No broker of one thread and one event loop can answer
// one client sooner than this; what a broker takes beyond it is its own. It tells the two endpoints that it bound, then
// serves until it is killed.
#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail_in_system(const char *cannot) {
    fprintf(stderr, "cannot %s: %m\n", cannot);
    exit(1);
}

static int bound(const char *side) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (void *)&address, length) < 0 || listen(listener, 16) < 0 ||
        getsockname(listener, (void *)&address, &length) < 0)
        fail_in_system("listen");
    printf("%s tcp://127.0.0.1:%d\n", side, ntohs(address.sin_port));
    return listener;
}

static int accepted(int listener) {
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;
    if (connection < 0 || setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        fail_in_system("accept");
    return connection;
}

// False when either side has left. A short read has emptied the socket: a change after it is a new event.
static bool copied(int from, int to) {
    static char buffer[65536];
    ssize_t bytes;
    do {
        bytes = recv(from, buffer, sizeof buffer, 0);
        if (bytes < 0 && errno == EAGAIN)
            return true;
        if (bytes <= 0 || send(to, buffer, (size_t)bytes, MSG_NOSIGNAL) != bytes)
            return false;
    } while (bytes == sizeof buffer);
    return true;
}

static void relay(int client, int back_end) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int pair[] = {client, back_end};
    for (int index = 0; index < 2; index++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = (uint32_t)index};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, pair[index], &event) < 0)
            fail_in_system("watch a connection");
    }
    for (bool both = true; both;) {
        struct epoll_event ready[2];
        int count = epoll_wait(epoll, ready, 2, -1);
        for (int index = 0; index < count; index++)
            both &= copied(pair[ready[index].data.u32], pair[1 - ready[index].data.u32]);
    }
    close(epoll);
}

int main(void) {
    die_with_parent();
    int front = bound("front"), back = bound("back");
    fflush(stdout);
    for (;;) {
        int client = accepted(front), back_end = accepted(back);
        relay(client, back_end);
        close(client);
        close(back_end);
    }
}
