"""Dumps in two files: opening both, for `load` and `read_sidecar`."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Callable
from typing import Any

from fastpersist._core import load_file, load_path
from fastpersist._core import read_sidecar as read_place
from fastpersist._progress import Report
from fastpersist.files import kinds, streams, urls, warn

# What the core takes: (descriptor, file object, path); a descriptor of -1 stands for none.
Place = tuple[int, Any, Any]


def load_pair(
    filename: Any,
    sidecar: Any,
    mmap_mode: str | None,
    native: bool,
    verify: int,
    n_threads: int,
    max_bytes: int,
    mismatch: int,
    report: Report | None,
    find_class: Callable[[str, str], Any] | None,
) -> Any:
    """Load the dump whose main file is `filename`; `mmap_mode` as checked by `load`."""

    def foreign(fd: int, offset: int | None = None) -> Any:
        if offset is not None:
            return kinds.begins_at(fd, offset)
        with open(fd, "rb", closefd=False) as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError(
                    f"{filename!r} is not a file with a sidecar: load it without sidecar="
                )
            return load_file(file, filename, *checks)

    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    with contextlib.ExitStack() as opened:
        place = open_place(sidecar, mmap_mode, opened)
        limits = (place, max_bytes, mismatch, report, find_class)
        checks = (native, verify, mmap_mode, n_threads, *limits)
        if isinstance(filename, (str, bytes)):
            return load_path(filename, mmap_mode, native, verify, n_threads, foreign, *limits)
        opened.enter_context(streams.rewound(filename))
        return load_file(filename, None, *checks)


def read(sidecar: Any, verify: int, n_threads: int) -> list[bytearray | bytes]:
    """The buffers of a sidecar file, in order."""
    with contextlib.ExitStack() as opened:
        if urls.are_meant(sidecar):
            sidecar = opened.enter_context(urls.here(urls.local_path(sidecar)))
        return read_place(open_place(sidecar, None, opened), verify, n_threads)


def open_place(sidecar: Any, mmap_mode: str | None, opened: contextlib.ExitStack) -> Place:
    """A regular file by its descriptor, everything else as a file object; `opened` closes it."""
    if isinstance(sidecar, os.PathLike):
        sidecar = os.fspath(sidecar)
    if not isinstance(sidecar, (str, bytes)):
        if not hasattr(sidecar, "read"):
            raise ValueError(
                "sidecar should be a filename or a file-like object, "
                f"{sidecar} (type {type(sidecar)}) was given."
            )
        if mmap_mode is not None:
            warn.ignored(sidecar, "was given as a file object", mmap_mode)
        opened.enter_context(streams.rewound(sidecar))
        return -1, sidecar, None
    mode = "r+b" if mmap_mode == "r+" else "rb"
    file = opened.enter_context(open(sidecar, mode, buffering=0))
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file.fileno(), None, sidecar
    if mmap_mode is not None:
        warn.ignored(sidecar, "is not a regular file", mmap_mode)
    return -1, io.BufferedReader(file), sidecar
