"""Measures how fast an idle guest moves: Apus, the installed QEMU and bare sockets, interleaved.

Half of the guest's memory is incompressible, half zero. In each round every combination of mover, transport and channel
count makes one run, in changing order, so that what the machine does meanwhile meets all alike. Sources stay; each run
has a fresh destination, and just before it as much memory as that will need is touched and freed. The time of a run is
that from the `setup` to the `completed` event of the source, or from the first connect to the last answer of the bare
copier, which is told where the incompressible half is and only copies that.

A run that fails is told, and made no pair of; the others go on, with new sources for its mover. No round begins that
would end behind the limit. With --resume the samples of an earlier run, of the same commit, count too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from monitors import Failed, Monitor, capability_names  # noqa: E402
from promises import Promises, clock, machine, median  # noqa: E402

GUEST = "rate=0 check=0 idle=halt period=200 vectors=sse"
MOVERS = ("apus", "qemu", "bare")


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.image = f"{folder}/guest.elf"
        subprocess.run([options.apus, "guest", self.image], check=True)
        self.programs = {"apus": options.apus, "qemu": options.qemu}
        self.samples, self.errors = [], []
        if options.resume:
            with open(options.keep, encoding="utf-8") as file:
                self.samples = json.load(file)["samples"]
        self.round = max((sample["round"] for sample in self.samples), default=0)

    def keep(self):
        """Writes what was measured so far, so that a run that is cut short is not for nothing."""
        with open(self.options.keep, "w", encoding="utf-8") as file:
            json.dump({"date": time.strftime("%Y-%m-%d"), "machine": machine(), "errors": self.errors,
                       "samples": self.samples}, file, indent=1)

    def start_source(self, mover, mebibytes, shares_memory):
        if mover == "bare":
            process = subprocess.Popen([self.options.bare, "source", str(mebibytes // 2)], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            process.stdout.readline()
            return process
        source = Monitor(self.programs[mover], self.folder, self.image, mebibytes,
                         guest=f"region={mebibytes // 2} tsc={clock()} {GUEST}", shares_memory=shares_memory)
        source.wait_for_lines(3)
        return source

    def prepare(self, mebibytes):
        """Touches and frees what a destination will touch: memory that the host has taken back costs far more."""
        subprocess.run([self.options.bare, "touch", str(mebibytes // 2 + 128)], check=True)

    def address(self, transport):
        return "tcp:127.0.0.1:0" if transport == "tcp" else f"unix:{self.folder}/{len(self.samples)}.mig"

    def run(self, mover, sources, mebibytes, transport, channels):
        """One run, whose sample is kept; or an error, and a new source next time."""
        sample = {"round": self.round, "mover": mover, "mebibytes": mebibytes, "transport": transport,
                  "channels": channels, "load": os.getloadavg()[0]}
        key = mover, mebibytes, transport == "local"
        try:
            if key not in sources:
                sources[key] = self.start_source(*key)
            if mover == "bare":
                figures = self.copy(mover, sources[key], mebibytes, transport, channels)
            else:
                sources[key], figures = self.migrate(mover, sources[key], mebibytes, transport, channels)
            self.samples.append({**sample, **figures})
        except (Failed, OSError) as error:
            self.errors.append(f"{mover}, {mebibytes} MiB, {transport}, {channels} channels: {error}")
            print(f"bench: {self.errors[-1]}", file=sys.stderr)
            if key in sources:
                end(sources.pop(key))

    def copy(self, mover, source, mebibytes, transport, channels):
        self.prepare(mebibytes)
        address = "tcp:0" if transport == "tcp" else self.address(transport)
        destination = subprocess.Popen(
            [self.options.bare, "destination", str(mebibytes // 2), address, str(channels)], text=True,
            stdout=subprocess.PIPE)
        source.stdin.write(f"{destination.stdout.readline().strip()} {channels}\n")
        source.stdin.flush()
        answer, end = source.stdout.readline().split(), destination.stdout.readline().split()
        if destination.wait() != 0 or len(answer) != 3 or len(end) != 2:
            raise Failed("the copier failed")
        return {"seconds": float(answer[0]), "source_cpu": float(answer[2]), "destination_cpu": float(end[1])}

    def migrate(self, mover, source, mebibytes, transport, channels):
        """One migration, and who has the guest for the next: the source, but of memory that was handed over the other."""
        parameters = {"max_bandwidth": 10**12, **({"multifd_channels": channels} if channels > 1 else {})}
        capabilities = ("local",) if transport == "local" else capability_names(channels)
        self.prepare(mebibytes)
        destination = Monitor(self.programs[mover], self.folder, self.image, mebibytes, waits=True,
                              shares_memory=transport == "local")
        try:
            for side in (source, destination):
                known = {each["capability"] for each in side.qmp.command("query-migrate-capabilities")}
                side.qmp.command("migrate-set-capabilities", capabilities=[
                    {"capability": name, "state": False} for name in ("multifd", "local") if name in known])
                side.set(capabilities, **parameters)
            target = destination.listen(self.address(transport))
            before = source.processor_seconds(), destination.processor_seconds()
            source.qmp.events.clear()
            source.qmp.command("migrate", uri=target)
            start = source.qmp.wait_for("MIGRATION", status="setup")
            stop = source.qmp.wait_for("STOP")
            end = source.qmp.wait_for("MIGRATION", status="completed")
            resumed = destination.qmp.wait_for("RESUME")
            after = source.processor_seconds(), destination.processor_seconds()
            info = source.qmp.command("query-migrate")
            destination.expect_well(2)
        except BaseException:
            destination.close()
            raise
        if transport == "local":
            source.close()
            source = destination
        else:
            destination.close()
            source.qmp.command("cont")
        return source, {
            "seconds": end - start, "source_cpu": after[0] - before[0], "destination_cpu": after[1] - before[1],
            "downtime": resumed - stop, "reported_downtime": info["downtime"], "total_time": info["total-time"],
            "transferred": info["ram"]["transferred"], "downtime_parts": info.get("downtime-parts")}


class Report(Promises):
    """What the samples say, and whether it is what is promised."""

    def __init__(self, samples, mebibytes):
        super().__init__()
        self.samples, self.mebibytes = samples, mebibytes

    def values(self, key, **match):
        return [s[key] for s in self.samples if all(s[k] == v for k, v in match.items()) and key in s]

    def seconds(self, mover, transport, channels):
        return median(self.values("seconds", mover=mover, transport=transport, channels=channels,
                                  mebibytes=self.mebibytes))

    def rounds(self, mover, transport, channels):
        return {s["round"]: s["seconds"] for s in self.samples if s["mover"] == mover and s["transport"] == transport
                and s["channels"] == channels and s["mebibytes"] == self.mebibytes}

    def ratio(self, other, transport, channels, other_channels=None):
        """The median over rounds of how much faster Apus was than the other in the same round."""
        own = self.rounds("apus", transport, channels)
        others = self.rounds(other, transport, other_channels or channels)
        return median(others[number] / own[number] for number in own.keys() & others.keys())

    def processor(self, mover, transport, channels):
        """Processor seconds of both sides per GB of memory."""
        runs = [s for s in self.samples if s["mover"] == mover and s["transport"] == transport
                and s["channels"] == channels and s["mebibytes"] == self.mebibytes]
        return median([(s["source_cpu"] + s["destination_cpu"]) / (s["mebibytes"] * 1.048576e-3) for s in runs])

    def processor_ratio(self, transport, channels, other_channels):
        own, other = self.processor("apus", transport, channels), self.processor("qemu", transport, other_channels)
        return own / other if own and other else None

    def table(self, transport, channel_counts):
        print(f"\n{transport}: {'channels':>12} {'mover':>6} {'seconds':>8} {'fastest':>8} {'pages/s':>9} "
              f"{'CPU s/GB':>9} {'downtime ms':>12}  apus faster by")
        pages = self.mebibytes * 256
        for channels in channel_counts:
            for mover in MOVERS:
                match = {"mover": mover, "transport": transport, "channels": channels, "mebibytes": self.mebibytes}
                seconds = self.values("seconds", **match)
                if not seconds:
                    continue
                downtime = milliseconds(self.values("downtime", **match))
                ratio = self.ratio(mover, transport, channels) or float("nan")
                print(f"{'':{len(transport) + 2}}{channels:>12} {mover:>6} {median(seconds):8.3f} {min(seconds):8.3f} "
                      f"{pages / median(seconds):9.0f} {self.processor(mover, transport, channels):9.3f} "
                      f"{downtime if downtime is not None else float('nan'):12.1f}"
                      + (f"  {ratio:.2f}" if mover != "apus" else ""))

    def judge(self, transport, channel_counts):
        print()
        if 1 in channel_counts:
            self.hold(f"{transport}, one channel, pages/s of QEMU's", self.ratio("qemu", transport, 1), 1.2)
            self.hold(f"{transport}, one channel, pages/s of bare sockets'", self.ratio("bare", transport, 1), 0.9)
            self.hold(f"{transport}, one channel, CPU s/GB of QEMU's", self.processor_ratio(transport, 1, 1), 0.8,
                      False)
        many = [count for count in channel_counts if count > 1]
        if many:
            best = {m: min(many, key=lambda n, m=m: self.seconds(m, transport, n) or float("inf")) for m in MOVERS}
            print(f"         {transport}, best channel counts: {best}")
            self.hold(f"{transport}, best of {many} channels, pages/s of QEMU's best",
                      self.ratio("qemu", transport, best["apus"], best["qemu"]), 1.0)
            self.hold(f"{transport}, {best['apus']} channels, pages/s of as many bare sockets'",
                      self.ratio("bare", transport, best["apus"]), 0.9)
            self.hold(f"{transport}, best, CPU s/GB of QEMU's best",
                      self.processor_ratio(transport, best["apus"], best["qemu"]), 0.8, False)
        downtimes = self.values("downtime", mover="apus", transport=transport, mebibytes=self.mebibytes)
        self.hold(f"{transport}, downtime of an idle guest in ms, median", milliseconds(downtimes), 5, False)

    def judge_local(self):
        """The memory itself is handed over."""
        downtimes = self.values("downtime", mover="apus", transport="local", mebibytes=self.mebibytes)
        self.hold(f"local, {self.mebibytes} MiB, downtime in ms, median", milliseconds(downtimes), 30, False)

    def judge_sizes(self, sizes):
        """Seconds over memory are a straight line: a MiB of the largest takes no longer than one of the smallest."""
        points = [(size, median(self.values("seconds", mover="apus", mebibytes=size, channels=1, transport="tcp")))
                  for size in sizes]
        print("\nApus over tcp, one channel: "
              + ", ".join(f"{size} MiB {value or float('nan'):.3f} s" for size, value in points))
        (first, low), (last, high) = points[0], points[-1]
        growth = (high / last) / (low / first) if low and high else None
        self.hold(f"seconds per MiB at {last} MiB over those at {first} MiB", growth, 1.2, False)


def milliseconds(seconds):
    middle = median(seconds)
    return None if middle is None else middle * 1e3


def parse(arguments):
    parser = argparse.ArgumentParser(prog="Scripts/bench migrate")
    parser.add_argument("--apus", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bare", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--pairs", type=int, default=10, help="rounds; each makes one run of everything")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB")
    parser.add_argument("--transports", default="tcp,unix")
    parser.add_argument("--channels", default="1,2,4,8")
    parser.add_argument("--movers", default="apus,qemu,bare")
    parser.add_argument("--no-sizes", action="store_true", help="leave out smaller memories")
    parser.add_argument("--limit", type=float, default=570, metavar="S", help="of the whole (%(default)s)")
    parser.add_argument("--keep", metavar="FILE", default=".build/bench-migrate.json",
                        help="of all samples (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on with the samples of that file")
    return parser.parse_args(arguments)


def end(source):
    source.close() if isinstance(source, Monitor) else source.kill()


def measure(bench, options, movers, transports, channel_counts, sizes):
    """The smaller memories first, a few runs of each, then rounds of everything else as long as there is time."""
    begin, sources = time.monotonic(), {}
    try:
        for size in sizes:
            for _ in range(max(3, options.pairs // 2)):
                bench.run("apus", sources, size, "tcp", 1)
            for key in [key for key in sources if key[1] == size]:
                end(sources.pop(key))
        plan = [(mover, transport, channels) for transport in transports for channels in channel_counts
                for mover in movers]
        if "apus" in movers:
            plan.append(("apus", "local", 1))
        longest = 0
        for number in range(options.pairs):
            started = time.monotonic()
            if started + longest > begin + options.limit:
                print(f"bench: no time for more than {number} rounds of {options.pairs}", file=sys.stderr)
                break
            bench.round += 1
            turn = number % len(plan)
            for mover, transport, channels in plan[turn:] + plan[:turn]:
                bench.run(mover, sources, options.memory, transport, channels)
            bench.keep()
            longest = max(longest, time.monotonic() - started)
            print(f"round {number + 1} of {options.pairs}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    finally:
        for source in sources.values():
            end(source)
        bench.keep()


def main():
    options = parse(sys.argv[1:])
    movers, transports = options.movers.split(","), options.transports.split(",")
    channel_counts = [int(count) for count in options.channels.split(",")]
    sizes = [] if options.no_sizes else [options.memory // 4, options.memory // 2]
    with tempfile.TemporaryDirectory(prefix="apus-bench.") as folder:
        bench = Bench(options, folder)
        try:
            measure(bench, options, movers, transports, channel_counts, sizes)
        except KeyboardInterrupt:
            print("bench: interrupted; these are the samples so far", file=sys.stderr)
    report = Report(bench.samples, options.memory)
    print(f"{options.memory} MiB, half incompressible and half zero, idle guest, {bench.round} rounds, medians; "
          f"{machine()}")
    for transport in transports:
        report.table(transport, channel_counts)
        if set(movers) == set(MOVERS):
            report.judge(transport, channel_counts)
    if "apus" in movers:
        print()
        report.judge_local()
    if sizes:
        report.judge_sizes([*sizes, options.memory])
    print(f"\nAll samples are in {options.keep}; {len(bench.errors)} runs failed.")
    sys.exit(1 if report.failures or bench.errors else 0)


if __name__ == "__main__":
    main()
