"""The comparison that the other tests rest on notices every kind of difference."""

import collections
import copy
import math
import pickle

import numpy as np
import pytest
import sample_classes as s
from compare import assert_isomorphic

SHARED = ["shared"]
CYCLE = []
CYCLE.append(CYCLE)

DIFFERENT = {
    "values": ([1], [2]),
    "types": ([1], [True]),
    "int and float": ([1], [1.0]),
    "signs of zero": ([0.0], [-0.0]),
    "order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "lengths": ([1, 2], [1]),
    "sharing lost": ([SHARED, SHARED], [["shared"], ["shared"]]),
    "sharing gained": ([["shared"], ["shared"]], [SHARED, SHARED]),
    "sharing of text lost": (["text" * 9] * 2, ["".join(["text"] * 9) for _ in range(2)]),
    "cycle of another length": ([CYCLE], CYCLE[0]),
    "attributes": (s.Plain(a=1), s.Plain(a=2)),
    "attribute names": (s.Plain(a=1), s.Plain(b=1)),
    "slots": (s.Slots(1, 2), s.Slots(1)),
    "subclass and base": (s.ListSub([1]), [1]),
    "contents of a subclass": (s.ListSub([1]), s.ListSub([2])),
    "contents of a deque": (collections.deque([1]), collections.deque([2])),
    "elements of a set": ({1, 2}, {1, 3}),
    "contents of a set subclass": (s.SetSub([1]), s.SetSub([2])),
    "state of a set subclass": (s.SetSub([1]), type("SetSub", (set,), {})([1])),
    "elements": (np.arange(3), np.array([0, 1, 3])),
    "dtypes": (np.zeros(3), np.zeros(3, "f4")),
    "byte orders": (np.zeros(3, "<f8"), np.zeros(3, ">f8")),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "nan payloads": (
        np.array([0x7FF8000000000001], "u8").view("f8"),
        np.array([0x7FF8000000000002], "u8").view("f8"),
    ),
    "dtype metadata": (np.zeros(1, np.dtype("f8", metadata={"a": 1})), np.zeros(1)),
    "objects in an array": (np.array([1, "x"], object), np.array([1, "y"], object)),
    "masks": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    "scalars": (np.float64(1), np.float32(1)),
    "functions": (s.function, s.cached),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_differences_are_noticed(case):
    with pytest.raises(AssertionError):
        assert_isomorphic(*DIFFERENT[case])


def test_equal_graphs_pass():
    value = [
        SHARED,
        SHARED,
        CYCLE,
        math.nan,
        {"a": (1, 2)},
        s.Slots(1),
        s.SetSub([1]),
        np.arange(3),
        np.ma.array([1, 2], mask=[0, 1]),
        {s.Labelled("x"): 1},
        collections.deque([SHARED]),
    ]
    assert_isomorphic(value, pickle.loads(pickle.dumps(value)))
    assert_isomorphic(value, copy.deepcopy(value))
