"""Joins this process's input and output to a UNIX socket: QMP across `lab on`. Runs in a lab host; starts fast."""

import os
import select
import socket
import sys
import time

limit = time.monotonic() + 60
while True:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(sys.argv[1])
        break
    except OSError as error:
        connection.close()
        if time.monotonic() > limit:
            sys.exit(f"relay: {sys.argv[1]}: {error.strerror}")
        time.sleep(0.05)
while True:
    for ready in select.select([0, connection], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else connection.recv(65536)
        if not data:
            sys.exit(0)
        if ready == 0:
            connection.sendall(data)
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
