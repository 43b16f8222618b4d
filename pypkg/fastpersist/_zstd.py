"""zstd: a frame for every 4 MiB, compressed by several threads.

The frames are independent, with checksum and size, and any reader takes them as one stream. One
frame with zstd's own threads would have other bytes with one thread than with several.
"""

from __future__ import annotations

import sys
from typing import Any

from fastpersist._blocks import BlockWriter
from fastpersist._codecs import NO_ZSTD

DEFAULT_LEVEL = 3

if sys.version_info >= (3, 14):
    from compression import zstd

    def _compress(block: memoryview, level: int) -> bytes:
        parameter = zstd.CompressionParameter
        options = {parameter.compression_level: level, parameter.checksum_flag: 1}
        return zstd.compress(block, options=options)

else:
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(NO_ZSTD) from error

    def _compress(block: memoryview, level: int) -> bytes:
        frame: bytes = zstandard.ZstdCompressor(level=level, write_checksum=True).compress(block)
        return frame


class ZstdWriter(BlockWriter):
    block_bytes = 4 << 20

    def __init__(self, file: Any, level: int, n_threads: int) -> None:
        super().__init__(file, n_threads)
        self._level = level

    def compress(self, block: memoryview, is_last: bool) -> bytes:
        return _compress(block, self._level) if len(block) else b""

    def put(self, result: bytes) -> None:
        if result:
            self.write_out(result)
