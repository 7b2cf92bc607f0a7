"""What every test of the lab stands on."""

import os
import pathlib
import subprocess
import time

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
LAB = str(SCRIPTS / "lab")


def check(condition, text):
    if not condition:
        raise AssertionError(text)


class Ground:
    """A temporary folder of this test's own, so that what a lab leaves behind is seen among other labs."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "TMPDIR": folder}
        self.environment.pop("APUS_LAB", None)

    def run(self, *arguments, **more):
        environment = {**self.environment, **more}
        return subprocess.run([LAB, *arguments], env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)

    def open(self, *arguments, **more):
        return subprocess.Popen([LAB, *arguments], env={**self.environment, **more}, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)

    def processes(self):
        """Those that have this test's folder in their command line or environment."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = pathlib.Path(f"/proc/{name}/cmdline").read_bytes()
                variables = pathlib.Path(f"/proc/{name}/environ").read_bytes()
            except OSError:
                continue
            if int(name) != os.getpid() and self.folder.encode() in line + variables:
                found[int(name)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def emulators(self):
        return [number for number, line in self.processes().items() if "qemu-system" in line and "apus-lab-" in line]

    def wait_for_emulator(self):
        limit = time.monotonic() + 60
        while not (found := self.emulators()):
            check(time.monotonic() < limit, "no lab host appeared within 60 s")
            time.sleep(0.02)
        return found[0]

    def expect_nothing_left(self):
        limit = time.monotonic() + 5
        while (left := self.processes()) and time.monotonic() < limit:
            time.sleep(0.05)
        check(not left, f"processes are left: {left}")
        check(not os.listdir(self.folder), f"files are left: {os.listdir(self.folder)}")


class Hosts(Ground):
    """Verbs on two running hosts."""

    def on(self, host, command, **more):
        return self.run("on", host, "sh", "-c", command, **more)

    def net(self, *words):
        result = self.run("net", *words)
        check(result.returncode == 0, f"net {' '.join(words)}: {result.stderr}")

    def ping(self, count=3):
        """Packets that came back, and the mean round trip in ms."""
        text = self.on("a", f"ping -c {count} -i 0.2 -W 2 hostb").stdout
        received = int(text.split(" received")[0].split()[-1])
        return received, float(text.rsplit("= ", 1)[1].split("/")[1]) if received else None
