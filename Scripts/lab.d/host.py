"""One lab host: an AMD-V machine in QEMU's software emulation, and the port over which it is given commands."""

import asyncio
import ctypes
import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
import time

import diagnosis
import frames
import initramfs
import packages

SCRIPTS = os.path.dirname(os.path.abspath(__file__))
BOOT_MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"]
BOOT_LIMIT = 90.0
SILENCE_LIMIT = float(os.environ.get("APUS_LAB_SILENCE", "30"))
ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}
PR_SET_PDEATHSIG = 1


class HostLost(Exception):
    """The emulated host ended by itself or gives no sign of life; the text says which, and what was seen last."""


def die_with_parent():
    """In a new child: be killed when the lab's process dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Images:
    """What every lab host of this machine boots from, found or built."""

    def __init__(self, series=""):
        self.emulator = packages.find_tool("qemu-system-x86_64", "qemu-system-x86")
        for tool, package in (("ip", "iproute2"), ("rdma", "iproute2"), ("tc", "iproute2"), ("modprobe", "kmod")):
            packages.find_tool(tool, package)
        self.kernel = packages.Kernel.find(f"linux-image-{series and series + '-'}amd64")
        archive = initramfs.Initramfs()
        for folder in ("proc", "sys", "dev", "ro", "rw", "newroot"):
            archive.add_folder(folder)
        archive.add_file("bin/busybox", packages.static_busybox().read_bytes())
        archive.add_modules(self.kernel, BOOT_MODULES)
        with open(os.path.join(SCRIPTS, "host-init"), "rb") as file:
            archive.add_file("init", file.read())
        self.archive = archive.store(f"host-{self.kernel.version}")


class Host:
    """Runs from boot() to stop(); in between, commands by start_command() and their frames to its receiver."""

    def __init__(self, name, folder, options):
        self.name, self.folder, self.options = name, folder, options
        self.own = os.path.join(folder, name)
        self.process = self.writer = None
        self.receivers = {}
        self.next_number = 1
        self.silence = 0.0
        self.load = 0.0
        self.ready = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()
        self.tasks = []

    async def boot(self, images):
        """Returns when the host takes commands; throws HostLost."""
        self.images = images
        os.mkdir(self.own)
        self.write_settings(images)
        started = time.monotonic()
        while self.name == "b" and not os.path.exists(f"{self.folder}/link"):
            if time.monotonic() > started + 20:
                raise HostLost("host a did not offer its link within 20 s")
            await asyncio.sleep(0.02)
        self.process = await asyncio.create_subprocess_exec(
            *self.arguments(images), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent)
        self.tasks = [asyncio.create_task(task) for task in (self.watch_process(), self.converse(), self.watch_life())]
        await asyncio.wait([self.ready, self.lost], timeout=BOOT_LIMIT, return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            raise HostLost(self.lost.result())
        if not self.ready.done():
            raise HostLost(self.lose(f"had not booted after {BOOT_LIMIT:.0f} s"))
        return time.monotonic() - started

    def write_settings(self, images):
        address = ADDRESSES[self.name]
        settings = {
            "LAB_HOST": self.name, "LAB_HOSTNAME": f"host{self.name}", "LAB_FOLDER": self.folder,
            "LAB_ADDRESS": address, "LAB_MAC": f"52:54:00:77:00:{address.rsplit('.', 1)[1]:0>2}",
            "LAB_KERNEL": images.kernel.version, "LAB_MODULES": str(images.kernel.modules),
            "LAB_KVM_OPTIONS": f"npt={int(self.options.nested_paging)}", "LAB_PYTHON": os.path.realpath(sys.executable),
            "PATH": os.environ.get("PATH", "/usr/bin:/bin") + packages.SYSTEM_PATH,
        }
        with open(os.path.join(self.own, "settings"), "w") as file:
            file.writelines(f"export {key}={shlex.quote(value)}\n" for key, value in settings.items())
        for name in ("agent.py", "frames.py", "host-setup"):
            shutil.copy(os.path.join(SCRIPTS, name), self.folder)

    def arguments(self, images):
        options = self.options
        return [
            images.emulator, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-name", f"apus-lab-{self.name}",
            "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-erms", "-smp", str(options.cpus),
            "-m", str(options.memory), "-kernel", str(images.kernel.unpacked_image), "-initrd", str(images.archive),
            "-append", f"console=ttyS0 panic=-1 mitigations=off tsc=reliable {tsc_frequency()}quiet "
                       f"hugepages={options.huge_pages} LAB_HOST={self.name}",
            "-serial", f"file:{self.own}/console", "-qmp", f"unix:{self.own}/qmp,server=on,wait=off",
            "-virtfs", "local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap",
            "-virtfs", f"local,path={self.folder},mount_tag=lab,security_model=none,multidevs=remap",
            "-chardev", f"socket,id=control,path={self.own}/control,server=on,wait=off",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=control,name=apus.lab",
            "-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng",
            *self.link(), "-device",
            f"virtio-net-pci,netdev=link,id=nic,romfile=,host_mtu=9000,mac=52:54:00:77:01:0{'ab'.index(self.name) + 1}",
        ]

    def link(self):
        if self.options.hosts == 1:
            return ["-netdev", "user,id=link,restrict=on"]
        # A stream: with datagrams the emulator spins while the other side's queue is full.
        role = "on" if self.name == "a" else "off"
        return ["-netdev", f"stream,id=link,server={role},addr.type=unix,addr.path={self.folder}/link"]

    async def converse(self):
        """Connects to the port and hands every frame that comes in to the receiver of its command."""
        path = os.path.join(self.own, "control")
        while True:
            try:
                reader, self.writer = await asyncio.open_unix_connection(path)
                break
            except OSError:
                await asyncio.sleep(0.01)
        decoder = frames.Decoder()
        while data := await reader.read(1 << 18):
            for kind, number, content in decoder.feed(data):
                if kind == frames.SIGN_OF_LIFE:
                    self.silence, self.load = 0.0, json.loads(content)["load"]
                elif kind == frames.READY:
                    sys.stderr.write(content.decode(errors="replace"))
                    self.ready.set_result(None)
                elif number in self.receivers:
                    await self.receivers[number](kind, content)
                    if kind == frames.EXIT:
                        self.receivers.pop(number, None)

    async def watch_process(self):
        said = (await self.process.stdout.read()).decode(errors="replace").strip()
        status = await self.process.wait()
        self.lose(f"ended by itself (QEMU's status {status}{'; ' + said if said else ''})")

    async def watch_life(self):
        """Counts the seconds without a sign of life; a tick that came late, on a busy machine, counts as one."""
        while True:
            await asyncio.sleep(1)
            if self.ready.done():
                self.silence += 1
            if self.silence > SILENCE_LIMIT:
                places = await diagnosis.processor_places(f"{self.own}/qmp", self.images.kernel)
                self.lose(f"hangs: no sign of life for {SILENCE_LIMIT:.0f} s; {places}")
                return

    def lose(self, what):
        message = f"host {self.name} {what}; its console ends:\n{self.console_end()}"
        if not self.lost.done():
            self.lost.set_result(message)
        return message

    def console_end(self):
        try:
            with open(os.path.join(self.own, "console"), "rb") as file:
                lines = file.read().decode(errors="replace").splitlines()[-30:]
        except OSError:
            lines = []
        return "\n".join(f"  | {line}" for line in lines) or "  | (nothing)"

    def start_command(self, request, receiver):
        """Starts a command; receiver(kind, content) is awaited for each frame, the last is EXIT. Returns its number."""
        number = self.next_number
        self.next_number += 1
        self.receivers[number] = receiver
        self.send(frames.RUN, number, json.dumps(request).encode())
        return number

    def send(self, kind, number, content=b""):
        if self.writer is not None:
            self.writer.write(frames.encode(kind, number, content))

    async def command(self, *argv):
        """Runs a short command to its end; returns its status and all its output."""
        output, done = bytearray(), asyncio.get_running_loop().create_future()

        async def receive(kind, content):
            if kind == frames.EXIT:
                done.set_result(json.loads(content)["status"])
            else:
                output.extend(content)

        path = os.environ.get("PATH", "/usr/bin:/bin") + packages.SYSTEM_PATH
        self.start_command({"argv": argv, "folder": "/", "environment": {"PATH": path}}, receive)
        await asyncio.wait([done, self.lost], return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            raise HostLost(self.lost.result())
        return done.result(), output.decode(errors="replace").strip()

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        if self.process is not None and self.process.returncode is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            await self.process.wait()


def tsc_frequency():
    """The word that tells a host how fast its clock is, which is this machine's; empty if that cannot be asked.

    On a busy machine a host that has to find out for itself may be wrong by a factor of two, and so is its clock then.
    """
    create_machine, create_processor, get_frequency = 0xAE01, 0xAE41, 0xAEA3
    descriptors = []
    try:
        descriptors.append(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        for request in (create_machine, create_processor):
            descriptors.append(fcntl.ioctl(descriptors[-1], request, 0))
        return f"tsc_early_khz={fcntl.ioctl(descriptors[-1], get_frequency, 0)} "
    except OSError:
        return ""
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
