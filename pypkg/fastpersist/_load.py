"""What `load` needs beside the C core: file objects, and files of other formats.

Imported where a path does not hold a file of fastpersist's own layout.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from fastpersist import _checked_mmap_mode, _files
from fastpersist._core import load_descriptor, load_file


def from_descriptor(
    path: str | bytes,
    mmap_mode: str | None,
    native: bool,
    verify: int,
    n_threads: int,
    max_bytes: int,
    fd: int,
) -> Any:
    """Load what an open path holds, which is not a regular file of our own layout."""

    def stream(decoded: Any) -> Any:
        return load_file(decoded, path, native, verify, None, 1, None, max_bytes)

    def direct(mode: str | None) -> Any:
        if not is_regular:
            if mode is not None:
                _warn_ignored(path, mode, "is not a regular file")
            return stream(file)
        mode = _checked_mmap_mode(mode)
        return load_descriptor(fd, path, 0, mode, native, verify, n_threads, max_bytes)[0]

    is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
    with open(fd, "rb", closefd=False) as file:
        return _files.load_path(path, file, mmap_mode, native, stream, direct, n_threads, max_bytes)


def from_file(
    file: Any, mmap_mode: str | None, native: bool, verify: int, n_threads: int, max_bytes: int
) -> Any:
    """Load one dump of any kind from a file object."""

    def stream(decoded: Any) -> Any:
        return load_file(decoded, None, native, verify, None, 1, None, max_bytes)

    if type(file) is io.BytesIO:
        return _from_bytes_io(file, mmap_mode, native, stream, n_threads, max_bytes)
    if mmap_mode is not None and _is_real(file):
        mapped = _map(file, mmap_mode, verify, n_threads, max_bytes)
        if mapped is not None:
            return mapped[0]
    return _files.load_file(file, mmap_mode, native, stream, n_threads, max_bytes)


# Where the last load from a BytesIO ended.
_ends: WeakKeyDictionary[io.BytesIO, int] = WeakKeyDictionary()


def _from_bytes_io(
    file: io.BytesIO,
    mmap_mode: str | None,
    native: bool,
    stream: Callable[[Any], Any],
    n_threads: int,
    max_bytes: int,
) -> Any:
    """Load from memory: the next dump, and EOFError behind the last, as from any file object.

    But dump() and load() without seek(0) in between is a habit that joblib allows: a BytesIO that
    stands at its end, and was not brought there by a load, is read from its start.
    """
    refuse_known_end(file)
    value = _files.load_file(file, mmap_mode, native, stream, n_threads, max_bytes)
    note_end(file)
    return value


def refuse_known_end(file: io.BytesIO) -> None:
    position = file.tell()
    if _ends.get(file) == position and position == len(file.getbuffer()):
        raise EOFError("Ran out of input")


def note_end(file: io.BytesIO) -> None:
    _ends[file] = file.tell()


def _is_real(file: Any) -> bool:
    """Whether a file object is nothing but a buffer over a regular file."""
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    return type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _map(
    file: Any, mmap_mode: str, verify: int, n_threads: int, max_bytes: int
) -> tuple[Any] | None:
    """Map an opened file from where it stands, and go behind the dump; None: it has to be read."""
    file.flush()
    position = file.tell()
    fd = file.fileno()
    if _files.detect(os.pread(fd, 16, position)) is not None:
        return None
    if not isinstance(file.name, (str, bytes)):
        _warn_ignored(file, mmap_mode, "has no name")
        return None
    mode = _checked_mmap_mode(mmap_mode)
    if mode == "r+" and not file.writable():
        _warn_ignored(file, mmap_mode, "is not open for writing")
        return None
    value, end = load_descriptor(fd, file.name, position, mode, False, verify, n_threads, max_bytes)
    if end == 0:
        _warn_ignored(file, mmap_mode, "does not stand where its arrays would be aligned")
        return None
    file.seek(end)
    return (value,)


def _warn_ignored(file: Any, mmap_mode: str, reason: str) -> None:
    _files.warn_caller(f'"{file!r}" {reason}, mmap_mode "{mmap_mode}" flag will be ignored.')
