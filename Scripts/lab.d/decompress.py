"""Takes the ELF image out of a kernel's bzImage: an emulated processor needs 3 to 10 s for that at each boot."""

import lzma
import subprocess


def elf_image(image):
    """The decompressed kernel.

    offset  size  field of the boot protocol's header, little-endian
     0x1f1     1  512-byte sectors of real-mode code, less one
     0x248     4  offset of the compressed kernel after those
     0x24c     4  its length; its last 4 bytes are the decompressed length

    Throws ValueError for what is no such image.
    """
    start = (image[0x1F1] + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    payload = image[start:start + int.from_bytes(image[0x24C:0x250], "little")]
    length = int.from_bytes(payload[-4:], "little")
    if payload.startswith(b"\xfd7zXZ"):
        content = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        content = subprocess.run(["zstd", "-dcq"], input=payload[:-4], capture_output=True, check=True).stdout
    elif payload.startswith(b"\x02\x21\x4c\x18"):
        content = lz4_legacy(payload[4:-4])
    else:
        raise ValueError(f"compressed in a way unknown here (starts with {payload[:4].hex()})")
    if content[:4] != b"\x7fELF" or len(content) != length:
        raise ValueError(f"no ELF image of {length} bytes in it, but {len(content)} bytes")
    return content


def lz4_legacy(data):
    """Blocks of a 4-byte length and as many bytes, each decompressing to 8 MiB, the last to less."""
    output, position = [], 0
    while position + 4 <= len(data):
        length = int.from_bytes(data[position:position + 4], "little")
        output.append(lz4_block(data[position + 4:position + 4 + length]))
        position += 4 + length
    return b"".join(output)


def lz4_block(data):
    """Sequences of a token, literals, and a match of bytes seen before: 2-byte distance, at least 4 long."""
    output, position, end = bytearray(), 0, len(data)
    while position < end:
        token = data[position]
        position += 1
        count, position = extended(data, position, token >> 4)
        output += data[position:position + count]
        position += count
        if position >= end:
            break
        distance = data[position] | data[position + 1] << 8
        count, position = extended(data, position + 2, token & 15)
        count += 4
        start = len(output) - distance
        if not 0 <= start < len(output):
            raise ValueError(f"an LZ4 match {distance} bytes back, of {len(output)}")
        if distance >= count:
            output += output[start:start + count]
        else:
            output += (bytes(output[start:]) * (count // distance + 1))[:count]
    return bytes(output)


def extended(data, position, count):
    if count == 15:
        while True:
            more = data[position]
            position += 1
            count += more
            if more != 255:
                break
    return count, position
