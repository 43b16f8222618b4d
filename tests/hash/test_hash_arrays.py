"""Arrays by the bytes that a dump stores."""

import io

import fastpersist
import numpy as np
import pytest
from fastpersist import hash as hashed


def stored(array):
    """The array that a dump of this one loads as."""
    file = io.BytesIO()
    fastpersist.dump(array, file)
    file.seek(0)
    return fastpersist.load(file)


BASE = np.arange(2 * 3 * 4 * 5, dtype="f8").reshape(2, 3, 4, 5)
RECORDS = np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8]})

VIEWS = {
    "C": BASE,
    "F": np.asfortranarray(BASE),
    "transposed": BASE.transpose(2, 0, 3, 1),
    "slice": BASE[:, ::2],
    "slice of F": np.asfortranarray(BASE)[:, 1:],
    "backwards": BASE[::-1, :, ::-1],
    "broadcast": np.broadcast_to(np.arange(5.0), (4, 5)),
    "one element": BASE[:1, :1, :1, :1],
    "axis of one element": BASE[:, :1].transpose(3, 2, 1, 0),
    "column": BASE.reshape(24, 5)[:, 2],
    "odd offset": np.frombuffer(bytes(range(81)), "f8", offset=1),
    "large": np.arange(700_001, dtype="f8"),
    "large slice": np.arange(2_000_003, dtype="f4")[::3],
    "large plane": np.arange(1_500_000, dtype="i4").reshape(1500, 1000)[:, 3:-3],
    "items that no block ends at": np.zeros(400_000, "S7")[::2],
    "swapped": BASE.astype(">f8"),
    "no bytes": np.zeros((0, 3)),
    "no items": np.zeros(3, "S0"),
    "0-d": np.array(1.5),
    "records": np.arange(10).astype([("a", "i8"), ("b", "f4")])[::2],
    "times": np.arange(5).astype("M8[ms]"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_what_they_are_stored_as(name):
    array = VIEWS[name]
    digest = hashed(array)
    if name != "swapped":  # a load swaps them back
        assert digest == hashed(stored(array)) == hashed(stored([array])[0])
    if array.flags.forc or name == "transposed":
        assert digest == hashed(array.copy(order="K"))
    else:
        assert digest == hashed(np.ascontiguousarray(array))
    if array.nbytes:
        changed = np.array(array, order="K" if array.flags.forc else "C")
        changed.reshape(-1).view("u1")[-1:] ^= 1
        assert hashed(changed) != digest or not array.flags.c_contiguous


def test_what_counts():
    same = np.arange(6, dtype="i4")
    different = [
        same,
        same.reshape(2, 3),
        same.reshape(3, 2),
        np.asfortranarray(same.reshape(2, 3)),
        same.astype("u4"),
        same.astype(">i4"),
        same.astype("f4"),
        same.view("f4"),
        same.reshape(1, 6),
        same.tolist(),
        same.astype(object),
        same.view(np.recarray),
        same.tobytes(),
        np.zeros((2, 3, 4), "i4").transpose(0, 2, 1),
        np.zeros((2, 4, 3), "i4"),
        np.zeros((2, 3, 4), "i4").transpose(2, 0, 1).swapaxes(0, 1),
        np.zeros((0, 2)),
        np.zeros((2, 0)),
    ]
    hashes = [hashed(value) for value in different]
    assert len(set(hashes)) == len(hashes) - 1  # the same array, by two ways
    assert hashes[13] == hashes[15]


def test_zeros_and_nans_by_their_bytes():
    assert hashed(np.array([0.0])) != hashed(np.array([-0.0]))
    assert hashed(0.0) != hashed(-0.0)
    nan = np.array([np.nan])
    other = (nan.view("i8") | 1).view("f8")
    assert hashed(nan) == hashed(nan.copy()) != hashed(other)


def test_a_map_is_an_array(tmp_path):
    array = np.arange(1000.0)
    fastpersist.dump(array, tmp_path / "a")
    for mode in ("r", "c"):
        mapped = fastpersist.load(tmp_path / "a", mmap_mode=mode)
        assert hashed(mapped) == hashed(array)


def test_padding_does_not_count():
    one, other = (np.frombuffer(bytearray([fill]) * 160, RECORDS) for fill in (0, 255))
    other["a"], other["b"] = one["a"], one["b"]
    assert one.tobytes() != other.tobytes()
    assert hashed(one) == hashed(other)
    assert hashed(one[2]) == hashed(other[2])


def test_numbers():
    for code in "?bBhHiIlLqQefdgFDG":
        number = np.ones((), code)[()]
        assert hashed(number) == hashed(np.ones(2, code)[1])
        if code not in "gG":
            assert hashed(number) != hashed(number.item())
    assert hashed(np.float32(1)) != hashed(np.float64(1)) != hashed(1.0)
    assert hashed(np.longlong(1)) == hashed(np.int64(1))  # one dtype, whatever it is called
    assert hashed(np.str_("ab")) != hashed("ab")
    assert hashed(np.datetime64(1, "s")) != hashed(np.datetime64(1, "ms"))


def test_dtypes():
    dtypes = ["f4", "f8", ">f8", "S3", "S4", "U3", "M8[s]", "M8[ns]", "V3", RECORDS, "i1,f8"]
    dtypes += [("f4", (2,)), ("f4", (1, 2)), [("a", "i1"), ("b", "f4")], [("a", "i1"), ("c", "f4")]]
    dtypes += [[(("title", "a"), "i1"), ("b", "f4")], np.dtype("i4", metadata={"a": 1}), object]
    hashes = [hashed(np.dtype(dtype)) for dtype in dtypes]
    assert len(set(hashes)) == len(hashes)
    assert hashed(np.dtype("i4", metadata={"a": 1})) == hashed(np.dtype("i4", metadata={"a": 1}))
    assert hashed(np.zeros(2, np.dtype("i4", metadata={"a": 1}))) != hashed(np.zeros(2, "i4"))


def test_object_arrays():
    cells = np.array([[1, "a"], [None, (2,)]], dtype=object)
    assert hashed(cells) == hashed(cells.copy())
    assert hashed(cells) != hashed(cells.T)
    assert hashed(np.asfortranarray(cells)) == hashed(cells.T.copy().T)
    cells[0, 0] = cells
    assert hashed(cells) == hashed(cells)
    mixed = np.array([(1, "a"), (2, [3])], dtype=[("a", "i4"), ("b", object)])
    assert hashed(mixed) == hashed(mixed.copy())


def test_masked_arrays_by_their_reducer():
    data = np.arange(3.0)
    masked = np.ma.array(data, mask=[0, 1, 0])
    assert hashed(masked) == hashed(masked.copy()) != hashed(np.ma.array(data, mask=[1, 0, 0]))


def test_dtypes_of_other_packages():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    one = np.arange(3).astype(ml_dtypes.bfloat16)
    assert hashed(one) == hashed(one.copy())
    assert hashed(one) != hashed(one.astype(np.float16)) != hashed(one.view("V2"))
    assert hashed(one.dtype) != hashed(np.dtype(ml_dtypes.float8_e5m2))
    assert hashed(one[1]) == hashed(one.copy()[1]) != hashed(one[2])
