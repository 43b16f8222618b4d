"""What is no plain file, and dumps that fail."""

import errno
import os
import socket

import numpy as np
from scenery import CONTENTS, NAMED, OLD, PIPES, WHOLE, Case, Fails, put, scene

# ---------------------------------------------------------------- what is no plain file


def _add_fifos():
    def fifo(name):
        def build():
            os.mkfifo("fifo")
            if name != "fifo":
                os.symlink("fifo", name)
            return Case(name, reader="fifo")

        return build

    for name in ("fifo", "link"):
        ours = {PIPES: {"result": [name], "received": "value"}}
        scene("special", f"a fifo, {name}", ways=["plain"], ours=ours)(fifo(name))
        scene("special", f"a fifo, {name}, compressed", ways=["zlib"])(fifo(name))


_add_fifos()


@scene("special")
def a_socket():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    return Case("socket")


def _add_devices():
    full = {"result": ["OSError", errno.ENOSPC, "/dev/full"]}

    @scene("special", "/dev/full", ours={NAMED: full})
    def dev_full():
        return Case("/dev/full")

    for name in ("/dev/null", "/dev/zero", "/dev", "/dev/", "/dev/null/", "/dev/fd/99",
                 "/dev/fd/x", "/proc/self/fd/99", "/proc/new", "/proc/self/fd"):  # fmt: skip

        @scene("special", name)
        def build(name=name):
            return Case(name)

    for content in CONTENTS:
        for head in ("/proc/self/fd/", "/dev/fd/", "link"):

            @scene("special", f"{head}, open, {content}", in_place=True)
            def opened(head=head, content=content):
                put("file", CONTENTS[content])
                descriptor = os.open("file", os.O_WRONLY)
                if head == "link":
                    os.symlink(f"/proc/self/fd/{descriptor}", "link")
                    return Case("link", hold="file")
                return Case(f"{head}{descriptor}", hold="file")

    @scene("special", in_place=True)
    def a_file_without_a_name():
        put("file")
        descriptor = os.open("file", os.O_WRONLY)
        case = Case(f"/proc/self/fd/{descriptor}", hold="file")
        case.unlink = "file"
        return case

    @scene("special")
    def a_descriptor_that_is_no_file():
        return Case(f"/proc/self/fd/{os.open('/dev/null', os.O_WRONLY)}")

    @scene("special")
    def a_descriptor_of_a_fifo():
        os.mkfifo("fifo")
        descriptor = os.open("fifo", os.O_RDWR)
        os.close(os.dup(descriptor))
        return Case(f"/proc/self/fd/{descriptor}", value=[1, 2])

    @scene("special", in_place=True)
    def a_file_of_proc():
        return Case("/proc/self/comm", value=[1])


_add_devices()


# ---------------------------------------------------------------- failures


def _add_failures():
    def failing(content, size):
        def build():
            if content is not None:
                put("file", content)
            return Case("file", hold="file" if content is not None else "",
                        value=[np.zeros(size), Fails()])  # fmt: skip

        return build

    for size in (10, 1_000_000):
        scene("failures", f"new, {size}", ours={WHOLE: {"file": None}})(failing(None, size))
        scene(
            "failures",
            f"old, {size}",
            ours={WHOLE: {"file content": "old", "held": "old"}},
        )(failing(OLD, size))
        scene(
            "failures",
            f"empty, {size}",
            ours={WHOLE: {"file content": "empty", "held": "empty"}},
        )(failing(b"", size))

    @scene("failures", in_place=True, ours={WHOLE: {"held": "empty", "file content": "empty"}})
    def in_place():
        put("file")
        descriptor = os.open("file", os.O_WRONLY)
        return Case(f"/proc/self/fd/{descriptor}", hold="file",
                    value=[np.zeros(1_000_000), Fails()])  # fmt: skip


_add_failures()
