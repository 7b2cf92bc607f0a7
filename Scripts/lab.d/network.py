"""What a test may do to the network between the lab's hosts: netem on what each of them sends."""

import asyncio
import dataclasses
import re

import diagnosis


@dataclasses.dataclass
class NetworkState:
    """With two hosts it acts on their link, with one on its loopback. Each setting replaces the former one."""

    is_cut: bool = False
    delay: float = 0.0  # milliseconds, each way
    limit: float = 0.0  # Mbit/s, each way; 0 for none
    loss: float = 0.0  # per cent, each way

    def change(self, words):
        """Takes cut, heal, delay MS, limit MBIT, loss PERCENT, clear; throws ValueError."""
        match words:
            case ["cut"]:
                self.is_cut = True
            case ["heal"]:
                self.is_cut = False
            case ["clear"]:
                self.__init__()
            case ["delay" | "limit" | "loss" as name, value] if re.fullmatch(r"\d+(\.\d+)?", value):
                setattr(self, name, float(value))
            case _:
                given = " ".join(words)
                raise ValueError(f"net takes cut, heal, delay MS, limit MBIT, loss PERCENT or clear, not {given}")

    def command(self, device):
        """tc's arguments. Cut means that every packet is lost silently, as in a switch that failed."""
        if not (self.is_cut or self.delay or self.limit or self.loss):
            return ["tc", "qdisc", "del", "dev", device, "root"]
        # netem's queue must hold what is on its way: rate x delay, and then some.
        packets = 1000 + int(self.limit * 1e6 / 8 * self.delay / 1e3 / 1500) + (20000 if not self.limit else 0)
        netem = ["limit", str(packets)]
        if self.delay:
            netem += ["delay", f"{self.delay}ms"]
        if self.limit:
            netem += ["rate", f"{int(self.limit * 1000)}kbit"]
        if self.is_cut or self.loss:
            netem += ["loss", f"{100 if self.is_cut else self.loss}%"]
        return ["tc", "qdisc", "replace", "dev", device, "root", "netem", *netem]


class Network:
    def __init__(self, hosts):
        self.hosts = hosts
        self.state = NetworkState()
        self.order = asyncio.Lock()

    async def change(self, words):
        """Returns an empty text, or why it could not be done."""
        async with self.order:
            if words in (["plug"], ["unplug"]):
                return await self.set_carrier(words == ["plug"])
            try:
                self.state.change(words)
            except ValueError as error:
                return str(error)
            device = "eth0" if len(self.hosts) == 2 else "lo"
            command = self.state.command(device)
            results = await asyncio.gather(*(host.command(*command) for host in self.hosts.values()))
            if command[2] == "del":
                return ""  # nothing to delete is as good
            return "; ".join(text for status, text in results if status != 0)

    async def set_carrier(self, is_plugged):
        """Pulls or plugs the cable at host b, which notices at once, as the far end does not."""
        if len(self.hosts) != 2:
            return "plug and unplug need two hosts"
        answer = await diagnosis.qmp(f"{self.hosts['b'].own}/qmp", "set_link", name="nic", up=is_plugged)
        return answer.get("error", {}).get("desc", "")
