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
from typing import Any

NO_ZSTD = (
    "zstd needs Python 3.14 or the package zstandard: pip install 'fastpersist[zstd]' brings it"
)


class CompressorWrapper:
    """A codec that users register: a factory of file objects, and how its files are recognized.

    Parameters
    ----------
    obj
        Called as ``obj(file, "wb")``, with ``compresslevel=`` where one is asked for, and as
        ``obj(file, "rb")``; gives a file object. Its ``write`` gets the dump piece by piece, its
        ``close`` ends the stream. `file` is a path (str) for a dump to a path, else a file object.
    prefix : bytes
        What its files begin with. Without it `load` cannot find the codec.
    extension : str
        Of file names that choose the codec by themselves.
    """

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


class Outlet:
    """What compressed bytes are written to: all of them, until it is shut."""

    def __init__(self, file: Any, path: str | None) -> None:
        self._write = file.write
        self._path = path
        self._is_shut = False

    def write(self, data: Any) -> int:
        n_bytes = len(data)
        n_done = 0
        while n_done < n_bytes and not self._is_shut:
            rest = data if n_done == 0 else memoryview(data)[n_done:]
            try:
                n_written = self._write(rest)
            except OSError as error:
                if self._path is not None and error.filename is None:
                    error.filename = self._path
                raise
            if not isinstance(n_written, int):  # not every write() says how much it took
                break
            if not 0 < n_written <= n_bytes - n_done:
                raise OSError(f"write() of {n_bytes - n_done} bytes returned {n_written}")
            n_done += n_written
        return n_bytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def shut(self) -> None:
        """What is written from now on is dropped."""
        self._is_shut = True


class _ThroughOutlet:
    """A stream of one of the standard library's compressed file objects."""

    def __init__(self, outlet: Outlet, file: Any) -> None:
        self._outlet = outlet
        self._file = file
        self.write = file.write
        self.close = file.close

    def abandon(self) -> None:
        self._outlet.shut()
        self._file.close()


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
    """A codec that comes with fastpersist."""

    def __init__(self, name: str, prefix: bytes, extension: str) -> None:
        super().__init__(None, prefix, extension)
        self.name = name

    def writer(self, level: Any, n_threads: int) -> Callable[[Any, str | None], Any]:
        """Checks level and packages; what comes back makes the stream over a file object.

        Its arguments are the file, or for lz4 also a descriptor, and the path that errors name. A
        stream has ``write``, ``close`` that ends it, and ``abandon``.
        """
        raise NotImplementedError

    def compressor_file(self, fileobj: Any, compresslevel: int | None = None) -> Any:
        make = self.writer(compresslevel, 1)
        if isinstance(fileobj, str):
            file = open(fileobj, "wb", buffering=0)
            return _AtPath(make(file, fileobj), file)
        return make(fileobj, None)

    def decompressor_file(self, fileobj: Any) -> Any:
        from fastpersist import _decode

        return _decode.open_stream(fileobj, self.name, None, 1)


class _Deflate(Codec):
    def writer(self, level: Any, n_threads: int) -> Callable[[Any, str | None], Any]:
        from fastpersist import _deflate

        checked = _deflate.checked_level(level)
        kind = _deflate.WRITERS[self.name]
        return lambda file, path: kind(Outlet(file, path), checked, n_threads)


class _Bz2(Codec):
    def writer(self, level: Any, n_threads: int) -> Callable[[Any, str | None], Any]:
        try:
            import bz2
        except ImportError:
            raise ValueError(
                "bz2 module is not compiled on your python standard library."
            ) from None
        checked = 9 if level is None else level
        bz2.BZ2Compressor(checked)  # refuses a level that is none

        def make(file: Any, path: str | None) -> _ThroughOutlet:
            outlet = Outlet(file, path)
            return _ThroughOutlet(outlet, bz2.BZ2File(outlet, "wb", compresslevel=checked))

        return make


class _Lzma(Codec):
    def writer(self, level: Any, n_threads: int) -> Callable[[Any, str | None], Any]:
        try:
            import lzma
        except ImportError:
            raise ValueError(
                "lzma module is not compiled on your python standard library."
            ) from None
        kind = lzma.FORMAT_XZ if self.name == "xz" else lzma.FORMAT_ALONE
        lzma.LZMACompressor(format=kind, preset=level)

        def make(file: Any, path: str | None) -> _ThroughOutlet:
            outlet: Any = Outlet(file, path)
            return _ThroughOutlet(outlet, lzma.LZMAFile(outlet, "wb", format=kind, preset=level))

        return make


class _Lz4(Codec):
    def writer(self, level: Any, n_threads: int) -> Callable[[Any, str | None], Any]:
        from fastpersist._core import Lz4Writer

        checked = 0 if level is None else int(level)
        return lambda file, path: Lz4Writer(file, checked, n_threads, path)


class _Zstd(Codec):
    def writer(self, level: Any, n_threads: int) -> Callable[[Any, str | None], Any]:
        from fastpersist import _zstd

        checked = _zstd.DEFAULT_LEVEL if level is None else int(level)
        return lambda file, path: _zstd.ZstdWriter(Outlet(file, path), checked, n_threads)


# In joblib's order; zstd is ours.
COMPRESSORS: dict[str, CompressorWrapper] = {
    codec.name: codec
    for codec in (
        _Deflate("zlib", b"\x78", ".z"),
        _Deflate("gzip", b"\x1f\x8b", ".gz"),
        _Bz2("bz2", b"BZh", ".bz2"),
        _Lzma("lzma", b"\x5d\x00", ".lzma"),
        _Lzma("xz", b"\xfd7zXZ", ".xz"),
        _Lz4("lz4", b"\x04\x22\x4d\x18", ".lz4"),
        _Zstd("zstd", b"\x28\xb5\x2f\xfd", ".zst"),
    )
}


def register_compressor(
    compressor_name: str, compressor: CompressorWrapper, force: bool = False
) -> None:
    """Add a codec for `dump` and `load`, under a name for ``compress=``.

    Parameters
    ----------
    compressor_name : str
    compressor : CompressorWrapper
    force : bool
        Replace a codec of that name, those that come with fastpersist included.

    Raises
    ------
    ValueError
        The name is no string or taken, or `compressor` is not what it should be.
    """
    if not isinstance(compressor_name, str):
        raise ValueError(f"Compressor name should be a string, '{compressor_name}' given.")
    if not isinstance(compressor, CompressorWrapper):
        raise ValueError(
            f"Compressor should implement the CompressorWrapper interface, '{compressor}' given."
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
            f'Non valid compression method given: "{method}". Possible values are {COMPRESSORS}.'
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


def detect(head: bytes) -> str | None:
    """The codec of a file with these first bytes."""
    found, n_bytes = None, 1
    for name, codec in COMPRESSORS.items():
        if len(codec.prefix) >= n_bytes and head.startswith(codec.prefix):
            found, n_bytes = name, len(codec.prefix)
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


def prepare(
    codec: CompressorWrapper, level: Any, n_threads: int
) -> Callable[[Any, str | None], Any]:
    """Checks everything that can be checked; what comes back makes the stream over a target.

    The target is a file object, or, with the path that errors name, an AtomicFile. The stream has
    ``write``, ``close`` that ends it, and ``abandon``; neither closes the target.
    """
    if not isinstance(codec, Codec):
        return lambda target, path: _Registered(
            codec.compressor_file(target if path is None else target.name, compresslevel=level)
        )
    make = codec.writer(level, n_threads)

    def open_target(target: Any, path: str | None) -> Any:
        if path is None:
            return make(target, None)
        if isinstance(codec, _Lz4):
            return make(target.fileno(), path)
        return make(io.FileIO(target.fileno(), "wb", closefd=False), path)

    return open_target
