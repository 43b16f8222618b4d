"""One `inspect`: which file it is, and a survey of each dump in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from fastpersist._core import CorruptFileError, Survey, survey_descriptor, survey_file
from fastpersist.codecs import registry
from fastpersist.codecs.decoding import CHUNK_BYTES, position
from fastpersist.files import arrays, kinds, streams, urls
from fastpersist.report import equal
from fastpersist.report.facts import Facts, environment_of
from fastpersist.report.file_report import FileReport
from fastpersist.report.progress import Meter
from fastpersist.report.records import SIDECAR, Damage, DumpReport, Reader
from fastpersist.report.tree import Dump
from fastpersist.report.words import shown

_MAX_DUMPS = 256  # pickles of others, one behind the other
_SIDECAR_MAGIC = b"fastpersist sdc\0"
_MESSAGE_CHARACTERS = 500


def inspect(filename: Any, max_bytes: int, progress: Any, n_threads: int) -> FileReport:
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    filename = urls.local_path(filename)
    with Meter(progress) as meter:
        if urls.is_url(filename):
            return _OfUrl(filename, max_bytes, n_threads, meter).report()
        if isinstance(filename, (str, bytes)):
            return _OfPath(filename, max_bytes, n_threads, meter).report()
        if not hasattr(filename, "read"):
            raise ValueError("filename should be a path, or an object with a read() method")
        return _OfFile(filename, max_bytes, n_threads, meter).report()


def damage_of(error: BaseException | None) -> Damage | None:
    if error is None:
        return None
    return Damage(
        error=type(error).__name__,
        message=shown(str(error), _MESSAGE_CHARACTERS),
        offset=getattr(error, "offset", None),
        section=getattr(error, "section", None),
    )


class _Looking:
    """What was seen so far."""

    name: str | bytes | None = None
    has_blobs = True  # where the file can be read

    def __init__(self, max_bytes: int, n_threads: int, meter: Meter) -> None:
        self.max_bytes, self.n_threads, self.meter = max_bytes, n_threads, meter
        self.dumps: list[DumpReport] = []
        self.trees: list[Dump] = []
        self.codecs: list[str] = []
        self.base = 0  # where the next dump begins, decoded
        self.n_bytes_behind = 0
        self.behind: str | None = None
        self.damage: Damage | None = None
        self.complete = True
        self.is_first_stream = True

    # ------------------------------------------------------------ dumps

    def add(self, survey: Survey, base: int, fd: int | None) -> None:
        read = self.reader() if self.is_first_stream else _no_reader
        number = len(self.dumps)
        facts = Facts(survey, number, base, read)
        is_ours = survey.kind == "fastpersist"
        same = equal.of_payloads(facts)
        can_compare = fd is not None and survey.damage is None and not survey.state_void
        if is_ours and fd is not None and can_compare and self.has_blobs:
            same += equal.of_blobs(facts, fd)
        n_sidecar = sum(n for name, _, n in survey.parts if name == "sidecar")
        second = survey.second_file
        self.trees.append(Dump(facts))
        self.dumps.append(
            DumpReport(
                number=number,
                offset=survey.start + base,
                n_bytes=survey.length,
                n_bytes_read=survey.length - (n_sidecar if fd is not None else 0),
                layout=survey.kind,
                protocol=survey.protocol,
                n_opcodes=survey.n_opcodes,
                n_frames=survey.n_frames,
                n_buffers=survey.n_buffers,
                complete=survey.complete,
                hashes=_hashes(survey, is_ours),
                hashes_compared=_compared(survey, is_ours, fd),
                environment=environment_of(survey.environment),
                second_file_buffers=None if second is None else second[0],
                second_file_bytes=None if second is None else second[1],
                sums=dict(survey.sums),
                parts=facts.parts(),
                globals=facts.global_rows(),
                arrays=facts.array_rows(),
                leaves=facts.leaf_rows(),
                equal=same,
                odd=facts.odd(),
                damage=damage_of(survey.damage),
            )
        )
        if survey.damage is not None or not survey.complete:
            self.complete = False
            self.damage = self.damage or damage_of(survey.damage)

    def one_of(self, stream: Any, path: str | bytes | None) -> Survey | None:
        """The next dump of a stream, None at its end."""
        survey = survey_file(self.meter.around(stream), path, self.max_bytes)
        if survey is None:
            return None
        if self._is_no_dump(survey):
            self._note_behind(survey.length, survey)
            return survey
        self.add(survey, self.base, None)
        self.base += survey.length
        return survey

    def every_one_of(self, stream: Any, path: str | bytes | None) -> int:
        """All that follow one another; how many there were."""
        n = 0
        while True:
            survey = self.one_of(stream, path)
            if survey is None:
                return n
            n += 1
            is_other = survey.kind != "fastpersist"
            if survey.damage is not None or (is_other and len(self.dumps) >= _MAX_DUMPS):
                self._rest(stream)
                return n

    def _is_no_dump(self, survey: Survey) -> bool:
        """What follows a pickle of others is nobody's, if it is none."""
        return (
            len(self.dumps) > 0
            and self.dumps[-1].layout != "fastpersist"
            and survey.kind != "fastpersist"
            and survey.damage is not None
            and not survey.complete
        )

    def _note_behind(self, n_bytes: int, survey: Survey | None) -> None:
        self.n_bytes_behind += n_bytes
        if survey is not None and survey.damage is not None:
            what = shown(str(survey.damage), _MESSAGE_CHARACTERS)
            self.behind = self.behind or f"no whole pickle: {what}"
        self.behind = self.behind or "not looked at"

    def _rest(self, stream: Any) -> None:
        """Read for the codec's checks."""
        while data := stream.read(CHUNK_BYTES):
            self._note_behind(len(data), None)

    # ------------------------------------------------------------ the end

    def file_report(self, name: str | None, n_bytes: int | None) -> FileReport:
        n_decoded = sum(dump.n_bytes for dump in self.dumps) + self.n_bytes_behind
        codecs = list(dict.fromkeys(self.codecs))
        return FileReport(
            name=name,
            n_bytes=n_bytes,
            codec="+".join(codecs) if codecs else None,
            n_bytes_decoded=n_decoded,
            n_bytes_read=sum(dump.n_bytes_read for dump in self.dumps),
            n_bytes_behind=self.n_bytes_behind,
            behind=self.behind,
            complete=self.complete and self.damage is None,
            damage=self.damage,
            dumps=tuple(self.dumps),
            _dumps=tuple(self.trees),
        )

    def reader(self) -> Reader | None:
        raise NotImplementedError


def _no_reader(number: int, path: str, mmap_mode: str | None) -> Any:
    raise ValueError("only arrays of a file's first compressed stream are read by themselves")


def _hashes(survey: Survey, is_ours: bool) -> str:
    if not is_ours:
        return "none"
    if survey.state_void:
        return "void"
    return "damaged" if survey.damage is not None else "valid"


def _compared(survey: Survey, is_ours: bool, fd: int | None) -> str:
    if not is_ours or survey.damage is not None:
        return "none"
    return "all" if fd is None and not survey.state_void else "graph"


# ---------------------------------------------------------------- paths


class _OfPath(_Looking):
    """All dumps of a file."""

    def __init__(self, name: str | bytes, max_bytes: int, n_threads: int, meter: Meter) -> None:
        super().__init__(max_bytes, n_threads, meter)
        self.name: str | bytes = name

    def report(self) -> FileReport:
        with self.opened() as file:
            status = os.fstat(file.fileno())
            is_regular = stat.S_ISREG(status.st_mode)
            n_bytes = status.st_size if is_regular else None
            self.meter.begin(n_bytes, file)
            try:
                self._look(file, is_regular)
            except CorruptFileError as error:
                self.damage = self.damage or damage_of(error)
        return self.file_report(os.fsdecode(self.name), n_bytes)

    def opened(self) -> AbstractContextManager[Any]:
        return open(self.name, "rb")

    def reader(self) -> Reader:
        name = self.name

        def read(number: int, path: str, mmap_mode: str | None) -> Any:
            return arrays.read_array(name, path, mmap_mode, self.n_threads, number)

        return read

    def _look(self, file: Any, is_regular: bool) -> None:
        head, stream = kinds.first_bytes(file, self.name)
        if not head:
            if (position(file) or 0) > 0:
                raise kinds.not_whole(self.name, 0, "compressed stream")
            raise EOFError("Ran out of input")
        is_plain = is_regular and not kinds.is_encoded(head) and file.tell() == 0
        if is_plain and os.pread(file.fileno(), 16, 0) == _SIDECAR_MAGIC:
            self.n_bytes_behind, self.behind = os.fstat(file.fileno()).st_size, SIDECAR
            return
        if is_plain and not (self.meter.is_wanted and _is_foreign(file)):
            self._descriptor(file)
            return
        self._parts(head, stream)

    def _descriptor(self, file: Any) -> None:
        fd = file.fileno()
        found = survey_descriptor(fd, self.name, self.n_threads, kinds.begins_at, self.max_bytes)
        for survey in found:
            if self._is_no_dump(survey):
                self._note_behind(survey.length, survey)
            else:
                self.add(survey, 0, fd)
        n_seen = sum(survey.length for survey in found)
        n_rest = os.fstat(fd).st_size - n_seen
        if n_rest > 0:
            self.complete = self.complete and self.behind is not None
            self._note_behind(n_rest, None)

    def _parts(self, head: bytes, file: Any) -> None:
        """To the end of a file: dumps, and streams that hold dumps."""
        while head:
            codec = kinds.detect(head)
            if codec == kinds.OLD_JOBLIB:
                raise ValueError("a file that joblib wrote before 0.10 cannot be inspected")
            if codec is None:
                self.every_one_of(file, self.name)
                return
            if not self._stream(codec, file):
                return
            self.is_first_stream = False
            head, file = kinds.first_bytes(file, self.name)

    def _stream(self, name: str, file: Any) -> bool:
        """Whether something may follow it."""
        codec = registry.COMPRESSORS[name]
        self.codecs.append(name)
        if not isinstance(codec, registry.Codec):
            self.every_one_of(streams.registered(codec, file), self.name)
            return False
        limit = self.max_bytes
        with codec.open_stream(file, self.name, self.n_threads, limit) as stream:
            if self.every_one_of(stream, self.name) == 0:
                raise kinds.not_whole(self.name, 0, f"{name} stream")
            if self.damage is None:
                stream.raw.finish()
        return self.damage is None


class _OfUrl(_OfPath):
    """All dumps of a remote file. Of ours, blobs are not fetched."""

    name: str

    def __init__(self, url: str, max_bytes: int, n_threads: int, meter: Meter) -> None:
        super().__init__(url, max_bytes, n_threads, meter)
        self.remote = urls.Remote(url)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        with urls.Image(self.remote) as image, self.remote.unchanged():
            self.has_blobs = not image.fetch_structure()
            with open(image.path, "rb") as file:
                yield file

    def reader(self) -> Reader:
        url, version, n_threads = self.name, self.remote.version, self.n_threads

        def read(number: int, path: str, mmap_mode: str | None) -> Any:
            return arrays.of_url(url, path, mmap_mode, n_threads, number, version)

        return read


def _is_foreign(file: Any) -> bool:
    return b"fastpersist\0" not in os.pread(file.fileno(), 21, 0)


# ---------------------------------------------------------------- file objects


class _OfFile(_Looking):
    """The dump that comes next from the caller's file object."""

    def __init__(self, file: Any, max_bytes: int, n_threads: int, meter: Meter) -> None:
        super().__init__(max_bytes, n_threads, meter)
        self.file = file
        self.start: int | None = None

    def report(self) -> FileReport:
        with streams.rewound(self.file):
            self.start = position(self.file)
            self.meter.begin(None, self.file)
            kinds.behind_empty_streams(self.file, self._next)
        end = position(self.file)
        n_bytes = None if self.start is None or end is None else end - self.start
        name = getattr(self.file, "name", None)
        return self.file_report(name if isinstance(name, str) else None, n_bytes)

    def reader(self) -> Reader | None:
        start, file, n_threads = self.start, self.file, self.n_threads
        if start is None:
            return None

        def read(number: int, path: str, mmap_mode: str | None) -> Any:
            if mmap_mode is not None:
                raise ValueError("an array of a file object cannot be mapped")
            end = file.tell()
            file.seek(start)
            try:
                return arrays.read_array(file, path, None, n_threads)
            finally:
                file.seek(end)

        return read

    def _next(self, head: bytes, stream: Any, file: Any) -> None:
        if not head:
            raise EOFError("Ran out of input")
        name = kinds.detect(head)
        if name == kinds.OLD_JOBLIB:
            raise ValueError("a file that joblib wrote before 0.10 cannot be inspected")
        if name is None:
            self.one_of(stream, None)
            return
        codec = registry.COMPRESSORS[name]
        if not isinstance(codec, registry.Codec):
            self.codecs.append(name)
            self.one_of(streams.registered(codec, file), None)
            return
        with codec.open_stream(stream, None, self.n_threads, self.max_bytes) as decoded:
            if self.one_of(decoded, None) is None:
                decoded.raw.finish()
                raise kinds.EmptyStream(name)
            self.codecs.append(name)
            if self.damage is None:
                try:
                    decoded.raw.finish()
                except CorruptFileError as error:
                    self.damage = damage_of(error)
