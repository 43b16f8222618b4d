"""Fast persistence for Python objects, in files that plain pickle and joblib read.

``fastpersist.dump(model, path)`` and ``fastpersist.load(path)`` take the place of
``joblib.dump`` and ``joblib.load``; ``dumps``, ``loads``, ``Pickler`` and ``Unpickler`` that
of the same names in :mod:`pickle`. The file format is described in ``csrc/FORMAT.md``.
"""

from __future__ import annotations

import os
from pickle import DEFAULT_PROTOCOL, HIGHEST_PROTOCOL, PicklingError, Unpickler, UnpicklingError
from pickle import load as _pickle_load
from pickle import loads as loads
from typing import Any

from fastpersist._core import Pickler, dump_to_file, dump_to_path, dumps

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_PROTOCOL",
    "HIGHEST_PROTOCOL",
    "Pickler",
    "PicklingError",
    "Unpickler",
    "UnpicklingError",
    "dump",
    "dumps",
    "load",
    "loads",
]


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def _thread_count(threads: int | None) -> int:
    if threads is None:
        return _usable_cores()
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"threads must be an int or None, not {type(threads).__name__}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    return min(threads, 1024)


def _checked_protocol(protocol: int | None) -> int:
    if protocol is None or protocol < 0:
        return HIGHEST_PROTOCOL
    if protocol > HIGHEST_PROTOCOL:
        raise ValueError(f"pickle protocol must be <= {HIGHEST_PROTOCOL}")
    return protocol


def dump(
    value: Any,
    filename: Any,
    compress: int | bool = 0,
    protocol: int | None = None,
    *,
    durable: bool = False,
    threads: int | None = None,
) -> list[str] | None:
    """Write an object to a file, from where `load`, `pickle.load` and `joblib.load` read it.

    Parameters
    ----------
    value
        Any object that pickle can handle. NumPy arrays are stored as they lie in memory.
    filename : str, os.PathLike of str, or object with ``write``
        A path is replaced whole at the end: until then, and after any failure, the old
        file stays as it was. A file object is written front to back, without seeking.
    compress : 0 or False
        Compression is not available in this version.
    protocol : int, optional
        ``None``, 5 or negative: the layout of ``csrc/FORMAT.md``. 0 to 4: a plain pickle of
        that protocol, arrays included.
    durable : bool
        Also wait until file and directory are on the disk (fsync). Paths only.
    threads : int, optional
        At most so many threads work on the dump; 1 starts none. Default: the cores this
        process may use. The bytes do not depend on it.

    Returns
    -------
    list of str or None
        ``[filename]`` for a path, ``None`` for a file object, as joblib.

    Raises
    ------
    pickle.PicklingError
        The object, or something in it, cannot be pickled; a note says where in the object.
        Exceptions of the object's own methods pass through, with the same note.
    OSError
        The file could not be written; nothing is left behind.
    ValueError
        `filename` is neither a path nor a file object, or an argument is out of range.
    """
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    is_path = isinstance(filename, str)
    if not is_path and not hasattr(filename, "write"):
        raise ValueError(
            "Second argument should be a filename or a file-like object, "
            f"{filename} (type {type(filename)}) was given."
        )
    if compress is not False and compress != 0:
        raise NotImplementedError("compression is not available in this version of fastpersist")
    number = _checked_protocol(protocol)
    n_threads = _thread_count(threads)
    if is_path:
        dump_to_path(value, filename, number, durable, n_threads)
        return [filename]
    if durable:
        raise ValueError("durable=True needs a path: a file object is the caller's to sync")
    dump_to_file(value, filename, number)
    return None


def load(filename: Any) -> Any:
    """Read an object from a file that `dump`, `pickle.dump` or uncompressed `joblib` wrote.

    Loading executes code that the file names, as pickle does: load only what you trust.

    Parameters
    ----------
    filename : str, os.PathLike or file object
        A path, or a binary file object positioned at the start of a dump; of a file object
        one dump is read.

    Returns
    -------
    object
        What was dumped. Arrays own their memory and are writable.

    Raises
    ------
    pickle.UnpicklingError
        The file is not a pickle, or damaged.
    """
    if hasattr(filename, "read"):
        return _pickle_load(filename)
    with open(filename, "rb") as file:
        return _pickle_load(file)
