"""Where a virtual machine monitor runs: on this machine, or in a host of a running lab."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent


class Place:
    """This machine."""

    name = "here"
    address = "127.0.0.1"
    python = os.path.realpath(sys.executable)

    def __init__(self):
        self.folder = self.shared = tempfile.mkdtemp(prefix="apus-trial.")

    def open(self, argv, takes_input=True):
        """A process whose input and output are pipes; its errors are printed."""
        return subprocess.Popen(self.wrap(argv), stdout=subprocess.PIPE, start_new_session=True,
                                stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL)

    def wrap(self, argv):
        return argv

    def run(self, *argv):
        return subprocess.run(self.wrap(list(argv)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              check=True).stdout

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class LabPlace(Place):
    """A host of the lab that APUS_LAB names."""

    def __init__(self, host):
        if not os.environ.get("APUS_LAB"):
            raise SystemExit("trial: no lab is running: set APUS_LAB to what `Scripts/lab start` printed")
        self.name = f"host{host}"
        self.host = host
        self.address = {"a": "10.77.0.1", "b": "10.77.0.2"}[host]
        self.folder = self.run("mktemp", "-d", "/run/apus-trial.XXXXXX").decode().strip()
        self.shared = os.path.join(os.environ["APUS_LAB"], "shared")

    def wrap(self, argv):
        return [sys.executable, str(SCRIPTS / "lab"), "on", self.host, "-i", *argv]

    def close(self):
        self.run("rm", "-rf", self.folder)


class Places:
    """The places of a trial, each made when first asked for: "here", "a", "b"."""

    def __init__(self):
        self.made = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for place in self.made.values():
            place.close()

    def find(self, name):
        if name not in self.made:
            self.made[name] = Place() if name == "here" else LabPlace(name)
        return self.made[name]


def kill(process, reader=None):
    """Ends a process and whatever it started here; what it stood for in a lab ends with it.

    `reader` is the thread that reads its output, which must see the end before the output is closed.
    """
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if reader is not None:
        reader.join(10)
        if reader.is_alive():
            return  # something that it started holds its output open
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                pass
