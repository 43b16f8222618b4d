"""What `verify` does where the core's check of a descriptor does not suffice: files of two parts,
compressed files, file objects, and what `pickle` and joblib wrote.

Of those last the codec's checksums are compared, where there is a codec, and the opcodes are
surveyed up to STOP.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any

from fastpersist._core import verify_descriptor, verify_file, verify_pickle, verify_sidecar
from fastpersist._progress import Report, Sum
from fastpersist.codecs import registry
from fastpersist.codecs.decoding import CHUNK_BYTES, go_back, position
from fastpersist.files import kinds, streams, urls
from fastpersist.files.pairs import open_place

_HEADER_BYTES = 21
_SIDECAR_MAGIC = b"fastpersist sdc\0"

Path = str | bytes | None


def verify(
    filename: Any, sidecar: Any, max_bytes: int, n_threads: int, report: Report | None = None
) -> None:
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    if urls.are_meant(filename, sidecar):
        with contextlib.ExitStack() as opened:
            places = map(urls.local_path, (filename, sidecar))
            local = [opened.enter_context(urls.here(place)) for place in places]
            return verify(local[0], local[1], max_bytes, n_threads, report)
    if sidecar is not None:
        with contextlib.ExitStack() as opened:
            fd, file, path = open_place(sidecar, None, opened)
            if file is None:
                file = open(fd, "rb", closefd=False)
            _Check(path, max_bytes, n_threads, (-1, file, path), report).all_of(filename)
    else:
        _Check(None, max_bytes, n_threads, None, report).all_of(filename)


def rest(stream: Any, file: Any, path: str | bytes, n_threads: int, max_bytes: int) -> None:
    """What follows the first dump of a compressed path must be dumps, whole and undamaged: those
    in the rest of its stream, then those in the rest of the file."""
    check = _Check(None, max(0, max_bytes - stream.raw.n_made), n_threads, None)
    check.path = path
    check.rest_of(stream, file)


class _Check:
    """One call of `verify`."""

    def __init__(
        self,
        sidecar_path: Path,
        max_bytes: int,
        n_threads: int,
        place: tuple[int, Any, Path] | None,
        report: Report | None = None,
    ) -> None:
        self._sidecar_path = sidecar_path
        self._max_bytes = max_bytes
        self._n_threads = n_threads
        self._place = place
        self._report = report
        self._sum = None if report is None else Sum(report)
        self.path: Path = None
        self._are_ours: set[bool] = set()  # the dumps so far
        self._is_behind = True  # the file stands right behind the last one

    def all_of(self, filename: Any) -> None:
        if not self._by_descriptor(filename) and self._sum is not None:
            self._sum.finish()

    def _by_descriptor(self, filename: Any) -> bool:
        """Checks all; whether the core did it, which then has had the last word on progress."""
        if not isinstance(filename, (str, bytes)):
            self._one_of_file(filename)
            return False
        self.path = filename
        with open(filename, "rb") as file:
            fd = file.fileno()
            is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
            if is_regular and self._place is None:
                head, _ = kinds.first_bytes(file, filename)
                # What is compressed may still end as a file of ours does.
                is_other = file.tell() > 0 or kinds.detect(head) is not None
                if not is_other and verify_descriptor(fd, filename, self._n_threads, self._report):
                    return True
            self._every_part(file)
        if self._place is not None and self._place[1].read(1):
            raise kinds.not_whole(self._sidecar_path, None, "sidecar")
        return False

    def rest_of(self, stream: Any, file: Any) -> None:
        while self._dump(stream) is not None:
            pass
        stream.raw.finish()
        while True:
            head, file = kinds.first_bytes(file, self.path)
            if not head:
                return
            self._part(head, file)

    def _every_part(self, file: Any) -> None:
        """To the end of a file: dumps, and streams that hold dumps."""
        is_first = True
        while True:
            head, file = kinds.first_bytes(file, self.path)
            if not head:
                if is_first and (position(file) or 0) > 0:
                    raise kinds.not_whole(self.path, 0, "compressed stream")
                if is_first:
                    raise EOFError("Ran out of input")
                return
            offset = position(file) or 0
            may_follow = self._part(head, file)
            if len(self._are_ours) > 1:
                raise kinds.several_writers(self.path, offset)
            if not may_follow:
                return
            is_first = False

    def _one_of_file(self, file: Any) -> None:
        """One dump, from where the caller's file object stands."""
        with streams.rewound(file):
            kinds.behind_empty_streams(file, self._next)

    def _next(self, head: bytes, stream: Any, file: Any) -> None:
        if not head:
            raise EOFError("Ran out of input")
        self._part(head, stream)

    def _part(self, head: bytes, file: Any) -> bool:
        """One dump, or one stream of them; whether the next can be found."""
        name = kinds.detect(head)
        if name == kinds.OLD_JOBLIB:
            raise ValueError("a file that joblib wrote before 0.10 cannot be verified")
        if name is None:
            self._dump(file)
            return self._is_behind
        codec = registry.COMPRESSORS[name]
        if not isinstance(codec, registry.Codec):
            self._dumps(streams.registered(codec, file), name)
            return False
        with codec.open_stream(file, self.path, self._n_threads, self._max_bytes) as stream:
            try:
                self._dumps(stream, name)
            except kinds.EmptyStream:
                stream.raw.finish()
                raise
            stream.raw.finish()
        return True

    def _dumps(self, stream: Any, name: str) -> None:
        is_ours = self._dump(stream)
        if is_ours is None and self.path is None:
            raise kinds.EmptyStream(name)
        if is_ours is None:
            raise kinds.not_whole(self.path, 0, f"{name} stream")
        while is_ours:
            is_ours = self._dump(stream)
        while stream.read(CHUNK_BYTES):
            pass  # what follows a pickle of others is nobody's, but the codec checks it

    def _dump(self, file: Any) -> bool | None:
        """Whether the dump that comes next was one of ours; None: nothing comes."""
        head = file.read(_HEADER_BYTES)
        while head and len(head) < _HEADER_BYTES:
            more = file.read(_HEADER_BYTES - len(head))
            if not more:
                break
            head += more
        if not head:
            return None
        whole = streams.PushedBack(head, file)
        if head.startswith(_SIDECAR_MAGIC):
            verify_sidecar((-1, whole, self.path), self._max_bytes, self._sum)
            return True
        if verify_file(whole, self.path, self._place, self._max_bytes, self._sum):
            self._are_ours.add(True)
            return True
        if self._place is not None:
            raise ValueError(
                f"{self.path!r} is not a file with a sidecar: verify it without sidecar="
            )
        whole = streams.PushedBack(head, file)
        verify_pickle(whole, self.path, self._max_bytes, self._sum)
        self._are_ours.add(False)
        self._is_behind = whole.n_left == 0 or position(file) is not None
        if self._is_behind and whole.n_left > 0:
            go_back(file, whole.n_left)
        return False
