#!/usr/bin/env python3
"""The Hello, World back-end in Python (pyzmq): answers every request with "World".

    server.py                       listens on tcp://*:5555, alone, without a bus
    server.py --connect ENDPOINT    serves behind a bus: ENDPOINT is the bus's port for back-ends
    server.py --bind ENDPOINT       listens elsewhere; port * takes any free one

Run by the bus as a service it needs no argument: TORUS_REQUESTS_BACK tells the endpoint.
SIGTERM and SIGINT end it with exit code 0.
"""

import argparse
import os
import signal
import socket as sockets
import sys

try:
    import zmq
except ImportError:
    print("cannot serve: this Python has no zmq (pyzmq)", file=sys.stderr)
    print(f"hint: apt-get install python3-zmq, then /usr/bin/python3 {sys.argv[0]}", file=sys.stderr)
    sys.exit(1)


def main():
    arguments = parse()
    end = end_signals()
    socket = zmq.Context.instance().socket(zmq.REP)
    socket.linger = 0
    try:
        connect_or_bind(socket, arguments)
    except zmq.ZMQError as error:
        print(f"cannot serve at {arguments.connect or arguments.bind}: {error}", file=sys.stderr)
        if error.errno == zmq.EADDRINUSE:
            print("hint: is a bus running? then --connect tcp://127.0.0.1:5556", file=sys.stderr)
        return 1
    serve(socket, end)
    socket.close()
    return 0


def parse():
    parser = argparse.ArgumentParser(description='Answers every request with "World".')
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--connect", metavar="ENDPOINT", help="serve behind a bus (default: $TORUS_REQUESTS_BACK)")
    where.add_argument("--bind", metavar="ENDPOINT", help="listen, without a bus (default: tcp://*:5555)")
    arguments = parser.parse_args()
    if not arguments.bind:
        arguments.connect = arguments.connect or os.environ.get("TORUS_REQUESTS_BACK")
    if not arguments.connect:
        arguments.bind = arguments.bind or "tcp://*:5555"
    return arguments


def end_signals():
    """A socket that becomes readable when it is time to end.

    It is polled beside the ZeroMQ socket: an exception raised by a handler would be late if the signal came just
    before a blocking receive.
    """
    readable, written = sockets.socketpair()
    written.setblocking(False)
    signal.set_wakeup_fd(written.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return readable


def connect_or_bind(socket, arguments):
    # Flushed: the startup line is there when the server is, to a pipe too.
    if arguments.connect:
        socket.connect(arguments.connect)
        print(f"serving behind {arguments.connect}", flush=True)
    else:
        socket.bind(arguments.bind)
        print(f"listening on {socket.last_endpoint.decode()}", flush=True)


def serve(socket, end):
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(end, zmq.POLLIN)
    while end.fileno() not in (ready := dict(poller.poll())):
        if socket in ready:
            socket.recv_multipart()
            socket.send(b"World")


if __name__ == "__main__":
    sys.exit(main())
