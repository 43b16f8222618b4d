"""Memory-mapped loads: one map and one descriptor, joblib's meaning of the modes."""

import contextlib
import gc
import io
import mmap
import os
import pathlib
import pickle
import struct
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import array_values
import fastpersist
import numpy as np
import pytest
from compare import assert_isomorphic
from fastpersist import CorruptFileError
from helpers import file_bytes, run_python

format_reader = pytest.importorskip("format_reader", reason="needs the package xxhash")
joblib = pytest.importorskip("joblib")

MODES = ["r", "r+", "w+", "c"]
OWN_BLOB = 16 << 10

each_mode = pytest.mark.parametrize("mode", MODES)


def arrays():
    rng = np.random.default_rng(0)
    return {
        "C": rng.standard_normal((40, 60, 30)),
        "F": np.asfortranarray(rng.standard_normal((40, 60, 30))),
        "permuted": rng.standard_normal((40, 60, 30)).transpose(1, 2, 0),
        "small": rng.standard_normal(5),
        "small F": np.asfortranarray(rng.standard_normal((3, 4))),
        "small permuted": rng.standard_normal((3, 4, 2)).transpose(2, 0, 1),
        "one row of F": np.asfortranarray(rng.standard_normal((1, 7))),
        "0-d": np.array(3.5),
        "empty": np.empty((0, 3), "f4"),
        "struct": np.ones(3000, array_values.ALIGNED),
        "foreign": np.arange(5000, dtype=">i4"),
        "text": np.array(["a", "漢"]),
    }


@pytest.fixture
def path(tmp_path):
    out = tmp_path / "file"
    fastpersist.dump({**arrays(), "numbers": [1, 2.5], "long": "x" * OWN_BLOB}, out)
    return out


@each_mode
def test_arrays_are_memmaps_of_one_map(mode, path):
    loaded = fastpersist.load(path, mode)
    maps = set()
    size = path.stat().st_size
    for name, array in arrays().items():
        mapped = loaded[name]
        assert type(mapped) is np.memmap, name
        np.testing.assert_array_equal(np.asarray(mapped), array)
        assert mapped.dtype == array.dtype
        assert mapped.strides == array.strides or array.size == 0
        assert isinstance(mapped.base, mmap.mmap) and mapped._mmap is mapped.base
        assert mapped.mode == ("r+" if mode == "w+" else mode)
        assert mapped.filename == str(path)
        assert mapped.flags.writeable == (mode != "r")
        if array.size:
            start = np.frombuffer(mapped.base, "u1").ctypes.data
            assert mapped.ctypes.data == start + mapped.offset
            again = np.memmap(path, array.dtype, "r", mapped.offset, array.size)
            np.testing.assert_array_equal(again, array.ravel("K"))
            assert mapped.ctypes.data % 16 == 0
            if array.nbytes >= 64:
                assert mapped.ctypes.data % 64 == 0
        maps.add(id(mapped.base))
    assert len(maps) == 1 and len(loaded["C"].base) == size
    assert loaded["numbers"] == [1, 2.5] and loaded["long"] == "x" * OWN_BLOB
    assert type(loaded["long"]) is str


@each_mode
def test_the_types_are_joblibs(mode, tmp_path):
    value = arrays()
    joblib.dump(value, tmp_path / "theirs")
    fastpersist.dump(value, tmp_path / "ours")
    theirs = joblib.load(tmp_path / "theirs", mmap_mode=mode)
    ours = fastpersist.load(tmp_path / "ours", mmap_mode=mode)
    for name, array in theirs.items():
        assert type(ours[name]) is type(array), name
        assert ours[name].dtype == array.dtype
        assert ours[name].mode == array.mode
        assert type(ours[name].filename) is str
        assert type(ours[name].offset) is int


def test_other_arrays_are_ordinary(tmp_path):
    value = [np.array([1, "x", None], object), np.ma.array([1, 2], mask=[0, 1]), np.float64(2)]
    fastpersist.dump(value, tmp_path / "file")
    assert_isomorphic(value, fastpersist.load(tmp_path / "file", "r"))


def test_filename_is_absolute(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    for name in (
        "file",
        b"file",
        pathlib.Path("file"),
        "./file",
        "../" + path.parent.name + "/file",
    ):
        loaded = fastpersist.load(name, "r")
        assert loaded["C"].filename == str(path)


def test_one_descriptor_for_very_many_arrays(tmp_path):
    n = 200_000
    gc.collect()
    fastpersist.dump([np.full(4, i) for i in range(n)], tmp_path / "file")
    before = len(os.listdir("/proc/self/fd"))
    loaded = fastpersist.load(tmp_path / "file", "r")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert all((loaded[i] == i).all() for i in range(0, n, 997))
    last = loaded[-1]
    del loaded
    gc.collect()
    assert (last == n - 1).all()
    del last
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_mapping_does_not_read_the_sidecar(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump(np.zeros(1 << 25), path)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        fastpersist.load(path, "r")
        times.append(time.perf_counter() - started)
    assert min(times) < 0.005


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("mode", ["r+", "w+"])
def test_writing_reaches_the_file(mode, path):
    loaded = fastpersist.load(path, mode)
    dump = format_reader.read(path.read_bytes())
    state = path.read_bytes()[dump.state_offset :][:8]
    assert state == struct.pack("<Q", format_reader.STATE_VOID)
    loaded["C"][0, 0, 0] = 1234.5
    loaded["small"][:] = 7
    loaded["C"].flush()
    del loaded
    with pytest.warns(UserWarning, match="cannot be checked"):
        again = fastpersist.load(path)
    assert again["C"][0, 0, 0] == 1234.5 and (again["small"] == 7).all()
    with pytest.warns(UserWarning, match="cannot be checked"):
        again = fastpersist.load(path, "r", verify="full")
    assert again["C"][0, 0, 0] == 1234.5
    with pytest.warns(UserWarning, match="cannot be checked"):
        again = fastpersist.load(path, mode)
    assert pickle.loads(path.read_bytes())["C"][0, 0, 0] == 1234.5


def test_a_private_map_leaves_the_file_alone(path):
    before = path.read_bytes()
    loaded = fastpersist.load(path, "c")
    loaded["C"][:] = 0
    loaded["small"][:] = 0
    assert path.read_bytes() == before
    os.chmod(path, 0o400)
    fastpersist.load(path, "c")["C"][:] = 1


def test_a_read_only_map_cannot_be_written(path):
    before = path.read_bytes()
    loaded = fastpersist.load(path, "r")
    with pytest.raises(ValueError, match="read-only"):
        loaded["C"][0] = 1
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to anything")
def test_writing_needs_permission(path):
    os.chmod(path, 0o400)
    with pytest.raises(PermissionError):
        fastpersist.load(path, "r+")


def test_a_dump_over_a_mapped_file(path):
    loaded = fastpersist.load(path, "r")
    kept = np.array(loaded["C"])
    fastpersist.dump([np.zeros(10)], path)
    np.testing.assert_array_equal(loaded["C"], kept)
    loaded = fastpersist.load(path, "r")
    fastpersist.dump(loaded, path)
    np.testing.assert_array_equal(fastpersist.load(path)[0], np.zeros(10))


# ---------------------------------------------------------------- checks


def test_what_a_map_checks(tmp_path):
    value = {"a": np.arange(10_000), "text": "x" * 30_000, "bytes": b"y" * 30_000, "n": [1, 2]}
    data = bytearray(file_bytes(value))
    dump = format_reader.read(bytes(data))
    path = tmp_path / "file"

    def load(at, **kwargs):
        data[at] ^= 1
        path.write_bytes(data)
        data[at] ^= 1
        return fastpersist.load(path, "r", **kwargs)

    # Text and bytes are checked as they are used, and with them all that their block holds.
    for at in (blob.offset + 9 for blob in dump.blobs):
        for verify in (True, "full"):
            with pytest.raises(CorruptFileError) as caught:
                load(at, verify=verify)
            assert caught.value.section == "array bytes"
        load(at, verify=False)
    only = {"a": np.arange(500_000), "b": "x" * 30_000}
    data = bytearray(file_bytes(only))
    dump = format_reader.read(bytes(data))
    assert load(dump.blobs[0].offset + 8)["a"][1] == 0
    with pytest.raises(CorruptFileError):
        load(dump.blobs[0].offset + 8, verify="full")
    with pytest.raises(CorruptFileError):
        load(dump.blobs[1].offset)
    for at in (5, dump.graph.start + 20, dump.footer.start + 30, len(data) - 1):
        with pytest.raises(CorruptFileError):
            load(at)


def test_leaves_of_many_blocks_are_checked_once_each(tmp_path):
    value = [bytes([i]) * 300_000 for i in range(30)] + ["y" * 5_000_000, bytearray(3_000_000)]
    data = bytearray(file_bytes(value + value[::-1]))
    dump = format_reader.read(bytes(data))
    path = tmp_path / "file"
    path.write_bytes(data)
    assert_isomorphic(value + value[::-1], fastpersist.load(path, "r"))
    for blob in dump.blobs:
        data[blob.offset + blob.length - 1] ^= 1
        path.write_bytes(data)
        data[blob.offset + blob.length - 1] ^= 1
        with pytest.raises(CorruptFileError) as caught:
            fastpersist.load(path, "r")
        assert caught.value.offset <= blob.offset + blob.length


def test_a_bytearray_of_a_map_is_a_copy(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([bytearray(50_000)] * 2, path)
    one, two = fastpersist.load(path, "r+")
    assert type(one) is bytearray and one is two
    one[0] = 5
    assert pickle.loads(path.read_bytes())[0][0] == 0


# ---------------------------------------------------------------- arguments, warnings


def test_byte_order_and_mmap_mode_exclude_each_other(path):
    for mode in MODES:
        with pytest.raises(ValueError) as caught:
            fastpersist.load(path, mode, True)
        with pytest.raises(ValueError) as theirs:
            joblib.load(path, mode, True)
        assert str(caught.value) == str(theirs.value)
        with warnings.catch_warnings():  # that it was mapped for writing
            warnings.simplefilter("ignore")
            assert fastpersist.load(path, mode, False)["foreign"].dtype == ">i4"
            assert fastpersist.load(path, mode)["foreign"].dtype == ">i4"


def test_unknown_modes(path):
    for mode in ("x", "rw", "R", "a"):
        with pytest.raises(ValueError) as caught:
            fastpersist.load(path, mode)
        with pytest.raises(ValueError) as theirs:
            np.memmap(path, mode=mode)
        assert str(caught.value) == str(theirs.value)
    assert fastpersist.load(path, "readonly")["C"].mode == "r"


def test_memory_cannot_be_mapped(path):
    data = path.read_bytes()
    with pytest.warns(UserWarning) as caught:
        loaded = fastpersist.load(io.BytesIO(data), "r")
    assert [str(w.message) for w in caught] == [
        'In memory persistence is not compatible with mmap_mode "r" flag passed. '
        "mmap_mode option will be ignored."
    ]
    assert type(loaded["C"]) is np.ndarray


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("buffering", [0, -1])
def test_opened_files_are_mapped(mode, buffering, path):
    data = path.read_bytes()
    path.write_bytes(data + file_bytes([np.arange(9)]) + data)
    with open(path, "r+b" if mode == "r+" else "rb", buffering=buffering) as file:
        for i in range(3):
            loaded = fastpersist.load(file, mode)
            if i == 1:
                assert loaded[0].tolist() == list(range(9))
                array = loaded[0]
            else:
                np.testing.assert_array_equal(loaded["F"], arrays()["F"])
                array = loaded["F"]
            assert type(array) is np.memmap and array.filename == str(path)
            start = np.frombuffer(array.base, "u1").ctypes.data
            assert array.ctypes.data == start + array.offset
        assert file.tell() == 2 * len(data) + len(file_bytes([np.arange(9)]))
        with pytest.raises(EOFError):
            fastpersist.load(file, mode)


def test_opened_files_that_cannot_be_mapped(path):
    data = path.read_bytes()
    path.write_bytes(b"lead" + data)
    with open(path, "rb") as file:
        file.seek(4)
        with pytest.warns(UserWarning, match='mmap_mode "r" flag will be ignored'):
            loaded = fastpersist.load(file, "r")
        assert type(loaded["C"]) is np.ndarray
        assert file.tell() == 4 + len(data)


class Passing:
    """A file object without a file behind it."""

    def __init__(self, data):
        file = io.BytesIO(data)
        self.read, self.readline = file.read, file.readline


@contextlib.contextmanager
def piped(path):
    """A pipe by name, with the contents of a file."""
    pipe = path.with_name(path.name + ".pipe")
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as thread:
        sent = thread.submit(lambda: pipe.write_bytes(path.read_bytes()))
        yield pipe
        sent.result()


def ignored_maps(tmp_path, opened):
    """Loads that cannot map what they are asked to map."""
    main, second, compressed = (tmp_path / name for name in ("main", "second", "main.gz"))
    one = tmp_path / "one"
    fastpersist.dump([np.arange(9.0)], one)
    fastpersist.dump([np.arange(9.0)], compressed)
    fastpersist.dump([np.arange(9.0)], main, sidecar=second)
    displaced = tmp_path / "displaced"
    displaced.write_bytes(b"lead" + one.read_bytes())

    def open_file(path, at=0):
        file = opened.enter_context(open(path, "rb"))
        file.seek(at)
        return file

    yield "memory", lambda: fastpersist.load(io.BytesIO(one.read_bytes()), "r")
    yield "no file", lambda: fastpersist.load(Passing(one.read_bytes()), "r")
    yield "compressed", lambda: fastpersist.load(compressed, "r")
    yield "compressed file object", lambda: fastpersist.load(open_file(compressed), "r")
    yield "displaced", lambda: fastpersist.load(open_file(displaced, 4), "r")
    yield "not writable", lambda: fastpersist.load(open_file(one), "r+")
    yield "descriptor", lambda: fastpersist.load(os.open(one, os.O_RDONLY), "r")
    yield "pipe", lambda: fastpersist.load(opened.enter_context(piped(one)), "r")
    yield "sidecar as a file", lambda: fastpersist.load(main, "r", sidecar=open_file(second))
    yield (
        "sidecar as a pipe",
        lambda: fastpersist.load(main, "r", sidecar=opened.enter_context(piped(second))),
    )


def test_warnings_of_ignored_maps_point_at_the_caller(tmp_path):
    with contextlib.ExitStack() as opened:
        for name, load in ignored_maps(tmp_path, opened):
            with pytest.warns(UserWarning, match="will be ignored") as caught:
                loaded = load()
            assert [w.filename for w in caught] == [__file__], name
            assert type(loaded[0]) is np.ndarray, name


def test_joblibs_own_files_are_mapped(tmp_path):
    value = {"a": np.arange(10_000.0), "b": "text"}
    joblib.dump(value, tmp_path / "file")
    loaded = fastpersist.load(tmp_path / "file", "r")
    assert type(loaded["a"]) is np.memmap
    np.testing.assert_array_equal(loaded["a"], value["a"])
    with open(tmp_path / "file", "rb") as file:
        loaded = fastpersist.load(file, "r")
        assert type(loaded["a"]) is np.memmap
        assert file.read() == b""


# ---------------------------------------------------------------- joblib's workers


WORKERS = """
import sys
import joblib, numpy as np, fastpersist
from maps import look
from test_mmap import arrays

if __name__ == "__main__":
    path, mode = sys.argv[1:]
    value = arrays()
    fastpersist.dump(value, path)
    loaded = fastpersist.load(path, mode)
    with joblib.Parallel(n_jobs=2, max_nbytes=1) as parallel:
        views = {name: array[..., 1:] for name, array in loaded.items() if array.ndim}
        seen = parallel(joblib.delayed(look)(array) for array in loaded.values())
        seen_views = parallel(joblib.delayed(look)(array) for array in views.values())
    for (name, array), (kind, file, got) in zip(value.items(), seen):
        # Of strides, joblib's own as_strided() makes an ndarray over the map.
        assert kind == "memmap" or "permuted" in name, (name, kind)
        assert file == path, (name, file)
        np.testing.assert_array_equal(got, array, name)
    for name, (kind, file, got) in zip(views, seen_views):
        np.testing.assert_array_equal(got, value[name][..., 1:], name)
        assert file == path or got.size == 0, (name, file)
"""


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_workers_get_maps_by_reference(mode, tmp_path):
    run_python(WORKERS, tmp_path / "file", mode, warnings="ignore")
