"""Peers on libzmq for the tests of interop.rs: what the clients and back-ends of examples/ do not do.

    libzmq.py PEER ENDPOINT [ARGUMENT...]

Each peer is one of the functions below. It says on a line what it has done; where the test decides when to go on, it
waits for a line.
"""

import signal
import sys

import zmq

REPLY_MS_MAX = 20_000
LIFE_S_MAX = 60


def echo(endpoint):
    """A REP that returns what it is sent."""
    backend = socket(zmq.REP)
    backend.connect(endpoint)
    while True:
        backend.send_multipart(backend.recv_multipart())


def hold(endpoint):
    """A REP that takes a request and never answers it."""
    backend = socket(zmq.REP)
    backend.connect(endpoint)
    backend.recv_multipart()
    say("holding")
    sys.stdin.readline()


def idle(endpoint, heartbeat_ms="0"):
    """A DEALER that asks, falls silent until it is told to go on, and asks again."""
    client = socket(zmq.DEALER)
    client.heartbeat_ivl = int(heartbeat_ms)
    client.connect(endpoint)
    for _ in range(2):
        client.send_multipart([b"", b"Hello"])
        say(b" ".join(client.recv_multipart()[1:]).decode())
        sys.stdin.readline()


def twins(endpoint):
    """Two DEALERs with one identity: each must get the replies to its own requests, whatever comes in between."""
    first, second = (socket(zmq.DEALER) for _ in range(2))
    for twin in (first, second):
        twin.routing_id = b"twin"
        twin.connect(endpoint)
    for number in range(100):
        for name, twin in ((b"first", first), (b"second", second)):
            twin.send_multipart([b"", name, b"%d" % number])
    for number in range(100):
        for name, twin in ((b"first", first), (b"second", second)):
            expected = [b"", name, b"%d" % number]
            assert (reply := twin.recv_multipart()) == expected, f"{reply} for {expected}"
    say("apart")


def echoed(endpoint, *messages):
    """A DEALER that asks with frames of these sizes (as in 5,0,300) and wants the same back."""
    client = socket(zmq.DEALER)
    client.connect(endpoint)
    for message in messages:
        sizes = [int(size) for size in message.split(",")]
        sent = [bytes((place + at) % 251 for at in range(251)) * (size // 251 + 1) for place, size in enumerate(sizes)]
        sent = [b""] + [frame[:size] for frame, size in zip(sent, sizes)]
        client.send_multipart(sent)
        assert client.recv_multipart() == sent, f"{message} came back changed"
        say(message)


def socket(kind):
    made = zmq.Context.instance().socket(kind)
    made.linger = 0
    if kind != zmq.REP:
        made.rcvtimeo = REPLY_MS_MAX
    return made


def say(line):
    print(line, flush=True)


if __name__ == "__main__":
    # A test ends its peers; this ends those of a test that was killed.
    signal.alarm(LIFE_S_MAX)
    globals()[sys.argv[1]](*sys.argv[2:])
