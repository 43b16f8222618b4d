"""Codecs: which one `compress=` and a file's name ask for, which one a file's first bytes show.

The rules, names, extensions and messages are joblib's. Two of its corners are cut: a compressor
without extension is never chosen by a file's name (there every name ends with the empty string),
and one without prefix never by a file's first bytes. Of several that match, the longest prefix
wins on load, and among equals, as with extensions, the one registered last.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

NO_LIMIT = (1 << 64) - 1  # of max_bytes
BUFFER_BYTES = 128 << 10  # of decoded bytes; more is read past the buffer, to where it belongs

# Makes a stream over a file object and the path that errors name; with a path the file is an
# io.FileIO. A stream has write(), close() that ends it, and abandon(); the file stays open.
OpenStream = Callable[[Any, str | None], Any]

if TYPE_CHECKING:
    from typing import Protocol

    class Writing(Protocol):
        """A module that writes a codec, or several."""

        def writer(self, name: str, level: Any, n_threads: int) -> OpenStream:
            """Checks level and packages."""

    class Reading(Protocol):
        """A module that reads a codec, or several."""

        def reader(
            self,
            codec: Codec,
            file: Any,
            path: str | bytes | None,
            n_threads: int,
            max_bytes: int,
        ) -> io.RawIOBase:
            """What Codec.open_stream puts a buffer over."""

    class Both(Writing, Reading, Protocol):
        """A module that does both."""


class CompressorWrapper:
    """A codec that users register: a factory of file objects, and how its
    files are recognized.

    Parameters
    ----------
    obj
        Called as ``obj(file, "wb")``, with ``compresslevel=`` where one is
        asked for, and as ``obj(file, "rb")``; gives a file object. Its
        ``write`` gets the dump piece by piece, its ``close`` ends the
        stream. `file` is a path (str) for a dump to a path, else a file
        object.
    prefix : bytes
        What its files begin with. Without it `load` cannot find the codec.
    extension : str
        Of file names that choose the codec by themselves.
    """

    __module__ = "fastpersist"

    def __init__(self, obj: Any, prefix: bytes = b"", extension: str = "") -> None:
        self.fileobj_factory = obj
        self.prefix = prefix
        self.extension = extension

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        """A file object that compresses what is written to it."""
        if compresslevel is None:
            return self.fileobj_factory(fileobj, "wb")
        return self.fileobj_factory(fileobj, "wb", compresslevel=compresslevel)

    def decompressor_file(self, fileobj: Any) -> Any:
        """A file object that gives decompressed bytes."""
        return self.fileobj_factory(fileobj, "rb")


class _AtPath:
    """A stream and the file that was opened for it."""

    def __init__(self, stream: Any, file: Any) -> None:
        self._stream = stream
        self._file = file
        self.write = stream.write

    def close(self) -> None:
        with self._file:
            self._stream.close()


class Codec(CompressorWrapper):
    """A codec that comes with fastpersist; `writing` and `reading` import what it consists of.

    What it reads may also begin with `old_prefix`.
    """

    def __init__(
        self,
        name: str,
        prefix: bytes,
        extension: str,
        writing: Callable[[], Writing],
        reading: Callable[[], Reading],
        old_prefix: bytes = b"",
    ) -> None:
        super().__init__(None, prefix, extension)
        self.prefixes = (prefix, old_prefix) if old_prefix else (prefix,)
        self.name = name
        self._writing = writing
        self._reading = reading

    def writer(self, level: Any, n_threads: int) -> OpenStream:
        """Checks level and packages; what comes back makes the stream."""
        return self._writing().writer(self.name, level, n_threads)

    def open_stream(
        self, file: Any, path: str | bytes | None, n_threads: int, max_bytes: int = NO_LIMIT
    ) -> Any:
        """A buffered file object over the decoded bytes of a file.

        Its ``raw`` has ``finish()``: decodes what is left of the member, so that its checksum is
        compared, and goes back over what was read behind it, where the file can. Its ``n_made`` is
        how many bytes came out so far: more than `max_bytes` (and a buffer) is an UnpicklingError.
        ``is_broken``: a read failed, and bytes may be lost. ``close()`` ends the threads; `file`
        stays open.
        """
        raw = self._reading().reader(self, file, path, n_threads, max_bytes)
        return io.BufferedReader(raw, BUFFER_BYTES)

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        make = self.writer(compresslevel, 1)
        if isinstance(fileobj, str):
            file = open(fileobj, "wb", buffering=0)
            return _AtPath(make(file, fileobj), file)
        return make(fileobj, None)

    def decompressor_file(self, fileobj: Any) -> Any:
        return self.open_stream(fileobj, None, 1)


# By name; fastpersist.codecs adds those that come with fastpersist.
COMPRESSORS: dict[str, CompressorWrapper] = {}


# What a CompressorWrapper has; joblib's own has it, too.
_INTERFACE = ("fileobj_factory", "prefix", "extension", "compressor_file", "decompressor_file")


def register_compressor(
    compressor_name: str, compressor: CompressorWrapper, force: bool = False
) -> None:
    """Add a codec for `dump` and `load`, under a name for ``compress=``.

    Parameters
    ----------
    compressor_name : str
    compressor : CompressorWrapper
        Or anything that has its attributes and methods, such as joblib's
        own.
    force : bool
        Replace a codec of that name, those that come with fastpersist
        included.

    Raises
    ------
    ValueError
        The name is no string or taken, or `compressor` is not what it
        should be.

    Examples
    --------
    >>> import fastpersist, gzip
    >>> codec = fastpersist.CompressorWrapper(gzip.GzipFile, b"\\x1f\\x8b")
    >>> fastpersist.register_compressor("slow gzip", codec)
    >>> fastpersist.dump([1], "model", compress="slow gzip")
    ['model']
    """
    if not isinstance(compressor_name, str):
        raise ValueError(f"Compressor name should be a string, '{compressor_name}' given.")
    if isinstance(compressor, type) or not all(hasattr(compressor, name) for name in _INTERFACE):
        raise ValueError(
            f"Compressor should implement the CompressorWrapper interface, '{compressor}' given."
        )
    # Else every load would fail, of any file.
    for attribute, wanted in (("prefix", bytes), ("extension", str)):
        if not isinstance(getattr(compressor, attribute), wanted):
            raise ValueError(
                f"Compressor '{attribute}' attribute should be {wanted.__name__}, "
                f"'{getattr(compressor, attribute)}' given."
            )
    factory = compressor.fileobj_factory
    if factory is not None and not all(
        hasattr(factory, name) for name in ("read", "write", "seek", "tell")
    ):
        raise ValueError(
            "Compressor 'fileobj_factory' attribute should "
            f"implement the file object interface, '{factory}' given."
        )
    if compressor_name in COMPRESSORS and not force:
        raise ValueError(f"Compressor '{compressor_name}' already registered.")
    COMPRESSORS[compressor_name] = compressor


register_compressor.__module__ = "fastpersist"


# ---------------------------------------------------------------- choosing


def checked(compress: Any) -> tuple[str, Any]:
    """Method and level of ``compress=``, or joblib's ValueError."""
    method, level = "zlib", compress
    if compress is True:
        level = None
    elif isinstance(compress, tuple):
        if len(compress) != 2:
            raise ValueError(
                "Compress argument tuple should contain exactly 2 elements: "
                f"(compress method, compress level), you passed {compress}"
            )
        method, level = compress
    elif isinstance(compress, str):
        method, level = compress, None
    if level is not None and level is not False and level not in range(10):
        raise ValueError(
            f'Non valid compress level given: "{level}". Possible values are {list(range(10))}.'
        )
    if method not in COMPRESSORS:
        raise ValueError(
            f'Non valid compression method given: "{method}". '
            f"Possible values are {list(COMPRESSORS)}."
        )
    return method, level


def chosen(compress: Any, path: str | None) -> tuple[CompressorWrapper, Any] | None:
    """The codec of a dump and its level; None for none. `compress` was checked."""
    method, level = checked(compress)
    if path is not None and not isinstance(compress, (tuple, str)):
        by_name = None
        for name, codec in COMPRESSORS.items():
            if codec.extension and path.endswith(codec.extension):
                by_name = name
        if by_name is not None:
            method = by_name
            if level == 0:
                level = None
    # False is 0 here as well.
    return None if level == 0 else (COMPRESSORS[method], level)


def prefixes_of(codec: CompressorWrapper) -> tuple[bytes, ...]:
    return codec.prefixes if isinstance(codec, Codec) else (codec.prefix,)


def detect(head: bytes) -> str | None:
    """The codec of a file with these first bytes."""
    found, n_bytes = None, 1
    for name, codec in COMPRESSORS.items():
        for prefix in prefixes_of(codec):
            if len(prefix) >= n_bytes and head.startswith(prefix):
                found, n_bytes = name, len(prefix)
    return found


# ---------------------------------------------------------------- writing


class _Registered:
    """A stream of a compressor that a user registered."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.write = file.write
        self.close = file.close

    def abandon(self) -> None:
        # It may have to release what it opened; that it cannot write its end is no news.
        with contextlib.suppress(Exception):
            self._file.close()


def prepare(codec: CompressorWrapper, level: Any, n_threads: int) -> OpenStream:
    """Checks everything that can be checked; what comes back makes the stream over a target.

    The target is a file object, or, with the path that errors name, an AtomicFile.
    """
    if not isinstance(codec, Codec):
        return lambda target, path: _Registered(
            codec.compressor_file(target if path is None else target.name, compresslevel=level)
        )
    make = codec.writer(level, n_threads)

    def open_target(target: Any, path: str | None) -> Any:
        if path is None:
            return make(target, None)
        return make(io.FileIO(target.fileno(), "wb", closefd=False), path)

    return open_target
