"""One load: of a path that does not hold a file of our own layout, and of any file object."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from fastpersist._core import (
    CorruptFileError,
    OldJoblibFile,
    Restriction,
    TruncatedFileError,
    load_descriptor,
    load_file,
)
from fastpersist._progress import Report
from fastpersist.codecs import registry
from fastpersist.codecs.decoding import damage, position
from fastpersist.files import kinds, streams, warn

_NEEDS_JOBLIB = (
    "{} was written by joblib before 0.10, and only joblib itself reads such files: "
    "pip install joblib"
)
_PYTHON_2 = (
    "You may be trying to read with python 3 a joblib pickle generated with python 2. "
    "This feature is not supported by joblib."
)

Path = str | bytes | None


class Request(NamedTuple):
    """What a call of `load` asks for, checked."""

    mmap_mode: str | None  # as the caller wrote it: for messages, and for joblib's own reader
    mode: str | None  # what it means
    native: bool
    verify: int
    n_threads: int
    max_bytes: int
    mismatch: int
    report: Report | None
    find_class: Callable[[str, str], Any] | None = None  # instead of importing
    text: tuple[str, str, bool] | None = None  # encoding, errors, fix_imports of plain pickles


def from_descriptor(path: str | bytes, request: Request, fd: int) -> Any:
    """Load what an open path holds, which is not a regular file of our own layout."""
    is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
    with open(fd, "rb", closefd=False) as file:
        head, stream = kinds.first_bytes(file, path)
        if is_regular and not head:
            raise kinds.not_whole(path, 0, "compressed stream")
        codec = kinds.detect(head)
        if codec == kinds.OLD_JOBLIB:
            return _through_joblib(path, path, request.mmap_mode, request)
        if codec is None and head and kinds.undecided(head):
            raise damage(TruncatedFileError, "it ends", "compressed", path, len(head))
        try:
            if codec is not None:
                if request.mmap_mode is not None:
                    _warn_compressed(request.mmap_mode, path)
                return _decoded(stream, codec, path, request)
            if is_regular:
                return _map_or_read(fd, path, 0, request)[0]
            if request.mmap_mode is not None:
                warn.ignored(path, "is not a regular file", request.mmap_mode)
            return _dump_in(stream, path, request)
        except UnicodeDecodeError as error:
            raise ValueError(_PYTHON_2) from error
        except OldJoblibFile:
            return _through_joblib(path, path, request.mmap_mode, request)


def from_file(file: Any, request: Request) -> Any:
    """Load one dump of any kind from the caller's file object, from where it stands.

    It is left right behind the dump, where it can seek or the dump is not compressed.
    """
    with streams.rewound(file):
        if request.mmap_mode is not None and _is_real(file):
            mapped = _map(file, request.mmap_mode, request)
            if mapped is not None:
                return mapped[0]
        return _next_dump(file, request)


# ---------------------------------------------------------------- read


def _dump_in(stream: Any, path: Path, request: Request) -> Any:
    """One dump, from a file object that yields decoded bytes."""
    native, verify, max_bytes = request.native, request.verify, request.max_bytes
    return load_file(stream, path, native, verify, None, 1, None, max_bytes, *request[6:])


def _next_dump(file: Any, request: Request) -> Any:
    return kinds.behind_empty_streams(file, partial(_dump_behind, request))


def _dump_behind(request: Request, head: bytes, stream: Any, file: Any) -> Any:
    codec = kinds.detect(head)
    name = getattr(file, "name", "")
    if request.mmap_mode is not None:
        _warn_of_file(file, codec, request.mmap_mode, name)
    if codec == kinds.OLD_JOBLIB:
        raise ValueError(
            f"{file!r} was written by joblib before 0.10: such a file is loaded by its path"
        )
    start = position(stream)
    try:
        if codec is None:
            return _dump_in(stream, None, request)
        return _decoded(stream, codec, None, request)
    except UnicodeDecodeError as error:
        raise ValueError(_PYTHON_2) from error
    except OldJoblibFile:
        if start is None:
            raise
        file.seek(start)
        return _through_joblib(file, name, None, request)


def _through_joblib(file: Any, name: Any, mmap_mode: str | None, request: Request) -> Any:
    """joblib's own reader for what it wrote before 0.10; it warns that the file is old.

    Never under a restriction, which that reader would not know of.
    """
    if isinstance(request.find_class, Restriction):
        raise OldJoblibFile("joblib wrote this file before 0.10")
    if request.max_bytes != registry.NO_LIMIT:
        raise ValueError(
            "joblib wrote this file before 0.10 and reads it itself: it knows no max_bytes"
        )
    try:
        import joblib
    except ImportError as error:
        raise ImportError(_NEEDS_JOBLIB.format(repr(name) if name else "the file")) from error
    return joblib.load(file, mmap_mode=mmap_mode, ensure_native_byte_order=request.native)


# ---------------------------------------------------------------- decoded


def _decoded(file: Any, name: str, path: Path, request: Request) -> Any:
    codec = registry.COMPRESSORS[name]
    if not isinstance(codec, registry.Codec):
        return _dump_in(streams.registered(codec, file), path, request)
    n_threads, max_bytes = request.n_threads, request.max_bytes
    with codec.open_stream(file, path, n_threads, max_bytes) as stream:
        try:
            value = _dump_in(stream, path, request)
        except EOFError as error:
            if stream.raw.n_made > 0:
                raise
            if path is None:
                stream.raw.finish()
                raise kinds.EmptyStream(codec.name) from None
            raise kinds.not_whole(path, 0, f"{codec.name} stream") from error
        except Exception as error:
            if path is not None and not isinstance(error, CorruptFileError):
                _blame_the_stream(stream, error)
            raise
        if path is None:
            stream.raw.finish()
        else:
            from fastpersist.files import checking

            checking.rest(stream, file, path, n_threads, max_bytes)
    return value


def _blame_the_stream(stream: Any, error: Exception) -> None:
    """What a pickle does that came out of a damaged stream is that damage's doing.

    Its checksum may stand behind what was read so far. (A dump of ours was checked before; then
    this finds nothing.) Not where reading itself failed, for want of memory or of the device.
    """
    if stream.raw.is_broken:
        return
    try:
        stream.raw.finish()
    except CorruptFileError as found:
        raise found from error
    except Exception:
        return  # the first failure is the one to be told


# ---------------------------------------------------------------- mapped


def _map_or_read(fd: int, path: str | bytes, start: int, request: Request) -> tuple[Any, int]:
    """The value, and where it ends: 0 where it cannot be mapped and was not read."""
    return load_descriptor(
        fd,
        path,
        start,
        *request[1:5],
        kinds.begins_at,
        request.max_bytes,
        request.mismatch,
        request.report,
        request.find_class,
        request.text,
    )


def _is_real(file: Any) -> bool:
    """Whether a file object is nothing but a buffer over a regular file."""
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    return type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _map(file: Any, mmap_mode: str, request: Request) -> tuple[Any] | None:
    """Map an opened file from where it stands, and go behind the dump; None: it has to be read."""
    file.flush()
    start = file.tell()
    fd = file.fileno()
    if kinds.detect(os.pread(fd, 16, start)) is not None:
        return None
    if not isinstance(file.name, (str, bytes)):
        reason = "has no name"
    elif request.mode == "r+" and not file.writable():
        reason = "is not open for writing"
    else:
        value, end = _map_or_read(fd, file.name, start, request)
        if end != 0:
            file.seek(end)
            return (value,)
        reason = "does not stand where its arrays would be aligned"
    warn.ignored(file, reason, mmap_mode)
    return None


def _warn_compressed(mmap_mode: str, name: Any) -> None:
    if isinstance(name, bytes):
        name = repr(name)
    warn.at_caller(
        f'mmap_mode "{mmap_mode}" is not compatible with compressed file {name}. '
        f'"{mmap_mode}" flag will be ignored.',
    )


def _warn_of_file(file: Any, codec: str | None, mmap_mode: str, name: Any) -> None:
    if codec is not None:
        _warn_compressed(mmap_mode, name)
    elif isinstance(file, io.BytesIO):
        warn.at_caller(
            f'In memory persistence is not compatible with mmap_mode "{mmap_mode}" flag passed. '
            "mmap_mode option will be ignored.",
        )
    elif not isinstance(getattr(file, "raw", file), io.FileIO):
        warn.ignored(file, "is not a raw file", mmap_mode)
