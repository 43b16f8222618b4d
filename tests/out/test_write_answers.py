"""What write() answers, and what pickle and joblib make of it: nothing, unless it is a raw file.

Every case runs beside joblib (the same codec where it has it) and pickle. Meant to differ, for raw
files alone: there the two lose what a short write() left, in silence.
"""

import errno
import functools
import gc
import io
import os
import pickle
import socket
import sys
import tempfile
import types
from unittest import mock

import fastpersist
import joblib
import numpy as np
import pytest
from compare import assert_isomorphic
from fastpersist._core import Lz4Writer
from helpers import run_python

HAS_ZSTD = sys.version_info >= (3, 14)
try:
    import zstandard

    HAS_ZSTD = True
except ImportError:
    zstandard = None

NOISE = np.random.default_rng(0).integers(0, 256, 30_000, "u1")
VALUE = {"array": np.arange(9000.0), "noise": NOISE, "text": "é" * 20_000}


# The standard library tells, each Python in words of its own, when its wrappers and buffers, around
# files that a test has made up or closed, are dropped without close(): here, not in a later test.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def dropped_here():
    yield
    gc.collect()


# ---------------------------------------------------------------- ways out


def registered(file):
    """Through a compressor of a user's, whose own write() answers, too."""

    class Plain:
        read = write = seek = tell = None

        def __init__(self, target, mode):
            self.write = target.write
            self.close = lambda: None

    with mock.patch.dict(fastpersist.codecs.registry.COMPRESSORS):
        fastpersist.register_compressor("plain", fastpersist.CompressorWrapper(Plain, b"<plain>"))
        fastpersist.dump(VALUE, file, compress="plain")


def lz4_writer(file):
    writer = Lz4Writer(file, 0, 2)
    writer.write(pickle.dumps(VALUE))
    writer.close()


def dumps_with(**keywords):
    return lambda file: fastpersist.dump(VALUE, file, **keywords)


CODECS = ["zlib", "gzip", "bz2", "lzma", "xz", "lz4"]
JOBLIBS_CODECS = [codec for codec in CODECS if codec != "lz4"]
if HAS_ZSTD:
    CODECS.append("zstd")
WAYS = {
    "plain": dumps_with(),
    "plain, one thread": dumps_with(threads=1),
    **{codec: dumps_with(compress=codec) for codec in CODECS},
    "lz4, one thread": dumps_with(compress="lz4", threads=1),
    "lz4 3": dumps_with(compress=("lz4", 3)),
    "layout joblib": dumps_with(layout="joblib"),
    "layout joblib, zlib": dumps_with(layout="joblib", compress="zlib"),
    **{f"protocol {number}": dumps_with(protocol=number) for number in range(5)},
    "protocol 2, zlib": dumps_with(protocol=2, compress="zlib"),
    "as sidecar": lambda file: fastpersist.dump(VALUE, io.BytesIO(), sidecar=file),
    "with a sidecar": lambda file: fastpersist.dump(VALUE, file, sidecar=io.BytesIO()),
    "registered": registered,
    "Lz4Writer": lz4_writer,
}
# The peers' ways out, which look at no answer either.
PEERS = {
    "pickle": lambda file: pickle.dump(VALUE, file),
    "pickle 2": lambda file: pickle.dump(VALUE, file, 2),
    "joblib": lambda file: joblib.dump(VALUE, file),
    **{
        f"joblib, {codec}": lambda file, codec=codec: joblib.dump(VALUE, file, codec)
        for codec in JOBLIBS_CODECS
    },
}


@functools.cache
def bytes_of(name):
    """What a way writes to a file that is beyond doubt."""
    file = io.BytesIO()
    {**WAYS, **PEERS}[name](file)
    return file.getvalue()


ways = pytest.mark.parametrize("way", WAYS)
ways_and_peers = pytest.mark.parametrize("way", [*WAYS, *PEERS])


def run(way, file):
    {**WAYS, **PEERS}[way](file)


# ---------------------------------------------------------------- whatever it answers


class Answers:
    """Takes everything, and says what it likes."""

    def __init__(self, answer):
        self.pieces = []
        self.answer = answer

    def write(self, data):
        self.pieces.append(bytes(data))
        return self.answer(data) if callable(self.answer) else self.answer

    def tell(self):
        return sum(map(len, self.pieces))

    def bytes(self):
        return b"".join(self.pieces)


class AnswersAsIOBase(Answers, io.IOBase):
    pass


class AnswersAsBuffered(Answers, io.BufferedIOBase):
    pass


ANSWERS = {
    "None": None,
    "True": True,
    "False": False,
    "0": 0,
    "1": 1,
    "-1": -1,
    "a huge number": 10**30,
    "NumPy's": np.int64(3),
    "a float": 2.5,
    "text": "three",
    "bytes": b"",
    "an object": object(),
    "half": lambda data: memoryview(data).nbytes // 2,
    "twice": lambda data: 2 * memoryview(data).nbytes,
    "one less": lambda data: memoryview(data).nbytes - 1,
    "the data": lambda data: data,
}


@pytest.mark.parametrize("answer", ANSWERS)
@ways_and_peers
def test_the_answer_does_not_count(way, answer):
    file = Answers(ANSWERS[answer])
    run(way, file)
    assert file.bytes() == bytes_of(way)


@pytest.mark.parametrize("kind", [AnswersAsIOBase, AnswersAsBuffered])
@pytest.mark.parametrize("answer", [True, 0, 7, None], ids=repr)
@ways_and_peers
def test_nor_of_other_io_classes(way, kind, answer):
    """Their contract is to take everything, or to raise."""
    file = kind(answer)
    run(way, file)
    assert file.bytes() == bytes_of(way)


def with_function(file):
    return types.SimpleNamespace(write=lambda data: file.write(data), tell=file.tell)


def with_method(file):
    return types.SimpleNamespace(write=file.write, tell=file.tell)


def with_builtin(file):
    """list.append(): None, and bound to something that is no file."""
    return types.SimpleNamespace(write=file.pieces.append, tell=file.tell)


def with_partial(file):
    return types.SimpleNamespace(write=functools.partial(file.write), tell=file.tell)


def wrapped(file):
    @functools.wraps(file.write)
    def write(data):
        return file.write(data)

    return types.SimpleNamespace(write=write, tell=file.tell)


def wrapped_in_a_circle(file):
    def write(data):
        return file.write(data)

    write.__wrapped__ = write
    return types.SimpleNamespace(write=write, tell=file.tell)


def mocked(file):
    """A mock that says it is a raw file, and answers a mock, which says it is the number 1."""
    mocked = mock.MagicMock(spec=io.FileIO)
    mocked.write.side_effect = lambda data: (file.write(data), mock.MagicMock())[1]
    mocked.tell.side_effect = file.tell
    return mocked


@pytest.mark.parametrize(
    "around",
    [with_function, with_method, with_builtin, with_partial, wrapped, wrapped_in_a_circle, mocked],
)
@ways_and_peers
def test_whatever_write_is(way, around):
    file = Answers(True)
    run(way, around(file))
    assert file.bytes() == bytes_of(way)


def another_method_of_a_raw_file(file):
    """write is bound to an io.RawIOBase, and is not its write()."""

    class Uploads(io.RawIOBase):
        def upload(self, data):
            file.write(data)

    return types.SimpleNamespace(write=Uploads().upload, tell=file.tell)


@ways_and_peers
def test_another_method_of_a_raw_file(way):
    file = Answers(None)
    run(way, another_method_of_a_raw_file(file))
    assert file.bytes() == bytes_of(way)


@pytest.mark.skipif(zstandard is None, reason="needs zstandard")
@pytest.mark.parametrize("returns_read", [True, False])
# What joblib's layout is padded to depends on tell(), which counts compressed bytes here.
@pytest.mark.parametrize("way", [way for way in [*WAYS, *PEERS] if way != "joblib"])
def test_a_stream_that_says_what_it_put_out(way, returns_read):
    """zstandard's answers how many compressed bytes it wrote: 0 as long as it buffers."""
    target = io.BytesIO()
    compressor = zstandard.ZstdCompressor()
    with compressor.stream_writer(target, closefd=False, write_return_read=returns_read) as file:
        run(way, file)
    decoded = zstandard.ZstdDecompressor().decompressobj().decompress(target.getvalue())
    assert decoded == bytes_of(way)


class Uploads(tempfile.SpooledTemporaryFile):
    """A subclass that says nothing: what SpooledTemporaryFile says is not said here."""

    def write(self, data):
        super().write(data)


@ways_and_peers
def test_a_spooled_file_that_says_nothing(way):
    with Uploads(max_size=100_000, buffering=0) as file:
        run(way, file)
        file.seek(0)
        assert file.read() == bytes_of(way)


# ---------------------------------------------------------------- raw files


class Short(io.RawIOBase):
    """Takes less than it is given, as raw files may."""

    def __init__(self, most=None):
        self.data = bytearray()
        self.most = most

    def writable(self):
        return True

    def tell(self):
        return len(self.data)

    def write(self, data):
        piece = bytes(data)[: self.most or max(1, memoryview(data).nbytes // 3)]
        self.data += piece
        return len(piece)

    def bytes(self):
        return bytes(self.data)


class ShortInNumPy(Short):
    def write(self, data):
        return np.int64(super().write(data))


@io.RawIOBase.register
class ShortByRegistration:
    def __init__(self):
        self._file = Short()
        self.tell = self._file.tell
        self.bytes = self._file.bytes

    def write(self, data):
        return self._file.write(data)


class Delegates:
    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)


class HasItAsProperty:
    def __init__(self, file):
        self._file = file
        self.tell = file.tell

    write = property(lambda self: self._file.write)


def temporary(file):
    return tempfile._TemporaryFileWrapper(file, "its name", delete=False)


def spooled(file):
    class Spooled(tempfile.SpooledTemporaryFile):
        def __del__(self):
            """The one of the class warns that it was not closed."""

    wrapper = Spooled(max_size=1)
    wrapper._file = file
    wrapper._rolled = True
    return wrapper


RAW = {
    "a subclass": lambda: (file := Short(), file),
    "4 KiB at once": lambda: (file := Short(1 << 12), file),
    "NumPy's numbers": lambda: (file := ShortInNumPy(), file),
    "registered": lambda: (file := ShortByRegistration(), file),
    "TemporaryFileWrapper": lambda: (file := Short(), temporary(file)),
    "SpooledTemporaryFile": lambda: (file := Short(), spooled(file)),
    "__getattr__": lambda: (file := Short(), Delegates(file)),
    "twice": lambda: (file := Short(), Delegates(temporary(file))),
    "property": lambda: (file := Short(), HasItAsProperty(file)),
    "attribute": lambda: (file := Short(), with_method(file)),
    "functools.wraps": lambda: (file := Short(), wrapped(file)),
}


@pytest.mark.parametrize("kind", RAW)
@ways
def test_raw_files_are_offered_the_rest(way, kind):
    file, target = RAW[kind]()
    run(way, target)
    assert file.bytes() == bytes_of(way)


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.parametrize("way", PEERS)
def test_which_peers_lose(way, kind):
    """Meant to differ: what they wrote cannot be read."""
    file, target = RAW[kind]()
    run(way, target)
    assert file.bytes() != bytes_of(way)
    with pytest.raises(Exception):  # noqa: B017 - whatever a cut file brings
        joblib.load(io.BytesIO(file.bytes()))


@ways
def test_as_a_buffered_writer_does(way):
    """The peer that keeps the contract of raw files."""
    file = Short()
    with io.BufferedWriter(file) as buffered:
        file.close = lambda: None
        run(way, buffered)
    assert file.bytes() == bytes_of(way)


class Lies(io.RawIOBase):
    def __init__(self, answer):
        self.answer = answer
        self.n_calls = 0

    def writable(self):
        return True

    def tell(self):
        return 0

    def write(self, data):
        self.n_calls += 1
        return self.answer


@pytest.mark.parametrize("answer", [0, -1, 10**30, True, False, "three", 2.5, b"x"], ids=repr)
@ways
def test_a_raw_file_that_lies(way, answer):
    file = Lies(answer)
    with pytest.raises(OSError, match=r"write\(\) of an io.RawIOBase returned .*, not") as caught:
        run(way, file)
    assert type(caught.value) is OSError
    assert file.n_calls == 1


@pytest.mark.parametrize("answer", [-1, 10**30, "three", 2.5, b"x"], ids=repr)
def test_a_raw_file_that_lies_to_the_standard_library(answer):
    """So does io.BufferedWriter. Meant to differ: of 0 it makes a loop without end, and of True it
    makes one byte, which is what makes garbage."""
    file = Lies(answer)
    buffered = io.BufferedWriter(file)
    buffered.write(b"x")
    with pytest.raises((OSError, TypeError)):  # 3.11 makes an OSError of the TypeError
        buffered.flush()
    file.answer = 1
    buffered.close()


@ways
def test_a_raw_file_that_would_have_to_wait(way):
    file = Lies(None)
    with pytest.raises(BlockingIOError, match="would have to wait") as caught:
        run(way, file)
    assert caught.value.errno == errno.EAGAIN
    buffered = io.BufferedWriter(file)
    buffered.write(b"x")
    with pytest.raises(BlockingIOError):
        buffered.flush()
    file.answer = 1
    buffered.close()


@ways
def test_a_pipe_that_would_block(way):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(reader, "rb") as source, open(writer, "wb", buffering=0) as file:
        with pytest.raises(BlockingIOError) as caught:
            while True:
                run(way, file)
        assert caught.value.errno == errno.EAGAIN
        file.close()
        assert source.read(1000) == (bytes_of(way) * 2)[:1000]


@ways
def test_a_socket_without_a_buffer(way):
    one, other = socket.socketpair()
    with one, other:
        other.setblocking(False)
        with other.makefile("wb", buffering=0) as file:
            with pytest.raises(BlockingIOError):
                while True:
                    run(way, file)


FULL_DISK = """
import errno, io, os, resource, sys, tempfile
import joblib, pickle
import numpy as np
import fastpersist

value = np.random.default_rng(0).integers(0, 256, 3 << 20, "u1")
LIMIT = 1 << 20
KINDS = {
    "FileIO": lambda: open(os.path.join(directory, "file"), "w+b", buffering=0),
    "NamedTemporaryFile": lambda: tempfile.NamedTemporaryFile(buffering=0, dir=directory),
    "TemporaryFile": lambda: tempfile.TemporaryFile(buffering=0, dir=directory),
    "SpooledTemporaryFile": lambda: tempfile.SpooledTemporaryFile(
        max_size=10, buffering=0, dir=directory),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
with tempfile.TemporaryDirectory(dir=sys.argv[1]) as directory:
    for make in KINDS.values():
        for keywords in ({}, {"compress": "zlib"}, {"compress": "lz4"}, {"compress": "xz"},
                         {"layout": "joblib"}, {"protocol": 2}):
            with make() as file:
                try:
                    fastpersist.dump(value, file, **keywords)
                except OSError as error:
                    assert error.errno == errno.EFBIG, error
                else:
                    raise AssertionError((file, keywords))
        # The last write that still succeeds takes a part. pickle says nothing.
        with make() as file:
            file.write(bytes(LIMIT - 20_000))
            pickle.dump(list(range(20_000)), file)
            assert file.seek(0, 2) == LIMIT
        with make() as file:
            file.write(bytes(LIMIT - 20_000))
            try:
                fastpersist.dump(list(range(20_000)), file)
            except OSError as error:
                assert error.errno == errno.EFBIG, error
            else:
                raise AssertionError(file)
"""


def test_a_disk_that_is_full(tmp_path):
    """Where the last write() takes less, nobody knows who does not look."""
    run_python(FULL_DISK, tmp_path)


def test_temporary_files_that_are_not_raw():
    """With a buffer they take everything, and say so."""
    for make in (tempfile.NamedTemporaryFile, tempfile.TemporaryFile):
        for buffering in (-1, 0):
            with make(buffering=buffering) as file:
                fastpersist.dump(VALUE, file, compress="zlib")
                file.seek(0)
                assert_isomorphic(VALUE, fastpersist.load(file))
    for buffering in (-1, 0):
        with tempfile.SpooledTemporaryFile(max_size=100_000, buffering=buffering) as file:
            fastpersist.dump(VALUE, file)
            assert file._rolled
            file.seek(0)
            assert_isomorphic(VALUE, fastpersist.load(file))


@ways
def test_a_write_that_raises(way):
    class Stops(Short):
        def write(self, data):
            if len(self.data) > 1000:
                raise OSError(errno.EDQUOT, "no more")
            return super().write(data)

    file = Stops()
    with pytest.raises(OSError, match="no more"):
        run(way, file)
    assert bytes_of(way).startswith(file.bytes())
    assert len(file.bytes()) < len(bytes_of(way))


def test_an_attribute_that_raises():
    class Odd:
        def __init__(self):
            self.n_left = 1  # dump() asks whether it is there

        @property
        def write(self):
            self.n_left -= 1
            if self.n_left < 0:
                raise ZeroDivisionError

    for compress in (0, "zlib", "lz4"):
        with pytest.raises(ZeroDivisionError):
            fastpersist.dump(1, Odd(), compress=compress)
