"""Asks the bus until a file appears, each time over a new connection, and tells how often it was answered and how often not.

    crowd.py STOP_FILE [PORT]
"""

import os
import socket
import sys
import time

import zmq

stop, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5555
context = zmq.Context()
answered = refused = silent = 0
while not os.path.exists(stop):
    # libzmq connects again without a word, so whether a connection is refused is seen by one of the plain kind.
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionRefusedError:
        refused += 1
    client = context.socket(zmq.REQ)
    client.linger = 0
    client.connect(f"tcp://127.0.0.1:{port}")
    client.send(b"Hello")
    if client.poll(10_000) and client.recv() == b"World":
        answered += 1
    else:
        silent += 1
    client.close()
    print(f"answered {answered} refused {refused} silent {silent}", flush=True)
    time.sleep(0.005)
