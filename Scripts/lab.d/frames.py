"""The frames that the lab, its hosts and its clients exchange.

offset  size  field
     0     1  kind, one of the constants below
     1     4  number of the command, big-endian; 0 for the connection itself
     5     4  length of the content, big-endian
     9     n  content: bytes of a stream, or a JSON text

Imported by the agent inside an emulated host too: only modules that start fast.
"""

import struct

# To a lab host, and from a client to the lab.
RUN = 1  # JSON: argv, folder, environment, input
INPUT = 2
INPUT_END = 3
SIGNAL = 4  # JSON: number
REQUEST = 5  # JSON, from a client to the lab only: what it wants
# From a lab host, and from the lab to a client.
OUTPUT = 10
ERROR_OUTPUT = 11
EXIT = 12  # JSON: status, and message where the lab itself ended it
READY = 13  # what the set-up complained about
SIGN_OF_LIFE = 14  # JSON: load
REPLY = 15  # JSON

HEADER = struct.Struct(">BII")
MAXIMUM_LENGTH = 1 << 20


def encode(kind, number=0, content=b""):
    return HEADER.pack(kind, number, len(content)) + content


class Decoder:
    """Cuts a byte stream into frames."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data
        offset = 0
        while len(self.buffer) - offset >= HEADER.size:
            kind, number, length = HEADER.unpack_from(self.buffer, offset)
            if length > MAXIMUM_LENGTH:
                raise ValueError(f"a frame of {length} bytes, at most {MAXIMUM_LENGTH} are allowed")
            end = offset + HEADER.size + length
            if len(self.buffer) < end:
                break
            yield kind, number, bytes(self.buffer[offset + HEADER.size:end])
            offset = end
        del self.buffer[:offset]
