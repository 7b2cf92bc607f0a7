"""Runs every benchmark, and keeps what they promise and what they measured in one table.

    bench_all.py [--quick] [--only NAME,...] [--output FILE]

A benchmark is a verb of Scripts/bench that prints lines like
    holds  decoding, GB/s: 25.10, at least 5 is promised
    FAILS  downtime, ms: 7.00, at most 5 is promised
The table goes to Benchmarks/results/DATE.md and to the terminal; all else that they print is shown as it comes.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROMISE = re.compile(r"^\s*(holds|FAILS)\s+(.+): (-?[\d.]+|unknown), at (least|most) (-?[\d.]+) is promised")
# In the order of the issues: what is run, and what is added by --quick, for a look and not for a record.
BENCHMARKS = {
    "stream": (["stream"], ["--rounds", "3"]), "start": (["start"], ["--rounds", "3"]),
    "migrate": (["migrate"], ["--pairs", "2"]), "load": (["load"], ["--pairs", "1"]),
    "load-lab": (["load", "--lab"], ["--pairs", "1"]), "postcopy": (["postcopy"], ["--rounds", "1"]),
    "install": (["install"], ["64", "3"])}
# These write all samples to a file, as they come.
KEEPING = ("migrate", "load", "load-lab")


def known_verbs():
    """What this Scripts/bench can do: the others are told as missing."""
    text = (ROOT / "Scripts" / "bench").read_text()
    return set(re.findall(r"^#\s+Scripts/bench (\w+)", text, re.M))


def machine():
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1))
    info = pathlib.Path("/proc/cpuinfo").read_text()
    maker = re.search(r"vendor_id\s*:\s*(\w+)", info)
    names = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}
    ground = subprocess.run([ROOT / ".build/release/apus", "doctor", "--json"], stdout=subprocess.PIPE, text=True).stdout
    kind = re.search(r'"ground"\s*:\s*"([\w-]+)"', ground)
    kvm = {"linux-guests": "KVM that runs Linux", "small-guests": "KVM that emulates guest kernel code"}
    return (f"{os.cpu_count()} processors ({names.get(maker and maker.group(1), 'x86-64')}), "
            f"{round(memory / 2**20)} GiB, Linux {'.'.join(os.uname().release.split('.')[:2])}, "
            f"{kvm.get(kind and kind.group(1), 'no KVM')}")


def run(name, words):
    """The promises of a benchmark as rows, or one that says why it has none; and whether all is well."""
    print(f"\n== Scripts/bench {' '.join(words)}", flush=True)
    rows, last, good = [], "", True
    process = subprocess.Popen([ROOT / "Scripts" / "bench", *words], stdout=subprocess.PIPE, cwd=ROOT,
                               stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
        if found := PROMISE.match(line):
            verdict, what, value, word, limit = found.groups()
            holds = value != "unknown" and (
                float(value) >= float(limit) if word == "least" else float(value) <= float(limit))
            contradicts = holds != (verdict == "holds")
            good = good and holds and not contradicts
            rows.append((name, what, value, f"at {word} {limit}",
                         "**contradicts itself**" if contradicts else "holds" if holds else "**fails**"))
    status = process.wait()
    if not rows:
        rows, good = [(name, f"gave no figures (status {status}): {last[:120]}", "-", "-", "**fails**")], False
    elif status != 0 and good:
        rows.append((name, f"ended with status {status}: {last[:120]}", "-", "-", "**fails**"))
    return rows, good and status == 0


def table(rows, machine_text, load):
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True)
    lines = [f"# Measured and promised, {time.strftime('%Y-%m-%d')}", "",
             f"{machine_text}; load before the start {load:.1f}; commit {commit.stdout.strip() or 'unknown'}. "
             "Made by `Scripts/bench all`.", "",
             "| benchmark | what | measured | promised | |", "|---|---|---:|---|---|"]
    lines += [f"| {verb} | {what.replace('|', '/')} | {value} | {promise} | {verdict} |"
              for verb, what, value, promise, verdict in rows]
    return "\n".join(lines) + "\n"


def main():
    parse = argparse.ArgumentParser(prog="bench all", allow_abbrev=False)
    parse.add_argument("--quick", action="store_true", help="few rounds: for a look, not for a record")
    parse.add_argument("--only", default="", metavar="NAME,...", help=f"of {', '.join(BENCHMARKS)}")
    parse.add_argument("--output", metavar="FILE", help="instead of Benchmarks/results/DATE.md")
    options = parse.parse_args()
    chosen = [name for name in options.only.split(",") if name] or list(BENCHMARKS)
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        parse.error(f"{unknown[0]} is no benchmark: {', '.join(BENCHMARKS)}")
    load, rows, good = os.getloadavg()[0], [], True
    output = pathlib.Path(options.output or ROOT / "Benchmarks" / "results" / f"{time.strftime('%Y-%m-%d')}.md")
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        words, quick = BENCHMARKS[name]
        if words[0] not in known_verbs():
            rows.append((name, "not there yet", "-", "-", ""))
            continue
        samples = ["--keep", f"{output.with_suffix('')}-{name}.json"] if name in KEEPING else []
        more, holds = run(name, [*words, *(quick if options.quick else []), *samples])
        rows, good = rows + more, good and holds
        output.write_text(table(rows, machine(), load))  # after each: what was measured is not lost
    print(f"\n{output.read_text()}\nkept in {output}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
