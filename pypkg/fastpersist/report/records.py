"""The parts of a report: plain facts, each with what it is as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, overload

from fastpersist.report.words import PATH_CHARACTERS, cut

T = TypeVar("T")


class Rows(Sequence[T], Generic[T]):
    """Records that are made when they are asked for: a file may have millions."""

    def __init__(self, n: int, make: Callable[[int], T]) -> None:
        self._n, self._make = n, make

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple(self._make(i) for i in range(self._n)[index])
        return self._make(range(self._n)[index])

    def __iter__(self) -> Iterator[T]:
        return map(self._make, range(self._n))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        """What makes them cannot be pickled: they are made now."""
        return tuple, (tuple(self),)

    def __repr__(self) -> str:
        return f"<{self._n} rows>"


def joined(parts: Sequence[Sequence[T]]) -> Sequence[T]:
    """Sequences one behind the other."""
    if len(parts) == 1:
        return parts[0]
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + len(part))

    def make(i: int) -> T:
        low, high = 0, len(parts)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if ends[middle] <= i else (low, middle)
        return parts[low][i - ends[low]]

    return Rows(ends[-1], make)


def plain(value: Any) -> Any:
    """A record as JSON has it, its names cut; what begins with an underscore is left out."""
    if isinstance(value, str):
        return cut(value, PATH_CHARACTERS)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {cut(str(key)): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {
            each.name: plain(getattr(value, each.name))
            for each in dataclasses.fields(value)
            if not each.name.startswith("_")
        }
    return [plain(item) for item in value]


class Reader(Protocol):
    def __call__(self, number: int, path: str, mmap_mode: str | None, /) -> Any: ...


@dataclass(frozen=True)
class Damage:
    """What is wrong, and where."""

    error: str
    """The class that a load raises: "CorruptFileError", "TruncatedFileError", ..."""
    message: str
    offset: int | None
    section: str | None


@dataclass(frozen=True)
class Part:
    """A stretch of the dump."""

    name: str
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class Oddity:
    """What no pickler writes, or what only trust can answer."""

    what: str
    count: int
    offsets: tuple[int, ...]
    """Of the first 100."""


@dataclass(frozen=True)
class GlobalReport:
    """A name that a load asks for, and what it is used for."""

    module: str | None
    """As it is looked up; None where the name is computed, or a code of copyreg."""
    name: str | None
    spelled: str | None
    """As the file has it, where a load of protocols 0 to 2 renames it."""
    use: str
    """What it is foremost: "called", "class", "built" (its state is set) or "argument"."""
    n_called: int
    n_class: int
    n_built: int
    n_argument: int
    n_fetched: int
    path: str | None
    """Where it is used first."""
    flags: tuple[str, ...]
    """Of "computed", "unknown", "cut", "renamed", "extension"."""
    dump: int

    @property
    def label(self) -> str:
        if self.module is None and self.name is None:
            return "(computed)"
        if self.module is None:
            return f"extension code {self.name}"
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class ArrayReport:
    """An array in the file. `read` gives it."""

    path: str
    dtype: str
    shape: tuple[int, ...] | None
    order: str
    """ "C", "F", or "A" for any other."""
    offset: int | None
    """Of its first byte in the (decoded) file; None where it has none of its own."""
    n_bytes: int
    kind: str
    """The type, or the function that makes it: "numpy.ndarray"."""
    stored: str
    """ "inline", "payload", "blob", "buffer", "text", "elements", "nowhere" or "unknown"."""
    dump: int
    _read: Reader | None = field(default=None, repr=False, compare=False)

    def read(self, mmap_mode: str | None = None) -> Any:
        """The array itself, verified, with nothing of the file run: see `fastpersist.read_array`.

        Parameters
        ----------
        mmap_mode : None, "r" or "c"
            Map it, read-only or copy-on-write, instead of reading it.

        Returns
        -------
        numpy.ndarray or numpy.memmap

        Raises
        ------
        ValueError
            It holds objects, cannot be described, or came from a file object that cannot go back,
            or the report was pickled or copied.
        CorruptFileError
            The file is damaged, or is not the one any more that was inspected.

        Examples
        --------
        >>> import fastpersist, numpy
        >>> _ = fastpersist.dump({"weights": numpy.arange(3)}, "model")
        >>> fastpersist.inspect("model").arrays[0].read()
        array([0, 1, 2])
        """
        if self._read is None:
            raise ValueError(
                "the array is not kept of a file object that cannot go back, nor in a report that "
                "was pickled or copied: see fastpersist.read_array"
            )
        return self._read(self.dump, self.path, mmap_mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": None}


@dataclass(frozen=True)
class LeafReport:
    """A text or bytes of 16 KiB and more."""

    path: str
    kind: str
    """ "str", "bytes", "bytearray", or "old str" of Python 2."""
    offset: int | None
    n_bytes: int
    stored: str
    dump: int


@dataclass(frozen=True)
class TreeRow:
    """Bytes of one object, or of several that are one row."""

    path: str
    step: str
    """How it hangs on its parent."""
    parent: int | None
    """Number of the row."""
    depth: int
    n_bytes: int
    own_bytes: int
    """Less than n_bytes by those of the rows below it."""
    kind: str
    """ "instance", "array", "list", ...; "rest" for the smaller ones of the parent, "part" for what
    is no object: header, frames, padding, footer."""
    label: str
    """What it is: the class, dtype and shape, the number of items."""
    colour: str
    """By what its bytes are: "float", "int", "bool", "text", "opcodes", ..."""
    n_hidden: int
    """So many objects below it have no row of their own; of "rest": so many it stands for."""


@dataclass(frozen=True)
class EqualReport:
    """Payloads with the same bytes: all but one could go."""

    n_bytes: int
    """Of each."""
    count: int
    paths: tuple[str, ...]
    """Of the first ones; "" also of the whole object, and of what has no path."""
    offsets: tuple[int, ...]
    certain: bool
    """By their hashes. Else only their beginnings, middles and ends were compared."""
    dump: int


@dataclass(frozen=True)
class Environment:
    """What the dump says it was saved with."""

    python: str | None = None
    fastpersist: str | None = None
    implementation: str | None = None
    platform: str | None = None
    byteorder: str | None = None
    packages: tuple[tuple[str, str], ...] = ()
    """Modules and their versions."""

    def __bool__(self) -> bool:
        """Whether it says anything: of what was written anew from another writer's file it does
        not."""
        return self != Environment()


@dataclass(frozen=True)
class DumpReport:
    """One dump of the file."""

    number: int
    offset: int
    """Of its first byte in the (decoded) file."""
    n_bytes: int
    """Of a damaged one, as far as it was looked at."""
    n_bytes_read: int
    """The bytes of arrays in a file of ours are not read."""
    layout: str
    """ "fastpersist", "joblib" (arrays between the opcodes) or "pickle"."""
    protocol: int
    n_opcodes: int
    n_frames: int
    n_buffers: int
    complete: bool
    """It was followed to its end."""
    hashes: str
    """ "valid", "void" (it was mapped for writing), "damaged", or "none" in the file."""
    hashes_compared: str
    """ "all", "graph" (all but those of the arrays' bytes) or "none"."""
    environment: Environment | None
    second_file_buffers: int | None
    second_file_bytes: int | None
    sums: dict[str, int]
    """Bytes by what they belong to, which add up."""
    parts: tuple[Part, ...]
    globals: Sequence[GlobalReport]
    arrays: Sequence[ArrayReport]
    leaves: Sequence[LeafReport]
    equal: tuple[EqualReport, ...]
    odd: tuple[Oddity, ...]
    damage: Damage | None


@dataclass(frozen=True)
class FileRecord:
    """A file, and the dumps in it."""

    name: str | None
    n_bytes: int | None
    """On the disk; None where a file object does not say."""
    codec: str | None
    """What it is compressed with."""
    n_bytes_decoded: int
    """All that was looked at or passed over: dumps, and what stands behind them."""
    n_bytes_read: int
    """So much of that was looked at."""
    n_bytes_behind: int
    """Behind the last dump."""
    behind: str | None
    """What that is."""
    complete: bool
    """All of the file was followed, to its end."""
    damage: Damage | None
    """The first that was met."""
    dumps: tuple[DumpReport, ...]

    @property
    def layout(self) -> str:
        """Of the first dump; "sidecar" for the second file of a dump in two."""
        return self.dumps[0].layout if self.dumps else "sidecar" if self.is_sidecar else "none"

    @property
    def is_sidecar(self) -> bool:
        return self.behind == SIDECAR

    @property
    def environment(self) -> Environment | None:
        """Of the first dump."""
        return self.dumps[0].environment if self.dumps else None


SIDECAR = "the second file of a dump in two"
