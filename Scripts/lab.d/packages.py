"""Debian's packages as the source of kernels and busybox: found with apt, unpacked, cached.

Everything lands in ${APUS_CACHE:-$HOME/.cache/apus}; once it is there, nothing here needs a network.
"""

import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import decompress

SYSTEM_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"


class CannotStart(Exception):
    """What is missing on this machine, in one line that names the remedy."""


def cache_folder():
    folder = pathlib.Path(os.environ.get("APUS_CACHE") or pathlib.Path.home() / ".cache" / "apus")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def find_tool(name, package):
    """The path of a program, looked for in the administrator's folders as well."""
    path = shutil.which(name, path=os.environ.get("PATH", "/usr/bin:/bin") + SYSTEM_PATH)
    if path is None:
        raise CannotStart(f"{name} is missing: apt-get install {package}")
    return path


class cache_lock:
    """Held while the cache is filled, so that two starts at once do not unpack the same package twice."""

    def __enter__(self):
        self.file = open(cache_folder() / "lock", "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def concrete_package(metapackage):
    """The kernel package that a metapackage stands for, e.g. linux-image-6.1.0-56-cloud-amd64."""
    cache = find_tool("apt-cache", "apt")
    listing = subprocess.run([cache, "depends", metapackage], capture_output=True, text=True)
    found = re.search(r"Depends: (linux-image-[\d.]+\S*)", listing.stdout)
    if not found:
        raise CannotStart(f"apt knows no package {metapackage}: apt-get update (Debian's repository is needed)")
    return found.group(1)


def unpack(package, folder):
    """Downloads a package without installing it and unpacks it at folder, which appears whole or not at all."""
    fetch, unpacker = find_tool("apt-get", "apt"), find_tool("dpkg-deb", "dpkg")
    # Of a start that was killed: whoever unpacks holds the lock of the cache.
    for remains in cache_folder().glob(".unpack-*"):
        shutil.rmtree(remains, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=cache_folder()) as temporary:
        fetched = subprocess.run([fetch, "-qq", "-o", "APT::Sandbox::User=root", "download", package],
                                 cwd=temporary, capture_output=True, text=True)
        archives = list(pathlib.Path(temporary).glob("*.deb"))
        if fetched.returncode != 0 or not archives:
            reason = (fetched.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CannotStart(f"cannot download {package}: {reason}")
        tree = pathlib.Path(temporary) / "tree"
        subprocess.run([unpacker, "-x", archives[0], tree], check=True)
        tree.chmod(0o755)
        folder.parent.mkdir(parents=True, exist_ok=True)
        tree.rename(folder)


class Kernel:
    """A stock Debian kernel: its image and its modules, unpacked."""

    def __init__(self, folder):
        self.folder = folder
        images = list((folder / "boot").glob("vmlinuz-*"))
        if not images:
            raise CannotStart(f"{folder} holds no kernel image: remove that folder and start again")
        self.image = images[0]
        self.version = self.image.name[len("vmlinuz-"):]
        self.modules = folder / "lib" / "modules" / self.version
        # Without the package's compression: an emulated processor takes seconds for it at every boot.
        self.unpacked_image = folder / "boot" / f"vmlinux-{self.version}"

    @classmethod
    def find(cls, metapackage):
        """The kernel that a metapackage ("linux-image-amd64") stood for when it was first asked for here."""
        kernels = cache_folder() / "kernels"
        with cache_lock():
            if not (kernels / metapackage).exists():
                package = concrete_package(metapackage)
                if not (kernels / package).exists():
                    unpack(package, kernels / package)
                (kernels / metapackage).unlink(missing_ok=True)
                (kernels / metapackage).symlink_to(package)
            kernel = cls((kernels / metapackage).resolve())
            kernel.unpack_image()
            if not (kernel.modules / "modules.dep").exists():
                subprocess.run([find_tool("depmod", "kmod"), "-b", kernel.folder, kernel.version], check=True)
            return kernel

    def unpack_image(self):
        if self.unpacked_image.exists():
            return
        try:
            content = decompress.elf_image(self.image.read_bytes())
        except (ValueError, OSError, subprocess.CalledProcessError) as error:
            raise CannotStart(f"{self.image}: {error}") from None
        temporary = self.unpacked_image.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.rename(self.unpacked_image)

    def module_files(self, names):
        """The files of the named modules and of all they need, in the order in which they must be loaded.

        Names that the kernel has built in are left out; an unknown name is an error.
        """
        needs = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            needs[self.module_name(path)] = (path, rest.split())
        builtin = {self.module_name(line) for line in (self.modules / "modules.builtin").read_text().splitlines()}
        ordered = []
        for name in names:
            name = name.replace("-", "_")
            if name in builtin:
                continue
            if name not in needs:
                raise CannotStart(f"kernel {self.version} has no module {name}")
            path, requirements = needs[name]
            # modules.dep names a module's needs nearest first; the farthest has to be loaded first.
            for needed in [*reversed(requirements), path]:
                if needed not in ordered:
                    ordered.append(needed)
        return [self.modules / path for path in ordered]

    @staticmethod
    def module_name(path):
        return path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")


def static_busybox():
    """A busybox that needs no libraries: the installed one, or the package's, unpacked into the cache."""
    installed = shutil.which("busybox")
    if installed and b"/ld-linux" not in pathlib.Path(installed).read_bytes():
        return pathlib.Path(installed)
    with cache_lock():
        folder = cache_folder() / "busybox-static"
        if not folder.exists():
            unpack("busybox-static", folder)
    return next(path for path in (folder / "bin" / "busybox", folder / "usr" / "bin" / "busybox") if path.exists())
