"""Measures post-copy beside QEMU: the same Linux guest at the same work, in a host of the lab, preempt on in both.

Two guests, one in an Apus and one in a QEMU, move in turn to a new monitor of their kind on their host, by post-copy
from the first page on; the other stands still meanwhile. The first move of each is not counted: it brings both programs
into memory. What is compared is seen from outside, in the same way for both:

  fault latency   of each page that was touched before it was there: from the first call of the kernel's
                  handle_userfault for it to the end of the last, by kernel probes
  last page       from the destination's RESUME event to its MIGRATION event "completed"
  downtime        from the source's STOP event to the destination's RESUME event

The workload's checks of memory and clocks must be clean at the end. A lab is emulated by software: only ratios count.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(SCRIPTS / "trial.d"), str(SCRIPTS / "lab.d")]

import migration  # noqa: E402
import monitor  # noqa: E402
import packages  # noqa: E402
import places  # noqa: E402
import settings  # noqa: E402

KINDS = ("apus", "qemu")
LABS = 3  # the emulator of a lab dies now and then
TRACING = "/sys/kernel/tracing"
# Of the lab's kernel, 6.1: the address in struct vm_fault.
ADDRESS_OFFSET = 24
PROBE = re.compile(r"^\s*\S.*?-(\d+)\s+\[\d+\]\s+\S+\s+([\d.]+): (?:uf_in:.* address=(0x[0-9a-f]+)|uf_out:)")


class FaultTrace:
    """The kernel's own record of who waited for a page and how long, in the host of `place`."""

    def __init__(self, place):
        self.place = place
        self.shell(f"mountpoint -q {TRACING} || mount -t tracefs nodev {TRACING}; cd {TRACING}; "
                   "echo 32768 > buffer_size_kb; "
                   f"echo 'p:uf_in handle_userfault address=+{ADDRESS_OFFSET}(%di):x64' > kprobe_events; "
                   "echo 'r64:uf_out handle_userfault' >> kprobe_events; "
                   "echo mono > trace_clock; echo 1 > events/kprobes/enable")

    def shell(self, text):
        return self.place.run("sh", "-c", text).decode(errors="replace")

    def begin(self):
        self.shell(f"echo > {TRACING}/trace")

    def latencies(self):
        """Of each page that was waited for since begin, in ms: from the first look at it to the end of the last.

        KVM looks first without waiting, and then lets a thread of the kernel wait in the virtual CPU's place, or waits
        itself, again and again if it is interrupted: it is one wait for the guest.
        """
        first, last, pages = {}, {}, {}
        for line in self.shell(f"cat {TRACING}/trace").splitlines():
            if match := PROBE.match(line):
                task, when, address = match.group(1), float(match.group(2)), match.group(3)
                if address:
                    pages[task] = int(address, 16) >> 12
                    first.setdefault(pages[task], when)
                elif task in pages:
                    last[pages.pop(task)] = when
        return [1e3 * (when - first[page]) for page, when in last.items()]


class Side:
    """A guest and the monitor that has it now."""

    def __init__(self, kind, own):
        # A place of its own, with folder and sockets; and a lab of one host has no other network.
        self.ground = places.Places()
        self.ground.find("a").address = "127.0.0.1"
        words = ["--at", "a", "--monitor", kind, "--memory", str(own.memory), "--work", str(own.work),
                 "--rate", own.rate, "--cpus", str(own.cpus), "--apus", own.apus, "--qemu", own.qemu,
                 "--capability", "postcopy-preempt", "--postcopy-pass", "1", "--settle", "2", "--limit", "400",
                 "--port", "5100" if kind == "apus" else "5200"]
        self.options = settings.parser().parse_args(words)
        self.kind, self.moves = kind, 0
        self.trial = migration.Trial(self.options, settings.guest_files(), self.ground)
        self.monitor = self.trial.add_monitor("a", kind)
        self.trial.boot(self.monitor)

    def move(self, trace):
        hop = settings.Hop("postcopy", "tcp", "a", self.kind)
        trace.begin()
        self.monitor = self.trial.move(hop, self.monitor, self.options.port + self.moves)
        self.moves += 1
        result = self.trial.result["hops"][-1]
        latencies = trace.latencies()
        if not latencies or result.get("last_page_ms") is None or result.get("stop_to_resume_ms") is None:
            raise monitor.Failed(f"{self.kind}: move {self.moves} left no figures: {len(latencies)} waits, {result}")
        return {"mover": self.kind, "downtime_ms": result["stop_to_resume_ms"], "last_page_ms": result["last_page_ms"],
                "bytes": result["bytes"], "page_requests": result["page_requests"], "reported_downtime_ms":
                result["downtime_ms"], "guest_gap_ms": result["guest_gap_ms"], "latencies_ms": latencies,
                "postcopy": result["postcopy"], "downtime_parts_us": result["downtime_parts_us"]}

    def rest(self, rests):
        self.monitor.qmp.command("stop" if rests else "cont")

    def end(self):
        try:
            self.trial.end(self.monitor)
        except monitor.Failed as error:
            raise monitor.Failed(f"{self.kind}: {error}") from error

    def close(self):
        self.trial.__exit__()
        self.ground.__exit__()


def quantile(values, part):
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


class Report:
    def __init__(self, samples):
        self.samples, self.failures = samples, []

    def pooled(self, mover):
        return [each for sample in self.samples if sample["mover"] == mover for each in sample["latencies_ms"]]

    def median(self, mover, key):
        return statistics.median(sample[key] for sample in self.samples if sample["mover"] == mover)

    def hold(self, what, value, limit):
        good = value <= limit
        print(f"  {'holds' if good else 'FAILS':5}  {what}: {value:.2f}, at most {limit} is promised")
        if not good:
            self.failures.append(what)

    def print(self):
        print(f"{'':6}{'moves':>6}{'waits':>7}{'p50 ms':>9}{'p99 ms':>9}{'longest':>9}{'last page ms':>14}"
              f"{'downtime ms':>13}{'guest gap ms':>14}{'MB':>7}")
        for mover in KINDS:
            waits = self.pooled(mover)
            print(f"{mover:6}{sum(s['mover'] == mover for s in self.samples):>6}{len(waits):>7}"
                  f"{quantile(waits, .5):9.2f}{quantile(waits, .99):9.2f}{max(waits):9.2f}"
                  f"{self.median(mover, 'last_page_ms'):14.0f}{self.median(mover, 'downtime_ms'):13.1f}"
                  f"{self.median(mover, 'guest_gap_ms'):14.1f}{self.median(mover, 'bytes') / 1e6:7.0f}")
        print()
        for part, name in ((.5, "p50"), (.99, "p99")):
            ratio = quantile(self.pooled("apus"), part) / quantile(self.pooled("qemu"), part)
            self.hold(f"fault latency {name} of QEMU's", ratio, 0.7)
        self.hold("time to the last page of QEMU's", self.ratio("last_page_ms"), 0.7)
        self.hold("downtime of QEMU's", self.ratio("downtime_ms"), 1.0)

    def ratio(self, key):
        """The median over rounds: the moves of a round follow one another, so what else happened met both alike."""
        own, others = ([s[key] for s in self.samples if s["mover"] == mover] for mover in KINDS)
        return statistics.median(a / b for a, b in zip(own, others))


def measure(own, samples):
    sides = []
    try:
        for kind in KINDS:
            sides.append(Side(kind, own))
            sides[-1].rest(True)
        trace = FaultTrace(sides[0].ground.find("a"))
        done = len(samples) // 2
        for number in range(own.rounds + 1 - done):
            for side in sides if number % 2 else sides[::-1]:
                side.rest(False)
                sample = side.move(trace)
                print(f"{side.kind}: downtime {sample['downtime_ms']} ms, last page {sample['last_page_ms']} ms, "
                      f"{len(sample['latencies_ms'])} waits", file=sys.stderr, flush=True)
                side.rest(True)
                if number:
                    samples.append(sample)
            print(f"round {number + done} of {own.rounds}", file=sys.stderr, flush=True)
            keep(own, samples)
        for side in sides:
            side.rest(False)
            side.end()
    finally:
        for side in sides:
            side.close()


def measure_in_lab(own, samples):
    """What went wrong, if anything did, and whether it was the lab."""
    words = ["--kernel", own.kernel] if own.kernel else []
    lab = subprocess.run([str(SCRIPTS / "lab"), "start", "--timeout", "3000", "--owner", str(os.getpid()), *words],
                         stdout=subprocess.PIPE, text=True)
    if lab.returncode != 0:
        sys.exit("bench: no lab can be started here")
    os.environ["APUS_LAB"] = lab.stdout.strip()
    try:
        measure(own, samples)
        return None, False
    except (monitor.Failed, subprocess.CalledProcessError) as error:
        return error, subprocess.run([str(SCRIPTS / "lab"), "on", "a", "true"]).returncode != 0
    finally:
        subprocess.run([str(SCRIPTS / "lab"), "stop"])


def keep(own, samples):
    """Writes what was measured so far, so that a run that is cut short is not for nothing."""
    pathlib.Path(own.keep).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(own.keep).write_text(json.dumps(
        {"date": time.strftime("%Y-%m-%d"), "samples": samples,
         "guest": {"MiB": own.memory, "work": own.work, "rate": own.rate, "cpus": own.cpus}}, indent=1))


def parse(arguments):
    parse = argparse.ArgumentParser(prog="Scripts/bench postcopy", allow_abbrev=False)
    parse.add_argument("--apus", required=True, help=argparse.SUPPRESS)
    parse.add_argument("--qemu", default="qemu-system-x86_64")
    parse.add_argument("--rounds", type=int, default=8, help="each moves both guests once; one more is not counted")
    parse.add_argument("--memory", type=int, default=160, metavar="MIB")
    parse.add_argument("--work", type=int, default=64, metavar="MIB", help="filled, written and checked by the guest")
    parse.add_argument("--rate", default="20", metavar="MB/S", help="that the guest writes")
    parse.add_argument("--cpus", type=int, default=1)
    parse.add_argument("--kernel", default="", metavar="SERIES", help="of the lab's host: 6.12 (the release's own)")
    parse.add_argument("--keep", metavar="FILE", default=str(
        SCRIPTS.parent / "Benchmarks" / "results" / f"{time.strftime('%Y-%m-%d')}-postcopy.json"))
    return parse.parse_args(arguments)


def main():
    own = parse(sys.argv[1:])
    own.apus = os.path.realpath(own.apus)
    try:
        settings.guest_files()
    except packages.CannotStart as error:
        sys.exit(f"bench: {error}")
    samples, failure = [], None
    for _ in range(LABS):
        failure, is_lost = measure_in_lab(own, samples)
        if not is_lost:
            break
        print(f"bench: the lab itself was lost ({failure}); another one goes on", file=sys.stderr, flush=True)
        del samples[len(samples) // 2 * 2:]
    if failure:
        print(f"bench: {failure}", file=sys.stderr)
    if len(samples) < 2:
        sys.exit(1)
    report = Report(samples[:len(samples) // 2 * 2])
    print(f"{own.memory} MiB, {own.work} MiB at work, {own.rate} MB/s written, {own.cpus} virtual CPUs; "
          f"{len(samples) // 2} rounds; medians over rounds, quantiles over all waits")
    report.print()
    sys.exit(1 if report.failures or failure else 0)


if __name__ == "__main__":
    main()
