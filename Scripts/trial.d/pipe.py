"""The command of an exec: address: joins its input and output with a TCP connection.

pipe.py connect HOST PORT, at the source; pipe.py listen PORT, at the destination
"""

import os
import socket
import sys
import threading
import time


def connected(address):
    limit = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(address)
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)


def answers(connection):
    """What the other side says, until it has no more to say."""
    try:
        while data := connection.recv(1 << 17):
            while data:
                data = data[os.write(1, data):]
    except OSError:
        pass
    os._exit(0)


if sys.argv[1] == "connect":
    link = connected((sys.argv[2], int(sys.argv[3])))
else:
    link = socket.create_server(("", int(sys.argv[2]))).accept()[0]
threading.Thread(target=answers, args=(link,), daemon=True).start()
while chunk := os.read(0, 1 << 17):
    link.sendall(chunk)
link.shutdown(socket.SHUT_WR)
threading.Event().wait()  # until the other side ends
