"""Loading our own files: by path and from file objects, checked before anything is built."""

import contextlib
import gc
import gzip
import io
import os
import pathlib
import pickle
import socket
import struct
import sys
import threading
import time
import warnings

import array_values
import fastpersist
import numpy as np
import pytest
import sample_classes as s
from compare import assert_isomorphic
from fastpersist import CorruptFileError, TruncatedFileError
from helpers import NIGHT, examples, file_bytes, outcome, run_python
from hypothesis import given
from values import catalogue, graphs

forge = pytest.importorskip("forged_files", reason="needs the package xxhash")
format_reader = pytest.importorskip("format_reader")

EVERYTHING = array_values.everything()
OWN_BLOB = 16 << 10

pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*chararray.*:DeprecationWarning"),
]

# ---------------------------------------------------------------- ways to load


def by_path(data, tmp_path, **kwargs):
    path = tmp_path / "file"
    with open(path, "r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()  # at the end: some file systems flush a file that was cut to nothing
    return fastpersist.load(path, **kwargs)


def by_bytes_io(data, tmp_path, **kwargs):
    return fastpersist.load(io.BytesIO(data), **kwargs)


def by_open_file(data, tmp_path, **kwargs):
    path = tmp_path / "file"
    path.write_bytes(data)
    with open(path, "rb") as file:
        value = fastpersist.load(file, **kwargs)
        assert file.tell() == len(data)
    return value


def by_raw_file(data, tmp_path, **kwargs):
    path = tmp_path / "file"
    path.write_bytes(data)
    with open(path, "rb", buffering=0) as file:
        return fastpersist.load(file, **kwargs)


class OnlyRead:
    """The least that a file object can be; gives less than is asked for."""

    def __init__(self, data, most=50_000):
        self.data, self.at, self.most = data, 0, most

    def read(self, n):
        n = min(n, self.most)
        self.at += n
        return self.data[self.at - n : self.at]

    def readline(self):
        raise AssertionError("nothing of ours has lines")


def by_read_alone(data, tmp_path, **kwargs):
    return fastpersist.load(OnlyRead(data), **kwargs)


def by_gzip(data, tmp_path, **kwargs):
    file = io.BytesIO(gzip.compress(data, 1))
    with gzip.open(file) as unpacked:
        return fastpersist.load(unpacked, **kwargs)


def by_pipe(data, tmp_path, **kwargs):
    reader, writer = os.pipe()
    with sent_by_thread(lambda: write_all(writer, data)), open(reader, "rb") as file:
        return fastpersist.load(file, **kwargs)


def by_socket(data, tmp_path, **kwargs):
    one, other = socket.socketpair()

    def send():
        with one, contextlib.suppress(BrokenPipeError):  # refused before all was read
            one.sendall(data)

    with sent_by_thread(send), other, other.makefile("rb") as file:
        return fastpersist.load(file, **kwargs)


def by_fifo(data, tmp_path, **kwargs):
    path = tmp_path / "fifo"
    if not path.exists():
        os.mkfifo(path)

    def send():
        with contextlib.suppress(BrokenPipeError):
            write_all(os.open(path, os.O_WRONLY), data)

    with sent_by_thread(send):
        return fastpersist.load(path, **kwargs)


def write_all(fd, data):
    with contextlib.suppress(BrokenPipeError), open(fd, "wb") as file:
        file.write(data)


@contextlib.contextmanager
def sent_by_thread(send):
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
        assert not thread.is_alive()


STREAMS = [
    by_bytes_io,
    by_open_file,
    by_raw_file,
    by_read_alone,
    by_gzip,
    by_pipe,
    by_socket,
    by_fifo,
]
WAYS = [by_path, *STREAMS]
each_way = pytest.mark.parametrize("load", WAYS, ids=lambda way: way.__name__)
each_stream = pytest.mark.parametrize("load", STREAMS, ids=lambda way: way.__name__)


def large_graph():
    """All kinds of blobs, several hash blocks of each region."""
    rng = np.random.default_rng(0)
    return {
        "arrays": [rng.standard_normal(n) for n in (3000, 200_000, 7, 0, 2048, 100_000)],
        "fortran": np.asfortranarray(rng.standard_normal((300, 400))),
        "transposed": rng.standard_normal((30, 40, 50)).transpose(1, 2, 0),
        "small": [rng.standard_normal(i % 40) for i in range(500)],
        "bytes": b"data" * 500_000,
        "bytearray": bytearray(b"data" * 5000),
        "text": "text " * 5000 + "\ud800 é",
        "numbers": [*range(300), *range(65_400, 65_700)],
        "words": [f"{i} " * 50 for i in range(6000)],
        "instance": s.Plain(a=1),
    }


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("name", EVERYTHING, ids=lambda name: name.replace(" ", "_"))
def test_arrays_come_back(name, tmp_path):
    value = EVERYTHING[name]()
    data = file_bytes(value)
    expected = array_values.as_loaded(value)
    for load in (by_path, by_bytes_io):
        assert_isomorphic(expected, load(data, tmp_path, ensure_native_byte_order=False))


@pytest.mark.parametrize("name", catalogue(), ids=lambda name: name.replace(" ", "_"))
def test_other_values_come_back(name, tmp_path):
    value = catalogue()[name]()
    data = outcome(file_bytes, value)
    if not isinstance(data, bytes):
        pytest.skip("nothing that pickle can write")
    expected = pickle.loads(data)
    for load in (by_path, by_bytes_io):
        assert_isomorphic(expected, load(data, tmp_path))


@given(graphs())
@examples(100)
def test_generated_graphs_come_back(graph):
    data = file_bytes(graph)
    assert_isomorphic(pickle.loads(data), fastpersist.load(io.BytesIO(data)))


@each_way
@pytest.mark.parametrize("verify", [True, False, "full"])
@pytest.mark.by_day(wanted=lambda load, verify: load is by_path or verify is True)
def test_every_way_gives_the_same(load, verify, tmp_path):
    value = large_graph()
    assert_isomorphic(value, load(file_bytes(value), tmp_path, verify=verify))


@pytest.mark.parametrize("threads", [1, 2, 3, 16, None])
def test_threads_make_no_difference(threads, tmp_path):
    value = [np.arange(1_000_000.0), np.arange(20_000, dtype="i8"), b"x" * 3_000_000, "y" * 30_000]
    assert_isomorphic(value, by_path(file_bytes(value), tmp_path, threads=threads))


def test_paths_of_all_kinds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fastpersist.dump([1], "relativé")
    for path in ("relativé", "relativé".encode(), pathlib.Path("relativé"), tmp_path / "relativé"):
        assert fastpersist.load(path) == [1]
    assert fastpersist.load(os.open("relativé", os.O_RDONLY)) == [1]  # as open() takes it


def test_no_descriptor_is_left(tmp_path):
    fastpersist.dump(large_graph(), tmp_path / "file")
    (tmp_path / "bad").write_bytes((tmp_path / "file").read_bytes()[:-100])
    before = os.listdir("/proc/self/fd")
    fastpersist.load(tmp_path / "file")
    with pytest.raises(TruncatedFileError):
        fastpersist.load(tmp_path / "bad")
    with pytest.raises(FileNotFoundError) as caught:
        fastpersist.load(tmp_path / "nothing")
    assert caught.value.filename == str(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        fastpersist.load(tmp_path)
    with pytest.raises(ValueError, match="null"):
        fastpersist.load("a\0b")
    assert os.listdir("/proc/self/fd") == before


def test_arguments_are_checked(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([1], path)
    for verify in ("Full", None, 2, "true"):
        with pytest.raises(ValueError, match="verify"):
            fastpersist.load(path, verify=verify)
    with pytest.raises(ValueError, match="threads"):
        fastpersist.load(path, threads=0)
    with pytest.raises(TypeError):
        fastpersist.load(None)
    with pytest.raises(TypeError):
        fastpersist.load(path, None, "auto", True)


# ---------------------------------------------------------------- arrays


@each_way
def test_arrays_own_their_memory(load, tmp_path):
    value = [
        np.arange(n).reshape(shape, order=order)
        for n, shape in ((8, (2, 4)), (40_000, (200, 200)))
        for order in "CF"
    ]
    value.append(np.arange(60_000).reshape(20, 30, 100).transpose(1, 2, 0))
    for loaded, array in zip(load(file_bytes(value), tmp_path), value, strict=True):
        assert loaded.flags.owndata and loaded.base is None and loaded.flags.writeable
        assert loaded.flags.aligned and loaded.strides == array.strides
        assert sys.getrefcount(loaded) == sys.getrefcount(array)
        loaded[...] = 1
        if loaded.flags.forc:
            loaded.resize(array.size * 3, refcheck=False)
            assert loaded[array.size :].sum() == 0


def test_handler_of_numpy_gets_its_memory_back(tmp_path):
    # tracemalloc sees NumPy's memory: what arrays took is told to it, and given back.
    code = """
import sys, tracemalloc, numpy as np, fastpersist
fastpersist.dump([np.zeros(1_000_000), np.zeros(100), b"x" * 1_000_000], sys.argv[1])
fastpersist.load(sys.argv[1])
tracemalloc.start()
for _ in range(3):
    loaded = fastpersist.load(sys.argv[1])
    assert tracemalloc.get_traced_memory()[0] > 9_000_000
    del loaded
    assert tracemalloc.get_traced_memory()[0] < 200_000, tracemalloc.get_traced_memory()
"""
    run_python(code, tmp_path / "file")


@pytest.mark.slow  # and not for sanitizers, which keep what was freed
def test_dropping_an_array_frees_it(tmp_path):
    code = """
import re, sys, numpy as np, fastpersist
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
# Above the size from where malloc() gives every block back at once.
fastpersist.dump([np.ones(5_000_000) for _ in range(5)] + [np.arange(5)], sys.argv[1])
start = resident()
loaded = fastpersist.load(sys.argv[1])
assert resident() - start > 180 << 20
for i in range(4):
    loaded[i] = None
    assert resident() - start < (170 - 38 * i) << 20, (i, resident() - start)
small = loaded[-1]
del loaded
assert resident() - start < 8 << 20
for load in (fastpersist.load, lambda path: fastpersist.load(open(path, "rb"))):
    for _ in range(4):
        load(sys.argv[1])
    assert resident() - start < 12 << 20, resident() - start
"""
    run_python(code, tmp_path / "file", warnings="ignore")


def test_peak_memory_is_the_object(tmp_path):
    code = """
import sys, numpy as np, fastpersist
from peak import peak_kib
fastpersist.dump([np.ones(4_000_000) for _ in range(5)], sys.argv[1])
def load(path):
    if sys.argv[2] == "path":
        return fastpersist.load(path)
    with open(path, "rb") as file:
        return fastpersist.load(file)
open("/proc/self/clear_refs", "w").write("5")  # the peak is what is resident now
start = peak_kib() << 10
loaded = load(sys.argv[1])
peak = peak_kib() << 10
size = sum(a.nbytes for a in loaded)
assert peak - start < size + (32 << 20), (peak - start, size)
"""
    for way in ("path", "file"):
        run_python(code, tmp_path / "file", way)


FOREIGN = {
    "simple": (np.arange(5, dtype=">i4"), True),
    "large": (np.arange(50_000, dtype=">f8"), True),
    "fortran": (np.asfortranarray(np.arange(60_000, dtype=">u2").reshape(200, 300)), True),
    "text": (np.array(["a", "漢"], ">U3"), True),
    "time": (np.arange(4, dtype="i8").view("M8[s]").astype(">M8[s]"), True),
    "all fields": (np.ones(3000, [("a", ">i4"), ("b", ">f8")]), True),
    "some fields": (np.ones(3000, [("a", ">i4"), ("b", "<f8")]), False),
    "bytes in a field": (np.ones(3, [("a", ">i4"), ("b", "S3")]), False),
    "empty": (np.empty((0, 2), ">f4"), True),
    "native": (np.arange(3), False),
}


@pytest.mark.skipif(sys.byteorder != "little", reason="the values are foreign to little endian")
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_byte_order(name, tmp_path):
    array, is_swapped = FOREIGN[name]
    data = file_bytes([array, array])
    for load in (by_path, by_bytes_io):
        for order, swapped in ((True, is_swapped), ("auto", is_swapped), (False, False)):
            loaded, again = load(data, tmp_path, ensure_native_byte_order=order)
            assert loaded is again
            assert loaded.dtype == (array.dtype.newbyteorder("=") if swapped else array.dtype)
            np.testing.assert_array_equal(loaded, array)
            assert loaded.flags.owndata and loaded.strides == array.strides


# ---------------------------------------------------------------- damage


class Witness:
    """Tells when it is built."""

    built = 0

    def __init__(self):
        self.a = 1

    def __setstate__(self, state):
        type(self).built += 1


def victim():
    return [Witness(), np.arange(6.0), "text", np.arange(300, dtype="i4"), b"y" * OWN_BLOB]


def by_map(data, tmp_path, **kwargs):
    return by_path(data, tmp_path, mmap_mode="r", verify="full", **kwargs)


def by_default_map(data, tmp_path, **kwargs):
    return by_path(data, tmp_path, mmap_mode="r", **kwargs)


damaged_ways = pytest.mark.parametrize(
    "load", [by_path, by_bytes_io, by_read_alone, by_map], ids=lambda way: way.__name__
)


@damaged_ways
def test_every_flipped_byte_is_noticed(load, tmp_path):
    data = bytearray(file_bytes(victim()))
    dump = format_reader.read(bytes(data))
    large = dump.blobs[-1]
    inside = range(large.offset + 100, large.offset + large.length - 100)
    flips = (0x01, 0x80, 0xFF)
    Witness.built = 0
    for i in range(len(data)):
        if i in inside and i % 997:
            continue
        for flip in flips if NIGHT else flips[i % 3 :][:1]:
            data[i] ^= flip
            with pytest.raises(CorruptFileError):
                load(bytes(data), tmp_path)
            data[i] ^= flip
    assert Witness.built == 0
    load(bytes(data), tmp_path)
    assert Witness.built == 1


def test_flips_outside_of_payloads_are_noticed_by_every_map(tmp_path):
    data = bytearray(file_bytes(victim()))
    dump = format_reader.read(bytes(data))
    Witness.built = 0
    for i in range(len(data)):
        if i not in dump.sidecar:
            data[i] ^= 0x40
            with pytest.raises(CorruptFileError):
                by_default_map(bytes(data), tmp_path)
            data[i] ^= 0x40
    assert Witness.built == 0


@damaged_ways
def test_every_cut_is_noticed(load, tmp_path):
    data = file_bytes(victim())
    Witness.built = 0
    cuts = [*range(1, 600), *range(600, len(data) - 900, 211), *range(len(data) - 900, len(data))]
    for n in cuts:
        with pytest.raises(TruncatedFileError):
            load(data[:n], tmp_path)
    with pytest.raises(EOFError):
        load(b"", tmp_path)
    assert Witness.built == 0


@damaged_ways
def test_swapped_blocks_are_noticed(load, tmp_path):
    value = np.arange(1_000_000)
    data = file_bytes(value)
    mib = 1 << 20
    at = 21
    swapped = data[:at] + data[at + mib : at + 2 * mib] + data[at : at + mib] + data[at + 2 * mib :]
    assert len(swapped) == len(data)
    with pytest.raises(CorruptFileError) as caught:
        load(swapped, tmp_path)
    assert caught.value.section == "array bytes"
    # A whole block and its neighbours of another dump of the same shape.
    other = file_bytes(value + 1)
    mixed = data[: at + 4 * mib] + other[at + 4 * mib : at + 5 * mib] + data[at + 5 * mib :]
    with pytest.raises(CorruptFileError) as caught:
        load(mixed, tmp_path)
    assert caught.value.offset == at + 4 * mib


@damaged_ways
def test_a_changed_byte_lies_between_two_offsets(load, tmp_path):
    value = np.arange(300_000)
    data = bytearray(file_bytes(value))
    dump = format_reader.read(bytes(data))
    mib = 1 << 20
    for at, section, first, end in (
        (4000, "array bytes", 21, 21 + mib),
        (21 + mib, "array bytes", 21 + mib, 21 + 2 * mib),
        (21 + 2 * mib + 500, "array bytes", 21 + 2 * mib, dump.graph.start),
        (dump.graph.start + 12, "graph", dump.graph.start, dump.footer.start),
    ):
        data[at] ^= 1
        with pytest.raises(CorruptFileError) as caught:
            load(bytes(data), tmp_path)
        data[at] ^= 1
        assert (caught.value.section, caught.value.offset) == (section, first)
        text = str(caught.value)
        assert f"wrong bytes between offsets {first} and {end} ({section})" in text
        assert "sidecar" not in text


def test_a_changed_byte_of_a_sidecar(tmp_path):
    main, second = tmp_path / "main", tmp_path / "second"
    fastpersist.dump(np.arange(1000), main, sidecar=second)
    data = bytearray(second.read_bytes())
    data[4000] ^= 1
    second.write_bytes(data)
    for sidecar in (second, io.BytesIO(data)):
        with pytest.raises(CorruptFileError, match=r"between offsets 0 and \d+ \(sidecar\)"):
            fastpersist.load(main, sidecar=sidecar)


@pytest.mark.parametrize("tail", [b"\0", b"junk" * 16, b"\0" * 64, b"half a dump"])
def test_what_follows_must_be_whole_dumps(tail, tmp_path):
    data = file_bytes([1])
    with pytest.raises(CorruptFileError):
        by_path(data + tail, tmp_path)
    with pytest.raises(CorruptFileError):
        by_path(data + tail + data, tmp_path)
    with pytest.raises(CorruptFileError):
        by_path(tail + data, tmp_path)
    # A stream stops behind the first.
    file = io.BytesIO(data + tail)
    assert fastpersist.load(file) == [1]
    assert file.read() == tail


def test_the_exception_says_where(tmp_path):
    data = bytearray(file_bytes([np.arange(3000), "text"]))
    dump = format_reader.read(bytes(data))
    places = [
        (5, "header", 0),
        (16, "header", 16),
        (dump.blobs[0].offset, "array bytes", 21),
        (dump.graph.start + 12, "graph", dump.graph.start),
        (dump.footer.start + 40, "footer", None),
    ]
    for at, section, offset in places:
        data[at] ^= 0xFF
        with pytest.raises(CorruptFileError) as caught:
            by_path(bytes(data), tmp_path)
        data[at] ^= 0xFF
        error = caught.value
        assert error.section == section
        assert offset is None or error.offset == offset
        assert error.path == str(tmp_path / "file")
        for part in (str(tmp_path / "file"), section, str(error.offset)):
            assert part in str(error)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
        assert (again.path, again.offset, again.section) == (error.path, error.offset, section)
    with pytest.raises(TruncatedFileError) as caught:
        fastpersist.load(io.BytesIO(bytes(data[:100])))
    assert caught.value.path is None and caught.value.section == "array bytes"
    with pytest.raises(CorruptFileError) as caught:
        by_path(bytes(data) + b"x" * 64, tmp_path)
    assert caught.value.section in ("footer", "trailing bytes")


def test_exception_types():
    assert issubclass(TruncatedFileError, CorruptFileError)
    assert issubclass(CorruptFileError, pickle.UnpicklingError)
    assert issubclass(CorruptFileError, ValueError)
    assert not issubclass(TruncatedFileError, EOFError)
    assert CorruptFileError.__module__ == "fastpersist"
    assert CorruptFileError("x").path is None


def test_verify_false_reads_without_hashes(tmp_path):
    data = bytearray(file_bytes([np.zeros(3000, "u1"), np.zeros(30_000, "u1")]))
    blobs = format_reader.read(bytes(data)).blobs
    for blob in blobs:
        data[blob.offset + 5] = 7
    for load in (by_path, by_bytes_io, by_read_alone):
        for array in load(bytes(data), tmp_path, verify=False):
            assert array[5] == 7
        for verify in (True, "full"):
            with pytest.raises(CorruptFileError):
                load(bytes(data), tmp_path, verify=verify)
    data[blobs[0].offset - 1] ^= 1  # what is between payloads is still compared
    for load in (by_path, by_bytes_io):
        with pytest.raises(CorruptFileError):
            load(bytes(data), tmp_path, verify=False)


@pytest.mark.parametrize("load", [by_path, by_bytes_io, by_map], ids=lambda way: way.__name__)
def test_a_void_file_is_loaded_with_a_warning(load, tmp_path):
    data = bytearray(file_bytes([np.zeros(3000), np.zeros(100), b"z" * OWN_BLOB]))
    dump = format_reader.read(bytes(data))
    data[dump.state_offset : dump.state_offset + 8] = struct.pack("<Q", format_reader.STATE_VOID)
    data[dump.blobs[0].offset] ^= 1
    with pytest.warns(UserWarning, match="cannot be checked"):
        assert load(bytes(data), tmp_path)[0][0] != 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            load(bytes(data), tmp_path)
    for at in (dump.graph.start + 20, dump.blobs[0].offset - 2, dump.footer.start + 100):
        data[at] ^= 1
        with pytest.raises(CorruptFileError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(bytes(data), tmp_path)
        data[at] ^= 1


# ---------------------------------------------------------------- several dumps


def test_dumps_load_in_sequence(tmp_path):
    values = [np.arange(5), {"a": np.arange(3000)}, None, "x" * 20_000]
    data = b"".join(map(file_bytes, values))
    files = [io.BytesIO(data), OnlyRead(data), gzip.open(io.BytesIO(gzip.compress(data)))]
    path = tmp_path / "file"
    path.write_bytes(data)
    files += [open(path, "rb"), open(path, "rb", buffering=0)]
    for file in files:
        for value in values:
            assert_isomorphic(value, fastpersist.load(file))
    for file in files[1:4]:
        with pytest.raises(EOFError, match="Ran out of input"):
            fastpersist.load(file)
    for file in files[2:]:
        file.close()
    assert_isomorphic(values[0], fastpersist.load(path))


def test_position_is_right_behind_the_dump(tmp_path):
    data = file_bytes({"a": np.arange(3000)})
    path = tmp_path / "file"
    path.write_bytes(b"lead" + data + b"tail")
    for buffering in (0, -1):
        with open(path, "rb", buffering=buffering) as file:
            file.seek(4)
            fastpersist.load(file)
            assert file.tell() == 4 + len(data)
            assert file.read() == b"tail"
    file = io.BytesIO(b"lead" + data + b"tail")
    file.seek(4)
    fastpersist.load(file)
    assert file.read() == b"tail"


def test_a_damaged_dump_behind_the_first(tmp_path):
    first, second = file_bytes([1]), bytearray(file_bytes([2, np.arange(100)]))
    second[-30] ^= 1
    with pytest.raises(CorruptFileError):
        by_path(first + bytes(second), tmp_path)


def test_a_bytes_io_just_written_is_read_from_its_start():
    file = io.BytesIO()
    fastpersist.dump([1], file)
    assert fastpersist.load(file) == [1]
    with pytest.raises(EOFError):
        fastpersist.load(file)
    fastpersist.dump([2], file)
    file.seek(0)
    assert fastpersist.load(file) == [1]
    assert fastpersist.load(file) == [2]
    with pytest.raises(EOFError):
        fastpersist.load(file)


# ---------------------------------------------------------------- file objects


@each_stream
def test_lying_lengths_cost_no_memory(load, tmp_path):
    header = format_reader.HEADER
    blob = b"C%c%b0" % (31, bytes(31)) + b"\x96"
    for claim in (1 << 33, 1 << 62, (1 << 64) - 1):
        length = struct.pack("<Q", claim)
        for data in (
            header + blob + length + b"x" * 100_000,
            header + b"\x95" + length + b"x" * 100_000,
            header + b"\x8e" + length + b"x" * 100_000,
        ):
            started = time.monotonic()
            with pytest.raises(CorruptFileError):
                load(data, tmp_path)
            assert time.monotonic() - started < 5


def test_exceptions_of_a_file_pass_through():
    data = file_bytes([np.arange(3000), "x"])

    class Failing(OnlyRead):
        def read(self, n):
            if self.at > self.limit:
                raise TimeoutError("too slow")
            return super().read(n)

    for limit in (0, 20, 100, 5000, len(data) - 100):
        file = Failing(data, 64)
        file.limit = limit
        with pytest.raises(TimeoutError, match="too slow"):
            fastpersist.load(file)


@pytest.mark.parametrize("answer", [None, "text", 5, bytearray(3)])
def test_odd_answers_of_read(answer):
    class Odd:
        def read(self, n):
            return answer

        def readline(self):
            return answer

    with pytest.raises((TypeError, pickle.UnpicklingError, EOFError)):
        fastpersist.load(Odd())


def test_a_stream_may_use_load_itself():
    inner = file_bytes([1, np.arange(3000)])

    class Nested(OnlyRead):
        def read(self, n):
            assert len(fastpersist.load(io.BytesIO(inner))) == 2
            return super().read(n)

    assert_isomorphic(
        [2, np.arange(5000)], fastpersist.load(Nested(file_bytes([2, np.arange(5000)])))
    )


def test_a_short_pickle_over_a_socket_needs_no_more_bytes():
    for value in (None, b"hello", "fas", b"fastpersist", 5, ()):
        for protocol in range(6):
            one, other = socket.socketpair()
            with one, other, other.makefile("rb", buffering=0) as file:
                other.settimeout(20)
                one.sendall(pickle.dumps(value, protocol))
                assert fastpersist.load(file) == value


# ---------------------------------------------------------------- other files


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles(protocol, tmp_path):
    value = {"a": [1, 2.5, "x", b"y"], "b": {1, 2}, "c": np.arange(10)}
    data = pickle.dumps(value, protocol)
    for load in (by_path, by_bytes_io, by_open_file, by_pipe):
        assert_isomorphic(value, load(data, tmp_path))
    assert_isomorphic(value, by_path(data + b"trailing", tmp_path))
    assert_isomorphic(value, by_path(data, tmp_path, mmap_mode="r"))


@pytest.mark.parametrize("data", [b"nonsense", b"\x80", b"\x80\x05", b"\x80\x05N", b"<html>", b"]"])
def test_nonsense(data, tmp_path):
    for load in (by_path, by_bytes_io):
        with pytest.raises((pickle.UnpicklingError, EOFError)) as caught:
            load(data, tmp_path)
    with pytest.raises((pickle.UnpicklingError, EOFError)) as caught:
        by_path(data, tmp_path)
    text = str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
    assert str(tmp_path / "file") in text


def test_an_empty_file(tmp_path):
    for load in (by_path, by_bytes_io, by_open_file, by_read_alone):
        with pytest.raises(EOFError):
            load(b"", tmp_path)


def test_later_versions_are_refused_by_that_reason(tmp_path):
    data = forge.dump(version=2)
    header = bytearray(data[:21])
    header[16] = 2
    with pytest.raises(pickle.UnpicklingError, match="later version") as caught:
        by_path(bytes(header) + data[21:], tmp_path)
    assert not isinstance(caught.value, CorruptFileError)


# ---------------------------------------------------------------- notes


def test_failures_name_file_and_versions(tmp_path):
    for module, name, kind in (
        ("nowhere_to_be_found", "Name", ModuleNotFoundError),
        ("os", "NoSuchName", AttributeError),
    ):
        opcodes = b"\x8c%c%b\x8c%c%b\x93" % (len(module), module.encode(), len(name), name.encode())
        environment = b'{"packages":{"numpy":"0.1"},"python":"2.7"}'
        data = forge.dump(opcodes=opcodes, environment=environment)
        for load in (by_path, by_bytes_io):
            with pytest.raises(kind) as caught:
                load(data, tmp_path)
            notes = "\n".join(caught.value.__notes__)
            assert f"numpy: saved with 0.1, running {np.__version__}" in notes
            assert "python: saved with 2.7" in notes
        for odd in (b"[1]", b"nonsense", b'{"packages":[]}', b'{"packages":{"x":1}}', b"\xff"):
            with pytest.raises(kind):
                by_path(forge.dump(opcodes=opcodes, environment=odd), tmp_path)


def test_the_collector_and_exceptions(tmp_path):
    data = file_bytes([[] for _ in range(100)])
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            by_path(data, tmp_path)
            assert gc.isenabled() == enabled
            with pytest.raises(pickle.UnpicklingError):
                by_path(forge.dump(opcodes=b"]]"), tmp_path)
            assert gc.isenabled() == enabled
        finally:
            gc.enable()


# ---------------------------------------------------------------- forged files


def array_call(shape, dtype=b"<f8", get=b"h\0", rest=b""):
    """Opcodes of numpy.ndarray(shape, dtype, blob, *rest)."""
    integers = b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape)
    return (
        b"\x8c\x05numpy\x8c\x07ndarray\x93((%bt" % integers
        + b"\x8c%c%b" % (len(dtype), dtype)
        + get
        + rest
        + b"tR"
    )


def integer(n):
    return b"\x8a\x08" + struct.pack("<q", n)


LARGE = np.arange(4096.0)  # 32 KiB
BLOB = (0, LARGE.tobytes())
SMALL = (0, LARGE[:16].tobytes())


def forged(tmp_path, blobs, opcodes, **kwargs):
    """What all ways make of a file, one exception type or one value."""
    data = forge.dump(blobs, opcodes, **kwargs)
    outcomes = []
    for load in (by_path, by_bytes_io, by_default_map):
        try:
            outcomes.append(load(data, tmp_path))
        except Exception as error:
            outcomes.append(error)
    return outcomes


def test_the_forger_writes_whole_files(tmp_path):
    data = forge.dump([BLOB, SMALL], array_call([4096]))
    assert format_reader.read(data).blobs[1].length == 128
    for value in forged(tmp_path, [BLOB, SMALL], array_call([4096])):
        np.testing.assert_array_equal(value, LARGE)


@pytest.mark.parametrize(
    "shape",
    [
        [4097],
        [-1],
        [1 << 40, 1 << 40],
        [1 << 62],
        [4096, 2],
        [2] * 40,
        [1] * 65,
        [0, 1 << 62, 1 << 62],
        [1 << 32, 1 << 32, 0],
    ],
)
@pytest.mark.parametrize("blob", [BLOB, SMALL])
def test_arrays_beyond_their_blob(shape, blob, tmp_path):
    expected = None
    try:
        expected = np.ndarray(tuple(shape), "<f8", bytearray(blob[1]))
    except (ValueError, TypeError):
        pass
    for value in forged(tmp_path, [blob], array_call(shape)):
        if expected is None:
            assert isinstance(value, (ValueError, TypeError)), value
        else:
            assert value.shape == expected.shape


# No negative offset: NumPy takes it, and reads in front of the buffer.
@pytest.mark.parametrize(
    ("shape", "rest"),
    [
        ([4096], integer(8)),
        ([1], integer(32768)),
        ([1], integer(1 << 62)),
        ([2], integer(0) + b"(" + integer(32761) + b"t"),
        ([2], integer(0) + b"(" + integer(-8) + b"t"),
        ([2, 2], integer(0) + b"(" + integer(8) + b"t"),
        ([4096], integer(0) + b"(" + integer(1 << 62) + b"t"),
        ([4096], integer(0) + b"(" + integer(0) + b"t"),
        ([4, 4], integer(8) + b"(" + integer(8) + integer(8) + b"t"),
        ([4, 4], integer(0) + b"(" + integer(64) + integer(8) + b"t"),
        ([3, 4], integer(96) + b"(" + integer(8) + integer(24) + b"t"),
        ([64, 64], integer(0) + b"N\x8c\x01F"),
        ([64, 64], integer(0) + b"N\x8c\x01K"),
        ([8, 8], integer(64) + b"N\x8c\x01F"),
    ],
)
def test_offsets_and_strides_mean_what_numpy_makes_of_them(shape, rest, tmp_path):
    arguments = pickle.loads(b"\x80\x05(" + rest + b"t.")
    try:
        expected = np.ndarray(tuple(shape), "<f8", bytearray(BLOB[1]), *arguments)
    except Exception as error:
        expected = error
    for value in forged(tmp_path, [BLOB], array_call(shape, rest=rest)):
        if isinstance(expected, Exception):
            assert isinstance(value, type(expected))
        else:
            np.testing.assert_array_equal(value, expected)
            if value.flags.writeable:
                value[...] = 1


@pytest.mark.parametrize("dtype", [b"<f8", b"V0", b"(2,3)<f8", b"S", b"<M8", b"nonsense"])
def test_dtypes_mean_what_numpy_makes_of_them(dtype, tmp_path):
    """But for objects, which NumPy would make of any bytes: build/test_array_guard.py."""
    blob = (0, bytes(OWN_BLOB))
    try:
        expected = np.ndarray((10,), dtype.decode(), bytearray(blob[1]))
    except Exception as error:
        expected = error
    if b"O" in dtype:
        expected = pickle.UnpicklingError()
    for value in forged(tmp_path, [blob], array_call([10], dtype)):
        if isinstance(expected, Exception):
            assert isinstance(value, type(expected))
        else:
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("dtype", [b"O", b"f8,O", b"(2,)O"])
def test_a_blob_is_not_taken_for_objects(dtype, tmp_path):
    """Meant to differ from NumPy: see build/test_array_guard.py."""
    for value in forged(tmp_path, [(0, bytes(OWN_BLOB))], array_call([10], dtype)):
        assert isinstance(value, pickle.UnpicklingError)


def test_one_blob_used_twice(tmp_path):
    one = array_call([4096])
    half = array_call([1024], rest=integer(8))
    foreign = array_call([4096], b">f8")
    for opcodes in (
        b"(" + one + one + b"t",
        b"(" + one + half + b"t",
        b"(" + half + one + b"t",
        b"(" + one + b"h\0h\0t",
        b"(h\0" + one + b"h\0t",
        b"(" + array_call([2048], b">f8") + foreign + b"t",
        b"(" + foreign + foreign + b"h\0t",
    ):
        data = forge.dump([BLOB], opcodes)
        for load in (by_path, by_bytes_io):
            value = load(data, tmp_path)
            for got, wanted in zip(value, pickle.loads(data), strict=True):
                if isinstance(wanted, bytearray):
                    assert type(got) is bytearray and got == wanted
                else:
                    np.testing.assert_array_equal(got, wanted)
            last = value[-1]
            del value, got, wanted
            gc.collect()
            assert bytes(last)


def test_arrays_of_leaves_of_other_kinds(tmp_path):
    for kind in (forge.BYTES, forge.STR):
        data = forge.dump([(kind, b"a" * OWN_BLOB)], array_call([10], b"u1"))
        for load in (by_path, by_bytes_io, by_default_map):
            if kind == forge.BYTES:
                array = load(data, tmp_path)
                assert array.tobytes() == b"a" * 10 and not array.flags.writeable
            else:
                with pytest.raises(TypeError):
                    load(data, tmp_path)


def test_text_that_is_no_utf_8(tmp_path):
    data = forge.dump([(forge.STR, b"\xff" * OWN_BLOB)], b"h\0")
    for load in (by_path, by_bytes_io, by_default_map):
        with pytest.raises(ValueError):  # UnicodeDecodeError, or joblib's hint at Python 2
            load(data, tmp_path)


def test_small_blobs_of_every_kind(tmp_path):
    blobs = [(k, b"a" * n) for k in range(3) for n in (0, 1, 2, 100)]
    opcodes = b"(" + b"".join(b"h%c" % i for i in range(len(blobs))) + b"t"
    data = forge.dump(blobs, opcodes)
    for load in (by_path, by_bytes_io, by_default_map):
        assert_isomorphic(pickle.loads(data), load(data, tmp_path))


def test_numbers_of_blobs_are_distinct(tmp_path):
    for numbers in ([5, 5], [0, 1, 0], [300, 2, 300], [1 << 31, 1 << 31]):
        for value in forged(tmp_path, [SMALL] * len(numbers), b"N", numbers=numbers):
            assert type(value) is CorruptFileError, value
    for numbers in ([9, 5, 7], [300, 2]):
        for value in forged(tmp_path, [SMALL] * len(numbers), b"N", numbers=numbers):
            assert value is None, value
    for value in forged(tmp_path, [SMALL] * 2, b"N", numbers=[(1 << 32) - 1, 0]):
        assert type(value) is pickle.UnpicklingError, value


@pytest.mark.parametrize(
    "change",
    [
        lambda e: [(e[0][0], e[0][1] + 64, e[0][2]), *e[1:]],
        lambda e: [(e[0][0], 1 << 63, e[0][2]), *e[1:]],
        lambda e: [(e[0][0] + (64 << 2), *e[0][1:]), *e[1:]],
        lambda e: [e[0], (e[1][0] - (64 << 2) if e[1][0] > 256 else 3, *e[1][1:])],
        lambda e: [e[1], e[0]],
        lambda e: [(3, *e[0][1:]), *e[1:]],
        lambda e: [(1, *e[0][1:]), *e[1:]],
    ],
)
def test_tables_that_do_not_fit(change, tmp_path):
    for value in forged(tmp_path, [BLOB, SMALL], b"N", change_table=change):
        # A map compares the bytes around payloads only when they are asked for.
        assert isinstance(value, CorruptFileError) or value is None, value
    with pytest.raises(CorruptFileError):
        by_path(forge.dump([BLOB, SMALL], b"N", change_table=change), tmp_path)


@pytest.mark.parametrize(
    "head",
    [
        {"total_length": 1 << 62},
        {"total_length": 64},
        {"arrays_length": 0},
        {"arrays_offset": 0},
        {"graph_offset": 1 << 63},
        {"graph_length": (1 << 64) - 1},
        {"n_blobs": 1 << 60},
        {"table_bytes": 1 << 60},
        {"n_hashes": 1 << 60},
        {"environment_bytes": 1 << 60},
        {"flags": 1},
    ],
)
def test_heads_that_do_not_fit(head, tmp_path):
    for value in forged(tmp_path, [BLOB], b"N", **head):
        assert isinstance(value, CorruptFileError), value


def test_opcodes_between_payloads_are_compared(tmp_path):
    for state in (format_reader.STATE_VALID, format_reader.STATE_VOID):
        for at in (0, 1, 5, -1, -2, -3):

            def change(sidecar, at=at):
                changed = bytearray(sidecar)
                changed[at] ^= 4
                return bytes(changed)

            data = forge.dump([SMALL], b"N", change_sidecar=change, state=state)
            for load in (by_path, by_bytes_io, by_map):
                with pytest.raises(CorruptFileError), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    load(data, tmp_path)


@pytest.mark.parametrize(
    "opcodes", [b"", b"NN", b"N.", b".", b"0", b"h\0", b"(", b"\x80\x05N.", b"R", b"h\x07", b"\xff"]
)
def test_graphs_that_make_no_object(opcodes, tmp_path):
    for value in forged(tmp_path, [], opcodes):
        assert isinstance(value, pickle.UnpicklingError), value


@pytest.mark.parametrize(
    "graph", [b"", b"N", b"\x95\x05\0\0\0\0\0\0\0N", b"\x95" + b"\xff" * 8 + b"N", b"\x95"]
)
def test_graphs_are_whole_frames(graph, tmp_path):
    for load in (by_path, by_bytes_io, by_default_map):
        with pytest.raises(CorruptFileError):
            load(forge.dump(graph=graph), tmp_path)


# ---------------------------------------------------------------- threads, signals


def test_many_threads_load_at_once(tmp_path):
    value = {"a": np.arange(700_000.0), "s": [np.arange(i) for i in range(200)], "t": "x" * 20_000}
    path = tmp_path / "file"
    fastpersist.dump(value, path)
    failures = []

    def work(i):
        try:
            for k in range(3):
                if (i + k) % 3 == 0:
                    with open(path, "rb") as file:
                        loaded = fastpersist.load(file)
                else:
                    loaded = fastpersist.load(path, "r" if (i + k) % 3 == 1 else None)
                np.testing.assert_array_equal(loaded["a"], value["a"])
                assert [len(a) for a in loaded["s"]] == list(range(200))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.slow
def test_keyboard_interrupt_in_a_long_read(tmp_path):
    code = """
import os, signal, sys, time, numpy as np, fastpersist
path = sys.argv[1]
fastpersist.dump(np.zeros(1 << 27), path)
fastpersist.load(path)
n_threads = len(os.listdir("/proc/self/task"))
n_ended = 0
for way in (lambda: fastpersist.load(path), lambda: fastpersist.load(open(path, "rb"))):
    for _ in range(20):
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        started = time.monotonic()
        try:
            way()
        except KeyboardInterrupt:
            n_ended += 1
            break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
assert n_ended == 2, n_ended
assert len(os.listdir("/proc/self/task")) == n_threads
"""
    run_python(code, tmp_path / "file", warnings="ignore")


OUT_OF_MEMORY = """
import gc, io, os, sys, warnings
import _testcapi
import numpy as np
import fastpersist
import sample_classes as s
from fastpersist import _core

path = sys.argv[1]
# The last blob makes a file too large to be read whole.
VALUES = [
    [1, "a", [2.5], {"k": (1, 2)}, {1}],
    [np.arange(5), np.asfortranarray(np.eye(3)), np.zeros(5000), np.zeros((40, 50)).T,
     np.zeros(3, ">i4"), np.empty(0), np.zeros(3000, ">i8")],
    ["x" * 20_000, b"x" * 20_000, bytearray(20_000), s.Plain(a=1)],
    [np.zeros(100_000), b"x" * 20_000, bytearray(20_000), "y" * 20_000, np.arange(3)],
]
# The C functions: CPython 3.13.0 crashes where it cannot allocate a Python function.
WAYS = {
    "path": lambda: _core.load_path(path, None, True, 1, 1, None),
    "file": lambda: _core.load_file(io.BytesIO(data), None, True, 1),
    "map": lambda: _core.load_path(path, "r", False, 1, 1, None),
    "full map": lambda: _core.load_path(path, "r", False, 2, 1, None),
    "damaged": lambda: _core.load_file(io.BytesIO(data[:-100]), None, True, 1),
}
n_failures = 0
for value in VALUES:
    fastpersist.dump(value, path)
    data = open(path, "rb").read()
    for way, load in WAYS.items():
        for _ in range(3):
            try:
                load()
            except fastpersist.TruncatedFileError:
                pass
        in_a_row = n = 0
        before = os.listdir("/proc/self/fd")
        while in_a_row < 30:
            error = None
            try:
                _testcapi.set_nomemory(n, n + 1)
                try:
                    load()
                finally:
                    _testcapi.remove_mem_hooks()
            except Exception as caught:
                error = caught
            n += 1
            if error is None or isinstance(error, fastpersist.TruncatedFileError):
                in_a_row += 1
            else:
                in_a_row = 0
                n_failures += 1
                odd = ("numpy", "import", "error return without")
                assert isinstance(error, MemoryError) or any(t in str(error) for t in odd), (
                    way, n, repr(error))
            del error
            assert gc.isenabled()
        gc.collect()
        assert os.listdir("/proc/self/fd") == before, (way, n)
print(n_failures)
"""


def test_every_allocation_fails_once(tmp_path):
    pytest.importorskip("_testcapi", reason="this Python comes without its test modules")
    assert int(run_python(OUT_OF_MEMORY, tmp_path / "file", warnings="ignore")) > 100


def test_a_signal_while_a_fifo_is_opened(tmp_path):
    code = """
import os, signal, sys, fastpersist
os.mkfifo(sys.argv[1])
def alarm(*_):
    raise TimeoutError
signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    fastpersist.load(sys.argv[1])
except TimeoutError:
    pass
else:
    raise AssertionError
"""
    run_python(code, tmp_path / "fifo")
