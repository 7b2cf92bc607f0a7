#!/usr/bin/env python3
"""Takes the device sections and descriptions out of QEMU streams.

usage: extract.py OUTPUT-DIRECTORY STREAM[=DESCRIBING-STREAM] ...

Writes sections.txt, a line per section that is not there yet, and the JSON description of each stream that has one.
Of guest memory nothing is kept. A stream without a description (post-copy) is walked with that of another.
In sections.txt NN*COUNT stands for COUNT times the byte NN.
"""
import gzip, json, os, re, struct, sys


def read(path):
    data = open(path, "rb").read()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def description(data):
    end = data.rfind(b'"devices"')
    start = data.rfind(b"\x06", 0, end) if end >= 0 else -1
    while start >= 0:
        length = struct.unpack_from(">I", data, start + 1)[0]
        text = data[start + 5 : start + 5 + length]
        if text[:1] == b"{" and len(text) == length:
            try:
                json.loads(text)
                return text
            except ValueError:
                pass
        start = data.rfind(b"\x06", 0, start)
    return None


def skip(data, offset, structure):
    for field in structure.get("fields", []):
        for _ in range(field.get("array_len", 1)):
            if "struct" in field:
                offset = skip(data, offset, field["struct"])
            else:
                offset += field["size"]
    while data[offset] == 5:
        name = data[offset + 2 : offset + 2 + data[offset + 1]].decode()
        found = [s for s in structure.get("subsections", []) if s["vmsd_name"] == name]
        if not found:
            break
        offset = skip(data, offset + 2 + len(name) + 4, found[0])
    return offset


def sections(data, devices):
    offset = re.search(rb"\x04.{4}\x05timer\0\0\0\0\0\0\0\x02", data, re.S).start()
    while True:
        kind = data[offset]
        if kind == 4:
            start = offset + 6 + data[offset + 5]
            name = data[offset + 6 : start].decode()
            instance, version = struct.unpack_from(">II", data, start)
            device = next(d for d in devices if d["name"] == name and d["instance_id"] == instance)
            end = skip(data, start + 8, device)
            assert data[end] == 0x7E and data[end + 1 : end + 5] == data[offset + 1 : offset + 5], (name, end)
            yield name, instance, version, data[start + 8 : end], device
            offset = end + 5
        elif kind == 8:
            offset += 5 + struct.unpack_from(">H", data, offset + 3)[0]
        else:
            return


def runs(payload):
    literal = bytearray()
    for run in re.finditer(rb"(.)\1*", payload, re.S):
        if len(run[0]) < 8:
            literal += run[0]
            continue
        if literal:
            yield literal.hex()
            literal.clear()
        yield "%02x*%d" % (run[1][0], len(run[0]))
    if literal:
        yield literal.hex()


def main():
    output, streams = sys.argv[1], sys.argv[2:]
    seen, texts = set(), {}
    with open(os.path.join(output, "sections.txt"), "w") as out:
        for argument in streams:
            path, _, other = argument.partition("=")
            name = re.sub(r"(\.mig|\.ch0\.c2s)?(\.gz)?$", "", os.path.basename(path))
            data = read(path)
            text = description(data)
            devices = json.loads(text or description(read(other)))["devices"]
            lines = []
            for idstr, instance, version, payload, device in sections(data, devices):
                key = (idstr, instance, version, payload, json.dumps(device) if text else None)
                if key not in seen:
                    seen.add(key)
                    lines.append("%s %d %d %s" % (idstr, instance, version, " ".join(runs(payload))))
            if text and text not in texts:
                texts[text] = name + ".json"
                open(os.path.join(output, name + ".json"), "wb").write(text)
            if lines:
                out.write("stream %s %s\n" % (name, texts[text] if text else "-"))
                out.write("\n".join(lines) + "\n")


main()
