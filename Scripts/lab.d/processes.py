"""Processes of this machine that a command of the lab started."""

import asyncio
import ctypes
import os
import signal
import time

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Makes this process the parent of descendants whose parent ended, so that they are found."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def parents():
    """The parent of every process."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                found[int(name)] = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    return found


def descendants(keep):
    tree, found = parents(), set()
    for identifier in tree:
        line, current = [], identifier
        while current in tree and current not in keep and current != os.getpid():
            line.append(current)
            current = tree[current]
        if current == os.getpid():
            found.update(line)
    return found


def kill_descendants(keep):
    """Kills all descendants but those in keep, and waits until they are gone; at most 5 s."""
    limit = time.monotonic() + 5
    while time.monotonic() < limit and (found := descendants(keep)):
        for identifier in found:
            try:
                os.kill(identifier, signal.SIGKILL)
                os.waitpid(identifier, os.WNOHANG)
            except OSError:
                continue
        time.sleep(0.02)


async def wait_for_end(identifier):
    """Returns when the process has ended; never for 0."""
    while identifier == 0 or os.path.exists(f"/proc/{identifier}"):
        await asyncio.sleep(1)
