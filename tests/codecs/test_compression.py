"""compress=: joblib's rules, streams that everybody reads, the same bytes from all threads."""

import bz2
import functools
import gzip
import io
import itertools
import lzma
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
import zlib

import array_values
import fastpersist
import fastpersist.files.loading
import joblib
import numpy as np
import pytest
import sample_classes as s
from compare import assert_isomorphic
from fastpersist import CompressorWrapper, CorruptFileError, register_compressor
from fastpersist.codecs.registry import COMPRESSORS, detect
from helpers import file_bytes, run_python

try:
    import lz4.frame
except ImportError:  # an extra of the tests
    lz4 = None
try:
    import zstd_frames
except ImportError:
    zstd_frames = None

pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*chararray.*:DeprecationWarning"),
    # python-lz4's reader, which joblib uses, on Python 3.13: flushes a closed file at its end.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <_io.BufferedReader>:pytest.PytestUnraisableExceptionWarning"
    ),
]

needs_zstd = pytest.mark.skipif(zstd_frames is None, reason="needs zstd")
needs_lz4 = pytest.mark.skipif(lz4 is None, reason="needs the package lz4")
NAMES = ["zlib", "gzip", "bz2", "lzma", "xz", "lz4", pytest.param("zstd", marks=needs_zstd)]
# Those that several threads work on.
PARALLEL = ["zlib", "gzip", "lz4", pytest.param("zstd", marks=needs_zstd)]
PROGRAMS = {"gzip": "gzip", "bz2": "bzip2", "xz": "xz", "lzma": "xz", "lz4": "lz4", "zstd": "zstd"}
EXTENSIONS = {
    "zlib": ".z",
    "gzip": ".gz",
    "bz2": ".bz2",
    "lzma": ".lzma",
    "xz": ".xz",
    "lz4": ".lz4",
    "zstd": ".zst",
}


def large():
    """Several blocks of every kind: noise, what compresses, and a graph."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal(40_000)
    return {
        "noise": rng.integers(0, 256, 2_500_000, "u1"),
        "weights": rng.standard_normal((600, 600)).astype("f4"),
        "zeros": np.zeros((700, 500)),
        "sorted": np.arange(300_000),
        "shared": [shared, shared],
        "records": [{"id": i, "name": f"user{i % 700}", "score": i / 7} for i in range(12_000)],
        "text": "".join(f"line {i * i} of the text\n" for i in range(20_000)),
        "bytes": bytes(100_000),
    }


LARGE = large()
LARGE_PICKLED = pickle.dumps(LARGE, 5)
# For the codecs that have no blocks of ours, and are slow.
MEDIUM = {
    "noise": LARGE["noise"][:300_000],
    "records": LARGE["records"][:2000],
    "text": LARGE["text"],
}


def value_for(name):
    return LARGE if name in ("zlib", "gzip", "lz4", "zstd") else MEDIUM


@functools.cache
def compressed(name):
    return file_bytes(value_for(name), compress=name)


def assert_same(expected, value):
    """As assert_isomorphic, and no weaker: pickle writes the same for both, identities and all.

    A tenth of the time, for a value of LARGE's size.
    """
    pickled = LARGE_PICKLED if expected is LARGE else pickle.dumps(expected, 5)
    if pickle.dumps(value, 5) != pickled:
        assert_isomorphic(expected, value)
        raise AssertionError("pickle writes something else")


def each_pair(names, levels, protocols):
    """Rows (name, level, protocol): every two of them meet, as what is pickled and how it is
    compressed know nothing of each other."""
    first, *others = protocols
    rows = []
    for i, name in enumerate(names):
        marks = getattr(name, "marks", ())
        name = name.values[0] if marks else name
        chosen = [(level, first) for level in levels]
        chosen += [(levels[(i + j) % len(levels)], other) for j, other in enumerate(others)]
        rows += [pytest.param(name, *two, marks=marks) for two in chosen]
    return rows


def dumped(value, path, **kwargs):
    assert fastpersist.dump(value, path, **kwargs) == [str(path)]
    return path.read_bytes()


def decompressed(name, data):
    """What a stream holds, by the codec's own library."""
    if name == "lz4":
        return lz4.frame.decompress(data)
    if name == "zstd":
        return zstd_frames.decompressed(data)
    modules = {"zlib": zlib, "gzip": gzip, "bz2": bz2, "lzma": lzma, "xz": lzma}
    return modules[name].decompress(data)


def joblib_reads(name):
    return name != "zstd" and (name != "lz4" or lz4 is not None)


@pytest.fixture
def registry():
    """What a test registers is gone behind it."""
    before = dict(COMPRESSORS)
    yield COMPRESSORS
    COMPRESSORS.clear()
    COMPRESSORS.update(before)


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize(
    ("name", "level", "protocol"), each_pair(NAMES, [None, 1, 6, 9], [None, 4, 2])
)
def test_what_we_write_everybody_reads(name, level, protocol, tmp_path):
    value = LARGE if name in ("zlib", "gzip", "lz4", "zstd") else {"text": LARGE["text"]}
    if level == 9 and name in ("bz2", "lzma", "xz"):
        value = [1, "two", np.arange(5000)]
    path = tmp_path / "file"
    data = dumped(value, path, compress=(name, level), protocol=protocol)
    assert_same(value, fastpersist.load(path))
    assert_same(value, fastpersist.load(path, threads=1))
    assert_same(value, fastpersist.load(io.BytesIO(data)))
    if joblib_reads(name):
        assert_same(value, joblib.load(path))
    assert data == file_bytes(value, compress=(name, level), protocol=protocol)


@pytest.mark.parametrize("name", NAMES)
def test_the_content_is_the_uncompressed_dump(name, tmp_path):
    """Read by the codec's own library."""
    data = dumped(value_for(name), tmp_path / "file", compress=name)
    assert data == compressed(name)
    if name != "lz4" or lz4 is not None:
        assert decompressed(name, data) == file_bytes(value_for(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_codecs_program_reads_it(name):
    program = PROGRAMS.get(name)
    if program is None or shutil.which(program) is None:
        pytest.skip(f"needs the program {program or 'of zlib, which there is not'}")
    command = [program, "-dc"] + (["--format=lzma"] if name == "lzma" else [])
    done = subprocess.run(command, input=compressed(name), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == file_bytes(value_for(name))


@pytest.mark.parametrize("codec", ["zlib", "gzip", "lz4"])
def test_every_kind_of_object(codec, tmp_path):
    values = {name: make() for name, make in array_values.everything().items()}
    values["objects"] = [s.Plain(a=[1]), {"k": (1, 2.5, None)}, {1, 2}, b"bytes", "é" * 20_000]
    for name, value in values.items():
        path = tmp_path / "file"
        fastpersist.dump(value, path, compress=codec)
        expected = fastpersist.load(io.BytesIO(file_bytes(value)))
        try:
            assert_isomorphic(expected, fastpersist.load(path))
        except AssertionError as error:
            error.add_note(name)
            raise


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_bytes", [0, 1, 100, 1 << 16, (1 << 20) - 200, 1 << 20, 2 << 20])
def test_sizes_around_a_block(name, n_bytes, tmp_path):
    for value in (bytes(n_bytes), np.random.default_rng(0).bytes(n_bytes)):
        data = file_bytes(value, compress=name)
        assert fastpersist.load(io.BytesIO(data)) == value
        if name != "lzma":  # which has no way to store
            assert len(data) < 1000 + n_bytes * 1.006, "what cannot be compressed does not grow"


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize(
    ("name", "level", "protocol"), each_pair(PARALLEL, [None, 1, 9], [None, 3])
)
def test_bytes_do_not_depend_on_the_number_of_threads(name, level, protocol, tmp_path):
    kwargs = {"compress": (name, level), "protocol": protocol}
    expected = file_bytes(LARGE, threads=3, **kwargs)
    for n in (1, 2, 4, 33):
        data = dumped(LARGE, tmp_path / "file", threads=n, **kwargs)
        assert data == expected, f"{n} threads: {differing(name, data, expected)}"


def differing(name, data, expected):
    """What differs of two streams: their lengths, the first byte, and that of what they hold."""
    pairs = [(data, expected)]
    if name != "lz4" or lz4 is not None:
        pairs.append((decompressed(name, data), decompressed(name, expected)))
    return [
        (
            len(a),
            len(b),
            next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None),
        )
        for a, b in pairs
    ]


def n_threads():
    return len(os.listdir("/proc/self/task"))


def assert_threads(expected):
    """A thread that was joined may be listed for a moment more."""
    for _ in range(200):
        if n_threads() == expected:
            return
        time.sleep(0.01)
    assert n_threads() == expected


class Watching(io.BytesIO):
    """A file object that notes how many threads there are."""

    def __init__(self, data=b""):
        super().__init__(data)
        self.most = n_threads()

    def write(self, data):
        self.most = max(self.most, n_threads())
        return super().write(data)

    def readinto(self, target):
        self.most = max(self.most, n_threads())
        return super().readinto(target)

    def read(self, n=-1):
        self.most = max(self.most, n_threads())
        return super().read(n)

    read1 = read


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("name", NAMES)
def test_threads_start_when_asked_for_and_end_with_the_call(name):
    value = LARGE if name in ("zlib", "gzip", "lz4", "zstd") else LARGE["text"]
    for threads in (1, 4):
        before, names = n_threads(), threading.enumerate()
        file = Watching()
        fastpersist.dump(value, file, compress=name, threads=threads)
        assert file.most <= before + threads - 1
        if threads == 4 and value is LARGE and name != "zstd":
            assert file.most > before, "several do work on it"
        assert_threads(before)
        assert threading.enumerate() == names
        file = Watching(file.getvalue())
        assert_same(value, fastpersist.load(file, threads=threads))
        assert file.most <= before + threads - 1
        assert_threads(before)
        assert threading.enumerate() == names


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("name", PARALLEL)
def test_no_thread_is_left_behind_a_failure(name, tmp_path):
    time.sleep(0.05)
    before = n_threads()

    class Full:
        n = 0

        def write(self, data):
            self.n += 1
            if self.n == 3:
                raise OSError("full")
            return len(data)

    for _ in range(3):
        with pytest.raises(OSError, match="full"):
            fastpersist.dump(LARGE, Full(), compress=name, threads=4)
        with pytest.raises(ZeroDivisionError):
            fastpersist.dump([LARGE, Failing()], tmp_path / "f", compress=name, threads=4)
        damaged = bytearray(compressed(name))
        damaged[len(damaged) // 2] ^= 0x55
        with pytest.raises(CorruptFileError):
            fastpersist.load(io.BytesIO(bytes(damaged)), threads=4)
        assert_threads(before)
    assert os.listdir(tmp_path) == []


def test_the_environment_overrides_the_default_number(monkeypatch, tmp_path):
    for text in ("0", "-1", "two", "", "1.5"):
        monkeypatch.setenv("FASTPERSIST_THREADS", text)
        with pytest.raises(ValueError, match="FASTPERSIST_THREADS must be a positive integer"):
            fastpersist.dump(1, tmp_path / "file")
        with pytest.raises(ValueError, match="FASTPERSIST_THREADS must be a positive integer"):
            fastpersist.load(io.BytesIO(pickle.dumps(1)))
        fastpersist.dump(1, tmp_path / "file", threads=1)
        assert fastpersist.load(tmp_path / "file", threads=1) == 1
        (tmp_path / "file").unlink()
    monkeypatch.setenv("FASTPERSIST_THREADS", "1")
    if sys.platform == "linux":
        file, before = Watching(), n_threads()
        fastpersist.dump(LARGE, file, compress="lz4")
        assert file.most == before
        monkeypatch.setenv("FASTPERSIST_THREADS", " 3 ")
        file = Watching()
        fastpersist.dump(LARGE, file, compress="lz4")
        assert before < file.most <= before + 2


# ---------------------------------------------------------------- joblib's rules


def text_of(call, *arguments, **keywords):
    """Type and text of what a call raises; without what differs between the two registries."""
    try:
        call(*arguments, **keywords)
    except Exception as error:
        text = re.sub(r"values are [\[{].*zlib.*[\]}]", "values are {...}", str(error))
        return type(error), re.sub(
            r"0x[0-9a-f]+|joblib\.compressor\.|fastpersist\.[\w.]*\.", "", text
        )
    return None


class NotThere:
    """No file, no path."""

    def __str__(self):
        return "NotThere"


REFUSED = [10, -1, 1.5, "10", "", "nothing", "ZLIB", ("zlib", 10), ("zlib", -1), ("zlib", "3")]
REFUSED += [("nothing", 3), ("zlib",), ("zlib", 3, 1), (), [1], ["zlib", 3], ("lzma", 12), 3.5]
REFUSED += [("zlib", 2.0), 4.0, ("bz2", 11), (None, 3), ("gzip", 1.0), (3, "zlib")]


@pytest.mark.parametrize("compress", REFUSED, ids=repr)
def test_refused_as_joblib_refuses(compress, tmp_path):
    expected = text_of(joblib.dump, 1, str(tmp_path / "theirs"), compress=compress)
    assert expected is not None
    assert text_of(fastpersist.dump, 1, str(tmp_path / "ours"), compress=compress) == expected
    assert text_of(fastpersist.dump, 1, io.BytesIO(), compress=compress) == expected
    assert text_of(fastpersist.dump, 1, NotThere(), compress=compress) == text_of(
        joblib.dump, 1, NotThere(), compress=compress
    )
    assert not (tmp_path / "ours").exists(), "refused before anything is opened"


@pytest.mark.parametrize(
    "target", [b"bytes", 3, None, NotThere()], ids=["bytes", "int", "None", "object"]
)
def test_what_is_no_target(target):
    for compress in (0, True, "zlib"):
        expected = text_of(joblib.dump, 1, target, compress=compress)
        assert text_of(fastpersist.dump, 1, target, compress=compress) == expected


SETTINGS = [0, False, True, None, 1, 3, 9, "zlib", "gzip", "bz2", "xz", ("gzip", 3), ("zlib", 0)]
SETTINGS += [("zlib", False), ("xz", None), ("lzma", 1), ("bz2", True), ("zlib", True)]
ENDINGS = ["", ".z", ".gz", ".bz2", ".xz", ".lzma", ".gz.pkl", ".pkl.gz", "gz", ".Z"]
if lz4 is not None:
    SETTINGS += ["lz4", ("lz4", 0), ("lz4", 9)]
    ENDINGS += [".lz4"]


@pytest.mark.parametrize("compress", SETTINGS, ids=repr)
def test_the_codec_is_the_one_that_joblib_chooses(compress, tmp_path):
    for ending in ENDINGS:
        ours, theirs = str(tmp_path / f"ours{ending}"), str(tmp_path / f"theirs{ending}")
        assert joblib.dump("value", theirs, compress=compress) == [theirs]
        assert fastpersist.dump("value", ours, compress=compress) == [ours]
        assert kind(ours) == kind(theirs), ending
        assert joblib.load(ours) == fastpersist.load(theirs) == fastpersist.load(ours) == "value"
    ours, theirs = io.BytesIO(), io.BytesIO()
    ours.name = theirs.name = "name.xz"
    assert fastpersist.dump("value", ours, compress=compress) is None
    assert joblib.dump("value", theirs, compress=compress) is None
    assert kind(ours.getvalue()) == kind(theirs.getvalue())


def kind(data):
    if isinstance(data, str):
        with open(data, "rb") as file:
            data = file.read()
    # FLG of zlib shows the level, as far as it shows at all.
    return data[:2] if data[:1] == b"\x78" else detect(data)


@pytest.mark.parametrize("name", NAMES)
def test_extensions(name, tmp_path):
    path = tmp_path / f"model{EXTENSIONS[name]}"
    for compress in (0, False, 3, True):
        fastpersist.dump([name], path, compress=compress)
        assert detect(path.read_bytes()) == name
        assert fastpersist.load(path) == [name]
    fastpersist.dump([name], path, compress="bz2")
    assert detect(path.read_bytes()) == "bz2"


def test_sizes_stay_near_zlibs(tmp_path):
    rng = np.random.default_rng(0)
    texts = ["user", "model", "layer", "weights", "score"]
    for plain in (
        rng.standard_normal(400_000).astype("f4").tobytes(),
        repr([{"id": i, texts[i % 5]: i * 7919 % 1000} for i in range(40_000)]).encode(),
        rng.integers(0, 40, 300_000).tobytes(),
        np.sort(rng.integers(0, 1 << 20, 200_000)).tobytes(),
        bytes(1 << 20),
    ):
        for level in (1, 3, 4, 5, 6, 9):  # the ends, the defaults, zlib's ways to search
            n_ours = len(file_bytes(plain, compress=("zlib", level)))
            n_zlib = len(zlib.compress(plain, level))
            assert n_ours <= n_zlib * (1.06 if level < 6 else 1.04) + 500


# ---------------------------------------------------------------- registered compressors


class Reversed(io.RawIOBase):
    """A codec of four bytes of magic and every byte inverted."""

    opened = []

    def __init__(self, file, mode, compresslevel=None):
        Reversed.opened.append((file, mode, compresslevel))
        self.own = isinstance(file, str)
        self.file = open(file, mode) if self.own else file
        self.mode = mode
        if mode == "wb":
            self.file.write(b"REV1")
        else:
            assert self.file.read(4) == b"REV1"

    def write(self, data):
        self.file.write(bytes(255 - b for b in bytes(data)))
        return len(data)

    def readinto(self, target):
        data = self.file.read(len(target))
        target[: len(data)] = bytes(255 - b for b in data)
        return len(data)

    def readable(self):
        return self.mode == "rb"

    def writable(self):
        return self.mode == "wb"

    def close(self):
        if not self.closed and self.own:
            self.file.close()
        super().close()


def test_a_compressor_that_a_user_registers(registry, tmp_path):
    value = {"a": np.arange(5000), "b": ["x"] * 100}
    register_compressor("reversed", CompressorWrapper(Reversed, b"REV1", ".rev"))
    path = tmp_path / "file"
    data = dumped(value, path, compress="reversed")
    assert data[:4] == b"REV1"
    assert bytes(255 - b for b in data[4:]) == file_bytes(value)
    assert_isomorphic(value, fastpersist.load(path))
    assert_isomorphic(value, fastpersist.load(str(path)))
    assert data == file_bytes(value, compress="reversed") == dumped(value, tmp_path / "a.rev")
    assert_isomorphic(value, fastpersist.load(io.BytesIO(data)))
    Reversed.opened.clear()
    fastpersist.dump(value, path, compress=("reversed", 4))
    fastpersist.dump(value, io.BytesIO(), compress=("reversed", 2))
    assert [level for _, _, level in Reversed.opened] == [4, 2]
    for protocol in range(6):
        fastpersist.dump(value, path, compress="reversed", protocol=protocol)
        assert_isomorphic(value, fastpersist.load(path))


def test_a_compressor_that_fails_leaves_the_old_file(registry, tmp_path):
    class Failure(Exception):
        pass

    def failing(where):
        class Fails(Reversed):
            def __init__(self, file, mode, compresslevel=None):
                super().__init__(file, mode)
                if where == "open":
                    raise Failure

            def write(self, data):
                if where == "write":
                    raise Failure
                return super().write(data)

            def close(self):
                was_closed = self.closed
                super().close()
                if where == "close" and not was_closed:
                    raise Failure

        return Fails

    path = tmp_path / "file"
    for where in ("open", "write", "close"):
        register_compressor("fails", CompressorWrapper(failing(where)), force=True)
        path.write_bytes(b"old")
        with pytest.raises(Failure):
            fastpersist.dump(LARGE["text"], path, compress="fails")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]


def test_subclasses_of_the_wrapper(registry, tmp_path):
    """As joblib's users write them, over the standard library's files."""

    class Wrapper(CompressorWrapper):
        def __init__(self):
            super().__init__(obj=gzip.GzipFile, prefix=b"\x1f\x8b", extension=".gzip")

        def compressor_file(self, fileobj, compresslevel=None):
            return gzip.open(fileobj, "wb", 1 if compresslevel is None else compresslevel)

        def decompressor_file(self, fileobj):
            return gzip.open(fileobj, "rb")

    register_compressor("mine", Wrapper())
    for path in (tmp_path / "a.gzip", tmp_path / "b"):
        fastpersist.dump(LARGE["records"], path, compress=0 if path.suffix else "mine")
        assert gzip.decompress(path.read_bytes()) == file_bytes(LARGE["records"])
        assert fastpersist.load(path) == LARGE["records"]


def test_the_registry_is_joblibs(registry):
    from joblib import compressor as theirs

    wrapper = CompressorWrapper(gzip.GzipFile)
    for ours_arguments, theirs_arguments in [
        ((3, wrapper), (3, theirs.CompressorWrapper(gzip.GzipFile))),
        (("new", gzip.GzipFile), ("new", gzip.GzipFile)),
        (("new", CompressorWrapper(3)), ("new", theirs.CompressorWrapper(3))),
        (("gzip", wrapper), ("gzip", theirs.CompressorWrapper(gzip.GzipFile))),
    ]:
        expected = text_of(theirs.register_compressor, *theirs_arguments)
        assert expected is not None
        assert text_of(register_compressor, *ours_arguments) == expected
    assert list(registry) == [*theirs._COMPRESSORS, "zstd"]
    for name, codec in theirs._COMPRESSORS.items():
        assert codec.extension == registry[name].extension
        assert registry[name].prefix.startswith(codec.prefix)


def test_last_extension_wins_and_none_captures_nothing(registry, tmp_path):
    register_compressor("first", CompressorWrapper(Reversed, b"REV1", ".x"))
    register_compressor("second", CompressorWrapper(bz2.BZ2File, b"", ".x"))
    register_compressor("third", CompressorWrapper(Reversed, b"REV1"))
    fastpersist.dump([1], tmp_path / "f.x")
    assert bz2.decompress((tmp_path / "f.x").read_bytes()) == file_bytes([1])
    assert dumped([1], tmp_path / "f") == file_bytes([1]), "an empty extension is none"
    assert dumped([1], tmp_path / "f.gz")[:2] == b"\x1f\x8b"
    assert fastpersist.load(tmp_path / "f") == [1], "nor is an empty prefix"


def test_longest_prefix_wins_then_the_last(registry, tmp_path):
    class Zlib(CompressorWrapper):
        def decompressor_file(self, fileobj):
            fileobj.read(4)
            return io.BytesIO(pickle.dumps(self.extension))

    register_compressor("long", Zlib(io.BytesIO, b"\x78\x5eMY", "long"))
    register_compressor("short", Zlib(io.BytesIO, b"\x78\x5e", "short"))
    register_compressor("again", Zlib(io.BytesIO, b"\x78\x5e", "again"))
    assert fastpersist.load(io.BytesIO(b"\x78\x5eMY...")) == "long"
    assert fastpersist.load(io.BytesIO(b"\x78\x5eNOT")) == "again"
    assert fastpersist.load(io.BytesIO(zlib.compress(pickle.dumps(5), 9))) == 5


def test_our_own_codecs_can_be_replaced(registry, tmp_path):
    register_compressor("zlib", CompressorWrapper(Reversed, b"REV1", ".z"), force=True)
    path = tmp_path / "f"
    for compress in (True, 3, "zlib"):
        assert dumped([1], path, compress=compress)[:4] == b"REV1"
        assert fastpersist.load(path) == [1]


@pytest.mark.parametrize("name", NAMES)
def test_our_own_codecs_as_file_objects(name, tmp_path):
    """The interface of a CompressorWrapper, for who uses it himself."""
    codec = COMPRESSORS[name]
    file = io.BytesIO()
    writer = codec.compressor_file(file, compresslevel=1)
    writer.write(b"one" * 100)
    writer.write(memoryview(b"two"))
    writer.close()
    file.seek(0)
    assert codec.decompressor_file(file).read() == b"one" * 100 + b"two"
    writer = codec.compressor_file(str(tmp_path / "file"))
    writer.write(b"three")
    writer.close()
    with open(tmp_path / "file", "rb") as file:
        assert codec.decompressor_file(file).read() == b"three"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="zstd is a package there")
def test_zstd_is_the_standard_librarys(tmp_path):
    code = """
import sys
sys.modules["zstandard"] = None
import fastpersist
value = list(range(100_000))
fastpersist.dump(value, sys.argv[1], compress="zstd", threads=2)
print("compression.zstd" in sys.modules, fastpersist.load(sys.argv[1]) == value)
"""
    assert run_python(code, tmp_path / "file").split() == ["True", "True"]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="zstd is in the standard library")
def test_a_missing_package_is_named(tmp_path):
    code = """
import io, os, sys
sys.modules["zstandard"] = None
import fastpersist
for call in (lambda: fastpersist.dump(1, sys.argv[1], compress="zstd"),
             lambda: fastpersist.load(io.BytesIO(b"\\x28\\xb5\\x2f\\xfd" + bytes(50)))):
    try:
        call()
    except ImportError as error:
        print("fastpersist[zstd]" in str(error))
print(os.path.exists(sys.argv[1]))
"""
    assert run_python(code, tmp_path / "file").split() == ["True", "True", "False"]


# ---------------------------------------------------------------- LZ4 frames of others


def skippable(n_bytes, low=0):
    return (0x184D2A50 + low).to_bytes(4, "little") + n_bytes.to_bytes(4, "little") + bytes(n_bytes)


# Block size, linked, checksums of blocks and of all, size: every two of them meet.
LARGE_FRAMES = [
    (4, True, (True, True), True),
    (4, False, (False, False), False),
    (5, True, (False, False), True),
    (5, False, (True, True), False),
    (6, True, (True, False), False),
    (6, False, (False, True), True),
    (7, True, (False, True), False),
    (7, False, (True, False), True),
]


@needs_lz4
@pytest.mark.parametrize("content_size", [True, False])
@pytest.mark.parametrize("checksums", list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("block_size", [4, 5, 6, 7])
def test_every_kind_of_lz4_frame(block_size, linked, checksums, content_size):
    """Every kind with some blocks of 64 KiB, and those of the table with many."""
    value = LARGE if (block_size, linked, checksums, content_size) in LARGE_FRAMES else MEDIUM
    plain = file_bytes(value)

    def frame(data):
        return lz4.frame.compress(
            data,
            block_size=block_size,
            block_linked=linked,
            block_checksum=checksums[0],
            content_checksum=checksums[1],
            store_size=content_size,
        )

    whole = frame(plain)
    many = frame(plain[:100]) + skippable(10, 3) + frame(b"") + frame(plain[100:])
    for threads in (1, 2, 5):
        for data in (whole, many):
            file = io.BytesIO(data + b"behind")
            assert_same(value, fastpersist.load(file, threads=threads))
            assert file.read() == b"behind", "not a byte more than the frame is taken"


@needs_lz4
@pytest.mark.parametrize("linked", [True, False])
def test_damaged_lz4_frames(linked, tmp_path):
    """One byte anywhere in a frame with all the checksums that there are; and every cut."""
    plain = file_bytes(LARGE["records"][:2000])
    frame = lz4.frame.compress(
        plain, block_linked=linked, block_checksum=True, content_checksum=True
    )
    rng = np.random.default_rng(0)
    for at in [*range(20), *rng.integers(0, len(frame), 80), *range(len(frame) - 10, len(frame))]:
        damaged = bytearray(frame)
        damaged[at] ^= 1 << int(rng.integers(8))
        for threads in (1, 3):
            with pytest.raises((CorruptFileError, pickle.UnpicklingError)):
                fastpersist.load(io.BytesIO(bytes(damaged)), threads=threads)
            with pytest.raises((CorruptFileError, pickle.UnpicklingError, EOFError)):
                fastpersist.load(io.BytesIO(frame[:at]), threads=threads)


@needs_lz4
@pytest.mark.parametrize("linked", [True, False])
def test_a_content_size_that_lies(linked, tmp_path):
    import xxhash

    plain = file_bytes(LARGE["records"])
    frame = bytearray(lz4.frame.compress(plain, block_linked=linked, store_size=True))
    for lie in (0, len(plain) - 1, len(plain) + 1, 1 << 60):
        frame[6:14] = lie.to_bytes(8, "little")
        frame[14] = xxhash.xxh32(bytes(frame[4:14])).intdigest() >> 8 & 0xFF
        (tmp_path / "f").write_bytes(frame)
        with pytest.raises(CorruptFileError):
            fastpersist.load(tmp_path / "f")


@pytest.mark.skipif(shutil.which("lz4") is None, reason="needs the program lz4")
@pytest.mark.parametrize(
    "options", ["-1", "-9", "-BD", "-B4", "-B7 -BX", "--content-size", "-B5 -BD"]
)
def test_what_the_lz4_program_writes(options):
    done = subprocess.run(
        ["lz4", "-c", *options.split()], input=file_bytes(LARGE), capture_output=True, check=True
    )
    for threads in (1, 2):
        assert_same(LARGE, fastpersist.load(io.BytesIO(done.stdout), threads=threads))


def test_our_frame_is_as_documented():
    """Independent blocks with checksums, no content checksum, no size; small ones are small."""
    for value, block_id in [(1, 4), (os.urandom(100_000), 5), (os.urandom(500_000), 6), (LARGE, 6)]:
        data = file_bytes(value, compress="lz4")
        assert data[4] == 0x70
        assert data[5] == block_id << 4
        assert data[-4:] == bytes(4)


# ---------------------------------------------------------------- zlib and gzip of others


def flushed(data, mode, n_bytes, wbits):
    compressor = zlib.compressobj(3, zlib.DEFLATED, wbits)
    pieces = []
    for start in range(0, len(data), n_bytes):
        pieces += [compressor.compress(data[start : start + n_bytes]), compressor.flush(mode)]
    return b"".join(pieces) + compressor.flush()


@pytest.mark.parametrize("wbits", [15, 31])
@pytest.mark.by_day(wanted=lambda wbits: wbits == 31)
def test_streams_that_look_like_ours(wbits):
    """Flushed at the same places, or others; stored blocks that hold the bytes of a flush."""
    value = {**LARGE, "trap": b"\0\0\xff\xff" * 100_000 + os.urandom(1 << 20)}
    plain = file_bytes(value)
    streams = [
        flushed(plain, mode, n_bytes, wbits)
        for mode in (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)
        for n_bytes in (1 << 20, 3 << 20, 30_000, 1 << 30)
    ]
    for level in (0, 1, 9):
        compressor = zlib.compressobj(level, zlib.DEFLATED, wbits)
        streams.append(compressor.compress(plain) + compressor.flush())
    streams.append(file_bytes(value, compress="zlib" if wbits == 15 else "gzip"))
    for stream in streams:
        for threads in (1, 2, 4):
            file = io.BytesIO(stream + b"behind")
            assert_same(value, fastpersist.load(file, threads=threads))
            assert file.read() == b"behind"


def test_gzip_headers_of_others(tmp_path):
    plain = file_bytes(LARGE)
    file = io.BytesIO()
    with gzip.GzipFile("a name", "wb", 1, file, mtime=3) as packed:
        packed.write(plain)
    for threads in (1, 2):
        assert_same(LARGE, fastpersist.load(io.BytesIO(file.getvalue()), threads=threads))
    members = gzip.compress(plain[: 1 << 20], 1) + file_bytes(1, compress="gzip")[:0]
    members += bytes(5) + gzip.compress(b"") + gzip.compress(plain[1 << 20 :], 1)
    (tmp_path / "f").write_bytes(members)
    for threads in (1, 2):
        assert_same(LARGE, fastpersist.load(tmp_path / "f", threads=threads))


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_damage_is_noticed(name, threads, tmp_path):
    """Any one wrong bit: an exception of damage, or, where the bit says nothing, the same value."""
    value = value_for(name)
    data = compressed(name)
    rng = np.random.default_rng(1)
    n_head = len(COMPRESSORS[name].prefix)
    for at in rng.integers(n_head, len(data), 25):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "f").write_bytes(damaged)
        try:
            assert_same(value, fastpersist.load(tmp_path / "f", threads=threads))
        except CorruptFileError as error:
            assert error.path == tmp_path / "f" or error.path == str(tmp_path / "f")


@pytest.mark.parametrize("name", NAMES)
def test_cuts_are_noticed(name, tmp_path):
    value = LARGE["records"]
    data = file_bytes(value, compress=name)
    n_head = len(COMPRESSORS[name].prefix)
    rng = np.random.default_rng(1)
    for n_bytes in [
        n_head,
        *rng.integers(n_head, len(data), 15),
        *range(len(data) - 12, len(data)),
    ]:
        (tmp_path / "f").write_bytes(data[:n_bytes])
        for threads in (1, 2):
            with pytest.raises(CorruptFileError, match="too early"):
                fastpersist.load(tmp_path / "f", threads=threads)


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_behind_a_dump_at_a_path(name, tmp_path):
    path = tmp_path / "f"
    one, other = [1, "one"], file_bytes([2], compress=name)
    data = file_bytes(one, compress=name)
    for behind in (other, file_bytes([3], compress="xz"), other * 3):
        path.write_bytes(data + behind)
        assert fastpersist.load(path) == one
    for behind in (b"garbage", b"\x01", data[:-3], other[: len(other) // 2], data + b"x" * 10):
        path.write_bytes(data + behind)
        with pytest.raises(pickle.UnpicklingError):
            fastpersist.load(path)
        with open(path, "rb") as file:
            assert fastpersist.load(file) == one, "of a file object it is the caller's"


CLAIM = """
import io, struct, sys, zlib
import fastpersist
from peak import peak_kib
name = sys.argv[1]
dumped = io.BytesIO()
fastpersist.dump(bytes(64 << 10) + b"end", dumped)
plain = bytearray(dumped.getvalue())
at = plain.index(struct.pack("<Q", (64 << 10) + 3))
plain[at:at + 8] = struct.pack("<Q", 1 << 45)
file = io.BytesIO()
writer = fastpersist.codecs.registry.COMPRESSORS[name].compressor_file(file)
writer.write(bytes(plain))
writer.write(bytes(3 << 20))
writer.close()
def load():
    try:
        fastpersist.load(io.BytesIO(file.getvalue()))
    except fastpersist.CorruptFileError:
        return True
fastpersist.load(io.BytesIO(zlib.compress(dumped.getvalue())))
before = peak_kib()
print(load(), (peak_kib() - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", NAMES)
def test_a_length_that_lies_costs_no_memory(name):
    refused, grown = run_python(CLAIM, name).split()
    assert refused == "True"
    assert int(grown) <= 64 + 8


# ---------------------------------------------------------------- interrupted dumps


class Failing:
    def __reduce__(self):
        return 1 // 0


class Interrupting:
    def __reduce__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("protocol", [None, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_dump_that_fails_leaves_the_old_file(name, protocol, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    small = name in ("bz2", "lzma", "xz")
    value = [LARGE["text"] if small else LARGE["noise"]]
    for last, error in ((Failing(), ZeroDivisionError), (Interrupting(), KeyboardInterrupt)):
        with pytest.raises(error):
            fastpersist.dump([*value, last], path, compress=name, protocol=protocol)
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["model"]
        file = io.BytesIO()
        with pytest.raises(error):
            fastpersist.dump([*value, last], file, compress=name, protocol=protocol)
    fastpersist.dump(value, path, compress=name, protocol=protocol)
    assert_isomorphic(value, fastpersist.load(path))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk(name):
    with pytest.raises(OSError) as caught:
        fastpersist.dump(LARGE["noise"][:500_000], "/dev/full", compress=name)
    assert caught.value.filename == "/dev/full"


@pytest.mark.parametrize("name", PARALLEL)
def test_a_process_forked_in_the_middle(name, tmp_path):
    """The child cannot go on, and leaves the parent's file and threads alone."""
    code = """
import os, sys, warnings
import numpy as np
import fastpersist
warnings.simplefilter("ignore")
path, name = sys.argv[1:]
class Forks:
    def __reduce__(self):
        global child
        child = os.fork()
        return int, ()
noise = [np.random.default_rng(i).bytes(3 << 20) for i in range(2)]
child = None
try:
    fastpersist.dump([noise[0], Forks(), noise[1]], path, compress=name, threads=3)
except RuntimeError as error:
    os._exit(7 if child == 0 and "forked" in str(error) else 8)
if child == 0:
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(fastpersist.load(path) == [noise[0], 0, noise[1]], os.listdir(os.path.dirname(path)))
"""
    out = run_python(code, tmp_path / "f", name, timeout=60)
    assert out.split("\n")[:2] == ["7", "True ['f']"]


def test_replaced_in_place_with_a_warning(tmp_path):
    """A directory that admits no new file, but an old one that can be written."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path = tmp_path / "directory" / "f"
    path.parent.mkdir()
    path.write_bytes(b"old")
    path.parent.chmod(0o500)
    try:
        with pytest.warns(RuntimeWarning, match="written in place") as caught:
            fastpersist.dump(LARGE, path, compress="lz4")
        assert caught[0].filename == __file__
        assert_same(LARGE, fastpersist.load(path))
    finally:
        path.parent.chmod(0o700)


# ---------------------------------------------------------------- memory

PEAK = """
import sys
import numpy as np
import fastpersist
from peak import peak_kib
path, name, what, n_mebibytes = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
warm = np.random.default_rng(0).standard_normal(700_000)
fastpersist.dump([warm], path + "w", compress=name)
fastpersist.load(path + "w")
if what == "dump":
    tile = np.random.default_rng(0).standard_normal(1 << 17).astype("f4")
    if n_mebibytes > 256:  # noise keeps zlib busy for 15 seconds
        tile = np.sort(tile).astype("f2").astype("f4")
    value = [np.tile(tile, 16) for _ in range(n_mebibytes // 8)]
    before = peak_kib()
    fastpersist.dump(value, path, compress=name)
else:
    before = peak_kib()
    value = fastpersist.load(path)
    before += sum(a.nbytes for a in value) >> 10
print((peak_kib() - before) >> 10)
"""


def assert_little_memory(name, n_mebibytes, tmp_path):
    path = tmp_path / "f"
    assert int(run_python(PEAK, path, name, "dump", n_mebibytes)) <= 96
    assert int(run_python(PEAK, path, name, "load", n_mebibytes)) <= 96


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", PARALLEL)
def test_peak_memory(name, tmp_path):
    assert_little_memory(name, 256, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", PARALLEL[1:])  # zlib's blocks are gzip's
@pytest.mark.by_day(wanted=lambda name: name == "lz4")
def test_peak_memory_of_a_gibibyte(name, tmp_path):
    assert_little_memory(name, 1024, tmp_path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "no luck")], ids=["memory", "device"])
def test_a_read_that_fails_is_no_damage(error, name, monkeypatch, tmp_path):
    """For whoever looks afterwards why the load failed, half of the stream is not there."""

    class Fails(io.FileIO):
        def readinto(self, target):
            if size // 2 < self.tell() < size:
                self.seek(size)
                raise error
            return super().readinto(memoryview(target)[: size // 8])

    path = tmp_path / "f"
    value = os.urandom(400_000)
    fastpersist.dump(value, path, compress=name)
    size = path.stat().st_size
    monkeypatch.setattr(
        fastpersist.files.loading,
        "open",
        lambda fd, mode, closefd: io.BufferedReader(Fails(fd, closefd=closefd)),
        raising=False,
    )
    with pytest.raises(type(error)):
        fastpersist.load(path)
