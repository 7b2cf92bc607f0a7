"""A virtual machine monitor under test, Apus or QEMU: its process, the guest's serial line, and its QMP session."""

import json
import queue
import re
import threading
import time

import places


# Whole, not one half of a line in the middle of which the guest was moved.
REPORT = r"^workload: t=.* stalled=\d+$"


class Failed(Exception):
    """A trial that did not go as it must; the text says why."""


class QMP:
    """Commands in order; events are kept with the time at which they came."""

    def __init__(self, place, path):
        self.process = place.open([place.python, "-I", "-S", str(places.SCRIPTS / "trial.d" / "relay.py"), path])
        self.events = []
        self.stamped = []
        self.changed = threading.Condition()
        self.answers = queue.Queue()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        self.begin()

    def begin(self):
        self.greeting = self.answer("greeting", 300)
        self.command("qmp_capabilities")

    def follow(self, path):
        """Leaves a monitor that was told to quit for one at another path, with the process that is there already."""
        try:
            closed = self.answers.get(timeout=60)
        except queue.Empty:
            raise Failed("QMP: the connection is still open 60 s after the monitor has ended") from None
        if closed is not None:
            raise Failed(f"QMP: instead of the connection's end there came {closed}")
        self.events, self.stamped = [], []
        self.send({"relay": {"do": "next", "path": path}})
        self.begin()

    def read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            if "closed" in message:
                self.answers.put(None)
            elif "event" in message:
                stamp, data = message["timestamp"], message.get("data", {})
                with self.changed:
                    self.stamped.append((stamp["seconds"] + stamp["microseconds"] * 1e-6, message["event"], data))
                    self.events.append((time.monotonic(), message["event"], data))
                    self.changed.notify_all()
            else:
                self.answers.put(message)
        self.answers.put(None)

    def stamps(self, name, **data):
        """When such events happened by the monitor's own clock, in seconds."""
        with self.changed:
            return [stamp for stamp, event, found in self.stamped
                    if event == name and all(found.get(key) == value for key, value in data.items())]

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
            self.send(message)
        except OSError:
            raise Failed(f"QMP: the monitor closed the connection before {name}") from None
        answer = self.answer(name, 60)
        if "error" in answer:
            raise Failed(f"QMP: {name}: {answer['error']['desc']}")
        return answer["return"]

    def relay(self, **order):
        """Has the relay beside the monitor do something: see relay.py."""
        self.send({"relay": order})
        answer = self.answer(f"the relay's {order['do']}", 60)
        if "error" in answer:
            raise Failed(f"relay: {order}: {answer['error']['desc']}")

    def send(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def wait_for_event(self, name, limit, count=1):
        """The data of the event's count-th occurrence."""
        until = time.monotonic() + limit
        with self.changed:
            while True:
                found = [data for _, event, data in self.events if event == name]
                if len(found) >= count:
                    return found[count - 1]
                if not self.changed.wait(max(0, until - time.monotonic())) and time.monotonic() >= until:
                    raise Failed(f"no event {name} within {limit:.0f} s; there were "
                                 f"{', '.join(event for _, event, _ in self.events) or 'none'}")

    def moment(self, name, **expected):
        """When the last such event happened, by the clock of the monitor's host; None if there was none."""
        return next(iter(reversed(self.stamps(name, **expected))), None)

    def close(self):
        places.kill(self.process, self.thread)


class Monitor:
    """One monitor process with one guest; a subclass knows its command line.

    Those of a trial are numbered; neighbours use different taps.
    """

    def __init__(self, kind, place, number, options, guest):
        self.kind, self.place, self.number, self.options, self.guest = kind, place, number, options, guest
        self.role = f"monitor {number} at {place.name}"
        self.socket = f"{place.folder}/{number}.qmp"
        self.lines = []
        self.changed = threading.Condition()
        self.process = self.qmp = None

    def __str__(self):
        return f"{self.kind}-at-{self.place.name}"

    def kernel_command_line(self):
        options = self.options
        words = {"rate": options.rate, "memory": options.work, "hot": options.hot or options.work,
                 "pattern": options.pattern, "clock": options.clock}
        line = self.guest["APPEND"] + "".join(f" workload.{key}={value}" for key, value in words.items())
        if options.network:
            line += f" guest.address={options.network}/24"
        if options.disk:
            line += " workload.disk_area=2"
        if options.tick:
            line += f" workload.tick={options.tick} workload.tick_port=/dev/ttyS0"
        return f"{line} {options.append}"

    def start(self, incoming=None, qmp=None):
        """Starts it with a kernel, or to wait for a guest at an address, which may be "defer".

        `qmp` is a session with a monitor at the same place that has ended, taken over; without, one is begun.
        """
        self.process = self.place.open(self.command(incoming))
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        self.qmp = qmp or QMP(self.place, self.socket)
        if qmp is not None:
            qmp.follow(self.socket)

    def give_up_session(self):
        """Ends the use of the QMP session, which the next monitor gets."""
        qmp, self.qmp = self.qmp, None
        return qmp

    def read(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace")
            with self.changed:
                # A guest may be moved in the middle of a line: one monitor gets each half.
                self.lines.append((time.monotonic(), text.strip() + ("" if text.endswith("\n") else " (cut)")))
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

    def expect_end(self, limit):
        """The monitor ends by itself, with status 0."""
        self.wait_for("its end", r"\(the monitor ended\)", limit)
        status = self.process.wait(limit)
        if status != 0:
            raise Failed(f"{self.role}: it ended with status {status}")

    def ticks(self):
        """When each tick of the guest came, by this machine's clock, and its number."""
        with self.changed:
            lines = list(self.lines)
        found = [(when, re.search(r"^tick (\d+) \d+$", line)) for when, line in lines]
        return [(when, int(match.group(1))) for when, match in found if match]

    def reports(self):
        """The workload's lines as (time, {key: number})."""
        with self.changed:
            lines = list(self.lines)
        return [(when, numbers(line)) for when, line in lines if re.search(REPORT, line)]

    def complaints(self):
        with self.changed:
            return [line for _, line in self.lines if "BAD" in line or "Oops" in line or "panic" in line.lower()]

    def close(self):
        if self.qmp is not None:
            self.qmp.close()
        if self.process is not None:
            places.kill(self.process, self.thread)


class QEMU(Monitor):
    """Any QEMU."""

    def command(self, incoming):
        options = self.options
        line = [
            options.qemu, "-M", options.machine, "-accel", options.accelerator, "-m", str(options.memory),
            "-smp", str(options.cpus), "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio",
            "-qmp", f"unix:{self.socket},server=on,wait=off",
            "-kernel", str(self.guest[options.kernel.upper()]), "-initrd", str(self.guest["INITRAMFS"]),
            "-append", self.kernel_command_line()]
        if options.accelerator.startswith("kvm"):
            line += ["-cpu", options.cpu_model]
        bus = "device" if options.machine.startswith("microvm") else "pci"
        if options.disk:
            line += ["-drive", f"if=none,id=disk,format=raw,cache=none,file={options.disk}",
                     "-device", f"virtio-blk-{bus},drive=disk"]
        if options.network:
            line += ["-netdev", f"tap,id=net,ifname=tap{self.number % 2},script=no,downscript=no",
                     "-device", f"virtio-net-{bus},netdev=net,mac=52:54:00:77:02:01"]
        if incoming:
            line += ["-incoming", incoming]
        return line + options.extra.split()


class Apus(Monitor):
    """`apus run`."""

    def command(self, incoming):
        options = self.options
        line = [options.apus, "run", "--memory", f"{options.memory}M", "--cpus", str(options.cpus),
                "--qmp", f"unix:{self.socket}"]
        if incoming:
            line += ["--incoming", incoming]
        else:
            line += ["--kernel", str(self.guest[options.kernel.upper()]), "--initrd", str(self.guest["INITRAMFS"]),
                     "--cmdline", self.kernel_command_line()]
        if options.disk:
            line += ["--disk", options.disk]
        if options.network:
            line += ["--net", f"tap=tap{self.number % 2},mac=52:54:00:77:02:01"]
        if self.place.name != "here":
            # The lab's KVM does not see the guest set it, and would take its AVX away again.
            line += ["--xcr0", "7"]
        return line + options.apus_extra.split()


KINDS = {"qemu": QEMU, "apus": Apus}


def numbers(line):
    """The key=value pairs of a line whose values are numbers."""
    return {key: float(value) for key, value in re.findall(r"(\w+)=(-?[\d.]+)(?=\s|$)", line)}
