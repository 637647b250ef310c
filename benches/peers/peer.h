// What the bench's peers share. Each ends with a sentence when something is wrong, and never outlives the bench.
#ifndef PEER_H
#define PEER_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <zmq.h>

static inline void fail(const char *cannot) {
    fprintf(stderr, "cannot %s: %s\n", cannot, zmq_strerror(errno));
    exit(1);
}

// Even a bench that is killed leaves no peer behind.
static inline void die_with_parent(void) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        fail("follow the parent");
}

#endif
