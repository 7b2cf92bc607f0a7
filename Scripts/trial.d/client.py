"""Talks to the guest's workload over the network for some seconds and prints "up" when it gets answers and
one JSON line at the end. Runs in a lab host.

client.py stream ADDRESS STOP-FILE   the numbered lines of TCP port 7000: one connection that must not break
client.py ping ADDRESS STOP-FILE     a datagram to UDP port 7002 every 20 ms
"""

import json
import os
import socket
import sys
import time

PERIOD = 0.02
# A guest in a busy emulated host takes its time to answer, even to the question for its address.
PATIENCE = 240


def connected(address):
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((address, 7000), timeout=60)
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.5)


def stream(address, is_over):
    connection = connected(address)
    lines = wrong = 0
    expected = None
    longest = guest_longest = 0.0
    last = last_guest = None
    for line in connection.makefile():
        time_now = time.monotonic()
        number, guest = (int(word) for word in line.split())
        if expected is None:
            print("up", flush=True)
        else:
            wrong += number != expected
            longest = max(longest, time_now - last)
            guest_longest = max(guest_longest, (guest - last_guest) / 1e6)
        lines, expected, last, last_guest = lines + 1, number + 1, time_now, guest
        if is_over():
            break
    else:
        wrong += 1  # the connection ended before we did
    return {"lines": lines, "wrong": wrong, "gap_ms": round(longest * 1e3, 1),
            "guest_gap_ms": round(guest_longest * 1e3, 1)}


def ping(address, is_over):
    connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection.connect((address, 7002))
    connection.settimeout(PERIOD)
    sent = received = 0
    longest = 0.0
    last = due = time.monotonic()
    while not is_over() and (received or time.monotonic() < last + PATIENCE):
        if time.monotonic() >= due:
            due = time.monotonic() + PERIOD
            try:
                connection.send(b"%d" % sent)
            except OSError:
                pass
            sent += 1
        try:
            connection.recv(64)
        except OSError:
            continue
        received += 1
        if received == 1:
            print("up", flush=True)
        else:
            longest = max(longest, time.monotonic() - last)
        last = time.monotonic()
    return {"sent": sent, "lost": sent - received, "gap_ms": round(longest * 1e3, 1)}


def main(kind, address, stop_file):
    work = {"stream": stream, "ping": ping}[kind]
    print(json.dumps(work(address, lambda: os.path.exists(stop_file))), flush=True)


main(*sys.argv[1:])
