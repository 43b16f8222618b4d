"""One array out of a file, by its path, with nothing of the file run: `read_array`.

A survey says where the array's bytes are and what its dtype was made of. The bytes are read again
and checked, against the hashes of the dump, or against the hash that the survey took of them. The
dtype is made anew, by NumPy's own constructor, which checks what it is given: nothing that a file
says about a dtype becomes its state.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastpersist._core import Survey, hash_bytes, read_checked, survey_descriptor, survey_file
from fastpersist.codecs import registry
from fastpersist.codecs.decoding import CHUNK_BYTES, position
from fastpersist.files import kinds, streams, urls, warn

_T = TypeVar("_T")

_ARRAY = np.dtype(
    [("offset", "u8"), ("n_bytes", "u8"), ("node", "u4"), ("dtype", "u4"), ("shape", "u4")]
    + [("payload", "u4"), ("maker", "u4"), ("ndim", "u1"), ("order", "S1"), ("stored", "u1")]
    + [("flags", "u1")]
)
_PAYLOAD = np.dtype(
    [("place", "u8"), ("offset", "u8"), ("n_bytes", "u8"), ("hash", "u8"), ("n_cut", "u8")]
)
_NONE = 0xFFFFFFFF
_BEYOND = 1
_BLOCK_BYTES = 1 << 20  # of hashes
_STORED = ("nowhere", "unknown", "inline", "payload", "blob", "buffer", "text", "elements")


def read_array(
    filename: Any, path: str, mmap_mode: str | None, n_threads: int, number: int = 0
) -> Any:
    """Of the dump of that number, where `filename` is a path; of the next one of a file object."""
    if not isinstance(path, str):
        raise TypeError(f"path should be a str, not {type(path).__name__}")
    if mmap_mode not in (None, "r", "c"):
        raise ValueError(f'mmap_mode must be None, "r" or "c", not {mmap_mode!r}')
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    if urls.are_meant(filename):
        filename = urls.local_path(filename)
        if urls.is_url(filename):
            return of_url(filename, path, mmap_mode, n_threads, number)
    with contextlib.ExitStack() as opened:
        if isinstance(filename, (str, bytes)):
            file: Any = opened.enter_context(open(filename, "rb"))
            return _of_path(filename, file, path, mmap_mode, n_threads, number)
        if not hasattr(filename, "read"):
            raise ValueError("filename should be a path, or an object with a read() method")
        return _of_file(filename, path, n_threads)


def _of_path(
    name: str | bytes, file: Any, path: str, mmap_mode: str | None, n: int, number: int
) -> Any:
    fd = file.fileno()
    is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
    head, stream = kinds.first_bytes(file, name)
    if is_regular and not kinds.is_encoded(head) and file.tell() == 0:
        found = survey_descriptor(fd, name, n, kinds.begins_at)
        if number >= len(found):
            raise _no_such_dump(name)
        survey = found[number]
        return _Array(survey, path, _File(fd, name, n, survey)).read(mmap_mode)
    if mmap_mode is not None:
        raise ValueError(f"{name!r} is compressed, or no regular file: it cannot be mapped")

    def again(use: Callable[[Any], None]) -> None:
        with open(name, "rb") as second:
            _decoded(*kinds.first_bytes(second, name), name, n, use)

    def survey_of(stream: Any) -> tuple[Survey, int]:
        n_front = 0
        for _ in range(number):
            in_front = survey_file(stream, name)
            if in_front is None or in_front.damage is not None:
                raise _no_such_dump(name)
            n_front += in_front.length
        return _next_survey(stream, name), n_front

    survey, n_front = _decoded(head, stream, name, n, survey_of)
    return _Array(survey, path, _Stream(again if is_regular else None, n_front)).read(None)


def of_url(
    url: str,
    path: str,
    mmap_mode: str | None,
    n_threads: int,
    number: int,
    version: tuple[Any, ...] | None = None,
) -> Any:
    """`read_array` of a URL, and of that version of it: what says where the array is, and then
    the blocks that hold it, are all that is fetched. For a map it is the whole file."""
    if mmap_mode is not None:
        name = urls.cached(url, version)
        with open(name, "rb") as file:
            return _of_path(name, file, path, mmap_mode, n_threads, number)
    remote = urls.Remote(url, version)
    with urls.Image(remote) as image, remote.unchanged(), urls.named(image.path):
        if not image.fetch_structure():
            with open(image.path, "rb") as file:
                return _of_path(image.path, file, path, None, n_threads, number)
        found = survey_descriptor(image.fd, url, n_threads, kinds.begins_at)
        if number >= len(found):
            raise _no_such_dump(url)
        return _Array(found[number], path, _Fetched(image, n_threads, found[number])).read(None)


def _no_such_dump(name: str | bytes) -> ValueError:
    return ValueError(f"{name!r} has fewer dumps than it had")


def _of_file(file: Any, path: str, n_threads: int) -> Any:
    def first(use: Callable[[Any], _T]) -> _T:
        def of_stream(head: bytes, stream: Any, _: Any) -> _T:
            return _decoded(head, stream, None, n_threads, use)

        return kinds.behind_empty_streams(file, of_stream)

    def again(use: Callable[[Any], None]) -> None:
        end = file.tell()
        file.seek(start)
        try:
            first(use)
        finally:
            file.seek(end)

    with streams.rewound(file):
        start = position(file)
        survey = first(lambda stream: _next_survey(stream, None))
        return _Array(survey, path, _Stream(again if start is not None else None)).read(None)


def _decoded(
    head: bytes, file: Any, name: str | bytes | None, n_threads: int, use: Callable[[Any], _T]
) -> _T:
    """What `use` makes of the bytes of the dump, whatever they are compressed with."""
    codec_name = kinds.detect(head)
    if codec_name == kinds.OLD_JOBLIB:
        raise ValueError("a file that joblib wrote before 0.10 cannot be read without joblib")
    if codec_name is None:
        return use(file)
    codec = registry.COMPRESSORS[codec_name]
    if not isinstance(codec, registry.Codec):
        return use(streams.registered(codec, file))
    with codec.open_stream(file, name, n_threads, registry.NO_LIMIT) as stream:
        try:
            result = use(stream)
        except EOFError as error:
            if stream.raw.n_made > 0:
                raise
            if name is not None:
                raise kinds.not_whole(name, 0, f"{codec_name} stream") from error
            stream.raw.finish()
            raise kinds.EmptyStream(codec_name) from None
        stream.raw.finish()  # its checksum
        return result


def _next_survey(stream: Any, name: str | bytes | None) -> Survey:
    survey = survey_file(stream, name)
    if survey is None:
        raise EOFError("Ran out of input")
    if survey.damage is not None:
        raise survey.damage
    return survey


# ---------------------------------------------------------------- where bytes come from


class _File:
    """A regular file that is not compressed."""

    def __init__(self, fd: int, name: str | bytes, n_threads: int, survey: Survey) -> None:
        self._fd, self.name, self._n_threads, self._survey = fd, name, n_threads, survey

    def of_blob(self, offset: int, target: Any) -> None:
        self._read(offset, len(target), target)

    def check_blob(self, offset: int, n_bytes: int) -> None:
        self._read(offset, n_bytes, None)

    def _read(self, offset: int, n_bytes: int, target: Any) -> None:
        start = self._survey.start
        place = (self._fd, self.name, start, start + self._survey.length)
        read_checked(*place, offset, n_bytes, target, self._n_threads)

    def of_payload(self, offset: int, target: Any) -> None:
        view = memoryview(target)
        while view:
            n = os.preadv(self._fd, [view], offset)
            if n == 0:
                raise ValueError(f"{self.name!r} became shorter while it was read")
            view, offset = view[n:], offset + n


class _Fetched(_File):
    """The image of a remote file, which has no blobs yet."""

    def __init__(self, image: urls.Image, n_threads: int, survey: Survey) -> None:
        super().__init__(image.fd, image.remote.url, n_threads, survey)
        self._image = image

    def _read(self, offset: int, n_bytes: int, target: Any) -> None:
        sidecar = next((start, n) for name, start, n in self._survey.parts if name == "sidecar")
        first = sidecar[0] + (offset - sidecar[0]) // _BLOCK_BYTES * _BLOCK_BYTES
        n_blocks = -(-(offset + n_bytes - first) // _BLOCK_BYTES)
        end = min(first + n_blocks * _BLOCK_BYTES, sum(sidecar))
        self._image.fetch((first, end))
        super()._read(offset, n_bytes, target)


class _Stream:
    """A stream that is read a second time. Of a dump of ours the first time has checked it."""

    name: str | bytes | None = None

    def __init__(
        self, again: Callable[[Callable[[Any], None]], None] | None, n_front: int = 0
    ) -> None:
        self._again, self._n_front = again, n_front

    def of_blob(self, offset: int, target: Any) -> None:
        self.of_payload(offset, target)

    def of_payload(self, offset: int, target: Any) -> None:
        if self._again is None:
            raise ValueError("the array is not kept of a file object that cannot go back")

        def read(stream: Any) -> None:
            n_left = self._n_front + offset
            while n_left > 0:
                n_left -= len(_some(stream, n_left))
            view = memoryview(target)
            while view:
                data = _some(stream, len(view))
                view[: len(data)] = data
                view = view[len(data) :]

        try:
            self._again(read)
        except EOFError as error:
            raise ValueError("the file became shorter while it was read") from error


def _some(stream: Any, n_bytes: int) -> Any:
    data = stream.read(min(n_bytes, CHUNK_BYTES))
    if not data:
        raise EOFError("Ran out of input")
    return data


# ---------------------------------------------------------------- the array


class _Array:
    """One array of a survey."""

    def __init__(self, survey: Survey, path: str, source: _File | _Stream) -> None:
        if survey.damage is not None:
            raise survey.damage
        self._survey, self._path, self._source = survey, path, source
        found = survey.find(path)
        if found is None or found[0] != "array":
            raise KeyError(path)
        self._number = found[1]
        record = np.frombuffer(survey.arrays, _ARRAY)[self._number]
        self._stored = _STORED[record["stored"]]
        self._offset = int(record["offset"])
        self._payload = int(record["payload"])
        self._n_bytes = int(record["n_bytes"])
        self._order = record["order"].decode()
        shape = survey.shape(self._number)
        if record["flags"] & _BEYOND:
            raise self._refusal("claims more bytes than there are")
        if shape is None or record["dtype"] == _NONE or self._stored == "unknown":
            raise self._refusal("cannot be described")
        if self._stored == "elements" or survey.has_objects(record["dtype"]):
            raise self._refusal("holds objects: only a load makes them")
        if self._stored == "buffer":
            raise self._refusal("is in the second file of the dump")
        self._shape = shape
        self._dtype = make_dtype(survey.dtype(record["dtype"]))
        size = self._dtype.itemsize
        for n in shape:
            size *= n
        if self._dtype.itemsize != survey.itemsize(record["dtype"]) or size != self._n_bytes:
            raise self._refusal("has another size than its bytes")
        self._strides = survey.strides(self._number) if self._order == "A" else None
        if self._strides is not None and size > 0:
            steps = zip(shape, self._strides, strict=True)
            if self._dtype.itemsize + sum((n - 1) * step for n, step in steps) != size:
                raise self._refusal("has other strides than its bytes")
        if survey.state_void and self._stored == "blob":
            name = source.name or "the file"
            warn.at_caller(
                f"{name!r} was mapped for writing: the bytes of its arrays cannot be checked"
            )

    def _refusal(self, reason: str) -> ValueError:
        return ValueError(f"the array {self._path or 'of the file'} {reason}")

    def read(self, mmap_mode: str | None) -> Any:
        if self._stored == "nowhere":
            # Of an itemsize of 0 NumPy makes one of 1, but for a field.
            return np.empty(self._shape, [("field", self._dtype)])["field"]
        if mmap_mode is not None:
            return self._mapped(mmap_mode)
        return self._shaped(self._bytes())

    def _shaped(self, data: Any) -> Any:
        """An array over bytes, which it owns."""
        if self._order == "A":
            return np.ndarray(self._shape, self._dtype, data, 0, self._strides)
        return np.ndarray(self._shape, self._dtype, data, 0, None, self._order)

    def _bytes(self) -> Any:
        inline = self._survey.inline(self._number)
        if inline is not None:
            if len(inline) != self._n_bytes:
                raise self._refusal("has another size than its bytes")
            return bytearray(inline)
        if self._stored == "text":
            return self._of_text()
        if self._stored == "blob":
            target = np.empty(self._n_bytes, "u1")
            self._source.of_blob(self._offset, target)
            return target
        return self._of_payload()

    def _of_text(self) -> bytearray:
        if self._payload == _NONE:
            raise self._refusal("is stored as text that is no bytes")
        try:
            text = self._of_payload().tobytes().decode("utf-8")
            encoded = bytearray(text.encode("latin-1"))
        except UnicodeError as error:
            raise self._refusal("is stored as text that is no bytes") from error
        if len(encoded) != self._n_bytes:
            raise self._refusal("has another size than its bytes")
        return encoded

    def _of_payload(self) -> Any:
        """The bytes of a payload, which are those that the survey has hashed."""
        payload = np.frombuffer(self._survey.payloads, _PAYLOAD)[self._payload]
        target: Any = np.empty(int(payload["n_bytes"]), "u1")
        self._source.of_payload(int(payload["offset"]), target)
        if hash_bytes(target) != payload["hash"]:
            raise ValueError("the file was changed while it was read")
        if self._stored == "text":
            return target
        first = self._offset - int(payload["offset"])
        return target[first : first + self._n_bytes]

    def _mapped(self, mmap_mode: Any) -> Any:
        source = self._source
        if self._stored not in ("blob", "payload") or not isinstance(source, _File):
            raise self._refusal("is too small to be mapped, or stored as text")
        if self._stored == "blob":
            source.check_blob(self._offset, self._n_bytes)
        else:
            self._of_payload()
        name = os.fsdecode(source.name)
        if self._order == "A":
            flat = np.memmap(name, "u1", mmap_mode, self._offset, (self._n_bytes,))
            view: Any = np.lib.stride_tricks.as_strided(
                flat[: self._dtype.itemsize].view(self._dtype),
                self._shape,
                self._strides,
                subok=True,
            )
            return view
        order: Any = self._order
        return np.memmap(name, self._dtype, mmap_mode, self._offset, self._shape, order)


# ---------------------------------------------------------------- dtypes

_PLAIN_KINDS = frozenset("?bBhHiIlLqQefdgFDGSaUVmMuc")


def make_dtype(what: Any) -> np.dtype[Any]:
    """A dtype of plain bytes from what Survey.dtype() says; ValueError for any other."""
    try:
        made = _made(what)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError, SyntaxError) as error:
        raise ValueError(f"no dtype of plain bytes: {what!r:.200}") from error
    if made.hasobject or not _is_plain(made):
        raise ValueError(f"no dtype of plain bytes: {what!r:.200}")
    return made


def _is_plain(dtype: np.dtype[Any]) -> bool:
    if dtype.subdtype is not None:
        return _is_plain(dtype.subdtype[0])
    if dtype.fields is not None:
        return all(_is_plain(field[0]) for field in dtype.fields.values())
    return dtype.kind in "biufcSUVmM"


def _made(what: Any) -> np.dtype[Any]:
    if isinstance(what, str):
        return _of_text(what)
    _, arguments, state = what
    if state is None:
        return _of_text(arguments[0])
    order, subarray, names, fields, itemsize = state[1:6]
    flags = state[7]
    if subarray is not None:
        return np.dtype((_made(subarray[0]), subarray[1]))
    if names is not None:
        return _of_fields(names, fields, itemsize, bool(flags & 0x80))
    text = _text_of(arguments[0], itemsize)
    if text[0] in "mM" and len(state) > 8:
        unit, number = state[8][1][:2]
        unit = unit.decode() if isinstance(unit, bytes) else unit
        if unit != "generic":
            text += f"[{int(number)}{unit}]"
    return _of_text(text).newbyteorder(order)


def _text_of(argument: Any, itemsize: int) -> str:
    if isinstance(argument, str):
        return argument
    if argument[:2] == ("global", "numpy") and argument[2] in ("void", "record"):
        return f"V{itemsize}"
    raise ValueError(argument)


def _of_text(text: Any) -> np.dtype[Any]:
    """Of a text that names one type, and not several with commas between them."""
    if not isinstance(text, str) or text.lstrip("<>|=")[:1] not in _PLAIN_KINDS or "," in text:
        raise ValueError(text)
    return np.dtype(text)


def _of_fields(names: Any, fields: Any, itemsize: int, is_aligned: bool) -> np.dtype[Any]:
    items = fields[1]
    by_name = dict(zip(items[::2], items[1::2], strict=True))
    parts = [by_name[name] for name in names]
    description: Any = {
        "names": list(names),
        "formats": [_made(part[0]) for part in parts],
        "offsets": [part[1] for part in parts],
        "titles": [part[2] if len(part) > 2 else None for part in parts],
        "itemsize": itemsize,
    }
    if not any(title is not None for title in description["titles"]):
        del description["titles"]
    made: np.dtype[Any] = np.dtype(description, align=is_aligned)
    return made
