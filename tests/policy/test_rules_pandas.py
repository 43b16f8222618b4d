"""The rules for pandas: frames come back through them; states that its compiled code would take at
their word are refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from fastpersist.policy import rules_pandas
from rules_at_work import CALLS, STATES, Ruled, by_name, refused

pytestmark = pytest.mark.models

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")

OFFSETS = " ".join(name for name in dir(pd.offsets) if name[0].isupper())

calls: dict[str, Any] = {
    **CALLS,
    "_unpickle_block": rules_pandas.unpickle_block,
    "BlockManager": rules_pandas.block_manager_call,
    "__pyx_unpickle_NDArrayBacked": rules_pandas.nd_backed_call,
    "__pyx_unpickle_IntervalMixin": rules_pandas.interval_call,
    "IntIndex": rules_pandas.int_index_call,
    "BlockIndex": rules_pandas.block_index_call,
    "_unpickle_timestamp": rules_pandas.timestamp_call,
    "_timedelta_unpickle": rules_pandas.timedelta_call,
    "_nat_unpickle": rules_pandas.nat_call,
    "Period": rules_pandas.period_call,
    "Interval": rules_pandas.interval_value_call,
    "StringDtype": rules_pandas.string_dtype_call,
    "PeriodDtype": rules_pandas.text_call,
    **by_name(
        "_new_Index _new_DatetimeIndex _new_TimedeltaIndex _new_IntervalIndex",
        rules_pandas.new_index,
    ),
    **by_name(OFFSETS, rules_pandas.offset_call),
}
states: dict[str, Any] = {
    **STATES,
    "BlockManager": rules_pandas.block_manager_state,
    "SingleBlockManager": rules_pandas.single_manager_state,
    **by_name("DataFrame Series", rules_pandas.frame_state),
    **by_name(" ".join(rules_pandas.ND_BACKED), rules_pandas.nd_backed_state),
    **by_name("IntegerArray FloatingArray BooleanArray", rules_pandas.masked_array_state),
    "IntervalArray": rules_pandas.interval_state,
    "SparseArray": rules_pandas.sparse_array_state,
    "CategoricalDtype": rules_pandas.categorical_dtype_state,
    **by_name("DatetimeTZDtype IntervalDtype SparseDtype Int64Dtype", rules_pandas.dtype_state),
}


def through(value: Any, protocol: int) -> Any:
    return Ruled(pickle.dumps(value, protocol), calls, states).load()


def frame() -> Any:
    days = pd.date_range("2020", periods=3)
    return pd.DataFrame(
        {
            "int": [1, 2, 3],
            "float": [1.0, 2, 3],
            "str": pd.Series(["x", "y", None], dtype=object),
            "category": pd.Categorical(["u", "v", None]),
            "day": days,
            "zone": days.tz_localize("UTC"),
            "delta": pd.timedelta_range(0, periods=3),
            "period": pd.period_range("2020", periods=3, freq="M"),
            "Int64": pd.array([1, None, 3], dtype="Int64"),
            "boolean": pd.array([True, None, False], dtype="boolean"),
            "sparse": pd.arrays.SparseArray([0, 0, 1]),
            "interval": pd.interval_range(0, 3),
            "string": pd.array(["a", None, "b"], dtype="string[python]"),
            "int again": [4, 5, 6],
        }
    )


@pytest.mark.parametrize("protocol", [2, 5])
def test_frames_come_back(protocol: int) -> None:
    whole = frame()
    for value in [
        whole,
        whole.iloc[::2],
        whole[["int again", "int"]],
        whole.set_index(["int", "str"]),
        whole.T,
        pd.DataFrame(),
    ]:
        pd.testing.assert_frame_equal(through(value, protocol), value)
    for name in whole:
        pd.testing.assert_series_equal(through(whole[name], protocol), whole[name])


@pytest.mark.parametrize("protocol", [2, 5])
def test_indexes_and_values_come_back(protocol: int) -> None:
    for value in [
        pd.RangeIndex(3),
        pd.Index([1, 2], name="n"),
        pd.Index(["a"], dtype=object),
        pd.date_range("2020", periods=3, freq="MS"),
        pd.date_range("2020", periods=3, tz="UTC"),
        pd.timedelta_range(0, periods=2),
        pd.period_range("2020", periods=2, freq="D"),
        pd.CategoricalIndex(["a", "b"]),
        pd.IntervalIndex.from_breaks([0, 1, 2]),
        pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["x", None]),
    ]:
        pd.testing.assert_index_equal(through(value, protocol), value)
    for value in [
        pd.Timestamp("2020-01-01 12:00", tz="UTC"),
        pd.Timedelta("1s"),
        pd.Period("2020", "M"),
        pd.Interval(0, 1),
        pd.CategoricalDtype(["a"]),
        pd.DatetimeTZDtype(tz="UTC"),
        pd.PeriodDtype("M"),
        pd.SparseDtype(float),
        pd.offsets.MonthEnd(2),
        pd.offsets.BusinessDay(),
    ]:
        assert through(value, protocol) == value
    assert through(pd.NaT, protocol) is pd.NaT


def test_blocks() -> None:
    values = np.ones((2, 3))
    rules_pandas.unpickle_block((values, slice(0, 2, 1), 2))
    for args in [
        (values, slice(0, 3, 1), 2),
        (values, slice(-1, 1, 1), 2),
        (values, slice(0, 1 << 60, 1), 2),
        (values, slice(0, 2, 0), 2),
        (values, slice("a", 2, 1), 2),
        (values, np.array([0, -1]), 2),
        (values, np.array([0.0, 1]), 2),
        (values, slice(0, 2, 1), 3),
        (values, slice(0, 2, 1), 1),
        (values, [0, 1], 2),
        ([1, 2], slice(0, 2, 1), 2),
        (pd.array([1, 2], dtype="Int64"), slice(0, 2, 1), 2),
        (values,),
    ]:
        refused(rules_pandas.unpickle_block, args)


def test_managers() -> None:
    whole = pd.DataFrame({"a": [1, 2], "b": [1.0, 2], "c": [3, 4]})
    manager = whole._mgr
    _, (blocks, axes), *_ = manager.__reduce__()
    rules_pandas.block_manager_call((blocks, axes))
    for args in [
        (blocks[:1], axes),
        ((*blocks, blocks[0]), axes),
        (blocks, [axes[0][:1], axes[1]]),
        (blocks, [axes[0], axes[1][:1]]),
        (blocks, axes[:1]),
        (blocks, [None, None]),
        ((None,), axes),
        (None, axes),
    ]:
        refused(rules_pandas.block_manager_call, args)
    series = pd.Series([1, 2, 3])
    state = series._mgr.__getstate__()
    rule = rules_pandas.single_manager_state
    rule(series._mgr, state)
    extra = state[3]["0.14.1"]
    for changes in [
        {"axes": [pd.RangeIndex(9)]},
        {"axes": []},
        {"axes": [None]},
        {"blocks": []},
        {"blocks": [None]},
        {"blocks": [{"values": np.ones(3), "mgr_locs": slice(0, 9, 1)}]},
        {"blocks": [{"values": np.ones(9), "mgr_locs": slice(0, 3, 1)}]},
        {"blocks": [{"values": np.ones((1, 3)), "mgr_locs": slice(0, 3, 1)}]},
        {"blocks": extra["blocks"] * 2},
    ]:
        refused(rule, series._mgr, (*state[:3], {"0.14.1": {**extra, **changes}}))
    refused(rule, series._mgr, state[:3])


def test_states_of_frames() -> None:
    for value in (pd.DataFrame({"a": [1]}), pd.Series([1], name="n")):
        state = value.__getstate__()
        other = pd.Series([1])._mgr if type(value) is pd.DataFrame else pd.DataFrame()._mgr
        rules_pandas.frame_state(value, state)
        for changes in [
            {"_mgr": None},
            {"_mgr": other},
            {"_mgr": type(value._mgr).__new__(type(value._mgr))},
            {"_typ": "index"},
            {"_metadata": ["__class__"]},
            {"_flags": {"more": 1}},
            {"more": 1},
        ]:
            refused(rules_pandas.frame_state, value, {**state, **changes})


def test_codes_are_of_categories() -> None:
    value = pd.Categorical(["u", "v", None])
    dtype, codes = value.dtype, value.codes
    for state in [
        (dtype, codes + 3),
        (dtype, codes - 3),
        (dtype, codes.astype(float)),
        (None, codes),
        (np.dtype("i1"), codes),
        (dtype, None),
        (pd.CategoricalDtype(), codes),
        (dtype, codes, {"_validate": 1}),
    ]:
        refused(rules_pandas.nd_backed_state, value, state)
    assert "index" in str(pd.MultiIndex).lower()
    levels, columns = [pd.Index([1, 2])], [np.array([0, 1], np.int8)]
    rule, kind = rules_pandas.new_index, pd.MultiIndex
    rule((kind, {"levels": levels, "codes": columns}))
    for described in [
        {"levels": levels, "codes": [columns[0] + 1]},
        {"levels": levels, "codes": [columns[0] - 2]},
        {"levels": levels * 2, "codes": [columns[0], columns[0][:1]]},
        {"levels": levels * 2, "codes": columns},
        {"levels": [[1, 2]], "codes": columns},
        {"levels": levels, "codes": [[0, 1]]},
        {"levels": [], "codes": []},
        {"levels": levels, "codes": columns, "more": 1},
    ]:
        refused(rule, (kind, described))
    refused(rule, (pd.Index, {"data": object()}))
    refused(rule, (pd.DatetimeIndex, {"data": np.ones(3, np.int8)}))
    refused(rule, (str, {}))
    refused(rule, (kind,))


def test_states_of_arrays() -> None:
    days = pd.date_range("2020", periods=3)._data
    dtype, values = days.dtype, days._ndarray
    for state in [
        (dtype, values.view("i8")),
        (dtype, values.astype("M8[D]")),
        (np.dtype("M8[ms]"), values),
        (dtype, values, {"_freq": print}),
        (dtype, values, {"more": 1}),
        (dtype,),
        dtype,
    ]:
        refused(rules_pandas.nd_backed_state, days, state)
    periods = pd.period_range("2020", periods=3, freq="M").array
    refused(rules_pandas.nd_backed_state, periods, (periods.dtype, np.ones(3, np.int8)))
    texts = pd.array(["a", "b"], dtype="string[python]")
    refused(rules_pandas.nd_backed_state, texts, (texts.dtype, np.array(["a", []], object)))
    integers = pd.array([1, None, 3], dtype="Int64")
    state = integers.__dict__
    for changes in [
        {"_mask": np.zeros(1, bool)},
        {"_mask": np.zeros(3, np.int8)},
        {"_data": np.ones(3)},
        {"_data": np.ones((3, 1), int)},
        {"_data": None},
        {"more": 1},
    ]:
        refused(rules_pandas.masked_array_state, integers, {**state, **changes})
    scattered = pd.arrays.SparseArray([0, 0, 1])
    state = {
        "_sparse_index": scattered.sp_index,
        "_sparse_values": scattered.sp_values,
        "_dtype": scattered.dtype,
    }
    rules_pandas.sparse_array_state(scattered, state)
    for changes in [
        {"_sparse_values": np.ones(0)},
        {"_sparse_index": None},
        {"_dtype": None},
        {"more": 1},
    ]:
        refused(rules_pandas.sparse_array_state, scattered, {**state, **changes})
    between = pd.arrays.IntervalArray.from_breaks([0, 1, 2])
    state = {"_left": np.arange(2), "_right": np.arange(3), "_dtype": between.dtype}
    refused(rules_pandas.interval_state, between, (state,))


def test_positions_of_sparse_arrays() -> None:
    def at(*places: int) -> Any:
        return np.array(places, np.int32)

    rules_pandas.int_index_call((3, at(0, 2)))
    rules_pandas.block_index_call((9, at(0, 4), at(2, 5)))
    for args in [
        (3, at(0, 3)),
        (3, at(-1)),
        (3, at(1, 1)),
        (-1, at()),
        (3, [0]),
        (3, at(0), False),
    ]:
        refused(rules_pandas.int_index_call, args)
    for args in [
        (9, at(0, 4), at(2, 6)),
        (9, at(0, 1), at(2, 5)),
        (9, at(0), at(2, 5)),
        (9, at(-1), at(2)),
        (9, at(0), at(-2)),
        (9, at(0), at(2), False),
    ]:
        refused(rules_pandas.block_index_call, args)


@pytest.mark.parametrize(
    ("rule", "args"),
    [
        ("nd_backed_call", (str, 1, None)),
        ("nd_backed_call", (pd.Categorical, 1, ())),
        ("nd_backed_call", (pd.Index, 1, None)),
        ("interval_call", (str, 1, None)),
        ("timestamp_call", (1 << 70, None, None, 10)),
        ("timestamp_call", (1, None, None, 1 << 20)),
        ("timestamp_call", (1, None, 5, 10)),
        ("timestamp_call", (1, print, None, 10)),
        ("timedelta_call", (1, 99)),
        ("nat_call", (1,)),
        ("period_call", (None, print, 1)),
        ("period_call", (None, "M", 1 << 62)),
        ("interval_value_call", ([], [], "right")),
        ("offset_call", (1 << 40,)),
        ("offset_call", (print,)),
        ("string_dtype_call", ("pyarrow",)),
        ("text_call", (1,)),
    ],
)
def test_arguments_are_refused(rule: str, args: tuple[Any, ...]) -> None:
    refused(getattr(rules_pandas, rule), args)


def test_states_of_dtypes() -> None:
    refused(rules_pandas.categorical_dtype_state, None, {"categories": [1], "ordered": False})
    refused(rules_pandas.categorical_dtype_state, None, {"categories": None, "ordered": "x"})
    zone = pd.DatetimeTZDtype(tz="UTC")
    refused(rules_pandas.dtype_state, zone, {"unit": "xx", "tz": zone.tz})
    refused(rules_pandas.dtype_state, zone, {"unit": "ns", "tz": 5})
    refused(rules_pandas.dtype_state, zone, {"unit": "ns", "tz": zone.tz, "more": 1})
