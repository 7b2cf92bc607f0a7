"""Joins this process's input and output to a UNIX socket: QMP across `lab on`. Runs in a lab host; starts fast.

A line {"relay": {"do": …}} is not sent on but obeyed, and answered as the monitor would:

  listen PORT                 listens for the connection that accept takes
  accept NAME, connect NAME HOST PORT
                              hands a connection to the monitor, as a manager does: getfd with this name
  next PATH                   leaves this monitor, which has ended, for one that will be at PATH; its greeting is
                              the answer. To start anew takes seconds in an emulated host.
  bridge PATH, bridge-to PATH HOST PORT
                              joins a UNIX socket that the monitor will listen at with the listener's connections;
                              or listens at PATH itself and joins each connection with one to the host
"""

import json
import os
import select
import socket
import sys
import threading
import time


def connected(family, address):
    """Tries for minutes: the other side may just be starting, in a busy host whose clock runs on."""
    limit = time.monotonic() + 300
    while True:
        connection = socket.socket(family)
        try:
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() > limit:
                sys.exit(f"relay: {address}: {error.strerror}")
            time.sleep(0.05)


def pump(source, target):
    try:
        while data := source.recv(1 << 17):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def join(first, second):
    for pair in ((first, second), (second, first)):
        threading.Thread(target=pump, args=pair, daemon=True).start()


def join_all(listener, other_end):
    def work():
        while True:
            join(listener.accept()[0], other_end())
    threading.Thread(target=work, daemon=True).start()


class Relay:
    listener = None

    def obey(self, do, name="", host="", port=0, path=""):
        if do == "next":
            monitor.close()
            return follow(path)
        if do == "listen":
            self.listener = socket.create_server(("", port))
        elif do == "accept":
            return self.hand_over(self.listener.accept()[0], name)
        elif do == "connect":
            return self.hand_over(connected(socket.AF_INET, (host, port)), name)
        elif do == "bridge":
            join_all(self.listener, lambda: connected(socket.AF_UNIX, path))
        elif do == "bridge-to":
            server = socket.socket(socket.AF_UNIX)
            server.bind(path)
            server.listen()
            join_all(server, lambda: connected(socket.AF_INET, (host, port)))
        say(b'{"return": {}}\n')

    @staticmethod
    def hand_over(descriptor, name):
        """The monitor's own reply is the answer."""
        message = json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode() + b"\n"
        socket.send_fds(monitor, [message], [descriptor.fileno()])
        descriptor.close()


def say(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def follow(path):
    global monitor, is_open
    monitor, is_open = connected(socket.AF_UNIX, path), True


follow(sys.argv[1])
relay = Relay()
pending = b""
while True:
    for ready in select.select([0, monitor] if is_open else [0], [], [])[0]:
        if ready is monitor:
            try:
                data = monitor.recv(65536)
            except ConnectionError:
                data = b""
            is_open = bool(data)
            say(data or b'{"closed": true}\n')
        elif ready == 0:
            data = os.read(0, 65536)
            if not data:
                sys.exit(0)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if line.startswith(b'{"relay"'):
                    relay.obey(**json.loads(line)["relay"])
                else:
                    monitor.sendall(line + b"\n")
