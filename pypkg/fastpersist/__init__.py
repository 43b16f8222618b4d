"""Fast persistence for Python objects, in files that plain pickle and joblib read.

``fastpersist.dump(model, path)`` and ``fastpersist.load(path)`` take the place of
``joblib.dump`` and ``joblib.load``; ``dumps``, ``loads``, ``Pickler`` and ``Unpickler`` that
of the same names in :mod:`pickle`. The file format is described in ``csrc/FORMAT.md``.
"""

# Storeys of the package, from the ground; tools/check_imports.py holds every import to them.
#     _warn          warnings, where the caller sees them
#     _environment   versions a file was saved with: the core imports it for a note, or a warning
#     _progress      what progress= takes, as a function to call
#     _ends          where loads left file objects
#     _core          the compiled part: every byte of our own layout
#     codecs         streams compressed and decompressed
#     files          which file it is; file objects, pairs, checks
#     policy         which names a restricted load may use, and for what
#     report         what inspect gives: records, text, HTML
#     restricted     loads under trusted=: a survey first, then a load held to rules
#     __init__       the API: names, arguments, what a plain dump and load need; imports files late
#     joblib         joblib's names, with ours among them
#     integrations   hooks of other packages, each imported by its user only
#     convert        a file written anew in another layout, with nothing of it run
#     compare        one value in several formats
#     demo           two models, compared
#     cli            the command line
#     __main__       the same, for python -m

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pickle import DEFAULT_PROTOCOL, HIGHEST_PROTOCOL, PicklingError, UnpicklingError
from typing import TYPE_CHECKING, Any, Literal

from fastpersist import _ends
from fastpersist._core import (
    AtomicFile,
    CorruptFileError,
    Pickler,
    TruncatedFileError,
    Unpickler,
    UntrustedError,
    dump_value,
    dumps,
    give_back_memory,
    load_path,
    loads,
    set_restricted_loads,
)
from fastpersist._warn import EnvironmentMismatchError, EnvironmentMismatchWarning
from fastpersist.codecs import registry
from fastpersist.codecs.registry import CompressorWrapper, register_compressor

if TYPE_CHECKING:
    from fastpersist.report.file_report import FileReport

__version__ = "0.1.0"

__all__ = [
    "CompressorWrapper",
    "CorruptFileError",
    "DEFAULT_PROTOCOL",
    "EnvironmentMismatchError",
    "EnvironmentMismatchWarning",
    "HIGHEST_PROTOCOL",
    "Pickler",
    "PicklingError",
    "TruncatedFileError",
    "Unpickler",
    "UnpicklingError",
    "UntrustedError",
    "dump",
    "dumps",
    "inspect",
    "load",
    "loads",
    "read_array",
    "read_sidecar",
    "register_compressor",
    "verify",
]


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def _environment_threads(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"FASTPERSIST_THREADS must be a positive integer, not {text!r}")
    return min(number, 1024)


def _thread_count(threads: int | None) -> int:
    if threads is None:
        default = os.environ.get("FASTPERSIST_THREADS")
        return _usable_cores() if default is None else _environment_threads(default)
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
    compress: int | bool | str | tuple[str, int | bool | None] | None = 0,
    protocol: int | None = None,
    *,
    layout: Literal["pickle", "joblib"] = "pickle",
    sidecar: Any = None,
    durable: bool = False,
    threads: int | None = None,
    progress: bool | Callable[[int, int | None], object] | None = None,
) -> list[str] | None:
    """Write an object to a file, from where `load`, `pickle.load` and `joblib.load` read it.

    Parameters
    ----------
    value
        Any object that pickle can handle. NumPy arrays are stored as they lie in memory.
    filename : str, os.PathLike of str, or object with ``write``
        A path is replaced whole at the end: until then, and after any failure, the old
        file stays as it was. So does what a URL ("s3://bucket/key") names, in stores that publish
        a file when it is closed: docs/remote.md. An existing empty file is not replaced but filled
        at the end, for those who have it open (not with `durable`). A file object is written
        front to back, without seeking.
    compress : int from 0 to 9, bool, str or tuple, optional
        As joblib takes it. 0 or False: none, unless the name ends in an extension below. 1 to 9:
        a level of zlib, or of the codec of the name's extension; True and None: its default
        level. A codec's name, or (name, level): whatever the file's name. Codecs and extensions:
        "zlib" .z, "gzip" .gz, "bz2" .bz2, "lzma" .lzma, "xz" .xz, "lz4" .lz4, "zstd" .zst (joblib
        has no zstd), and what `register_compressor` added.
    protocol : int, optional
        ``None``, 5 or negative: the layout of ``csrc/FORMAT.md``. 0 to 4: a plain pickle of
        that protocol, arrays included.
    layout : {"pickle", "joblib"}
        "joblib": joblib's own layout (1.2 and later), for who maps the file with
        ``joblib.load(path, mmap_mode="r")``. `load` reads it, plain pickle does not; it has no
        checksums; an array that appears twice is stored twice. `protocol` is then as for
        joblib: by default ``pickle.DEFAULT_PROTOCOL``, 0 to 5 are honoured.
    sidecar : str, os.PathLike of str, or object with ``write``, optional
        A second file for the bytes of arrays and `pickle.PickleBuffer` objects, which `filename`
        then refers to as out-of-band buffers (PEP 574). `load` wants both files, and refuses a
        pair that was not written together; ``pickle.load(f, buffers=read_sidecar(sidecar))`` reads
        it, too. Both paths are replaced at the end, the sidecar first: where that is interrupted
        in between, what is left is refused, and the old pair is lost. Not with compression, a
        protocol below 5, or ``layout="joblib"``.
    durable : bool
        Also wait until file and directory are on the disk (fsync). Paths only, no URLs.
    threads : int, optional
        At most so many threads work on the dump; 1 starts none. Default: the cores this
        process may use. The bytes do not depend on it.
    progress : bool or callable, optional
        True: a bar of tqdm, where that is installed and stderr a terminal, once it has taken a
        second. A callable gets ``(done, total)`` in bytes, at most ten times a second, from the
        thread that called; the total is None until then, and at the end
        both are equal. What it raises ends the call, and the old file stays.

    Returns
    -------
    list of str or None
        ``[filename]`` for a path, ``None`` for a file object, as joblib; ``[filename, sidecar]``
        for two paths.

    Raises
    ------
    pickle.PicklingError
        The object, or something in it, cannot be pickled; a note says where in the object.
        Exceptions of the object's own methods pass through, with the same note.
    OSError
        The file could not be written; nothing is left behind.
    ValueError
        `filename` is neither a path nor a file object, or an argument is out of range.
    ImportError
        The codec needs a package that is not installed; the message names it.
    """
    if layout not in _LAYOUTS:
        raise ValueError(f"layout must be one of {list(_LAYOUTS)!r}, not {layout!r}")
    if (isinstance(filename, str) and "://" in filename) or (
        isinstance(sidecar, str) and "://" in sidecar
    ):
        from fastpersist.files import urls

        if urls.are_meant(filename, sidecar):
            rest = (protocol, layout, durable, threads, progress)
            write = partial(_dump_to, value, rest)
            return urls.dump(write, filename, sidecar, compress, durable)
    places = filename, sidecar
    return _dump(value, *places, compress, protocol, layout, durable, threads, progress)


def _dump_to(value: Any, rest: tuple[Any, ...], filename: Any, sidecar: Any, compress: Any) -> None:
    _dump(value, filename, sidecar, compress, *rest)


def _dump(
    value: Any,
    filename: Any,
    sidecar: Any,
    compress: int | bool | str | tuple[str, int | bool | None] | None,
    protocol: int | None,
    layout: str,
    durable: bool,
    threads: int | None,
    progress: bool | Callable[[int, int | None], object] | None,
    *others: Any,
) -> list[str] | None:
    """`dump`, and what else `dump_value` takes."""
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    is_path = isinstance(filename, str)
    registry.checked(compress)
    if not is_path and not hasattr(filename, "write"):
        raise ValueError(
            "Second argument should be a filename or a file-like object, "
            f"{filename} (type {type(filename)}) was given."
        )
    codec = registry.chosen(compress, filename if is_path else None)
    if layout == "joblib" and protocol is None:
        protocol = DEFAULT_PROTOCOL
    number = _checked_protocol(protocol)
    n_threads = _thread_count(threads)
    if durable and not is_path:
        raise ValueError("durable=True needs a path: a file object is the caller's to sync")
    if sidecar is not None:
        sidecar = _checked_sidecar(sidecar, filename, layout, number, codec is not None, durable)
        _ends.forget(sidecar)
    _ends.forget(filename)

    if progress is None or progress is False:
        _write(value, filename, sidecar, layout, number, durable, n_threads, codec, None, *others)
    else:
        from fastpersist._progress import reporting

        with reporting(progress, "dump") as report:
            _write(
                value, filename, sidecar, layout, number, durable, n_threads, codec, report, *others
            )
    if not is_path:
        return None
    return [filename, sidecar] if isinstance(sidecar, str) else [filename]


def _write(
    value: Any,
    filename: Any,
    sidecar: Any,
    layout: str,
    protocol: int,
    durable: bool,
    n_threads: int,
    codec: Any,
    report: Callable[[int, int | None], object] | None,
    *others: Any,
) -> None:
    """A dump whose arguments are checked."""
    is_path = isinstance(filename, str)
    options = (layout, protocol, durable, n_threads)
    if codec is None:
        start = _position(filename) if layout == "joblib" and not is_path else 0
        dump_value(value, sidecar, *options, filename, start, report, *others)
        return
    write = partial(_write_to, value, sidecar, options, report, others)
    open_stream = registry.prepare(codec[0], codec[1], n_threads)
    if is_path:
        file = AtomicFile(filename, durable)
        _dump_to_stream_at_path(write, file, filename, open_stream)
    else:
        _dump_to_stream(write, open_stream(filename, None))


def _write_to(
    value: Any,
    sidecar: Any,
    options: tuple[str, int, bool, int],
    report: Callable[[int, int | None], object] | None,
    others: tuple[Any, ...],
    place: Any,
    start: int,
) -> None:
    dump_value(value, sidecar, *options, place, start, report, *others)


_LAYOUTS = ("pickle", "joblib")


def _checked_sidecar(
    sidecar: Any, filename: Any, layout: str, protocol: int, is_compressed: bool, durable: bool
) -> Any:
    """The second target of a dump: str, or an object with ``write``."""
    if isinstance(sidecar, os.PathLike):
        sidecar = os.fspath(sidecar)
    is_path = isinstance(sidecar, str)
    if not is_path and not hasattr(sidecar, "write"):
        raise ValueError(
            "sidecar should be a filename or a file-like object, "
            f"{sidecar} (type {type(sidecar)}) was given."
        )
    if layout != "pickle":
        raise ValueError(f'layout="{layout}" has no sidecar: its arrays are in the file')
    if protocol < 5:
        raise ValueError(f"a sidecar needs pickle protocol 5, not {protocol}")
    if is_compressed:
        raise ValueError(
            "a dump with a sidecar cannot be compressed: leave compress= out, and the extensions "
            "of compressed files"
        )
    if durable and not is_path:
        raise ValueError("durable=True needs paths: a file object is the caller's to sync")
    if sidecar is filename or (is_path and isinstance(filename, str) and _same(sidecar, filename)):
        raise ValueError("the sidecar must be another file than the main one")
    return sidecar


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _position(file: Any) -> int:
    """Where a file object stands; 0 where it does not say: pipes, sockets, remote files."""
    try:
        position = file.tell()
    except (AttributeError, NotImplementedError, OSError):  # io.UnsupportedOperation, too
        return 0
    return position if isinstance(position, int) and position >= 0 else 0


def _dump_to_stream(write: Callable[[Any, int], None], stream: Any) -> None:
    try:
        write(stream, 0)
        stream.close()
    except BaseException:
        stream.abandon()
        raise


def _dump_to_stream_at_path(
    write: Callable[[Any, int], None], file: AtomicFile, path: str, open_stream: Any
) -> None:
    try:
        _dump_to_stream(write, open_stream(file, path))
        file.commit()
    except BaseException:
        file.abort()
        raise


# What numpy.memmap takes as a mode, and what joblib makes of it.
_MMAP_MODES = {
    "r": "r",
    "c": "c",
    "r+": "r+",
    "w+": "r+",
    "readonly": "r",
    "copyonwrite": "c",
    "readwrite": "r+",
    "write": "r+",
}


def _checked_mmap_mode(mmap_mode: str | None) -> str | None:
    if mmap_mode is None:
        return None
    try:
        return _MMAP_MODES[mmap_mode]
    except (KeyError, TypeError):
        raise ValueError(f"mode must be one of {list(_MMAP_MODES)!r} (got {mmap_mode!r})") from None


def _verify_level(verify: bool | str) -> int:
    if verify is True:
        return 1
    if verify is False:
        return 0
    if verify == "full":
        return 2
    raise ValueError(f'verify must be True, False or "full", not {verify!r}')


def _checked_limit(max_bytes: int | None) -> int:
    if max_bytes is None:
        return registry.NO_LIMIT
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an int or None, not {type(max_bytes).__name__}")
    if max_bytes < 0:
        raise ValueError(f"max_bytes must not be negative: {max_bytes}")
    return min(max_bytes, registry.NO_LIMIT - 1)


_MISMATCH_RULES = {"ignore": 0, "warn": 1, "raise": 2}


def _mismatch_rule(environment: str) -> int:
    try:
        return _MISMATCH_RULES[environment]
    except (KeyError, TypeError):
        raise ValueError(
            f'environment must be "warn", "ignore" or "raise", not {environment!r}'
        ) from None


def _load_foreign(
    path: str | bytes, request: tuple[Any, ...], fd: int, offset: int | None = None
) -> Any:
    from fastpersist.files import kinds, loading

    if offset is not None:
        return kinds.begins_at(fd, offset)
    return loading.from_descriptor(path, loading.Request(*request), fd)


def load(
    filename: Any,
    mmap_mode: str | None = None,
    ensure_native_byte_order: bool | Literal["auto"] = "auto",
    *,
    sidecar: Any = None,
    verify: bool | Literal["full"] = True,
    max_bytes: int | None = None,
    threads: int | None = None,
    trusted: Iterable[Any] | None = None,
    environment: Literal["warn", "ignore", "raise"] = "warn",
    progress: bool | Callable[[int, int | None], object] | None = None,
) -> Any:
    """Read an object from a file that `dump`, `pickle` or joblib wrote.

    Loading executes code that the file names, as pickle does: load only what you trust, or say
    with `trusted` what a file may call.

    Parameters
    ----------
    filename : str, bytes, os.PathLike or file object with ``read``
        A path, or a URL ("s3://bucket/key", by fsspec: docs/remote.md), gives the first dump in
        the file. Of a file object one dump is read, from where
        it stands up to its end: the next call reads the next dump, and raises EOFError where
        there is none. As with joblib, one that was just written to need not be rewound: where it
        stands at its end, can seek, has no ``peek``, and no load has brought it there, its first
        dump is read.
    mmap_mode : {None, "r", "r+", "w+", "c"}
        Map the file into memory instead of reading it: arrays are `numpy.memmap` objects of one
        map. "r" is read-only; "r+", and "w+" as in joblib, write to the file; "c" keeps changes to
        itself. Compressed files and file objects without a file behind them are read, with a
        UserWarning.

        A map belongs to the file that was opened: a later dump to the same path does not change
        it. joblib's workers get such an array by the file's name, though, and open it anew: after
        a dump to the same path in between they see the other file.
    ensure_native_byte_order : bool or "auto"
        Give arrays of foreign byte order the native one. "auto": where nothing is mapped.
    sidecar : str, bytes, os.PathLike or file object with ``read``, optional
        The second file of a dump that was made with one; needed for those, refused for others.
        A path gives the first sidecar in the file. It is the one that `mmap_mode` maps, and that
        joblib's workers open.
    verify : True, False or "full"
        True: everything that is read is checked against its hashes before anything is built, in
        maps all but the arrays. "full": these too. False: nothing but header and footer.
    max_bytes : int, optional
        Take at most so many bytes out of the file (of each of two), decompressed where it is
        compressed; of a map, out of what is not mapped. A file that holds more, or says so, is
        refused with pickle.UnpicklingError, before memory is taken for it. This bounds what a
        small file can make of itself; what the code that it names does is not bounded.
    threads : int, optional
        At most so many threads read; 1 starts none. Default: the cores this process may use.
    trusted : None, or iterable of str and classes
        None: what the file names is imported and called, as pickle does. Otherwise a load is
        restricted to what `fastpersist.policy` approves, and to these names besides
        ("package.module.Name", exactly): NumPy, SciPy's matrices, scikit-learn's estimators,
        pandas, the plain types. A file that asks for anything else, or does with an approved
        name what the policy does not allow, is refused whole before anything of it has run. The
        whole file is checked first, as with ``verify="full"``. This restricts what a file may
        call; it is no sandbox: the methods of approved classes run, and a name that is trusted
        here may do whatever its code does.
    environment : {"warn", "ignore", "raise"}
        What comes of packages that run in other versions than the dump was saved with (those that
        its classes come from, and what they depend on; a plain pickle says none). "warn": one
        EnvironmentMismatchWarning, with a table of them and a line for pip, where one is missing,
        or its major or minor version another. "raise": EnvironmentMismatchError for the same, and
        nothing is built where the packages that are imported already tell.
    progress : bool or callable, optional
        True: a bar of tqdm, where that is installed and stderr a terminal, once it has taken a
        second. A callable gets ``(done, total)`` in bytes, at most ten times a second, from the
        thread that called; the total is None of file objects
        and compressed files (decoded bytes are counted), and at the end
        both are equal. What it raises ends the call.

    Returns
    -------
    object
        What was dumped. Arrays own their memory and are writable, unless mapped.

    Raises
    ------
    CorruptFileError
        The file is damaged; `TruncatedFileError` where it ends too early.
    UntrustedError
        The file asks for what `trusted` does not allow: the exception lists everything.
    pickle.UnpicklingError
        CorruptFileError and UntrustedError are. Otherwise the file is of a later version of
        fastpersist, or holds more than `max_bytes`; or it is an EnvironmentMismatchError, where
        that was asked for.
    EOFError
        The file is empty, or the file object is at its end.
    """
    native = ensure_native_byte_order
    if native == "auto":
        native = mmap_mode is None
    if native and mmap_mode is not None:
        raise ValueError(
            "Native byte ordering can only be enforced if 'mmap_mode' parameter "
            f"is set to None, but got 'mmap_mode={mmap_mode}' instead."
        )
    mode = _checked_mmap_mode(mmap_mode)
    level = _verify_level(verify)
    n_threads = _thread_count(threads)
    limit = _checked_limit(max_bytes)
    mismatch = _mismatch_rule(environment)
    if trusted is not None:
        level = _verify_level("full")
    if (isinstance(filename, str) and "://" in filename) or (
        isinstance(sidecar, str) and "://" in sidecar
    ):
        from fastpersist.files import urls

        if urls.are_meant(filename, sidecar):
            run = partial(
                load,
                mmap_mode=mmap_mode,
                ensure_native_byte_order=ensure_native_byte_order,
                verify=verify,
                max_bytes=max_bytes,
                threads=threads,
                trusted=trusted,
                environment=environment,
            )
            return urls.load(run, filename, sidecar, mode, max_bytes, progress)
    rules = (mmap_mode, mode, bool(native), level, n_threads, limit, mismatch)
    if trusted is None and (progress is None or progress is False):
        return _load(filename, sidecar, *rules, None)
    from fastpersist._progress import reporting

    with reporting(progress, "load") as report:
        if trusted is None:
            return _load(filename, sidecar, *rules, report)
        from fastpersist import restricted

        run = partial(_load_restricted, rules, report)
        return restricted.load(filename, sidecar, trusted, run, n_threads, limit)


def _load_restricted(
    rules: tuple[Any, ...],
    report: Any,
    filename: Any,
    sidecar: Any,
    allowed: Any,
    audit: Any = None,
) -> Any:
    mmap_mode, mode, native, level, n_threads, limit, mismatch = rules
    checks = (mmap_mode, mode, native, level, n_threads, limit, mismatch)
    return _load(filename, sidecar, *checks, report, allowed, audit)


def _load(
    filename: Any,
    sidecar: Any,
    mmap_mode: str | None,
    mode: str | None,
    native: bool,
    level: int,
    n_threads: int,
    limit: int,
    mismatch: int,
    report: Callable[[int, int | None], object] | None,
    find_class: Callable[[str, str], Any] | None = None,
    audit: Callable[[Any, int], object] | None = None,
) -> Any:
    """A load whose arguments are checked; `audit`: of a path only."""
    if sidecar is not None:
        from fastpersist.files import pairs

        rules = (mode, native, level, n_threads, limit, mismatch, report, find_class)
        return pairs.load_pair(filename, sidecar, *rules)
    told = (limit, mismatch, report, find_class)
    request = (mmap_mode, mode, native, level, n_threads, *told)
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    if isinstance(filename, (str, bytes)):
        foreign = partial(_load_foreign, filename, request)
        checks = (mode, native, level, n_threads)
        return load_path(filename, *checks, foreign, None, *told, audit)
    from fastpersist.files import loading

    if hasattr(filename, "read"):
        return loading.from_file(filename, loading.Request(*request))
    with open(filename, "rb") as file:
        return loading.from_file(file, loading.Request(*request))


def verify(
    filename: Any,
    *,
    sidecar: Any = None,
    max_bytes: int | None = None,
    threads: int | None = None,
    progress: bool | Callable[[int, int | None], object] | None = None,
) -> None:
    """Check a file without loading it: nothing is built, and nothing that it names is run.

    Of what `dump` wrote, every byte is checked: against its hash, or against the one value that
    can stand there. Of a path all dumps in the file are checked, of a file object the next one. A
    compressed file is decompressed for it, its codec's checksums included.

    What `pickle` or joblib wrote has no hashes. Such a file is checked as far as it goes: the
    codec's checksums where it is compressed, and that its opcodes make sense up to STOP, with
    nothing behind the names that they ask for. A changed number is not noticed.

    Parameters
    ----------
    filename : str, bytes, os.PathLike or file object with ``read``
        What was passed to `dump`, a URL included. A sidecar by itself can be verified, too.
    sidecar : str, bytes, os.PathLike or file object with ``read``, optional
        The second file of a dump that was made with one: that both belong together is checked.
    max_bytes : int, optional
        As in `load`, for each dump of a compressed file, file object or sidecar.
    threads : int, optional
        At most so many threads read; 1 starts none. Default: the cores this process may use.
    progress : bool or callable, optional
        As in `load`.

    Raises
    ------
    CorruptFileError
        The file is damaged; `TruncatedFileError` where it ends too early. Also where a map was
        opened for writing: its arrays have no hashes any more.
    EOFError
        The file is empty, or the file object is at its end.
    ValueError
        A sidecar is missing, or is given where there is none.
    """
    from fastpersist.files import checking

    limits = _checked_limit(max_bytes), _thread_count(threads)
    if progress is None or progress is False:
        return checking.verify(filename, sidecar, *limits)
    from fastpersist._progress import reporting

    with reporting(progress, "verify") as report:
        return checking.verify(filename, sidecar, *limits, report)


def inspect(
    filename: Any,
    *,
    max_bytes: int | None = None,
    progress: bool | Callable[[int, int | None], object] | None = None,
) -> FileReport:
    """What is in a file, without loading it: nothing of the file is run or imported.

    Parameters
    ----------
    filename : str, bytes, os.PathLike or file object with ``read``
        What `dump`, joblib or `pickle` wrote, compressed or not. Of a path or URL all dumps in the
        file are looked at, of a file object the next one.
    max_bytes : int, optional
        Look at so many bytes of a dump at most (decompressed, and without those of arrays that
        are not read): a file that holds more is refused, as in `load`.
    progress : bool or callable, optional
        Called with the bytes that are done and all of them (None where nobody knows), at most ten
        times a second. True: a bar of tqdm's, where it is installed and standard error is a
        terminal, from one second on.

    Returns
    -------
    FileReport
        Names that the file asks for, arrays, bytes by object path, versions, what is odd. ``print``
        it; `FileReport.save_html` writes a page, `FileReport.to_dict` is for programs. A damaged
        file is described up to the damage: see ``report.damage``.

    Raises
    ------
    EOFError
        The file is empty, or the file object is at its end.
    OSError
        The file could not be read.
    pickle.UnpicklingError
        It is more than `max_bytes`.
    ValueError
        joblib wrote the file before 0.10.

    Examples
    --------
    >>> import fastpersist, numpy
    >>> _ = fastpersist.dump({"weights": numpy.zeros((3, 4))}, "model")
    >>> fastpersist.inspect("model").arrays[0].shape
    (3, 4)
    """
    from fastpersist.report import looking

    limit = _checked_limit(max_bytes)
    return looking.inspect(filename, limit, progress, _thread_count(None))


def read_array(filename: Any, path: str, mmap_mode: str | None = None) -> Any:
    """Read one array out of a file, by its path in the object: nothing of the file is run.

    The opcodes of the file are surveyed, without making or importing anything that they name. Of
    the array's bytes, those that come with hashes are checked against them; only the blocks of the
    file that hold them are read, where it is one that `dump` wrote and not compressed.

    Parameters
    ----------
    filename : str, bytes, os.PathLike or file object with ``read``
        What `dump`, joblib or `pickle` wrote, compressed or not, at a path or URL. Of several dumps
        in it the first.
    path : str
        Where the array is: ``"estimators_[17].tree_.state['nodes']"``, ``"['weights'][0]"``, ``""``
        for an array that is the whole object.
    mmap_mode : None, "r" or "c"
        Map the array, read-only or copy-on-write, instead of reading it.

    Returns
    -------
    numpy.ndarray or numpy.memmap
        Its elements are plain bytes: numbers, times, fixed-width text, records of those.

    Raises
    ------
    KeyError
        There is no array of that path.
    ValueError
        The array holds objects, or cannot be described without running something.
    CorruptFileError
        The file is damaged.
    """
    from fastpersist.files import arrays

    return arrays.read_array(filename, path, mmap_mode, _thread_count(None))


def read_sidecar(
    filename: Any, *, verify: bool = True, threads: int | None = None
) -> list[bytearray | bytes]:
    """Read the buffers of a sidecar file, for ``pickle.load(file, buffers=...)``.

    Parameters
    ----------
    filename : str, bytes, os.PathLike or file object with ``read``
        What was passed to `dump` as `sidecar`. A path gives the first sidecar in the file; of a
        file object one is read, from where it stands up to its end.
    verify : bool
        Whether to check the buffers against their hashes. That they belong to a main file is
        checked by `load` only.
    threads : int, optional
        At most so many threads read; 1 starts none. Default: the cores this process may use.

    Returns
    -------
    list of bytearray and bytes
        In the order in which the main file asks for them: bytearray where the object is writable,
        else bytes. The list shares their memory with what is built over them.

    Raises
    ------
    CorruptFileError
        The file is damaged, or no sidecar; `TruncatedFileError` where it ends too early.
    """
    from fastpersist.files import pairs

    return pairs.read(filename, _verify_level(verify), _thread_count(threads))


def _restricted_loads(data: Any, /, **arguments: Any) -> Any:
    from fastpersist import restricted

    return restricted.loads(data, **arguments)


set_restricted_loads(_restricted_loads)
# A child has no use for what its parent keeps, and would double it page by page.
os.register_at_fork(before=give_back_memory)
