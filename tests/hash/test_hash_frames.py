"""Frames that are equal hash equal, however their blocks lie."""

import numpy as np
import pytest
from fastpersist import hash as hashed

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.models


def frames():
    """The same, made in several ways."""
    rng = np.random.default_rng(1)
    data = rng.random((300, 7))
    names = [f"c{i}" for i in range(7)]
    yield pd.DataFrame(data, columns=names)
    yield pd.DataFrame(data, columns=names, copy=False)
    yield pd.DataFrame(np.asfortranarray(data), columns=names, copy=False)
    yield pd.DataFrame({name: data[:, i] for i, name in enumerate(names)})
    frame = pd.DataFrame(index=pd.RangeIndex(300))
    for i in (6, 0, 3, 1, 2, 5, 4):
        frame[names[i]] = data[:, i]
    yield frame[names]
    yield pd.DataFrame(data[:, ::-1], columns=names[::-1], copy=False)[names]
    yield pd.DataFrame(np.vstack([data, data]), columns=names, copy=False).iloc[:300]
    yield (
        pd.DataFrame(np.vstack([data[::-1], data]), columns=names, copy=False)
        .iloc[299::-1]
        .set_axis(range(300))
    )
    halves = [pd.DataFrame(data[:100], columns=names), pd.DataFrame(data[100:], columns=names)]
    yield pd.concat(halves, ignore_index=True)


def test_blocks_do_not_matter():
    hashes = [hashed(frame) for frame in frames()]
    assert len(set(hashes)) == 1, hashes


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "f8", "c16", "M8[ns]", "?"])
def test_tables_by_row_and_by_column(dtype):
    data = np.random.default_rng(0).integers(0, 2, (270_000, 9)).astype(dtype)
    by_row = pd.DataFrame(data, copy=False)
    by_column = pd.DataFrame({i: data[:, i].copy() for i in range(9)})
    assert hashed(by_row) == hashed(by_column)
    changed = data.copy()
    changed[-1, 8] = changed[0, 0] if changed[-1, 8] != changed[0, 0] else np.zeros(1, dtype)[0]
    if (changed != data).any():
        assert hashed(pd.DataFrame(changed, copy=False)) != hashed(by_row)


def test_mixed_columns():
    def mixed(order):
        columns = {
            "f": np.arange(4.0),
            "g": np.arange(4.0) + 1,
            "i": np.arange(4),
            "o": np.array([1, "a", None, (2,)], dtype=object),
            "s": pd.array(["a", None, "c", "d"], dtype="string"),
            "t": pd.date_range("2020-01-01", periods=4),
            "z": pd.date_range("2020-01-01", periods=4, tz="Europe/Paris"),
            "c": pd.Categorical(["x", "y", "x", None]),
            "n": pd.array([1, None, 3, 4], dtype="Int64"),
            "b": pd.array([True, None, False, True], dtype="boolean"),
            "p": pd.period_range("2020-01", periods=4, freq="M"),
            "v": pd.arrays.IntervalArray.from_breaks(range(5)),
            "e": pd.arrays.SparseArray([0.0, 0.0, 1.0, 0.0]),
        }
        return pd.DataFrame({name: columns[name] for name in order})[sorted(columns)]

    names = list("fgiostzcnbpve")
    frame = mixed(names)
    assert frame.equals(mixed(names[::-1]))
    assert hashed(frame) == hashed(mixed(names[::-1])) == hashed(frame.copy())
    for name in names:
        changed = frame.copy()
        changed[name] = changed[name].to_numpy()[[1, 0, 2, 3]]
        assert hashed(changed) != hashed(frame), name
        assert hashed(frame[name]) == hashed(mixed(names[::-1])[name]), name
        assert hashed(frame[name]) != hashed(frame[name].iloc[[1, 0, 2, 3]]), name


def test_what_lies_below_a_mask_does_not_matter():
    one = pd.array([1, 2, 3], dtype="Int64")
    other = pd.array([1, 7, 3], dtype="Int64")
    one[1] = other[1] = None
    assert hashed(one) == hashed(other)


def test_text_in_chunks():
    pa = pytest.importorskip("pyarrow")
    whole = pd.array(["a", "b", None], dtype=pd.ArrowDtype(pa.string()))
    parts = pd.concat([pd.Series(whole[:1]), pd.Series(whole[1:])], ignore_index=True).array
    assert hashed(whole) == hashed(parts)


def test_what_counts():
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    renamed = frame.rename_axis("rows")
    with_attributes = frame.copy()
    with_attributes.attrs["unit"] = "m"
    different = [
        frame,
        renamed,
        with_attributes,
        frame[["b", "a"]],
        frame.rename(columns={"a": "c"}),
        frame.astype(float),
        frame.astype({"a": "int32"}),
        frame.set_axis([1, 2]),
        frame.iloc[::-1],
        frame.set_flags(allows_duplicate_labels=False),
        frame["a"],
        frame["a"].rename("c"),
        frame.to_numpy(),
        frame.index,
        frame.columns,
    ]
    assert len({hashed(value) for value in different}) == len(different)


def test_indexes():
    assert hashed(pd.RangeIndex(5)) == hashed(pd.Index([0, 1, 2, 3, 4]))
    assert hashed(pd.RangeIndex(1, 9, 3)) == hashed(pd.Index([1, 4, 7]))
    assert hashed(pd.RangeIndex(1, 8, 3)) == hashed(pd.RangeIndex(1, 9, 3))
    assert hashed(pd.RangeIndex(0)) == hashed(pd.Index([], dtype="int64"))
    assert hashed(pd.Index([3])) == hashed(pd.RangeIndex(3, 4))
    assert len(hashed(pd.RangeIndex(10**15))) == 32
    different = [[0, 1, 3], [1, 1, 1], [2, 1, 0], [0, 1], [0, 2], [5]]
    assert len({hashed(pd.Index(values)) for values in different}) == len(different)
    product = pd.MultiIndex.from_product([[1, 2, 3], ["a", "b"]], names=["x", "y"])
    part = product[:2]
    rebuilt = pd.MultiIndex.from_tuples(part.to_list(), names=["x", "y"])
    assert part.equals(rebuilt)
    assert hashed(part) == hashed(rebuilt) != hashed(part.rename(["x", "z"]))


def test_subclasses():
    hashes = {hashed(Sub({"a": [1]})), hashed(Sub({"a": [1]})), hashed(pd.DataFrame({"a": [1]}))}
    assert len(hashes) == 2
    tagged = Sub({"a": [1]})
    tagged.tag = 5
    assert hashed(tagged) != hashed(Sub({"a": [1]}))


class Sub(pd.DataFrame):
    _metadata = ["tag"]

    @property
    def _constructor(self):
        return Sub
