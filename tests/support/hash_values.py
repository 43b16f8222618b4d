"""Values whose hashes are written down (hash/test_hash_golden.py); a script that prints them."""

import collections
import datetime
import decimal
import functools
import json
import operator

import fastpersist
import numpy as np


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slots:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = 1, "two"


class Reduced:
    def __reduce__(self):
        return Reduced, (), {"state": 1}, iter([1, 2]), iter([("b", 2), ("a", 1)])


Point = collections.namedtuple("Point", "x y")


def cycle():
    items = [1]
    items.append({"up": items})
    return items


def long_cycle():
    """More ways through it than are unfolded."""
    nodes = [Plain(number=i % 7) for i in range(40)]
    for i, node in enumerate(nodes):
        node.others = [nodes[(i + k) % 40] for k in (1, 2, 3)]
        node.set = {*node.others}
    return nodes


RECORD = np.dtype(
    {"names": ["a", "b"], "formats": ["i1", ("f8", (2,))], "offsets": [0, 8], "itemsize": 32}
)

VALUES = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "0": lambda: 0,
    "1": lambda: 1,
    "-1": lambda: -1,
    "largest of 64 bits": lambda: 2**63 - 1,
    "more than 64 bits": lambda: -(2**63) - 1,
    "big": lambda: 3**1000,
    "1.0": lambda: 1.0,
    "nan": lambda: float("nan"),
    "complex": lambda: 1 + 2j,
    "str": lambda: "abc",
    "empty str": lambda: "",
    "str of 64": lambda: "x" * 64,
    "str of 65": lambda: "x" * 65,
    "not ASCII": lambda: "é€\U0001f600",
    "long, not ASCII": lambda: "é€\U0001f600" * 100_000,
    "lone surrogate": lambda: "\ud800",
    "bytes": lambda: b"abc",
    "2 MiB": lambda: b"x" * (2 << 20),
    "2 MiB and 1": lambda: b"x" * ((2 << 20) + 1),
    "bytearray": lambda: bytearray(b"abc"),
    "list": lambda: [1, 2.0, "3"],
    "tuple": lambda: (1, 2.0, "3"),
    "empty": lambda: [[], (), {}, set(), frozenset()],
    "dict": lambda: {"a": 1, 2: "b", None: [], (1, 2): {"c": {}}},
    "large dict": lambda: {i: str(i) for i in range(5000)},
    "set": lambda: {1, "a", (2, 3)},
    "frozenset": lambda: frozenset({1, "a", (2, 3)}),
    "long list": lambda: list(range(100_000)),
    "range": lambda: range(1, 10, 2),
    "slice": lambda: slice(1, None, 2),
    "datetime": lambda: datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
    "Decimal": lambda: decimal.Decimal("1.10"),
    "exception": lambda: ValueError("a", 1),
    "OrderedDict": lambda: collections.OrderedDict(b=1, a=2),
    "defaultdict": lambda: collections.defaultdict(list, b=1, a=2),
    "namedtuple": lambda: Point(1, 2),
    "partial": lambda: functools.partial(operator.add, 1),
    "class": lambda: dict,
    "class of None": lambda: type(None),
    "function": lambda: json.dumps,
    "builtin function": lambda: len,
    "ufunc": lambda: np.add,
    "method": lambda: Plain(a=1).__init__,
    "builtin method": lambda: [1].append,
    "plain": lambda: Plain(a=1, b=[2]),
    "slots": Slots,
    "reduced": Reduced,
    "cycle": cycle,
    "long cycle": long_cycle,
    "array": lambda: np.arange(6, dtype="<f8").reshape(2, 3),
    "array F": lambda: np.asfortranarray(np.arange(6, dtype="<f8").reshape(2, 3)),
    "array of axes in another order": lambda: np.zeros((2, 3, 4), "<i4").transpose(1, 2, 0),
    "large array": lambda: np.arange(500_000, dtype="<i8"),
    "strided": lambda: np.arange(1_000_000, dtype="<i4").reshape(1000, 1000)[::2, ::3],
    "empty array": lambda: np.zeros((0, 3), "<u2"),
    "0-d": lambda: np.array(1, "<i2"),
    "text array": lambda: np.array(["a", "bc"], "<U2"),
    "times": lambda: np.array(["2020-01-01", "NaT"], "<M8[ns]"),
    "objects": lambda: np.array([1, "a", None, [2]], dtype=object),
    "records": lambda: np.zeros(3, RECORD),
    "recarray": lambda: np.zeros(3, RECORD).view(np.recarray),
    "matrix subclass": lambda: np.arange(4, dtype="<f4").view(np.memmap),
    "dtype": lambda: np.dtype("<f4"),
    "record dtype": lambda: RECORD,
    "subarray dtype": lambda: np.dtype(("<f4", (2, 3))),
    "float64": lambda: np.float64(1),
    "bool_": lambda: np.bool_(True),
    "str_": lambda: np.str_("abc"),
    "datetime64": lambda: np.datetime64("2020-01-01", "D"),
}


def pandas_values():
    import pandas as pd

    frame = pd.DataFrame(
        {
            "f": np.arange(5, dtype="<f8"),
            "i": np.arange(5, dtype="<i8"),
            "o": np.array([1, "a", None, 2.0, (3,)], dtype=object),
            "t": pd.to_datetime(["2020-01-01"] * 5).astype("datetime64[ns]"),
            "c": pd.Categorical(["x", "y", "x", None, "y"]),
            "n": pd.array([1, None, 3, 4, 5], dtype="Int64"),
        },
        index=pd.Index(list("abcde"), dtype=object, name="letters"),
    )
    return {
        "frame": frame,
        "series": frame["f"],
        "range index": pd.RangeIndex(3),
        "float index": pd.Index([1.0, 2.5], name="x"),
        "multi index": pd.MultiIndex.from_product([[1, 2], [0.5, 1.5]], names=["a", "b"]),
        "categorical": frame["c"].array,
        "interval": pd.interval_range(0, 3),
        "period": pd.period_range("2020-01", periods=3, freq="M"),
        "time zone": pd.date_range("2020-01-01", periods=3, tz="UTC", unit="ns"),
        "sparse": pd.arrays.SparseArray([0.0, 1.0, 0.0]),
        "Timestamp": pd.Timestamp("2020-01-02"),
    }


def hashes():
    return {name: fastpersist.hash(make()) for name, make in VALUES.items()}


def pandas_hashes():
    return {name: fastpersist.hash(value) for name, value in pandas_values().items()}


if __name__ == "__main__":
    import hash_values

    print(json.dumps(hash_values.hashes()))
