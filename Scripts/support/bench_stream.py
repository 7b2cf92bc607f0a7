"""Measures `apus stream rewrite` against cat in the same pipeline, and its memory.

    cat STREAM | X | cat >/dev/null      with X = cat, X = apus stream rewrite, in turn

The stream has pages of which none is zero. Each round runs every command once, in changing order, so that what the
machine does meanwhile meets all alike; the ratio is of medians.
"""

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20
PAGE = 4096
PROMISED_RATIO = 0.6
# The process may be this much larger for 1 GiB than for 256 MiB: allocator noise, not growth.
FLAT_MIB = 2


def name(text):
    return bytes([len(text)]) + text.encode()


def write_stream(path, byte_count):
    """A stream of QEMU's microvm whose one block has `byte_count` bytes, every page plain and no page zero."""
    seed = bytes((i * 167 + (i >> 8) * 13 + 1) & 0xFF for i in range(PAGE))
    with open(path, "wb", buffering=MIB) as out:
        out.write(struct.pack(">II", 0x5145564D, 3))
        out.write(b"\x07" + struct.pack(">I", 7) + b"microvm")
        out.write(b"\x01" + struct.pack(">I", 2) + name("ram") + struct.pack(">II", 0, 4))
        out.write(struct.pack(">Q", byte_count | 0x004) + name("microvm.ram") + struct.pack(">Q", byte_count))
        footer = struct.pack(">QBI", 0x010, 0x7E, 2)
        out.write(footer)
        out.write(b"\x02" + struct.pack(">I", 2))
        for offset in range(0, byte_count, PAGE):
            if offset == 0:
                out.write(struct.pack(">Q", offset | 0x008) + name("microvm.ram"))
            else:
                out.write(struct.pack(">Q", offset | 0x028))
            number = struct.pack(">Q", offset + 1)
            out.write(number + seed[len(number):])
        out.write(footer)
        out.write(b"\x03" + struct.pack(">I", 2) + footer)
        out.write(b"\x00")


def watch_memory(pid, peak, done):
    """Keeps the high-water mark of a process; rusage would count the Python that it was forked from."""
    while not done.wait(0.02):
        try:
            with open(f"/proc/{pid}/status") as status:
                for line in status:
                    if line.startswith("VmHWM:"):
                        peak[0] = max(peak[0], int(line.split()[1]))
        except OSError:
            return


def run(command, stream):
    """Seconds that the pipeline took, and the peak memory of `command` in KiB."""
    start = time.monotonic()
    feed = subprocess.Popen(["cat", stream], stdout=subprocess.PIPE)
    middle = subprocess.Popen(command, stdin=feed.stdout, stdout=subprocess.PIPE)
    feed.stdout.close()
    drain = subprocess.Popen(["cat"], stdin=middle.stdout, stdout=subprocess.DEVNULL)
    middle.stdout.close()
    peak, done = [0], threading.Event()
    watcher = threading.Thread(target=watch_memory, args=(middle.pid, peak, done))
    watcher.start()
    status = middle.wait()
    took = time.monotonic() - start
    done.set()
    watcher.join()
    if status != 0 or drain.wait() != 0 or feed.wait() != 0:
        sys.exit(f"bench: {' '.join(command)} failed with {status}")
    return took, peak[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--apus", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    options = parser.parse_args()
    commands = {
        "cat": ["cat"],
        "rewrite": [options.apus, "stream", "rewrite"],
        "rewrite --zero-pages": [options.apus, "stream", "rewrite", "--zero-pages"],
    }
    seconds = {key: [] for key in commands}
    memory = {}
    with tempfile.TemporaryDirectory(prefix="apus-bench.") as folder:
        small, large = os.path.join(folder, "small"), os.path.join(folder, "large")
        write_stream(small, options.size * MIB // 4)
        write_stream(large, options.size * MIB)
        for key in commands:
            memory[key] = [run(commands[key], small)[1]]
        for number in range(options.rounds):
            keys = list(commands)
            for key in keys[number % len(keys):] + keys[:number % len(keys)]:
                took, peak = run(commands[key], large)
                seconds[key].append(took)
                if number == 0:
                    memory[key].append(peak)
    print(f"{options.size} MiB of pages that are not zero, {options.rounds} rounds, medians; "
          f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    reference = statistics.median(seconds["cat"])
    failed = False
    for key, samples in seconds.items():
        median = statistics.median(samples)
        ratio = reference / median
        first, second = memory[key]
        print(f"  {key:22} {options.size / 1024 / median:6.2f} GiB/s  ({min(samples):.3f} to {max(samples):.3f} s)"
              f"  {ratio:5.2f} of cat  peak {first / 1024:.1f} MiB for a quarter, {second / 1024:.1f} MiB for all")
        if key == "rewrite":
            good = round(ratio, 2) >= PROMISED_RATIO
            print(f"  {'holds' if good else 'FAILS'}  apus stream rewrite, speed as a part of cat's: {ratio:.2f}, "
                  f"at least {PROMISED_RATIO} is promised")
            failed = failed or not good
        if key != "cat" and second - first > FLAT_MIB * 1024:
            print(f"bench: the memory of {key} grows with the stream", file=sys.stderr)
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
