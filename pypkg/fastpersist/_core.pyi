from collections.abc import Callable, Mapping
from pickle import PickleBuffer
from typing import Any, Protocol, final

from typing_extensions import disjoint_base

class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...

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

def dumps(
    obj: Any,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: Callable[[PickleBuffer], Any] | None = None,
) -> bytes: ...
def dump_to_path(
    value: Any, path: str | bytes, protocol: int, durable: bool, n_threads: int, /
) -> None: ...
def dump_to_file(value: Any, file: _Writable, protocol: int, /) -> None: ...
