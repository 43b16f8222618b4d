"""Loads under ``trusted=``: a survey of the file first, then a load that is held to rules.

Either is enough alone. The survey runs nothing, and refuses the whole file with all its names; the
machine that loads (csrc/build/restrict.h) asks `fastpersist.policy` for each name by itself, and
does not know what the survey found.

>>> import pickle
>>> from fastpersist import restricted
>>> restricted.loads(pickle.dumps({"a": [1, 2]}), trusted=())
{'a': [1, 2]}
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from fastpersist import policy
from fastpersist._core import (
    CorruptFileError,
    OldJoblibFile,
    Survey,
    UntrustedError,
    survey_descriptor,
    survey_file,
)
from fastpersist._core import loads as _loads
from fastpersist.codecs import registry
from fastpersist.codecs.decoding import position
from fastpersist.files import kinds, streams
from fastpersist.policy import Policy, UntrustedName

_MAGIC, _HEADER_BYTES = b"fastpersist\0", 21  # of a file of ours (csrc/FORMAT.md)
_OLD = (
    "joblib wrote it before 0.10, and only joblib's own reader, which allows everything, knows "
    "such files"
)


def audit(survey: Survey, rules: Policy) -> None:
    """Refuse what a file asks for, by its survey; nothing has run.

    Raises
    ------
    UntrustedError
        With every name that is not approved.
    CorruptFileError, pickle.UnpicklingError
        The file is damaged.
    """
    if survey.is_within(policy.uses()):
        return
    found, reasons = rules.refused(survey.globals, survey.odd)
    if survey.damage is not None and not found and not reasons:
        raise survey.damage
    if survey.damage is None and not survey.complete:
        reasons.append("it could not be followed to its end")
    if found or reasons:
        raise policy.untrusted([_name_of(survey, rules, *each) for each in found], reasons)


def _name_of(survey: Survey, rules: Policy, i: int, use: str, count: int) -> UntrustedName:
    module, name, *_, node, _, _ = survey.globals[i]
    path = None if node is None else survey.path(node)
    return rules.untrusted_name(module, name, use, count, path)


def load(
    filename: Any,
    sidecar: Any,
    trusted: Iterable[Any],
    run: Callable[..., Any],
    n_threads: int,
    max_bytes: int,
) -> Any:
    """Look at a file, then load it by ``run(filename, sidecar, rules)``; of a path without
    sidecar the load itself asks ``audit(survey, fd)``, so that it is opened and read once."""
    rules = policy.restriction(trusted)
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    try:
        if isinstance(filename, (str, bytes)):
            if sidecar is not None:
                source = _audited_path(filename, rules, n_threads, max_bytes)
                return run(source, sidecar, rules)
            look = partial(_look, filename, rules, n_threads, max_bytes)
            try:
                return run(filename, sidecar, rules, look)
            except _NotRegular as found:
                pipe = found.file
            with pipe:
                return run(_kept(pipe, rules, n_threads, max_bytes), sidecar, rules)
        if not hasattr(filename, "read"):
            raise ValueError("filename should be a path, or an object with a read() method")
        return run(_audited(filename, rules, n_threads, max_bytes), sidecar, rules)
    except OldJoblibFile as error:
        raise policy.untrusted([], [_OLD]) from error


def loads(data: Any, /, *, trusted: Iterable[Any], **others: Any) -> Any:
    """As `fastpersist.loads`, under `trusted`."""
    rules = policy.restriction(trusted)
    if others.get("buffers"):
        raise policy.untrusted([], ["buffers= may be anything, and cannot be looked at"])
    view = memoryview(data)
    try:
        survey = survey_file(io.BytesIO(view), None, registry.NO_LIMIT)
        if survey is None:
            raise EOFError("Ran out of input")
        audit(survey, rules)
        return _loads(data, trusted=rules, **others)
    except OldJoblibFile as error:
        raise policy.untrusted([], [_OLD]) from error


class _NotRegular(Exception):
    """A path that leads to a pipe or a device, opened: it can be read once."""

    def __init__(self, fd: int) -> None:
        self.file = open(fd, "rb")


def _look(
    path: str | bytes,
    rules: Policy,
    n_threads: int,
    max_bytes: int,
    survey: Survey | None,
    fd: int,
) -> None:
    """Before the load of a path runs anything: by its survey, or what the descriptor has."""
    if survey is not None:
        audit(survey, rules)
        return
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise _NotRegular(os.dup(fd))
    _audit_descriptor(fd, path, status.st_size, rules, n_threads, max_bytes)
    os.lseek(fd, 0, os.SEEK_SET)


def _audit_descriptor(
    fd: int, path: str | bytes, n_bytes: int, rules: Policy, n_threads: int, max_bytes: int
) -> None:
    if _MAGIC in os.pread(fd, _HEADER_BYTES, 0):
        surveys = _of_descriptor(fd, path, n_bytes, n_threads, max_bytes)
    else:
        surveys = _of_others(fd, path, n_bytes, n_threads, max_bytes)
    _audit_all(surveys, rules)


def _audited_path(path: str | bytes, rules: Policy, n_threads: int, max_bytes: int) -> Any:
    """The path, all of whose file was looked at; of a pipe what was read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            with open(fd, "rb", closefd=False) as file:
                return _kept(file, rules, n_threads, max_bytes)
        _audit_descriptor(fd, path, status.st_size, rules, n_threads, max_bytes)
    finally:
        os.close(fd)
    return path


def _of_descriptor(
    fd: int, path: str | bytes, n_bytes: int, n_threads: int, max_bytes: int
) -> list[Survey]:
    """Of what stands in a regular file as it is."""
    surveys = survey_descriptor(fd, path, n_threads, kinds.begins_at, max_bytes)
    n_left = n_bytes - sum(survey.length for survey in surveys)
    if n_left > 0 and all(survey.damage is None for survey in surveys):
        raise policy.untrusted([], [f"{n_left:,} bytes stand behind what it holds"])
    return surveys


def _of_others(
    fd: int, path: str | bytes, n_bytes: int, n_threads: int, max_bytes: int
) -> list[Survey]:
    """Of other writers' files, and compressed ones."""
    with open(fd, "rb", closefd=False) as file:
        head, stream = kinds.first_bytes(file, path)
        if not head:
            raise EOFError("Ran out of input")
        if kinds.is_encoded(head) or file.tell() > 0:
            return list(_of_streams(head, stream, path, n_threads, max_bytes))
        return _of_descriptor(fd, path, n_bytes, n_threads, max_bytes)


def _audit_all(surveys: list[Survey], rules: Policy) -> None:
    """The first is what is loaded; others must be whole, and ours."""
    audit(surveys[0], rules)
    for survey in surveys[1:]:
        if survey.kind != "fastpersist" or surveys[0].kind != "fastpersist":
            reason = f"something stands behind its first pickle, at byte {survey.start}"
            raise policy.untrusted([], [reason])
        if survey.damage is not None:
            raise survey.damage


def _of_streams(
    head: bytes, file: Any, path: str | bytes, n_threads: int, max_bytes: int
) -> Iterator[Survey]:
    """Of all that a file's streams hold, to its end."""
    while head:
        name = kinds.detect(head)
        if name == kinds.OLD_JOBLIB:
            raise policy.untrusted([], [_OLD])
        if name is None:
            yield from _every_one_of(file, path, max_bytes)
            return
        codec = registry.COMPRESSORS[name]
        if not isinstance(codec, registry.Codec):
            yield from _every_one_of(streams.registered(codec, file), path, max_bytes)
            return
        with codec.open_stream(file, path, n_threads, max_bytes) as stream:
            found = list(_every_one_of(stream, path, max_bytes))
            if not found:
                raise kinds.not_whole(path, 0, f"{name} stream")
            stream.raw.finish()
        yield from found
        head, file = kinds.first_bytes(file, path)


def _every_one_of(stream: Any, path: str | bytes, max_bytes: int) -> Iterator[Survey]:
    while (survey := survey_file(stream, path, max_bytes)) is not None:
        yield survey
        if survey.damage is not None:
            return


def _audited(file: Any, rules: Policy, n_threads: int, max_bytes: int) -> Any:
    """The file object, looked at and gone back; of one that cannot, all that was read."""
    with streams.rewound(file):
        start = position(file)
        if start is None:
            return _kept(file, rules, n_threads, max_bytes)
        audit(_next_survey(file, n_threads, max_bytes), rules)
        file.seek(start)
    return file


def _kept(file: Any, rules: Policy, n_threads: int, max_bytes: int) -> Any:
    recorder = _Recorder(file)
    survey = _next_survey(recorder, n_threads, max_bytes)
    audit(survey, rules)
    return io.BytesIO(recorder.kept.getbuffer())


class _Recorder(io.RawIOBase):
    """Keeps what was read through it."""

    def __init__(self, file: Any) -> None:
        self.file, self.kept = file, io.BytesIO()

    def readable(self) -> bool:
        return True

    def read(self, n: int = -1, /) -> Any:
        data = self.file.read(n)
        self.kept.write(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, n: int | None = -1, /) -> Any:
        data = self.file.readline() if n is None or n < 0 else self.file.readline(n)
        self.kept.write(data)
        return data


def _next_survey(file: Any, n_threads: int, max_bytes: int) -> Survey:
    found: list[Survey] = []

    def look(head: bytes, stream: Any, behind: Any) -> None:
        name = kinds.detect(head)
        if name == kinds.OLD_JOBLIB:
            raise policy.untrusted([], [_OLD])
        if name is None:
            survey = survey_file(stream, None, max_bytes)
        else:
            survey = _decoded(name, stream, behind, n_threads, max_bytes)
        if survey is None:
            raise EOFError("Ran out of input")
        found.append(survey)

    kinds.behind_empty_streams(file, look)
    return found[0]


def _decoded(name: str, stream: Any, file: Any, n_threads: int, max_bytes: int) -> Survey | None:
    codec = registry.COMPRESSORS[name]
    if not isinstance(codec, registry.Codec):
        return survey_file(streams.registered(codec, file), None, max_bytes)
    with codec.open_stream(stream, None, n_threads, max_bytes) as decoded:
        survey = survey_file(decoded, None, max_bytes)
        decoded.raw.finish()
        if survey is None:
            raise kinds.EmptyStream(name)
        return survey


__all__ = ["CorruptFileError", "UntrustedError", "audit", "load", "loads"]
