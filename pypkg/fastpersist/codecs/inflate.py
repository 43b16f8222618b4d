"""zlib and gzip streams, decoded by ISA-L; those that `deflate` wrote by several threads.

Nothing in such a stream says where its blocks begin. But each ends with a full flush, four bytes
that are rare elsewhere, and can be decoded without what stands before it: so each piece between
two such places is tried, and taken where it comes out as one whole block. The first that does not
ends this, and one thread decodes the rest, with the window that the stream may refer to. The
checksum is compared in any case.
"""

from __future__ import annotations

from typing import Any

from isal import igzip_lib, isal_zlib
from zlib_ng import zlib_ng

from fastpersist.codecs.blocks import InOrder
from fastpersist.codecs.decoding import NO_DICTIONARY, Buffer, Decoded, Member, Refused
from fastpersist.codecs.deflate import BLOCK_BYTES, adler32_combine
from fastpersist.codecs.registry import Codec

_RAW = -15
_ERROR: type[Exception] = igzip_lib.error  # type: ignore[assignment]
_WINDOW_BYTES = 32 << 10
_FULL_FLUSH = b"\x00\x00\xff\xff"
_END_OF_STREAM = b"\x03\x00"  # an empty last block, where deflate stands at a byte's start
# Of a stream without such a place, so much is looked at.
_PIECE_BYTES = BLOCK_BYTES + BLOCK_BYTES // 64


def reader(
    codec: Codec, file: Any, path: str | bytes | None, n_threads: int, max_bytes: int
) -> Decoded:
    is_gzip = codec.name == "gzip"
    start = _start_gzip if is_gzip else _start_zlib
    return Decoded(codec, file, path, n_threads, max_bytes, start=start, joins=is_gzip)


def _explain(error: Exception) -> Refused | None:
    is_refused = "Dictionary needed" in str(error)
    return Refused("it needs a preset dictionary", NO_DICTIONARY) if is_refused else None


def _zlib_member() -> Member:
    return Member(igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_ZLIB), _ERROR, _explain)


def _gzip_member() -> Member:
    return Member(igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP), _ERROR)


def _start_zlib(n_threads: int) -> Any:
    return _zlib_member() if n_threads == 1 else _ZlibBlocks(n_threads)


def _start_gzip(n_threads: int) -> Any:
    return _gzip_member() if n_threads == 1 else _GzipBlocks(n_threads)


class _Blocks:
    """A member whose blocks are decoded in parallel, as long as they are `deflate`'s."""

    n_header = 0
    n_trailer = 0

    def __init__(self, n_threads: int) -> None:
        self.errors = (_ERROR,)
        self.needs_input = True
        self.at_end = False
        self._calls = InOrder(self._inflate, n_threads)
        self._input = bytearray()  # not cut yet
        self._searched = 0  # of it
        self._at_end = False  # of the file
        self._header_seen = False
        self._plain: Member | None = None  # where the header is not as we write it
        self._made = memoryview(b"")  # decoded, not delivered yet
        self._window = b""
        self._rest: Any = None  # the decoder of what is not in our blocks

    def close(self) -> None:
        self._calls.close()

    def explain(self, error: Exception) -> Exception | None:
        return _explain(error)

    # What a subclass knows: its header, and how checksums are made, combined and compared.

    def is_ours(self, header: bytes) -> bool:
        raise NotImplementedError

    def plain(self) -> Member:
        raise NotImplementedError

    def checksum(self, data: Buffer) -> int:
        raise NotImplementedError

    def combine(self, checksum: int, n_bytes: int) -> None:
        raise NotImplementedError

    def compare(self, trailer: bytes) -> bool:
        raise NotImplementedError

    # ------------------------------------------------------------------

    def decode(self, data: Buffer, view: memoryview) -> tuple[int, Buffer]:
        if self._plain is not None:
            return self._through_plain(data, view)
        self._at_end |= self.needs_input and not data
        if self._rest is None:
            self._input += data
            if not self._header_seen and not self._take_header():
                return (0, b"") if self._plain is None else self._through_plain(b"", view)
            n_made, left = self._from_blocks(view)
        else:
            n_made, left = self._from_rest(data, view)
        return n_made, left

    def _through_plain(self, data: Buffer, view: memoryview) -> tuple[int, Buffer]:
        assert self._plain is not None
        if self._input:
            data = self._take_input() + data
        n_made, left = self._plain.decode(data, view)
        self.needs_input, self.at_end = self._plain.needs_input, self._plain.at_end
        return n_made, left

    def _take_header(self) -> bool:
        header = bytes(self._input[: self.n_header])
        if len(header) == self.n_header and self.is_ours(header):
            self._header_seen = True
            del self._input[: self.n_header]
            return True
        if len(header) == self.n_header or self._at_end:
            self._plain = self.plain()
        return False

    def _from_blocks(self, view: memoryview) -> tuple[int, Buffer]:
        is_open = self._submit_pieces()
        is_full = len(self._calls) == self._calls.n_slots
        self.needs_input = is_open and not self._at_end and not is_full
        if self._made:
            return self._deliver(view), b""
        if self.needs_input:
            return 0, b""
        if self._calls:
            piece, block, checksum = self._calls.take()
            if block is not None:
                self._window = block[-_WINDOW_BYTES:]
                self.combine(checksum, len(block))
                self._made = memoryview(block)
                return self._deliver(view), b""
            self._input[:0] = piece + self._taken_back()
        self._rest = isal_zlib.decompressobj(_RAW, zdict=self._window)
        return self._from_rest(self._take_input(), view)

    def _take_input(self) -> bytes:
        data = bytes(self._input)
        self._input.clear()
        return data

    def _deliver(self, view: memoryview) -> int:
        made = self._made[: len(view)]
        view[: len(made)] = made
        self._made = self._made[len(made) :]
        return len(made)

    def _submit_pieces(self) -> bool:
        """Cuts pieces off the input; False where what is left begins with none of ours."""
        while len(self._calls) < self._calls.n_slots:
            found = self._input.find(_FULL_FLUSH, self._searched)
            if found < 0:
                self._searched = max(0, len(self._input) - len(_FULL_FLUSH) + 1)
                return len(self._input) <= _PIECE_BYTES
            end = found + len(_FULL_FLUSH)
            self._calls.submit(bytes(self._input[:end]))
            del self._input[:end]
            self._searched = 0
        return True

    def _taken_back(self) -> bytes:
        """The pieces behind the one that was no block of ours."""
        pieces = [self._calls.take()[0] for _ in range(len(self._calls))]
        return b"".join(pieces)

    def _inflate(self, piece: bytes) -> tuple[bytes, bytes | None, int]:
        """On any thread. The block that a piece is by itself; None where it is none."""
        decoder = isal_zlib.decompressobj(_RAW)
        try:
            block = decoder.decompress(piece, BLOCK_BYTES)
            if len(block) != BLOCK_BYTES or decoder.decompress(
                decoder.unconsumed_tail + _END_OF_STREAM, 1
            ):
                return piece, None, 0
        except _ERROR:
            return piece, None, 0
        if not decoder.eof or decoder.unused_data:
            return piece, None, 0
        return piece, block, self.checksum(block)

    def _from_rest(self, data: Buffer, view: memoryview) -> tuple[int, Buffer]:
        decoder = self._rest
        if decoder.eof:
            return self._take_trailer(data)
        made = decoder.decompress(data, len(view))
        view[: len(made)] = made
        self.combine(self.checksum(made), len(made))
        if decoder.eof:
            n_more, left = self._take_trailer(decoder.unused_data)
            return len(made) + n_more, left
        # As long as the target was filled there may be more behind it.
        self.needs_input = len(made) < len(view)
        return len(made), decoder.unconsumed_tail

    def _take_trailer(self, data: Buffer) -> tuple[int, Buffer]:
        self._input += data
        self.needs_input = len(self._input) < self.n_trailer
        if self.needs_input:
            return 0, b""
        data = self._take_input()
        if not self.compare(data[: self.n_trailer]):
            raise _ERROR("Incorrect checksum found")
        self.at_end = True
        return 0, data[self.n_trailer :]


class _ZlibBlocks(_Blocks):
    n_header = 2
    n_trailer = 4

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self._sum = 1

    plain = staticmethod(_zlib_member)

    def checksum(self, data: Buffer) -> int:
        return zlib_ng.adler32(data)

    def is_ours(self, header: bytes) -> bool:
        # Deflate with the full window, no dictionary, the check bits right.
        return header[0] == 0x78 and not header[1] & 0x20 and not (header[0] << 8 | header[1]) % 31

    def combine(self, checksum: int, n_bytes: int) -> None:
        self._sum = adler32_combine(self._sum, checksum, n_bytes)

    def compare(self, trailer: bytes) -> bool:
        return int.from_bytes(trailer, "big") == self._sum


class _GzipBlocks(_Blocks):
    n_header = 10
    n_trailer = 8

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self._crc = 0
        self._n_bytes = 0

    plain = staticmethod(_gzip_member)

    def checksum(self, data: Buffer) -> int:
        return zlib_ng.crc32(data)

    def is_ours(self, header: bytes) -> bool:
        # Deflate, none of the optional fields.
        return header[:4] == b"\x1f\x8b\x08\x00"

    def combine(self, checksum: int, n_bytes: int) -> None:
        self._crc = zlib_ng.crc32_combine(self._crc, checksum, n_bytes)
        self._n_bytes += n_bytes

    def compare(self, trailer: bytes) -> bool:
        return (
            int.from_bytes(trailer[:4], "little") == self._crc
            and int.from_bytes(trailer[4:], "little") == self._n_bytes & 0xFFFFFFFF
        )
