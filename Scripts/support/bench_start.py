"""Measures how long a monitor takes from its start to its guest's first instruction, and the memory it needs itself.

The guest is a kernel of a few bytes: its first instructions write a byte to the serial port, which the monitor passes on
to its standard output. The time runs from the start of the process to that byte. QEMU is measured twice: to the first
instruction of the same kernel, which its firmware starts, and to the first instruction of all, which a firmware of the
same few bytes executes. Runs are interleaved, so that all see the same load; medians are compared.

The memory is what /proc says of the process (Pss and private dirty pages) without the mapping of the guest's memory.
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

GUEST_MIB = 512
LIMIT_MS = 50
LIMIT_MIB = 25

# mov $0x3f8, %dx; mov $'!', %al; out %al, %dx; 1: hlt; jmp 1b
CODE32 = bytes([0x66, 0xBA, 0xF8, 0x03, 0xB0, 0x21, 0xEE, 0xF4, 0xEB, 0xFD])
CODE16 = bytes([0xBA, 0xF8, 0x03, 0xB0, 0x21, 0xEE, 0xF4, 0xEB, 0xFD])


def kernel():
    """An ELF image of the code, at 1 MiB, with a PVH note that names its entry."""
    address, header = 0x100000, 64 + 2 * 56
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", address + header + 20)
    body = note + CODE32
    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, address + header + 20, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    size = header + len(body)
    elf += struct.pack("<IIQQQQQQ", 1, 7, 0, address, address, size, size, 4096)
    elf += struct.pack("<IIQQQQQQ", 4, 4, header, address + header, address + header, len(note), len(note), 4)
    return elf + body


def firmware():
    """64 KiB that end at 4 GiB; the processor starts 16 bytes before the end."""
    return bytes(0xFFF0) + CODE16 + bytes(16 - len(CODE16))


def own_memory(pid):
    """Pss and private dirty KiB of a process, without mappings as large as the guest's memory."""
    pss = dirty = 0
    counts = True
    for line in open(f"/proc/{pid}/smaps"):
        words = line.split()
        if words[0] == "Size:":
            counts = int(words[1]) < GUEST_MIB << 10
        elif counts and words[0] == "Pss:":
            pss += int(words[1])
        elif counts and words[0] == "Private_Dirty:":
            dirty += int(words[1])
    return pss, dirty


def run(command):
    """Milliseconds to the guest's byte, and the monitor's own memory then."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    try:
        byte = process.stdout.read(1)
        elapsed = (time.perf_counter() - start) * 1000
        if byte != b"!":
            process.wait(timeout=10)
            sys.exit(f"{command[0]} ended without a word of its guest: {process.stderr.read().decode()}")
        return elapsed, own_memory(process.pid)
    finally:
        process.kill()
        process.wait()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--apus", default=".build/release/apus")
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--json", action="store_true", help="print all samples as JSON as well")
    options = options.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        paths = {"kernel": kernel(), "firmware": firmware()}
        for name, content in paths.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        image, bios = os.path.join(folder, "kernel"), os.path.join(folder, "firmware")
        qemu = ["qemu-system-x86_64", "-M", "microvm", "-accel", "kvm", "-nodefaults", "-no-user-config", "-display",
                "none", "-m", str(GUEST_MIB), "-serial", "stdio"]
        commands = {
            "apus, kernel": [options.apus, "run", "--kernel", image, "--memory", f"{GUEST_MIB}M"],
            "QEMU, kernel": qemu + ["-kernel", image],
            "QEMU, firmware": qemu + ["-bios", bios],
        }
        samples = {name: [] for name in commands}
        for name, command in commands.items():
            run(command)  # files and libraries are in the page cache from now on
        for _ in range(options.rounds):
            for name, command in commands.items():
                samples[name].append(run(command))

    print(f"from start to first instruction, {options.rounds} rounds, guest of {GUEST_MIB} MiB")
    print(f"{'':16}{'median':>10}{'least':>10}{'most':>10}{'own Pss':>12}{'own dirty':>12}")
    medians = {}
    for name, values in samples.items():
        times = [elapsed for elapsed, _ in values]
        pss = statistics.median(memory[0] for _, memory in values) / 1024
        dirty = statistics.median(memory[1] for _, memory in values) / 1024
        medians[name] = (statistics.median(times), pss)
        print(f"{name:16}{statistics.median(times):7.1f} ms{min(times):7.1f} ms{max(times):7.1f} ms"
              f"{pss:8.1f} MiB{dirty:8.1f} MiB")
    if options.json:
        print(json.dumps(samples))
    elapsed, memory = medians["apus, kernel"]
    print(f"apus takes {elapsed / medians['QEMU, kernel'][0]:.2f} times as long as QEMU to the kernel, "
          f"{elapsed / medians['QEMU, firmware'][0]:.2f} times as long as QEMU to its first instruction")
    promises = [("start to the first instruction, ms", elapsed, LIMIT_MS), ("own memory, MiB", memory, LIMIT_MIB)]
    for name, value, limit in promises:
        print(f"{'holds' if value <= limit else 'FAILS'}  {name}: {value:.2f}, at most {limit} is promised")
    sys.exit(0 if all(value <= limit for _, value, limit in promises) else 1)


if __name__ == "__main__":
    main()
