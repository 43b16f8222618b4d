"""URLs in place of paths: files in object stores, by fsspec.

What is read comes into an anonymous file in memory, an `Image`, in which the ordinary readers then
look as in any file: all of it for a load or a check; the bytes that they need, each where it stands
in the file, for `inspect` and `read_array`. What is written goes to the store's own file object.

All bytes of one call are of one version of the file: what the store says of it (ETag, generation,
time) is asked for before the first byte and behind the last, and a difference is an OSError, also
where it would look like damage.

fsspec is imported for URLs only, and importing this module costs next to nothing.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from fastpersist.codecs import registry

if TYPE_CHECKING:
    from fastpersist._progress import Progress, Report

# One letter is a drive of Windows. "filecache::s3://" is fsspec's way of saying "by its cache".
_URL = re.compile(r"(?:[A-Za-z][\w+.-]*::)*[A-Za-z][A-Za-z0-9+.-]+://")
_LOCAL = ("file://", "local://")

_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 8
_REPORT_SECONDS = 0.1

# What stores say of a file that differs from one version of it to the next.
_VERSION_KEYS = (
    "ETag etag VersionId version_id generation md5Hash content_md5 checksum blob_id xet_hash "
    "LastModified last_modified last_commit updated modified mtime created"
).split()


def is_url(place: Any) -> bool:
    """Whether it goes to a store; "file://" and all that has no scheme does not."""
    return (
        isinstance(place, str)
        and _URL.match(place) is not None
        and not place.lower().startswith(_LOCAL)
    )


def are_meant(*places: Any) -> bool:
    """Whether one of them has a scheme, "file" included."""
    return any(isinstance(place, str) and _URL.match(place) is not None for place in places)


def local_path(place: Any) -> Any:
    """The path that "file://" is in front of; what else is given as it is."""
    if isinstance(place, str) and place.lower().startswith(_LOCAL):
        return os.path.abspath(place.partition("://")[2])
    return place


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(
            "URLs need the package fsspec: pip install 'fastpersist[remote]', "
            "and the package of the store (s3fs, gcsfs, adlfs, huggingface_hub)",
            name="fsspec",
        ) from error
    return fsspec


# ---------------------------------------------------------------- writing


def dump(
    run: Callable[..., Any], filename: Any, sidecar: Any, compress: Any, durable: bool
) -> list[str] | None:
    """A dump, by ``run(filename, sidecar, compress)``, of which one place at least has a scheme."""
    places = [local_path(place) for place in (filename, sidecar)]
    if durable and any(map(is_url, places)):
        raise ValueError("durable=True needs a path: when a URL is durable, its store decides")
    if is_url(places[0]):  # the codec that its name asks for
        codec = registry.chosen(compress, filename)
        compress = 0 if codec is None else (_name_of(codec[0]), codec[1])
    with contextlib.ExitStack() as opened:
        # What was opened last is published first: the sidecar, as for paths.
        targets = [opened.enter_context(_target(place)) for place in places]
        run(*targets, compress)
    named = [place for place in (filename, sidecar) if isinstance(place, str)]
    return named if isinstance(filename, str) else None


def _name_of(codec: Any) -> str:
    return next(name for name, known in registry.COMPRESSORS.items() if known is codec)


@contextlib.contextmanager
def _target(place: Any) -> Iterator[Any]:
    """What a dump writes to: of a URL a file object, published when all is well."""
    if not is_url(place):
        yield place
        return
    fs, path = _fsspec().core.url_to_fs(place)
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    # What is opened in fsspec's memory is there at once.
    file = io.BytesIO() if protocol == "memory" else fs.open(path, "wb")
    try:
        yield file
        if protocol == "memory":
            fs.pipe_file(path, file.getvalue())
        file.close()
    except BaseException:
        _discard(file)
        raise


def _discard(file: Any) -> None:
    """Never close(), which publishes; nor leave that to the collector."""
    with contextlib.suppress(Exception):  # the first failure is the one to be told
        file.discard()
    with contextlib.suppress(Exception):
        file.closed = True


# ---------------------------------------------------------------- reading


class Remote:
    """A file in a store, as it is now."""

    def __init__(self, url: str, version: tuple[Any, ...] | None = None) -> None:
        """`version`: which one it has to be."""
        self.url = url
        self.fs, self.path = _fsspec().core.url_to_fs(url)
        self.version = version
        found = self._ask()
        self.size: int | None = found[0]
        if version is None:
            self.version = found
        elif found != version:
            raise self._changed()

    def _ask(self) -> tuple[Any, ...]:
        self.fs.invalidate_cache(self.path)
        info = self.fs.info(self.path)
        if info.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.url)
        known = ((key, info.get(key)) for key in _VERSION_KEYS)
        return (info.get("size"), *(f"{key}={value}" for key, value in known if value))

    def _changed(self) -> OSError:
        return OSError(errno.ESTALE, "the file was replaced or changed while it was read", self.url)

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Around all that is read of it: whatever comes of a change is that change's doing."""
        try:
            yield
        except Exception as error:
            if self._is_another():
                raise self._changed() from error
            raise
        if self._ask() != self.version:
            raise self._changed()

    def _is_another(self) -> bool:
        try:
            return self._ask() != self.version
        except FileNotFoundError:
            return True
        except Exception:
            return False  # what failed first is the one to be told

    def ranges(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        """Bytes from start to end, side by side where the store can."""
        starts, ends = [each[0] for each in ranges], [each[1] for each in ranges]
        paths = [self.path] * len(ranges)
        found = self.fs.cat_ranges(paths, starts, ends, on_error="return")
        for data in found:
            if isinstance(data, BaseException):
                raise data
        return [self._cut(*each) for each in zip(found, starts, ends, strict=True)]

    def _cut(self, data: bytes, start: int, end: int) -> bytes:
        if len(data) == self.size and len(data) != end - start:
            data = data[start:end]  # of a server that knows no ranges
        if len(data) != end - start:
            raise OSError(
                errno.EIO, f"{len(data)} bytes came where {end - start} were asked for", self.url
            )
        return data

    def all_of(self) -> bytes:
        return self.fs.cat_file(self.path)  # type: ignore[no-any-return]


class Local(str):
    """The path of an image, or of a copy; messages say the URL."""

    def __new__(cls, path: str, url: str) -> Local:
        made = super().__new__(cls, path)
        made.url = url
        return made

    url: str

    def __repr__(self) -> str:
        return repr(self.url)


class Image:
    """An anonymous file in memory, of the size of a remote one, with the bytes fetched so far.

    Where the system has none, a temporary file.
    """

    def __init__(self, remote: Remote, report: Report | None = None) -> None:
        self.remote, self._report = remote, report
        self._next_report = 0.0
        self._n_fetched = 0
        self._fetched: list[tuple[int, int]] = []
        self._temporary: str | None = None
        if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
            self.fd = os.memfd_create("fastpersist", os.MFD_CLOEXEC)
            path = f"/proc/self/fd/{self.fd}"
        else:
            import tempfile  # late, for what it imports in turn

            self.fd, path = tempfile.mkstemp()
            self._temporary = path
        self.path = Local(path, remote.url)

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        if self._temporary is not None:
            os.unlink(self._temporary)

    # ------------------------------------------------------------ fetching

    def fetch_all(self) -> None:
        fetch_into(self.fd, self.remote, self._missing(0, self.remote.size or 0), self._tell)
        self._fetched = [(0, self.remote.size or 0)]
        if self._report is not None:
            self._report(self._n_fetched, None)

    def fetch(self, *ranges: tuple[int, int]) -> None:
        """Those bytes of them that are not there yet."""
        fetch_into(self.fd, self.remote, [part for each in ranges for part in self._missing(*each)])
        self._fetched = _merged([*self._fetched, *ranges])

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        missing = []
        for first, last in self._fetched:
            if first > start and start < end:
                missing.append((start, min(first, end)))
            start = max(start, last)
        if start < end:
            missing.append((start, end))
        return missing

    def _tell(self, n_bytes: int) -> None:
        self._n_fetched += n_bytes
        now = time.monotonic()
        if self._report is not None and now >= self._next_report:
            self._next_report = now + _REPORT_SECONDS
            self._report(self._n_fetched, None)

    # ------------------------------------------------------------ parts of a dump

    def fetch_structure(self) -> bool:
        """All but blobs, where the file is dumps of ours as far as their ends tell; else all of it.

        Whether blobs are missing. What the ends say is believed for where to fetch only.
        """
        size = self.remote.size
        if size is None or size <= _WHOLE_BYTES:
            self.fetch_all()
            return False
        os.ftruncate(self.fd, size)
        self.fetch((0, _HEAD_BYTES), (size - _END_BYTES, size))
        if os.pread(self.fd, len(_HEADER), 0) == _HEADER:
            try:
                self._fetch_dumps(size)
                return True
            except _NoDump:
                pass
        self.fetch_all()
        return False

    def _fetch_dumps(self, end: int) -> None:
        for _ in range(_MAX_DUMPS):
            if end == 0:
                return
            end = self._fetch_dump(end)
        raise _NoDump

    def _fetch_dump(self, end: int) -> int:
        """Of the dump that ends there: where it begins."""
        if end < _LEAST_BYTES:
            raise _NoDump
        self.fetch((end - _TAIL.size, end))
        n_payload, magic = _TAIL.unpack(os.pread(self.fd, _TAIL.size, end - _TAIL.size))
        n_opcode = 5 if n_payload < 1 << 32 else 9
        footer = end - 2 - n_payload - n_opcode
        if magic != _TAIL_MAGIC or footer < len(_HEADER):
            raise _NoDump
        self.fetch((footer, end))
        head = _HEAD.unpack(os.pread(self.fd, _HEAD.size, footer + n_opcode))
        magic, n_total, _, n_sidecar, graph = head
        start: int = end - n_total
        if magic != _HEAD_MAGIC or start < 0 or graph != len(_HEADER) + _FLAGS_BYTES + n_sidecar:
            raise _NoDump
        if not start + graph <= footer:
            raise _NoDump
        self.fetch((start, start + len(_HEADER) + _FLAGS_BYTES), (start + graph, end))
        return start


# csrc/FORMAT.md. The two bytes of flags follow the header's beginning.
_HEADER = b"\x80\x05C\x10fastpersist\0\x01\0"
_FLAGS_BYTES = 3
_TAIL = struct.Struct("<Q16s2x")
_TAIL_MAGIC = b"fastpersist end\0"
_HEAD = struct.Struct("<16s8xQQQQ")
_HEAD_MAGIC = b"fastpersist ftr\0"
_LEAST_BYTES = 21 + 5 + 136 + 2

_WHOLE_BYTES = 256 << 10  # what is smaller is fetched whole
_HEAD_BYTES, _END_BYTES = 64, 64 << 10
_MAX_DUMPS = 16


class _NoDump(Exception):
    pass


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return merged


def fetch_into(
    fd: int,
    remote: Remote,
    ranges: Iterable[tuple[int, int]],
    tell: Callable[[int], None] | None = None,
) -> None:
    """Bytes of a remote file into one on this machine, each where it stands."""
    if remote.size is None:
        _write_at(fd, remote.all_of(), 0)
        return
    parts = [
        (first, min(first + _PART_BYTES, end))
        for start, end in ranges
        for first in range(start, end, _PART_BYTES)
    ]
    for i in range(0, len(parts), _PARTS_AT_ONCE):
        some = parts[i : i + _PARTS_AT_ONCE]
        for (start, end), data in zip(some, remote.ranges(some), strict=True):
            _write_at(fd, data, start)
            if tell is not None:
                tell(end - start)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        n_bytes = os.pwrite(fd, view, offset)
        view, offset = view[n_bytes:], offset + n_bytes


# ---------------------------------------------------------------- whole files


def load(
    run: Callable[..., Any],
    filename: Any,
    sidecar: Any,
    mmap_mode: str | None,
    max_bytes: int | None,
    progress: Progress,
) -> Any:
    """A load, by ``run(filename, sidecar=, progress=)``, of which one place at least has a scheme;
    `mmap_mode`, as checked by `load`, and the limit are also in `run`."""
    places = [local_path(place) for place in (filename, sidecar)]
    if mmap_mode == "r+" and any(map(is_url, places)):
        raise ValueError('mmap_mode "r+" writes to the file, and a URL is read: use "r" or "c"')
    if progress is None or progress is False:
        return _load(run, places, mmap_mode, max_bytes, None)
    from fastpersist._progress import reporting

    with reporting(progress, "load") as report:
        return _load(run, places, mmap_mode, max_bytes, report)


def _load(
    run: Callable[..., Any],
    places: list[Any],
    mmap_mode: str | None,
    max_bytes: int | None,
    report: Report | None,
) -> Any:
    counted = None if report is None else _Behind(report)
    with contextlib.ExitStack() as opened:
        local = [
            opened.enter_context(here(place, mmap_mode is not None, max_bytes, counted))
            for place in places
        ]
        if counted is not None:
            counted.begin()
        return run(local[0], sidecar=local[1], progress=counted)


class _Behind:
    """Several counts from 0, one behind the other, as one; `begin` before the last, which alone
    knows its end."""

    def __init__(self, report: Report) -> None:
        self._report, self._before, self._done, self._is_last = report, 0, 0, False

    def next(self) -> None:
        self._before, self._done = self._before + self._done, 0

    def begin(self) -> None:
        self.next()
        self._is_last = True

    def __call__(self, done: int, total: int | None) -> None:
        self._done = done
        is_known = self._is_last and total is not None
        self._report(self._before + done, self._before + (total or 0) if is_known else None)


@contextlib.contextmanager
def here(
    place: Any, is_mapped: bool = False, max_bytes: int | None = None, report: Any = None
) -> Iterator[Any]:
    """The path of a whole copy of a remote file, as long as this is open; a copy that is to be
    mapped stays in fsspec's cache. All else is given as it is."""
    if not is_url(place):
        yield place
        return
    path = cached(place) if is_mapped else _in_users_cache(place)
    if path is not None:
        with named(path):
            yield path
        return
    remote = Remote(place)
    if max_bytes is not None and (remote.size or 0) > max_bytes:
        raise UnpicklingError(
            f"{place!r} has {remote.size:,} bytes, more than max_bytes={max_bytes:,}"
        )
    with Image(remote, report) as image:
        with remote.unchanged():
            image.fetch_all()
        if report is not None:
            report.next()
        with named(image.path):
            yield image.path


@contextlib.contextmanager
def named(path: Local) -> Iterator[None]:
    """Where an exception says which file, it is the URL."""
    try:
        yield
    except Exception as error:
        for name in ("path", "filename"):
            if getattr(error, name, None) == path:
                setattr(error, name, path.url)
        raise


# ---------------------------------------------------------------- fsspec's cache


def _in_users_cache(url: str) -> Local | None:
    """Of "filecache::s3://...": the file in that cache."""
    fsspec = _fsspec()
    fs, _ = fsspec.core.url_to_fs(url)
    return Local(fsspec.open_local(url), url) if getattr(fs, "local_file", False) else None


def cached(url: str, version: tuple[Any, ...] | None = None) -> Local:
    """A file of fsspec's "filecache", which holds what the store has now.

    A file in the cache is never written again, but replaced: it may be mapped. Where the cache is,
    fsspec's configuration says ("filecache": "cache_storage"); by default a directory that lives
    as long as the process.
    """
    own = _in_users_cache(url)
    if own is not None:
        return own
    remote = Remote(url, version)
    cache = _fsspec().filesystem("filecache", fs=remote.fs)
    uid = repr(remote.version)
    found = cache._check_file(remote.path)
    if not found or found[0].get("fastpersist") != uid:
        import tempfile

        cache._mkcache()
        name = cache._mapper(remote.path)
        path = os.path.join(cache.storage[-1], name)
        fd, temporary = tempfile.mkstemp(dir=cache.storage[-1])
        try:
            with remote.unchanged():
                fetch_into(fd, remote, [(0, remote.size or 0)])
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        entry = {"original": remote.path, "fn": name, "blocks": True, "time": time.time()}
        entry |= {"uid": remote.fs.ukey(remote.path), "fastpersist": uid}
        cache._metadata.update_file(remote.path, entry)
        cache.save_cache()
        return Local(path, url)
    return Local(found[1], url)
