"""Process 1 of a lab host: runs commands that the lab asks for over a virtio-serial port.

One thread, one poll loop. Each command is a session of its own, so that stopping it stops what it started; what
is left running by a command that ended by itself stays, as under ssh. A sign of life goes out every second.
"""

import errno
import os
import select
import signal
import sys
import time

sys.path.insert(0, "/run/lab")
import frames  # noqa: E402
import json  # noqa: E402

CHUNK = 1 << 16


def control_port():
    """The device file of the port named apus.lab; the driver may still be at work on it."""
    while True:
        for name in os.listdir("/sys/class/virtio-ports"):
            with open(f"/sys/class/virtio-ports/{name}/name") as file:
                if file.read().strip() == "apus.lab":
                    return os.open(f"/dev/{name}", os.O_RDWR)
        time.sleep(0.02)


class Command:
    """A child process, its pipes, and the input that it has not taken yet."""

    def __init__(self, number, argv, folder, environment, takes_input):
        self.number, self.status, self.pending, self.input_ended = number, None, bytearray(), False
        input_read, input_write = os.pipe() if takes_input else (os.open("/dev/null", os.O_RDONLY), -1)
        output_read, output_write = os.pipe()
        error_read, error_write = os.pipe()
        self.identifier = os.fork()
        if self.identifier == 0:
            self.become(argv, folder, environment, (input_read, output_write, error_write))
        for descriptor in (input_read, output_write, error_write):
            os.close(descriptor)
        self.input = input_write
        self.outputs = {output_read: frames.OUTPUT, error_read: frames.ERROR_OUTPUT}
        for descriptor in [*self.outputs, *([input_write] if takes_input else [])]:
            os.set_blocking(descriptor, False)

    @staticmethod
    def become(argv, folder, environment, streams):
        try:
            os.setsid()
            for target, descriptor in enumerate(streams):
                os.dup2(descriptor, target)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            try:
                os.chdir(folder)
            except OSError as error:
                os.write(2, f"lab: {folder}: {error.strerror} in the lab host\n".encode())
                os._exit(126)
            os.execvpe(argv[0], argv, environment)
        except OSError as error:
            os.write(2, f"lab: {argv[0]}: {error.strerror} in the lab host\n".encode())
            os._exit(127 if error.errno == errno.ENOENT else 126)
        finally:
            os._exit(126)

    def stop(self, number):
        """Signals every process of the command's session. To kill them takes several looks: one may be forking."""
        limit = time.monotonic() + 2
        while self.signal_session(number) and number == signal.SIGKILL and time.monotonic() < limit:
            time.sleep(0.01)

    def signal_session(self, number):
        """Returns how many living processes it found."""
        found = 0
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()  # state, parent, group, session
                if int(fields[3]) == self.identifier and fields[0] not in "ZX":
                    os.kill(int(name), number)
                    found += 1
            except (OSError, ValueError):
                continue
        return found

    def write_input(self):
        try:
            while self.pending:
                del self.pending[:os.write(self.input, self.pending)]
        except BlockingIOError:
            return
        except OSError:
            self.pending.clear()
            self.input_ended = True
        if self.input_ended:
            self.close_input()

    def close_input(self):
        if self.input >= 0:
            os.close(self.input)
        self.input = -1


class Agent:
    def __init__(self):
        self.port = control_port()
        self.decoder = frames.Decoder()
        self.commands = {}
        self.wake_read, wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def send(self, kind, number=0, content=b""):
        data = memoryview(frames.encode(kind, number, content))
        while data:
            data = data[os.write(self.port, data[:CHUNK]):]

    def run(self):
        self.reap()
        beat = 0.0
        while True:
            poll = select.poll()
            poll.register(self.port, select.POLLIN)
            poll.register(self.wake_read, select.POLLIN)
            for command in self.commands.values():
                for descriptor in command.outputs:
                    poll.register(descriptor, select.POLLIN)
                if command.input >= 0 and (command.pending or command.input_ended):
                    poll.register(command.input, select.POLLOUT)
            ready = dict(poll.poll(max(0, (beat + 1 - time.monotonic()) * 1000)))
            if time.monotonic() >= beat + 1:
                beat = time.monotonic()
                self.send(frames.SIGN_OF_LIFE, 0, json.dumps({"load": os.getloadavg()[0]}).encode())
            if ready.get(self.port, 0) & select.POLLIN:
                for frame in self.decoder.feed(os.read(self.port, CHUNK)):
                    self.obey(*frame)
            for command in list(self.commands.values()):
                for descriptor in [d for d in command.outputs if d in ready]:
                    self.forward(command, descriptor)
                if command.input in ready:
                    command.write_input()
            if self.wake_read in ready:
                os.read(self.wake_read, CHUNK)
                self.reap()

    def start(self, number, request):
        self.commands[number] = Command(number, request["argv"], request["folder"], request["environment"],
                                        request.get("input", False))

    def obey(self, kind, number, content):
        if kind == frames.RUN:
            self.start(number, json.loads(content))
            return
        command = self.commands.get(number)
        if command is None:
            return  # it has ended in the meantime
        if kind == frames.SIGNAL:
            command.stop(json.loads(content)["number"])
        elif command.input >= 0:
            command.pending += content
            command.input_ended = command.input_ended or kind == frames.INPUT_END
            command.write_input()

    def forward(self, command, descriptor):
        """One chunk of output; False when there is none left for now."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            del command.outputs[descriptor]
            os.close(descriptor)
            return False
        self.send(command.outputs[descriptor], command.number, data)
        return True

    def reap(self):
        """Takes the status of every ended child; process 1 inherits orphans, which are only reaped."""
        while True:
            try:
                identifier, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if identifier == 0:
                return
            if identifier == int(os.environ["LAB_SETUP"]):
                with open("/run/setup", "rb") as file:
                    self.send(frames.READY, 0, file.read())
            for command in list(self.commands.values()):
                if command.identifier == identifier:
                    self.finish(command, os.waitstatus_to_exitcode(status))

    def finish(self, command, status):
        # A process left in the background may hold the pipes open: what is in them now belongs to the command.
        for descriptor in list(command.outputs):
            while self.forward(command, descriptor):
                pass
        for descriptor in command.outputs:
            os.close(descriptor)
        command.close_input()
        del self.commands[command.number]
        self.send(frames.EXIT, command.number,
                  json.dumps({"status": status if status >= 0 else 128 - status}).encode())


if __name__ == "__main__":
    Agent().run()
