"""A directory: which of its files are dumps, and what dumps that were killed have left there."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from fastpersist.files import foreign, kinds

# csrc/core/atomic_file.h: beside the file that it was to become.
_TEMPORARY = re.compile(r"\..+\.[a-z2-7]{8}\.tmp", re.DOTALL)
_HEAD_BYTES = 1 << 16
# A dump writes now and then: what nobody has touched for so long is nobody's any more.
QUIET_SECONDS = 3600


class Found(NamedTuple):
    """A file of a directory."""

    name: str
    n_bytes: int
    kind: str


class Leftover(NamedTuple):
    """The temporary of a dump."""

    name: str
    n_bytes: int
    seconds: float
    """Since it was written to."""
    in_use: str
    """Why it may be a running dump's; "": nothing says so."""


def look(directory: str) -> tuple[list[Found], list[Leftover]]:
    """The regular files of a directory by name, hidden ones left out, and dumps' temporaries."""
    files, left = [], []
    opened = None
    for name, info in sorted(_regular(directory), key=lambda pair: pair[0]):
        path = os.path.join(directory, name)
        head = _head(path)
        if _TEMPORARY.fullmatch(name) is not None and _may_be_dump(head):
            opened = _opened() if opened is None else opened
            seconds = max(0.0, time.time() - info.st_mtime)
            reason = ""
            if (info.st_dev, info.st_ino) in opened:
                reason = "a process has it open"
            elif seconds < QUIET_SECONDS:
                reason = "written to within the last hour"
            left.append(Leftover(name, info.st_size, seconds, reason))
        elif not name.startswith("."):
            files.append(Found(name, info.st_size, _kind(head)))
    return files, left


def _regular(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # a dump has ended meanwhile
            if stat.S_ISREG(info.st_mode):
                yield entry.name, info


def _head(path: str) -> bytes | None:
    """None: it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(fd, _HEAD_BYTES)
    except OSError:
        return None
    finally:
        os.close(fd)


def _may_be_dump(head: bytes | None) -> bool:
    """Whether a dump begins so: programs that are not ours call files alike."""
    if head is None:
        return False
    return not head or head[:1] == b"\x80" or head[:12] == b"fastpersist " or kinds.is_encoded(head)


def _kind(head: bytes | None) -> str:
    if head is None:
        return "cannot be read"
    if not head:
        return "empty"
    if head[:16] == b"fastpersist sdc\0":
        return "fastpersist, the second file of a dump in two"
    if head[2:16] == b"C\x10fastpersist\0":
        return "fastpersist"
    codec = kinds.detect(head)
    if codec is not None:
        return f"compressed: {codec}"
    found = foreign.named(head)
    if found is not None:
        return found.partition(":")[0]
    return "pickle" if head[:1] == b"\x80" else "another format, or a pickle of protocol 0 or 1"


def _opened() -> set[tuple[int, int]]:
    """Device and inode of the files that processes have open, as far as it can be seen."""
    found = set()
    processes = os.listdir("/proc") if os.path.isdir("/proc") else []
    for process in processes:
        if not process.isdecimal():
            continue
        try:
            numbers = os.listdir(f"/proc/{process}/fd")
        except OSError:
            continue
        for number in numbers:
            try:
                info = os.stat(f"/proc/{process}/fd/{number}")
            except OSError:
                continue
            found.add((info.st_dev, info.st_ino))
    return found
