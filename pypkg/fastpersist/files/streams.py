"""File objects: bytes put back in front of one, memory that was read, compressors of users."""

from __future__ import annotations

import io
from typing import Any
from weakref import WeakKeyDictionary

from fastpersist.codecs.decoding import CHUNK_BYTES
from fastpersist.codecs.registry import CompressorWrapper


class PushedBack:
    """A file object without seek and peek, and bytes of it that were read already."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head = head
        self._file = file
        if hasattr(file, "readinto"):
            self.readinto = self._readinto

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


# ---------------------------------------------------------------- memory

# dump() and load() without seek(0) in between is a habit that joblib allows: a BytesIO that stands
# at its end, and was not brought there by a load, is read from its start.

# Where the last load from a BytesIO ended.
_ends: WeakKeyDictionary[io.BytesIO, int] = WeakKeyDictionary()


def refuse_known_end(file: io.BytesIO) -> None:
    position = file.tell()
    if _ends.get(file) == position and position == len(file.getbuffer()):
        raise EOFError("Ran out of input")


def note_end(file: io.BytesIO) -> None:
    _ends[file] = file.tell()
