"""File objects: bytes put back in front of one, ends that are none, compressors of users."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from fastpersist import _ends
from fastpersist.codecs.decoding import CHUNK_BYTES, position
from fastpersist.codecs.registry import CompressorWrapper


class PushedBack:
    """A file object without seek and peek, and bytes of it that were read already."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head = head
        self._file = file
        if hasattr(file, "readinto"):
            self.readinto = self._readinto

    @property
    def n_left(self) -> int:
        """Bytes of the head that nobody has taken."""
        return len(self._head)

    def read(self, n_bytes: int = -1) -> bytes:
        if not self._head:
            return self._file.read(n_bytes)  # type: ignore[no-any-return]
        if n_bytes < 0:
            head, self._head = self._head, b""
            return head + self._file.read()  # type: ignore[no-any-return]
        head, self._head = self._head[:n_bytes], self._head[n_bytes:]
        if len(head) < n_bytes:
            head += self._file.read(n_bytes - len(head))
        return head

    def readline(self, n_bytes: int = -1) -> bytes:
        n_line = self._head.find(b"\n") + 1
        n_taken = n_line or len(self._head)
        if 0 <= n_bytes < n_taken:
            n_taken = n_bytes
        head, self._head = self._head[:n_taken], self._head[n_taken:]
        if n_line or n_taken == n_bytes:
            return head
        if n_bytes < 0:  # not every file's readline takes a number
            return head + self._file.readline()  # type: ignore[no-any-return]
        return head + self._file.readline(n_bytes - n_taken)  # type: ignore[no-any-return]

    def _readinto(self, target: Any) -> int:
        if not self._head:
            return self._file.readinto(target)  # type: ignore[no-any-return]
        with memoryview(target).cast("B") as view:
            n_bytes = min(len(view), len(self._head))
            view[:n_bytes] = self._head[:n_bytes]
        self._head = self._head[n_bytes:]
        return n_bytes


def registered(codec: CompressorWrapper, file: Any) -> Any:
    """The file object of a compressor that a user registered, buffered as joblib does it."""
    decoded = codec.decompressor_file(file)
    if hasattr(decoded, "readinto") and hasattr(decoded, "readable"):
        return io.BufferedReader(decoded, CHUNK_BYTES)
    return decoded


# ---------------------------------------------------------------- rewound

# dump() and load() without seek(0) in between is a habit that joblib allows, where a file object
# has no peek(): one that stands at its end is read from its start, unless it was a load that
# brought it there. Where that cannot be known it stays at its end.


@contextlib.contextmanager
def rewound(file: Any) -> Iterator[None]:
    """Around one load of a dump from a caller's file object."""
    came_from = _rewind(file)
    try:
        yield
    except BaseException:
        if came_from is not None:
            file.seek(came_from)  # it may be tried again
        else:
            _note_end(file)
        raise
    _note_end(file)


def _rewind(file: Any) -> int | None:
    """Where the file stood that is at its start now; None where it is left alone."""
    end = position(file)
    if not end or hasattr(file, "peek"):
        return None
    if file.read(1):
        file.seek(end)
        return None
    try:
        if _ends.noted(file) == end:
            raise EOFError("Ran out of input")
    except TypeError:
        return None
    file.seek(0)
    return end


def _note_end(file: Any) -> None:
    end = None if hasattr(file, "peek") else position(file)
    if end is not None:
        _ends.note(file, end)
