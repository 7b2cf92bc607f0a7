"""Measures how a guest moves that works: Apus and QEMU-KVM with the same guest, workload and bandwidth limit.

At each of three rates both movers have a source whose guest dirties pages at random; only the guest whose turn it is
runs. In each round each mover moves its guest once to a fresh destination over tcp, in changing order; the guest's own
check must be clean there. Here the guest is the built-in one, with --lab it is Linux in a host of the lab. The time of
a run is that from the source's `setup` to its `completed` event, the downtime that from its STOP to the destination's
RESUME, both by the monitors' own time stamps; bytes are those that crossed the network, headers and all.

What is dirtied less than a third as fast as the link carries it is sent hardly more than once by either, so that the
rates are two, three and four fifths of the bandwidth (in the lab a quarter, a half and three quarters).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from monitors import Failed  # noqa: E402
from promises import Promises, machine, median  # noqa: E402

MOVERS = ("apus", "qemu")
# What is promised of Apus's figure over QEMU's.
PROMISES = (("total time", "seconds", 0.9), ("bytes on the wire", "bytes", 0.9), ("downtime", "downtime", 0.7))


class Report(Promises):
    def __init__(self, samples, rates):
        super().__init__()
        self.samples, self.rates = samples, rates

    def values(self, key, mover, rate):
        return [sample[key] for sample in self.samples if sample["mover"] == mover and sample["rate"] == rate]

    def ratio(self, key, rate):
        """The median over rounds of Apus's figure over QEMU's in the same round."""
        pairs = zip(self.values(key, "apus", rate), self.values(key, "qemu", rate))
        return median(own / other for own, other in pairs if other)

    def table(self):
        print(f"{'MB/s':>6} {'mover':>6} {'seconds':>8} {'MB sent':>8} {'MB/s sent':>9} {'passes':>6} "
              f"{'downtime ms':>12} {'as told ms':>10} {'CPU s':>6}")
        for rate in self.rates:
            for mover in MOVERS:
                figures = {key: median(self.values(key, mover, rate))
                           for key in ("seconds", "bytes", "passes", "downtime", "told", "cpu")}
                if figures["seconds"] is None:
                    continue
                print(f"{rate:>6} {mover:>6} {figures['seconds']:8.3f} {figures['bytes'] / 1e6:8.1f} "
                      f"{figures['bytes'] / 1e6 / figures['seconds']:9.1f} {figures['passes']:6.0f} "
                      f"{figures['downtime'] * 1e3:12.1f} {figures['told']:10.0f} {figures['cpu']:6.2f}")

    def judge(self, where):
        print()
        for rate in self.rates:
            for name, key, limit in PROMISES:
                self.hold(f"{where}, {rate} MB/s dirtied, {name} of QEMU's", self.ratio(key, rate), limit, False)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="Scripts/bench load", allow_abbrev=False)
    parser.add_argument("--apus", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bare", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--lab", action="store_true", help="the Linux guest in the lab, not the built-in one here")
    parser.add_argument("--pairs", type=int, default=5,
                        help="rounds; in each Apus and QEMU move once at each rate (%(default)s)")
    parser.add_argument("--memory", type=int, metavar="MIB", help="of the guest (512; 128)")
    parser.add_argument("--work", type=int, metavar="MIB", help="that the guest dirties (384; 48)")
    parser.add_argument("--bandwidth", type=float, metavar="MB/S", help="limit of both (125; 16)")
    parser.add_argument("--rates", metavar="MB/S,...", help="dirtied (50,75,100; 4,8,12)")
    parser.add_argument("--downtime-limit", type=int, default=300, metavar="MS")
    parser.add_argument("--keep", metavar="FILE", default=".build/bench-load.json", help="of all samples (%(default)s)")
    options = parser.parse_args(arguments)
    for name, here, lab in (("memory", 512, 128), ("work", 384, 48), ("bandwidth", 125, 16),
                            ("rates", "50,75,100", "4,8,12")):
        if getattr(options, name) is None:
            setattr(options, name, lab if options.lab else here)
    options.rates = [int(rate) for rate in options.rates.split(",")]
    return options


def keep(options, samples):
    """Writes what was measured so far, so that a run that is cut short is not for nothing."""
    with open(options.keep, "w", encoding="utf-8") as file:
        json.dump({"date": time.strftime("%Y-%m-%d"), "machine": machine(), "lab": options.lab,
                   "bandwidth": options.bandwidth, "memory": options.memory, "work": options.work,
                   "downtime_limit": options.downtime_limit, "samples": samples}, file, indent=1)


def measure(options, ground, samples):
    """All rounds of one rate after the other: a guest is made once for each rate and mover."""
    for rate in options.rates:
        sources = {}
        try:
            for mover in MOVERS:
                sources[mover] = ground.start(mover, rate)
            for number in range(options.pairs):
                for mover in MOVERS if number % 2 == 0 else reversed(MOVERS):
                    sources[mover], sample = ground.move(mover, sources[mover], rate)
                    samples.append({"mover": mover, "rate": rate, **sample})
                keep(options, samples)
                print(f"{rate} MB/s: round {number + 1} of {options.pairs}", file=sys.stderr)
        except Failed as error:
            raise Failed(f"{mover} at {rate} MB/s: {error}") from None
        finally:
            for source in sources.values():
                source.close()


def main():
    options = parse(sys.argv[1:])
    if options.lab:
        from load_lab import Lab as Ground
    else:
        from load_here import Here as Ground
    samples, error = [], None
    with tempfile.TemporaryDirectory(prefix="apus-bench.") as folder:
        try:
            with Ground(options, folder) as ground:
                measure(options, ground, samples)
        except (Failed, subprocess.CalledProcessError) as failure:
            error = failure
    report = Report(samples, options.rates)
    where = "Linux guest in the lab" if options.lab else "built-in guest"
    print(f"{where}, {options.memory} MiB, {options.work} of them dirtied at random, limit {options.bandwidth:g} MB/s "
          f"and {options.downtime_limit} ms, {options.pairs} rounds, medians; {machine()}\n")
    report.table()
    report.judge(where)
    print(f"\nAll samples are in {options.keep}.")
    if error:
        print(f"bench load: {error}", file=sys.stderr)
    sys.exit(1 if error or report.failures else 0)


if __name__ == "__main__":
    main()
