"""Network clients of the guest, from before a migration until after it."""

import json

import places
from monitor import Failed


class Watchers:
    """None without a guest network. results() ends them and returns what each saw, under its name."""

    def __init__(self, options, place, name):
        self.options, self.place = options, place
        self.processes = {}
        self.stop_file = f"{place.folder}/{name}.stop"

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        if self.options.network:
            for kind in ("stream", "ping"):
                self.processes[kind] = self.place.open(
                    [self.place.python, "-I", str(places.SCRIPTS / "trial.d" / "client.py"), kind, self.options.network,
                     self.stop_file])
        for kind, process in self.processes.items():
            if process.stdout.readline() != b"up\n":
                raise Failed(f"the network client {kind} gets no answer from the guest")

    def results(self):
        if not self.processes:
            return {}
        self.place.run("touch", self.stop_file)
        found = {}
        for kind, process in self.processes.items():
            line = process.stdout.readline()
            if not line:
                raise Failed(f"the network client {kind} ended without a result")
            found[kind] = json.loads(line)
        if found["stream"]["wrong"]:
            raise Failed(f"the TCP stream did not survive: {found['stream']}")
        return found

    def __exit__(self, *_):
        for process in self.processes.values():
            places.kill(process)
