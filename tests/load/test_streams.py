"""Dumps into anything with write(), several in sequence, compressed or not, and back."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import socket
import sys
import tarfile
import threading
import zipfile

import fastpersist
import joblib
import numpy as np
import pytest
from compare import assert_isomorphic
from fastpersist.codecs.registry import COMPRESSORS
from helpers import file_bytes

HAS_ZSTD = sys.version_info >= (3, 14)
with contextlib.suppress(ImportError):
    import zstandard  # noqa: F401

    HAS_ZSTD = True

CODECS = [0, "zlib", "gzip", "bz2", "lzma", "xz", "lz4"]
CODECS += [pytest.param("zstd", marks=pytest.mark.skipif(not HAS_ZSTD, reason="needs zstd"))]

NOISE = np.random.default_rng(0).integers(0, 256, 1_300_000, "u1")
VALUES = [
    {"array": np.arange(30_000.0), "list": [*range(5000)], "text": "é" * 20_000},
    [],
    {"noise": NOISE, "shared": [NOISE[:5000]] * 3},
    "the last",
]


class OnlyWrite:
    """As remote files are: they can be written, front to back, and nothing else."""

    def __init__(self):
        self.pieces = []

    def write(self, data):
        self.pieces.append(bytes(data))
        return len(data)

    def bytes(self):
        return b"".join(self.pieces)


class SaysNothing(OnlyWrite):
    """Nor does write() say how much it took."""

    def write(self, data):
        super().write(data)


class TakesLess(OnlyWrite, io.RawIOBase):
    """As raw files may do: test_write_answers.py."""

    def write(self, data):
        return super().write(data[: max(1, len(data) // 3)])


class NoSeek(io.RawIOBase):
    """All the methods of a file; those that cannot be had raise."""

    def __init__(self):
        self.target = io.BytesIO()

    def writable(self):
        return True

    def write(self, data):
        return self.target.write(data)

    def bytes(self):
        return self.target.getvalue()


@pytest.mark.parametrize("protocol", [None, 2])
@pytest.mark.parametrize("compress", CODECS)
@pytest.mark.parametrize("make", [OnlyWrite, SaysNothing, TakesLess, NoSeek])
@pytest.mark.by_day(wanted=lambda make, protocol: protocol is None or make is OnlyWrite)
def test_whatever_has_write(make, compress, protocol):
    file = make()
    for value in VALUES:
        assert fastpersist.dump(value, file, compress=compress, protocol=protocol) is None
    expected = [file_bytes(v, compress=compress, protocol=protocol) for v in VALUES]
    assert file.bytes() == b"".join(expected)
    source = io.BytesIO(file.bytes())
    for value in VALUES:
        assert_isomorphic(value, fastpersist.load(source))
    with pytest.raises(EOFError):
        fastpersist.load(source)


@contextlib.contextmanager
def in_thread(function):
    """Runs a function meanwhile; its exception is the test's."""
    failures = []

    def run():
        try:
            function()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("compress", CODECS)
def test_through_a_pipe(compress, threads):
    """Several dumps, loaded as they come: each load takes its own and no byte more."""
    reader, writer = os.pipe()

    def send():
        with open(writer, "wb", buffering=0) as file:
            for value in VALUES:
                fastpersist.dump(value, file, compress=compress, threads=threads)

    with in_thread(send), open(reader, "rb") as file:
        for value in VALUES:
            assert_isomorphic(value, fastpersist.load(file, threads=threads))
        with pytest.raises(EOFError):
            fastpersist.load(file)


@pytest.mark.parametrize("compress", CODECS)
def test_through_a_socket(compress):
    """The second dump is sent when the first was loaded: nobody waits for more than one dump."""
    one, other = socket.socketpair()
    with one, other:
        with one.makefile("wb") as to, other.makefile("rb") as file:
            for value in (VALUES[0], VALUES[1], VALUES[3]):

                def send(value=value):
                    fastpersist.dump(value, to, compress=compress)
                    to.flush()

                with in_thread(send):
                    assert_isomorphic(value, fastpersist.load(file))


@pytest.mark.parametrize("compress", CODECS)
def test_one_after_the_other_in_a_file(compress, tmp_path):
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.write(b"in front")
        for value in VALUES:
            fastpersist.dump(value, file, compress=compress)
        file.write(b"behind")
    for buffering in (-1, 0):
        with open(path, "rb", buffering=buffering) as file:
            file.seek(len(b"in front"))
            for value in VALUES:
                assert_isomorphic(value, fastpersist.load(file))
            assert file.read() == b"behind"


def test_codecs_mixed():
    file = io.BytesIO()
    for compress in (0, "lz4", "zlib", 0, "xz", "gzip", "bz2", 0):
        fastpersist.dump([compress], file, compress=compress)
    file.seek(0)
    for compress in (0, "lz4", "zlib", 0, "xz", "gzip", "bz2", 0):
        assert fastpersist.load(file) == [compress]


@pytest.mark.parametrize("compress", [0, "lz4", "zlib"])
@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_into_files_that_compress_by_themselves(module, compress, tmp_path):
    path = tmp_path / "file"
    with module.open(path, "wb") as file:
        for value in VALUES:
            fastpersist.dump(value, file, compress=compress)
    with module.open(path) as file:
        for value in VALUES:
            assert_isomorphic(value, fastpersist.load(file))
        with pytest.raises(EOFError):
            fastpersist.load(file)
    if not compress:
        assert_isomorphic(VALUES[0], fastpersist.load(path))
        assert_isomorphic(VALUES[0], joblib.load(path))


@pytest.mark.parametrize("compress", [0, "lz4", "gzip"])
def test_members_of_archives(compress, tmp_path):
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("model", "w") as file:
            fastpersist.dump(VALUES[0], file, compress=compress)
    with zipfile.ZipFile(tmp_path / "zip") as archive, archive.open("model") as file:
        assert_isomorphic(VALUES[0], fastpersist.load(file))
    data = file_bytes(VALUES[0], compress=compress)
    with tarfile.open(tmp_path / "tar", "w") as archive:
        member = tarfile.TarInfo("model")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    with tarfile.open(tmp_path / "tar") as archive:
        assert_isomorphic(VALUES[0], fastpersist.load(archive.extractfile("model")))


@pytest.mark.parametrize("compress", CODECS)
def test_the_file_is_called_by_the_calling_thread_alone(compress):
    class Asks(OnlyWrite):
        def __init__(self, data=b""):
            super().__init__()
            self.source = io.BytesIO(data)

        def write(self, data):
            assert threading.current_thread() is caller
            return super().write(data)

        def read(self, n=-1):
            assert threading.current_thread() is caller
            return self.source.read(n)

        def readline(self):
            assert threading.current_thread() is caller
            return self.source.readline()

    caller = threading.current_thread()
    file = Asks()
    fastpersist.dump(VALUES[2], file, compress=compress, threads=4)
    assert_isomorphic(VALUES[2], fastpersist.load(Asks(file.bytes()), threads=4))


@pytest.mark.parametrize("compress", CODECS)
def test_a_dump_inside_a_dump(compress):
    """A write() that dumps, and an object whose reducer does."""
    inner = io.BytesIO()

    class Dumps(OnlyWrite):
        def write(self, data):
            fastpersist.dump([len(data)], inner, compress=compress)
            return super().write(data)

    class Reduces:
        def __reduce__(self):
            fastpersist.dump("inside", inner, compress=compress)
            return int, ()

    file = Dumps()
    fastpersist.dump([VALUES[2], Reduces()], file, compress=compress)
    assert_isomorphic([VALUES[2], 0], fastpersist.load(io.BytesIO(file.bytes())))
    inner.seek(0)
    found = []
    while inner.tell() < len(inner.getvalue()):
        found.append(fastpersist.load(inner))
    assert found.count("inside") == 1
    found.remove("inside")
    assert sum(n for (n,) in found) == len(file.bytes())


def test_writers_and_readers_of_the_core_are_used_by_one_at_a_time():
    """What a file object's own methods can do to the stream that calls them."""
    from fastpersist._core import Lz4Reader, Lz4Writer

    class Meddles(OnlyWrite):
        def write(self, data):
            with pytest.raises(RuntimeError, match="in use"):
                writer.write(b"x")
            if not closing:
                with pytest.raises(RuntimeError, match="in use"):
                    writer.close()
            writer.abandon()  # does nothing now
            return super().write(data)

    file = Meddles()
    closing = False
    writer = Lz4Writer(file, 0, 2)
    writer.write(os.urandom(9 << 20))
    assert file.pieces
    closing = True
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"x")

    class MeddlesToo(io.BytesIO):
        def readinto(self, target):
            with pytest.raises(RuntimeError, match="in use"):
                reader.readinto(bytearray(5))
            reader.close()
            return super().readinto(target)

    reader = Lz4Reader(MeddlesToo(file.bytes()), 2)
    target = bytearray(10 << 20)
    n_made = 0
    while n_more := reader.readinto(memoryview(target)[n_made:]):
        n_made += n_more
    assert n_made == 9 << 20
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.readinto(target)
    for wrong in (-1, 1 << 40):
        with pytest.raises((ValueError, OverflowError)):
            Lz4Writer(wrong, 0, 1)
    with pytest.raises(AttributeError):
        Lz4Writer(object(), 0, 1)
    with pytest.raises(AttributeError):
        Lz4Reader(object(), 1)


def test_an_atomic_file_of_ones_own(tmp_path):
    from fastpersist._core import AtomicFile

    path = tmp_path / "file"
    path.write_bytes(b"old")
    file = AtomicFile(str(path), False)
    os.write(file.fileno(), b"new")
    assert path.read_bytes() == b"old"
    assert os.path.dirname(file.name) == str(tmp_path)
    file.commit()
    assert path.read_bytes() == b"new"
    for call in (file.commit, file.fileno, lambda file=file: file.name):
        with pytest.raises(ValueError, match="closed"):
            call()
    file.abort()
    for give_up in (lambda f: f.abort(), lambda f: None):
        file = AtomicFile(os.fsencode(path), True)
        os.write(file.fileno(), b"never")
        give_up(file)
        del file
        assert path.read_bytes() == b"new"
        assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(FileNotFoundError) as caught:
        AtomicFile(str(tmp_path / "none" / "file"), False)
    assert caught.value.filename == str(tmp_path / "none" / "file")


def test_every_codec_is_here():
    assert [c.values[0] if hasattr(c, "values") else c for c in CODECS][1:] == [*COMPRESSORS]
