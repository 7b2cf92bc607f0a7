"""Moves of the Linux guest at work between monitors in one host of the lab, over its loopback."""

import os
import pathlib
import subprocess
import sys
import time

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(SCRIPTS / "trial.d"), str(SCRIPTS / "lab.d")]

import migration  # noqa: E402
import monitor  # noqa: E402
import packages  # noqa: E402
import places  # noqa: E402
import settings  # noqa: E402
from monitors import Failed  # noqa: E402

TICK_MS = 20


class Lab:
    """A lab of one host. Only the guest whose turn it is runs; the other ones are stopped."""

    def __init__(self, options, _):
        self.options, self.port = options, 5000

    def __enter__(self):
        try:
            self.guest = settings.guest_files()
        except packages.CannotStart as error:
            raise Failed(f"no Linux guest: {error}") from None
        lab = subprocess.run([str(SCRIPTS / "lab"), "start", "--timeout", "20000", "--owner", str(os.getpid())],
                             stdout=subprocess.PIPE, text=True)
        if lab.returncode != 0:
            raise Failed(f"the lab does not start: status {lab.returncode}")
        os.environ["APUS_LAB"] = lab.stdout.strip()
        return self

    def __exit__(self, *_):
        subprocess.run([str(SCRIPTS / "lab"), "stop"])

    def start(self, mover, rate):
        return Source(self, mover, rate)

    def move(self, mover, source, rate):
        return source, source.move()


class Source:
    """A guest and the monitor that has it now, which stands still between moves."""

    def __init__(self, lab, mover, rate):
        own = lab.options
        words = ["--at", "a", "--monitor", mover, "--memory", str(own.memory), "--work", str(own.work), "--rate",
                 str(rate), "--tick", str(TICK_MS), "--bandwidth", str(own.bandwidth), "--downtime-limit",
                 str(own.downtime_limit), "--apus", os.path.realpath(own.apus), "--qemu", own.qemu, "--settle", "1",
                 "--limit", "400"]
        self.lab, self.mover = lab, mover
        self.places = places.Places()
        self.trial = migration.Trial(settings.parser().parse_args(words), lab.guest, self.places)
        try:
            self.monitor = self.trial.add_monitor("a", mover)
            self.trial.boot(self.monitor)
            self.monitor.qmp.command("stop")
        except monitor.Failed as error:
            self.close()
            raise Failed(str(error)) from None

    def move(self):
        """One migration; the destination is the source of the next."""
        try:
            source = self.monitor
            source.qmp.command("cont")
            source.wait_for("the workload at work", monitor.REPORT, 180, count=len(source.reports()) + 2)
            destination = self.trial.add_monitor("a", self.mover)
            hop = settings.Hop("precopy", "tcp", "a", self.mover)
            self.lab.port += 1
            measured = MeasuredHop(
                self.trial.options, hop, source, destination, self.lab.port, self.trial.result["hops"])
            measured.run()
            source.close()
            self.monitor = destination
            if complaints := destination.complaints():
                raise Failed(f"the guest is not well at the destination: {complaints[:3]}")
            destination.qmp.command("stop")
            return measured.sample
        except monitor.Failed as error:
            raise Failed(str(error)) from None

    def close(self):
        self.trial.__exit__()
        self.places.__exit__()


class MeasuredHop(migration.LiveHop):
    """A hop whose processor time and bytes are looked at just before and after the migration."""

    def migrate(self, uri):
        before = self.look()
        super().migrate(uri)
        limit = time.monotonic() + 60
        while not self.destination.qmp.stamps("RESUME") and time.monotonic() < limit:
            time.sleep(0.05)
        seconds, received = (new - old for new, old in zip(self.look(), before))
        stamps, result = self.source.qmp.stamps, self.result
        resumed = self.destination.qmp.stamps("RESUME")
        if not resumed:
            raise monitor.Failed("the destination does not run the guest")
        self.sample = {
            "seconds": stamps("MIGRATION", status="completed")[-1] - stamps("MIGRATION", status="setup")[-1],
            "downtime": resumed[-1] - stamps("STOP")[-1], "told": result["downtime_ms"], "passes": result["passes"],
            "transferred": result["bytes"], "bytes": received, "cpu": seconds, "load": os.getloadavg()[0],
            "downtime_parts": self.source.qmp.command("query-migrate").get("downtime-parts")}

    def look(self):
        """Processor seconds of both monitors so far, and bytes that have come over the host's loopback."""
        pattern = "|".join(f"[u]nix:{side.socket}" for side in (self.source, self.destination))  # not this shell
        script = (f"for p in $(pgrep -f '{pattern}'); do sed 's/.*) //' /proc/$p/stat; done; getconf CLK_TCK; "
                  "grep lo: /proc/net/dev")
        *stats, ticks, network = self.source.place.run("sh", "-c", script).decode().splitlines()
        used = sum(sum(int(word) for word in stat.split()[11:13]) for stat in stats)
        return used / int(ticks), int(network.split(":")[1].split()[0])
