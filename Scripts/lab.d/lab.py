"""A lab: one or two hosts, the folder they share with this machine, and the socket over which it is used."""

import asyncio
import contextlib
import fcntl
import glob
import json
import os
import shutil
import signal
import sys
import tempfile
import time

import frames
import host
import network
import packages
import processes

STATUS_TIME_OUT, STATUS_CANNOT_START, STATUS_LOST = 124, 125, 126


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


def environment_inside(environment, name, folder):
    inside = {key: value for key, value in environment.items() if key != "APUS_LAB"}
    inside["PATH"] = inside.get("PATH", "/usr/bin:/bin") + packages.SYSTEM_PATH
    return {**inside, "APUS_LAB_HOST": name, "APUS_LAB_SHARED": f"{folder}/shared"}


class Lab:
    """Opened and closed by `async with`; nothing of it is left afterwards, whatever happened."""

    def __init__(self, options, images):
        self.options, self.images = options, images
        self.hosts = {}
        self.server = self.lock = self.folder = None
        self.clients = set()
        self.stop_asked = asyncio.get_running_loop().create_future()

    async def __aenter__(self):
        try:
            self.make_folder()
            self.hosts = {name: host.Host(name, self.folder, self.options) for name in "ab"[:self.options.hosts]}
            self.network = network.Network(self.hosts)
            seconds = await asyncio.gather(*(each.boot(self.images) for each in self.hosts.values()))
            self.server = await asyncio.start_unix_server(self.serve, f"{self.folder}/socket")
            if self.options.verbose:
                say(f"booted in {max(seconds):.1f} s ({self.images.kernel.version}, {self.folder})")
            return self
        except BaseException:
            await self.close()
            raise

    async def __aexit__(self, *_):
        await self.close()

    def make_folder(self):
        with packages.cache_lock():
            sweep()
            self.folder = os.path.realpath(tempfile.mkdtemp(prefix="apus-lab."))
            self.lock = open(f"{self.folder}/lock", "w")
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if len(self.folder) > 80:
            raise packages.CannotStart(f"{self.folder} is too long for sockets: set TMPDIR to a shorter path")
        os.mkdir(f"{self.folder}/shared")
        os.mkdir(f"{self.folder}/bin")
        with open(f"{self.folder}/bin/lab", "w") as file:
            program = os.path.join(os.path.dirname(host.SCRIPTS), "lab")
            file.write(f"#!/bin/sh\nexec '{os.path.realpath(sys.executable)}' '{program}' \"$@\"\n")
            os.fchmod(file.fileno(), 0o755)

    async def close(self):
        if self.server is not None:
            self.server.close()
        for client in list(self.clients):
            client.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)
        await asyncio.gather(*(each.stop() for each in self.hosts.values()))
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.lock.close()

    async def lost(self):
        """Returns when a host is lost, with the reason."""
        done, _ = await asyncio.wait([each.lost for each in self.hosts.values()],
                                     return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()

    def signs_of_life(self):
        return ", ".join(f"host {each.name} answered {each.silence:.0f} s ago, load {each.load:.1f}"
                         for each in self.hosts.values())

    async def run_inside(self, argv):
        """Runs a command in host a with this process's output; returns its status."""
        done = asyncio.get_running_loop().create_future()

        async def receive(kind, content):
            if kind == frames.EXIT:
                done.set_result(json.loads(content)["status"])
            else:
                stream = sys.stdout if kind == frames.OUTPUT else sys.stderr
                try:
                    stream.buffer.write(content)
                    stream.flush()
                except OSError:
                    if not done.done():
                        done.set_result(128 + signal.SIGPIPE)

        self.hosts["a"].start_command({"argv": argv, "folder": os.getcwd(), "environment":
                                       environment_inside(dict(os.environ), "a", self.folder)}, receive)
        return await done

    async def run_outside(self, argv):
        """Runs a command on this machine, with `lab` in its path; whatever it leaves running is killed."""
        environment = {**os.environ, "APUS_LAB": self.folder, "APUS_LAB_SHARED": f"{self.folder}/shared",
                       "PATH": f"{self.folder}/bin:{os.environ.get('PATH', '/usr/bin:/bin')}"}
        try:
            process = await asyncio.create_subprocess_exec(*argv, env=environment, preexec_fn=host.die_with_parent)
        except OSError as error:
            say(f"{argv[0]}: {error.strerror}")
            return 127
        try:
            status = await process.wait()
            return status if status >= 0 else 128 - status
        finally:
            keep = {each.process.pid for each in self.hosts.values() if each.process is not None}
            processes.kill_descendants(keep)

    async def serve(self, reader, writer):
        """One client: its first frame says what it wants."""
        task = asyncio.current_task()
        self.clients.add(task)
        try:
            decoder = frames.Decoder()
            incoming = frame_iterator(reader, decoder)
            kind, _, content = await anext(incoming)
            request = json.loads(content)
            match request["what"] if kind == frames.REQUEST else "":
                case "run":
                    await self.serve_run(request, incoming, writer)
                case "net":
                    reply = await self.network.change(request["words"])
                    writer.write(frames.encode(frames.REPLY, 0, json.dumps({"error": reply}).encode()))
                case "status":
                    reply = {"error": "", "text": self.signs_of_life(), "network": vars(self.network.state)}
                    writer.write(frames.encode(frames.REPLY, 0, json.dumps(reply).encode()))
                case "stop":
                    if not self.stop_asked.done():
                        self.stop_asked.set_result(writer)
                    await asyncio.Event().wait()  # the connection ends with the lab
            await writer.drain()
        except (OSError, StopAsyncIteration, ValueError, host.HostLost, asyncio.IncompleteReadError):
            pass
        finally:
            self.clients.discard(task)
            writer.close()

    async def serve_run(self, request, incoming, writer):
        """Runs a command for a client; a client that goes away takes its command with it."""
        chosen = self.hosts.get(request["host"])
        if chosen is None:
            content = json.dumps({"status": STATUS_CANNOT_START, "message": f"no host {request['host']} in this lab"})
            writer.write(frames.encode(frames.EXIT, 0, content.encode()))
            return
        ended = asyncio.get_running_loop().create_future()

        async def receive(kind, content):
            if not ended.done():
                writer.write(frames.encode(kind, 0, content))
                with contextlib.suppress(OSError):
                    await writer.drain()
            if kind == frames.EXIT and not ended.done():
                ended.set_result(None)

        run = dict(request["run"])
        run["environment"] = environment_inside(run["environment"], chosen.name, self.folder)
        number = chosen.start_command(run, receive)
        forwarding = asyncio.create_task(self.forward_input(chosen, number, incoming))
        try:
            await asyncio.wait([ended, forwarding, chosen.lost], return_when=asyncio.FIRST_COMPLETED)
            if chosen.lost.done() and not ended.done():
                content = json.dumps({"status": STATUS_LOST, "message": chosen.lost.result()})
                writer.write(frames.encode(frames.EXIT, 0, content.encode()))
                await writer.drain()
        finally:
            if not ended.done():
                ended.cancel()
                chosen.send(frames.SIGNAL, number, json.dumps({"number": signal.SIGKILL}).encode())
            forwarding.cancel()

    async def forward_input(self, chosen, number, incoming):
        async for kind, _, content in incoming:
            if kind in (frames.INPUT, frames.INPUT_END, frames.SIGNAL):
                chosen.send(kind, number, content)


async def frame_iterator(reader, decoder):
    while data := await reader.read(1 << 18):
        for frame in decoder.feed(data):
            yield frame


def sweep():
    """Removes the folders of labs that were killed: nobody holds their lock (their machines died with them)."""
    for path in glob.glob(os.path.join(tempfile.gettempdir(), "apus-lab.*", "lock")):
        try:
            with open(path) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(os.path.dirname(path), ignore_errors=True)
        except OSError:
            continue


class Interruption:
    """Turns SIGINT, SIGTERM and SIGHUP into a future."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.future = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.note, number)

    def note(self, number):
        if not self.future.done():
            self.future.set_result(signal.Signals(number))


async def attempt(options, images, interruption):
    """One lab from boot to end; returns the command's status or throws HostLost. The limit is on the command."""
    async def whole():
        async with Lab(options, images) as lab:
            work = lab.run_inside if options.hosts == 1 else lab.run_outside
            command = asyncio.create_task(work(options.command))
            loss = asyncio.create_task(lab.lost())
            try:
                await asyncio.wait([command, loss], timeout=options.timeout, return_when=asyncio.FIRST_COMPLETED)
                if command.done():
                    return command.result()
                if loss.done():
                    raise host.HostLost(loss.result())
                say(f"the command was still running at the limit of {options.timeout:g} s; the lab was alive "
                    f"({lab.signs_of_life()})")
                return STATUS_TIME_OUT
            finally:
                command.cancel()
                loss.cancel()
                await asyncio.gather(command, loss, return_exceptions=True)

    task = asyncio.create_task(whole())
    await asyncio.wait([task, interruption.future], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        say(f"interrupted by {interruption.future.result().name}: the lab is stopped, nothing is left of it")
        return 128 + interruption.future.result()
    return task.result()


async def run(options, images):
    """`lab run`: a lab that died by itself is started once more, and that is said."""
    processes.adopt_orphans()
    interruption = Interruption()
    started = time.monotonic()
    for last in (options.no_retry, True):
        try:
            status = await attempt(options, images, interruption)
            if options.verbose:
                say(f"status {status} after {time.monotonic() - started:.1f} s in all")
            return status
        except host.HostLost as error:
            say(f"the lab failed, not the command: {error}")
            if last:
                return STATUS_LOST
            say("trying once more; what was printed above belongs to the failed attempt")


async def serve_until_stopped(options, images, announce):
    """`lab start`: announce(folder) is called when the lab can be used."""
    processes.adopt_orphans()
    ends = [Interruption().future, asyncio.create_task(processes.wait_for_end(options.owner))]
    is_up = False

    async def whole():
        nonlocal is_up
        async with Lab(options, images) as lab:
            is_up = True
            announce(lab.folder)
            await asyncio.wait([lab.stop_asked, *ends], timeout=options.timeout, return_when=asyncio.FIRST_COMPLETED)

    for last in (False, True):
        task = asyncio.create_task(whole())
        await asyncio.wait([task, *ends], return_when=asyncio.FIRST_COMPLETED)
        # A lab that is up sees for itself that it has to end; one that boots is not waited for.
        if not task.done() and not is_up:
            task.cancel()
        try:
            await task
            break
        except asyncio.CancelledError:
            return 128 + ends[0].result() if ends[0].done() else STATUS_LOST
        except host.HostLost as error:
            say(f"the lab failed at its start: {error}")
            if last:
                return STATUS_LOST
            say("trying once more")
    ends[1].cancel()
    return 0
