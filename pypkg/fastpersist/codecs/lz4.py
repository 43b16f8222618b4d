"""lz4, by the core."""

from __future__ import annotations

import io
from operator import index
from typing import Any

from fastpersist._core import CorruptFileError, Lz4Reader, Lz4Writer
from fastpersist.codecs.decoding import (
    NO_DICTIONARY,
    Counted,
    damage,
    go_back,
    position,
    refusal,
)
from fastpersist.codecs.registry import Codec, OpenStream


def writer(name: str, level: Any, n_threads: int) -> OpenStream:
    checked = 0 if level is None else index(level)

    def make(file: Any, path: str | None) -> Lz4Writer:
        target = file if path is None else file.fileno()
        return Lz4Writer(target, checked, n_threads, path)

    return make


def reader(
    codec: Codec, file: Any, path: str | bytes | None, n_threads: int, max_bytes: int
) -> io.RawIOBase:
    return _Decoded(codec, file, path, n_threads, max_bytes)


class _Decoded(Counted):
    def __init__(
        self, codec: Codec, file: Any, path: str | bytes | None, n_threads: int, max_bytes: int
    ) -> None:
        super().__init__(max_bytes)
        self._file = file
        self._codec = codec
        self._path = path
        self._begin = 0 if path is None else position(file) or 0
        self._reader = Lz4Reader(file, n_threads)
        self.is_broken = False

    def readinto(self, target: Any) -> int:
        self.is_broken = True
        try:
            n_made = self._reader.readinto(target)
        except ValueError as error:
            raise self._explained(error) from None
        self._count(n_made)
        self.is_broken = False
        return n_made

    def finish(self) -> None:
        try:
            self._reader.finish()
        except ValueError as error:
            raise self._explained(error) from None
        n_bytes = len(self._reader.behind)
        if n_bytes and position(self._file) is not None:
            go_back(self._file, n_bytes)

    def close(self) -> None:
        self._reader.close()
        super().close()

    def _explained(self, error: ValueError) -> ValueError:
        what, name = self._reader.damage, self._codec.name
        if what is None:  # the file's own
            return error
        if isinstance(error, CorruptFileError):
            return damage(type(error), what, name, self._path, self._begin + self._reader.offset)
        return refusal(what, NO_DICTIONARY, name, self._path)
