"""Decoding: the bytes of a compressed stream as a file object.

One member (gzip's word for a stream with header and checksum) is read after the other, as far as
bytes are asked for: a read never runs from one member into the next. What stands behind the last
member is left alone: it may be the caller's.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

from fastpersist._core import CorruptFileError, TruncatedFileError
from fastpersist.codecs.registry import BUFFER_BYTES, Codec

Buffer = bytes | memoryview

CHUNK_BYTES = 1 << 20  # compressed bytes read at once, and decoded bytes made at once


def position(file: Any) -> int | None:
    """Where a file object stands; None where it cannot go back there."""
    try:
        seekable = getattr(file, "seekable", None)
        if seekable is not None and not seekable():
            return None
        where = file.tell()
        if seekable is None:  # as with mmap.mmap before Python 3.13: tried
            file.seek(where)
    except (AttributeError, NotImplementedError, OSError):  # io.UnsupportedOperation, too
        return None
    return where if isinstance(where, int) else None


def go_back(file: Any, n_bytes: int) -> None:
    """By so many bytes, in a file that can. (Not every seek() knows where the file stands.)"""
    file.seek(file.tell() - n_bytes)


def damage(
    kind: type[CorruptFileError], what: str, name: str, path: str | bytes | None, offset: int
) -> CorruptFileError:
    where = "the file" if path is None else repr(path)
    error = kind(f"{where} is damaged: {what} before offset {offset} ({name} stream)")
    error.path, error.offset = path, offset
    error.section = f"{name} stream"
    return error


def refusal(what: str, advice: str, name: str, path: str | bytes | None) -> ValueError:
    """No damage: what cannot be decoded here, and what to do about it."""
    where = "the file" if path is None else repr(path)
    return ValueError(f"{where} cannot be decompressed: {what} ({name} stream); {advice}")


# What `Refused` advises.
NO_DICTIONARY = "decompress it with its dictionary first, or compress it without one"


class Refused(Exception):
    """What a decoder raises, or makes of its errors, where the data is not damaged."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what, self.advice = what, advice


# Frames of zstd and LZ4 that a decoder is to skip: sixteen magics, then four bytes of length.
SKIPPABLE = tuple(bytes((0x50 + i, 0x2A, 0x4D, 0x18)) for i in range(16))
SKIPPABLE_HEADER_BYTES = 8


class Counted(io.RawIOBase):
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
        # One system call, and what there is: a pipe may have no more for now. (Where it can seek,
        # it is none, and tempfile.SpooledTemporaryFile has a read1() that its file may not have.)
        self._read = file.read if self.can_seek else getattr(file, "read1", None) or file.read
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
            go_back(self._file, n_bytes)
        self.n_taken -= n_bytes

    def _settle(self, n_bytes: int) -> None:
        self._n_peeked = 0
        while n_bytes > 0:
            data = self._file.read(n_bytes)
            if not data:
                break
            n_bytes -= len(data)


class Decoded(Counted):
    """The bytes of a codec whose members are decoded by what `start` gives, called with a number of
    threads: see Member. `joins`: whether the format lets one member follow another; `skips`: and
    skippable frames stand between and behind them."""

    def __init__(
        self,
        codec: Codec,
        file: Any,
        path: str | bytes | None,
        n_threads: int,
        max_bytes: int,
        *,
        start: Callable[[int], Any],
        joins: bool,
        skips: bool = False,
    ) -> None:
        super().__init__(max_bytes)
        self._source = _Source(file)
        # Of a path, offsets are those in the file.
        self._begin = 0 if path is None else position(file) or 0
        # Several threads read ahead of the stream's end.
        self._n_threads = n_threads if self._source.can_seek else 1
        self._start = start
        self._joins = joins
        self._skips = skips
        self._codec = codec
        self._path = path
        self._input: Buffer = b""  # compressed, not decoded yet
        self._at_end = False  # of the source
        self.is_broken = False
        self._member: Any = self._start(self._n_threads)

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
        n_end = self._source.n_taken - len(self._input)
        if self._joins and self._source.can_seek and self._is_padding():
            n_end = self._source.n_taken - len(self._input)
        self._source.give_back(self._source.n_taken - n_end)
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
            raise self._explained(member, error) from error
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
        prefix = self._codec.prefix
        while self._joins:
            rest = bytes(self._input).lstrip(b"\0")
            self._input = rest
            if self._skips and rest.startswith(SKIPPABLE):
                self._skip_frame()
                continue
            if len(rest) >= len(prefix):
                if not rest.startswith(prefix):
                    return False
                self._member = self._start(self._n_threads)
                return True
            if self._at_end:
                return False
            self._refill()
            self._input = rest + self._input
        return False

    def _is_padding(self) -> bool:
        """Passes over zeros. They are the stream's own where another member follows, or nothing."""
        prefixes = (self._codec.prefix, *SKIPPABLE) if self._skips else (self._codec.prefix,)
        while True:
            rest = bytes(self._input).lstrip(b"\0")
            self._input = rest
            if self._at_end or len(rest) >= len(prefixes[0]):
                return not rest or rest.startswith(prefixes)
            self._refill()
            self._input = rest + self._input

    def _skip_frame(self) -> None:
        header = self._taken(SKIPPABLE_HEADER_BYTES, is_kept=True)
        self._taken(int.from_bytes(header[4:], "little"), is_kept=False)

    def _taken(self, n_bytes: int, *, is_kept: bool) -> bytes:
        """The next compressed bytes, or nothing where they are only to go."""
        kept = b""
        while True:
            data = bytes(self._input[:n_bytes])
            self._input = self._input[n_bytes:]
            n_bytes -= len(data)
            if is_kept:
                kept += data
            if n_bytes == 0:
                return kept
            self._refill()
            if not self._input:
                raise self._damage(TruncatedFileError, "it ends in a frame to be skipped")

    def _explained(self, member: Any, error: Exception) -> Exception:
        """What a decoder's error is to the caller."""
        explain = getattr(member, "explain", None)
        reason = explain(error) if explain is not None else None
        if reason is None:
            return self._damage(CorruptFileError, f"wrong bytes ({error})")
        if isinstance(reason, Refused):
            return refusal(reason.what, reason.advice, self._codec.name, self._path)
        assert isinstance(reason, Exception)
        return reason

    def _damage(self, kind: type[CorruptFileError], what: str) -> CorruptFileError:
        offset = self._begin + self._source.n_taken - len(self._input)
        return damage(kind, what, self._codec.name, self._path, offset)


class Member:
    """A decoder of one member, with the interface that bz2, lzma, zstd and igzip share.

    It has ``decode(data, view) -> (bytes made, data left)``, ``needs_input`` (False where it can go
    on without more), ``at_end`` of its member, the ``errors`` of data that cannot be decoded, and
    ``close``. ``explain`` makes of one of the errors what it is, where it is no damage: a Refused
    or MemoryError; else None. Data that is empty although it was needed is the end of the file.
    """

    def __init__(
        self,
        decoder: Any,
        error: type[Exception],
        explain: Callable[[Exception], Exception | None] | None = None,
    ) -> None:
        self.errors = (error,)
        self.explain = explain
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
