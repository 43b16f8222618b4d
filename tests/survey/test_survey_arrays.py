"""What a survey says of arrays, and `read_array`, beside the arrays that a load makes."""

import gzip
import io
import pickle
import pickletools
import warnings

import array_values
import fastpersist
import forged_files as forge
import joblib
import numpy as np
import pytest
import surveys
from compare import same_elements
from fastpersist import CorruptFileError, _core
from fastpersist.files import kinds
from helpers import PROTOCOLS, file_bytes

pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*chararray.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*align.*:Warning"),
]

ARRAYS = array_values.arrays()
SAMPLE = [name for i, name in enumerate(ARRAYS) if i % 7 == 0 or "struct" in name]


def written(value, protocols=PROTOCOLS):
    """The bytes of a file with the value, in every way, by name."""
    out = {"ours": file_bytes(value)}
    for protocol in protocols:
        out[f"protocol {protocol}"] = pickle.dumps(value, protocol)
    for protocol in (None, 2):
        file = io.BytesIO()
        try:
            joblib.dump(value, file, protocol=protocol)
            file.seek(0)
            joblib.load(file)
        except Exception:
            continue  # it divides by the itemsize
        out[f"joblib {protocol}"] = file.getvalue()
    return out


def same_dtype(got, expected):
    """NumPy's own pickles lose what "same" leaves out: padding in records, and metadata."""
    return got == expected or (got.names == expected.names and got.itemsize == expected.itemsize)


@pytest.mark.parametrize("name", ARRAYS)
def test_every_array_is_described(name):
    value = ARRAYS[name]()
    for way, data in written([value]).items():
        expected = pickle.loads(data)[0] if "joblib" not in way else value
        survey = surveys.check(surveys.every_survey(data), len(data))
        (record,) = surveys.records(survey, "arrays")
        assert survey.path(record["node"]) == "[0]"
        assert survey.shape(0) == expected.shape, way
        assert survey.itemsize(record["dtype"]) == expected.dtype.itemsize, way
        assert record["n_bytes"] == expected.nbytes
        assert not record["flags"] & 1
        assert "array that cannot be described" not in surveys.odd(survey)
        if record["stored"] == surveys.NAMES["stored"].index("inline"):
            raw = survey.inline(0)
            assert len(raw) == expected.nbytes


@pytest.mark.parametrize("name", ARRAYS)
def test_every_array_is_read(name, tmp_path):
    value = ARRAYS[name]()
    path = tmp_path / "file"
    for data in written({"a": [value, 1]}).values():
        path.write_bytes(data)
        for source in (path, io.BytesIO(data)):
            got = fastpersist.read_array(source, "['a'][0]")
            assert got.shape == value.shape and same_dtype(got.dtype, value.dtype)
            assert got.flags.writeable
            # Bytes between fields are nobody's; a byte order may be the other one.
            got = got if got.dtype == value.dtype else got.astype(value.dtype)
            assert same_elements(got, value)


@pytest.mark.parametrize("compress", [0, "lz4", "zlib", "gzip", "bz2", "xz"])
def test_read_from_compressed_files(compress, tmp_path):
    value = {"large": np.arange(100_000.0), "small": np.arange(3, dtype=">i2")}
    path = tmp_path / "file"
    fastpersist.dump(value, path, compress=compress)
    joblib_path = tmp_path / "joblib"
    if compress != "lz4":
        joblib.dump(value, joblib_path, compress=compress or 0)
    for file in (path, joblib_path):
        if file.exists():
            for name, array in value.items():
                got = fastpersist.read_array(file, f"[{name!r}]")
                assert (got == array).all() and got.shape == array.shape
                with open(file, "rb") as opened:
                    assert (fastpersist.read_array(opened, f"[{name!r}]") == array).all()


def test_a_file_object_that_cannot_go_back():
    data = file_bytes({"large": np.arange(5000.0), "m": np.matrix([[1, 2]])})
    with pytest.raises(ValueError, match="cannot go back"):
        fastpersist.read_array(surveys.Stingy(data, 1000), "['large']")
    got = fastpersist.read_array(surveys.Stingy(pickle.dumps([np.arange(3)], 5), 1000), "[0]")
    assert got.tolist() == [0, 1, 2]


@pytest.mark.parametrize("mode", ["r", "c"])
def test_mapped(mode, tmp_path):
    value = {
        "c": np.arange(5000.0).reshape(50, 100),
        "f": np.asfortranarray(np.arange(6000, dtype="i4").reshape(60, 100)),
        "t": np.arange(6000.0).reshape(10, 20, 30).transpose(1, 2, 0),
    }
    path, other = tmp_path / "file", tmp_path / "joblib"
    fastpersist.dump(value, path)
    joblib.dump(value, other)
    for file in (path, other):
        for name, array in value.items():
            got = fastpersist.read_array(file, f"[{name!r}]", mmap_mode=mode)
            assert isinstance(got, np.memmap)
            assert (got == array).all() and got.flags.writeable == (mode == "c")
            assert got.base is not None
    with pytest.raises(ValueError, match="mmap_mode"):
        fastpersist.read_array(path, "['c']", mmap_mode="r+")


@pytest.mark.parametrize("mode", [None, "r", "c"])
@pytest.mark.parametrize("strides", [(1000,), (2,), (0,)])
def test_strides_stay_in_the_bytes_of_the_array(mode, strides, tmp_path):
    """Of a buffer that is larger; of one that ends with the map."""
    path = tmp_path / "file"
    number = b"M" + strides[0].to_bytes(2, "little")
    data = b"B" + (20_000).to_bytes(4, "little") + b"x" * 20_000
    call = b"cnumpy\nndarray\n(K\x14\x85\x8c\2u1" + data + b"K\0" + number + b"\x85tR."
    path.write_bytes(b"\x80\4" + call)
    assert fastpersist.load(path).strides == strides
    with pytest.raises(ValueError, match="strides"):
        fastpersist.read_array(path, "", mmap_mode=mode)


@pytest.mark.parametrize("n_front", [0, 30])
def test_dumps_that_are_found_where_a_load_finds_them(n_front, tmp_path):
    """Behind frames that are skipped and streams of nothing; the rest of the file is left alone."""
    value = {"large": np.arange(5000.0)}
    skippable = b"\x50\x2a\x4d\x18" + n_front.to_bytes(4, "little") + b"x" * n_front
    for compress in ("lz4", "gzip"):
        path = tmp_path / "file"
        fastpersist.dump(value, path, compress=compress)
        data = path.read_bytes()
        path.write_bytes(skippable + data)
        assert (fastpersist.load(path)["large"] == value["large"]).all()
        assert (fastpersist.read_array(path, "['large']") == value["large"]).all()
        file = io.BytesIO(gzip.compress(b"") + skippable + data + b"behind")
        for load in (
            fastpersist.load,
            lambda file: {"large": fastpersist.read_array(file, "['large']")},
        ):
            file.seek(0)
            assert (load(file)["large"] == value["large"]).all()
            assert file.read() == b"behind"
    with pytest.raises(ValueError, match="cannot be mapped"):
        fastpersist.read_array(path, "['large']", mmap_mode="r")


def test_a_file_object_that_was_just_written():
    file = io.BytesIO()
    fastpersist.dump([np.arange(3), np.arange(5000)], file)
    assert fastpersist.read_array(file, "[0]").tolist() == [0, 1, 2]
    with pytest.raises(EOFError):
        fastpersist.read_array(file, "[0]")
    file.seek(0)
    assert len(fastpersist.read_array(file, "[1]")) == 5000
    for empty in (b"", gzip.compress(b"")):
        with pytest.raises((EOFError, CorruptFileError)):
            fastpersist.read_array(io.BytesIO(empty), "[0]")


@pytest.mark.parametrize("n_ours", [1, 2])
@pytest.mark.parametrize("n_elements", [3, 50_000])
def test_dumps_of_several_writers(n_ours, n_elements, tmp_path):
    """load gives the first, and so does read_array; pickles behind ours are surveyed as well."""
    path = tmp_path / "file"
    ours = [file_bytes([np.arange(n_elements) + i]) for i in range(n_ours)]
    other = pickle.dumps([np.arange(5.0)], 4)
    for behind in (other, other + other, gzip.compress(other), b""):
        path.write_bytes(b"".join(ours) + behind)
        for mode in (None, "r") if n_elements > 1000 else (None,):
            got = fastpersist.read_array(path, "[0]", mmap_mode=mode)
            assert got.tolist() == fastpersist.load(path)[0].tolist() == list(range(n_elements))
        with open(path, "rb") as file:
            found = _core.survey_descriptor(file.fileno(), str(path), 1, kinds.begins_at)
        n_others = behind.count(other)
        assert [s.kind for s in found] == ["fastpersist"] * n_ours + ["pickle"] * n_others
        assert [s.length for s in found] == [*map(len, ours), *[len(other)] * n_others]
        assert all(surveys.check(s) for s in found)
    for behind in (b"x", ours[0][:-1], b"\0" * 64):
        path.write_bytes(b"".join(ours) + behind)
        for function in (fastpersist.load, lambda path: fastpersist.read_array(path, "[0]")):
            with pytest.raises(CorruptFileError):
                function(path)
    path.write_bytes(pickletools.optimize(ours[0]))
    for function in (fastpersist.load, lambda path: fastpersist.read_array(path, "[0]")):
        if n_elements > 1000:
            with pytest.raises(CorruptFileError, match="rewritten"):
                function(path)
    path.write_bytes(other + ours[0])
    assert fastpersist.read_array(path, "[0]").tolist() == list(range(5))


def test_a_header_that_is_damaged(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([np.arange(50_000)], path)
    data = path.read_bytes()
    for head in (b"\0" * 21, b"\x1f\x8b\x08" + b"\0" * 18, b"BZh9", b"\x80\4" + b"\0" * 19):
        path.write_bytes(head + data[len(head) :])
        with pytest.raises(CorruptFileError):
            fastpersist.read_array(path, "[0]")
        with pytest.raises(CorruptFileError):
            fastpersist.load(path)


@pytest.mark.parametrize("compress", ["gzip", "xz", "bz2", "zlib"])
def test_checksums_of_what_others_wrote(compress, tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([np.arange(1000)], path, compress=compress, protocol=4)
    data = bytearray(path.read_bytes())
    assert len(fastpersist.read_array(path, "[0]")) == 1000
    data[-6 if compress == "gzip" else -2] ^= 1
    path.write_bytes(data)
    for source in (path, io.BytesIO(data)):
        with pytest.raises(CorruptFileError):
            fastpersist.read_array(source, "[0]")


def test_arrays_of_a_file_that_was_mapped_for_writing(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([np.arange(50_000)], path)
    mapped = fastpersist.load(path, mmap_mode="r+")
    mapped[0][7] = -1
    mapped[0].flush()
    del mapped
    for mode in (None, "r"):
        with pytest.warns(UserWarning, match="cannot be checked") as caught:
            assert fastpersist.read_array(path, "[0]", mmap_mode=mode)[7] == -1
        assert caught[0].filename == __file__


def test_only_the_blocks_of_the_array_are_checked(tmp_path):
    value = [np.arange(1 << 18), np.arange(1 << 18) + 1, np.arange(10)]
    path = tmp_path / "file"
    fastpersist.dump(value, path)
    survey = surveys.of_descriptor(path.read_bytes())[0]
    arrays = surveys.records(survey, "arrays")
    data = bytearray(path.read_bytes())
    data[arrays["offset"][0] + 100] ^= 1
    path.write_bytes(data)
    assert (fastpersist.read_array(path, "[1]") == value[1])[-1000:].all()
    assert (fastpersist.read_array(path, "[2]") == value[2]).all()
    for mode in (None, "r"):
        with pytest.raises(CorruptFileError) as caught:
            fastpersist.read_array(path, "[0]", mmap_mode=mode)
        assert caught.value.section == "array bytes"
    with pytest.raises(CorruptFileError):
        fastpersist.load(path)


def test_damage_of_the_graph_is_met_first(tmp_path):
    data = bytearray(file_bytes([np.arange(5000)]))
    survey = surveys.of_descriptor(bytes(data))[0]
    graph = next(offset for name, offset, _ in survey.parts if name == "graph")
    data[graph + 20] ^= 1
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError):
        fastpersist.read_array(path, "[0]")


def evaluate(value, path):
    """The object at a path that goes by items, attributes and elements alone."""
    assert ".args" not in path and ".state" not in path
    return eval("value" + path.replace(".flat[", ".ravel(order='K')["), {"value": value})


class Model:
    def __init__(self):
        self.weights = np.arange(12.0).reshape(3, 4)
        self.parts = [{"a": np.arange(3)}, (np.arange(4), "text")]
        self.nested = {"x y": {"deep": [np.arange(5)]}, 7: np.arange(6), None: np.arange(7)}


class Slots:
    __slots__ = ("a", "b")


class SlotsAndDict(Slots):
    pass


def model():
    out = Model()
    out.slots, out.both = Slots(), SlotsAndDict()
    out.slots.a, out.slots.b = np.arange(8), [np.arange(9)]
    out.both.a, out.both.c = np.arange(10), np.arange(11)
    out.objects = np.array([np.arange(2), None, {"k": np.arange(3)}], object)
    out.again = out.weights
    return out


def test_paths_name_what_python_finds_there():
    value = model()
    expected = sorted(a.nbytes for a in all_arrays(value))
    for way, data in written(value, range(2, 6)).items():
        survey = surveys.check(surveys.every_survey(data), len(data))
        found = []
        for i, record in enumerate(surveys.records(survey, "arrays")):
            path = survey.path(record["node"])
            if path == ".again":
                assert "joblib" in way  # which writes a shared array twice
                continue
            if path == ".objects":
                assert surveys.NAMES["stored"][record["stored"]] == "elements"
                continue
            array = evaluate(value, path)
            assert array.shape == survey.shape(i), (way, path)
            assert survey.find(path) == ("array", i)
            found.append(array.nbytes)
        assert sorted(found) == expected, way


def all_arrays(value):
    yield from (value.weights, value.parts[0]["a"], value.parts[1][0])
    yield from (value.nested["x y"]["deep"][0], value.nested[7], value.nested[None])
    yield from (value.slots.a, value.slots.b[0], value.both.a, value.both.c)
    yield from (value.objects[0], value.objects[2]["k"])


def test_words_of_the_grammar_are_no_attributes():
    value = Model()
    value.__dict__.clear()
    value.args = [np.arange(3)]
    value.state = np.arange(4)
    data = pickle.dumps(value, 4)
    survey = surveys.check(surveys.of_descriptor(data)[0])
    named = [survey.path(r["node"]) for r in surveys.records(survey, "arrays")]
    assert named == [".state['args'][0]", ".state['state']"]


def test_keys_of_every_kind():
    keys = ["plain", "a'b\"c", "\n\u202e\ud800", "x" * 100, "y" * 5000, b"bytes", 5, -7, 70_000]
    keys += [2**40, 1.5, True, None, (1, 2), frozenset([1])]
    for protocol in PROTOCOLS:
        data = pickle.dumps({key: np.arange(3) for key in keys}, protocol)
        survey = surveys.check(surveys.every_survey(data), len(data))
        named = [survey.path(r["node"]) for r in surveys.records(survey, "arrays")]
        assert len(set(named)) == len(named) == len(keys)
        assert named[0] == "['plain']"
        assert all(path.isprintable() and len(path) < 120 for path in named)


def test_the_same_key_twice():
    array = array_call(b"K\3\x85\x8c\2u1C\3abc")
    data = b"\x80\4}(\x8c\1a" + array + b"\x8c\1a" + array + b"u."
    assert len(pickle.loads(data)) == 1
    survey = surveys.check(surveys.of_descriptor(data)[0])
    first, second = (survey.path(r["node"]) for r in surveys.records(survey, "arrays"))
    assert first == "['a']" and second.startswith("['a']@")
    assert survey.find(second) == ("array", 1)


KEYS = [
    b"K\0",
    b"M\0\0",
    b"J\0\0\0\0",
    b"J\xff\xff\xff\xff",
    b"N",
    b"\x88",
    b"\x89",
    b"I01\n",
    b"I0\n",
]
KEYS += [
    b"\x8c\1a",
    b"X\1\0\0\0a",
    b"Va\n",
    b"V\\u0061\n",
    b"S'a'\n",
    b"S'\\x61'\n",
    b"U\1a",
    b"C\1a",
]
KEYS += [
    b"U\1\xe9",
    b"S'\xe9'\n",
    b"C\1\xe9",
    b"V\xe9\n",
    b"\x8c\2\xc3\xa9",
    b"G" + bytes(8),
    b"\x8a\0",
]
KEYS += [
    b"K\0\x85",
    b"\x8c\1a\x85",
    b"N\x85",
    b"K\0K\1\x86",
    b"(K\0t",
    b"\x8c\1aN\x86",
    b"cos\nx\n",
]
KEYS += [b"cos\nx\n)R", b"h\0", b"Px\n", b")"]


def test_keys_that_look_alike():
    """Each value has a path of its own, whose key is not that of another kind."""
    array = array_call(b"K\3\x85\x8c\2u1C\3abc")
    data = b"\x80\4K\7q\x000}(" + b"".join(key + array for key in KEYS * 2) + b"u."
    survey = surveys.check(surveys.every_survey(data), len(data))
    named = [survey.path(r["node"]) for r in surveys.records(survey, "arrays")]
    assert len(named) == len(set(named)) == 2 * len(KEYS)
    shown = dict(zip(KEYS, named, strict=False))
    assert shown[b"K\0"] == "[0]" and shown[b"M\0\0"].startswith("[0]@")
    assert shown[b"\x8c\1a"] == "['a']" and shown[b"V\\u0061\n"].startswith("['a']@")
    for key in (b"K\0\x85", b"\x8c\1a\x85", b"N\x85", b"\x8c\1aN\x86", b"S'\\x61'\n", b"h\0"):
        assert shown[key].startswith("[@")


def test_tuples_as_keys():
    value = {("a", 1): np.arange(3), ("a", 2): np.arange(4), "a": np.arange(5), 1: np.arange(6)}
    for data in written(value).values():
        survey = surveys.check(surveys.every_survey(data), len(data))
        named = [survey.path(r["node"]) for r in surveys.records(survey, "arrays")]
        assert named[2] == "['a']"
        assert all(path.startswith("[@") for path in named[:2])


# ---------------------------------------------------------------- what is no array to be read


def array_call(arguments):
    return b"\x8c\5numpy\x8c\7ndarray\x93(" + arguments + b"tR"


HOSTILE = {
    "objects": (b"K\2\x85\x8c\2|O", "holds objects|more bytes"),
    "objects in a record": (b"K\2\x85\x8c\5f8,O4", "cannot be|no dtype|another size"),
    "beyond": (b"K\x64\x85\x8c\3<f8C\x08aaaaaaaa", "more bytes than there are"),
    "offset beyond": (b"K\1\x85\x8c\3<f8C\x10aaaaaaaaaaaaaaaaK\x09", "more bytes"),
    "negative offset": (b"K\1\x85\x8c\3<f8C\x10aaaaaaaaaaaaaaaaJ\xff\xff\xff\xff", "described"),
    "negative stride": (
        b"K\2\x85\x8c\3<f8C\x10aaaaaaaaaaaaaaaaK\x08J\xf8\xff\xff\xff\x85",
        "more bytes",
    ),
    "stride beyond": (b"K\2\x85\x8c\3<f8C\x10aaaaaaaaaaaaaaaaK\0M\xe8\3\x85", "more bytes"),
    "negative size": (b"J\xff\xff\xff\xff\x85\x8c\3<f8C\0", "cannot be described"),
    "huge": (b"\x8a\x08\0\0\0\0\0\0\0\x10\x85\x8c\3<f8C\0", "more bytes|another size|described"),
    "no dtype": (b"K\1\x85NC\x08aaaaaaaa", "cannot be described"),
    "a dtype of nothing": (b"K\1\x85\x8c\3abcC\x08aaaaaaaa", "no dtype|another size"),
    "several dtypes": (b"K\1\x85\x8c\5i4,i4C\x08aaaaaaaa", "no dtype|another size"),
    "a list as shape": (b"](K\1e\x8c\3<f8C\x08aaaaaaaa", "cannot be described"),
    "a call as shape": (b"cbuiltins\ntuple\n)R\x8c\3<f8C\x08aaaaaaaa", "cannot be described"),
    "no buffer": (b"K\1\x85\x8c\3<f8K\5", "cannot be described"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_arrays_that_are_none(name):
    arguments, reason = HOSTILE[name]
    data = b"\x80\5" + array_call(arguments) + b"."
    survey = surveys.every_survey(data)
    assert survey.complete
    with pytest.raises(ValueError, match=reason):
        fastpersist.read_array(io.BytesIO(data), "")


DTYPES = {
    "objects with flags 0": (
        b"\x8c\2V8",
        b"(K\3\x8c\1|N\x8c\1a\x85}\x8c\1a\x8c\2O8K\0\x86sK\x08K\1K\0t",
    ),
    "a field beyond the item": (
        b"\x8c\2V8",
        b"(K\3\x8c\1|N\x8c\1a\x85}\x8c\1acnumpy\ndtype\n\x8c\2f8\x85RJ\0\0\x10\0\x86sK\x08K\1K\0t",
    ),
    "another size": (b"\x8c\2f8", b"(K\3\x8c\1<NNNK\5J\xff\xff\xff\xffK\0t"),
    "objects": (b"\x8c\2O8", b"(K\3\x8c\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t"),
    "no state": (b"\x8c\2f8", b"K\1"),
    "a class of others": (b"cml_dtypes\nbfloat16\n", b"(K\3\x8c\1<NNNK\2K\2K\0t"),
}


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_are_made_by_numpy_alone(name):
    argument, state = DTYPES[name]
    dtype = b"cnumpy\ndtype\n" + argument + b"\x89\x88\x87R" + state + b"b"
    data = b"\x80\5" + array_call(b"K\1\x85" + dtype + b"C\x08aaaaaaaa") + b"."
    survey = surveys.every_survey(data)
    assert survey.complete
    with pytest.raises(ValueError):
        fastpersist.read_array(io.BytesIO(data), "")


def test_dtypes_in_the_arguments_of_dtypes():
    """However deep: nothing follows them down."""
    n = 50_000
    parts = [b"\x80\4cnumpy\ndtype\nr\0\0\0\0\x8c\2u1\x85Rr\1\0\0\0"]
    for i in range(2, n):
        before, number = (i - 1).to_bytes(4, "little"), i.to_bytes(4, "little")
        parts.append(b"0j\0\0\0\0j" + before + b"\x85Rr" + number)
    data = b"".join(parts) + b"cnumpy\nndarray\n(K\3\x85j" + number + b"C\3abctR."
    survey = surveys.every_survey(data)
    assert survey.complete
    (record,) = surveys.records(survey, "arrays")
    for number in (0, 1, 31, 32, 33, record["dtype"]):
        assert len(repr(survey.dtype(number))) < 2000
    with pytest.raises(ValueError, match="described|dtype"):
        fastpersist.read_array(io.BytesIO(data), "")


@pytest.mark.parametrize("state", ["N", "K\x05", ")", "}", "\x8a\x08\0\0\0\0\0\0\0\x40", "(K\1t"])
def test_states_of_arrays_that_are_none(state):
    data = b"\x80\4cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"
    data += b"(K\1tq\0" + b"0" + state.encode("latin-1") + b"b."
    survey = surveys.every_survey(data)
    assert survey.complete and surveys.odd(survey)["array that cannot be described"] == 1


def test_a_dtype_in_its_own_state_or_set_twice():
    again = (
        b"cnumpy\ndtype\nq\0\x8c\2V8\x85Rq\1(K\3\x8c\1|N\x8c\1a\x85}\x8c\1ah\1K\0\x86sK\x08K\1K\0tb"
    )
    twice = (
        b"cnumpy\ndtype\n\x8c\2f8\x85R(K\3\x8c\1<NNNK\x08K\x08K\0tb(K\3\x8c\1>NNNK\x08K\x08K\0tb"
    )
    for dtype in (again, twice):
        data = b"\x80\5" + array_call(b"K\1\x85" + dtype + b"C\x08aaaaaaaa") + b"."
        survey = surveys.every_survey(data)
        record = surveys.records(survey, "arrays")[0]
        assert survey.dtype(record["dtype"]) == ("dtype", None, None)
        with pytest.raises(ValueError):
            fastpersist.read_array(io.BytesIO(data), "")


def test_a_shape_from_a_memo_number_that_was_used_twice():
    shape = b"K\1\x85q\0K\2\x85q\x0000"
    data = b"\x80\5" + shape + array_call(b"h\0\x8c\3<f8C\x10aaaaaaaaaaaaaaaa") + b"."
    survey = surveys.every_survey(data)
    assert survey.shape(0) is None
    assert surveys.odd(survey)["array that cannot be described"] == 1


@pytest.mark.parametrize(
    "text", ["a\u5000b", "\ud800bc", "é", "abcd", "\u5000" * 3, "\u5000" * 5000]
)
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_text_that_is_no_bytes(text, protocol):
    array = pickle.dumps(np.frombuffer(b"abc" * max(1, len(text) // 3), "u1"), protocol)
    was = pickle.dumps("abc" * max(1, len(text) // 3), protocol)[:-1]
    was = was.removeprefix(b"\x80\2")[: -len("p0\n") if protocol == 0 else -2]
    new = pickle.dumps(text, protocol)[:-1].removeprefix(b"\x80\2")
    new = new[: -len("p0\n") if protocol == 0 else -2]
    assert was in array
    data = array.replace(was, new)
    survey = surveys.check(surveys.every_survey(data), len(data))
    assert survey.inline(0) is None or len(text) < 10
    with pytest.raises(ValueError, match="text that is no bytes|another size"):
        fastpersist.read_array(io.BytesIO(data), "")


@pytest.mark.parametrize(
    "value", [b"N", b"I0\n", b")", b"cos\nx\n", b"Px\n", b"\x97", b"cos\nx\n)R"]
)
def test_items_of_what_may_take_none(value):
    """Each has a path of its own, however they got there."""
    item = b"cnumpy\nndarray\n(K\3\x85\x8c\2u1C\3abctR"
    data = b"\x80\5" + value + item + b"a" + item + b"a" + b"(" + item * 3 + b"e"
    data += b"(" + item * 2 + b"\x90" + item * 2 + b"s" + b"(" + item * 4 + b"u" + item + b"a."
    survey = surveys.check(surveys.every_survey(data), len(data))
    assert len(surveys.records(survey, "arrays")) == 14


POPPED = {
    "in front of a tuple": b"}(X0K\1t\x86",
    "twice in front of a list": b"](X0X0l\x86",
    "one behind the other": b"](XX00l\x86",
    "in front of a dict": b"](X0K\1Kd\x86".replace(b"Kd", b"K\2d"),
    "with a mark": b"]((X1l\x86",
    "with two marks": b"N(((XX1X1t\x86",
    "in front of items": b"](X0K\1e",
    "in front of a call": b"](X0cbuiltins\nlist\no\x86",
    "at once": b"X0]",
    "behind a value": b"]X0",
    "behind all": b"N](X0tX0",
}


@pytest.mark.parametrize("name", POPPED)
def test_bytes_of_what_is_popped(name):
    """No value has more bytes than the one that it is a part of."""
    item = b"cnumpy\nndarray\n(K\3\x85\x8c\2u1C\3abctR"
    data = b"\x80\4" + POPPED[name].replace(b"X", item) + b"."
    survey = surveys.check(surveys.every_survey(data), len(data))
    assert len(surveys.records(survey, "arrays")) == POPPED[name].count(b"X")
    for n in range(3, len(data)):
        broken = surveys.of_descriptor(data[:n])[0]
        nodes = surveys.records(broken, "nodes")
        roots = nodes["parent"] == surveys.NONE
        assert int(nodes["own"].sum()) == int(nodes["total"][roots].sum())


def test_there_is_no_such_array():
    file = io.BytesIO(file_bytes({"a": np.arange(3), "b": b"x" * 20000}))
    for path in ("", "['b']", "['c']", "a", "['a'][0]"):
        with pytest.raises(KeyError):
            fastpersist.read_array(file, path)
        file.seek(0)
    with pytest.raises(TypeError):
        fastpersist.read_array(file, 3)


# ---------------------------------------------------------------- blobs


def test_a_shared_blob_is_counted_by_its_arrays():
    value = [np.arange(100), np.arange(7, dtype="u1"), np.arange(100)]
    data = file_bytes(value)
    survey = surveys.check(surveys.of_descriptor(data)[0], len(data))
    nodes, arrays = (surveys.records(survey, name) for name in ("nodes", "arrays"))
    opcodes = nodes["total"][arrays["node"]] - arrays["n_bytes"]
    assert (opcodes < 100).all()
    sidecar = next(n for name, _, n in survey.parts if name == "array bytes")
    assert survey.sums["padding"] == sidecar - arrays["n_bytes"].sum()


def test_bytes_of_a_blob_count_once():
    data = forge.dump(
        [(forge.BYTEARRAY, bytes(800))],
        b"(" + array_call(b"K\x64\x85\x8c\3<f8h\0") * 3 + b"h\0t",
    )
    survey = surveys.check(surveys.of_descriptor(data)[0], len(data))
    assert survey.sums["padding"] == 0
    totals = surveys.records(survey, "nodes")["total"][:3].tolist()
    assert totals[0] > 800 > totals[1] == totals[2]


def test_blobs_that_nobody_fetches_are_padding():
    data = forge.dump([(forge.BYTES, b"x" * 1000)], b"N")
    survey = surveys.check(surveys.of_descriptor(data)[0], len(data))
    assert survey.sums["padding"] > 1000


def test_leaves_and_their_hashes():
    large = {"text": "é" * 10_000, "bytes": b"b" * 20_000, "array": bytearray(20_000)}
    kinds = surveys.NAMES["kinds"]
    for data in (file_bytes(large), pickle.dumps(large, 5)):
        survey = surveys.check(surveys.every_survey(data), len(data))
        leaves = surveys.records(survey, "leaves")
        found = {survey.path(leaf["node"]): leaf for leaf in leaves}
        assert {kinds[leaf["kind"]] for leaf in leaves} == {"str", "bytes", "bytearray"}
        assert found["['text']"]["n_bytes"] == 20_000
        for path, value in (("['bytes']", large["bytes"]), ("['array']", large["array"])):
            at = int(found[path]["offset"])
            assert data[at : at + 20_000] == value


def test_equal_payloads_have_one_hash():
    data = pickle.dumps([b"a" * 5000, np.zeros(1000), b"b" * 5000, b"a" * 2500 + b"a" * 2500], 5)
    payloads = surveys.records(surveys.of_descriptor(data)[0], "payloads")
    first, array, other, again = payloads["hash"].tolist()
    assert first == again != other
    assert _core.hash_bytes(b"a" * 5000) == first and _core.hash_bytes(bytes(8000)) == array
    for payload, start in zip(payloads, (b"a", b"\0", b"b", b"a"), strict=True):
        at = int(payload["offset"])
        assert data[at : at + int(payload["n_bytes"])] == start * int(payload["n_bytes"])


def test_warnings_are_not_made(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([np.arange(5000)], path)
    fastpersist.load(path, mmap_mode="r+")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        survey = surveys.of_descriptor(path.read_bytes())[0]
    assert survey.state_void
