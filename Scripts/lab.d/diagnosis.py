"""What a lab host was doing when it stopped answering, by its emulator's own monitor."""

import asyncio
import bisect
import json
import re


async def qmp(path, command, **arguments):
    """One command to a host's emulator; returns the answer, which holds "return" or "error"."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        await reader.readline()
        for execute in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
            writer.write(json.dumps(execute).encode() + b"\n")
            while "event" in (answer := json.loads(await reader.readline())):
                pass
        return answer
    finally:
        writer.close()


async def processor_places(path, kernel):
    """Where each processor of the host is, twice, a second apart, in one sentence."""
    try:
        first = await asyncio.wait_for(sample(path, kernel), 5)
        await asyncio.sleep(1)
        second = await asyncio.wait_for(sample(path, kernel), 5)
    except (OSError, ValueError, asyncio.TimeoutError):
        return "its emulator does not answer either"
    return f"its processors were at {first}, a second later at {second}"


async def sample(path, kernel):
    answer = await qmp(path, "human-monitor-command", **{"command-line": "info registers -a"})
    found = re.findall(r"RIP=([0-9a-f]+) RFL=\S+ \[\S*\] CPL=(\d) \S+ A20=\d SMM=\d HLT=(\d)", answer.get("return", ""))
    return ", ".join(place(int(address, 16), level, is_halted == "1", kernel) for address, level, is_halted in found)


def place(address, level, is_halted, kernel):
    name = symbol(address, kernel) if address >> 63 else f"{address:x}"
    return f"{name} (CPL {level}{', halted' if is_halted else ''})"


def symbol(address, kernel):
    """The kernel's function at an address: the unpacked image runs where it was linked."""
    table = []
    with open(kernel.folder / "boot" / f"System.map-{kernel.version}") as file:
        for line in file:
            value, kind, name = line.split()
            if kind in "tT":
                table.append((int(value, 16), name))
    table.sort()
    index = bisect.bisect_right(table, (address, "\uffff")) - 1
    return f"{table[index][1]}+{address - table[index][0]:#x}" if index >= 0 else f"{address:x}"
