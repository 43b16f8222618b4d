"""A file written anew, in another layout, with nothing of it run.

The file is surveyed, and refused where it has what its opcodes alone do not settle. Then its graph
is built with stand-ins: a `Name` for everything that the file asks for by name, a `Made` for what
comes of calling one. Those are written as the opcodes that made them. Lists, dicts, text, numbers
and arrays are built as a load builds them, by our own code and by NumPy's checked constructors, so
arrays become what each layout makes of them.

>>> import pickle, tempfile
>>> from fastpersist.convert import convert
>>> with tempfile.TemporaryDirectory() as folder, open(f"{folder}/old", "wb") as file:
...     pickle.dump({"a": 1}, file, protocol=2)
...     file.flush()
...     convert(file.name, f"{folder}/new")
...     pickle.load(open(f"{folder}/new", "rb"))
{'a': 1}
"""

from __future__ import annotations

import codecs
import copyreg
import gc
import json
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple

import numpy as np

import fastpersist
from fastpersist._progress import reporting
from fastpersist.codecs import registry
from fastpersist.files import foreign
from fastpersist.report.records import Environment

_LAYOUTS = {"fastpersist": "pickle", "joblib": "joblib", "pickle": "plain"}

# What the survey calls odd, and what is wrong with it here.
_UNSETTLED = {
    "persistent id": "only the program that wrote it knows what it stands for",
    "extension code": "only the programs that registered it know the name",
    "computed name": "the name is made while the file is loaded",
    "name of 4 KiB or more": "it is no name",
    "str of Python 2": "it is text or bytes, as its reader says",
    "INST": "it calls a class or makes an instance, as the class is",
    "OBJ": "it calls a class or makes an instance, as the class is",
    "state set on a global": "a load changes what is imported",
    "state set on what is no instance": "it is no object's",
    "items put into what takes none": "it is no object's",
    "joblib's array wrapper in another use": "what follows it depends on joblib",
}


class Unsettled(ValueError):
    """What the file stands for cannot be told without loading it."""


def convert(
    source: Any,
    target: Any,
    *,
    compress: int | bool | str | tuple[str, int | bool | None] | None = 0,
    layout: Literal["fastpersist", "joblib", "pickle"] = "fastpersist",
    sidecar: Any = None,
    source_sidecar: Any = None,
    load: bool = False,
    threads: int | None = None,
    progress: bool | Callable[[int, int | None], object] | None = None,
) -> None:
    """Write what is in one file to another one; nothing of it is imported or called.

    ``pickle.load`` of both gives equal objects. A file with several dumps is refused. The
    environment that a file of ours was saved in stays in it; one of another writer gets none.

    Parameters
    ----------
    source : str, bytes or os.PathLike
        A file of ours, of pickle or joblib, compressed or not.
    target : str, os.PathLike, or object with ``write``
        As in `fastpersist.dump`; may be the same file.
    compress : int, bool, str or tuple, optional
        As in `fastpersist.dump`.
    layout : {"fastpersist", "joblib", "pickle"}
        "fastpersist": what `fastpersist.dump` writes. "joblib": joblib's. "pickle": protocol 5 and
        nothing else, arrays included.
    sidecar : str, os.PathLike, or object with ``write``, optional
        A second file for the bytes of arrays, as in `fastpersist.dump`.
    source_sidecar : str, bytes or os.PathLike, optional
        The second file of `source`.
    load : bool
        Load the file and dump what comes of it, which runs what it names, and gives the new file
        the environment of here. For what is refused otherwise.
    threads : int, optional
        At most so many threads work; 1 starts none.
    progress : bool or callable, optional
        As in `fastpersist.load`; of reading.

    Raises
    ------
    Unsettled
        The file has what only a load tells: persistent ids, extension codes, computed names, text
        of Python 2, calls whose results are dropped; the message says where. `fastpersist.load`
        and `fastpersist.dump` do it, and run what it names.
    CorruptFileError, pickle.UnpicklingError
        The file is damaged.
    OSError
        A file could not be read or written; the target is then as it was.
    """
    if layout not in _LAYOUTS:
        raise ValueError(f"layout must be one of {list(_LAYOUTS)!r}, not {layout!r}")
    n_threads = fastpersist._thread_count(threads)
    with foreign.explained(source):
        settled = None if load else _settle(source)
    rules: _Rules = (None, None, False, _FULLY, n_threads, registry.NO_LIMIT, _ANY_VERSIONS)
    with foreign.explained(source), reporting(progress, "convert") as report:
        value = _built(source, source_sidecar, rules, report, settled)
    protocol = fastpersist.DEFAULT_PROTOCOL if layout == "joblib" else 5
    how = compress, protocol, _LAYOUTS[layout], False, threads, None
    names = () if settled is None else (Name, settled.environment)
    fastpersist._dump(value, target, sidecar, *how, *names)


_FULLY, _ANY_VERSIONS = 2, 0
_SMALL_BYTES = 64 << 10  # a load of more moves what it made to the oldest generation
_Rules = tuple[None, None, bool, int, int, int, int]


# ---------------------------------------------------------------- what is refused


class _Settled(NamedTuple):
    """What the survey said of a file that it could follow."""

    environment: bytes  # for the new one
    can_be_damaged: bool  # it has hashes, or was not followed to its end
    is_small: bool  # what a load makes of it is in the collector's youngest generation


def _settle(source: Any) -> _Settled:
    report = fastpersist.inspect(source)
    if len(report.dumps) != 1:
        raise Unsettled(f"it holds {len(report.dumps)} dumps, not one")
    if report.n_bytes_behind:
        raise Unsettled(f"{report.n_bytes_behind:,} bytes stand behind it: {report.behind}")
    for odd in report.odd:
        if odd.what in _UNSETTLED:
            place = f" at byte {odd.offsets[0]}" if odd.offsets else ""
            raise Unsettled(f"{odd.what}{place}: {_UNSETTLED[odd.what]}")
    return _Settled(
        environment=_json(report.environment),
        can_be_damaged=report.layout == "fastpersist" or report.damage is not None,
        is_small=report.n_bytes_decoded < _SMALL_BYTES,
    )


def _json(environment: Environment | None) -> bytes:
    """As csrc/FORMAT.md has it; without one, that it is not known."""
    if environment is None:
        return b"{}"
    names = ("byteorder", "fastpersist", "implementation", "platform", "python")
    found: dict[str, Any] = {name: getattr(environment, name) for name in names}
    found = {name: text for name, text in found.items() if text is not None}
    found["packages"] = dict(environment.packages)
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


def _built(source: Any, sidecar: Any, rules: _Rules, report: Any, settled: _Settled | None) -> Any:
    """The graph: the real one, or with stand-ins."""
    if settled is None:
        return fastpersist._load(source, sidecar, *rules, report)
    tally = _Tally()
    try:
        value = fastpersist._load(source, sidecar, *rules, report, _Finder(tally))
    except (TypeError, AttributeError, UnpicklingError) as error:
        if isinstance(error, fastpersist.CorruptFileError) and settled.can_be_damaged:
            raise
        # A stand-in in the hands of what takes the real thing.
        raise Unsettled(f"it does what cannot be followed: {error}") from error
    gc.collect(0 if settled.is_small else 2)  # what only cycles keep
    if tally.n_lost:
        raise Unsettled(f"the results of {tally.n_lost} calls are dropped: what they do is unknown")
    return value


# ---------------------------------------------------------------- stand-ins


class _Tally:
    """Of the objects that stand for the results of calls: how many nobody refers to any more."""

    n_lost = 0


class Name(type):
    """The type of the classes that stand for what a file asks for by name: the core writes these
    by ``__module__`` and ``__qualname__``, and looks them up nowhere.
    """

    def __call__(cls, *arguments: Any) -> Any:  # what REDUCE does
        do = cls.__dict__["_real"]
        if do is not None:
            value = do(*arguments)
            if value is not _OTHER:
                return value
        return _called(cls, cls, arguments)


class Made(metaclass=Name):
    """The result of a call, or of NEWOBJ and NEWOBJ_EX, and what was then done to it."""

    __slots__ = ("_arguments", "_callable", "_items", "_keywords", "_pairs", "_state")
    _real: Any = None
    _tally: _Tally
    _callable: Name | Made | None
    _arguments: tuple[Any, ...]
    _keywords: dict[str, Any]
    _items: list[Any] | None
    _pairs: list[tuple[Any, Any]] | None
    _state: Any

    def __new__(cls, *arguments: Any, **keywords: Any) -> Made:
        self = object.__new__(cls)
        self._callable = None
        self._arguments, self._keywords = arguments, keywords
        self._items = self._pairs = self._state = None
        return self

    def __call__(self, *arguments: Any) -> Made:  # REDUCE of a result
        return _called(type(self), self, arguments)

    def __del__(self) -> None:
        self._tally.n_lost += 1

    # Of the machine: APPENDS, SETITEMS, BUILD, in the order in which a pickler writes them.

    def extend(self, items: list[Any]) -> None:
        if self._pairs is not None or self._state is not None:
            raise Unsettled("items are put into an object that has its state")
        if self._items is None:
            self._items = []
        self._items += items

    def append(self, item: Any) -> None:
        self.extend([item])

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._state is not None:
            raise Unsettled("items are put into an object that has its state")
        if self._pairs is None:
            self._pairs = []
        self._pairs.append((key, value))

    def __setstate__(self, state: Any) -> None:
        if self._state is not None or state is None:
            raise Unsettled("the state of an object is set twice, or to None")
        self._state = state

    # Of the pickler.

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        cls = type(self)
        made: tuple[Any, tuple[Any, ...]]
        if self._callable is not None:
            made = self._callable, self._arguments
        elif self._keywords:
            made = copyreg.__newobj_ex__, (cls, self._arguments, self._keywords)  # type: ignore[attr-defined]
        else:
            made = copyreg.__newobj__, (cls, *self._arguments)  # type: ignore[attr-defined]
        items = None if self._items is None else iter(self._items)
        pairs = None if self._pairs is None else iter(self._pairs)
        return (*made, self._state, items, pairs)


def _called(cls: Any, called: Name | Made, arguments: tuple[Any, ...]) -> Made:
    made = Made.__new__(cls, *arguments)
    made._callable = called
    return made


class _Finder:
    """``find_class`` of the load."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._names: dict[tuple[str, str], Any] = dict(_CLASSES)

    def __call__(self, module: str, name: str) -> Any:
        found = self._names.get((module, name))
        if found is None:
            space = {
                "__module__": module,
                "__qualname__": name,
                "__slots__": (),
                "_real": staticmethod(_REAL[module, name]) if (module, name) in _REAL else None,
                "_tally": self._tally,
            }
            found = self._names[module, name] = Name("Name", (Made,), space)
        return found


# ---------------------------------------------------------------- what is built

# A call that is followed gives a value, another one this.
_OTHER = object()
# What pickle and NumPy write for values of their own.
_CLASSES = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "memmap"): np.ndarray,  # comes back as one
    ("numpy", "record"): np.record,
    ("numpy.rec", "record"): np.record,
}
_reconstruct: Any = np.zeros(1).__reduce__()[0]


def _encode(*arguments: Any) -> Any:
    if len(arguments) == 2 and type(arguments[0]) is str and arguments[1] in ("latin1", "latin-1"):
        return codecs.encode(*arguments)
    return _OTHER


def _bytes(*arguments: Any) -> Any:
    return b"" if not arguments else _OTHER


def _bytearray(*arguments: Any) -> Any:
    if not arguments or (len(arguments) == 1 and type(arguments[0]) is bytes):
        return bytearray(*arguments)
    encoded = _encode(*arguments)
    return _OTHER if encoded is _OTHER else bytearray(encoded)


def _dtype(*arguments: Any) -> Any:
    text, *flags = arguments or (None,)
    if (type(text) is str or text is np.record) and all(
        type(flag) in (bool, int) for flag in flags
    ):
        make: Any = np.dtype
        return make(text, *flags)
    return _OTHER


def _array(*arguments: Any) -> Any:
    if arguments in ((np.ndarray, (0,), b"b"), (np.ndarray, (0,), "b")):
        return _reconstruct(*arguments)
    return _OTHER


def _array_of_buffer(*arguments: Any) -> Any:
    if (
        len(arguments) == 4
        and type(arguments[0]) in (bytes, bytearray)
        and isinstance(arguments[1], np.dtype)
        and arguments[1].itemsize > 0
        and type(arguments[2]) is tuple
        and arguments[3] in ("C", "F")
    ):
        buffer, dtype, shape, order = arguments
        return np.frombuffer(buffer, dtype).reshape(shape, order=order)
    return _OTHER


_REAL: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytearray,
    ("numpy", "dtype"): _dtype,
}
for _package in ("numpy.core", "numpy._core"):
    _REAL[_package + ".multiarray", "_reconstruct"] = _array
    _REAL[_package + ".numeric", "_frombuffer"] = _array_of_buffer
