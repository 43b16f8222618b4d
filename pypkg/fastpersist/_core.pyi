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
    trusted: Iterable[Any] | Restriction | None = None,
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
    progress: Callable[[int, int | None], object] | None = None,
    names: type[type] | None = None,
    environment: str | bytes | None = None,
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
    mismatch: int = 0,
    progress: Callable[[int, int | None], object] | None = None,
    find_class: Callable[[str, str], Any] | None = None,
    audit: Callable[[Survey | None, int], object] | None = None,
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
    mismatch: int = 0,
    progress: Callable[[int, int | None], object] | None = None,
    find_class: Callable[[str, str], Any] | None = None,
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
    mismatch: int = 0,
    progress: Callable[[int, int | None], object] | None = None,
    find_class: Callable[[str, str], Any] | None = None,
    /,
) -> Any: ...
def verify_descriptor(
    fd: int,
    path: str | bytes,
    n_threads: int,
    progress: Callable[[int, int | None], object] | None = None,
    /,
) -> bool: ...
def verify_file(
    file: Any,
    path: str | bytes | None,
    sidecar: _Place | None,
    max_bytes: int,
    progress: Callable[[int, int | None], object] | None = None,
    /,
) -> bool: ...
def verify_sidecar(
    place: _Place,
    max_bytes: int,
    progress: Callable[[int, int | None], object] | None = None,
    /,
) -> None: ...
def verify_pickle(
    file: Any,
    path: str | bytes | None,
    max_bytes: int,
    progress: Callable[[int, int | None], object] | None = None,
    /,
) -> None: ...

# A survey says what one dump holds, and nothing of the dump runs: csrc/survey/survey.h.
#
# Numbers of 32 bits are 0xffffffff where there is none, offsets 0xffffffffffffffff. An offset is
# one of the file (decoded, where it is compressed), or for a file object of what was read; a place
# is an offset into what a survey keeps in memory, which value() and offset() take.
#
# Tables are bytes for numpy.frombuffer(), in the byte order of the machine:
#
#   nodes     total u8, own u8, step u8, parent u4, what u4, step_kind u1, kind u1, repeated u1,
#             zero u1, levels u4. A value that is worth a line: bytes with and without its children,
#             how it hangs on its parent. `step` is an index, or the place of a key (value()), state
#             or argument. `what` is, by kind: of an array or a global its number; of an instance
#             the number of the global that made it; of a container how many items (pairs) it has;
#             of a leaf of 16 KiB and more its number in `leaves`. `levels` is how often the step
#             is taken: containers that hold hardly more than one other, at the same index, share
#             its node.
#   arrays    offset u8, n_bytes u8, node u4, dtype u4, shape u4, payload u4, maker u4, ndim u1
#             (255: unknown), order S1 (C, F, A: strides()), stored u1, flags u1 (1: more bytes
#             claimed than there are, 2: from joblib's layout). `payload` is the number of the
#             payload, of the blob or of the second file's buffer, by `stored`; `shape` where in
#             `numbers` the shape begins; `maker` a global: class, or function.
#   leaves    offset u8, n_bytes u8, node u4, payload u4, kind u1, stored u1, in_array u1 (it holds
#             the bytes of an array that is listed), 5 bytes. str, bytes, bytearray of 16 KiB and
#             more.
#   payloads  place u8, offset u8, n_bytes u8, hash u8, n_cut u8. Arguments of 4 KiB and more, and
#             joblib's array bytes, with their XXH3-64; of ours there are none: blobs are not read.
#   numbers   i8. Shapes, and of arrays of order A the strides behind them.
#
# survey_names() has what kinds, step kinds and `stored` mean, by their numbers.
#
# Nodes come children first or parents first, as it was; the root's is `root`. Only what is notable
# has a node: arrays, leaves of 16 KiB, the first use of a global, persistent ids, containers of
# 4 KiB and more in all, and what holds those.
_Global = tuple[
    str | None,  # module, as it is looked up: mapped for protocols below 3; None: unknown, or EXT
    str | None,  # name, dotted ones whole; None: unknown; of EXT the code
    int,  # called: by REDUCE, INST, OBJ
    int,  # class: of NEWOBJ, NEWOBJ_EX, copyreg._reconstructor
    int,  # built: BUILD on an instance of it, or on itself
    int,  # argument: put into something
    int,  # fetched from the memo
    int | None,  # node of its first use
    int,  # flags: 1 computed name, 2 unknown, 4 cut, 8 mapped, 16 extension code
    tuple[str, str] | None,  # as the stream spells it, where it was mapped
]

# A subclass answers the core's (module, name) with what the name stands for, how it may be used,
# and the rules for arguments and states, or raises UntrustedError.
class Restriction: ...

class UntrustedError(UnpicklingError):
    names: tuple[Any, ...]
    reasons: tuple[str, ...]

def find_name(module_name: str, name: str, /) -> Any: ...
def give_back_memory() -> int: ...
def set_restricted_loads(function: Callable[..., Any], /) -> None: ...

@final
class Survey:
    # "fastpersist", "joblib" (arrays between the opcodes) or "pickle".
    @property
    def kind(self) -> str: ...
    # Of the dump in the file; of a damaged one, the length that was looked at.
    @property
    def start(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def protocol(self) -> int: ...
    @property
    def n_opcodes(self) -> int: ...
    @property
    def n_frames(self) -> int: ...
    # NEXT_BUFFER opcodes.
    @property
    def n_buffers(self) -> int: ...
    # How often a load depends on what names stand for: 0 means that it can only succeed.
    @property
    def n_undecided(self) -> int: ...
    # What is kept of the dump, in bytes.
    @property
    def opcode_bytes(self) -> int: ...
    # STOP was reached.
    @property
    def complete(self) -> bool: ...
    # CorruptFileError, TruncatedFileError, or UnpicklingError of a later version; with it the
    # tables hold what was met in front. As a load raises it: with path, offset and section.
    @property
    def damage(self) -> Exception | None: ...
    @property
    def root(self) -> int | None: ...
    # JSON, of ours.
    @property
    def environment(self) -> bytes | None: ...
    # The file was mapped for writing: hashes of payloads do not count.
    @property
    def state_void(self) -> bool: ...
    # Of a dump in two files: buffers, length and root hash of the second one.
    @property
    def second_file(self) -> tuple[int, int, int] | None: ...
    # (name, offset, bytes) of header, array bytes, graph and footer, or of the pickle.
    @property
    def parts(self) -> list[tuple[str, int, int]]: ...
    # Bytes by what they belong to, which add up to the length: values (the root's total), outside
    # (of values that are no part of it), protocol, frames, stop, header, padding (of the array
    # bytes, with blobs that nothing fetches), footer.
    @property
    def sums(self) -> dict[str, int]: ...
    # In the order of first use. A name may be there twice: spelled in two ways, computed or not.
    @property
    def globals(self) -> list[_Global]: ...
    @property
    def nodes(self) -> bytes: ...
    @property
    def arrays(self) -> bytes: ...
    @property
    def leaves(self) -> bytes: ...
    @property
    def payloads(self) -> bytes: ...
    @property
    def numbers(self) -> bytes: ...
    # (what, how often, the offsets of the first 100).
    @property
    def odd(self) -> list[tuple[str, int, list[int]]]: ...
    # Of a node. Each node has a path of its own; the root's is "".
    def path(self, node: int, /) -> str: ...
    # ("array" or "leaf", its number), or None.
    def find(self, path: str, /) -> tuple[str, int] | None: ...
    # Of an array.
    def shape(self, array: int, /) -> tuple[int, ...] | None: ...
    def strides(self, array: int, /) -> tuple[int, ...] | None: ...
    # "<f8", or ("dtype", arguments, state): what numpy.dtype() was called with, and the state that
    # was set, None where there is none, or where it cannot be read. In them a dtype is again one of
    # these, a dict ("dict", (key, value, key, ...)), a global ("global", module, name), and what is
    # no literal is Ellipsis.
    def dtype(self, dtype: int, /) -> Any: ...
    def itemsize(self, dtype: int, /) -> int | None: ...
    def has_objects(self, dtype: int, /) -> bool: ...
    # (str or bytes, length in bytes) of the leaf at a place; cut, where it is 4 KiB or more.
    def value(self, place: int, /) -> tuple[str | bytes, int] | None: ...
    def offset(self, place: int, /) -> int: ...
    # An array's bytes, where they are in memory: of stored "inline", and "text" below 4 KiB.
    def inline(self, array: int, /) -> bytes | None: ...

# Every dump of a regular file, or the pickles one behind the other (at most 256), and those of
# another writer behind dumps of ours; foreign: whether a pickle or a stream begins at an offset.
# EOFError for an empty file; OSError, MemoryError, and UnpicklingError where it is more than
# max_bytes.
def survey_descriptor(
    fd: int,
    path: str | bytes,
    n_threads: int,
    foreign: Callable[[int, int], bool] | None = None,
    max_bytes: int = 18446744073709551615,
    /,
) -> list[Survey]: ...

# The one that comes next from a file object; None where nothing comes.
def survey_file(
    file: Any, path: str | bytes | None, max_bytes: int = 18446744073709551615, /
) -> Survey | None: ...
def survey_names() -> dict[str, tuple[str, ...]]: ...

# Array bytes of the dump of ours that lies from `start` to `end`, into a writable buffer
# of that size or, with None, only checked: every block that holds some of them is hashed.
def read_checked(
    fd: int,
    path: str | bytes,
    start: int,
    end: int,
    offset: int,
    n_bytes: int,
    target: WriteableBuffer | None,
    n_threads: int,
    /,
) -> None: ...

# XXH3-64, as payloads have it.
def hash_bytes(data: ReadableBuffer, /) -> int: ...

# (name, code, argument, protocol, pops, pushes) of each: csrc/base/opcodes.h.
def opcodes() -> list[tuple[str, int, str, int, int, int]]: ...

# Of write() methods: csrc/out/write_answer.h.
def write_counts(file: Any, write: Any, /) -> bool: ...
def bytes_taken(answer: Any, n_bytes: int, /) -> int: ...
def is_plain_tree(
    state: Any, dtype: Any, n_features: int, n_outputs: int, max_n_classes: int, /
) -> bool: ...
def is_plain_tree_call(args: Any, /) -> bool: ...
def are_plain_trees(
    estimators: list[Any],
    classes: frozenset[Any],
    tree: Any,
    n_features: int,
    also_in: bool,
    /,
) -> bool: ...
def is_plain_predictor(state: Any, dtype: Any, offsets: tuple[int, ...], /) -> bool: ...
def are_plain_predictors(
    predictors: list[Any],
    class_: Any,
    dtype: Any,
    offsets: tuple[int, ...],
    n_features: int,
    /,
) -> bool: ...
def check_tree(nodes: Any, itemsize: int, n_features: int, max_depth: int, /) -> None: ...
def check_predictor(
    nodes: Any, itemsize: int, offsets: tuple[int, ...], n_features: int, n_bitsets: int, /
) -> tuple[int, bool]: ...

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
