"""What people keep: many objects of one kind, without a model around them.

`KINDS` has a builder of `n` objects for each kind; `measure()` times dump, load,
dumps and loads of one beside pickle 5, and beside pyfory where that is installed
and gives the value back.
"""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import gc
import pathlib
import pickle
import types
import uuid
from time import perf_counter

import numpy as np

CASES = ("dump", "load", "dumps", "loads")
LEAST = 0.95  # where a kind has no target: not slower, noise aside


class Slotted:
    __slots__ = ("id", "name", "value")

    def __init__(self, number):
        self.id = number
        self.name = f"user{number}"
        self.value = number * 0.5


@dataclasses.dataclass
class Plain:
    id: int
    name: str
    value: float


@dataclasses.dataclass(slots=True)
class WithSlots:
    id: int
    name: str
    value: float


@dataclasses.dataclass(frozen=True)
class Frozen:
    id: int
    name: str
    value: float


class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    BLUE = 3


Point = collections.namedtuple("Point", "x y name")


class OwnDict(dict):
    pass


class OwnList(list):
    pass


class OwnStr(str):
    pass


class OwnInt(int):
    pass


class WithGetState(Plain):
    def __getstate__(self):
        return {"id": self.id, "name": self.name, "value": self.value}


class WithBoth(WithGetState):
    def __setstate__(self, state):
        self.__dict__.update(state)


class WithReduce:
    def __init__(self, number, name):
        self.number = number
        self.name = name

    def __reduce__(self):
        return WithReduce, (self.number, self.name)


def three(i):
    return i, f"user{i}", i * 0.5


def utc(i):
    return datetime.datetime.fromtimestamp(i * 997 + i / 1024, datetime.UTC)


def day(i):
    return datetime.date.fromordinal(600_000 + i)


EACH = {
    "slotted class": Slotted,
    "dataclass": lambda i: Plain(*three(i)),
    "dataclass, slots": lambda i: WithSlots(*three(i)),
    "dataclass, frozen": lambda i: Frozen(*three(i)),
    "Enum member": lambda i: Colour(i % 3 + 1),
    "namedtuple": lambda i: Point(i, i * 0.5, f"p{i}"),
    "datetime": lambda i: utc(i).replace(tzinfo=None),
    "datetime, UTC": utc,
    "date": day,
    "timedelta": lambda i: datetime.timedelta(i % 1000, i % 86_400, i),
    "Decimal": lambda i: decimal.Decimal(i) / 100,
    "Fraction": lambda i: fractions.Fraction(i, i % 97 + 1),
    "complex": lambda i: complex(i, i * 0.5),
    "UUID": lambda i: uuid.UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128),
    "PurePosixPath": lambda i: pathlib.PurePosixPath(f"/data/part{i % 100}/file{i}.csv"),
    "SimpleNamespace": lambda i: types.SimpleNamespace(id=i, name=f"user{i}", value=i * 0.5),
    "OrderedDict": lambda i: collections.OrderedDict(id=i, name=f"user{i}"),
    "defaultdict": lambda i: collections.defaultdict(list, {i: [i]}),
    "deque": lambda i: collections.deque((i, i + 1, i + 2)),
    "Counter": lambda i: collections.Counter({f"w{i}": 2, "a": i}),
    "set": lambda i: {i, i + 1, i + 2},
    "frozenset": lambda i: frozenset((i, i + 1, i + 2)),
    "range": lambda i: range(i, i + 10),
    "subclass of dict": lambda i: OwnDict(id=i, name=f"user{i}"),
    "subclass of list": lambda i: OwnList((i, i + 1)),
    "subclass of str": lambda i: OwnStr(f"string number {i}"),
    "subclass of int": OwnInt,
    "own __getstate__": lambda i: WithGetState(*three(i)),
    "own __getstate__ and __setstate__": lambda i: WithBoth(*three(i)),
    "own __reduce__": lambda i: WithReduce(i, f"user{i}"),
    "NumPy scalars": np.float64,
    "int of 100 bits": lambda i: (1 << 99) + i * 0x9E3779B97F4A7C15,
}


def listed(each):
    return lambda n: [each(i) for i in range(n)]


def object_array(n):
    value = np.empty(n, dtype=object)
    value[:] = [f"string number {i}" for i in range(n)]
    return value


def long_text(n):
    """A fifth of `n` str of 1,000 characters, of two bytes each in UTF-8."""
    return [f"{i:06}" + "é" * 994 for i in range(n // 5)]


def huge_text(n):
    """Ten str, of 400 bytes in all for each of `n`: 40 MB of 100,000."""
    return [f"{i}" + "ж" * (n * 20) for i in range(10)]


def encoded_before(make):
    """As after a first pickle, which leaves the UTF-8 in each str."""

    def build(n):
        value = make(n)
        pickle.dumps(value, 5)
        return value

    return build


KINDS = {kind: listed(each) for kind, each in EACH.items()}
KINDS |= {
    "object array of str": object_array,
    "long non-ASCII str": long_text,
    "ten huge non-ASCII str": huge_text,
    "long non-ASCII str, encoded before": encoded_before(long_text),
}
# Made anew for each timing: what one writer leaves in an object must not help another.
FRESH = ("long non-ASCII str", "ten huge non-ASCII str")

# The smallest ratio of pickle's time to ours, of a dump to a file.
DUMP_TARGETS = {
    **dict.fromkeys(("slotted class", "dataclass, slots"), 5),
    **dict.fromkeys(("namedtuple", "Enum member", "datetime", "datetime, UTC", "timedelta"), 3),
    **dict.fromkeys(("OrderedDict", "defaultdict", "deque", "Counter"), 2.5),
    **dict.fromkeys(("Decimal", "range", "complex"), 2.5),
    **{f"subclass of {base}": 2.5 for base in ("dict", "list", "str", "int")},
    "SimpleNamespace": 2,
    **dict.fromkeys(("UUID", "Fraction", "PurePosixPath"), 1.5),
    "own __getstate__": 1.5,
    "own __getstate__ and __setstate__": 1.5,
    "own __reduce__": 1.5,
    **dict.fromkeys(FRESH, 1.5),
}
TARGETS = {(kind, case, "pickle"): LEAST for kind in KINDS for case in CASES}
TARGETS |= {(kind, "dump", "pickle"): least for kind, least in DUMP_TARGETS.items()}
TARGETS |= {(kind, "dumps", "pickle"): 1.3 for kind in DUMP_TARGETS}
TARGETS |= {(kind, "dumps", "pickle"): 1.5 for kind in FRESH}


def pyfory_pair(value):
    """Functions that serialize and deserialize, or None: not installed, or it cannot."""
    try:
        import pyfory

        # The name and the option differ between its versions.
        fory = pyfory.Fory(ref=True, strict=False)
        if type(fory.deserialize(fory.serialize(value))) is not type(value):
            return None
    except Exception:  # no peer is required to know a type
        return None
    return fory.serialize, fory.deserialize


def writer_of(serialize):
    def write(value, path):
        with open(path, "wb") as file:
            file.write(serialize(value))

    return write


def reader_of(deserialize):
    def read(path):
        with open(path, "rb") as file:
            return deserialize(file.read())

    return read


def pickle_to_file(value, path):
    with open(path, "wb") as file:
        pickle.dump(value, file, protocol=5)


def pickle_from_file(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def best_of(turns, repeat, make=None):
    """Best seconds by name. `turns`: a function and its arguments each.

    `make`: the first argument is what it returns, each time.
    """
    best = dict.fromkeys(turns, float("inf"))
    for _ in range(repeat):
        for name, (function, *arguments) in turns.items():
            if make is not None:
                arguments[0] = make()
            gc.collect()
            start = perf_counter()
            result = function(*arguments)
            best[name] = min(best[name], perf_counter() - start)
            del result
    return best


def check(kind, value, back):
    """What was read back is what was kept, as far as the types and a few items say."""
    same = type(back) is type(value) and len(back) == len(value)
    if not same or pickle.dumps(list(back[:100]), 5) != pickle.dumps(list(value[:100]), 5):
        raise AssertionError(f"{kind}: came back as another value")


def measure(kind, n, directory, repeat):
    """Times by case: best seconds of "ours" and of each peer."""
    import fastpersist

    value = KINDS[kind](n)
    files = {name: directory / f"{name}.file" for name in ("ours", "pickle", "pyfory")}
    dump = {
        "pickle": (pickle_to_file, value, files["pickle"]),
        "ours": (fastpersist.dump, value, files["ours"]),
    }
    dumps = {"pickle": (pickle.dumps, value, 5), "ours": (fastpersist.dumps, value)}
    pair = pyfory_pair(value)
    if pair is not None:
        serialize, deserialize = pair
        dump["pyfory"] = (writer_of(serialize), value, files["pyfory"])
        dumps["pyfory"] = (serialize, value)
    make = (lambda: KINDS[kind](n)) if kind in FRESH else None
    best = {"dump": best_of(dump, repeat, make), "dumps": best_of(dumps, repeat, make)}

    load = {
        "pickle": (pickle_from_file, files["pickle"]),
        "ours": (fastpersist.load, files["ours"]),
    }
    loads = {
        "pickle": (pickle.loads, pickle.dumps(value, 5)),
        "ours": (fastpersist.loads, fastpersist.dumps(value)),
    }
    if pair is not None:
        load["pyfory"] = (reader_of(deserialize), files["pyfory"])
        loads["pyfory"] = (deserialize, serialize(value))
    check(kind, value, fastpersist.load(files["ours"]))
    best["load"] = best_of(load, repeat)
    best["loads"] = best_of(loads, repeat)
    return {case: best[case] for case in CASES}
