"""Moves of the built-in guest at work between monitors on this machine's KVM, in a network of their own."""

import ctypes
import os
import subprocess
import sys

from monitors import Monitor
from promises import clock

CLONE_NEWNET = 0x40000000


class Here:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.image = f"{folder}/guest.elf"
        self.programs = {"apus": options.apus, "qemu": options.qemu}
        subprocess.run([options.apus, "guest", self.image], check=True)
        self.has_own_network = enter_own_network()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self, mover, rate):
        """A source whose guest stands still."""
        guest = (f"region={self.options.work} rate={round(rate / 1.048576)} pattern=random check=2 idle=halt period=200 "
                 f"vectors=sse tsc={clock()}")
        source = Monitor(self.programs[mover], self.folder, self.image, self.options.memory, guest=guest)
        source.wait_for_lines(3)
        source.qmp.command("stop")
        return source

    def move(self, mover, source, rate):
        """One migration; the source stays for the next, its guest as it was left."""
        options = self.options
        subprocess.run([options.bare, "touch", str(options.memory + 64)], check=True)
        destination = Monitor(self.programs[mover], self.folder, self.image, options.memory, waits=True)
        try:
            for side in (source, destination):
                side.set(max_bandwidth=int(options.bandwidth * 1e6), downtime_limit=options.downtime_limit)
            target = destination.listen("tcp:127.0.0.1:0")
            source.qmp.command("cont")
            source.lines_read = source.line_count()
            source.wait_for_lines(4)
            before, bytes_before = [side.processor_seconds() for side in (source, destination)], received_bytes()
            source.qmp.events.clear()
            source.qmp.command("migrate", uri=target)
            start = source.qmp.wait_for("MIGRATION", status="setup")
            stop = source.qmp.wait_for("STOP")
            end = source.qmp.wait_for("MIGRATION", status="completed")
            resumed = destination.qmp.wait_for("RESUME")
            after, bytes_after = [side.processor_seconds() for side in (source, destination)], received_bytes()
            info = source.qmp.command("query-migrate")
            destination.expect_well(3)
        finally:
            destination.close()
        told = info["ram"]["transferred"]
        return source, {
            "seconds": end - start, "downtime": resumed - stop, "told": info["downtime"],
            "passes": info["ram"]["dirty-sync-count"], "transferred": told,
            "bytes": bytes_after - bytes_before if self.has_own_network else told,
            "cpu": sum(after) - sum(before), "load": os.getloadavg()[0], "downtime_parts": info.get("downtime-parts")}


def enter_own_network():
    """This process and all that it starts get a loopback of their own, so that nobody else's bytes count."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        print("bench load: no network of its own: bytes are as the monitors tell", file=sys.stderr)
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return True


def received_bytes():
    """Of all that has come over the loopback of this process's network."""
    with open("/proc/thread-self/net/dev", encoding="utf-8") as table:
        return next(int(line.split(":")[1].split()[0]) for line in table if line.strip().startswith("lo:"))
