"""dump(layout="joblib"): what joblib.load gives of our file is what it gives of joblib's own."""

import gzip
import io
import os
import pickle
import socket
import struct
import threading
import types

import array_values
import fastpersist
import joblib
import numpy as np
import pytest
import sample_classes as s
import values
from compare import assert_isomorphic
from file_objects import WriteOnly
from helpers import PROTOCOLS, SUPPORT, run_python
from restless import Meddler, Unpicklable

pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*chararray.*:DeprecationWarning"),
]

MODES = ["r", "r+", "w+", "c"]


def joblib_bytes(value, **keywords):
    file = io.BytesIO()
    fastpersist.dump(value, file, layout="joblib", **keywords)
    return file.getvalue()


def by_joblib(value, protocol=None):
    file = io.BytesIO()
    joblib.dump(value, file, protocol=protocol)
    file.seek(0)
    return joblib.load(file)


def graph():
    shared = np.arange(12.0).reshape(3, 4)
    return {
        "shared": [shared, shared],
        "fortran": np.asfortranarray(shared),
        "permuted": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        "gaps": np.arange(20)[::3],
        "large": np.arange(50_000.0),
        "objects": np.array([1, "abc", {"a": [np.arange(3), None]}], object),
        "instance": s.Plain(),
        "record": np.zeros(3, [("a", "u1"), ("b", ">f8")]),
        "empty": np.empty((0, 3), "f4"),
        "zero-dimensional": np.array(7, "i2"),
        "foreign": np.arange(5, dtype=">i4"),
        "time": np.array(["2026-11-22"], "M8[s]"),
        "behind": ["the arrays", *range(2000)],
    }


# ---------------------------------------------------------------- values

# joblib itself fails on these.
JOBLIB_FAILS = {name for name in array_values.everything() if name.startswith("zero-width")}
JOBLIB_FAILS |= {"struct empty dtype"}


@pytest.mark.parametrize("name", array_values.everything())
def test_arrays_come_back_as_from_joblibs_own_file(name):
    value = array_values.everything()[name]()
    data = joblib_bytes(value)
    loaded = joblib.load(io.BytesIO(data))
    expected = value if name in JOBLIB_FAILS else by_joblib(value)
    assert_isomorphic(expected, loaded)
    assert_isomorphic(expected, fastpersist.load(io.BytesIO(data)))


@pytest.mark.filterwarnings("ignore")
def test_other_values_come_back():
    for name, build in values.catalogue().items():
        if name in ("iterators", "enumerate", "count"):  # used up by a dump
            continue
        value = build()
        try:
            expected = by_joblib(value)
        except Exception:
            continue  # too deep for joblib
        data = joblib_bytes(value)
        assert_isomorphic(expected, joblib.load(io.BytesIO(data)))
        assert_isomorphic(expected, fastpersist.load(io.BytesIO(data)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol(protocol):
    value = graph()
    data = joblib_bytes(value, protocol=protocol)
    assert_isomorphic(by_joblib(value, protocol), joblib.load(io.BytesIO(data)))
    assert_isomorphic(by_joblib(value, protocol), fastpersist.load(io.BytesIO(data)))
    assert data[:2] == bytes([0x80, protocol]) or protocol < 2


def test_protocol_is_chosen_as_joblib_does():
    assert joblib_bytes([1])[1] == pickle.DEFAULT_PROTOCOL
    assert joblib_bytes([1], protocol=-1)[1] == pickle.HIGHEST_PROTOCOL
    with pytest.raises(ValueError, match="protocol"):
        joblib_bytes([1], protocol=6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_arrays_it_is_joblibs_very_bytes(protocol):
    values = [[1, 2.5, "text", None], {"a": (1, [2])}, s.Plain(), "x" * 100_000, b"y" * 100_000]
    for value in values:
        if type(value) is bytes and protocol < 3:
            continue
        file = io.BytesIO()
        joblib.dump(value, file, protocol=protocol)
        assert joblib_bytes(value, protocol=protocol) == file.getvalue()


def test_an_array_that_appears_twice_is_stored_twice():
    a = np.arange(1000.0)
    data = joblib_bytes([a, a])
    assert data.count(a.tobytes()) == 2
    for load in (joblib.load, fastpersist.load):
        first, second = load(io.BytesIO(data))
        assert first is not second
        assert not np.shares_memory(first, second)


def test_what_is_shared_beside_arrays_stays_shared():
    shared = ["shared"]
    data = joblib_bytes([np.arange(3), shared, np.arange(4), shared, {"k": shared}])
    for load in (joblib.load, fastpersist.load):
        loaded = load(io.BytesIO(data))
        assert loaded[1] is loaded[3] is loaded[4]["k"]


def test_an_array_of_objects_has_a_memo_of_its_own():
    inner = ["inner"]
    objects = np.array([inner, inner, None], object)
    for load in (joblib.load, fastpersist.load):
        first, loaded = load(io.BytesIO(joblib_bytes([inner, objects])))
        assert loaded[0] is loaded[1] is not first


def test_a_registered_reducer_is_not_asked():
    """joblib asks nobody either."""
    import copyreg

    copyreg.pickle(np.ndarray, lambda array: (list, ([],)))
    try:
        loaded = joblib.load(io.BytesIO(joblib_bytes([np.arange(3)])))
    finally:
        del copyreg.dispatch_table[np.ndarray]
    assert_isomorphic([np.arange(3)], loaded)


def test_an_array_that_changes_during_the_dump():
    a = np.zeros(3)

    def change():
        a[0] = 5

    first, _, second = joblib.load(io.BytesIO(joblib_bytes([a, Meddler(change), a])))
    assert first[0] == 0 and second[0] == 5


def test_an_array_that_is_resized_by_its_dtypes_reducer():
    """While the dtype is saved the array's memory goes: an error, and no wild read."""
    box = {}

    def resize():
        box["array"].resize(1, refcheck=False)

    dtype = np.dtype("f8", metadata={"x": Meddler(resize)})
    box["array"] = np.zeros(100_000, dtype)
    with pytest.raises(RuntimeError, match="changed"):
        joblib_bytes([box["array"]])


# ---------------------------------------------------------------- bytes


def wrappers(data):
    """Where the bytes of arrays begin: behind BUILD, a length and as much 0xff."""
    at = data.find(b"b")
    while at >= 0:
        n = data[at + 1] if at + 1 < len(data) else 0
        if 1 <= n <= 16 and data[at + 2 : at + 2 + n] == b"\xff" * n:
            yield at + 2 + n
        at = data.find(b"b", at + 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_bytes_of_arrays_are_aligned(protocol):
    arrays = [np.full(n, n, "u1") for n in range(1, 40)]
    data = joblib_bytes(arrays, protocol=protocol)
    starts = list(wrappers(data))
    assert len(starts) == len(arrays)
    for array, start in zip(arrays, starts, strict=True):
        assert start % 16 == 0
        assert data[start : start + array.size] == array.tobytes()


def test_alignment_counts_from_the_start_of_the_file():
    file = io.BytesIO()
    file.write(b"12345")
    fastpersist.dump([np.arange(3)], file, layout="joblib")
    data = file.getvalue()
    (start,) = wrappers(data)
    assert start % 16 == 0
    file.seek(5)
    assert_isomorphic([np.arange(3)], fastpersist.load(file))


def test_the_state_of_the_wrapper_is_joblibs(monkeypatch):
    seen = []
    module = joblib.numpy_pickle
    read = module.NumpyArrayWrapper.read

    def note(self, *arguments):
        seen.append(dict(self.__dict__))
        return read(self, *arguments)

    monkeypatch.setattr(module.NumpyArrayWrapper, "read", note)
    value = graph()
    for load in (joblib_bytes(value), _own_bytes(value)):
        joblib.load(io.BytesIO(load))
    half = len(seen) // 2
    assert len(seen) == 2 * half > 10
    assert seen[:half] == seen[half:]
    assert [list(state) for state in seen[:half]] == [list(state) for state in seen[half:]]


def _own_bytes(value):
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


def test_equal_bytes_to_every_target(tmp_path):
    value = graph()
    data = joblib_bytes(value)
    for threads in (1, 2):
        fastpersist.dump(value, tmp_path / "file", layout="joblib", threads=threads)
        assert (tmp_path / "file").read_bytes() == data


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize("mode", MODES)
def test_joblib_maps_it(mode, tmp_path):
    value = graph()
    path = str(tmp_path / "file")
    assert fastpersist.dump(value, path, layout="joblib") == [path]
    joblib.dump(value, path + ".own")
    expected = joblib.load(path + ".own", mmap_mode=mode)
    for load in (joblib.load, fastpersist.load):
        loaded = load(path, mmap_mode=mode)
        assert_isomorphic(expected, loaded)
        assert type(loaded["large"]) is np.memmap
        assert loaded["large"].filename == path
        for name in ("large", "fortran", "record"):
            assert loaded[name].ctypes.data % 16 == 0


WORKERS = """
import sys
import joblib, numpy as np, fastpersist
from test_joblib_layout import graph
from maps import look

if __name__ == "__main__":
    path, = sys.argv[1:]
    value = {name: array for name, array in graph().items() if type(array) is np.ndarray}
    del value["objects"], value["empty"]
    fastpersist.dump(value, path, layout="joblib")
    for load in (joblib.load, fastpersist.load):
        loaded = load(path, mmap_mode="r")
        with joblib.Parallel(n_jobs=2, max_nbytes=1) as parallel:
            seen = parallel(joblib.delayed(look)(array) for array in loaded.values())
        for (name, array), (kind, file, got) in zip(value.items(), seen):
            assert (kind, file) == ("memmap", path), (name, kind, file)
            np.testing.assert_array_equal(got, array, name)
"""


def test_workers_get_maps_by_reference(tmp_path):
    run_python(WORKERS, tmp_path / "file", warnings="ignore")


# ---------------------------------------------------------------- without fastpersist

READER = """
import io, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
import array_values, joblib
from compare import assert_isomorphic

assert "fastpersist" not in sys.modules
left_out = set(sys.argv[2].split(","))
loaded = joblib.load(sys.argv[1])
for name, build in array_values.everything().items():
    if name in left_out or name not in loaded:
        continue
    file = io.BytesIO()
    value = build()
    if not name.startswith("zero-width") and name != "struct empty dtype":
        joblib.dump(value, file)
        file.seek(0)
        value = joblib.load(file)
    try:
        assert_isomorphic(value, loaded[name])
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error
assert "fastpersist" not in sys.modules
"""


def test_a_process_without_fastpersist_loads_it(tmp_path):
    value = {name: build() for name, build in array_values.everything().items()}
    fastpersist.dump(value, tmp_path / "file", layout="joblib")
    run_python(READER, tmp_path / "file", "", warnings="ignore")


@pytest.mark.skipif(
    "FASTPERSIST_OLD_JOBLIB_PYTHON" not in os.environ,
    reason="FASTPERSIST_OLD_JOBLIB_PYTHON names no Python with joblib 1.2 and NumPy 1.26",
)
def test_joblib_12_loads_it(tmp_path):
    everything = array_values.everything()
    # NumPy 2's reducer of an array in an array of objects names what 1.26 does not have; joblib's
    # own files have the same.
    left_out = set(array_values.NOT_IN_NUMPY_126) | {"objects nested", "mixed graph"}
    value = {name: build() for name, build in everything.items() if name not in left_out}
    fastpersist.dump(value, tmp_path / "file", layout="joblib")
    run_python(
        READER,
        tmp_path / "file",
        ",".join(left_out),
        warnings="ignore",
        python=os.environ["FASTPERSIST_OLD_JOBLIB_PYTHON"],
        env={"PYTHONPATH": str(SUPPORT)},
    )


# ---------------------------------------------------------------- streams and codecs


class NotTelling(io.BytesIO):
    def tell(self):
        raise io.UnsupportedOperation("tell")

    def seek(self, *arguments):
        raise io.UnsupportedOperation("seek")


def test_file_objects_that_cannot_tell():
    value = graph()
    for file in (WriteOnly(), NotTelling()):
        fastpersist.dump(value, file, layout="joblib")
        data = file.data if isinstance(file, WriteOnly) else file.getvalue()
        assert data == joblib_bytes(value)


def test_a_socket(tmp_path):
    value = graph()
    ours, theirs = socket.socketpair()
    received = []

    def receive():
        with theirs, theirs.makefile("rb") as file:
            received.append(fastpersist.load(file))

    thread = threading.Thread(target=receive)
    thread.start()
    with ours, ours.makefile("wb") as file:
        fastpersist.dump(value, file, layout="joblib")
    thread.join()
    assert_isomorphic(by_joblib(value), received[0])


def test_several_dumps_in_one_file(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        for i in range(3):
            fastpersist.dump([np.arange(i + 1), i], file, layout="joblib")
    for load in (joblib.load, fastpersist.load):
        with open(tmp_path / "file", "rb") as file:
            for i in range(3):
                assert_isomorphic([np.arange(i + 1), i], load(file))


@pytest.mark.parametrize("compress", [3, ("gzip", 1), "bz2", ("lzma", 1), ("xz", 1)])
def test_compressed(compress, tmp_path):
    value = graph()
    path = str(tmp_path / "file")
    fastpersist.dump(value, path, compress, layout="joblib")
    expected = by_joblib(value)
    assert_isomorphic(expected, joblib.load(path))
    assert_isomorphic(expected, fastpersist.load(path))
    with pytest.warns(UserWarning, match="not compatible with compressed file"):
        joblib.load(path, mmap_mode="r")


def test_in_a_compressed_stream_the_uncompressed_position_counts(tmp_path):
    value = [np.full(n, n, "u1") for n in range(1, 40)]
    fastpersist.dump(value, tmp_path / "file", "gzip", layout="joblib")
    with gzip.open(tmp_path / "file") as file:
        assert file.read() == joblib_bytes(value)


def test_a_compressed_file_object_of_the_caller(tmp_path):
    with gzip.open(tmp_path / "file", "wb") as file:
        fastpersist.dump(graph(), file, layout="joblib")
    with gzip.open(tmp_path / "file") as file:
        assert_isomorphic(by_joblib(graph()), joblib.load(file))


# ---------------------------------------------------------------- arguments and failures


def test_unknown_layout(tmp_path):
    for layout in ("numpy", None, b"joblib", ""):
        with pytest.raises(ValueError, match="pickle.*joblib"):
            fastpersist.dump([1], tmp_path / "file", layout=layout)
    assert os.listdir(tmp_path) == []


def test_an_array_of_no_size_is_an_ordinary_object():
    value = [np.zeros(3, [("a", "S0")])["a"], np.zeros(2, "V0"), np.arange(2)]
    for load in (joblib.load, fastpersist.load):
        assert_isomorphic(value, load(io.BytesIO(joblib_bytes(value))))


@pytest.mark.parametrize("where", ["outside", "inside an array"])
def test_a_failed_dump_leaves_the_old_file(where, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    bad = Unpicklable()
    value = [np.zeros(1_000_000), bad if where == "outside" else np.array([1, bad], object)]
    with pytest.raises(RuntimeError, match="not this one") as caught:
        fastpersist.dump(value, path, layout="joblib")
    assert any("while dumping value[1]" in note for note in caught.value.__notes__)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_fails():
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fastpersist.dump(graph(), Full(), layout="joblib")


def test_damaged_files():
    """There are no checksums: an error, or another value, but never a crash."""
    # Without objects: NumPy itself crashes on some wrong states of their dtype.
    value = [np.arange(5.0), {"a": np.arange(3)}, np.arange(6, dtype="i2").reshape(2, 3)]
    data = joblib_bytes(value)
    n_errors = 0
    for at in range(len(data)):
        for damaged in (data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :], data[:at]):
            try:
                fastpersist.load(io.BytesIO(damaged))
            except Exception as error:
                assert not isinstance(error, (SystemError, MemoryError)), (at, error)
                n_errors += 1
    assert n_errors > len(data)


MEMORY = """
import sys
import numpy as np
import fastpersist
from peak import peak_kib as peak

array = np.ones(32 << 20)  # 256 MiB
value = {"plain": array, "gaps": array[::-2], "leaf": b"x" * (64 << 20), "text": "y" * (64 << 20)}
fastpersist.dump([np.arange(3)], sys.argv[1], layout="joblib")
before = peak()
fastpersist.dump(value, sys.argv[1], layout="joblib")
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_arrays(tmp_path):
    assert int(run_python(MEMORY, tmp_path / "file")) < 16 << 10


def test_namespace_and_slots_beside_arrays():
    value = types.SimpleNamespace(a=np.arange(3), b=s.Plain())
    assert_isomorphic(by_joblib(value), joblib.load(io.BytesIO(joblib_bytes(value))))


def test_large_leaves_pass_the_frames():
    """Leaves from 64 KiB on go straight to the file, also once the silence is over."""
    value = [
        s.GetState(1),
        b"b" * 200_000,
        bytearray(b"a" * 200_000),
        "é" * 200_000,
        "s" * 200_000,
        pickle.PickleBuffer(bytearray(b"p" * 200_000)),
        np.array([b"o" * 200_000, "ü" * 100_000, None], object),
    ]
    for protocol in (4, 5):
        if protocol == 4:
            value[5] = None
        data = joblib_bytes(value, protocol=protocol)
        loaded = joblib.load(io.BytesIO(data))
        assert_isomorphic(by_joblib(value, protocol), loaded)
        value[5] = pickle.PickleBuffer(bytearray(b"p" * 200_000))


def test_struct_of_the_padding_byte():
    data = joblib_bytes(np.arange(3, dtype="u1"))
    (start,) = wrappers(data)
    n = next(n for n in range(1, 17) if data[start - n - 1] == n)
    assert struct.unpack("B", data[start - n - 1 : start - n]) == (n,)
    assert data[start:] == b"\x00\x01\x02."
