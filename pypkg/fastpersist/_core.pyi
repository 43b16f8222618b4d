from collections.abc import Callable, Iterable, Mapping
from pickle import PickleBuffer, UnpicklingError
from typing import Any, Protocol, Self, final

from _typeshed import ReadableBuffer, WriteableBuffer
from typing_extensions import disjoint_base

class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...

class _Readable(Protocol):
    def read(self, n: int, /) -> bytes: ...
    def readline(self) -> bytes: ...

@final
class _PicklerMemoProxy:
    def clear(self, /) -> None: ...
    def copy(self, /) -> dict[int, tuple[int, Any]]: ...

@disjoint_base
class Pickler:
    bin: int
    dispatch_table: Mapping[type, Callable[[Any], str | tuple[Any, ...]]]
    fast: int
    memo: _PicklerMemoProxy | dict[int, tuple[int, Any]]
    persistent_id: Callable[[Any], Any]
    reducer_override: Callable[[Any], Any]
    def __init__(
        self,
        file: _Writable,
        protocol: int | None = None,
        fix_imports: bool = True,
        buffer_callback: Callable[[PickleBuffer], Any] | None = None,
    ) -> None: ...
    def dump(self, obj: Any, /) -> None: ...
    def clear_memo(self, /) -> None: ...
    def __sizeof__(self, /) -> int: ...

@final
class _UnpicklerMemoProxy:
    def clear(self, /) -> None: ...
    def copy(self, /) -> dict[int, Any]: ...

@disjoint_base
class Unpickler:
    memo: _UnpicklerMemoProxy | dict[int, Any]
    persistent_load: Callable[[Any], Any]
    def __init__(
        self,
        file: _Readable,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = (),
    ) -> None: ...
    def load(self, /) -> Any: ...
    def find_class(self, module_name: str, global_name: str, /) -> Any: ...
    def __sizeof__(self, /) -> int: ...

def dumps(
    obj: Any,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: Callable[[PickleBuffer], Any] | None = None,
) -> bytes: ...
def loads(
    data: ReadableBuffer,
    /,
    *,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
    buffers: Iterable[Any] | None = (),
) -> Any: ...
def dump_value(
    value: Any,
    sidecar: str | bytes | _Writable | None,
    layout: str,
    protocol: int,
    durable: bool,
    n_threads: int,
    place: str | bytes | _Writable,
    start: int,
    /,
) -> None: ...

_Place = tuple[int, Any, str | bytes | None]

def read_sidecar(place: _Place, verify: int, n_threads: int, /) -> list[bytearray | bytes]: ...
def load_path(
    path: str | bytes,
    mmap_mode: str | None,
    native_order: bool,
    verify: int,
    n_threads: int,
    foreign: Callable[..., Any],
    sidecar: _Place | None = None,
    max_bytes: int = 18446744073709551615,
    /,
) -> Any: ...
def load_descriptor(
    fd: int,
    path: str | bytes,
    start: int,
    mmap_mode: str | None,
    native_order: bool,
    verify: int,
    n_threads: int,
    foreign: Callable[[int, int], bool],
    max_bytes: int = 18446744073709551615,
    /,
) -> tuple[Any, int]: ...
def load_file(
    file: Any,
    path: str | bytes | None,
    native_order: bool,
    verify: int,
    mmap_mode: str | None = None,
    n_threads: int = 1,
    sidecar: _Place | None = None,
    max_bytes: int = 18446744073709551615,
    /,
) -> Any: ...
def verify_descriptor(fd: int, path: str | bytes, n_threads: int, /) -> bool: ...
def verify_file(
    file: Any, path: str | bytes | None, sidecar: _Place | None, max_bytes: int, /
) -> bool: ...
def verify_sidecar(place: _Place, max_bytes: int, /) -> None: ...
def verify_pickle(
    file: Any,
    path: str | bytes | None,
    find_class: Callable[[Any, Any], Any],
    persistent_load: Callable[..., Any],
    max_bytes: int,
    /,
) -> None: ...
def write_counts(file: Any, write: Any, /) -> bool: ...
def bytes_taken(answer: Any, n_bytes: int, /) -> int: ...

class CorruptFileError(UnpicklingError, ValueError):
    path: str | bytes | None
    offset: int | None
    section: str | None

class TruncatedFileError(CorruptFileError): ...
class OldJoblibFile(ImportError): ...

@final
class Lz4Reader:
    def __new__(cls, file: Any, n_threads: int) -> Self: ...
    @property
    def behind(self) -> bytes: ...
    @property
    def damage(self) -> str | None: ...
    @property
    def offset(self) -> int: ...
    def readinto(self, target: WriteableBuffer, /) -> int: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...

@final
class Lz4Writer:
    def __new__(
        cls, file: Any, level: int, n_threads: int, path: str | bytes | None = None
    ) -> Self: ...
    def write(self, data: ReadableBuffer, /) -> int: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...

@final
class AtomicFile:
    def __new__(cls, path: str | bytes, durable: bool) -> Self: ...
    @property
    def name(self) -> str: ...
    def fileno(self) -> int: ...
    def commit(self) -> None: ...
    def abort(self) -> None: ...
