"""The demonstration behind Scripts/demo: a Linux guest at work moves from one QEMU to another through `apus stream`.

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

import importlib.machinery  # noqa: E402
import importlib.util  # noqa: E402

import migration  # noqa: E402
import monitor  # noqa: E402
import packages  # noqa: E402
import places  # noqa: E402

COLOURS = {"source": "36", "destination": "32"}


def load_script(name):
    loader = importlib.machinery.SourceFileLoader(name, str(SCRIPTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


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
                if line.startswith("workload: "):
                    print(f"  \033[{COLOURS[self.side.role]}m{self.side.role:>11}\033[0m  {line}", flush=True)

    def end(self):
        self.ends = True
        self.thread.join()


def guest_kernels_run_here(apus):
    """Whether this host's KVM boots Linux, as `apus doctor` finds out by trying."""
    report = subprocess.run([apus, "doctor", "--json"], stdout=subprocess.PIPE, text=True).stdout
    try:
        return json.loads(report)["ground"] == "linux-guests"
    except (ValueError, KeyError):
        return False


def move(trial, apus, capture, runs):
    """Moves the guest through `apus stream rewrite`; a copy of what it wrote stays in `capture`."""
    source, destination = trial.source, trial.destination
    pipe = f"{source.place.folder}/stream"
    os.mkfifo(pipe)
    destination.start(is_destination=True)
    destination.qmp.command("migrate-incoming", uri=f"exec:cat {shlex.quote(pipe)}")
    if not runs:
        source.qmp.command("stop")
    started = time.monotonic()
    source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 10**12})
    command = f"{shlex.quote(apus)} stream rewrite | tee {shlex.quote(capture)} > {shlex.quote(pipe)}"
    source.qmp.command("migrate", uri=f"exec:{command}")
    while (state := source.qmp.command("query-migrate"))["status"] not in ("completed", "failed", "cancelled"):
        time.sleep(0.05)
    if state["status"] != "completed":
        raise monitor.Failed(f"the migration is {state['status']}: {state.get('error-desc', 'no reason given')}")
    while destination.qmp.command("query-status")["status"] == "inmigrate":
        time.sleep(0.05)
    if not runs:
        destination.qmp.command("cont")
    return time.monotonic() - started


def main():
    parse = argparse.ArgumentParser(prog="demo")
    parse.add_argument("apus")
    parse.add_argument("--keep")
    own = parse.parse_args()
    trial_script = load_script("trial")
    runs = guest_kernels_run_here(own.apus)
    options = trial_script.parser().parse_args(
        ["--accelerator", "kvm" if runs else "tcg", "--memory", "256", "--work", "48"])
    guest = trial_script.guest_files()
    place = places.Place()
    capture = own.keep or f"{place.folder}/capture"
    try:
        with migration.Trial(options, guest, place, place) as trial:
            how = "KVM" if runs else "software emulation: this host's KVM boots no Linux"
            say(f"A Linux guest boots in QEMU ({how}); its workload writes memory and checks every page")
            tails = [Tail(trial.source), Tail(trial.destination)]
            trial.boot()
            trial.source.wait_for("the workload at work", r"^workload: t=", 60, count=4)
            say("It moves into another QEMU: source | apus stream rewrite | destination")
            seconds = move(trial, own.apus, capture, runs)
            trial.settle()
            trial.end()
            for tail in tails:
                tail.end()
            say(f"Moved in {seconds:.1f} s; the workload checked {trial.result['checked_pages']} pages, none was wrong. "
                "What went over:")
            for verb in ("check", "show"):
                print(f"\033[2m$ apus stream {verb} capture\033[0m", flush=True)
                shown = subprocess.run([own.apus, "stream", verb, capture], stdout=subprocess.PIPE, text=True)
                lines = shown.stdout.splitlines()
                print("\n".join(lines[:24] + (["..."] if len(lines) > 24 else [])), flush=True)
                if shown.returncode != 0:
                    raise monitor.Failed(f"apus stream {verb} says {shown.returncode}")
    except (monitor.Failed, packages.CannotStart) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; nothing is left running", file=sys.stderr)
        return 130
    finally:
        place.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
