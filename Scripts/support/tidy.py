"""Checks of the tree itself that no compiler makes. Prints each offence as PATH:LINE: what; exits 1 if there is one."""
import re
import subprocess
import sys

MAXIMUM_LINES = 450
# The folders whose code may make raw system calls; everything else goes through them.
SYSTEM_CALLS = ("Sources/CLinux/", "Sources/LinuxSystem/", "Sources/KVM/", "Sources/CVerbs/", "Sources/RDMATransport/")
# Targets that anybody may use without a kernel beside them.
PURE = ("Sources/MigrationStream/", "Sources/QMP/")
PURE_FORBIDDEN = re.compile(r"^\s*(?:\w+ )?import (Glibc|Foundation|Dispatch|CLinux|LinuxSystem)\b")
RAW_CALL = re.compile(r"(?<![\w.])(?:clinux_\w+|ioctl|mmap|munmap)\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
CRASHES = re.compile(r"try!|fatalError\(")
MACHINE_PATH = re.compile(r"/(?:work|root|home/\w+)/")


def tracked():
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True)
    return listing.stdout.split("\n")[:-1]


def offences(path):
    try:
        lines = open(path, encoding="utf-8").read().split("\n")
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return
    swift, source = path.endswith(".swift"), path.startswith("Sources/")
    if swift and len(lines) > MAXIMUM_LINES:
        yield len(lines), f"{len(lines)} lines, more than {MAXIMUM_LINES}"
    for number, line in enumerate(lines, 1):
        if path != "Scripts/support/tidy.py":
            if MACHINE_PATH.search(line):
                yield number, "names a path of one machine"
            if source and UNFINISHED.search(line):
                yield number, "announces something unfinished"
        if not (swift and source):
            continue
        if CRASHES.search(line) and not line.lstrip().startswith("//"):
            yield number, "would crash: try! or fatalError"
        if path.startswith(PURE) and PURE_FORBIDDEN.match(line):
            yield number, "a pure target imports a system"
        if not path.startswith(SYSTEM_CALLS) and RAW_CALL.search(line):
            yield number, "a raw system call outside LinuxSystem and KVM"


def main():
    found = 0
    for path in tracked():
        for number, what in offences(path):
            print(f"{path}:{number}: {what}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
