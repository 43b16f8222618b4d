"""What ``progress=`` takes, made into the one function that the work calls now and then."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

# report(done, total) in bytes; a total of None is not known. The last call has done == total.
Report = Callable[[int, int | None], object]
Progress = bool | Report | None

_SHOWN_AFTER_SECONDS = 1.0


@contextlib.contextmanager
def reporting(progress: Progress, title: str) -> Iterator[Report | None]:
    """The function to call, at most ten times a second; None: there is nobody to tell.

    True is a bar of tqdm, where that is installed and stderr is a terminal.
    """
    if progress is None or progress is False:
        yield None
    elif progress is True:
        shown = bar(title)
        try:
            yield shown
        finally:
            if shown is not None:
                shown.close()
    elif callable(progress):
        yield progress
    else:
        raise TypeError(
            f"progress must be True, False, None or callable, not {type(progress).__name__}"
        )


class Sum:
    """One report for several pieces of work that each count from 0, and whose sizes nobody knows
    beforehand; `finish` has the last word."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._before = 0

    def __call__(self, done: int, total: int | None) -> None:
        if total is not None and done == total:
            self._before += done
        else:
            self._report(self._before + done, None)

    def finish(self) -> None:
        self._report(self._before, self._before)


def bar(title: str | None, leave: bool = True) -> Bar | None:
    """One of tqdm, which may stay when it is closed; None where that is not installed, or nobody
    looks."""
    return Bar(title, leave) if _can_show() else None


class Bar:
    """Shown from one second on."""

    def __init__(self, title: str | None, leave: bool) -> None:
        self._title, self._leave = title, leave
        self._start = time.monotonic()
        self._bar: Any = None

    def __call__(self, done: int, total: int | None) -> None:
        if self._bar is None:
            elapsed = time.monotonic() - self._start
            if elapsed < _SHOWN_AFTER_SECONDS:
                return
            tqdm = import_module("tqdm").tqdm

            self._bar = tqdm(
                desc=self._title,
                total=total,
                leave=self._leave,
                unit="B",
                unit_scale=True,
                file=sys.stderr,
            )
            self._bar.start_t -= elapsed
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _can_show() -> bool:
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    from importlib.util import find_spec

    return find_spec("tqdm") is not None
