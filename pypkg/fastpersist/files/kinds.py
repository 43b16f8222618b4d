"""Which file it is, by its first bytes, as joblib decides it:

    zlib, gzip, bz2, xz, lzma, lz4, zstd     a compressed stream, with what else follows inside
    "ZF"                                     joblib before 0.10: left to joblib
    anything else                            a pickle: of our layout, joblib's, or plain

None of these can begin a pickle, but for the "B" of bz2: joblib takes any "BZ", here "BZh" is asked
for.
"""

from __future__ import annotations

from typing import Any

from fastpersist._core import CorruptFileError
from fastpersist.codecs import registry
from fastpersist.codecs.decoding import position
from fastpersist.files.streams import PushedBack

OLD_JOBLIB = "joblib < 0.10"
_OLD_JOBLIB_PREFIX = b"ZF"


def detect(head: bytes) -> str | None:
    """The codec of a file with these first bytes; None for a pickle, or what claims to be one."""
    if head.startswith(_OLD_JOBLIB_PREFIX):
        return OLD_JOBLIB
    return registry.detect(head)


def _prefixes() -> list[bytes]:
    return [_OLD_JOBLIB_PREFIX, *(codec.prefix for codec in registry.COMPRESSORS.values())]


def undecided(head: bytes) -> bool:
    return any(len(head) < len(p) and p.startswith(head) for p in _prefixes())


def first_bytes(file: Any) -> tuple[bytes, Any]:
    """The bytes that decide, and a file object that still has them in front of it.

    Takes nothing from a file object with ``peek``, or that can go back; else the one that comes
    back has the bytes in front. Never reads more than it takes to decide.
    """
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


def not_whole(path: str | bytes | None, offset: int | None, section: str) -> CorruptFileError:
    """It is none of these."""
    where = "the file" if path is None else repr(path)
    error = CorruptFileError(f"{where} is damaged: what stands in it, or at its end, is no dump")
    error.path, error.offset, error.section = path, offset, section
    return error
