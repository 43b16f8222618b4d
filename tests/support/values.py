"""Named values for every rule of pickle, without NumPy, and a strategy that builds whole graphs."""

import array
import collections
import datetime
import decimal
import fractions
import functools
import ipaddress
import itertools
import math
import operator
import pathlib
import pickle
import re
import sys
import types
import uuid

import sample_classes as s
from hypothesis import strategies as st

# ---------------------------------------------------------------- leaves

BOUNDARIES = sorted(
    {
        sign * ((1 << bits) + near)
        for bits in (0, 7, 8, 15, 16, 30, 31, 32, 60, 62, 63, 64, 127, 128, 2039, 2040, 2041, 8000)
        for near in (-2, -1, 0, 1, 2)
        for sign in (1, -1)
    }
)
INTS = [*BOUNDARIES, 10**100, -(10**100), 1 << 20_000, -(1 << 20_000) + 1]
FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.1,
    1e300,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
    -math.nan,
]
STRS = [
    "",
    "a",
    "key",
    "\x00",
    "\n\\\r\x1a\t\"'",
    "é",
    "ÿ" * 100,
    "€",
    "漢字",
    "😀",
    "\udc80",
    "\ud800x",
    "\ud83d\ude00",
    "a\udfff\U0010ffff",
    "x" * 255,
    "x" * 256,
    "x" * 257,
    "é" * 127,
    "é" * 128,
    "é" * 200,
    "€" * 85,
    "€" * 86,
    "😀" * 64,
    "😀" * 63,
    "a" * 65_535,
    "a" * 65_536,
    "é" * 33_000,
    "\udc80" * 30_000,
    "😀" * 20_000,
    "line\nline\\u0041\\",
    "\\",
    "\u2028\x85",
]
BYTES = [
    b"",
    b"a",
    bytes(range(256)),
    b"x" * 255,
    b"x" * 256,
    b"y" * 65_535,
    b"z" * 65_536,
    b"\xff",
]
BYTES += [b"w" * 100_000]


def leaf_values():
    return {
        "constants": [None, True, False, ..., NotImplemented],
        "ints": INTS,
        "floats": FLOATS,
        "strs": STRS,
        "bytes": BYTES,
        "bytearrays": [bytearray(b) for b in BYTES],
        "complex": [0j, complex(-0.0, math.nan), complex(1.5, -2)],
        "ranges": [range(0), range(5), range(1, 10**30, 7), range(5, -5, -2)],
        "slices": [slice(None), slice(1, 2), slice("a", [1], None)],
    }


# ---------------------------------------------------------------- containers


def shared_and_cyclic():
    def self_list():
        x = []
        x.append(x)
        return x

    def self_dict():
        x = {}
        x["self"] = x
        return x

    def tuple_through_list():
        x = []
        t = (x, 1)
        x.append(t)
        return t

    def long_tuple_through_list():
        x = []
        t = (x, 1, 2, 3, 4, 5)
        x.append(t)
        return t

    def tuple_inside_tuple():
        x = []
        t = ((x,), (x,))
        x.append(t)
        return t

    def frozenset_through_instance():
        x = s.Labelled("in")
        f = frozenset([x, 1])
        x.link = f
        return f

    def set_through_instance():
        x = s.Labelled("in")
        x.link = {x, "other"}
        return x.link

    def frozenset_from_instance():
        return frozenset_through_instance(), s.Plain(a=1)

    def instance_to_itself():
        x = s.Plain()
        x.me = x
        return x

    def reduce_arguments_through_list():
        x = []
        r = s.Reduce(x)
        x.append(r)
        return x

    def newobj_cycle_through_state():
        x = s.NewArgs(5, "label")
        x.me = [x]
        return x

    def list_subclass():
        x = s.ListSub([1])
        x.append(x)
        x.extra = x
        return x

    def dict_subclass():
        x = s.DictSub()
        x["x"] = (x,)
        return x

    def key_cycle():
        x = s.Labelled("key")
        d = {x: 1}
        x.link = d
        return d

    def ordered():
        x = collections.OrderedDict(a=1)
        x["self"] = x
        x.move_to_end("a")
        return x

    def deque():
        x = collections.deque(maxlen=3)
        x.append(x)
        return x

    def default():
        x = collections.defaultdict(list)
        x[1].append(x)
        return x

    def twins():
        a, b = [1], [1]
        return [a, b, a, b, (a,), (a,)]

    def shared_leaves():
        text, data, number, key = "".join(["te", "xt"]), bytes([9, 9, 9]), 1 << 70, ("t", "u")
        return [text, data, number, 1.5, key, bytearray(b"1")] * 3

    def many_shared():
        items = [[i] for i in range(600)]
        return items + items[::-1]

    def interned():
        return [{"key": 1}, {"key": 2}, "key", s.Plain(key=3)]

    return {f.__name__: f for f in list(locals().values())}


def batches():
    """Sizes around those at which pickle starts another batch."""
    sizes = (0, 1, 2, 3, 4, 999, 1000, 1001, 1999, 2000, 2001)
    out = {}
    for n in sizes:
        out[f"list {n}"] = lambda n=n: [f"{i}" for i in range(n)]
        out[f"dict {n}"] = lambda n=n: {i: f"{i}" for i in range(n)}
        out[f"set {n}"] = lambda n=n: set(range(n))
        out[f"frozenset {n}"] = lambda n=n: frozenset(range(n))
        out[f"tuple {n}"] = lambda n=n: tuple(range(n))
        out[f"list subclass {n}"] = lambda n=n: s.ListSub(range(n))
        out[f"dict subclass {n}"] = lambda n=n: s.DictSub.fromkeys(range(n), 1.5)
        out[f"ordered {n}"] = lambda n=n: collections.OrderedDict.fromkeys(range(n))
        out[f"deque {n}"] = lambda n=n: collections.deque(range(n))
        out[f"reduced list items {n}"] = lambda n=n: s.Items(n, None)
        out[f"reduced dict items {n}"] = lambda n=n: s.Items(None, n)
        out[f"reduced both {n}"] = lambda n=n: s.Items(n, n)
    return out


# ---------------------------------------------------------------- instances and names


def slots(cls, **attributes):
    x = cls()
    for name, value in attributes.items():
        setattr(x, name, value)
    return x


def attribute(x, /, **attributes):
    x.__dict__.update(attributes)
    return x


def raised():
    try:
        raise s.CustomError("message", 7) from ValueError("cause")
    except s.CustomError as error:
        error.extra = [1]
        error.add_note("a note")
        return error


def instances():
    x = {
        "plain": lambda: s.Plain(a=1, b=[2]),
        "plain empty": s.Plain,
        "plain non-string key": lambda: attribute(s.Plain(), **{"not an identifier": 1}),
        "one slot unset": s.OneSlot,
        "one slot": lambda: slots(s.OneSlot, a=1),
        "slots": lambda: s.Slots(1, [2]),
        "slots partly set": lambda: s.Slots(1),
        "slots and dict": lambda: attribute(s.SlotsAndDict(1, 2), c=3),
        "slots and empty dict": lambda: s.SlotsAndDict(1),
        "private slots": lambda: s.PrivateSlots("hidden"),
        "empty slots": s.EmptySlots,
        "slots below": lambda: slots(s.SlotsBelow, c=1),
        "dict slot": lambda: attribute(slots(s.DictSlot, a=1), other=2),
        "getstate": lambda: s.GetState({"x": [1]}),
        "falsy states": lambda: [s.FalsyState(v) for v in (0, "", (), [], {}, False, 0.0)],
        "no state": lambda: attribute(s.NoState(), lost=1),
        "state pair": s.StatePair,
        "instance getstate": s.InstanceGetState,
        "reduce": lambda: s.Reduce(1, [2], "three"),
        "reduce no arguments": s.Reduce,
        "reduce_ex": s.ReduceEx,
        "reduce with state": lambda: s.ReduceWithState([1]),
        "reduce to global": lambda: [s.SINGLETON, s.SINGLETON],
        "reduce to str subclass": lambda: s.OTHER_SINGLETON,
        "state setter": lambda: s.StateSetter([1]),
        "getnewargs": lambda: s.NewArgs(3, "three"),
        "getnewargs_ex": lambda: s.NewArgsEx(1, 2, a=3, b=[4]),
        "getnewargs_ex empty": s.NewArgsEx,
        "getnewargs_ex no keywords": lambda: s.NewArgsExNoKeywords(1),
        "metaclass": s.WithMeta,
        "property": s.Property,
        "getattr": s.GetAttr,
        "non-ASCII class": s.Générique,
        "nested class instances": lambda: [s.Outer.Inner(), s.Outer.Inner.Innermost()],
        "dataclass": lambda: s.Data("n", [1, 2]),
        "frozen slotted dataclass": lambda: s.FrozenData("n", 3),
        "slotted dataclass": lambda: s.SlottedData("n", [s.SlottedData("m")]),
        "namedtuple": lambda: [s.Pair(1, [2]), s.Point(1.0), s.Point(1.0, 2.0)],
        "enums": lambda: [*s.Colour, *s.Level, *s.Flags, s.Flags.A | s.Flags.B, s.Colour.RED],
        "int subclass": lambda: attribute(s.IntSub(7), a=1),
        "big int subclass": lambda: s.IntSub(1 << 100),
        "float subclass": lambda: [s.FloatSub(1.5), s.FloatSub("nan")],
        "complex subclass": lambda: s.ComplexSub(1 + 2j),
        "str subclass": lambda: attribute(s.StrSub("text"), a=1),
        "bytes subclass": lambda: attribute(s.BytesSub(b"text"), a=1),
        "bytearray subclass": lambda: attribute(s.BytearraySub(b"text"), a=1),
        "list subclass": lambda: attribute(s.ListSub([1, 2]), a=1),
        "list subclass with slot": lambda: slots(s.ListSubSlots, a=1),
        "tuple subclass": lambda: attribute(s.TupleSub((1, [2])), a=1),
        "dict subclass": lambda: attribute(s.DictSub(a=1), a=1),
        "dict subclass with items": lambda: s.SmartDict(a=1, b=2),
        "set subclass": lambda: attribute(s.SetSub([1]), a=1),
        "frozenset subclass": lambda: attribute(s.FrozensetSub([1]), a=1),
        "OrderedDict": lambda: collections.OrderedDict(b=1, a=[2]),
        "OrderedDict subclass": lambda: attribute(s.OrderedSub(b=1, a=[2]), x=1),
        "defaultdict": lambda: collections.defaultdict(list, a=[1]),
        "defaultdict no factory": lambda: collections.defaultdict(None, a=[1]),
        "defaultdict subclass": lambda: attribute(s.DefaultSub(int, a=1), b=2),
        "deque": lambda: [collections.deque([1, 2]), collections.deque([1, 2], 5)],
        "deque subclass": lambda: attribute(s.DequeSub([1], 3), a=1),
        "Counter": lambda: collections.Counter("abracadabra"),
        "Counter subclass": lambda: attribute(s.CounterSub("abc"), a=1),
        "ChainMap": lambda: collections.ChainMap({"a": 1}, {"b": 2}),
        "UserDict": lambda: collections.UserDict(a=1),
        "UserList": lambda: collections.UserList([1]),
        "UserString": lambda: collections.UserString("text"),
        "SimpleNamespace": lambda: types.SimpleNamespace(a=1, b=[2]),
        "exceptions": lambda: [ValueError(1, "x"), KeyError(), OSError(2, "no", "file")],
        "exception with state": raised,
        "exception group": lambda: ExceptionGroup("many", [ValueError(1), TypeError()]),
        "UnicodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        "datetimes": lambda: [
            datetime.datetime(2026, 11, 22, 1, 2, 3, 4),
            datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC, fold=1),
            datetime.date(1, 1, 1),
            datetime.time(23, 59, fold=1),
            datetime.timedelta(-1, 5, 7),
            datetime.timezone(datetime.timedelta(hours=1), "name"),
        ],
        "decimals": lambda: [decimal.Decimal(t) for t in ("1.50", "-0", "NaN", "Infinity", "1E+9")],
        "fractions": lambda: [fractions.Fraction(1, 3), fractions.Fraction(-(10**40), 7)],
        "UUID": lambda: uuid.UUID(int=5),
        "paths": lambda: [pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("C:/x")],
        "own path": lambda: pathlib.Path("a") / "b.txt",
        "addresses": lambda: [ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")],
        "pattern": lambda: [re.compile("a+", re.I), re.compile(b"x")],
        "array.array": lambda: [array.array("d", [1.5]), array.array("i"), array.array("H", [1])],
        "partial": lambda: functools.partial(s.function, 1, key=[2]),
        "attrgetter": lambda: [operator.attrgetter("a.b"), operator.itemgetter(1, "x")],
        "methodcaller": lambda: operator.methodcaller("name", 1, key=2),
        "iterators": lambda: [iter([1, 2]), iter((1,)), iter(range(3)), reversed([1, 2])],
        "enumerate": lambda: [enumerate(["a"]), zip([1], [2], strict=True), map(s.function, [1])],
        "mappingproxy type": lambda: types.MappingProxyType,
        "GenericAlias": lambda: [list[int], dict[str, "list[int]"]],
        "union": lambda: int | None,
        "NaN once and twice": lambda: [math.nan, [math.nan]],
        "PickleBuffer": lambda: pickle.PickleBuffer(b"read only"),
        "PickleBuffer writable": lambda: pickle.PickleBuffer(bytearray(b"writable")),
        "shared PickleBuffer": lambda: [pickle.PickleBuffer(b"shared")] * 2,
    }
    if sys.version_info < (3, 14):
        x["count"] = itertools.count
    return x


def names():
    """What is pickled by name."""
    return {
        "classes": lambda: [s.Plain, s.Outer, s.Outer.Inner, s.Outer.Inner.Innermost, s.WithMeta],
        "builtin types": lambda: [int, list, object, type, dict, set, frozenset, bytearray, range],
        "singleton types": lambda: [type(None), type(...), type(NotImplemented)],
        "functions": lambda: [s.function, s.set_state, len, sum, math.sin, print, open],
        "lru_cache": lambda: s.cached,
        "methods": lambda: [s.Outer.Inner.method, s.Outer.Inner().method, s.Outer.static],
        "class method": lambda: [s.Outer.klass, dict.fromkeys, int.from_bytes],
        "builtin methods": lambda: [[].append, "".join, {}.get, (1).bit_length, str.join],
        "wrapper": lambda: [list.__len__, [].__len__, object.__init__],
        "exceptions": lambda: [ValueError, OSError, KeyboardInterrupt, s.CustomError, IOError],
        "moved in Python 3": lambda: [
            functools.reduce,
            collections.UserDict,
            itertools.zip_longest,
            range,
            str,
            map,
            chr,
        ],
        "non-ASCII name": lambda: s.Générique,
        "aliases": lambda: [collections.abc.Mapping, s.typing.List, s.typing.Any],
    }


def catalogue():
    """Every named value, as name -> function that builds it anew."""
    out = {}
    for kind, values in leaf_values().items():
        out[kind] = lambda values=values: list(values)
        out[f"{kind} each"] = lambda values=values: [[v] for v in values]
    for group in (shared_and_cyclic(), batches(), instances(), names()):
        out.update(group)
    return out


# ---------------------------------------------------------------- generated graphs

_leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-300, 70_000),
    st.sampled_from(BOUNDARIES),
    st.floats(),
    st.sampled_from(list(FLOATS)),
    st.text(max_size=8),
    st.text(st.characters(codec=None, exclude_categories=[]), max_size=5),
    st.sampled_from(STRS),
    st.binary(max_size=8),
    st.sampled_from(BYTES),
    st.complex_numbers(),
    st.sampled_from([..., NotImplemented, int, s.Plain, s.function, s.Colour.RED, s.Level.LOW]),
    st.datetimes(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
)
_hashable = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 300),
    st.sampled_from(BOUNDARIES),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(STRS),
    st.binary(max_size=8),
    st.dates(),
    st.sampled_from([s.Colour.BLUE, s.Level.HIGH, s.Pair(1, "2"), (1, "two"), frozenset([1])]),
)

# Each makes a node from earlier nodes; hashable ones may then stand in sets and be keys.
_MAKERS = {
    "list": lambda nodes: list(nodes),
    "dict": lambda nodes: dict(enumerate(nodes)),
    "tuple": lambda nodes: tuple(nodes),
    "bytearray": lambda nodes: bytearray(len(nodes)),
    "plain": lambda nodes: s.Plain(**{f"a{i}": n for i, n in enumerate(nodes)}),
    "node": lambda nodes: s.Node(*nodes[:2]),
    "slots": lambda nodes: s.Slots(*nodes[:2]),
    "slots and dict": lambda nodes: attribute(s.SlotsAndDict(*nodes[:2]), rest=nodes[2:]),
    "getstate": lambda nodes: s.GetState(tuple(nodes)),
    "reduce": lambda nodes: s.Reduce(*nodes),
    "reduce with state": lambda nodes: attribute(s.ReduceWithState(), held=nodes),
    "newargs": lambda nodes: s.NewArgs(len(nodes), nodes),
    "newargs ex": lambda nodes: s.NewArgsEx(*nodes, key=nodes[-1:]),
    "state setter": lambda nodes: s.StateSetter(nodes),
    "list subclass": lambda nodes: attribute(s.ListSub(nodes), extra=nodes[:1]),
    "dict subclass": lambda nodes: s.DictSub(enumerate(nodes)),
    "tuple subclass": lambda nodes: s.TupleSub(nodes),
    "ordered": lambda nodes: collections.OrderedDict(enumerate(nodes)),
    "deque": lambda nodes: collections.deque(nodes, 5),
    "default": lambda nodes: collections.defaultdict(list, enumerate(nodes)),
    "namedtuple": lambda nodes: s.Pair(nodes, tuple(nodes)),
    "dataclass": lambda nodes: s.Data("name", list(nodes)),
    "slotted dataclass": lambda nodes: s.SlottedData("name", nodes),
    "exception": lambda nodes: s.CustomError("message", nodes),
    "partial": lambda nodes: functools.partial(s.function, *nodes),
    "namespace": lambda nodes: types.SimpleNamespace(nodes=nodes),
}


@st.composite
def graphs(draw, max_nodes=18):
    """A graph of up to `max_nodes` objects, with sharing and cycles."""
    nodes = draw(st.lists(_leaf, min_size=1, max_size=6))
    hashable = draw(st.lists(_hashable, max_size=4))
    nodes += hashable
    open_ended = []  # nodes that can be given an edge to any later node
    for _ in range(draw(st.integers(1, max_nodes))):
        kind = draw(st.sampled_from(sorted(_MAKERS) + ["set", "frozenset", "labelled", "keyed"]))
        if kind in ("set", "frozenset", "keyed"):
            members = draw(st.lists(st.sampled_from(hashable), max_size=4)) if hashable else []
            if kind == "keyed":
                node = {m: draw(st.sampled_from(nodes)) for m in members}
            else:
                node = (set if kind == "set" else frozenset)(members)
                if kind == "frozenset":
                    hashable.append(node)
        elif kind == "labelled":
            node = s.Labelled(f"label {len(nodes)}")
            node.link = draw(st.sampled_from(nodes))
            hashable.append(node)
        else:
            node = _MAKERS[kind](draw(st.lists(st.sampled_from(nodes), max_size=5)))
        nodes.append(node)
        if isinstance(node, (list, dict, s.Plain, s.Node, s.Labelled, s.Data)):
            open_ended.append(node)
    if open_ended:
        for _ in range(draw(st.integers(0, 6))):
            source = draw(st.sampled_from(open_ended))
            target = draw(st.sampled_from(nodes))
            if isinstance(source, list):
                source.append(target)
            elif isinstance(source, dict):
                source[f"edge {len(source)}"] = target
            elif isinstance(source, s.Data):
                source.items.append(target)
            else:
                source.link = target
    return nodes[-1] if draw(st.booleans()) else nodes
