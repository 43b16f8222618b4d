"""The file: every byte accounted for, alignment, shared blobs, late PUTs, frames, determinism."""

import collections
import gc
import importlib
import io
import json
import os
import pathlib
import pickle
import pickletools
import platform
import random
import struct
import sys
import types

import array_values
import fastpersist
import numpy as np
import pytest
import sample_classes as s
from compare import assert_isomorphic
from helpers import examples, file_bytes, opcode_names, run_python
from hypothesis import given
from values import catalogue, graphs

format_reader = pytest.importorskip("format_reader", reason="needs the package xxhash")

OWN_BLOB = 16 << 10
SHARED_BLOB = 256 << 10


def everything():
    """One graph of many kinds, with blobs of all kinds and a few shared ones."""
    rng = np.random.default_rng(0)
    small = [rng.standard_normal(i % 40) for i in range(60)]
    return {
        "small": small,
        "again": small[::-1],
        "large": rng.standard_normal(3000),
        "fortran": np.asfortranarray(rng.standard_normal((40, 60))),
        "strided": rng.standard_normal((100, 90))[::2, ::3],
        "text": "text " * 5000,
        "wide": "漢" * 9000,
        "bytes": b"data" * 5000,
        "bytearray": bytearray(b"data" * 5000),
        "struct": np.zeros(30, array_values.ALIGNED),
        "objects": np.array([1, "two", small[3]], object),
        "instances": [s.Node(i, s.Plain(a=i)) for i in range(50)],
        "scalars": [np.float64(1.5), np.int8(3)],
    }


VALUES = {
    "none": lambda: None,
    "list": lambda: [1, 2, "three"],
    "everything": everything,
    "one array": lambda: np.arange(5),
    "one large array": lambda: np.arange(500_000.0),
    "large text": lambda: "x" * 3_000_000,
    "many small arrays": lambda: [np.arange(i % 50) for i in range(5000)],
    "many numbers": lambda: [[f"{i}", i] for i in range(60_000)],
    "no blobs": lambda: {"a": [1, 2.5, None, (3, "x")]},
}


@pytest.fixture(params=VALUES, ids=lambda name: name.replace(" ", "_"))
def value(request):
    return VALUES[request.param]()


# ---------------------------------------------------------------- every byte


def test_a_second_reader_agrees(value):
    data = file_bytes(value)
    dump = format_reader.read(data)
    assert len(data) % 64 == 0
    assert dump.sidecar.stop == dump.graph.start
    assert data.count(b"fastpersist end\0") == 1
    assert_isomorphic(pickle.loads(pickle.dumps(value, 5)), pickle.loads(data))


def test_the_whole_catalogue_is_well_formed():
    for name, build in {**catalogue(), **array_values.arrays()}.items():
        if name in ("iterators", "enumerate", "count"):
            continue
        value = build()
        try:
            pickle.dumps(value, 5)
        except Exception:
            continue
        dump = format_reader.read(file_bytes(value))
        check_graph(dump, name)


@examples(60)
@given(graphs())
def test_generated_graphs_are_well_formed(value):
    check_graph(format_reader.read(file_bytes(value)))


def assert_refused(data):
    with pytest.raises(format_reader.FormatError):
        format_reader.read(data)


def test_every_bit_of_a_tiny_file_matters():
    data = file_bytes([1, np.arange(3), "x", b"y" * 20])
    dump = format_reader.read(data)
    for i in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[i] ^= 1 << bit
            assert_refused(bytes(damaged))
    void = bytearray(data)
    void[dump.state_offset : dump.state_offset + 8] = struct.pack("<Q", format_reader.STATE_VOID)
    format_reader.read(bytes(void))  # the one word that may change


def test_sampled_bits_of_a_large_file_matter():
    data = file_bytes(everything())
    format_reader.read(data)
    random_ = random.Random(0)
    view = bytearray(data)
    for _ in range(400):
        i, bit = random_.randrange(len(data)), 1 << random_.randrange(8)
        view[i] ^= bit
        assert_refused(bytes(view))
        view[i] ^= bit


def test_a_cut_file_is_refused():
    data = file_bytes([1, np.arange(3), "x"])
    for n in range(len(data)):
        assert_refused(data[:n])
    assert_refused(data + bytes(64))


def test_the_fixed_bytes_are_where_they_belong():
    data = file_bytes([1])
    assert data[:21] == b"\x80\x05\x43\x10fastpersist\0\x01\0\0\0\x30"
    assert data[-18:] == b"fastpersist end\0" + b"0."
    assert struct.unpack("<Q", data[-42:-34]) == (0x3A96C55369F00FA5,)


# ---------------------------------------------------------------- opcodes


def check_graph(dump, name=""):
    """Only what is fetched again has a PUT; every GET has one; no MEMOIZE; frames fit opcodes."""
    put_at, got = {}, collections.Counter()
    for opcode, argument, position in pickletools.genops(dump.data):
        assert opcode.name != "MEMOIZE", name
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            assert (opcode.name == "BINPUT") == (argument < 256), name
            assert argument not in put_at, f"{name}: number {argument} is given twice"
            put_at[argument] = position
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            assert (opcode.name == "BINGET") == (argument < 256), name
            assert argument in put_at, f"{name}: number {argument} is fetched before it is put"
            got[argument] += 1
    assert set(put_at) == set(got), f"{name}: put and never fetched {set(put_at) - set(got)}"
    assert set(put_at) == set(range(len(put_at))), f"{name}: numbers left out"
    blobs = {blob.number for blob in dump.blobs}
    in_sidecar = {number for number, position in put_at.items() if position < dump.graph.start}
    assert blobs == in_sidecar, name
    check_frames(dump, name)


def check_frames(dump, name=""):
    """The graph is frames end to end, cut between opcodes."""
    starts = {}
    for opcode, argument, position in pickletools.genops(dump.data):
        if opcode.name == "FRAME":
            assert position in dump.graph, f"{name}: a frame outside the graph"
            starts[position] = argument
    positions = {p for _, _, p in pickletools.genops(dump.data)}
    at = dump.graph.start
    while at < dump.graph.stop:
        assert at in starts, f"{name}: {dump.graph.stop - at} bytes outside frames"
        assert starts[at] > 0, f"{name}: an empty frame"
        end = at + 9 + starts[at]
        assert end <= dump.graph.stop and end in positions, f"{name}: a frame across an opcode"
        assert not [p for p in starts if at < p < end], f"{name}: a frame in a frame"
        at = end


def test_graphs_have_late_puts_and_whole_frames(value):
    check_graph(format_reader.read(file_bytes(value)))


def test_frames_are_of_moderate_size():
    data = file_bytes([[f"{i}", i] for i in range(100_000)])
    sizes = [arg for opcode, arg, _ in pickletools.genops(data) if opcode.name == "FRAME"]
    assert len(sizes) > 10
    assert max(sizes) <= 2 * 65_536
    assert min(sizes[:-1]) >= 65_536 // 4


def test_nothing_shared_means_no_put():
    names = opcode_names(file_bytes([[1.5], {"a": (1, 2, 3, 4)}, "text", b"bytes", 1 << 80]))
    assert not {"BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET"} & set(names)


def test_one_shared_object_means_one_put():
    shared = [1]
    names = opcode_names(file_bytes([shared, shared, shared]))
    assert names.count("BINPUT") == 1
    assert names.count("BINGET") == 2


# ---------------------------------------------------------------- blobs


def blobs_of(value):
    return format_reader.read(file_bytes(value)).blobs


def test_blobs_are_aligned(value):
    for blob in blobs_of(value):
        assert blob.offset % 64 == 0


@pytest.mark.parametrize("n", [OWN_BLOB, OWN_BLOB + 1, 100_000])
def test_a_large_array_has_a_blob_of_its_own(n):
    arrays = [np.full(n, i, "u1") for i in range(3)] + [np.arange(3)]
    blobs = blobs_of(arrays)
    assert sorted(blob.length for blob in blobs) == sorted([24, n, n, n])
    assert all(blob.kind == "bytearray" for blob in blobs)


def test_small_arrays_share_blobs():
    arrays = [np.full(OWN_BLOB - 1, i, "u1") for i in range(64)]
    data = file_bytes(arrays)
    dump = format_reader.read(data)
    assert len(dump.blobs) in (4, 5)
    assert all(blob.length <= SHARED_BLOB for blob in dump.blobs)
    for blob in dump.blobs:
        payload = dump.payload(blob)
        for at in range(0, blob.length, OWN_BLOB):
            piece = payload[at : at + OWN_BLOB - 1]
            assert len(set(piece)) == 1
            assert payload[at + OWN_BLOB - 1 : at + OWN_BLOB] in (b"\0", b"")


def placed_arrays(data):
    """(offset in its blob, bytes) of each array, from the arguments in the graph."""
    out = []
    for array in pickle.loads(data):
        base = array
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        if isinstance(base, memoryview):
            base = base.obj
        start = np.frombuffer(base, "u1").__array_interface__["data"][0]
        out.append((id(base), array.__array_interface__["data"][0] - start, array.nbytes))
    return out


def test_places_in_a_shared_blob():
    sizes = [1, 8, 15, 16, 17, 63, 64, 65, 128, 40, 3, 1000, 5, 64, 63, 200]
    arrays = [np.full(n, 0xFF, "u1") for n in sizes]
    data = file_bytes(arrays)
    (blob,) = format_reader.read(data).blobs
    end, expected = 0, []
    for n in sizes:
        step = 64 if n >= 64 else 16
        at = -(-end // step) * step
        expected.append(at)
        end = at + n
    assert [at for _, at, _ in placed_arrays(data)] == expected
    assert blob.length == end
    payload = data[blob.offset : blob.offset + blob.length]
    inside = bytearray(payload)
    for at, n in zip(expected, sizes, strict=True):
        inside[at : at + n] = bytes(n)
    assert payload.count(0xFF) == sum(sizes)
    assert inside == bytes(blob.length), "gaps are zero"


def test_a_shared_blob_ends_before_it_is_too_long():
    arrays = [np.zeros(10_000, "u1") for _ in range(100)]
    blobs = blobs_of(arrays)
    per_blob = 1 + (SHARED_BLOB - 10_000) // (-(-10_000 // 64) * 64)
    assert [b.length for b in blobs[:-1]] == [(per_blob - 1) * 10_048 + 10_000] * (len(blobs) - 1)
    assert len(blobs) == -(-100 // per_blob)


@pytest.mark.parametrize(
    "value, kind",
    [
        (bytearray(OWN_BLOB), "bytearray"),
        (bytes(OWN_BLOB), "bytes"),
        ("x" * OWN_BLOB, "str"),
        ("é" * OWN_BLOB, "str"),
        ("\udc80" * OWN_BLOB, "str"),
    ],
)
def test_large_leaves_are_blobs(value, kind):
    (blob,) = blobs_of([value, value])
    assert blob.kind == kind
    assert blob.length == len(value.encode("utf-8", "surrogatepass") if kind == "str" else value)


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), "x", "漢"])
def test_small_leaves_are_not(value):
    assert blobs_of([value * 5000]) == []


def test_buffers_are_blobs_of_their_kind():
    value = [
        pickle.PickleBuffer(bytes(OWN_BLOB)),
        pickle.PickleBuffer(bytearray(OWN_BLOB)),
        pickle.PickleBuffer(np.zeros(OWN_BLOB)),
    ]
    assert [blob.kind for blob in blobs_of(value)] == ["bytes", "bytearray", "bytearray"]


def test_object_arrays_and_subclasses_are_not_in_the_sidecar():
    assert blobs_of(np.array([1, "x"] * 5000, object)) == []
    assert blobs_of(np.arange(10).view(array_values.PlainSubclass)) == []


def test_empty_arrays_need_no_blob():
    assert blobs_of([np.zeros(0), np.zeros((3, 0), "i1")]) == []


def test_many_blobs():
    arrays = [np.full(OWN_BLOB, i % 256, "u1") for i in range(700)]
    dump = format_reader.read(file_bytes(arrays))
    assert len(dump.blobs) == 700
    check_graph(dump)
    for i, back in enumerate(pickle.loads(dump.data)):
        assert (back == i % 256).all()


# ---------------------------------------------------------------- the environment


def environment_of(value):
    """The object, and that its text is the one way to write it."""
    dump = format_reader.read(file_bytes(value))
    text = json.dumps(dump.environment, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert text.encode() in dump.data[dump.footer.start :]
    return dump.environment


def test_environment():
    environment = environment_of([1])
    assert environment.pop("platform")
    assert environment == {
        "byteorder": sys.byteorder,
        "fastpersist": fastpersist.__version__,
        "implementation": sys.implementation.name,
        "packages": {},
        "python": platform.python_version(),
    }


def test_environment_names_the_packages_of_the_classes_in_the_file(monkeypatch):
    """By their top-level names, as far as they have a version."""
    assert environment_of([np.arange(3)])["packages"] == {"numpy": np.__version__}
    assert environment_of([np.float64(1), np.array([[1]], object)])["packages"] == {
        "numpy": np.__version__
    }
    assert environment_of([s.Plain(), ValueError(), len, collections.deque()])["packages"] == {}
    monkeypatch.setattr(s, "__version__", "1.2 é", raising=False)
    assert environment_of([s.Plain(), s.function])["packages"] == {"sample_classes": "1.2 é"}
    assert environment_of(["sample_classes"])["packages"] == {}


@pytest.mark.models
@pytest.mark.parametrize(
    "package, others",
    [
        ("sklearn", {"joblib", "numpy", "scipy", "threadpoolctl"}),
        ("pandas", {"numpy"}),
        ("scipy", {"numpy"}),
        pytest.param("lightgbm", {"numpy", "scipy"}, marks=pytest.mark.boosters),
        pytest.param("xgboost", {"numpy", "scipy"}, marks=pytest.mark.boosters),
    ],
)
def test_environment_names_what_a_package_depends_on(package, others):
    """And importing the package alone imports it: the bytes depend on nothing else."""
    code = f"""
import {package}, sys, json
names = {{name for name, module in sys.modules.items() if "__version__" in vars(module)}}
assert {others!r} <= names, {others!r} - names
cls = type("Class", (), {{"__module__": {package!r}}})
{package}.Class = cls
import fastpersist, io
from format_reader import read
def environment():
    file = io.BytesIO()
    fastpersist.dump(cls, file)
    return read(file.getvalue()).environment
first = environment()
import asyncio, decimal, sqlite3, sklearn, pandas, scipy.sparse
assert environment() == first
print(json.dumps(first["packages"]))
"""
    versions = json.loads(run_python(code))
    assert set(versions) == {package, *others}
    for name in others:
        assert versions[name] == importlib.import_module(name).__version__


def test_a_package_that_depends_on_one_that_is_not_imported(monkeypatch):
    module = types.ModuleType("sklearn")
    module.Class = type("Class", (), {"__module__": "sklearn"})
    monkeypatch.setitem(sys.modules, "sklearn", module)
    for name in ("joblib", "scipy", "threadpoolctl"):
        monkeypatch.setitem(sys.modules, name, None)
    assert environment_of([module.Class])["packages"] == {"numpy": np.__version__}
    module.__version__ = "x" * 255
    assert environment_of([module.Class])["packages"]["sklearn"] == module.__version__
    module.__version__ += "x"
    assert environment_of([module.Class])["packages"] == {"numpy": np.__version__}


def test_a_package_that_lies_about_its_version(monkeypatch):
    monkeypatch.setattr(s, "__version__", ["not", "text"], raising=False)
    assert environment_of([s.Plain()])["packages"] == {}
    for odd in ('1.0 "\n\\', "\udc80", "", "x" * 100_000):
        monkeypatch.setattr(s, "__version__", odd, raising=False)
        format_reader.read(file_bytes([s.Plain()]))


# ---------------------------------------------------------------- determinism


class WriteOnly:
    """A sink without seek, tell or anything else."""

    def __init__(self):
        self.pieces = []

    def write(self, data):
        self.pieces.append(bytes(data))
        return len(data)


@pytest.mark.parametrize("threads", [None, 1, 2, 3])
def test_bytes_do_not_depend_on_threads(value, threads):
    assert file_bytes(value, threads=threads) == file_bytes(value)


def test_bytes_do_not_depend_on_the_kind_of_sink(value, tmp_path):
    expected = file_bytes(value)
    path = tmp_path / "file"
    fastpersist.dump(value, path)
    assert path.read_bytes() == expected
    sink = WriteOnly()
    assert fastpersist.dump(value, sink) is None
    assert b"".join(sink.pieces) == expected
    with open(tmp_path / "raw", "wb", buffering=0) as file:
        fastpersist.dump(value, file)
    assert (tmp_path / "raw").read_bytes() == expected
    fastpersist.dump(value, path, durable=True)
    assert path.read_bytes() == expected


def test_through_a_pipe():
    value = list(range(5000))
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as source:
        with open(write_end, "wb", buffering=0) as sink:
            fastpersist.dump(value, sink)
        data = source.read()
    assert data == file_bytes(value)


def hold_everything(value):
    """Other references to every object of the graph; what is saved by name is none, nor what it
    leads to, which is all of the process."""
    by_name = (type, types.ModuleType, types.FunctionType)
    held, pending, seen = [], [value], set()
    while pending:
        x = pending.pop()
        if id(x) in seen or isinstance(x, by_name):
            continue
        seen.add(id(x))
        held.append(x)
        if not isinstance(x, np.ndarray) or x.dtype.hasobject:
            pending.extend(gc.get_referents(x))
    return held


def test_bytes_do_not_depend_on_other_references(value):
    """References that others hold are not references in the graph."""
    expected = file_bytes(value)
    held = hold_everything(value)
    assert file_bytes(value) == expected
    del held
    gc.collect()
    assert file_bytes(value) == expected


def fresh(i):
    """Objects that nobody else holds, and the same again with everything held."""
    return {
        "dicts": [{"id": i, "name": f"user{i}", "n": {"x": [i, str(i)], "y": None}}],
        "objs": [s.Node(f"v{i}", [f"w{i}"])],
        "arrays": [np.full(3, i), (f"t{i}", i + 0.5, 1 << 70)],
        "empty": [(), [], {}, set(), frozenset(), "", b""],
    }


def test_fresh_and_held_objects_give_the_same_bytes():
    value = [fresh(i) for i in range(100)]
    expected = file_bytes(value)
    held = hold_everything(value)
    assert len(held) > 1000
    assert file_bytes(value) == expected
    assert pickle.loads(expected)[7]["dicts"] == value[7]["dicts"]


def test_call_outs_do_not_change_the_bytes_of_what_came_before():
    """User code late in the walk makes it start over; the file must not show it."""
    shared = [f"shared {i}" for i in range(50)]
    before = [fresh(i) for i in range(50)] + [shared, shared]
    value = [before, s.GetState("called"), before[3], shared[7]]
    expected = file_bytes(value)
    held = hold_everything(value)
    assert file_bytes(value) == expected
    dump = format_reader.read(expected)
    check_graph(dump)
    back = pickle.loads(expected)
    assert back[2] is back[0][3] and back[3] is back[0][50][7]
    del held


@examples(60)
@given(graphs())
def test_generated_graphs_are_deterministic(value):
    expected = file_bytes(value)
    held = hold_everything(value)
    assert file_bytes(value) == expected
    assert len(held) >= 1


DUMP_IN_ANOTHER_PROCESS = """
import sys
sys.path.insert(0, {tests!r})
import fastpersist
from test_file_layout import VALUES
for i, (name, build) in enumerate(VALUES.items()):
    fastpersist.dump(build(), f"{{sys.argv[1]}}/{{i}}", threads=2)
"""


def test_bytes_do_not_depend_on_the_process(tmp_path):
    code = DUMP_IN_ANOTHER_PROCESS.format(tests=str(pathlib.Path(__file__).parent))
    run_python(code, tmp_path, env={"PYTHONHASHSEED": "123"})
    for i, (name, build) in enumerate(VALUES.items()):
        assert (tmp_path / str(i)).read_bytes() == file_bytes(build()), name


def test_no_date_and_no_chance():
    assert len({file_bytes(everything()) for _ in range(3)}) == 1


# ---------------------------------------------------------------- identity and sequence


def test_the_same_object_twice_is_stored_once():
    array = np.arange(5000.0)
    assert len(blobs_of([array, array])) == 1
    text = "x" * 20_000
    assert len(blobs_of([text, [text]])) == 1
    small = np.arange(3)
    assert blobs_of([small, small])[0].length == 24


def test_dumps_in_one_file_load_in_sequence(tmp_path):
    values = [{"a": np.arange(5)}, [1, 2, 3], "x" * 50_000, np.arange(100_000), None]
    with open(tmp_path / "file", "wb") as file:
        for value in values:
            fastpersist.dump(value, file)
    data = (tmp_path / "file").read_bytes()
    assert [len(dump.data) for dump in format_reader.split(data)] == [
        len(file_bytes(value)) for value in values
    ]
    with open(tmp_path / "file", "rb") as file:
        for value in values:
            assert_isomorphic(value, pickle.load(file))
        with pytest.raises(EOFError):
            pickle.load(file)
    with open(tmp_path / "file", "rb") as file:
        for value in values:
            assert_isomorphic(value, fastpersist.load(file))


def test_one_unpickler_reads_several_dumps():
    file = io.BytesIO()
    for i in range(3):
        shared = [i]
        fastpersist.dump([shared, shared, np.arange(i + 1)], file)
    file.seek(0)
    unpickler = pickle.Unpickler(file)
    for i in range(3):
        first, second, array = unpickler.load()
        assert first == [i] and first is second and array.tolist() == list(range(i + 1))


def test_a_dump_behind_other_bytes():
    """A stream's earlier content changes nothing: offsets are from the dump's own start."""
    file = io.BytesIO(b"something else")
    file.seek(0, io.SEEK_END)
    fastpersist.dump(everything(), file)
    assert file.getvalue()[14:] == file_bytes(everything())


def test_load_reads_what_dump_wrote(tmp_path):
    value = everything()
    path = tmp_path / "file"
    assert fastpersist.dump(value, path) == [str(path)]
    assert_isomorphic(pickle.loads(pickle.dumps(value, 5)), fastpersist.load(path))
    assert_isomorphic(pickle.loads(pickle.dumps(value, 5)), fastpersist.load(str(path)))
    with open(path, "rb") as file:
        assert_isomorphic(pickle.loads(pickle.dumps(value, 5)), fastpersist.load(file))
    pickle_path = tmp_path / "other"
    pickle_path.write_bytes(pickle.dumps([1, 2]))
    assert fastpersist.load(pickle_path) == [1, 2]


def test_protocols_below_five_are_plain_pickles():
    value = [1, "x", {"a": b"y"}]
    for protocol in range(5):
        assert file_bytes(value, protocol=protocol) == pickle.dumps(value, protocol)
    for protocol in (None, 5, -1):
        format_reader.read(file_bytes(value, protocol=protocol))


def test_arrays_in_protocols_below_five():
    value = {"a": np.arange(5), "b": np.asfortranarray(np.eye(3)), "c": np.arange(5000.0)}
    for protocol in range(5):
        assert file_bytes(value, protocol=protocol) == pickle.dumps(value, protocol)
