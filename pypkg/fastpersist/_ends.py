"""Where loads left file objects: by this `load` knows an end that it reached from one that was
written to. Of `dump` it is imported for `forget` alone."""

from __future__ import annotations

from typing import Any
from weakref import ref

# By id; an entry goes when its file object does. (They need not be hashable.)
_ends: dict[int, tuple[ref[Any], int]] = {}


def note(file: Any, position: int) -> None:
    """A load has left the file at this position."""
    key = id(file)

    def drop(reference: ref[Any]) -> None:
        entry = _ends.get(key)
        if entry is not None and entry[0] is reference:
            del _ends[key]

    try:
        _ends[key] = ref(file, drop), position
    except TypeError:  # it cannot be referred to weakly
        return


def forget(file: Any) -> None:
    """The file is written to."""
    _ends.pop(id(file), None)


def noted(file: Any) -> int | None:
    """Where the last load has left the file; None: no load has, or it was written to since.

    Raises TypeError where that cannot be known.
    """
    ref(file)
    entry = _ends.get(id(file))
    return entry[1] if entry is not None and entry[0]() is file else None
