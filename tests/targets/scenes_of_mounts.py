"""Mounts, small disks, layers, and the flags of files."""

import ctypes
import errno
import fcntl
import os
import struct

import numpy as np
from scenery import CONTENTS, NAMED, REPLACED, ROOM, WHOLE, Case, make, put, scene, standard

# ---------------------------------------------------------------- mounts, flags

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
IMMUTABLE, APPEND = 0x10, 0x20


def own_mounts():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x20000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def mount(source, target, kind, flags=0, data=None):
    libc = ctypes.CDLL(None, use_errno=True)
    encoded = [None if x is None else os.fsencode(x) for x in (source, target, kind)]
    if libc.mount(*encoded, ctypes.c_ulong(flags), data and data.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def set_flags(path, flags):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = struct.unpack("l", fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(8)))[0]
        found = found & ~(IMMUTABLE | APPEND) | flags
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("l", found))
    finally:
        os.close(descriptor)


def _add_mounts():
    for content in CONTENTS:

        @scene("mounts", f"a file is a mount, {content}", needs=["mount"], in_place=True)
        def file_mount(content=content):
            put("source", CONTENTS[content])
            put("file", b"below")
            own_mounts()
            mount("source", "file", None, MS_BIND)
            return Case("file", hold="source")

        @scene("mounts", f"a mount that is read only, {content}", needs=["mount"])
        def read_only_file(content=content):
            put("source", CONTENTS[content])
            put("file", b"below")
            own_mounts()
            mount("source", "file", None, MS_BIND)
            mount("none", "file", None, MS_BIND | MS_REMOUNT | MS_RDONLY)
            return Case("file", hold="source")

        @scene(
            "mounts",
            f"another file system's layer, {content}",
            needs=["mount", "overlay"],
            ours={REPLACED: {"held": "old"}} if content == "old" else {},
        )
        def overlay(content=content):
            own_mounts()
            make("fs")
            mount("none", "fs", "tmpfs")
            for name in ("lower", "upper", "work"):
                make(f"fs/{name}")
            put("fs/lower/file", CONTENTS[content])
            make("here")
            top = os.path.abspath("fs")
            mount("none", "here", "overlay", 0,
                  f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work")  # fmt: skip
            # Opened for writing, it is copied to the upper layer: that is the file then.
            os.close(os.open("here/file", os.O_WRONLY))
            return Case("here/file", hold="here/file")

    for name in ("file", "empty", "new", "link", "dangling", "sub/"):

        @scene("mounts", f"read only, {name}", needs=["mount"])
        def read_only(name=name):
            make("here")
            os.chdir("here")
            standard()
            os.symlink("file", "link")
            os.symlink("new", "dangling")
            os.chdir("..")
            own_mounts()
            mount("here", "here", None, MS_BIND)
            mount("none", "here", None, MS_BIND | MS_REMOUNT | MS_RDONLY)
            return Case(f"here/{name}")

    def small(content):
        """Room for the dump and half of it once more."""
        own_mounts()
        make("here")
        mount("none", "here", "tmpfs", 0, "size=3m")
        if content is not None:
            put("here/file", content)
        return Case("here/file", hold="here/file" if content is not None else "",
                    value=np.random.default_rng(0).bytes(2_000_000))  # fmt: skip

    full = ["OSError", errno.ENOSPC, "here/file"]

    @scene("mounts", needs=["mount"])
    def a_small_disk_new():
        return small(None)

    @scene("mounts", needs=["mount"])
    def a_small_disk_empty():
        return small(b"")

    @scene(
        "mounts",
        needs=["mount"],
        ours={ROOM: {"result": full, "here/file content": "other", "held": "other"}},
    )
    def a_small_disk_with_the_old_file():
        return small(b"x" * 2_000_000)

    @scene("mounts", needs=["mount"], ours={WHOLE: {"here/file": None}, NAMED: {"result": full}})
    def too_small_a_disk_new():
        case = small(None)
        case.value = np.random.default_rng(0).bytes(4_000_000)
        return case

    @scene(
        "mounts",
        needs=["mount"],
        ours={WHOLE: {"here/file content": "empty", "held": "empty"}, NAMED: {"result": full}},
    )
    def too_small_a_disk_empty():
        case = small(b"")
        case.value = np.random.default_rng(0).bytes(4_000_000)
        return case


_add_mounts()


def _add_flags():
    def flagged(name, flags, content):
        def build():
            make("here")
            put("here/file", CONTENTS[content])
            path = os.path.abspath(name)
            set_flags(path, flags)
            return Case("here/file", after=lambda: set_flags(path, 0))

        return build

    for content in CONTENTS:
        for title, flags in (("immutable", IMMUTABLE), ("append only", APPEND)):
            scene("flags", f"{title} file, {content}", needs=["flags"])(
                flagged("here/file", flags, content)
            )
            scene("flags", f"{title} directory, {content}", needs=["flags"], in_place=True)(
                flagged("here", flags, content)
            )

    @scene("flags", needs=["flags"])
    def a_new_file_in_an_immutable_directory():
        make("here")
        path = os.path.abspath("here")
        set_flags(path, IMMUTABLE)
        return Case("here/new", after=lambda: set_flags(path, 0))

    @scene("flags", needs=["flags"], in_place=True)
    def a_new_file_in_an_append_only_directory():
        make("here")
        path = os.path.abspath("here")
        set_flags(path, APPEND)
        return Case("here/new", after=lambda: set_flags(path, 0))


_add_flags()
