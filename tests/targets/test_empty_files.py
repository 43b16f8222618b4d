"""A dump by name to an empty file, which somebody may have open: it is filled, not replaced."""

import gzip
import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time

import fastpersist
import numpy as np
import pytest
from fastpersist._core import AtomicFile
from fastpersist.codecs.registry import COMPRESSORS
from helpers import file_bytes, run_python

joblib = pytest.importorskip("joblib")

VALUE = {"numbers": np.arange(3000.0), "names": [f"name {i}" for i in range(500)]}
LARGE = [np.arange(700_000.0), [str(i) for i in range(10_000)]]  # through the writer thread


def same(one, other):
    return joblib.hash(one) == joblib.hash(other)


class Lazy(io.RawIOBase):
    """A codec that opens its file when it has something to write."""

    def __init__(self, name, mode, compresslevel=None):
        self.name, self.mode, self.file = name, mode, None

    def write(self, data):
        if self.file is None:
            self.file = gzip.open(self.name, self.mode, 1)
        return self.file.write(data)

    def close(self):
        if self.file is not None:
            self.file.close()
        super().close()


@pytest.fixture
def registry():
    before = dict(COMPRESSORS)
    fastpersist.register_compressor("lazy", fastpersist.CompressorWrapper(Lazy))
    yield
    COMPRESSORS.clear()
    COMPRESSORS.update(before)


def codecs():
    names = [name for name in COMPRESSORS if name != "zstd"]
    try:
        import fastpersist._zstd

        fastpersist.dump(1, io.BytesIO(), "zstd")
        names.append("zstd")
    except ImportError:
        pass
    return names


KINDS = [{}, {"threads": 1}, {"layout": "joblib"}, *({"protocol": n} for n in range(5))]
KINDS += [{"compress": name} for name in [*codecs(), "lazy"]]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("value", [VALUE, LARGE], ids=["small", "large"])
def test_a_temporary_file_sees_the_dump(value, kind, registry):
    """As the users of joblib write it: dump by the name, then read from the file."""
    if value is LARGE and kind.get("compress") in ("bz2", "xz", "lzma"):
        value = LARGE[1]
    with tempfile.NamedTemporaryFile() as file:
        inode = os.stat(file.name).st_ino
        assert fastpersist.dump(value, file.name, **kind) == [file.name]
        file.seek(0)
        data = file.read()
        assert same(fastpersist.load(io.BytesIO(data)), value)
        assert os.stat(file.name).st_ino == inode
        with open(file.name, "rb") as other:
            assert other.read() == data
        if kind.get("compress") != "lazy":
            assert data == file_bytes(value, **kind) or kind.get("layout") == "joblib"


@pytest.mark.parametrize("suffix", ["", ".gz", ".z", ".bz2", ".xz"])
def test_beside_joblib(suffix):
    for compress in (0, 3):
        seen = []
        for dump in (joblib.dump, fastpersist.dump):
            with tempfile.NamedTemporaryFile(suffix=suffix) as file:
                assert dump(VALUE, file.name, compress) == [file.name]
                file.seek(0)
                seen.append(joblib.load(io.BytesIO(file.read())))
        assert same(*seen)


def test_both_files_of_a_pair():
    with tempfile.NamedTemporaryFile() as main, tempfile.NamedTemporaryFile() as second:
        fastpersist.dump(LARGE, main.name, sidecar=second.name)
        assert same(fastpersist.load(main, sidecar=second), LARGE)
        second.seek(0)
        buffers = fastpersist.read_sidecar(second)
        main.seek(0)
        assert same(pickle.load(main, buffers=buffers), LARGE)


def test_one_empty_file_of_a_pair(tmp_path):
    main, second = tmp_path / "main", tmp_path / "second"
    for empty, other in ((main, second), (second, main)):
        empty.write_bytes(b"")
        other.write_bytes(b"old")
        inodes = empty.stat().st_ino, other.stat().st_ino
        fastpersist.dump(LARGE, main, sidecar=second)
        assert empty.stat().st_ino == inodes[0] and other.stat().st_ino != inodes[1]
        assert same(fastpersist.load(main, sidecar=second), LARGE)
        assert sorted(os.listdir(tmp_path)) == ["main", "second"]


@pytest.mark.parametrize("mode", ["w+b", "r+b", "a+b", "rb"])
@pytest.mark.parametrize("buffering", [0, -1])
def test_ways_to_have_it_open(mode, buffering, tmp_path):
    path = tmp_path / "file"
    path.touch()
    with open(path, mode, buffering=buffering) as file:
        fastpersist.dump(VALUE, path)
        file.seek(0)
        assert same(fastpersist.load(file), VALUE)
    assert same(fastpersist.load(path), VALUE)


def test_a_map_of_it_is_made_behind_the_dump(tmp_path):
    path = tmp_path / "file"
    with open(path, "w+b") as file:
        fastpersist.dump(VALUE, path)
        mapped = fastpersist.load(file, mmap_mode="r")
        assert isinstance(mapped["numbers"], np.memmap)
        fastpersist.dump("other", path)
        assert (mapped["numbers"] == VALUE["numbers"]).all()


def test_another_process_has_it_open(tmp_path):
    path = tmp_path / "file"
    path.touch()
    code = "import sys; file = open(sys.argv[1], 'rb'); print('', flush=True); input(); "
    code += "print(len(file.read()))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    fastpersist.dump(VALUE, path)
    assert int(process.communicate("\n")[0]) == path.stat().st_size


def test_what_is_meant_to_differ_from_joblib(tmp_path):
    path = tmp_path / "file"
    for content, options in ((b"", {"durable": True}), (b"old", {})):
        path.write_bytes(content)
        with open(path, "rb") as file:
            fastpersist.dump(VALUE, path, **options)
            assert file.read() == content, "a rename is what makes it last, or whole"
        assert same(fastpersist.load(path), VALUE)


def test_only_the_first_dump_fills_it(tmp_path):
    path = tmp_path / "file"
    with open(path, "w+b") as file:
        fastpersist.dump(1, path)
        fastpersist.dump(2, path)
        assert fastpersist.load(path) == 2
        file.seek(0)
        assert fastpersist.load(file) == 1


def test_threads_dump_into_one_empty_file(tmp_path):
    path = tmp_path / "file"
    values = [[i, np.full(100_000, i)] for i in range(4)]
    for _ in range(10):
        path.unlink(missing_ok=True)
        with open(path, "w+b") as file:
            start = threading.Barrier(4)

            def write(i, start=start):
                start.wait()
                fastpersist.dump(values[i], path)

            threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            held = file.read()
        assert held == b"" or any(held == file_bytes(value) for value in values)
        i, array = fastpersist.load(path)
        assert (array == i).all()
        assert os.listdir(tmp_path) == ["file"]


# ---------------------------------------------------------------- the copy ends early


class Interrupted(Exception):
    pass


@pytest.fixture
def alarm():
    def handler(number, frame):
        raise Interrupted

    old = signal.signal(signal.SIGALRM, handler)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


def test_the_copy_is_interrupted(tmp_path, alarm):
    """By a handler that raises; other threads go on meanwhile."""
    path = tmp_path / "file"
    path.touch()
    ticks, stop = [0], threading.Event()

    def tick():
        while not stop.wait(0.001):
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        file = AtomicFile(str(path), False)
        os.ftruncate(file.fileno(), 4 << 30)  # a hole: quickly read, slowly written
        before, start = ticks[0], time.monotonic()
        alarm(0.06)
        with pytest.raises(Interrupted):
            file.commit()
        assert time.monotonic() - start < 5
        assert ticks[0] > before
    finally:
        stop.set()
        thread.join()
    assert path.read_bytes() == b"" and os.listdir(tmp_path) == ["file"]
    file.abort()
    fastpersist.dump(VALUE, path)
    assert same(fastpersist.load(path), VALUE)


def test_a_dump_is_interrupted_anywhere(tmp_path, alarm):
    path = tmp_path / "file"
    start = time.monotonic()
    fastpersist.dump(LARGE, path)
    seconds = time.monotonic() - start
    whole = path.read_bytes()
    n_interrupted = 0
    for i in range(30):
        path.write_bytes(b"")
        try:
            alarm(max(1e-4, seconds * (i + 0.5) / 30))
            fastpersist.dump(LARGE, path, threads=1 + i % 2)
            alarm(0)
        except Interrupted:
            n_interrupted += 1
            assert path.read_bytes() in (b"", whole)
        else:
            assert path.read_bytes() == whole
        assert os.listdir(tmp_path) == ["file"]
    assert n_interrupted > 3


def test_a_failed_dump_leaves_it_empty(tmp_path):
    path = tmp_path / "file"
    path.touch()
    inode = path.stat().st_ino
    for value in ([lambda: 0], [np.zeros(1_500_000), lambda: 0]):
        for kind in ({}, {"compress": 1}, {"compress": "lz4"}, {"protocol": 2}):
            with pytest.raises((pickle.PicklingError, AttributeError)):
                fastpersist.dump(value, path, **kind)
            assert path.stat().st_size == 0 and path.stat().st_ino == inode
            assert os.listdir(tmp_path) == ["file"]


# ---------------------------------------------------------------- codecs that open by name


class Goes:
    def __init__(self, to):
        self.to = to

    def __reduce__(self):
        os.chdir(self.to)
        return list, ()


@pytest.mark.parametrize("content", [None, b"", b"old"])
def test_a_codec_that_opens_late_finds_the_file(content, registry, tmp_path, monkeypatch):
    """Though the current directory is another one by then."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    # Small enough to be written when all is over.
    fastpersist.dump([Goes(tmp_path / "other"), 1], "file", "lazy")
    assert fastpersist.load(path) == [[], 1]
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]
    assert os.listdir(tmp_path / "other") == []


FAR = """
import gzip, os, sys
import fastpersist
from fastpersist._core import AtomicFile

os.chdir(sys.argv[1])
for _ in range(45):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
fastpersist.register_compressor("own", fastpersist.CompressorWrapper(gzip.GzipFile))
for _ in range(2):
    fastpersist.dump([1, 2], "file", "own")
    assert fastpersist.load("file") == [1, 2]
assert os.listdir() == ["file"]
file = AtomicFile("file", False)
assert os.path.dirname(file.name) == ""  # from the root it would be too long
assert os.path.exists(file.name)
"""


def test_a_codec_that_opens_by_name_far_down(tmp_path):
    run_python(FAR, tmp_path)
