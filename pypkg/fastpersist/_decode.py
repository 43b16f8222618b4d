"""Decoding: the bytes of a compressed stream as a file object.

One member (gzip's word for a stream with header and checksum) is read after the other, as far as
bytes are asked for: a read never runs from one member into the next. What stands behind the last
member is left alone: it may be the caller's.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, NamedTuple

from fastpersist import _codecs
from fastpersist._core import CorruptFileError, Lz4Reader, TruncatedFileError

Buffer = bytes | memoryview

CHUNK_BYTES = 1 << 20  # compressed bytes read at once, and decoded bytes made at once
# More is read past the buffer, straight to where it belongs.
BUFFER_BYTES = 128 << 10


NO_LIMIT = (1 << 64) - 1  # of max_bytes


def open_stream(
    file: Any, name: str, path: str | bytes | None, n_threads: int, max_bytes: int = NO_LIMIT
) -> Any:
    """A buffered file object over the decoded bytes of a file of one of our own codecs.

    Its ``raw`` has ``finish()``: decodes what is left of the member, so that its checksum is
    compared, and goes back over what was read behind it, where the file can. Its ``n_made`` is how
    many bytes came out so far: more than `max_bytes` (and a buffer) is an UnpicklingError.
    ``close()`` ends the threads; `file` stays open.
    """
    raw: DecodedLz4 | Decoded
    if name == "lz4":
        raw = DecodedLz4(file, path, n_threads, max_bytes)
    else:
        raw = Decoded(file, name, path, n_threads, max_bytes)
    return io.BufferedReader(raw, BUFFER_BYTES)


def position(file: Any) -> int | None:
    """Where a file object stands; None where it cannot go back there."""
    try:
        if not file.seekable():
            return None
        where = file.tell()
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
        return None
    return where if isinstance(where, int) else None


def damage(
    kind: type[CorruptFileError], what: str, name: str, path: str | bytes | None, offset: int
) -> CorruptFileError:
    where = "the file" if path is None else repr(path)
    error = kind(f"{where} is damaged: {what} before offset {offset} ({name} stream)")
    error.path, error.offset = path, offset
    error.section = f"{name} stream"
    return error


def not_whole(path: str | bytes | None, offset: int | None, section: str) -> CorruptFileError:
    where = "the file" if path is None else repr(path)
    error = CorruptFileError(f"{where} is damaged: what stands in it, or at its end, is no dump")
    error.path, error.offset, error.section = path, offset, section
    return error


class _Counted(io.RawIOBase):
    """Counts what is made, up to a limit."""

    def __init__(self, max_bytes: int) -> None:
        self.n_made = 0
        self._max_bytes = max_bytes

    def readable(self) -> bool:
        return True

    def _count(self, n_bytes: int) -> int:
        self.n_made += n_bytes
        # The buffer reads ahead of the loader, which counts exactly.
        if self.n_made > self._max_bytes + BUFFER_BYTES:
            raise UnpicklingError(f"the file holds more than max_bytes={self._max_bytes} bytes")
        return n_bytes


class _Source:
    """Compressed bytes of the caller's file, chunk by chunk; what was not needed goes back.

    A file that can seek is sought back. Of one that shows its bytes with ``peek`` none is read
    before it is needed. Any other has to be read ahead.
    """

    def __init__(self, file: Any) -> None:
        self.n_taken = 0
        self._file = file
        self._peek = None
        # Seeking back is cheap for these, unless what they buffer cannot.
        self.can_seek = position(file) is not None and not (
            hasattr(file, "peek") and type(file) not in (io.BufferedReader, io.BufferedRandom)
        )
        if not self.can_seek:
            self._peek = getattr(file, "peek", None)
        # One system call, and what there is: a pipe may have no more for now.
        self._read = getattr(file, "read1", None) or file.read
        self._n_peeked = 0

    def take(self) -> bytes:
        if self._peek is None:
            data = bytes(self._read(CHUNK_BYTES))
        else:
            self._settle(self._n_peeked)
            data = bytes(self._peek(CHUNK_BYTES))
            self._n_peeked = len(data)
        self.n_taken += len(data)
        return data

    def give_back(self, n_bytes: int) -> None:
        """The last n_bytes that were taken were not needed."""
        if self._peek is not None:
            self._settle(self._n_peeked - n_bytes)
        elif n_bytes and self.can_seek:
            self._file.seek(-n_bytes, io.SEEK_CUR)
        self.n_taken -= n_bytes

    def _settle(self, n_bytes: int) -> None:
        self._n_peeked = 0
        while n_bytes > 0:
            data = self._file.read(n_bytes)
            if not data:
                break
            n_bytes -= len(data)


class Decoded(_Counted):
    def __init__(
        self,
        file: Any,
        name: str,
        path: str | bytes | None,
        n_threads: int,
        max_bytes: int = NO_LIMIT,
    ) -> None:
        super().__init__(max_bytes)
        self._source = _Source(file)
        # Several threads read ahead of the stream's end.
        self._n_threads = n_threads if self._source.can_seek else 1
        self._format = FORMATS[name]
        self._prefix = _codecs.COMPRESSORS[name].prefix
        self._name = name
        self._path = path
        self._input: Buffer = b""  # compressed, not decoded yet
        self._at_end = False  # of the source
        self.is_broken = False
        self._member: Any = self._format.start(self._n_threads)

    def readinto(self, target: Any) -> int:
        with memoryview(target).cast("B") as view:
            if len(view) == 0:
                return 0
            while True:
                if self._member is None and not self._next_member():
                    return 0
                n_made = self._step(view[:CHUNK_BYTES])
                if n_made:
                    return n_made

    def finish(self) -> None:
        scratch = memoryview(bytearray(CHUNK_BYTES))
        while self._member is not None:
            self._step(scratch)
        self._source.give_back(len(self._input))
        self._input = b""

    def close(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None
        super().close()

    def _step(self, view: memoryview) -> int:
        """Decoded bytes into `view`: 0 where more input is needed, or at the end of the member."""
        member = self._member
        is_told_the_end = False
        self.is_broken = True  # if this does not end as it should, bytes may be lost
        if not self._input and member.needs_input:
            self._refill()
            is_told_the_end = not self._input
        try:
            n_made, self._input = member.decode(self._input, view)
        except member.errors as error:
            raise self._damage(CorruptFileError, f"wrong bytes ({error})") from error
        if member.at_end:
            member.close()
            self._member = None
        elif n_made == 0 and is_told_the_end:
            raise self._damage(TruncatedFileError, "it ends too early")
        n_made = self._count(n_made)
        self.is_broken = False
        return n_made

    def _refill(self) -> None:
        if not self._at_end:
            self._input = self._source.take()
            self._at_end = not self._input

    def _next_member(self) -> bool:
        """Whether another member follows, behind padding of zeros if any."""
        while self._format.joins:
            rest = bytes(self._input).lstrip(b"\0")
            self._input = rest
            if len(rest) >= len(self._prefix):
                if not rest.startswith((self._prefix, *self._format.others)):
                    return False
                self._member = self._format.start(self._n_threads)
                return True
            if self._at_end:
                return False
            self._refill()
            self._input = rest + self._input
        return False

    def _damage(self, kind: type[CorruptFileError], what: str) -> CorruptFileError:
        offset = self._source.n_taken - len(self._input)
        return damage(kind, what, self._name, self._path, offset)


class DecodedLz4(_Counted):
    def __init__(
        self, file: Any, path: str | bytes | None, n_threads: int, max_bytes: int = NO_LIMIT
    ) -> None:
        super().__init__(max_bytes)
        self._file = file
        self._path = path
        self._reader = Lz4Reader(file, n_threads)
        self.is_broken = False

    def readinto(self, target: Any) -> int:
        self.is_broken = True
        try:
            n_made = self._count(self._reader.readinto(target))
        except CorruptFileError as error:
            raise self._located(error) from None
        self.is_broken = False
        return n_made

    def finish(self) -> None:
        try:
            self._reader.finish()
        except CorruptFileError as error:
            raise self._located(error) from None
        n_bytes = len(self._reader.behind)
        if n_bytes and position(self._file) is not None:
            self._file.seek(-n_bytes, io.SEEK_CUR)

    def close(self) -> None:
        self._reader.close()
        super().close()

    def _located(self, error: CorruptFileError) -> CorruptFileError:
        what = self._reader.damage
        if what is None:  # the file's own
            return error
        return damage(type(error), what, "lz4", self._path, self._reader.offset)


class Member:
    """A decoder of one member, with the interface that bz2, lzma, zstd and igzip share.

    It has ``decode(data, view) -> (bytes made, data left)``, ``needs_input`` (False where it can go
    on without more), ``at_end`` of its member, the ``errors`` of damaged data, and ``close``. Data
    that is empty although it was needed is the end of the file.
    """

    def __init__(self, decoder: Any, error: type[Exception]) -> None:
        self.errors = (error,)
        self.needs_input = True
        self.at_end = False
        self._decoder = decoder

    def decode(self, data: Buffer, view: memoryview) -> tuple[int, Buffer]:
        made = self._decoder.decompress(data, len(view))
        view[: len(made)] = made
        self.at_end = self._decoder.eof
        self.needs_input = self._decoder.needs_input
        return len(made), self._decoder.unused_data if self.at_end else b""

    def close(self) -> None:
        """There is nothing to end."""


class _Zstandard:
    """The zstandard package, which has no limit on what one call makes: it gets little at once."""

    SLICE_BYTES = 1024  # 32 MiB decoded at most: a block of 128 KiB takes four

    def __init__(self, module: Any) -> None:
        self.errors = (module.ZstdError,)
        self.at_end = False
        self._decoder = module.ZstdDecompressor().decompressobj()
        self._made = memoryview(b"")

    @property
    def needs_input(self) -> bool:
        return not self._made

    def decode(self, data: Buffer, view: memoryview) -> tuple[int, Buffer]:
        rest = memoryview(data)
        if not self._made:
            self._made = memoryview(self._decoder.decompress(rest[: self.SLICE_BYTES]))
            rest = rest[self.SLICE_BYTES :]
            if self._decoder.eof and self._decoder.unused_data:
                rest = memoryview(self._decoder.unused_data + bytes(rest))
        made, self._made = self._made[: len(view)], self._made[len(view) :]
        view[: len(made)] = made
        self.at_end = self._decoder.eof and not self._made
        return len(made), rest

    def close(self) -> None:
        """There is nothing to end."""


def _start_zlib(n_threads: int) -> Any:
    from fastpersist import _inflate

    return _inflate.start_zlib(n_threads)


def _start_gzip(n_threads: int) -> Any:
    from fastpersist import _inflate

    return _inflate.start_gzip(n_threads)


def _start_bz2(n_threads: int) -> Member:
    import bz2

    return Member(bz2.BZ2Decompressor(), OSError)


def _start_lzma(n_threads: int) -> Member:
    import lzma

    return Member(lzma.LZMADecompressor(), lzma.LZMAError)


def _start_zstd(n_threads: int) -> Member | _Zstandard:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return Member(zstd.ZstdDecompressor(), zstd.ZstdError)
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(_codecs.NO_ZSTD) from error
    return _Zstandard(zstandard)


class _Format(NamedTuple):
    start: Callable[[int], Any]  # the decoder of one member
    joins: bool  # whether the format lets one member follow another
    others: tuple[bytes, ...] = ()  # how members begin that hold nothing


FORMATS = {
    "zlib": _Format(_start_zlib, False),
    "gzip": _Format(_start_gzip, True),
    "bz2": _Format(_start_bz2, True),
    "lzma": _Format(_start_lzma, False),
    "xz": _Format(_start_lzma, True),
    "zstd": _Format(_start_zstd, True, tuple(bytes([i, 0x2A, 0x4D, 0x18]) for i in range(80, 96))),
}
