"""Monitors for benchmarks: an Apus or a QEMU with the built-in guest, its QMP session and its processor time."""

import json
import os
import socket
import subprocess
import time


class Failed(Exception):
    """A run that did not go as it must; the text says why."""


class QMP:
    """One session. Commands in order; events are kept as they come, with the monitor's own time stamps."""

    def __init__(self, path, process, limit=60):
        self.events, self.unread = [], b""
        until = time.monotonic() + limit
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if process.poll() is not None or time.monotonic() > until:
                    raise Failed(f"{path}: no monitor answers") from None
                time.sleep(0.005)
        self.socket.settimeout(limit)
        self.message()
        self.command("qmp_capabilities")

    def message(self):
        while b"\n" not in self.unread:
            data = self.socket.recv(65536)
            if not data:
                raise Failed("the monitor closed its QMP connection")
            self.unread += data
        line, self.unread = self.unread.split(b"\n", 1)
        message = json.loads(line)
        if "event" in message:
            stamp = message["timestamp"]
            moment = stamp["seconds"] + stamp["microseconds"] * 1e-6
            self.events.append((moment, message["event"], message.get("data", {})))
        return message

    def command(self, name, **arguments):
        text = {"execute": name, **({"arguments": arguments} if arguments else {})}
        self.socket.sendall(json.dumps(text).encode() + b"\n")
        while True:
            message = self.message()
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise Failed(f"{name}: {message['error']['desc']}")

    def wait_for(self, name, **data):
        """The moment of the first event of this name with this data, which is forgotten with all before it."""
        position = 0
        while True:
            while position < len(self.events):
                moment, event, found = self.events[position]
                position += 1
                if event == name and all(found.get(key) == value for key, value in data.items()):
                    del self.events[:position]
                    return moment
                if event == "MIGRATION" and found.get("status") == "failed":
                    raise Failed(f"the migration failed: {self.command('query-migrate').get('error-desc')}")
            self.message()


class Monitor:
    """One process with the built-in guest, or waiting for it."""

    count = 0

    def __init__(self, program, folder, image, mebibytes, cpus=1, guest="", waits=False, arguments=(),
                 shares_memory=False):
        Monitor.count += 1
        self.kind = "apus" if os.path.basename(program) == "apus" else "qemu"
        self.folder, self.number, self.lines_read = folder, Monitor.count, 0
        self.path, self.serial = f"{folder}/{self.number}.qmp", f"{folder}/{self.number}.log"
        if self.kind == "apus":
            memory = f"{mebibytes}M" + (",shared=on" if shares_memory else "")
            command = [program, "run", "--memory", memory, "--cpus", str(cpus), "--serial", self.serial,
                       "--qmp", f"unix:{self.path}"]
            command += ["--incoming", "defer"] if waits else ["--kernel", image, "--cmdline", guest]
        else:
            command = [program, "-nodefaults", "-display", "none", "-no-reboot", "-M", "microvm,acpi=off",
                       "-accel", "kvm", "-cpu", "host,arch-capabilities=off", "-smp", str(cpus), "-m", str(mebibytes),
                       "-serial", f"file:{self.serial}", "-qmp", f"unix:{self.path},server=on,wait=off",
                       "-kernel", image, "-append", guest]
            command += ["-incoming", "defer"] if waits else []
        self.errors = open(f"{folder}/{self.number}.err", "w+")
        self.process = subprocess.Popen(
            [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors)
        try:
            self.qmp = QMP(self.path, self.process)
        except BaseException:
            self.close()
            raise

    def set(self, capabilities=(), **parameters):
        self.qmp.command("migrate-set-capabilities", capabilities=[
            {"capability": name, "state": True} for name in ("events", "return-path", *capabilities)])
        if parameters:
            self.qmp.command("migrate-set-parameters", **{k.replace("_", "-"): v for k, v in parameters.items()})

    def listen(self, uri):
        """Begins to wait for a guest; the address to migrate to."""
        self.qmp.command("migrate-incoming", uri=uri)
        if not uri.startswith("tcp:"):
            return uri
        address = self.qmp.command("query-migrate")["socket-address"][0]
        return f"tcp:127.0.0.1:{address['port']}"

    def processor_seconds(self):
        """Of all threads of the process, ended ones included."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def wait_for_lines(self, count, limit=120):
        """Waits until the guest has written `count` lines since the last call; those lines."""
        until = time.monotonic() + limit
        while True:
            with open(self.serial, encoding="utf-8", errors="replace") as log:
                lines = log.read().split("\n")[:-1]
            new = lines[self.lines_read:]
            if len(new) >= count:
                self.lines_read = len(lines)
                return new
            if self.process.poll() is not None or time.monotonic() > until:
                self.errors.seek(0)
                raise Failed(f"{self.kind}: {len(new)} lines of the guest within {limit} s {self.errors.read()}")
            time.sleep(0.01)

    def expect_well(self, count):
        """Waits for `count` more lines of the guest that came here, none of which may report a fault.

        The first may be the second half of a line whose first half the source has.
        """
        for number, line in enumerate(self.wait_for_lines(count)):
            if (number > 0 or line.startswith("builtin: t=")) and "bad=0 badregs=0" not in line:
                raise Failed(f"the guest is not well at the destination: {line}")

    def line_count(self):
        """How many whole lines the guest has written."""
        with open(self.serial, "rb") as log:
            return log.read().count(b"\n")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.errors.close()
        for path in (self.path, self.serial):
            if os.path.exists(path):
                os.unlink(path)


def capability_names(channels):
    return ("multifd",) if channels > 1 else ()
