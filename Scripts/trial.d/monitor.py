"""A virtual machine monitor under test: its process, the guest's serial line, and its QMP session.

QEMU today; another monitor that takes QEMU's machine and speaks QMP is one subclass with its own command().
"""

import json
import queue
import re
import threading
import time

import places


class Failed(Exception):
    """A trial that did not go as it must; the text says why."""


class QMP:
    """Commands in order; events are kept with the time at which they came."""

    def __init__(self, place, path):
        self.process = place.open([place.python, "-I", "-S", str(places.SCRIPTS / "trial.d" / "relay.py"), path])
        self.events = []
        self.answers = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.greeting = self.answer("greeting", 90)
        self.command("qmp_capabilities")

    def read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            if "event" in message:
                self.events.append((time.monotonic(), message["event"], message.get("data", {})))
            else:
                self.answers.put(message)
        self.answers.put(None)

    def answer(self, what, limit):
        try:
            message = self.answers.get(timeout=limit)
        except queue.Empty:
            raise Failed(f"QMP: no answer to {what} within {limit} s") from None
        if message is None:
            raise Failed(f"QMP: the monitor closed the connection before it answered {what}")
        return message

    def command(self, name, **arguments):
        """Returns what the command returns; throws Failed with the monitor's own text."""
        message = {"execute": name, **({"arguments": arguments} if arguments else {})}
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise Failed(f"QMP: the monitor closed the connection before {name}") from None
        answer = self.answer(name, 60)
        if "error" in answer:
            raise Failed(f"QMP: {name}: {answer['error']['desc']}")
        return answer["return"]

    def close(self):
        places.kill(self.process)


class Monitor:
    """One monitor process with one guest. Those of a trial are numbered; neighbours use different taps."""

    def __init__(self, place, number, options, guest):
        self.place, self.number, self.options, self.guest = place, number, options, guest
        self.role = f"monitor {number} at {place.name}"
        self.socket = f"{place.folder}/{number}.qmp"
        self.lines = []
        self.changed = threading.Condition()
        self.process = self.qmp = None

    def command(self):
        """QEMU's command line, without what makes it a destination."""
        options = self.options
        line = [
            options.program, "-M", options.machine, "-accel", options.accelerator, "-m", str(options.memory),
            "-smp", str(options.cpus), "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio",
            "-qmp", f"unix:{self.socket},server=on,wait=off",
            "-kernel", str(self.guest["VMLINUX"]), "-initrd", str(self.guest["INITRAMFS"]),
            "-append", self.kernel_command_line()]
        if options.accelerator.startswith("kvm"):
            line += ["-cpu", "host"]
        bus = "device" if options.machine.startswith("microvm") else "pci"
        if options.disk:
            line += ["-drive", f"if=none,id=disk,format=raw,cache=none,file={options.disk}",
                     "-device", f"virtio-blk-{bus},drive=disk"]
        if options.network:
            line += ["-netdev", f"tap,id=net,ifname=tap{self.number % 2},script=no,downscript=no",
                     "-device", f"virtio-net-{bus},netdev=net,mac=52:54:00:77:02:01"]
        return line + options.extra.split()

    def kernel_command_line(self):
        options = self.options
        words = {"rate": options.rate, "memory": options.work, "hot": options.hot or options.work,
                 "pattern": options.pattern, "clock": options.clock}
        line = self.guest["APPEND"] + "".join(f" workload.{key}={value}" for key, value in words.items())
        if options.network:
            line += f" guest.address={options.network}/24"
        if options.disk:
            line += " workload.disk_area=2"
        return f"{line} {options.append}"

    def start(self, is_destination=False):
        command = self.command() + (["-incoming", "defer"] if is_destination else [])
        self.process = self.place.open(command)
        threading.Thread(target=self.read, daemon=True).start()
        self.qmp = QMP(self.place, self.socket)

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append((time.monotonic(), line.decode(errors="replace").strip()))
                self.changed.notify_all()
        with self.changed:
            self.lines.append((time.monotonic(), "(the monitor ended)"))
            self.changed.notify_all()

    def type(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def wait_for(self, what, pattern, limit, count=1):
        """Waits until so many lines match, and returns the last match with the time of its line."""
        until = time.monotonic() + limit
        with self.changed:
            while True:
                found = [(when, match) for when, line in self.lines if (match := re.search(pattern, line))]
                if len(found) >= count:
                    return found[count - 1]
                ended = self.lines and self.lines[-1][1] == "(the monitor ended)"
                if ended or not self.changed.wait(max(0, until - time.monotonic())) and time.monotonic() >= until:
                    seen = "; ".join(line for _, line in self.lines[-4:]) or "nothing"
                    reason = "the monitor ended" if ended else f"not within {limit:.0f} s"
                    raise Failed(f"{self.role}: {what}: {reason}; last on the serial line: {seen}")

    def reports(self):
        """The workload's lines as (time, {key: number})."""
        with self.changed:
            lines = list(self.lines)
        return [(when, numbers(line)) for when, line in lines if line.startswith("workload: t=")]

    def complaints(self):
        with self.changed:
            return [line for _, line in self.lines if "BAD" in line or "Oops" in line or "panic" in line.lower()]

    def close(self):
        if self.qmp is not None:
            self.qmp.close()
        if self.process is not None:
            places.kill(self.process)


def numbers(line):
    """The key=value pairs of a line whose values are numbers."""
    return {key: float(value) for key, value in re.findall(r"(\w+)=(-?[\d.]+)(?=\s|$)", line)}
