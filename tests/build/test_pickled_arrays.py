"""Arrays in pickle's own pickles: what pickle.loads gives is what loads and load give."""

import array
import io
import pickle

import fastpersist
import numpy as np
import pytest
from array_values import everything
from compare import assert_isomorphic

ARRAYS = everything()
_frombuffer = np.arange(3).__reduce_ex__(5)[0]


class Call:
    """Pickled as a call of NumPy's function with these arguments."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return _frombuffer, self.arguments


def outcome(load, data):
    try:
        value = load(data)
    except Exception as error:
        return type(error), str(error)
    if not isinstance(value, np.ndarray):
        return value
    flags = [value.flags.writeable, value.flags.aligned, value.flags.owndata]
    return value.dtype, value.shape, value.strides, flags, value.tobytes(), type(value)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of numpy.matrix
@pytest.mark.filterwarnings("ignore:The chararray class is deprecated")
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("name", ARRAYS, ids=lambda name: name.replace(" ", "_"))
def test_every_array(name, protocol):
    value = ARRAYS[name]()
    try:
        data = pickle.dumps(value, protocol)
        expected = pickle.loads(data)
    except Exception:
        pytest.skip("nothing that pickle can write and read")
    assert_isomorphic(expected, fastpersist.loads(data))


BYTES = bytes(range(48))
F8, I2 = np.dtype("f8"), np.dtype("<i2")
CALLS = {
    "bytes": (BYTES, F8, (2, 3), "C"),
    "bytearray": (bytearray(BYTES), F8, (2, 3), "C"),
    "Fortran": (bytearray(BYTES), I2, (2, 3, 4), "F"),
    "no dimensions": (BYTES[:8], F8, (), "C"),
    "a dimension to be found": (BYTES, F8, (2, -1), "C"),
    "too few": (BYTES, F8, (2, 4), "C"),
    "too many": (BYTES, F8, (2, 2), "C"),
    "half an element": (BYTES[:9], F8, (1,), "C"),
    "empty": (b"", F8, (0,), "C"),
    "empty bytearray": (bytearray(), F8, (0, 3), "C"),
    "any order": (BYTES, F8, (2, 3), "A"),
    "order None": (BYTES, F8, (2, 3), None),
    "kept order": (BYTES, I2, (2, 3, 4), "K", (1, 0, 2)),
    "kept order without axes": (BYTES, I2, (2, 3, 4), "K", None),
    "unknown order": (BYTES, F8, (2, 3), "X"),
    "order of two letters": (BYTES, F8, (2, 3), "CF"),
    "order as bytes": (BYTES, F8, (2, 3), b"C"),
    "a list as shape": (BYTES, F8, [2, 3], "C"),
    "a number as shape": (BYTES, F8, 6, "C"),
    "True in the shape": (BYTES[:8], F8, (True, 1), "C"),
    "a float in the shape": (BYTES, F8, (2.0, 3), "C"),
    "a NumPy number in the shape": (BYTES, F8, (np.int64(2), 3), "C"),
    "huge": (BYTES, F8, (1 << 62, 1 << 62), "C"),
    "a name as dtype": (BYTES, "f8", (6,), "C"),
    "a class as dtype": (BYTES, float, (6,), "C"),
    "foreign order": (BYTES, np.dtype(">f8"), (6,), "C"),
    "fields": (BYTES, np.dtype([("a", "<i4"), ("b", "<i8")]), (4,), "C"),
    "a subarray": (BYTES, np.dtype(("<i4", (2, 2))), (3, 2, 2), "C"),
    "objects": (BYTES, np.dtype(object), (6,), "C"),
    "objects in fields": (BYTES, np.dtype([("a", object)]), (6,), "C"),
    "text": (BYTES, np.dtype("S6"), (8,), "C"),
    "no size": (BYTES, np.dtype("S0"), (1,), "C"),
    "dates": (BYTES, np.dtype("M8[us]"), (6,), "C"),
    "an array.array": (array.array("d", [1.0, 2.0]), F8, (2,), "C"),
    "no buffer": ("text", F8, (2,), "C"),
    "three arguments": (BYTES, F8, (6,)),
    "six arguments": (BYTES, F8, (6,), "C", None, None),
}


@pytest.mark.parametrize("name", CALLS, ids=lambda name: name.replace(" ", "_"))
def test_calls(name):
    """Whatever the arguments are: the array or the exception that NumPy's function gives."""
    for protocol in (2, 5):
        data = pickle.dumps(Call(*CALLS[name]), protocol)
        assert outcome(fastpersist.loads, data) == outcome(pickle.loads, data)


def test_one_buffer_in_two_arrays():
    """They share its memory, as with pickle, and keep it from being resized."""
    buffer = bytearray(BYTES)
    one, two, kept = fastpersist.loads(
        pickle.dumps([Call(buffer, F8, (6,), "C"), Call(buffer, I2, (24,), "C"), buffer], 5)
    )
    one[0] = 7
    assert two[:4].view("f8")[0] == 7 and kept[:8] == np.float64(7).tobytes()
    with pytest.raises(BufferError):
        kept.append(1)
    del one, two
    kept.append(1)


def test_a_function_in_its_place_is_called(monkeypatch):
    data = pickle.dumps(np.arange(3), 5)
    module = __import__(_frombuffer.__module__, fromlist=["_frombuffer"])
    monkeypatch.setattr(module, "_frombuffer", lambda *arguments: "mine")
    assert fastpersist.loads(data) == "mine"


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n_bytes", [(1 << 20) - 1, 3 << 20, (9 << 20) + 17])
def test_large_leaves_by_several_threads(n_bytes, threads, tmp_path):
    data = np.random.default_rng(0).integers(0, 256, n_bytes, "u1")
    value = ["in front", data, data.tobytes(), bytearray(data), data.tobytes().decode("latin1"), 1]
    path = tmp_path / "file"
    with open(path, "wb") as file:
        pickle.dump(value, file, 5)
        pickle.dump("behind", file, 5)
    assert_isomorphic(value, fastpersist.load(path, threads=threads))
    assert_isomorphic(value, fastpersist.load(io.BytesIO(path.read_bytes()), threads=threads))
    for cut in (path.stat().st_size // 3, 2 << 20, 1 << 19):
        with open(path, "rb+") as file:
            file.truncate(cut)
        with pytest.raises(fastpersist.TruncatedFileError) as caught:
            fastpersist.load(path, threads=threads)
        assert caught.value.path == str(path)
