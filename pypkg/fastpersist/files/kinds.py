"""Which file it is, by its first bytes, as joblib decides it:

    zlib, gzip, bz2, xz, lzma, lz4, zstd     a compressed stream, with what else follows inside
    "ZF"                                     joblib before 0.10: left to joblib
    anything else                            a pickle: of our layout, joblib's, or plain

None of these can begin a pickle, but for the "B" of bz2: joblib takes any "BZ", here "BZh" is asked
for. Frames that zstd and LZ4 skip (pzstd begins with one) are passed over first.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

from fastpersist._core import CorruptFileError, TruncatedFileError
from fastpersist.codecs import registry
from fastpersist.codecs.decoding import (
    CHUNK_BYTES,
    SKIPPABLE,
    SKIPPABLE_HEADER_BYTES,
    damage,
    position,
)
from fastpersist.files.streams import PushedBack

_T = TypeVar("_T")

OLD_JOBLIB = "joblib < 0.10"
_OLD_JOBLIB_PREFIX = b"ZF"


def detect(head: bytes) -> str | None:
    """The codec of a file with these first bytes; None for a pickle, or what claims to be one."""
    if head.startswith(_OLD_JOBLIB_PREFIX):
        return OLD_JOBLIB
    return registry.detect(head)


def is_encoded(head: bytes) -> bool:
    """Whether no pickle begins like this."""
    return detect(head) is not None or head.startswith(SKIPPABLE)


def _prefixes() -> list[bytes]:
    codecs = registry.COMPRESSORS.values()
    known = [prefix for codec in codecs for prefix in registry.prefixes_of(codec)]
    return [_OLD_JOBLIB_PREFIX, *SKIPPABLE, *known]


def begins_at(fd: int, offset: int) -> bool:
    """Whether at an offset of an open file a pickle of protocol 2 or later, or a codec's stream,
    begins. (One of protocol 0 or 1 can begin with any of sixty bytes.)"""
    head = os.pread(fd, max(2, *map(len, _prefixes())), offset)
    if head.startswith(pickle.PROTO):
        return len(head) > 1 and 2 <= head[1] <= pickle.HIGHEST_PROTOCOL
    if registry.detect(head) == "zlib":
        return len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0
    return is_encoded(head)


def undecided(head: bytes) -> bool:
    return any(len(head) < len(p) and p.startswith(head) for p in _prefixes())


def first_bytes(file: Any, path: str | bytes | None = None) -> tuple[bytes, Any]:
    """The bytes that decide, and a file object that still has them in front of it.

    Takes nothing but skippable frames from a file object with ``peek``, or that can go back; else
    the one that comes back has the bytes in front. Never reads more than it takes to decide.
    """
    head, file = _first_bytes(file)
    while head.startswith(SKIPPABLE) and registry.detect(head) is None:
        if not _skip_frame(file, path):
            break
        head, file = _first_bytes(file)
    return head, file


def _skip_frame(file: Any, path: str | bytes | None) -> bool:
    """False, and nothing is skipped, where it may be none: a str that is pickled by protocol 1."""
    start = position(file)
    header = _read(file, SKIPPABLE_HEADER_BYTES)
    n_left = int.from_bytes(header[4:], "little")
    is_whole = len(header) == SKIPPABLE_HEADER_BYTES
    while is_whole and n_left > 0:
        if start is not None and n_left > CHUNK_BYTES:  # all but what shows that it is there
            file.seek(file.tell() + n_left - 1)
            n_left = 1
        n_read = len(_read(file, min(n_left, CHUNK_BYTES)))
        is_whole = n_read > 0
        n_left -= n_read
    if is_whole:
        return True
    if start is not None and header[:1] in (b"T", b"X"):
        file.seek(start)
        return False
    raise damage(
        TruncatedFileError, "it ends in a frame to be skipped", "compressed", path, start or 0
    )


def _read(file: Any, n_bytes: int) -> bytes:
    """So many bytes, or what there is."""
    data = b""
    while len(data) < n_bytes:
        more = bytes(file.read(n_bytes - len(data)))
        if not more:
            break
        data += more
    return data


def _first_bytes(file: Any) -> tuple[bytes, Any]:
    n_bytes = max(map(len, _prefixes()))
    peek = getattr(file, "peek", None)
    if peek is not None:
        head = bytes(peek(n_bytes))[:n_bytes]
        if not head or not undecided(head):
            return head, file
    start = position(file)
    if start is not None:
        head = file.read(n_bytes)
        file.seek(start)
        return bytes(head), file
    head = b""
    while undecided(head):
        more = file.read(1)
        if not more:
            break
        head += more
    return head, PushedBack(head, file)


class EmptyStream(Exception):
    """There is nothing in a compressed stream of a file object; of which codec."""


def behind_empty_streams(file: Any, use: Callable[[bytes, Any, Any], _T]) -> _T:
    """What `use` makes of the first bytes, the stream and the file; where it raises EmptyStream, of
    those behind it. Empty streams alone are damage, but for the end of several dumps."""
    start = position(file)
    nothing = None
    while True:
        head, stream = first_bytes(file)
        if not head and nothing is not None and not start:
            raise not_whole(None, 0, nothing)
        try:
            return use(head, stream, file)
        except EmptyStream as error:
            nothing, file = f"{error} stream", stream


def several_writers(path: str | bytes | None, offset: int) -> CorruptFileError:
    """Some dumps of a file are ours and some are not; there the first of the second kind begins."""
    error = CorruptFileError(
        f"{path!r} holds dumps of several writers, from offset {offset} on: load gives the first; "
        "to check them all, keep each writer's in a file of its own"
    )
    error.path, error.offset, error.section = path, offset, "trailing bytes"
    return error


def not_whole(path: str | bytes | None, offset: int | None, section: str) -> CorruptFileError:
    """It is none of these."""
    where = "the file" if path is None else repr(path)
    error = CorruptFileError(f"{where} is damaged: what stands in it, or at its end, is no dump")
    error.path, error.offset, error.section = path, offset, section
    return error
