"""Where compressed bytes go."""

from __future__ import annotations

from typing import Any

from fastpersist._core import bytes_taken, write_counts


class Outlet:
    """What compressed bytes are written to: all of them, until it is shut."""

    def __init__(self, file: Any, path: str | None) -> None:
        self._write = file.write
        self._counts = write_counts(file, self._write)
        self._path = path
        self._is_shut = False

    def write(self, data: Any) -> int:
        n_bytes = len(data)
        n_done = 0
        while n_done < n_bytes and not self._is_shut:
            rest = data if n_done == 0 else memoryview(data)[n_done:]
            try:
                answer = self._write(rest)
            except OSError as error:
                if self._path is not None and error.filename is None:
                    error.filename = self._path
                raise
            n_rest = n_bytes - n_done
            n_done += bytes_taken(answer, n_rest) if self._counts else n_rest
        return n_bytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def shut(self) -> None:
        """What is written from now on is dropped."""
        self._is_shut = True


class ThroughOutlet:
    """A stream of one of the standard library's compressed file objects."""

    def __init__(self, outlet: Outlet, file: Any) -> None:
        self._outlet = outlet
        self._file = file
        self.write = file.write
        self.close = file.close

    def abandon(self) -> None:
        self._outlet.shut()
        self._file.close()
