"""How the stream gets from one monitor to the other: what each is told, and who stands in between."""

import places

PIPE = str(places.SCRIPTS / "trial.d" / "pipe.py")
TRANSPORTS = ("tcp", "unix", "fd", "exec", "file")


def prepare(transport, source, destination, port, channels=0):
    """Readies a live migration with so many channels of multifd; the addresses for the source and the destination."""
    address = destination.place.address
    if transport == "tcp":
        return f"tcp:{address}:{port}", f"tcp:{address}:{port}"
    if transport == "unix":
        arrival = f"{destination.place.folder}/{port}.stream"
        if source.place is destination.place:
            return f"unix:{arrival}", f"unix:{arrival}"
        # As with ssh -L: a UNIX socket on each host, joined by TCP.
        departure = f"{source.place.folder}/{port}.stream"
        destination.qmp.relay(do="listen", port=port)
        destination.qmp.relay(do="bridge", path=arrival)
        source.qmp.relay(do="bridge-to", path=departure, host=address, port=port)
        return f"unix:{departure}", f"unix:{arrival}"
    if transport == "fd":
        # A manager on each host opens the connections and hands them over: stream, stream-1, stream-2 ...
        destination.qmp.relay(do="listen", port=port)
        for name in ["stream", *(f"stream-{number + 1}" for number in range(channels))]:
            source.qmp.relay(do="connect", name=name, host=address, port=port)
            destination.qmp.relay(do="accept", name=name)
        return "fd:stream", "fd:stream"
    if transport == "exec":
        python = f"{source.place.python} -I -S {PIPE}"
        return f"exec:{python} connect {address} {port}", f"exec:{python} listen {port}"
    raise ValueError(f"a live migration through {transport}")


def stored(transport, source, destination, number):
    """The addresses to write a guest to and to read it from, and the file at the one place and at the other."""
    written, read = (f"{side.place.folder}/{number}.stream" for side in (source, destination))
    if transport == "exec":
        return f"exec:cat >{written}", f"exec:cat {read}", written, read
    return f"file:{written}", f"file:{read}", written, read


def carry(source, destination, written, read):
    """Takes a file from one place to the other; the folder that both share is too slow to work on."""
    if source.place is destination.place:
        return
    shared = f"{source.place.shared}/carried.stream"
    source.place.run("dd", f"if={written}", f"of={shared}", "bs=1M", "status=none")
    source.place.run("rm", written)
    destination.place.run("dd", f"if={shared}", f"of={read}", "bs=1M", "status=none")
    destination.place.run("rm", shared)
