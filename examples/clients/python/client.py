#!/usr/bin/env python3
"""The Hello, World client in Python (pyzmq): five requests, five replies.

    client.py [ENDPOINT]        default tcp://127.0.0.1:5555

A DEALER has all five requests in flight at once; a REQ would have to wait for each reply. The empty frame before the
body is the delimiter that a REQ adds by itself and that a REP expects. Replies may come in any order when several
back-ends serve, so they are counted as they arrive.
"""

import sys

try:
    import zmq
except ImportError:
    print("cannot ask anybody: this Python has no zmq (pyzmq)", file=sys.stderr)
    print(f"hint: apt-get install python3-zmq, then /usr/bin/python3 {sys.argv[0]}", file=sys.stderr)
    sys.exit(1)

REQUESTS = 5
REPLY_MS_MAX = 5000


def main(endpoint="tcp://127.0.0.1:5555"):
    if endpoint in ("-h", "--help"):
        print("usage: client.py [ENDPOINT]        default tcp://127.0.0.1:5555")
        return 0
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.rcvtimeo = REPLY_MS_MAX
    # After the last reply, or after a failure, nothing unsent is worth waiting for.
    socket.linger = 0
    try:
        talk(socket, endpoint)
    except zmq.Again:
        return fail(
            f"no answer from {endpoint} within {REPLY_MS_MAX // 1000} s",
            "is the bus running, with a back-end? scripts/run starts both",
        )
    except zmq.ZMQError as error:
        return fail(f"{endpoint}: {error}", "an endpoint looks like tcp://127.0.0.1:5555")
    finally:
        socket.close()
    return 0


def talk(socket, endpoint):
    say("Connecting to server...")
    socket.connect(endpoint)
    for number in range(1, REQUESTS + 1):
        say(f"Sending request {number}...")
        socket.send_multipart([b"", b"Hello"])
    for number in range(1, REQUESTS + 1):
        body = socket.recv_multipart()[-1]
        say(f"Received reply {number}: {body.decode(errors='replace')}")


def say(line):
    # Flushed, so that lines appear as they are printed, to a pipe too.
    print(line, flush=True)


def fail(why, hint):
    print(f"cannot get five replies: {why}", file=sys.stderr)
    print(f"hint: {hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
