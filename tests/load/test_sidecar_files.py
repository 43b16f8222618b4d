"""dump(sidecar=): the main file, its sidecar, and what reads them."""

import io
import itertools
import os
import pathlib
import pickle
import pickletools
import shutil
import socket
import struct
import threading

import array_values
import fastpersist
import format_reader
import numpy as np
import pytest
import sample_classes as s
import sidecar_reader
import values
from compare import assert_isomorphic
from fastpersist import CorruptFileError, TruncatedFileError, read_sidecar
from file_objects import WriteOnly
from helpers import file_bytes, run_python
from restless import Meddler, Unpicklable

pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*chararray.*:DeprecationWarning"),
]


def pair_of(value, **keywords):
    main, second = io.BytesIO(), io.BytesIO()
    assert fastpersist.dump(value, main, sidecar=second, **keywords) is None
    return main.getvalue(), second.getvalue()


def read_file(path):
    return pathlib.Path(path).read_bytes()


def load_pair(main, second, **keywords):
    return fastpersist.load(io.BytesIO(main), sidecar=io.BytesIO(second), **keywords)


def graph():
    shared = np.arange(12.0).reshape(3, 4)
    return {
        "shared": [shared, shared],
        "fortran": np.asfortranarray(shared),
        "permuted": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        "gaps": np.arange(20)[::3],
        "large": np.arange(300_000.0),
        "objects": np.array([1, "abc", {"a": [np.arange(3), None]}], object),
        "instance": s.GetState(1),
        "record": np.zeros(3, [("a", "u1"), ("b", ">f8")]),
        "empty": np.empty((0, 3), "f4"),
        "zero-dimensional": np.array(7, "i2"),
        "large bytes": b"b" * 50_000,
        "large bytearray": bytearray(b"a" * 50_000),
        "large text": "ü" * 50_000,
    }


@pytest.fixture
def pair(tmp_path):
    paths = str(tmp_path / "main"), str(tmp_path / "second")
    assert fastpersist.dump(graph(), paths[0], sidecar=paths[1]) == list(paths)
    return paths


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("name", array_values.everything())
def test_arrays(name):
    value = array_values.as_loaded(array_values.everything()[name]())
    main, second = pair_of(value)
    assert_isomorphic(value, load_pair(main, second, ensure_native_byte_order=False))
    buffers, root, end = sidecar_reader.read(second)
    assert end == len(second)
    assert_isomorphic(value, pickle.loads(main, buffers=buffers))
    assert [type(b) for b in read_sidecar(io.BytesIO(second))] == [type(b) for b in buffers]
    assert read_sidecar(io.BytesIO(second)) == buffers


@pytest.mark.filterwarnings("ignore")
def test_other_values():
    for name, build in values.catalogue().items():
        if name in ("iterators", "enumerate", "count"):  # used up by a dump
            continue
        value = build()
        try:
            expected = pickle.loads(file_bytes(value))
        except Exception:
            continue  # nothing that can be dumped, or loaded
        main, second = pair_of(value)
        assert_isomorphic(expected, load_pair(main, second))
        assert_isomorphic(expected, pickle.loads(main, buffers=sidecar_reader.read(second)[0]))


def test_paths(pair):
    value = graph()
    for threads in (1, 2):
        for verify in (True, False, "full"):
            loaded = fastpersist.load(pair[0], sidecar=pair[1], verify=verify, threads=threads)
            assert_isomorphic(value | {"record": loaded["record"]}, loaded)
    with open(pair[0], "rb") as file:
        assert_isomorphic(value, pickle.load(file, buffers=read_sidecar(pair[1])))
    with open(pair[0], "rb") as main, open(pair[1], "rb") as second:
        assert_isomorphic(value, fastpersist.load(main, None, False, sidecar=second))
        assert main.read() == second.read() == b""
    encoded = os.fsencode(pair[0]), os.fsencode(pair[1])
    assert_isomorphic(value, fastpersist.load(encoded[0], None, False, sidecar=encoded[1]))


def test_paths_and_file_objects_mixed(pair, tmp_path):
    value = [np.arange(5000), "text"]
    main, second = pair_of(value)
    path = str(tmp_path / "one")
    file = io.BytesIO()
    assert fastpersist.dump(value, path, sidecar=file) == [path]
    assert (tmp_path / "one").read_bytes() == main and file.getvalue() == second
    assert_isomorphic(value, fastpersist.load(path, sidecar=io.BytesIO(second)))
    file = io.BytesIO()
    assert fastpersist.dump(value, file, sidecar=tmp_path / "two") is None
    assert (tmp_path / "two").read_bytes() == second and file.getvalue() == main
    assert_isomorphic(value, fastpersist.load(io.BytesIO(main), sidecar=tmp_path / "two"))
    assert fastpersist.dump(value, path, sidecar=tmp_path / "two") == [path, str(tmp_path / "two")]


def test_arrays_own_their_memory_and_are_writable(pair):
    frozen = np.arange(10)
    frozen.flags.writeable = False
    main, second = pair_of([frozen, np.arange(100_000)])
    for array in load_pair(main, second):
        assert array.flags.owndata and array.flags.writeable
    loaded = fastpersist.load(pair[0], sidecar=pair[1])
    assert loaded["large"].flags.owndata and loaded["large"].flags.writeable
    for array in pickle.loads(main, buffers=read_sidecar(io.BytesIO(second))):
        assert array.flags.writeable


def test_an_array_that_appears_twice_is_stored_once():
    a = np.arange(1000.0)
    main, second = pair_of([a, a, {"a": a}])
    assert second.count(a.tobytes()) == 1
    for loaded in (
        load_pair(main, second),
        pickle.loads(main, buffers=sidecar_reader.read(second)[0]),
    ):
        assert loaded[0] is loaded[1] is loaded[2]["a"]


def test_pickle_buffers_go_to_the_sidecar_as_they_are():
    class Wrapper:
        def __init__(self, data):
            self.data = data

    fortran = np.asfortranarray(np.arange(6).reshape(2, 3))
    for data, kind in [
        (bytearray(b"writable"), bytearray),
        (b"read-only", bytes),
        (bytearray(300_000), bytearray),
        (bytes(300_000), bytes),
        (b"", bytes),
        (fortran, bytearray),
        (memoryview(bytearray(b"view")).toreadonly(), bytes),
    ]:
        buffer = pickle.PickleBuffer(data)
        main, second = pair_of([buffer, buffer])
        assert len(sidecar_reader.read(second)[0]) == 1
        for loaded in (
            load_pair(main, second),
            pickle.loads(main, buffers=sidecar_reader.read(second)[0]),
        ):
            assert loaded[0] is loaded[1]
            assert type(loaded[0]) is kind
            assert bytes(loaded[0]) == memoryview(data).tobytes("A")


def test_large_leaves_stay_in_the_main_file():
    main, second = pair_of([b"b" * 50_000, "t" * 50_000, bytearray(b"a" * 50_000)])
    assert len(second) < 300 and len(main) > 150_000
    assert sidecar_reader.read(second)[0] == []


def test_what_a_dtypes_reducer_does_to_its_array():
    box = {}
    dtype = np.dtype("f8", metadata={"x": Meddler(lambda: box["array"].resize(1, refcheck=False))})
    box["array"] = np.zeros(100_000, dtype)
    with pytest.raises(RuntimeError, match="changed"):
        pair_of([box["array"]])


def test_arrays_in_the_metadata_of_a_dtype():
    """Their buffers come first; each array is cleared of its own padding."""
    inner = np.ones(3, np.dtype([("a", "u1"), ("b", "f8")], align=True))
    fields = {"names": ["x", "y"], "formats": ["u2", "u8"], "offsets": [0, 24], "itemsize": 40}
    outer = np.ones(5, np.dtype(fields, metadata={"inner": inner, "n": np.arange(4)}))
    main, second = pair_of(outer)
    buffers = sidecar_reader.read(second)[0]
    assert [len(buffer) for buffer in buffers] == [48, 32, 200]
    for loaded in (load_pair(main, second), pickle.loads(main, buffers=buffers)):
        assert loaded.tolist() == outer.tolist()
        assert_isomorphic(inner, loaded.dtype.metadata["inner"])
        assert_isomorphic(np.arange(4), loaded.dtype.metadata["n"])


# ---------------------------------------------------------------- bytes


def test_the_main_file_is_a_pickle_with_out_of_band_buffers():
    value = graph()
    main, second = pair_of(value)
    assert main[18:20] == b"\x01\0"
    names = [opcode.name for opcode, _, _ in pickletools.genops(main)]
    buffers, root, length = sidecar_reader.read(second)
    assert names.count("NEXT_BUFFER") == len(buffers) > 5
    assert "READONLY_BUFFER" not in names
    with pytest.raises(pickle.UnpicklingError, match="out-of-band"):
        pickle.loads(main)
    # The footer's extension.
    at = main.index(format_reader.FOOTER_MAGIC)
    assert struct.unpack("<I", main[at + 20 : at + 24]) == (1,)
    assert struct.unpack("<QQQ", main[at + 96 : at + 120]) == (len(buffers), length, root)


def test_buffers_are_aligned_and_in_order():
    arrays = [np.full(n, n % 251, "u1") for n in range(1, 200)]
    _, second = pair_of(arrays)
    position = 24
    for array in arrays:
        kind, start, length = sidecar_reader.read_record(second, position)
        assert (kind, length) == (b"writable", array.size)
        assert second[start : start + length] == array.tobytes()
        position = start + length


def test_equal_bytes_to_every_target(pair):
    expected = pair_of(graph())
    for threads in (1, 2):
        fastpersist.dump(graph(), pair[0], sidecar=pair[1], threads=threads)
        with open(pair[0], "rb") as main, open(pair[1], "rb") as second:
            assert (main.read(), second.read()) == expected


def test_no_array_at_all():
    main, second = pair_of({"a": [1, "two"]})
    assert sidecar_reader.read(second)[0] == []
    assert load_pair(main, second) == {"a": [1, "two"]}
    assert read_sidecar(io.BytesIO(second)) == []


def test_the_plain_layout_is_as_it_was():
    value = [np.arange(3), np.arange(5000)]
    data = file_bytes(value)
    assert data[18:20] == b"\0\0"
    at = data.index(format_reader.FOOTER_MAGIC)
    assert data[at + 20 : at + 24] == bytes(4)


# ---------------------------------------------------------------- streams


class Reading:
    """What pickle asks of a file, and nothing else."""

    def __init__(self, data):
        self.file = io.BytesIO(data)
        self.read, self.readline = self.file.read, self.file.readline


def test_file_objects_with_little_more_than_read_and_write():
    main, second = WriteOnly(), WriteOnly()
    fastpersist.dump(graph(), main, sidecar=second)
    assert (main.data, second.data) == pair_of(graph())
    second = Reading(second.data)
    loaded = fastpersist.load(io.BytesIO(main.data), None, False, sidecar=second)
    assert_isomorphic(graph(), loaded)
    assert second.file.read() == b""


def test_several_dumps_in_two_streams(tmp_path):
    dumps = [[np.arange(i * 1000), i] for i in range(4)]
    main, second = io.BytesIO(), io.BytesIO()
    for value in dumps:
        fastpersist.dump(value, main, sidecar=second)
    assert len(sidecar_reader.read_all(second.getvalue())) == 4
    main.seek(0)
    second.seek(0)
    for value in dumps:
        assert_isomorphic(value, fastpersist.load(main, sidecar=second))
    with pytest.raises(EOFError):
        fastpersist.load(main, sidecar=second)
    # Of paths the first counts, in both.
    (tmp_path / "main").write_bytes(main.getvalue())
    (tmp_path / "second").write_bytes(second.getvalue())
    loaded = fastpersist.load(tmp_path / "main", sidecar=tmp_path / "second")
    assert_isomorphic(dumps[0], loaded)
    assert read_sidecar(tmp_path / "second") == sidecar_reader.read_all(second.getvalue())[0]


def test_sockets():
    value = graph()
    pairs = [socket.socketpair() for _ in range(2)]
    received = []

    def receive():
        with pairs[0][1].makefile("rb") as main, pairs[1][1].makefile("rb") as second:
            received.append(fastpersist.load(main, None, False, sidecar=second))

    thread = threading.Thread(target=receive)
    thread.start()
    # The graph comes at the end, and is read first: the sidecar waits in this buffer.
    second_data = io.BytesIO()
    with pairs[0][0].makefile("wb") as main:
        fastpersist.dump(value, main, sidecar=second_data)
    pairs[0][0].close()
    with pairs[1][0].makefile("wb") as second:
        second.write(second_data.getvalue())
    pairs[1][0].close()
    thread.join()
    for _, end in pairs:
        end.close()
    assert_isomorphic(value, received[0])


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
def test_maps(mode, pair):
    value = graph()
    loaded = fastpersist.load(pair[0], mode, sidecar=pair[1])
    for name, array in value.items():
        if type(array) is np.ndarray and not array.dtype.hasobject:
            assert type(loaded[name]) is np.memmap, name
            assert loaded[name].filename == pair[1]
            assert loaded[name].mode == {"w+": "r+"}.get(mode, mode)
            assert loaded[name].strides == array.strides or name in ("gaps", "empty")
            np.testing.assert_array_equal(loaded[name], array)
        elif not isinstance(array, (list, s.GetState, np.ndarray)):
            assert loaded[name] == array
    assert loaded["shared"][0] is loaded["shared"][1]
    assert loaded["large"].ctypes.data % 64 == 0
    with open("/proc/self/maps") as maps:
        assert sum(pair[1] in line for line in maps) == 1


def test_writing_through_a_map_voids_the_hashes(pair):
    main = read_file(pair[0])
    loaded = fastpersist.load(pair[0], "r+", sidecar=pair[1])
    loaded["large"][7] = -1
    loaded["large"].flush()
    del loaded
    assert read_file(pair[0]) == main
    for read in (
        lambda: fastpersist.load(pair[0], sidecar=pair[1])["large"],
        lambda: fastpersist.load(pair[0], "r", sidecar=pair[1])["large"],
        lambda: np.frombuffer(read_sidecar(pair[1])[4]),
    ):
        with pytest.warns(UserWarning, match="mapped for writing"):
            array = read()
        assert array[7] == -1


def test_a_private_map_leaves_the_file_alone(pair):
    data = read_file(pair[1])
    loaded = fastpersist.load(pair[0], "c", sidecar=pair[1])
    loaded["large"][:] = 0
    assert read_file(pair[1]) == data


def test_file_objects_are_not_mapped(pair):
    with open(pair[1], "rb") as second:
        with pytest.warns(UserWarning, match="will be ignored") as caught:
            loaded = fastpersist.load(pair[0], "r", sidecar=second)
    assert [warning.filename for warning in caught] == [__file__]
    assert type(loaded["large"]) is np.ndarray


def test_what_a_map_checks(pair):
    data = bytearray(read_file(pair[1]))
    at = data.index(np.arange(300_000.0).tobytes()[8:64])
    data[at] ^= 1
    pathlib.Path(pair[1]).write_bytes(data)
    fastpersist.load(pair[0], "r", sidecar=pair[1])
    for keywords in ({}, {"mmap_mode": "r", "verify": "full"}):
        with pytest.raises(CorruptFileError):
            fastpersist.load(pair[0], sidecar=pair[1], **keywords)
    with pytest.raises(CorruptFileError):
        read_sidecar(pair[1])
    read_sidecar(pair[1], verify=False)


def test_a_buffer_of_a_map_that_is_no_array_is_checked(tmp_path):
    paths = tmp_path / "main", tmp_path / "second"
    fastpersist.dump(
        [pickle.PickleBuffer(bytes(3 << 20)), np.arange(5)], paths[0], sidecar=paths[1]
    )
    loaded = fastpersist.load(paths[0], "r", sidecar=paths[1])
    assert loaded[0] == bytes(3 << 20)
    data = bytearray(paths[1].read_bytes())
    data[2 << 20] ^= 1
    paths[1].write_bytes(data)
    with pytest.raises(CorruptFileError):
        fastpersist.load(paths[0], "r", sidecar=paths[1])


WORKERS = """
import sys
import joblib, numpy as np, fastpersist
from maps import look
from test_sidecar_files import graph

if __name__ == "__main__":
    main, second, mode = sys.argv[1:]
    value = {n: a for n, a in graph().items() if type(a) is np.ndarray and not a.dtype.hasobject}
    del value["empty"]
    fastpersist.dump(value, main, sidecar=second)
    loaded = fastpersist.load(main, mode, sidecar=second)
    with joblib.Parallel(n_jobs=2, max_nbytes=1) as parallel:
        seen = parallel(joblib.delayed(look)(array) for array in loaded.values())
    for (name, array), (kind, file, got) in zip(value.items(), seen):
        assert file == second, (name, file)
        np.testing.assert_array_equal(got, array, name)
"""


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_workers_get_maps_by_reference(mode, tmp_path):
    run_python(WORKERS, tmp_path / "main", tmp_path / "second", mode, warnings="ignore")


# ---------------------------------------------------------------- without fastpersist

READER = """
import pickle, sys, warnings
warnings.simplefilter("ignore")
import array_values, sidecar_reader
from compare import assert_isomorphic

with open(sys.argv[2], "rb") as file:
    buffers, _, _ = sidecar_reader.read(file.read())
with open(sys.argv[1], "rb") as file:
    loaded = pickle.load(file, buffers=buffers)
for name, build in array_values.everything().items():
    assert_isomorphic(array_values.as_loaded(build()), loaded[name])
assert "fastpersist" not in sys.modules
"""


def test_a_process_without_fastpersist_loads_it(tmp_path):
    value = {name: build() for name, build in array_values.everything().items()}
    fastpersist.dump(value, tmp_path / "main", sidecar=tmp_path / "second")
    run_python(READER, tmp_path / "main", tmp_path / "second", warnings="ignore")


# ---------------------------------------------------------------- damage


def small_pair():
    return pair_of({"a": np.arange(3), "b": [np.arange(700.0), pickle.PickleBuffer(b"bytes")]})


def refused(main, second, path_pair):
    """Both as file objects and as paths; what is loaded differs from nothing that was dumped."""
    with pytest.raises((CorruptFileError, pickle.UnpicklingError, EOFError)):
        load_pair(main, second)
    for path, data in zip(path_pair, (main, second), strict=True):
        path.write_bytes(data)
    with pytest.raises((CorruptFileError, pickle.UnpicklingError, EOFError)):
        fastpersist.load(path_pair[0], sidecar=path_pair[1])


def test_every_byte_flipped(tmp_path):
    main, second = small_pair()
    paths = tmp_path / "main", tmp_path / "second"
    for which, data in enumerate((main, second)):
        for at in range(len(data)):
            flipped = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            refused(*((flipped, second) if which == 0 else (main, flipped)), paths)


def test_every_cut(tmp_path):
    main, second = small_pair()
    paths = tmp_path / "main", tmp_path / "second"
    for n in range(len(main)):
        refused(main[:n], second, paths)
    for n in range(len(second)):
        refused(main, second[:n], paths)
        with pytest.raises((CorruptFileError, EOFError)):
            read_sidecar(io.BytesIO(second[:n]))
        with pytest.raises(CorruptFileError):
            read_sidecar(paths[1])
    assert_isomorphic(load_pair(main, second), load_pair(main, second))


def test_cut_says_so(pair):
    with open(pair[1], "r+b") as file:
        file.truncate(1000)
    with pytest.raises(TruncatedFileError) as caught:
        fastpersist.load(pair[0], sidecar=pair[1])
    assert caught.value.path == pair[1] and caught.value.section == "sidecar"


def test_appended_bytes(pair):
    with open(pair[1], "ab") as file:
        file.write(b"x")
    with pytest.raises(CorruptFileError):
        fastpersist.load(pair[0], sidecar=pair[1])


def test_pairs_that_do_not_belong_together(tmp_path):
    values = [[np.arange(3)], [np.arange(3.0)], [np.arange(4)], ["nothing"]]
    pairs = [pair_of(value) for value in values]
    for (i, (main, _)), (j, (_, second)) in itertools.product(enumerate(pairs), repeat=2):
        if i == j:
            assert_isomorphic(values[i], load_pair(main, second))
            continue
        with pytest.raises(CorruptFileError, match="another dump"):
            load_pair(main, second)
        (tmp_path / "main").write_bytes(main)
        (tmp_path / "second").write_bytes(second)
        for mode in (None, "r"):
            with pytest.raises(CorruptFileError, match="another dump"):
                fastpersist.load(tmp_path / "main", mode, sidecar=tmp_path / "second")


def test_a_sidecar_that_is_missing_or_not_wanted(pair, tmp_path):
    with pytest.raises(ValueError, match="sidecar="):
        fastpersist.load(pair[0])
    with pytest.raises(ValueError, match="sidecar="), open(pair[0], "rb") as file:
        fastpersist.load(file)
    with pytest.raises(FileNotFoundError):
        fastpersist.load(pair[0], sidecar=tmp_path / "none")
    fastpersist.dump([1], tmp_path / "ours")
    (tmp_path / "pickle").write_bytes(pickle.dumps([1]))
    (tmp_path / "text").write_bytes(b"text, not a pickle")
    fastpersist.dump([1], tmp_path / "packed", compress="gzip")
    for name in ("ours", "pickle", "text", "packed"):
        with pytest.raises(ValueError, match="without sidecar="):
            fastpersist.load(tmp_path / name, sidecar=pair[1])
    with pytest.raises(ValueError, match="without sidecar="), open(tmp_path / "ours", "rb") as file:
        fastpersist.load(file, sidecar=pair[1])


def test_other_files_are_no_sidecars(pair, tmp_path):
    (tmp_path / "other").write_bytes(b"something else" * 100)
    for path in (pair[0], tmp_path / "other"):
        for load in (read_sidecar, lambda path: fastpersist.load(pair[0], sidecar=path)):
            with pytest.raises(CorruptFileError, match="sidecar"):
                load(path)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(TruncatedFileError):
        read_sidecar(tmp_path / "empty")
    with pytest.raises(EOFError):
        read_sidecar(io.BytesIO())


def test_lengths_that_lie_cost_no_memory():
    main, second = pair_of([np.arange(100)])
    (_, start, length) = sidecar_reader.read_record(second, 24)
    for lie in (1 << 40, 1 << 62, (1 << 64) - 1):
        lying = second[: start - 8] + struct.pack("<Q", lie) + second[start:]
        with pytest.raises((CorruptFileError, MemoryError)):
            load_pair(main, lying)


# ---------------------------------------------------------------- arguments and failures


def test_arguments(tmp_path):
    path = str(tmp_path / "file")
    os.symlink(path, tmp_path / "link")
    file = io.BytesIO()
    for keywords, message in [
        ({"sidecar": path}, "another file"),
        ({"sidecar": tmp_path / "link"}, "another file"),
        ({"sidecar": tmp_path / ".." / tmp_path.name / "file"}, "another file"),
        ({"sidecar": 5}, "filename or a file-like object"),
        ({"sidecar": path + "2", "protocol": 4}, "protocol 5"),
        ({"sidecar": path + "2", "compress": 3}, "compressed"),
        ({"sidecar": path + "2", "layout": "joblib"}, "joblib"),
        ({"sidecar": file, "durable": True}, "durable"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastpersist.dump([1], path, **keywords)
    with pytest.raises(ValueError, match="another file"):
        fastpersist.dump([1], file, sidecar=file)
    with pytest.raises(ValueError, match="compressed"):
        fastpersist.dump([1], path + ".gz", sidecar=path + "2")
    with pytest.raises(ValueError, match="filename or a file-like object"):
        fastpersist.load(path, sidecar=5)
    assert os.listdir(tmp_path) == ["link"]


def test_durable(tmp_path):
    fastpersist.dump(graph(), tmp_path / "main", sidecar=tmp_path / "second", durable=True)
    loaded = fastpersist.load(tmp_path / "main", None, False, sidecar=tmp_path / "second")
    assert_isomorphic(graph(), loaded)


def test_a_failed_dump_leaves_both_old_files(pair):
    old = [read_file(path) for path in pair]
    with pytest.raises(RuntimeError, match="not this one"):
        fastpersist.dump([np.zeros(1_000_000), Unpicklable()], pair[0], sidecar=pair[1])
    assert [read_file(path) for path in pair] == old
    assert sorted(os.listdir(os.path.dirname(pair[0]))) == ["main", "second"]


def test_targets_that_cannot_be_opened(pair, tmp_path):
    old = [read_file(path) for path in pair]
    for main, second in ((pair[0], tmp_path / "no" / "x"), (tmp_path / "no" / "x", pair[1])):
        with pytest.raises(FileNotFoundError):
            fastpersist.dump([np.zeros(10)], main, sidecar=second)
    with pytest.raises(IsADirectoryError):
        fastpersist.dump([np.zeros(10)], pair[0], sidecar=tmp_path)
    assert [read_file(path) for path in pair] == old
    assert sorted(os.listdir(tmp_path)) == ["main", "second"]


def test_a_write_that_fails():
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    value = [np.zeros(1_000_000)]
    with pytest.raises(OSError, match="No space"):
        fastpersist.dump(value, Full(), sidecar=io.BytesIO())
    with pytest.raises(OSError, match="No space"):
        fastpersist.dump(value, io.BytesIO(), sidecar=Full())


BETWEEN = """
import os, sys
import numpy as np
import fastpersist

# The second rename finds a directory in its way; the first has happened.
main, second = sys.argv[1:]
class Late:
    def __reduce__(self):
        os.remove(main)
        os.mkdir(main)
        open(os.path.join(main, "in the way"), "w").close()
        return int, ()
try:
    fastpersist.dump([Late(), np.arange(5)], main, sidecar=second)
except OSError as error:
    assert error.filename == main and "rename" in str(error), error
else:
    raise SystemExit("no error")
"""


def test_a_failure_between_the_two_renames_leaves_a_pair_that_is_refused(pair, tmp_path):
    shutil.copy(pair[0], tmp_path / "old main")
    run_python(BETWEEN, *pair)
    assert sorted(os.listdir(tmp_path)) == ["main", "old main", "second"]
    # The new sidecar is there, whole; with the old main file it is refused.
    np.testing.assert_array_equal(np.frombuffer(read_sidecar(pair[1])[0], int), np.arange(5))
    with pytest.raises(CorruptFileError, match="another dump"):
        fastpersist.load(tmp_path / "old main", sidecar=pair[1])


MEMORY = """
import sys
import numpy as np
import fastpersist
from peak import peak_kib as peak

array = np.ones(32 << 20)  # 256 MiB
value = {"plain": array, "gaps": array[::-2]}
fastpersist.dump([np.arange(3)], sys.argv[1], sidecar=sys.argv[2])
before = peak()
fastpersist.dump(value, sys.argv[1], sidecar=sys.argv[2])
print(peak() - before)
before = peak()
loaded = fastpersist.load(sys.argv[1], sidecar=sys.argv[2])
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_arrays(tmp_path):
    dump, load = map(int, run_python(MEMORY, tmp_path / "main", tmp_path / "second").split())
    assert dump < 16 << 10
    assert load < (384 + 32) << 10
