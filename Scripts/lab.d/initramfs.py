"""Writes initial RAM disks: the kernel's "newc" cpio format, uncompressed (the emulated processor is slow at gzip)."""

import hashlib
import lzma
import os
import pathlib

import packages


class Initramfs:
    """Files to come, in memory; written once under a name that is the hash of the content."""

    def __init__(self):
        self.content = bytearray()
        self.folders = set()
        self.number = 0

    def add_folder(self, name):
        for depth in range(1, len(pathlib.PurePosixPath(name).parts) + 1):
            folder = "/".join(pathlib.PurePosixPath(name).parts[:depth])
            if folder not in self.folders:
                self.folders.add(folder)
                self.append(folder, 0o040755, b"")

    def add_file(self, name, content, mode=0o755):
        parent = str(pathlib.PurePosixPath(name).parent)
        if parent != ".":
            self.add_folder(parent)
        self.append(name, 0o100000 | mode, content)

    def add_modules(self, kernel, names):
        """The named modules with all they need under modules/, named so that the shell's order is the load order."""
        for position, path in enumerate(kernel.module_files(names)):
            content = path.read_bytes()
            name = path.name
            if name.endswith(".xz"):
                content, name = lzma.decompress(content), name[:-len(".xz")]
            self.add_file(f"modules/{position:03d}-{name}", content, 0o644)

    def append(self, name, mode, content):
        """One record: 13 fields of 8 hexadecimal digits after the magic, the name, the content, each padded to 4."""
        self.number += 1
        encoded = name.encode() + b"\0"
        fields = [self.number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0]
        self.content += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self.pad()
        self.content += content
        self.pad()

    def pad(self):
        self.content += bytes(-len(self.content) % 4)

    def store(self, label):
        """Writes the archive into the cache unless the same one is there, and returns its path."""
        self.append("TRAILER!!!", 0, b"")
        digest = hashlib.sha256(self.content).hexdigest()[:12]
        path = packages.cache_folder() / "initramfs" / f"{label}-{digest}.cpio"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(self.content)
            temporary.rename(path)
        return path
