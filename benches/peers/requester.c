// The bench's load: CLIENTS sockets of type REQ in one process, each with one request of 64 bytes in flight.
//
//     requester ENDPOINT CLIENTS WARMUP_MS MEASURE_MS IO_THREADS
//
// Each request carries a number that no other request has, and its reply must be the same 64 bytes. After the warm-up
// every round trip is timed; when the time is over no request is sent any more, and what is in flight gets
// `SILENCE_MS_MAX` to come home. One line of JSON tells the outcome. Then the sockets stay connected, quiet, until
// standard input ends: so the broker can be watched at rest.
//
// It waits in epoll on the sockets' own descriptors, not in zmq_poll, which asks all sockets each time and would be
// the bottleneck with 64 of them. libzmq's descriptor tells of changes only, so that a socket is received from until
// it has nothing left.
#include "peer.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define BODY_BYTES 64
#define CLIENTS_MAX 1024
#define SILENCE_MS_MAX 2000
// Round trips that are timed at most: 256 MiB of samples. Beyond it the run is refused as too long.
#define SAMPLES_MAX (64u << 20)

struct client {
    void *socket;
    uint64_t sent_ns;
    unsigned char body[BODY_BYTES];
};

static struct client clients[CLIENTS_MAX];
static uint32_t *samples_ns;
static size_t samples, samples_capacity;
static uint64_t sent, replied, wrong, in_window;
static uint64_t measure_from_ns, measure_until_ns;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t number_or_usage(const char *text, uint64_t most) {
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (end == text || *end || number > most) {
        fprintf(stderr, "usage: requester ENDPOINT CLIENTS WARMUP_MS MEASURE_MS IO_THREADS\n");
        exit(2);
    }
    return number;
}

static void keep_sample(uint64_t took_ns) {
    if (samples == samples_capacity) {
        if (samples == SAMPLES_MAX) {
            fprintf(stderr, "cannot time more than %u round trips: measure for a shorter time\n", SAMPLES_MAX);
            exit(1);
        }
        samples_capacity = samples_capacity ? samples_capacity * 2 : 1u << 16;
        samples_ns = realloc(samples_ns, samples_capacity * sizeof *samples_ns);
        if (!samples_ns)
            fail("keep the round trips' times");
    }
    samples_ns[samples++] = took_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ns;
}

static void send_next(struct client *client, uint64_t now) {
    sent++;
    memcpy(client->body, &sent, sizeof sent);
    client->sent_ns = now;
    if (zmq_send(client->socket, client->body, BODY_BYTES, 0) < 0)
        fail("send a request");
}

// Takes what has come for one client, and sends its next request while there is time.
static void serve(struct client *client) {
    for (;;) {
        unsigned char body[BODY_BYTES];
        int bytes = zmq_recv(client->socket, body, BODY_BYTES, ZMQ_DONTWAIT);
        if (bytes < 0) {
            if (errno == EAGAIN)
                return;
            fail("receive a reply");
        }
        uint64_t now = now_ns();
        replied++;
        wrong += bytes != BODY_BYTES || memcmp(body, client->body, BODY_BYTES) != 0;
        in_window += now >= measure_from_ns && now < measure_until_ns;
        if (client->sent_ns >= measure_from_ns)
            keep_sample(now - client->sent_ns);
        // A REQ without a request has nothing to receive, and says so as an error.
        if (now >= measure_until_ns)
            return;
        send_next(client, now);
    }
}

static int compare(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double percentile_us(double fraction) {
    return samples ? samples_ns[(size_t)(fraction * (double)(samples - 1))] / 1000.0 : 0;
}

int main(int argc, char **argv) {
    die_with_parent();
    if (argc != 6)
        number_or_usage("", 0);
    size_t count = number_or_usage(argv[2], CLIENTS_MAX);
    uint64_t warmup_ms = number_or_usage(argv[3], 60000), measure_ms = number_or_usage(argv[4], 600000);

    void *context = zmq_ctx_new();
    zmq_ctx_set(context, ZMQ_IO_THREADS, (int)number_or_usage(argv[5], 16));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    measure_from_ns = now_ns() + warmup_ms * 1000000;
    measure_until_ns = measure_from_ns + measure_ms * 1000000;
    for (size_t index = 0; index < count; index++) {
        struct client *client = &clients[index];
        client->socket = zmq_socket(context, ZMQ_REQ);
        if (!client->socket || zmq_connect(client->socket, argv[1]) < 0)
            fail("connect");
        memset(client->body, 'a' + (int)(index % 26), BODY_BYTES);
        int descriptor, linger_ms = 0;
        size_t length = sizeof descriptor;
        zmq_setsockopt(client->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
        zmq_getsockopt(client->socket, ZMQ_FD, &descriptor, &length);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) < 0)
            fail("watch a socket");
        send_next(client, now_ns());
        // The send may have taken a change off the descriptor: ask once before waiting on it.
        serve(client);
    }

    uint64_t heard = replied, heard_ns = now_ns();
    while (replied < sent && now_ns() - heard_ns < SILENCE_MS_MAX * 1000000ull) {
        struct epoll_event ready[CLIENTS_MAX];
        int ready_count = epoll_wait(epoll, ready, CLIENTS_MAX, SILENCE_MS_MAX);
        for (int index = 0; index < ready_count; index++)
            serve(ready[index].data.ptr);
        if (replied != heard) {
            heard = replied;
            heard_ns = now_ns();
        }
    }

    qsort(samples_ns, samples, sizeof *samples_ns, compare);
    printf("{\"sent\": %" PRIu64 ", \"missing\": %" PRIu64 ", \"wrong\": %" PRIu64
           ", \"per_s\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n",
           sent, sent - replied, wrong, (double)in_window * 1000 / (double)measure_ms, percentile_us(.5),
           percentile_us(.99));
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return 0;
}
