"""The demonstration behind Scripts/demo: two guests move while they work.

The built-in guest moves live from one Apus to another, where this host's KVM runs it. A Linux guest moves from one QEMU
to another through `apus stream`, in software emulation where KVM boots no Linux.

    demo.py APUS [--keep FILE]
"""
import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
for folder in ("trial.d", "lab.d"):
    sys.path.insert(0, str(SCRIPTS / folder))

import migration  # noqa: E402
import monitor  # noqa: E402
import packages  # noqa: E402
import places  # noqa: E402
import settings  # noqa: E402

COLOURS = {"source": "36", "destination": "32"}


def say(text):
    print(f"\n\033[1m{text}\033[0m", flush=True)


class Tail:
    """Prints a guest's reports as they come."""

    def __init__(self, side):
        self.side, self.printed, self.ends = side, 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ends:
            with self.side.changed:
                self.side.changed.wait(0.2)
                lines = [line for _, line in self.side.lines[self.printed:]]
                self.printed = len(self.side.lines)
            for line in lines:
                if line.startswith(("workload: ", "builtin: ")):
                    print(f"  \033[{COLOURS[self.side.role]}m{self.side.role:>11}\033[0m  {line}", flush=True)

    def end(self):
        self.ends = True
        self.thread.join()


def ground_of(apus):
    """What this host's KVM runs, as `apus doctor` finds out by trying: anywhere, small-guests or linux-guests."""
    report = subprocess.run([apus, "doctor", "--json"], stdout=subprocess.PIPE, text=True).stdout
    try:
        return json.loads(report)["ground"]
    except (ValueError, KeyError):
        return "anywhere"


class ApusMonitor:
    """One `apus run` with the built-in guest or waiting for it."""

    def __init__(self, place, role, argv):
        self.role, self.lines, self.changed = role, [], threading.Condition()
        self.socket = f"{place.folder}/{role}.apus"
        self.process = place.open([*argv, "--memory", "128M", "--cpus", "2", "--qmp", f"unix:{self.socket}"])
        threading.Thread(target=self.read, daemon=True).start()
        self.qmp = monitor.QMP(place, self.socket)

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append((time.monotonic(), line.decode(errors="replace").strip()))
                self.changed.notify_all()

    def wait_for_lines(self, count, limit=60):
        until = time.monotonic() + limit
        with self.changed:
            while len(self.lines) < count:
                if not self.changed.wait(max(0, until - time.monotonic())) and time.monotonic() >= until:
                    raise monitor.Failed(f"{self.role}: {len(self.lines)} lines of the guest within {limit} s")

    def close(self):
        self.qmp.close()
        places.kill(self.process)


def move_built_in_guest(place, apus):
    """Moves the built-in guest from one Apus to another while it runs; the QMP answer that says how it went."""
    image = f"{place.folder}/guest.elf"
    subprocess.run([apus, "guest", image], check=True)
    source = ApusMonitor(place, "source", [
        apus, "run", "--kernel", image, "--cmdline", "region=64 rate=50 cpus=2 period=500"])
    destination = None
    try:
        destination = ApusMonitor(place, "destination", [apus, "run", "--incoming", "defer"])
        tails = [Tail(source), Tail(destination)]
        source.wait_for_lines(6)
        say("It moves into another Apus over TCP, running")
        destination.qmp.command("migrate-incoming", uri="tcp:127.0.0.1:0")
        port = destination.qmp.command("query-migrate")["socket-address"][0]["port"]
        source.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "return-path", "state": True}])
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 0})
        source.qmp.command("migrate", uri=f"tcp:127.0.0.1:{port}")
        while (state := source.qmp.command("query-migrate"))["status"] not in ("completed", "failed"):
            time.sleep(0.02)
        if state["status"] != "completed":
            raise monitor.Failed(f"the migration is {state['status']}: {state.get('error-desc')}")
        destination.wait_for_lines(5)
        for tail in tails:
            tail.end()
        if complaints := [line for _, line in destination.lines if "bad=0 badregs=0" not in line]:
            raise monitor.Failed(f"the guest complains: {complaints[0]}")
        return state
    finally:
        source.close()
        if destination:
            destination.close()


class ThroughApus(migration.Hop):
    """A migration whose stream goes through `apus stream rewrite`; a copy of what it wrote stays in `capture`."""

    def __init__(self, trial, source, destination, apus, capture, runs):
        hop = settings.Hop("precopy", "exec", "here", "")
        super().__init__(trial.options, hop, source, destination, 0, trial.result["hops"])
        self.apus, self.capture, self.runs = apus, capture, runs
        self.pipe = f"{source.place.folder}/stream"
        self.uri = (f"exec:{shlex.quote(apus)} stream rewrite | tee {shlex.quote(capture)} "
                    f"> {shlex.quote(self.pipe)}")

    def move(self):
        os.mkfifo(self.pipe)
        self.destination.start("defer")
        self.destination.qmp.command("migrate-incoming", uri=f"exec:cat {shlex.quote(self.pipe)}")
        self.source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 10**12})
        # QEMU 7.2 in software emulation loses what a running guest writes while it pre-copies.
        if not self.runs:
            self.source.qmp.command("stop")
        self.migrate(self.uri)
        while self.destination.qmp.command("query-status")["status"] == "inmigrate":
            time.sleep(0.05)
        if not self.runs:
            self.destination.qmp.command("cont")


def show_built_in_guest(place, apus):
    say("The built-in guest boots in Apus (KVM): two virtual CPUs dirty 50 MiB/s and check every page")
    state = move_built_in_guest(place, apus)
    print(f"  moved in {state['total-time']} ms, downtime {state['downtime']} ms, "
          f"{state['ram']['dirty-sync-count']} syncs, {state['ram']['transferred'] / 1e6:.0f} MB", flush=True)


def show_linux_guest(trial, apus, capture, runs):
    how = "KVM" if runs else "software emulation: this host's KVM boots no Linux"
    say(f"A Linux guest boots in QEMU ({how}); its workload writes memory and checks every page")
    source, destination = trial.add_monitor("here", "qemu"), trial.add_monitor("here", "qemu")
    source.role, destination.role = "source", "destination"
    tails = [Tail(source), Tail(destination)]
    trial.boot(source)
    source.wait_for("the workload at work", r"^workload: t=", 60, count=4)
    say("It moves into another QEMU: source | apus stream rewrite | destination")
    hop = ThroughApus(trial, source, destination, apus, capture, runs)
    hop.run()
    trial.end(destination)
    for tail in tails:
        tail.end()
    say(f"Moved in {hop.result['wall_s']:.1f} s; the workload checked {trial.result['checked_pages']} pages, none was "
        "wrong. What went over:")
    for verb in ("check", "show"):
        print(f"\033[2m$ apus stream {verb} capture\033[0m", flush=True)
        shown = subprocess.run([apus, "stream", verb, capture], stdout=subprocess.PIPE, text=True)
        lines = shown.stdout.splitlines()
        print("\n".join(lines[:24] + (["..."] if len(lines) > 24 else [])), flush=True)
        if shown.returncode != 0:
            raise monitor.Failed(f"apus stream {verb} says {shown.returncode}")


def main():
    parse = argparse.ArgumentParser(prog="demo")
    parse.add_argument("apus")
    parse.add_argument("--keep")
    own = parse.parse_args()
    ground = ground_of(own.apus)
    runs = ground == "linux-guests"
    options = settings.parser().parse_args(
        ["--accelerator", "kvm" if runs else "tcg", "--memory", "256", "--work", "48"])
    guest = settings.guest_files()
    try:
        with places.Places() as ground_places:
            place = ground_places.find("here")
            capture = own.keep or f"{place.folder}/capture"
            if ground != "anywhere":
                show_built_in_guest(place, own.apus)
            with migration.Trial(options, guest, ground_places) as trial:
                show_linux_guest(trial, own.apus, capture, runs)
    except (monitor.Failed, packages.CannotStart) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; nothing is left running", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
