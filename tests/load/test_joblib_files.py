"""Files that joblib wrote: what joblib.load gives is what load gives, without importing joblib."""

import bz2
import gc
import gzip
import io
import lzma
import os
import pathlib
import pickle
import random
import re
import struct
import threading
import warnings
import zlib

import array_values
import fastpersist
import joblib
import numpy as np
import pytest
import sample_classes as c
from compare import assert_isomorphic
from fastpersist import CorruptFileError, TruncatedFileError
from helpers import EFFORT, run_python

pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*chararray.*:DeprecationWarning"),
    # python-lz4's reader, which joblib uses, on Python 3.13: flushes a closed file at its end.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <_io.BufferedReader>:pytest.PytestUnraisableExceptionWarning"
    ),
]

try:
    import lz4.frame
except ImportError:  # an extra of the tests
    lz4 = None

CODECS = ["zlib", "gzip", "bz2", "lzma", "xz"] + (["lz4"] if lz4 else [])
COMPRESSED = [(name, level) for name in CODECS for level in (1, 9 if name != "lzma" else 3)]
MODES = ["r", "r+", "w+", "c"]


def small_graph():
    shared = np.arange(12.0).reshape(3, 4)
    return {
        "shared": [shared, shared],
        "fortran": np.asfortranarray(shared),
        "text": "text é" * 3,
        "bytes": bytes(range(256)),
        "objects": np.array([1, "abc", {"a": [np.arange(3), None]}], object),
        "instance": c.Plain(),
        "scalar": np.float32(1.5),
        "empty": np.empty((0, 3), "f4"),
        "zero-dimensional": np.array(7, "i2"),
        "list": [*range(1000)],
        "behind": "the arrays",
    }


def values():
    """What joblib can write: it divides by the itemsize."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy.matrix, chararray
        made = {name: make() for name, make in array_values.everything().items()}
        made = {name: value for name, value in made.items() if can_write(value)}
    made["graph"] = small_graph()
    return made


def can_write(value):
    try:
        joblib.dump(value, io.BytesIO())
    except Exception:
        return False
    return True


VALUES = values()


def outcome(function, *arguments, **keywords):
    """What a call returns, or its exception's type and text; and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(*arguments, **keywords)
        except Exception as error:
            result = type(error), str(error)
    return result, [(w.category, str(w.message)) for w in caught]


def assert_same_arrays(got, expected, path="value"):
    """The flags that assert_isomorphic does not look at, in lists, dicts and tuples."""
    if isinstance(expected, dict):
        for key in expected:
            assert_same_arrays(got[key], expected[key], f"{path}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        for i, pair in enumerate(zip(got, expected, strict=True)):
            assert_same_arrays(*pair, f"{path}[{i}]")
    elif isinstance(expected, np.ndarray):
        assert type(got) is type(expected), path
        for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE", "ALIGNED"):
            assert got.flags[flag] == expected.flags[flag], (path, flag)
        assert expected.size == 0 or got.strides == expected.strides, path
        if isinstance(expected, np.memmap):
            for name in ("offset", "mode", "filename"):
                assert getattr(got, name) == getattr(expected, name), (path, name)
            assert (got._mmap is None) == (expected._mmap is None), path


def assert_same(got, expected):
    assert_isomorphic(expected, got)
    assert_same_arrays(got, expected)


# ---------------------------------------------------------------- uncompressed


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("native", [True, False])
def test_uncompressed(name, native, tmp_path):
    path = str(tmp_path / "f")
    joblib.dump(VALUES[name], path)
    got = fastpersist.load(path, ensure_native_byte_order=native)
    expected = joblib.load(path, ensure_native_byte_order=native)
    if not native and re.fullmatch("dtype >[mM]8( .*)?", name):
        # numpy.empty, and so joblib, forgets the byte order of a time without a unit.
        expected = expected.byteswap().view(VALUES[name].dtype)
    assert_same(got, expected)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol, tmp_path):
    path = str(tmp_path / "f")
    joblib.dump(small_graph(), path, protocol=protocol)
    assert_same(fastpersist.load(path), joblib.load(path))


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "u1", [("a", ">i4"), ("b", ">f8")]])
def test_array_larger_than_every_buffer(order, dtype, tmp_path):
    path = str(tmp_path / "f")
    array = array_values.writable(3_000_000 // np.dtype(dtype).itemsize * 4, dtype)
    array = array.reshape((4, -1), order=order)
    joblib.dump(["in front", array, "behind"], path)
    expected = joblib.load(path)
    for threads in (1, 2, 5):
        got = fastpersist.load(path, threads=threads)
        assert_same(got, expected)
        assert got[1].flags.owndata
    with open(path, "rb") as file:
        assert_same(fastpersist.load(file), expected)


def test_arrays_own_their_memory(tmp_path):
    path = str(tmp_path / "f")
    joblib.dump([np.arange(n) for n in (0, 1, 1000)] + [np.ones((3, 4), order="F")], path)
    assert all(array.flags.owndata for array in fastpersist.load(path))


def test_loads_and_unpickler(tmp_path):
    path = str(tmp_path / "f")
    joblib.dump(small_graph(), path)
    expected = joblib.load(path)
    with open(path, "rb") as file:
        data = file.read()
    assert_same(fastpersist.loads(data), expected)
    assert_same(fastpersist.Unpickler(io.BytesIO(data)).load(), expected)


def test_several_dumps_in_one_file(tmp_path):
    path = str(tmp_path / "f")
    values = [{"a": np.ones(3), "b": [1, 2]}, np.arange(5), "text", np.arange(100_000.0)]
    with open(path, "wb") as file:
        for value in values:
            joblib.dump(value, file)
    assert_same(fastpersist.load(path), joblib.load(path))
    for buffering in (-1, 0):
        with open(path, "rb", buffering=buffering) as file:
            for value in values:
                assert_isomorphic(value, fastpersist.load(file))
            with pytest.raises(EOFError):
                fastpersist.load(file)


def test_nested_streams_obey_find_class():
    class Refusing(fastpersist.Unpickler):
        def find_class(self, module, name):
            seen.append(name)
            if name == "Plain":
                raise pickle.UnpicklingError("refused")
            return super().find_class(module, name)

    seen = []
    buffer = io.BytesIO()
    joblib.dump(np.array([c.Plain()], object), buffer)
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        Refusing(io.BytesIO(buffer.getvalue())).load()
    assert "Plain" in seen and "NumpyArrayWrapper" in seen


@pytest.mark.models
def test_models(tmp_path):
    from sklearn.datasets import load_iris
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_iris(return_X_y=True)
    for model in (
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(20, random_state=0),
        HistGradientBoostingClassifier(max_iter=5),
    ):
        model.fit(x, y)
        for compress in (0, *COMPRESSED):
            path = str(tmp_path / "model")
            joblib.dump(model, path, compress=compress)
            np.testing.assert_array_equal(
                fastpersist.load(path).predict_proba(x), model.predict_proba(x)
            )
        joblib.dump(model, path)
        mapped = fastpersist.load(path, mmap_mode="r")
        np.testing.assert_array_equal(mapped.predict_proba(x), model.predict_proba(x))


# ---------------------------------------------------------------- earlier layouts


class OldWriter(joblib.numpy_pickle.NumpyPickler):
    """The layout of joblib 0.10 to 1.1 (nothing in front of the bytes), or of 1.2 and later into
    a stream that has no position (the attribute is None)."""

    def __init__(self, *arguments, alignment, **keywords):
        super().__init__(*arguments, **keywords)
        self.alignment = alignment

    def _create_array_wrapper(self, array):
        wrapper = super()._create_array_wrapper(array)
        if self.alignment == "absent":
            del wrapper.numpy_array_alignment_bytes
        else:
            wrapper.numpy_array_alignment_bytes = self.alignment
        return wrapper


@pytest.mark.parametrize("alignment", ["absent", None, 16, 64])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_earlier_layouts(alignment, protocol, tmp_path):
    path = str(tmp_path / "f")
    for value in (small_graph(), [np.arange(n, dtype="u1") for n in range(40)]):
        with open(path, "wb") as file:
            OldWriter(file, protocol=protocol, alignment=alignment).dump(value)
        assert_same(fastpersist.load(path), joblib.load(path))
        expected, expected_warnings = outcome(joblib.load, path, mmap_mode="r")
        got, got_warnings = outcome(fastpersist.load, path, mmap_mode="r")
        assert_same(got, expected)
        assert got_warnings == expected_warnings
        assert bool(got_warnings) == (alignment in ("absent", None))


def old_pickle(name):
    module = "joblib.numpy_pickle"
    state = "}(U\x08filenameU\x08f_01.npyU\x08subclasscnumpy\nndarray\nu"
    return f"c{module}\n{name}\n)\x81{state}b.".encode("latin1")


def test_files_from_before_010_go_through_joblib(tmp_path):
    path = str(tmp_path / "f")
    array = np.arange(10.0)
    np.save(tmp_path / "f_01.npy", array)
    (tmp_path / "f").write_bytes(b"\x80\x02" + old_pickle("NDArrayWrapper"))
    expected, expected_warnings = outcome(joblib.load, path)
    got, got_warnings = outcome(fastpersist.load, path)
    assert_same(got, expected)
    np.testing.assert_array_equal(got, array)
    assert got_warnings == expected_warnings
    assert [category for category, _ in got_warnings] == [DeprecationWarning]
    mapped, _ = outcome(fastpersist.load, path, mmap_mode="r")
    assert isinstance(mapped, np.memmap)


def zfile(data):
    head = f"{len(data):#x}".ljust(len(f"{2**64:#x}")).encode()
    return b"ZF" + head + zlib.compress(data)


def test_zfiles_go_through_joblib(tmp_path):
    path = str(tmp_path / "f")
    value = [1, 2, {"a": 3}]
    (tmp_path / "f").write_bytes(zfile(pickle.dumps(value, 2)))
    got, got_warnings = outcome(fastpersist.load, path)
    assert (got, got_warnings) == outcome(joblib.load, path)
    assert got == value and len(got_warnings) == 1
    with open(path, "rb") as file, pytest.raises(ValueError, match="by its path"):
        fastpersist.load(file)


FIXTURES = pathlib.Path(joblib.__file__).parent / "test" / "data"


@pytest.mark.parametrize("mode", [None, "r"])
@pytest.mark.filterwarnings("ignore:.*align should be passed")
def test_files_that_joblib_keeps_for_its_own_tests(mode):
    """Of 0.8.4 to 0.12.2, by Python 2.7 to 3.6."""
    paths = [p for p in FIXTURES.glob("joblib_*") if ".npy" not in p.suffixes]
    if not paths:
        pytest.skip("this joblib comes without them")
    for path in map(str, paths):
        if lz4 is None and path.endswith("lz4"):
            continue
        expected, expected_warnings = outcome(joblib.load, path, mmap_mode=mode)
        got, got_warnings = outcome(fastpersist.load, path, mmap_mode=mode)
        assert_isomorphic(expected, got)
        assert [w for w in got_warnings if "align=" not in w[1]] == [
            w for w in expected_warnings if "align=" not in w[1]
        ], path


# ---------------------------------------------------------------- compressed


@pytest.mark.parametrize("compress", COMPRESSED, ids=str)
def test_compressed(compress, tmp_path):
    path = str(tmp_path / "f")
    value = [small_graph(), np.arange(400_000) % 1000, np.asfortranarray(np.ones((300, 500)))]
    joblib.dump(value, path, compress=compress)
    expected = joblib.load(path)
    assert_same(fastpersist.load(path), expected)
    with open(path, "rb") as file:
        assert_same(fastpersist.load(file), expected)
        assert file.tell() == os.path.getsize(path)
    with open(path, "rb", buffering=0) as file:
        assert_same(fastpersist.load(file), expected)
    with open(path, "rb") as file:
        data = file.read()
    assert_same(fastpersist.load(io.BytesIO(data)), expected)
    assert_same(fastpersist.load(OnlyReads(data)), expected)


@pytest.mark.parametrize("codec", CODECS)
def test_every_value_compressed(codec, tmp_path):
    path = str(tmp_path / "f")
    for value in VALUES.values():
        joblib.dump(value, path, compress=(codec, 1))
        assert_same(fastpersist.load(path), joblib.load(path))


class OnlyReads:
    """A stream such as a socket's: no seek, no peek, no readinto, and short reads."""

    def __init__(self, data, most=1 << 30):
        self._file = io.BytesIO(data)
        self._most = most

    def read(self, n=-1):
        return self._file.read(min(n, self._most) if n >= 0 else n)

    def readline(self):
        return self._file.readline()


@pytest.mark.parametrize("codec", [None, *CODECS])
def test_streams_that_cannot_go_back(codec):
    buffer = io.BytesIO()
    joblib.dump(small_graph(), buffer, compress=(codec, 1) if codec else 0)
    data = buffer.getvalue()
    value = joblib.load(io.BytesIO(data))
    assert_isomorphic(value, fastpersist.load(OnlyReads(data)))
    if codec:
        for most in (1, 7):
            assert_isomorphic(value, fastpersist.load(OnlyReads(data, most)))
    read_end, write_end = os.pipe()

    def write():
        with open(write_end, "wb") as file:
            file.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    with open(read_end, "rb") as reader:
        assert_isomorphic(value, fastpersist.load(reader))
    writer.join()


@pytest.mark.parametrize("codec", CODECS)
def test_several_compressed_dumps(codec, tmp_path):
    """One stream with two dumps: the first, as joblib. Two streams: each from where the file
    stands."""
    one = {"gzip": gzip.compress, "bz2": bz2.compress, "zlib": zlib.compress, "xz": lzma.compress}
    one["lzma"] = lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE)
    if lz4:
        one["lz4"] = lz4.frame.compress
    values = [{"a": np.ones(300), "b": [1, 2]}, "the second"]
    dumps = []
    for value in values:
        joblib.dump(value, buffer := io.BytesIO())
        dumps.append(buffer.getvalue())
    path = tmp_path / "f"
    path.write_bytes(one[codec](b"".join(dumps)))
    assert_isomorphic(values[0], fastpersist.load(path))
    path.write_bytes(b"".join(map(one[codec], dumps)))
    assert_isomorphic(values[0], fastpersist.load(path))
    with open(path, "rb") as file:
        for value in values:
            assert_isomorphic(value, fastpersist.load(file))
        with pytest.raises(EOFError):
            fastpersist.load(file)


@pytest.mark.parametrize("codec", ["gzip", "bz2", "xz"] + (["lz4"] if lz4 else []))
def test_one_dump_in_many_members(codec, tmp_path):
    compress = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    if lz4:
        compress["lz4"] = lz4.frame.compress
    data = pickle.dumps(list(range(50_000)), 4)
    pieces = [compress[codec](data[i : i + 10_000]) for i in range(0, len(data), 10_000)]
    (tmp_path / "f").write_bytes(b"".join(pieces))
    assert fastpersist.load(tmp_path / "f") == list(range(50_000))
    if codec != "lz4":  # which knows no padding
        (tmp_path / "f").write_bytes((b"\0" * 8).join(pieces))
        assert fastpersist.load(tmp_path / "f") == list(range(50_000))


@pytest.mark.skipif(lz4 is None, reason="needs lz4")
@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("block_size", range(4, 8))
def test_lz4_frames(linked, checksums, block_size, tmp_path):
    data = pickle.dumps([random.Random(1).randbytes(100_000), bytes(9_000_000), "end"], 5)
    for size in (0, len(data)):
        context = lz4.frame.create_compression_context()
        frame = lz4.frame.compress_begin(
            context,
            source_size=size,
            block_size=block_size,
            block_linked=linked,
            content_checksum=checksums,
            block_checksum=checksums,
        )
        frame += lz4.frame.compress_chunk(context, data) + lz4.frame.compress_flush(context)
        (tmp_path / "f").write_bytes(frame)
        assert fastpersist.load(tmp_path / "f") == pickle.loads(data)
        skippable = struct.pack("<II", 0x184D2A50, 5) + b"hello"
        assert fastpersist.load(io.BytesIO(frame[:0] + frame + skippable)) == pickle.loads(data)
        if checksums:
            damaged = bytearray(frame)
            damaged[len(damaged) // 2] ^= 1
            with pytest.raises(CorruptFileError, match="lz4"):
                fastpersist.load(io.BytesIO(damaged))


def test_zstd_says_what_is_missing():
    data = b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"
    try:
        fastpersist.load(io.BytesIO(data))
    except ImportError as error:
        assert "fastpersist[zstd]" in str(error)
    except (EOFError, CorruptFileError):
        pass  # zstd is there


# ---------------------------------------------------------------- mapped


@pytest.mark.parametrize("name", VALUES)
def test_mapped(name, tmp_path):
    path = str(tmp_path / "f")
    joblib.dump(VALUES[name], path)
    for mode in MODES:
        expected, expected_warnings = outcome(joblib.load, path, mmap_mode=mode)
        got, got_warnings = outcome(fastpersist.load, path, mmap_mode=mode)
        assert_same(got, expected)
        assert got_warnings == expected_warnings


def test_writing_through_a_map(tmp_path):
    path = str(tmp_path / "f")
    joblib.dump([np.zeros(10), np.ones(5)], path)
    copied = fastpersist.load(path, mmap_mode="c")
    copied[0][:] = 7
    assert fastpersist.load(path)[0][0] == 0
    written = fastpersist.load(path, mmap_mode="r+")
    written[0][3] = 5
    written[0].flush()
    del written
    assert fastpersist.load(path)[0][3] == 5
    assert joblib.load(path)[0][3] == 5


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_five_thousand_arrays_are_one_map(tmp_path):
    path = str(tmp_path / "f")
    joblib.dump([np.full(3, i) for i in range(5000)], path)
    before = len(os.listdir("/proc/self/fd"))
    mapped = fastpersist.load(path, mmap_mode="r")
    assert len(os.listdir("/proc/self/fd")) - before <= 1
    assert all(isinstance(array, np.memmap) for array in mapped)
    assert mapped[4999].tolist() == [4999] * 3
    assert len({id(array._mmap) for array in mapped}) == 1


# ---------------------------------------------------------------- warnings and errors


def described(result):
    """joblib's outcome, with what differs by design taken out."""
    value, caught = result
    return type(value), caught


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("mode", MODES)
def test_mapping_a_compressed_file_warns(codec, mode, tmp_path):
    path = str(tmp_path / "f")
    joblib.dump(np.arange(3), path, compress=(codec, 1))
    assert described(outcome(fastpersist.load, path, mmap_mode=mode)) == described(
        outcome(joblib.load, path, mmap_mode=mode)
    )
    with open(path, "rb") as file, open(path, "rb") as other:
        assert described(outcome(fastpersist.load, file, mmap_mode=mode)) == described(
            outcome(joblib.load, other, mmap_mode=mode)
        )


class Wrapped(io.BufferedReader):
    def __repr__(self):
        return "<a wrapped file>"


def test_warnings_point_at_the_caller(tmp_path):
    path = str(tmp_path / "f")
    joblib.dump(np.arange(3), path, compress=1)
    plain = io.BytesIO()
    joblib.dump(np.arange(3), plain)
    for make in (lambda: path, lambda: open(path, "rb"), lambda: io.BytesIO(plain.getvalue())):
        source = make()
        with pytest.warns(UserWarning, match="mmap_mode") as caught:
            fastpersist.load(source, mmap_mode="r")
        assert [w.filename for w in caught] == [__file__]
        if source is not path:
            source.close()


def test_a_bytesio_that_was_just_written_is_read_from_its_start():
    buffer = io.BytesIO()
    joblib.dump([1, 2], buffer)
    assert fastpersist.load(buffer) == joblib.load(buffer) == [1, 2]


def test_mapping_a_file_object_warns(tmp_path):
    path = str(tmp_path / "f")
    joblib.dump(np.arange(3), path)
    with open(path, "rb") as file:
        data = file.read()
    for make in (
        lambda: io.BytesIO(data),
        lambda: Wrapped(io.BytesIO(data)),
        lambda: open(path, "rb"),
        lambda: open(path, "rb", buffering=0),
    ):
        with make() as one, make() as other:
            got, got_warnings = outcome(fastpersist.load, one, mmap_mode="r")
            expected, expected_warnings = outcome(joblib.load, other, mmap_mode="r")
        np.testing.assert_array_equal(got, expected)
        assert got_warnings == expected_warnings
        # joblib reads it without a word; here what is a file is mapped.
        assert isinstance(got, np.memmap) == (not got_warnings)


def test_byte_order_and_map_exclude_each_other(tmp_path):
    for load in (fastpersist.load, joblib.load):
        with pytest.raises(ValueError) as error:
            load("/no/such/file", mmap_mode="r+", ensure_native_byte_order=True)
        assert str(error.value) == (
            "Native byte ordering can only be enforced if 'mmap_mode' parameter is set to None, "
            "but got 'mmap_mode=r+' instead."
        )


@pytest.mark.parametrize("codec", [None, *CODECS])
def test_pickles_of_python_2(codec, tmp_path):
    path = str(tmp_path / "f")
    data = b"\x80\x02U\x02\xc3\xa9q\x00."
    if codec:
        with open(path, "wb") as file:
            wrapper = joblib.compressor._COMPRESSORS[codec].compressor_file(file, 1)
            wrapper.write(data)
            wrapper.close()
    else:
        (tmp_path / "f").write_bytes(data)
    got = outcome(fastpersist.load, path)
    assert got == outcome(joblib.load, path)
    assert got[0][0] is ValueError and "python 2" in got[0][1]
    with open(path, "rb") as file, pytest.raises(ValueError) as error:
        fastpersist.load(file)
    assert isinstance(error.value.__cause__, UnicodeDecodeError)


NO_JOBLIB = """
import sys
sys.modules["joblib"] = None
import warnings
import fastpersist, numpy as np
for path in sys.argv[2:]:
    value = fastpersist.load(path)
    assert value["shared"][0] is not None and value["behind"] == "the arrays", path
    assert value["objects"][2]["a"][0].tolist() == [0, 1, 2], path
    if path.endswith(".plain"):
        mapped = fastpersist.load(path, mmap_mode="r")
        assert isinstance(mapped["fortran"], np.memmap)
for kind in ("old", "zf"):
    try:
        fastpersist.load(sys.argv[1] + "/" + kind)
    except ImportError as error:
        assert "pip install joblib" in str(error), error
    else:
        raise AssertionError(kind)
assert sys.modules["joblib"] is None
assert not any(name.startswith(("joblib.", "lz4")) for name in sys.modules)
print("read", len(sys.argv) - 2)
"""


def test_joblib_is_not_needed(tmp_path):
    paths = [str(tmp_path / "f.plain")]
    joblib.dump(small_graph(), paths[0])
    for codec in CODECS:
        paths.append(str(tmp_path / codec))
        joblib.dump(small_graph(), paths[-1], compress=(codec, 1))
    (tmp_path / "old").write_bytes(b"\x80\x02" + old_pickle("NDArrayWrapper"))
    (tmp_path / "zf").write_bytes(zfile(pickle.dumps(1, 2)))
    assert run_python(NO_JOBLIB, tmp_path, *paths) == f"read {len(paths)}\n"


# ---------------------------------------------------------------- damage

REFUSED = (pickle.UnpicklingError, EOFError, ValueError)


@pytest.mark.parametrize("compress", [0, *COMPRESSED[::2]], ids=str)
def test_cut_files_are_refused(compress, tmp_path):
    path = tmp_path / "f"
    joblib.dump([np.arange(3000), small_graph(), "end"], path, compress=compress)
    data = path.read_bytes()
    cuts = {0, 1, 2, *range(len(data) - 20, len(data))}
    cuts |= {random.Random(1).randrange(len(data)) for _ in range(60 * EFFORT)}
    for cut in sorted(cuts):
        path.write_bytes(data[:cut])
        for source in (path, io.BytesIO(data[:cut]), OnlyReads(data[:cut])):
            with pytest.raises(REFUSED) as error:
                fastpersist.load(source)
            if compress and cut > 10:
                assert isinstance(error.value, (TruncatedFileError, EOFError)), (cut, error.value)
        if not compress:
            for mode in "rc":
                with pytest.raises(REFUSED):
                    fastpersist.load(path, mmap_mode=mode)


@pytest.mark.parametrize("compress", [0, *COMPRESSED[::2]], ids=str)
def test_flipped_bits_never_crash(compress, tmp_path):
    path = tmp_path / "f"
    # No array of objects: NumPy's own __setstate__ crashes where its list is shorter than the
    # shape, for pickle and joblib alike.
    value = [np.arange(300), {"a": [1, "b"]}, np.ones((3, 4), order="F"), "end"]
    joblib.dump(value, path, compress=compress)
    data = path.read_bytes()
    rng = random.Random(2)
    for _ in range(300 * EFFORT):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        for mode in (None, "r") if not compress else (None,):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    got = fastpersist.load(path, mmap_mode=mode)
                except Exception:
                    continue
                if compress and compress[0] in ("zlib", "gzip", "bz2", "xz"):
                    assert_isomorphic(value, got)  # what they decode is checked
    gc.collect()


def wrapper_pickle(state, after=b""):
    """A pickle of a NumpyArrayWrapper with this state, and what follows."""

    wrapper = joblib.numpy_pickle.NumpyArrayWrapper.__new__(joblib.numpy_pickle.NumpyArrayWrapper)
    wrapper.__dict__.update(state)
    data = pickle.dumps(wrapper, 2)
    return data[:-1] + after + b"."


GOOD_STATE = {
    "subclass": np.ndarray,
    "shape": (2, 3),
    "order": "C",
    "dtype": np.dtype("f8"),
    "allow_mmap": True,
    "numpy_array_alignment_bytes": 16,
}

BAD_STATES = {
    "no dtype": {"dtype": None},
    "dtype is a str": {"dtype": "f8"},
    "subarray": {"dtype": np.dtype(("f8", (2,)))},
    "itemsize 0": {"dtype": np.dtype("S0")},
    "shape is a list": {"shape": [2, 3]},
    "shape of str": {"shape": ("2", "3")},
    "negative": {"shape": (-1, 3)},
    "2 ** 63": {"shape": (2**63,)},
    "2 ** 62 items": {"shape": (2**62,)},
    "product overflows": {"shape": (2**32, 2**32, 2)},
    "empty product overflows": {"shape": (2**62, 2**62, 0)},
    "many axes": {"shape": (1,) * 100},
    "longer than the file": {"shape": (1 << 40,)},
    "a little longer": {"shape": (2, 4)},
    "order is no str": {"order": 7},
    "no order": {"order": ...},
    "no shape": {"shape": ...},
    "no subclass": {"subclass": ...},
}


@pytest.mark.parametrize("name", BAD_STATES)
@pytest.mark.parametrize("mode", [None, "r"])
def test_states_that_lie(name, mode, tmp_path):
    state = {**GOOD_STATE, **BAD_STATES[name]}
    state = {key: value for key, value in state.items() if value is not ...}
    path = tmp_path / "f"
    path.write_bytes(wrapper_pickle(state, b"\x01\xff" + bytes(48)))
    with pytest.raises((CorruptFileError, pickle.UnpicklingError, EOFError)):
        fastpersist.load(path, mmap_mode=mode)
    with pytest.raises((CorruptFileError, pickle.UnpicklingError, EOFError)):
        with open(path, "rb") as file:
            fastpersist.load(file)


def test_a_good_state_and_damaged_padding():
    good = fastpersist.load(io.BytesIO(wrapper_pickle(GOOD_STATE, b"\x01\xff" + bytes(48))))
    assert_isomorphic(np.zeros((2, 3)), good)
    with pytest.raises(CorruptFileError, match="padding"):
        fastpersist.load(io.BytesIO(wrapper_pickle(GOOD_STATE, b"\x01\xfe" + bytes(48))))


LYING = """
import io, sys
import fastpersist
from peak import peak_kib

class Stream(io.BytesIO):
    def seekable(self):
        return False

with open(sys.argv[1], "rb") as file:
    data = file.read()
fastpersist.load(io.BytesIO(b"N."))
before = peak_kib()
try:
    fastpersist.load(Stream(data))
except Exception as error:
    assert not isinstance(error, MemoryError), error
else:
    raise AssertionError("loaded")
grown = (peak_kib() - before) << 10
assert grown < len(data) + (70 << 20), grown
"""


def test_memory_grows_only_with_what_arrives(tmp_path):
    """A shape of a tebibyte, with 80 MiB behind it, from a stream of unknown length."""
    path = tmp_path / "f"
    state = {**GOOD_STATE, "shape": (1 << 37,)}
    path.write_bytes(wrapper_pickle(state, b"\x01\xff" + bytes(80 << 20)))
    run_python(LYING, path)


def nested_objects(depth):
    """An array of objects that is a joblib stream again, and so on."""
    state = {**GOOD_STATE, "dtype": np.dtype(object), "shape": (1,), "allow_mmap": False}
    data = pickle.dumps(7, 2)
    for _ in range(depth):
        data = wrapper_pickle(state, data)
    return data


def test_depth_of_nested_streams_is_limited():
    assert fastpersist.load(io.BytesIO(nested_objects(1))) == 7
    assert fastpersist.load(io.BytesIO(nested_objects(100))) == 7
    with pytest.raises(CorruptFileError, match="nested"):
        fastpersist.load(io.BytesIO(nested_objects(101)))
    with pytest.raises(CorruptFileError, match="nested"):
        fastpersist.load(io.BytesIO(nested_objects(5000)))


def test_prefixes_and_pickles():
    """No codec's prefix hides a pickle: all that begin alike still load."""
    for value, protocol in (([], 1), ((), 0), ([1], 0), (b"Z" * 0x68, 3), ({}, 1)):
        data = pickle.dumps(value, protocol)
        assert fastpersist.load(io.BytesIO(data)) == value
        assert fastpersist.load(OnlyReads(data)) == value
    # BINBYTES in front, as no pickler writes it: a length whose first bytes are "Z" and "i".
    length = int.from_bytes(b"Zi\0\0", "little")
    data = b"BZi\0\0" + bytes(length) + b"."
    assert fastpersist.load(io.BytesIO(data)) == bytes(length)
    for head in (b"x", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"]\0", b"\x04\x22\x4d\x18"):
        for source in (io.BytesIO(head), OnlyReads(head)):
            with pytest.raises((CorruptFileError, EOFError)):
                fastpersist.load(source)
        with pytest.raises(CorruptFileError):
            fastpersist.load(io.BytesIO(head + b"nonsense" * 10))


def test_warning_names_the_file_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("f", "wb") as file:
        file.write(wrapper_pickle({**GOOD_STATE, "numpy_array_alignment_bytes": None}, bytes(48)))
    with pytest.warns(UserWarning) as caught:
        fastpersist.load("f", mmap_mode="r")
    assert re.search("loaded from the file f is not byte aligned", str(caught[0].message))
