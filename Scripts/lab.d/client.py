"""Uses a lab that runs already: `lab on`, `lab net`, `lab status`, `lab stop`."""

import json
import os
import select
import selectors
import signal
import socket
import struct
import sys

import frames


class NoLab(Exception):
    """There is no lab to talk to."""


def connect(folder):
    if not folder:
        raise NoLab("no lab is named: set APUS_LAB to what `lab start` printed")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.path.join(folder, "socket"))
    except OSError as error:
        raise NoLab(f"no lab at {folder}: {error.strerror}") from None
    return connection


def wait_for_server(connection):
    """Waits until the process behind a connection that it has closed is gone, for at most 10 s."""
    identifier = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    try:
        process = os.pidfd_open(identifier)
    except OSError:
        return
    select.select([process], [], [], 10)
    os.close(process)


def receive_frames(connection):
    decoder = frames.Decoder()
    while data := connection.recv(1 << 18):
        yield from decoder.feed(data)


def ask(folder, request):
    """One request, one reply (None where the lab ended the connection, as `stop` does)."""
    with connect(folder) as connection:
        connection.sendall(frames.encode(frames.REQUEST, 0, json.dumps(request).encode()))
        for kind, _, content in receive_frames(connection):
            if kind == frames.REPLY:
                return json.loads(content)
        wait_for_server(connection)
    return None


def run_on(folder, host, argv, with_input):
    """Runs a command in a host with this process's streams and environment; returns its status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: sys.exit(128 + got))
    with connect(folder) as connection:
        run = {"argv": argv, "folder": os.getcwd(), "environment": dict(os.environ), "input": with_input}
        request = {"what": "run", "host": host, "run": run}
        connection.sendall(frames.encode(frames.REQUEST, 0, json.dumps(request).encode()))
        selector = selectors.DefaultSelector()
        selector.register(connection, selectors.EVENT_READ)
        if with_input:
            try:
                selector.register(0, selectors.EVENT_READ)
            except PermissionError:  # a regular file cannot be polled, nor need it be
                send_file(connection)
        decoder = frames.Decoder()
        while True:
            for key, _ in selector.select():
                if key.fileobj == 0:
                    data = os.read(0, 1 << 16)
                    connection.sendall(frames.encode(frames.INPUT if data else frames.INPUT_END, 0, data))
                    if not data:
                        selector.unregister(0)
                    continue
                data = connection.recv(1 << 18)
                if not data:
                    print("lab: the lab ended while the command ran", file=sys.stderr)
                    return 126
                for kind, _, content in decoder.feed(data):
                    if kind == frames.EXIT:
                        return finished(json.loads(content))
                    write_all(1 if kind == frames.OUTPUT else 2, content)


def send_file(connection):
    while data := os.read(0, 1 << 16):
        connection.sendall(frames.encode(frames.INPUT, 0, data))
    connection.sendall(frames.encode(frames.INPUT_END))


def finished(result):
    if result.get("message"):
        print(f"lab: {result['message']}", file=sys.stderr)
    return result["status"]


def write_all(descriptor, data):
    data = memoryview(data)
    while data:
        data = data[os.write(descriptor, data):]
