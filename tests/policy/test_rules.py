"""The rules of the policy: what real objects pickle as passes and comes back equal; what would make
compiled code read or write elsewhere is refused."""

from __future__ import annotations

import collections
import copy
import datetime
import decimal
import fractions
import os
import pickle
import uuid
from typing import Any

import pytest
from fastpersist.policy import rules_numpy, rules_python, rules_scipy
from rules_at_work import STATES, Ruled, ended_by_signal, refused, through_rules

np = pytest.importorskip("numpy")

# Python


@pytest.mark.parametrize(
    "value",
    [
        slice(1, None, 2),
        range(3, 9),
        2 + 3j,
        {1, "a", (2, b"x"), frozenset({3})},
        bytearray(b"abc"),
        b"\xff\x00",
        decimal.Decimal("1.50"),
        fractions.Fraction(-3, 7),
        datetime.date(2024, 2, 29),
        datetime.time(23, 59, 59, 999999),
        datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
        datetime.timedelta(-1, 2, 3),
        datetime.timezone(datetime.timedelta(hours=2), "name"),
        collections.OrderedDict([("b", 1), ("a", 2)]),
        collections.defaultdict(list, {"a": [1]}),
        collections.deque([1, 2], maxlen=5),
        collections.Counter("abca"),
        uuid.UUID(int=5),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_python_values_come_back(value: Any, protocol: int) -> None:
    assert through_rules(value, protocol=protocol) == value


def nested(levels: int) -> Any:
    value: Any = ()
    for _ in range(levels):
        value = (value, value)
    return value


@pytest.mark.parametrize(
    ("rule", "args"),
    [
        ("no_arguments", (1,)),
        ("plain_values", ([],)),
        ("getattr_", ("a", "b")),
        ("slice_", ([],)),
        ("range_", ("1",)),
        ("complex_", ("1",)),
        ("set_from_list", ([[]],)),
        ("set_from_list", ([nested(60)],)),
        ("set_from_list", ([object()],)),
        ("bytearray_", (10**12,)),
        ("bytearray_", ("a", "rot13")),
        ("encode", ("a", "rot13")),
        ("decimal_", (1.5,)),
        ("fraction_", ("1e1000000000",)),
        ("date_", (b"\0\0\1\1",)),
        ("date_", (b"\x07\xe8\x02\x1e",)),
        ("time_", (b"\x18\0\0\0\0\0",)),
        ("datetime_", (b"\x07\xe8\x01\x01\0\0\0\0\0\0", 5)),
        ("timedelta_", (1.5,)),
        ("timezone_", (1,)),
        ("zone_info", ("../../etc/passwd", True)),
        ("zone_info", ("/etc/localtime", True)),
        ("ordered_dict", ([(object(), 1)],)),
        ("defaultdict_", (exec,)),
        ("defaultdict_", (Ruled,)),
        ("deque_", (5,)),
        ("deque_", ((), -1)),
        ("counter_", ([1],)),
        ("enum_value", ([],)),
        ("path_", (1,)),
        ("array_call", ("i", 5)),
    ],
)
def test_python_arguments_are_refused(rule: str, args: tuple[Any, ...]) -> None:
    refused(getattr(rules_python, rule), args)


def test_nested_keys_take_no_exponential_time() -> None:
    value: Any = frozenset()
    for _ in range(60):
        value = frozenset({value, (value,)})
    refused(rules_python.check_hashable, value)


# NumPy


def generators() -> list[Any]:
    random = np.random
    return [
        random.RandomState(3),
        random.default_rng(3),
        *(kind(3) for kind in (random.MT19937, random.PCG64, random.PCG64DXSM, random.Philox,
                               random.SFC64)),
    ]  # fmt: skip


@pytest.mark.parametrize("value", generators(), ids=lambda value: type(value).__name__)
def test_generators_go_on_where_they_were(value: Any) -> None:
    generator = value if hasattr(value, "normal") else np.random.Generator(value)
    generator.normal(size=3)
    # The state of a Generator is None since NumPy 2.
    name = "PCG64" if type(value).__name__ == "Generator" else type(value).__name__
    loaded = through_rules(value, name)
    again = loaded if hasattr(loaded, "normal") else np.random.Generator(loaded)
    assert np.array_equal(again.normal(size=5), generator.normal(size=5))


def mt_state(**changes: Any) -> dict[str, Any]:
    state = copy.deepcopy(np.random.MT19937(1).state)
    state["state"].update(changes)
    return state


@pytest.mark.parametrize(
    "changes",
    [
        {"pos": 625},
        {"pos": -1},
        {"pos": 1 << 31},
        {"pos": "1"},
        {"key": np.zeros(10, np.uint32)},
        {"key": np.zeros((624, 1), np.uint32)},
        {"key": np.zeros(624)},
        {"key": None},
        {"more": 1},
    ],
)
def test_a_position_of_a_generator_is_an_index(changes: dict[str, Any]) -> None:
    refused(rules_numpy.bit_generator_state, np.random.MT19937(1), mt_state(**changes))
    state = {**mt_state(**changes), "has_gauss": 0, "gauss": 0.0}
    refused(rules_numpy.random_state, np.random.RandomState(1), state)


def test_other_states_of_generators() -> None:
    philox = np.random.Philox(1)
    refused(rules_numpy.bit_generator_state, philox, {**philox.state, "buffer_pos": 9})
    refused(rules_numpy.bit_generator_state, philox, np.random.PCG64(1).state)
    refused(rules_numpy.bit_generator_ctor, ("Generator",))
    refused(rules_numpy.bit_generator_ctor, (np.random.Generator,))
    refused(rules_numpy.generator_ctor, (np.random.RandomState(1),))
    refused(rules_numpy.generator_ctor, ("PCG64", print))
    sequence = np.random.SeedSequence(1)
    entropy, children, pool, size, key = sequence.__reduce__()[2]
    for state in [
        (entropy, children, pool, 1 << 15, key),
        (entropy, children, pool[:2].copy(), size, key),
        (entropy, children, pool.astype(float), size, key),
        (object(), children, pool, size, key),
    ]:
        refused(rules_numpy.seed_sequence, sequence, state)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(5),
        np.asfortranarray(np.ones((3, 2), np.float32)),
        np.array(["a", "bc"]),
        np.array([1, "a", None], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2020"], "M8[D]"),
        np.float64(1.5),
        np.datetime64("2020-01-01"),
        np.dtype("M8[ns]"),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', value)}",
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_and_scalars_come_back(value: Any, protocol: int) -> None:
    loaded = through_rules(value, protocol=protocol)
    assert type(loaded) is type(value)
    assert np.array_equal(loaded, value)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    assert np.array_equal(Ruled(data, buffers=buffers).load(), value)


@pytest.mark.parametrize("fields", [None, "i4,i4"])
def test_masked_arrays_come_back(fields: Any) -> None:
    value = np.ma.array([(1, 2), (3, 4)], dtype=fields or "i8", mask=[(0, 1), (1, 0)])
    loaded = through_rules(value, "_mareconstruct", "MaskedArray")
    assert np.array_equal(loaded.data, value.data)
    assert np.array_equal(loaded.mask, value.mask)


@pytest.mark.parametrize(
    ("rule", "args"),
    [
        ("dtype_call", ([("a", "O")], False, True)),
        ("dtype_call", ("T", False, True)),
        ("ndarray_call", ((3,), np.dtype("O"), bytes(24))),
        ("ndarray_call", ((3,), np.dtype("f8"))),
        ("ndarray_call", ((3,), np.dtype("f8"), None)),
        ("ndarray_call", ((-3,), np.dtype("f8"), bytes(24))),
        ("ndarray_call", ((3,), np.dtype("f8"), bytes(24), -8)),
        ("reconstruct_call", (str, (0,), b"b")),
        ("reconstruct_call", (np.ndarray, (1 << 40,), b"O")),
        ("scalar_call", (np.dtype("O"), bytes(8))),
        ("scalar_call", (np.dtype("f8"), bytes(4))),
        ("scalar_call", (np.dtype("f8"),)),
        ("frombuffer_call", (bytes(24), np.dtype("O"), (3,), "C")),
        ("frombuffer_call", (bytes(24), np.dtype("f8"), (3,), "Z")),
        ("frombuffer_call", (bytes(24), np.dtype("f8"), (3,), "C", (0, 0))),
        ("masked_call", (np.ma.MaskedArray, str, (0,), "b")),
        ("masked_call", (np.ndarray, np.ndarray, (0,), "b")),
    ],
)
def test_arguments_of_numpy_are_refused(rule: str, args: tuple[Any, ...]) -> None:
    refused(getattr(rules_numpy, rule), args)


def test_states_of_masked_arrays_are_refused() -> None:
    value = np.ma.array([1, 2, 3])
    state = value.__reduce__()[2]
    for i, wrong in [(1, (5,)), (1, 3), (2, "f8"), (4, b"x"), (5, b""), (6, object())]:
        changed = (*state[:i], wrong, *state[i + 1 :])
        refused(rules_numpy.masked_state, value, changed)


def test_arrays_in_memory_of_others_are_copied() -> None:
    whole = np.arange(10)
    assert rules_numpy.own(whole) is whole
    part = rules_numpy.own(whole[2:5])
    assert part.base is None
    assert np.array_equal(part, [2, 3, 4])
    mapped = np.frombuffer(bytearray(80), np.int64)
    assert not np.shares_memory(rules_numpy.own(mapped), mapped)


# SciPy

sparse = pytest.importorskip("scipy.sparse")

FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]


def matrix(layout: str, kind: str = "matrix") -> Any:
    values = np.zeros((4, 6))
    values[0, 5] = values[2, 1] = values[2, 2] = values[3, 0] = 1.5
    return getattr(sparse, f"{layout}_{kind}")(values)


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("layout", FORMATS)
def test_sparse_matrices_come_back(layout: str, kind: str) -> None:
    value = matrix(layout, kind)
    loaded = through_rules(value, f"{layout}_{kind}")
    assert type(loaded) is type(value)
    assert np.array_equal(loaded.toarray(), value.toarray())


def changed(value: Any, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(value.__dict__), **changes}


def int32(*values: int) -> Any:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("layout", "changes"),
    [
        ("csr", {"indptr": int32(0, 1, 1, 3, 1 << 30)}),
        ("csr", {"indptr": int32(1, 1, 1, 3, 4)}),
        ("csr", {"indptr": int32(0, 3, 1, 3, 4)}),
        ("csr", {"indptr": int32(0, 4)}),
        ("csr", {"indptr": np.array([0, 1, 1, 3, 4.0])}),
        ("csr", {"indices": int32(5, 1, 2, 6)}),
        ("csr", {"indices": int32(-1, 1, 2, 0)}),
        ("csr", {"indices": int32(1, 2)}),
        ("csr", {"data": np.ones(2)}),
        ("csr", {"data": np.array([object()] * 4)}),
        ("csr", {"_shape": (1 << 40, 6)}),
        ("csr", {"_shape": (4, 3)}),
        ("csr", {"_shape": (4,)}),
        ("csr", {"_shape": [4, 6]}),
        ("csr", {"_shape": (-4, 6)}),
        ("csr", {"more": 1}),
        ("csr", {"data": None}),
        ("csc", {"indices": int32(3, 2, 2, 4)}),
        ("csc", {"indptr": int32(0, 1, 2, 3, 3, 3, 100)}),
        ("bsr", {"data": np.ones((4, 3, 2))}),
        ("bsr", {"data": np.ones((4, 0, 0))}),
        ("bsr", {"indptr": int32(0, 99)}),
        ("coo", {"data": np.ones(5)}),
        ("dia", {"offsets": int32(0, 1)}),
        ("dia", {"offsets": int32(*[1 << 30] * 5)}),
        ("lil", {"rows": np.array([[9], [], [1, 2], [0]], object)}),
        ("lil", {"rows": np.array([[5], [], [1], [0]], object)}),
        ("lil", {"rows": np.array([[5], [], [2, 1], [0]], object)}),
        ("dok", {"_dict": {(9, 0): 1.0}}),
        ("dok", {"_dict": {(0, 0): object()}}),
        ("dok", {"_dict": {"a": 1.0}}),
    ],
)
def test_states_of_sparse_matrices_are_refused(layout: str, changes: dict[str, Any]) -> None:
    value = matrix(layout)
    refused(STATES[f"{layout}_matrix"], value, changed(value, **changes))


def test_coordinates_are_within_the_shape() -> None:
    value = matrix("coo")
    state = changed(value)
    if "coords" in state:
        rows, columns = state["coords"]
        for coords in [(rows + 4, columns), (rows, columns - 9), (rows,), (rows[:2], columns)]:
            refused(rules_scipy.coo_state, value, {**state, "coords": coords})
    else:
        refused(rules_scipy.coo_state, value, {**state, "row": state["row"] + 4})


def test_room_behind_the_last_entry_is_cut_off() -> None:
    value = matrix("csr")
    state = changed(value, data=np.ones(9), indices=np.array([5, 1, 2, 0, 99, 99, 7, 7, 7]))
    assert len(rules_scipy.csr_state(value, state)["indices"]) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_without_the_rules_the_process_ends() -> None:
    pieces = {
        "position": """
        generator = numpy.random.MT19937(1)
        state = generator.state
        state["state"]["pos"] = -(1 << 30)
        generator.state = state
        generator.random_raw(10)
        """,
        "indptr": """
        matrix = scipy.sparse.csr_matrix(numpy.eye(3))
        matrix.__dict__["indptr"] = numpy.array([0, 1, 2, 1 << 30], numpy.int32)
        matrix @ numpy.ones(3)
        """,
    }
    assert all(ended_by_signal("import numpy, scipy.sparse", pieces).values())


def test_splines_come_back() -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    x = np.linspace(0, 1, 9)
    for value, rule in [
        (interpolate.make_interp_spline(x, x**2), "BSpline"),
        (interpolate.CubicSpline(x, x**2), "CubicSpline"),
        (interpolate.PchipInterpolator(x, x**2), "PchipInterpolator"),
        (interpolate.PPoly(np.ones((2, 3)), np.arange(4.0)), "PPoly"),
        (interpolate.interp1d(x, x**2), "interp1d"),
    ]:
        loaded = through_rules(value, rule)
        assert np.array_equal(loaded(0.3), value(0.3))


def test_states_of_splines_are_refused() -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    x = np.linspace(0, 1, 9)
    spline = interpolate.make_interp_spline(x, x**2)
    state = spline.__dict__
    knots, values = ("_t", "_c") if "_t" in state else ("t", "c")
    for changes in [
        {"k": 20},
        {"k": -1},
        {"k": 7},
        {knots: state[knots][:4].copy()},
        {knots: state[knots][::-1].copy()},
        {knots: state[knots].astype(int)},
        {knots: np.full(13, np.nan)},
        {values: state[values][:3].copy()},
        {values: state[values].astype(np.float32)},
        {"axis": 5},
        {"extrapolate": object()},
        {"_asarray": print},
        {"more": 1},
    ]:
        refused(rules_scipy.bspline_state, spline, {**state, **changes})
    poly = interpolate.PPoly(np.ones((2, 3)), np.arange(4.0))
    _, slots = poly.__reduce_ex__(5)[2]
    knots, values = ("_x", "_c") if "_x" in slots else ("x", "c")
    for changes in [
        {knots: np.arange(9.0)},
        {knots: np.array([0.0, 2, 1, 3])},
        {values: np.ones((2, 9))},
        {values: np.ones(3)},
        {"axis": 1},
    ]:
        refused(rules_scipy.ppoly_state, poly, (None, {**slots, **changes}))
