"""How far an inspection is: told to a callable, or shown by tqdm."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from fastpersist._progress import bar
from fastpersist.codecs.decoding import position

_INTERVAL = 0.1  # seconds between two calls


class Meter:
    """Around one inspection. `progress` is None or False, True, or called with (done, total)."""

    def __init__(self, progress: Any) -> None:
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            raise TypeError("progress should be True, False, None or a callable")
        self._call = (
            progress if callable(progress) else bar(None, leave=False) if progress else None
        )
        self.is_wanted = self._call is not None
        self._total: int | None = None
        self._file: Any = None
        self._next = 0.0
        self._told: tuple[int, int | None] | None = None

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._call is not None and self._total is not None:
            self._tell(self._total)
        close = getattr(self._call, "close", None)
        if close is not None:
            close()

    def begin(self, total: int | None, file: Any) -> None:
        self._total, self._file = total, file
        if self._call is not None:
            self._tell(0)

    def around(self, stream: Any) -> Any:
        """The stream, and a look at where the file stands now and then."""
        return _Watched(stream, self) if self.is_wanted else stream

    def tick(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            where = position(self._file)
            if where is not None:
                self._tell(where)

    def _tell(self, done: int) -> None:
        if self._told != (done, self._total) and self._call is not None:
            self._told = (done, self._total)
            self._next = time.monotonic() + _INTERVAL
            self._call(done, self._total)


class _Watched:
    """A stream that is read exactly, as far as it is asked for."""

    def __init__(self, stream: Any, meter: Meter) -> None:
        self._stream, self._meter = stream, meter
        if hasattr(stream, "readinto"):
            self.readinto = self._readinto

    def read(self, n_bytes: int = -1) -> bytes:
        self._meter.tick()
        return self._stream.read(n_bytes)  # type: ignore[no-any-return]

    def readline(self) -> bytes:
        self._meter.tick()
        return self._stream.readline()  # type: ignore[no-any-return]

    def _readinto(self, target: Any) -> int:
        self._meter.tick()
        return self._stream.readinto(target)  # type: ignore[no-any-return]
