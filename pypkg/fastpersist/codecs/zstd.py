"""zstd: a frame for every 4 MiB, compressed by several threads.

The frames are independent, with checksum and size, and any reader takes them as one stream. One
frame with zstd's own threads would have other bytes with one thread than with several.
"""

from __future__ import annotations

import sys
from operator import index
from typing import Any

from fastpersist.codecs.blocks import BlockWriter
from fastpersist.codecs.decoding import NO_DICTIONARY, Buffer, Decoded, Member, Refused
from fastpersist.codecs.outlet import Outlet
from fastpersist.codecs.registry import Codec, OpenStream

_DEFAULT_LEVEL = 3

if sys.version_info >= (3, 14):
    from compression import zstd

    def _compress(block: memoryview, level: int) -> bytes:
        parameter = zstd.CompressionParameter
        options: dict[int, int] = {parameter.compression_level: level, parameter.checksum_flag: 1}
        return zstd.compress(block, options=options)

    _WINDOW_LOG = zstd.DecompressionParameter.window_log_max.bounds()[1]

    def _start(n_threads: int) -> Any:
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        return Member(zstd.ZstdDecompressor(options=options), zstd.ZstdError, _explain)

else:
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(
            "zstd needs Python 3.14 or the package zstandard: "
            "pip install 'fastpersist[zstd]' brings it"
        ) from error

    def _compress(block: memoryview, level: int) -> bytes:
        frame: bytes = zstandard.ZstdCompressor(level=level, write_checksum=True).compress(block)
        return frame

    _WINDOW_LOG: int = zstandard.WINDOWLOG_MAX

    def _start(n_threads: int) -> Any:
        return _Zstandard(zstandard)


def _explain(error: Exception) -> Exception | None:
    """By the words of libzstd, which both modules hand on."""
    text = str(error)
    if "too much memory" in text:
        return Refused(
            f"a frame needs a window of more than {1 << _WINDOW_LOG - 20} MiB, which is what this "
            "libzstd can do, or its header is damaged",
            f"compress it again with a smaller one (zstd --long={_WINDOW_LOG} at most)",
        )
    if "not enough memory" in text:
        return MemoryError(f"{text} (the window of a zstd frame may have {1 << _WINDOW_LOG} bytes)")
    if "Dictionary" in text:
        return Refused("a frame needs a dictionary", NO_DICTIONARY)
    if "Unsupported frame parameter" in text or "Version not supported" in text:
        return Refused(
            "a frame uses what this libzstd does not know", "a newer one may decompress it"
        )
    return None


def writer(name: str, level: Any, n_threads: int) -> OpenStream:
    checked = _DEFAULT_LEVEL if level is None else index(level)
    return lambda file, path: _Writer(Outlet(file, path), checked, n_threads)


def reader(
    codec: Codec, file: Any, path: str | bytes | None, n_threads: int, max_bytes: int
) -> Decoded:
    return Decoded(codec, file, path, n_threads, max_bytes, start=_start, joins=True, skips=True)


class _Writer(BlockWriter):
    block_bytes = 4 << 20

    def __init__(self, file: Any, level: int, n_threads: int) -> None:
        super().__init__(file, n_threads)
        self._level = level

    def compress(self, block: memoryview, is_last: bool) -> bytes:
        return _compress(block, self._level) if len(block) else b""

    def put(self, result: bytes) -> None:
        if result:
            self.write_out(result)


class _Zstandard:
    """The zstandard package, which has no limit on what one call makes: it gets little at once."""

    SLICE_BYTES = 1024  # 32 MiB decoded at most: a block of 128 KiB takes four

    def __init__(self, module: Any) -> None:
        self.errors = (module.ZstdError,)
        self.at_end = False
        self._decoder = module.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG).decompressobj()
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

    def explain(self, error: Exception) -> Exception | None:
        return _explain(error)

    def close(self) -> None:
        """There is nothing to end."""
