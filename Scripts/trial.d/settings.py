"""What a trial is told: its options, the guest's files, and the hops of the journey."""

import argparse
import collections
import importlib.machinery
import importlib.util
import pathlib

import monitor
import ways

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
MODES = ("precopy", "postcopy", "hybrid", "multifd", "saved")
Hop = collections.namedtuple("Hop", "mode transport place monitor")


def parser():
    parse = argparse.ArgumentParser(prog="trial", allow_abbrev=False)
    parse.add_argument("--at", default="here", choices=("here", "a", "b"), help="where the guest boots")
    parse.add_argument("--hops", metavar="HOP,...", help="where to and how (precopy to where it is)")
    parse.add_argument("--monitor", default="qemu", choices=list(monitor.KINDS), help="in which the guest boots")
    parse.add_argument("--qemu", default="qemu-system-x86_64", metavar="PROGRAM")
    parse.add_argument("--machine", default="microvm,rtc=on", help="of QEMU")
    parse.add_argument("--accelerator", default="kvm", help="of QEMU")
    parse.add_argument("--cpu-model", default="host", help="of QEMU with KVM")
    parse.add_argument("--extra", default="", help="more options of QEMU")
    parse.add_argument("--apus", default=newest_apus(), metavar="PROGRAM", help="the one that was built last")
    parse.add_argument("--apus-extra", default="", help="more options of apus run")
    parse.add_argument("--kernel", default="vmlinux", choices=("vmlinux", "kernel"), help="kernel: the bzImage")
    parse.add_argument("--memory", type=int, default=256, help="MiB of the guest")
    parse.add_argument("--cpus", type=int, default=1)
    parse.add_argument("--rate", default="20", help="MB/s dirtied, or max")
    parse.add_argument("--work", type=int, default=32, help="MiB that the workload fills and checks")
    parse.add_argument("--hot", type=int, default=0, help="MiB of those that it writes (all)")
    parse.add_argument("--pattern", default="random", choices=("random", "sequential"))
    parse.add_argument("--clock", type=int, default=5000, help="us between the guest's looks at its clock")
    parse.add_argument("--append", default="", help="more of the kernel's command line")
    parse.add_argument("--disk", default="", help="raw image for the guest, reached from all places under one path")
    parse.add_argument("--network", default="", metavar="ADDRESS", help="of the guest, on tap0 or tap1: 10.77.0.50")
    parse.add_argument("--tick", type=int, default=0, metavar="MS", help="has the guest tick, to see gaps from outside")
    parse.add_argument("--port", type=int, default=4444, help="of the first hop, the next one's is one more")
    parse.add_argument("--bandwidth", type=float, default=0, help="MB/s (no limit)")
    parse.add_argument("--downtime-limit", type=int, default=300, help="ms")
    parse.add_argument("--capability", action="append", default=[])
    parse.add_argument("--channels", type=int, default=2, help="of multifd")
    parse.add_argument("--postcopy-pass", type=int, default=2, metavar="N", help="post-copy begins in this pass")
    parse.add_argument("--limit", type=float, default=150, help="s for the migration")
    parse.add_argument("--settle", type=int, default=3, help="reports to wait for at the destination")
    parse.add_argument("--json", action="store_true")
    return parse


def newest_apus():
    """The program that was built last; a release build is several times as fast in the lab."""
    built = [SCRIPTS.parent / ".build" / kind / "apus" for kind in ("debug", "release")]
    there = [path for path in built if path.exists()]
    return str(max(there, key=lambda path: path.stat().st_mtime) if there else built[0])


def guest_files():
    loader = importlib.machinery.SourceFileLoader("guest", str(SCRIPTS / "guest"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("guest", loader))
    loader.exec_module(module)
    return module.build()


def hops_of(options):
    """Throws SystemExit with what is wrong."""
    hops = []
    for text in (options.hops or f"precopy:{options.at}").split(","):
        way, _, rest = text.partition(":")
        mode, _, transport = way.partition("/")
        place, _, kind = rest.partition(":")
        hop = Hop(mode, transport or ("file" if mode == "saved" else "tcp"), place, kind)
        if hop.mode not in MODES or hop.place not in ("here", "a", "b"):
            raise SystemExit(f"trial: {text} is no hop: {', '.join(MODES)}, a colon, and here, a or b")
        if hop.transport not in ways.TRANSPORTS or kind not in ("", *monitor.KINDS):
            raise SystemExit(f"trial: {text}: there are {', '.join(ways.TRANSPORTS)}, and {', '.join(monitor.KINDS)}")
        if (hop.mode == "saved") != (hop.transport == "file") and (hop.mode, hop.transport) != ("saved", "exec"):
            raise SystemExit(f"trial: {text}: a guest is saved by file or exec, and only then by file")
        if (hop.place == "here") != (options.at == "here"):
            raise SystemExit("trial: a guest does not move between this machine and the lab")
        hops.append(hop)
    return hops
