"""zlib and gzip: one standard stream of one member, its blocks compressed by several threads.

Each block of 1 MiB is raw deflate of its own, ended by a full flush, the last by the end of the
stream; header, checksum and length stand around them as in any zlib or gzip stream. The 32 KiB that
deflate could look back at the start of a block are given up: they are worth less than 0.3 %.

A block is compressed by one of two libraries. ISA-L is ten times as fast as zlib and as good where
there is little to find (floating-point numbers); zlib-ng finds what zlib finds. Both try a sample
of the block, so the choice depends on the bytes alone.
"""

from __future__ import annotations

import struct
from typing import Any

from isal import isal_zlib
from zlib_ng import zlib_ng

from fastpersist.codecs.blocks import BlockWriter
from fastpersist.codecs.outlet import Outlet
from fastpersist.codecs.registry import OpenStream

DEFAULT_LEVEL = 3  # joblib's
BLOCK_BYTES = 1 << 20

_RAW = -15  # deflate with neither header nor checksum, its window 32 KiB
_ISAL_LEVEL = 1
_ISAL_MEMORY = 9
_ZLIB_NG_MEMORY = 8

_SAMPLE_BYTES = 8 << 10  # from two places of a block each
_FROM_SAMPLE = 16  # a block of less than so many samples is compressed by zlib-ng
# ISA-L where it leaves more than this of a sample: the other could not find much either.
_NOTHING_TO_FIND = 0.9
# How much larger ISA-L's sample may be, by level.
_TOLERANCE = {1: 1.05, 2: 1.02, 3: 1.02, 4: 1.02, 5: 1.02}
_STRICT_TOLERANCE = 1.002
# zlib-ng's level 1 is 14 to 35 % larger than zlib's; the others are near or below.
_ZLIB_NG_LEVEL = {1: 2}

_ADLER_MODULUS = 65521


def adler32_combine(first: int, second: int, n_second: int) -> int:
    """Adler-32 of two runs of bytes from that of each and the length of the second."""
    low, high = first & 0xFFFF, first >> 16
    more_low, more_high = second & 0xFFFF, second >> 16
    high = (high + more_high + n_second * (low - 1)) % _ADLER_MODULUS
    low = (low + more_low - 1) % _ADLER_MODULUS
    return high << 16 | low


def _checked_level(level: Any) -> int:
    """The level as joblib's zlib file takes it."""
    if level is None:
        return DEFAULT_LEVEL
    if not isinstance(level, int) or not 1 <= level <= 9:
        raise ValueError(
            "'compresslevel' must be an integer between 1 and 9. "
            f"You provided 'compresslevel={level}'"
        )
    return int(level)


def _finished(compressor: Any, block: Any, flush: int) -> tuple[bytes, bytes]:
    return compressor.compress(block), compressor.flush(flush)


def _isal(block: Any, flush: int) -> tuple[bytes, bytes]:
    compressor = isal_zlib.compressobj(_ISAL_LEVEL, isal_zlib.DEFLATED, _RAW, _ISAL_MEMORY)
    return _finished(compressor, block, flush)


def _zlib_ng(block: Any, level: int, flush: int) -> tuple[bytes, bytes]:
    level = _ZLIB_NG_LEVEL.get(level, level)
    compressor = zlib_ng.compressobj(level, zlib_ng.DEFLATED, _RAW, _ZLIB_NG_MEMORY)
    return _finished(compressor, block, flush)


def _isal_will_do(block: memoryview, level: int) -> bool:
    """Whether ISA-L makes of this block about what zlib-ng would make of it at a level."""
    if len(block) < _FROM_SAMPLE * _SAMPLE_BYTES:
        return False
    first, second = len(block) // 4, 3 * len(block) // 4
    sample = b"".join(
        (block[first : first + _SAMPLE_BYTES], block[second : second + _SAMPLE_BYTES])
    )
    finish = isal_zlib.Z_FINISH
    n_isal = sum(map(len, _isal(sample, finish)))
    tolerance = _TOLERANCE.get(level)
    if tolerance is None:
        tolerance = _STRICT_TOLERANCE
    elif n_isal > _NOTHING_TO_FIND * len(sample):
        return True
    return n_isal <= tolerance * sum(map(len, _zlib_ng(sample, level, finish)))


class _DeflateWriter(BlockWriter):
    block_bytes = BLOCK_BYTES
    header = b""

    def __init__(self, file: Any, level: int, n_threads: int) -> None:
        self._level = level
        super().__init__(file, n_threads)

    def compress(self, block: memoryview, is_last: bool) -> tuple[tuple[bytes, bytes], int, int]:
        flush = isal_zlib.Z_FINISH if is_last else isal_zlib.Z_FULL_FLUSH
        if _isal_will_do(block, self._level):
            pieces = _isal(block, flush)
        else:
            pieces = _zlib_ng(block, self._level, flush)
        return pieces, self.checksum(block), len(block)

    def put(self, result: tuple[tuple[bytes, bytes], int, int]) -> None:
        (body, rest), checksum, n_bytes = result
        header, self.header = self.header, b""
        self.combine(checksum, n_bytes)
        self.write_out(header + body + rest)

    @staticmethod
    def checksum(block: memoryview) -> int:
        raise NotImplementedError

    def combine(self, checksum: int, n_bytes: int) -> None:
        raise NotImplementedError


class _ZlibWriter(_DeflateWriter):
    def __init__(self, file: Any, level: int, n_threads: int) -> None:
        super().__init__(file, level, n_threads)
        self._sum = 1
        effort = 0 if self._level == 1 else 1 if self._level < 6 else 2 if self._level == 6 else 3
        head = 0x7800 | effort << 6
        self.header = struct.pack(">H", head + 31 - head % 31)

    @staticmethod
    def checksum(block: memoryview) -> int:
        return zlib_ng.adler32(block)

    def combine(self, checksum: int, n_bytes: int) -> None:
        self._sum = adler32_combine(self._sum, checksum, n_bytes)

    def end(self) -> None:
        self.write_out(struct.pack(">I", self._sum))


class _GzipWriter(_DeflateWriter):
    def __init__(self, file: Any, level: int, n_threads: int) -> None:
        super().__init__(file, level, n_threads)
        self._crc = 0
        self._n_bytes = 0
        effort = {1: 4, 9: 2}.get(self._level, 0)
        # No name, no time, unknown system: the bytes depend on the content alone.
        self.header = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, effort, 0xFF))

    @staticmethod
    def checksum(block: memoryview) -> int:
        return zlib_ng.crc32(block)

    def combine(self, checksum: int, n_bytes: int) -> None:
        self._crc = zlib_ng.crc32_combine(self._crc, checksum, n_bytes)
        self._n_bytes += n_bytes

    def end(self) -> None:
        self.write_out(struct.pack("<II", self._crc, self._n_bytes & 0xFFFFFFFF))


_WRITERS = {"zlib": _ZlibWriter, "gzip": _GzipWriter}


def writer(name: str, level: Any, n_threads: int) -> OpenStream:
    checked = _checked_level(level)
    kind = _WRITERS[name]
    return lambda file, path: kind(Outlet(file, path), checked, n_threads)
