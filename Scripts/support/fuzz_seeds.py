"""Writes what the fuzzers begin with: parts of the streams in Tests/Fixtures, a byte of choices before each."""

import gzip
import json
import pathlib
import sys
import zlib

root = pathlib.Path(__file__).resolve().parent.parent.parent
fixtures = root / "Tests" / "Fixtures"
corpus = pathlib.Path(sys.argv[1])


def stream(name):
    return gzip.decompress((fixtures / f"{name}.gz").read_bytes())


def seed(target, name, choice, data):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed-{name}"
    if not path.exists():
        path.write_bytes(bytes([choice]) + data)


def device_sections(data):
    """From the first FULL section on: the devices, the end and the description."""
    position = data.find(b"\x04\x00\x00\x00\x00\x05timer")
    return data[position:] if position >= 0 else b""


header = bytes.fromhex("5145564d00000003")
for name in ["microvm-acpioff.mig", "microvm-kvm.mig", "q10-precopy.ch0.c2s", "ignore-shared.ch0.c2s",
             "postcopy-early.ch0.c2s", "compress.ch0.c2s", "uuid-multifd.ch0.c2s"]:
    data = stream(name)
    seed("MainStream", name + "-begin", 0x00, data[:2000])
    seed("MainStream", name + "-begin-in-pieces", 0x80, data[:2000])
    devices = device_sections(data)
    # The description is longer than a fuzzer's input should be: stop at the end mark.
    end = devices.find(b'{"') - 5
    if 0 < end < 12000:
        seed("MainStream", name + "-devices", 0x00, header + devices[:end])
        seed("MainStream", name + "-package", 0x03, devices[: end - 1])
seed("MainStream", "recovery", 0x01, stream("run-recover-preempt-resume.ch0.c2s")[:3000])
seed("MainStream", "preempt", 0x02, stream("run-recover-preempt.ch1.c2s")[:9000])
seed("MainStream", "no-state", 0x00,
     header + bytes.fromhex("04 00000007 01 78 00000000 00000001 7e 00000007 00"))
seed("MainStream", "no-pages", 0x00, stream("q10-multifd.ch0.c2s")[:12000])

for name in ["returnpath.ch0.s2c", "postcopy-early.ch0.s2c", "run-recover-preempt-resume.ch0.s2c"]:
    seed("ReturnPath", name, 0x00, stream(name)[:3000])
seed("ReturnPath", "switchover", 0x80, bytes.fromhex("00070000 00060004 00000001"))

for name in ["multifd.ch1.c2s", "q10-multifd.ch1.c2s", "uuid-multifd.ch1.c2s"]:
    seed("Multifd", name, 0x00, stream(name)[: 64 + 1344 + 4096])
    seed("Multifd", name + "-packet", 0x41, stream(name)[64 : 64 + 3 * 1344])
seed("Multifd", "device", 0x01, bytes.fromhex("112233440000000100000040") + b"vfio".ljust(256, b"\0")
     + bytes.fromhex("0000000000000003aabbcc"))

for number, vector in enumerate(json.loads(stream("xbzrle-vectors.json"))):
    seed("XBZRLE", str(number), 0x03, bytes.fromhex(vector["enc"]))
seed("XBZRLE", "small", 0x00, bytes.fromhex("02 03 010203 05 01 ff"))

# The typed devices in alphabetical order, as DeviceStateCatalog.names gives them.
known = ["acpi-ged", "apic", "cpu", "cpu_common", "fw_cfg", "globalstate", "i8254", "i8259", "ioapic", "kvm-tpr-opt",
         "kvmclock", "mc146818rtc", "serial", "timer", "virtio-balloon", "virtio-blk", "virtio-console", "virtio-net",
         "virtio-rng"]


def payload(words):
    """Hexadecimal words; `00*24` is a byte that repeats."""
    parts = (word.split("*") for word in words)
    return b"".join(bytes.fromhex(part[0]) * (int(part[1]) if len(part) > 1 else 1) for part in parts)


for line in (fixtures / "DeviceState" / "sections.txt").read_text().splitlines():
    idstr, *words = line.split()
    name = idstr.split("/")[-1]
    if name in known and len(words) > 2 and int(words[1]) < 256:
        data = payload(words[2:])
        seed("DeviceState", f"{name}-{len(data)}-{zlib.crc32(data):x}", known.index(name),
             bytes([int(words[1])]) + data)

for path in (fixtures / "DeviceState").glob("*.json"):
    text = path.read_bytes()
    seed("JSON", path.stem, 0x00, text[:8000])
seed("JSON", "small", 0x00, b'{"page_size":4096,"devices":[{"name":"t","instance_id":0,"vmsd_name":"t","version":1,'
     b'"fields":[{"name":"a","type":"uint16","array_len":2,"size":2},{"name":"s","type":"struct","size":1,'
     b'"struct":{"vmsd_name":"s","version":1,"fields":[{"name":"b","type":"bool","size":1}]}}],'
     b'"subsections":[{"vmsd_name":"t/u","version":1,"fields":[]}]}]}\0'
     b"\1\2\3\4\5\5\3t/u\0\0\0\1")
