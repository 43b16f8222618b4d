"""Files of other formats: which one it is, and its bytes as a file object.

`load` comes here with every file object, and with a path whose first bytes are not those of
fastpersist's own layout. What a file is, is decided by its first bytes, as joblib does it:

    zlib, gzip, bz2, xz, lzma, lz4, zstd     decoded here, then read like any stream
    "ZF"                                     joblib before 0.10: left to joblib
    anything else                            a pickle, joblib's layout included

None of these can begin a pickle, but for the "B" of bz2: joblib takes any "BZ", here "BZh" is asked
for.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from typing import Any

from fastpersist._core import CorruptFileError, OldJoblibFile, TruncatedFileError
from fastpersist.codecs import decoding, registry

_OLD_JOBLIB = b"ZF"

_NEEDS_JOBLIB = (
    "{} was written by joblib before 0.10, and only joblib itself reads such files: "
    "pip install joblib"
)
_PYTHON_2 = (
    "You may be trying to read with python 3 a joblib pickle generated with python 2. "
    "This feature is not supported by joblib."
)


# ---------------------------------------------------------------- what load() calls


def load_path(
    path: str | bytes,
    file: Any,
    mmap_mode: str | None,
    native_order: bool,
    load_stream: Callable[[Any], Any],
    load_descriptor: Callable[[str | None], Any],
    n_threads: int,
    max_bytes: int,
) -> Any:
    """Load a file that is not one of our own uncompressed ones.

    Parameters
    ----------
    path
        As the caller gave it: for messages, and for joblib's own reader.
    file
        A binary file object over the open file, at its first byte. It stays the caller's.
    mmap_mode, native_order
        As checked by `load`.
    load_stream
        Called with a file object that yields decoded bytes: reads one dump from it.
    load_descriptor
        Called for an uncompressed file, with the mmap_mode: reads or maps the descriptor.
    n_threads
        At most so many decode.
    max_bytes
        At most so many decoded bytes are taken.
    """
    head, stream = first_bytes(file)
    codec = detect(head)
    if codec == "joblib < 0.10":
        return _through_joblib(path, path, mmap_mode, native_order, max_bytes)
    if codec is None and head and _undecided(head):
        raise decoding.damage(TruncatedFileError, "it ends", "compressed", path, len(head))
    try:
        if codec is None:
            return load_descriptor(mmap_mode) if stream is file else load_stream(stream)
        if mmap_mode is not None:
            _warn_compressed(mmap_mode, path)
        return _load_decoded(stream, codec, path, load_stream, n_threads, max_bytes)
    except UnicodeDecodeError as error:
        raise ValueError(_PYTHON_2) from error
    except OldJoblibFile:
        return _through_joblib(path, path, mmap_mode, native_order, max_bytes)


def load_file(
    file: Any,
    mmap_mode: str | None,
    native_order: bool,
    load_stream: Callable[[Any], Any],
    n_threads: int,
    max_bytes: int,
) -> Any:
    """Load one dump of any format from the caller's file object, from where it stands.

    It is left right behind the dump, where it can seek or the dump is not compressed.
    """
    head, stream = first_bytes(file)
    codec = detect(head)
    name = getattr(file, "name", "")
    if mmap_mode is not None:
        _warn_of_file(file, codec, mmap_mode, name)
    if codec == "joblib < 0.10":
        raise ValueError(
            f"{file!r} was written by joblib before 0.10: such a file is loaded by its path"
        )
    start = decoding.position(stream)
    try:
        if codec is None:
            return load_stream(stream)
        return _load_decoded(stream, codec, None, load_stream, n_threads, max_bytes)
    except UnicodeDecodeError as error:
        raise ValueError(_PYTHON_2) from error
    except OldJoblibFile:
        if start is None:
            raise
        file.seek(start)
        return _through_joblib(file, name, None, native_order, max_bytes)


# ---------------------------------------------------------------- detection


def detect(head: bytes) -> str | None:
    """The codec of a file with these first bytes; None for a pickle, or what claims to be one."""
    if head.startswith(_OLD_JOBLIB):
        return "joblib < 0.10"
    return registry.detect(head)


def _prefixes() -> list[bytes]:
    return [_OLD_JOBLIB, *(codec.prefix for codec in registry.COMPRESSORS.values())]


def _undecided(head: bytes) -> bool:
    return any(len(head) < len(p) and p.startswith(head) for p in _prefixes())


def first_bytes(file: Any) -> tuple[bytes, Any]:
    """The bytes that decide, and a file object that still has them in front of it.

    Takes nothing from a file object with ``peek``, or that can go back; else the one that comes
    back has the bytes in front. Never reads more than it takes to decide.
    """
    n_bytes = max(map(len, _prefixes()))
    peek = getattr(file, "peek", None)
    if peek is not None:
        head = bytes(peek(n_bytes))[:n_bytes]
        if not head or not _undecided(head):
            return head, file
    start = decoding.position(file)
    if start is not None:
        head = file.read(n_bytes)
        if not head and type(file) is io.BytesIO and start > 0:
            # One that was just written is read from its start, as joblib does it; see _load.
            file.seek(start := 0)
            head = file.read(n_bytes)
        file.seek(start)
        return bytes(head), file
    head = b""
    while _undecided(head):
        more = file.read(1)
        if not more:
            break
        head += more
    return head, PushedBack(head, file)


class PushedBack:
    """A file object without seek and peek, and bytes of it that were read already."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head = head
        self._file = file
        if hasattr(file, "readinto"):
            self.readinto = self._readinto

    def read(self, n_bytes: int = -1) -> bytes:
        if not self._head:
            return self._file.read(n_bytes)  # type: ignore[no-any-return]
        if n_bytes < 0:
            head, self._head = self._head, b""
            return head + self._file.read()  # type: ignore[no-any-return]
        head, self._head = self._head[:n_bytes], self._head[n_bytes:]
        if len(head) < n_bytes:
            head += self._file.read(n_bytes - len(head))
        return head

    def readline(self, n_bytes: int = -1) -> bytes:
        n_line = self._head.find(b"\n") + 1
        n_taken = n_line or len(self._head)
        if 0 <= n_bytes < n_taken:
            n_taken = n_bytes
        head, self._head = self._head[:n_taken], self._head[n_taken:]
        if n_line or n_taken == n_bytes:
            return head
        if n_bytes < 0:  # not every file's readline takes a number
            return head + self._file.readline()  # type: ignore[no-any-return]
        return head + self._file.readline(n_bytes - n_taken)  # type: ignore[no-any-return]

    def _readinto(self, target: Any) -> int:
        if not self._head:
            return self._file.readinto(target)  # type: ignore[no-any-return]
        with memoryview(target).cast("B") as view:
            n_bytes = min(len(view), len(self._head))
            view[:n_bytes] = self._head[:n_bytes]
        self._head = self._head[n_bytes:]
        return n_bytes


# ---------------------------------------------------------------- joblib's warnings


def warn_caller(text: str) -> None:
    """A UserWarning at the line that called into this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == __package__


def _warn_compressed(mmap_mode: str, name: Any) -> None:
    if isinstance(name, bytes):
        name = repr(name)
    warn_caller(
        f'mmap_mode "{mmap_mode}" is not compatible with compressed file {name}. '
        f'"{mmap_mode}" flag will be ignored.',
    )


def _warn_of_file(file: Any, codec: str | None, mmap_mode: str, name: Any) -> None:
    if codec is not None:
        _warn_compressed(mmap_mode, name)
    elif isinstance(file, io.BytesIO):
        warn_caller(
            f'In memory persistence is not compatible with mmap_mode "{mmap_mode}" flag passed. '
            "mmap_mode option will be ignored.",
        )
    elif not isinstance(getattr(file, "raw", file), io.FileIO):
        warn_caller(
            f'"{file!r}" is not a raw file, mmap_mode "{mmap_mode}" flag will be ignored.',
        )


def _through_joblib(
    file: Any, name: Any, mmap_mode: str | None, native_order: bool, max_bytes: int
) -> Any:
    """joblib's own reader for what it wrote before 0.10; it warns that the file is old."""
    if max_bytes != registry.NO_LIMIT:
        raise ValueError(
            "joblib wrote this file before 0.10 and reads it itself: it knows no max_bytes"
        )
    try:
        import joblib
    except ImportError as error:
        raise ImportError(_NEEDS_JOBLIB.format(repr(name) if name else "the file")) from error
    return joblib.load(file, mmap_mode=mmap_mode, ensure_native_byte_order=native_order)


# ---------------------------------------------------------------- decoding


def _load_decoded(
    file: Any,
    name: str,
    path: str | bytes | None,
    load_stream: Callable[[Any], Any],
    n_threads: int,
    max_bytes: int,
) -> Any:
    codec = registry.COMPRESSORS[name]
    if not isinstance(codec, registry.Codec):
        return load_stream(registered(codec, file))
    with codec.open_stream(file, path, n_threads, max_bytes) as stream:
        try:
            value = load_stream(stream)
        except EOFError as error:
            if stream.raw.n_made > 0:
                raise
            raise decoding.not_whole(path, 0, f"{codec.name} stream") from error
        except Exception as error:
            if path is not None and not isinstance(error, CorruptFileError):
                _blame_the_stream(stream, error)
            raise
        if path is None:
            stream.raw.finish()
        else:
            from fastpersist import _verify

            _verify.rest(stream, file, path, n_threads, max_bytes)
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
    except CorruptFileError as damage:
        raise damage from error
    except Exception:
        return  # the first failure is the one to be told


def registered(codec: registry.CompressorWrapper, file: Any) -> Any:
    """The file object of a compressor that a user registered, buffered as joblib does it."""
    decoded = codec.decompressor_file(file)
    if hasattr(decoded, "readinto") and hasattr(decoded, "readable"):
        return io.BufferedReader(decoded, decoding.CHUNK_BYTES)
    return decoded
