"""Codecs: streams compressed and decompressed.

Nothing here knows what is in the streams, or which file is read or written: that is the business
of :mod:`fastpersist` and :mod:`fastpersist.files`. Writing gets a file object and gives a stream
to write to, reading gets a file object and gives one to read from. No codec knows another.
"""

# Storeys, from the ground; tools/check_imports.py holds every import to them.
#     registry                          names, prefixes and extensions; what a codec has to offer
#     outlet, blocks, decoding          what codecs share: bytes out, several threads, bytes in
#     deflate                           zlib and gzip, written
#     inflate, bzip2, xz, lz4, zstd     zlib and gzip, read; a file each for the others
#     __init__                          the table of those that come with fastpersist

from __future__ import annotations

from typing import TYPE_CHECKING

from fastpersist.codecs.registry import COMPRESSORS, Codec

if TYPE_CHECKING:
    from fastpersist.codecs.registry import Both, Reading, Writing


def _deflate() -> Writing:
    from fastpersist.codecs import deflate

    return deflate


def _inflate() -> Reading:
    from fastpersist.codecs import inflate

    return inflate


def _bzip2() -> Both:
    from fastpersist.codecs import bzip2

    return bzip2


def _xz() -> Both:
    from fastpersist.codecs import xz

    return xz


def _lz4() -> Both:
    from fastpersist.codecs import lz4

    return lz4


def _zstd() -> Both:
    from fastpersist.codecs import zstd

    return zstd


# In joblib's order; zstd is ours.
for _codec in (
    Codec("zlib", b"\x78", ".z", _deflate, _inflate),
    Codec("gzip", b"\x1f\x8b", ".gz", _deflate, _inflate),
    Codec("bz2", b"BZh", ".bz2", _bzip2, _bzip2),
    Codec("lzma", b"\x5d\x00", ".lzma", _xz, _xz),
    Codec("xz", b"\xfd7zXZ", ".xz", _xz, _xz),
    Codec("lz4", b"\x04\x22\x4d\x18", ".lz4", _lz4, _lz4, old_prefix=b"\x02\x21\x4c\x18"),
    Codec("zstd", b"\x28\xb5\x2f\xfd", ".zst", _zstd, _zstd),
):
    COMPRESSORS[_codec.name] = _codec
