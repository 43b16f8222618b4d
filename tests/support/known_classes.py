"""Classes whose reducers the walk knows, and how to put anything into an instance of each."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import pathlib
import types
import typing
import uuid
import zoneinfo

import sample_classes as s


class ThreeSlots:
    __slots__ = ("a", "b", "c")


class SlotsInherited(ThreeSlots):
    __slots__ = ("d",)


class SlotTwice(ThreeSlots):
    __slots__ = ("a", "e")


class OneSlotAsText:
    __slots__ = "only"


class SlotsAsList:
    __slots__ = ["x", "y"]


class SlotsAsDict:
    __slots__ = {"x": "its docstring", "y": None}


class WeakSlots:
    __slots__ = ("a", "__weakref__")


class SlotHidden(ThreeSlots):
    """A property in front of a slot: what it gives is the state."""

    @property
    def b(self):
        return "from the property"

    @b.setter
    def b(self, value):
        self.c = value


class NewName(str):
    """Its own __new__ takes what pickle gives."""

    def __new__(cls, text, *rest):
        return super().__new__(cls, text)


class Weekday(enum.Enum):
    MONDAY = "a value that is a text"
    TUESDAY = (1, 2)
    FRIDAY = MONDAY


class Size(int, enum.Enum):
    SMALL = 1
    LARGE = 2


class Permission(enum.IntFlag):
    READ = 4
    WRITE = 2


class Text(enum.StrEnum):
    A = "a"
    B = "b"


class ByName(enum.Enum):
    """Written by the name of the member."""

    ONE = 1
    if hasattr(enum, "pickle_by_enum_name"):
        __reduce_ex__ = enum.pickle_by_enum_name
    else:  # before 3.11.4

        def __reduce_ex__(self, protocol):
            return getattr, (self.__class__, self._name_)


class Detailed(enum.Enum):
    EARTH = (5.9, 6.3)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius


class NamedSub(s.Pair):
    """Without __slots__, so with a dictionary."""


class NamedSlots(s.Pair):
    __slots__ = ()


class OwnIteration(s.Pair):
    def __iter__(self):
        return iter(("other", "items"))


class Wide(typing.NamedTuple):
    a: object
    b: object = 2
    c: object = 3
    d: object = 4


Single = collections.namedtuple("Single", "item")
Nothing = collections.namedtuple("Nothing", "")


@dataclasses.dataclass(slots=True, weakref_slot=True)
class Weak:
    item: object


@dataclasses.dataclass(slots=True)
class Base:
    item: object


@dataclasses.dataclass(slots=True)
class Derived(Base):
    other: object = None


class NamespaceSub(types.SimpleNamespace):
    pass


class Day(dt.date):
    """With a dictionary, which no date's reducer looks at."""


class Instant(dt.datetime):
    pass


class Clock(dt.time):
    pass


class Span(dt.timedelta):
    pass


class Amount(decimal.Decimal):
    pass


class Ratio(fractions.Fraction):
    pass


class RatioOfAnything(fractions.Fraction):
    def __new__(cls, numerator=0, denominator=1):
        made = object.__new__(cls)
        made._numerator, made._denominator = numerator, denominator
        return made


class Identity(uuid.UUID):
    pass


class Where(pathlib.PurePosixPath):
    pass


class Zone(dt.tzinfo):
    """Holds anything."""

    def utcoffset(self, when):
        return dt.timedelta(hours=1)


class ZoneByArguments(Zone):
    def __init__(self, name="by arguments"):
        self.name = name

    def __getinitargs__(self):
        return (self.name,)


class OwnReduce:
    def __init__(self, item=None):
        self.item = item

    def __reduce__(self):
        return type(self), (self.item,)


class OwnReduceWithSlots:
    __slots__ = ("item",)

    def __init__(self, item=None):
        self.item = item

    def __reduce__(self):
        return OwnReduceWithSlots, (), {"item": self.item}

    def __setstate__(self, state):
        self.item = state["item"]


class OwnReduceEx:
    def __init__(self, item=None):
        self.item = item

    def __reduce_ex__(self, protocol):
        return OwnReduceEx, (self.item,)


class OwnState:
    def __init__(self, item=None):
        self.item = item

    def __getstate__(self):
        return {"item": self.item}


def slots(cls, **values):
    made = cls.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def attributes(instance, **values):
    instance.__dict__.update(values)
    return instance


# Each makes an instance that holds what it is given; it must be hashable for some.
HOLDERS = {
    "slots": lambda x: slots(ThreeSlots, a=x, c=x),
    "one slot": lambda x: slots(s.OneSlot, a=x),
    "inherited slots": lambda x: slots(SlotsInherited, d=x, b=[x]),
    "slot twice": lambda x: slots(SlotTwice, a=x, e=1),
    "slot as text": lambda x: slots(OneSlotAsText, only=x),
    "slots as list": lambda x: slots(SlotsAsList, x=1, y=x),
    "slots as dict": lambda x: slots(SlotsAsDict, x=1, y=x),
    "weak slots": lambda x: slots(WeakSlots, a=x),
    "hidden slot": lambda x: slots(SlotHidden, a=x),
    "slots and dict": lambda x: attributes(s.SlotsAndDict(x, 2), c=x),
    "dict without slots set": lambda x: attributes(slots(s.DictSlot), c=x),
    "plain": lambda x: attributes(s.Plain(), c=x),
    "private slots": lambda x: s.PrivateSlots(x),
    "slotted dataclass": lambda x: s.SlottedData("name", x),
    "frozen dataclass": lambda x: s.FrozenData("name", x),
    "weak dataclass": Weak,
    "derived dataclass": lambda x: Derived(x, [x]),
    "namedtuple": lambda x: s.Pair(x, x),
    "namedtuple of one": Single,
    "namedtuple of four": lambda x: Wide(1, x),
    "namedtuple with dict": lambda x: attributes(NamedSub(1, x), c=x),
    "namedtuple without dict": lambda x: NamedSlots(x, [x]),
    "namedtuple that iterates": lambda x: OwnIteration(x, 1),
    "typing.NamedTuple": lambda x: s.Point(x, [x]),
    "tuple": lambda x: s.TupleSub([x]),
    "tuple of four": lambda x: s.TupleSub([1, x, x, 2]),
    "tuple with dict": lambda x: attributes(s.TupleSub([x, 2]), c=x),
    "list": lambda x: s.ListSub([x]),
    "list of two": lambda x: s.ListSub([x, x]),
    "list with dict": lambda x: attributes(s.ListSub(), c=x),
    "list with slot": lambda x: attributes_of_slots(s.ListSubSlots([x]), x),
    "dict": lambda x: s.DictSub(a=x),
    "dict of two": lambda x: s.DictSub({"a": 1, 2: x}),
    "dict with dict": lambda x: attributes(s.DictSub(a=[x]), c=x),
    "OrderedDict": lambda x: collections.OrderedDict(a=x),
    "OrderedDict that was moved": lambda x: moved(collections.OrderedDict(a=x, b=2, c=[x])),
    "OrderedDict with dict": lambda x: attributes(collections.OrderedDict(a=1), c=x),
    "OrderedDict subclass": lambda x: attributes(s.OrderedSub(a=x, b=x), c=x),
    "defaultdict": lambda x: collections.defaultdict(list, a=x),
    "defaultdict of nothing": lambda x: collections.defaultdict(None, {1: x, "b": x}),
    "defaultdict subclass": lambda x: attributes(s.DefaultSub(dict, a=x), lost=x),
    "Counter": lambda x: collections.Counter(a=x),
    "Counter of two": lambda x: collections.Counter({"a": 1, 5: x}),
    "Counter subclass": lambda x: attributes(s.CounterSub(a=x), lost=x),
    "deque": lambda x: collections.deque([x]),
    "deque with maxlen": lambda x: collections.deque([1, x], 2),
    "deque subclass": lambda x: attributes(s.DequeSub([1, x], 7), c=x),
    "SimpleNamespace": lambda x: types.SimpleNamespace(a=x, b=1),
    "SimpleNamespace subclass": lambda x: NamespaceSub(a=x),
    "str with dict": lambda x: attributes(s.StrSub("text"), c=x),
    "bytes with dict": lambda x: attributes(s.BytesSub(b"bytes"), c=x),
    "int with dict": lambda x: attributes(s.IntSub(7), c=x),
    "float with dict": lambda x: attributes(s.FloatSub(7.5), c=x),
    "complex with dict": lambda x: attributes(s.ComplexSub(7.5j), c=x),
    "datetime with a zone": lambda x: dt.datetime(2026, 2, 3, tzinfo=attributes(Zone(), c=x)),
    "datetime with a zone, fold": lambda x: dt.datetime(
        2026, 2, 3, fold=1, tzinfo=attributes(ZoneByArguments(), c=x)
    ),
    "time with a zone": lambda x: dt.time(23, 5, tzinfo=attributes(Zone(), c=x)),
    "datetime subclass": lambda x: attributes(
        Instant(2026, 2, 3, tzinfo=attributes(Zone(), c=x)), lost=x
    ),
    "date subclass": lambda x: attributes(Day(2026, 2, 3), lost=x),
    "time subclass": lambda x: attributes(Clock(1, 2, tzinfo=attributes(Zone(), c=x)), lost=x),
    "timedelta subclass": lambda x: attributes(Span(4, 5, 6), lost=x),
    "Decimal subclass": lambda x: attributes(Amount("4.50"), lost=x),
    "Fraction subclass": lambda x: attributes(Ratio(3, 4), lost=x),
    "Fraction of anything": lambda x: RatioOfAnything(x, 3),
    "UUID subclass": lambda x: with_own(Identity(int=5), lost=x),
    "path subclass": lambda x: attributes(Where("a/b"), lost=x),
    "slice": lambda x: slice(x),
    "own __reduce__": OwnReduce,
    "own __reduce__ and slots": OwnReduceWithSlots,
    "own __reduce_ex__": OwnReduceEx,
    "own __getstate__": OwnState,
    "slice of three": lambda x: slice([x], x, None),
    "set with dict": lambda x: attributes(s.SetSub([1]), c=x),
    "frozenset with dict": lambda x: attributes(s.FrozensetSub([1]), c=x),
}

# What holds nothing else, or only what can be hashed.
LEAVES = {
    "no slot set": lambda: slots(ThreeSlots),
    "empty slots": s.EmptySlots,
    "empty namedtuple": Nothing,
    "empty tuple": s.TupleSub,
    "empty list": s.ListSub,
    "empty dict": s.DictSub,
    "empty set": s.SetSub,
    "set of one": lambda: s.SetSub(["item"]),
    "set": lambda: s.SetSub(["item", 2, (3,)]),
    "empty frozenset": s.FrozensetSub,
    "frozenset": lambda: s.FrozensetSub(["item", 2, (3,)]),
    "empty OrderedDict": collections.OrderedDict,
    "empty defaultdict": collections.defaultdict,
    "empty Counter": collections.Counter,
    "empty deque": collections.deque,
    "empty deque with maxlen": lambda: collections.deque(maxlen=0),
    "empty SimpleNamespace": types.SimpleNamespace,
    "empty str": s.StrSub,
    "str": lambda: s.StrSub("text"),
    "str of one": lambda: s.StrSub("t"),
    "str not of ASCII": lambda: s.StrSub("ä€\U0001f600\ud800"),
    "str of 5,000": lambda: s.StrSub("t" * 5000),
    "str of 70,000": lambda: s.StrSub("ü" * 70_000),
    "str with __new__": lambda: NewName("name"),
    "empty bytes": s.BytesSub,
    "bytes of one": lambda: s.BytesSub(b"b"),
    "bytes": lambda: s.BytesSub(b"bytes"),
    "bytes of 300": lambda: s.BytesSub(bytes(300)),
    "bytes of 70,000": lambda: s.BytesSub(bytes(70_000)),
    "int": lambda: s.IntSub(7),
    "int of two bytes": lambda: s.IntSub(1000),
    "negative int": lambda: s.IntSub(-(2**40)),
    "int of 300 bytes": lambda: s.IntSub(2**2399),
    "float": lambda: s.FloatSub("nan"),
    "complex": lambda: s.ComplexSub(2j),
    "complex itself": lambda: complex("-nan-infj"),
    "date": lambda: dt.date(2026, 11, 26),
    "last date": lambda: dt.date.max,
    "datetime": lambda: dt.datetime(2026, 11, 26, 16, 40, 30, 999_999),
    "first datetime": lambda: dt.datetime.min,
    "datetime of UTC": lambda: dt.datetime(2026, 11, 26, tzinfo=dt.UTC),
    "datetime in a fold": lambda: dt.datetime(2026, 10, 25, 2, 30, fold=1),
    "datetime in a zone": lambda: dt.datetime(
        2026, 10, 25, 2, 30, fold=1, tzinfo=dt.timezone(dt.timedelta(hours=1), "one")
    ),
    "datetime of zoneinfo": lambda: dt.datetime(2026, 10, 25, tzinfo=zoneinfo.ZoneInfo("UTC")),
    "time": lambda: dt.time(23, 59, 59, 1),
    "time in a fold": lambda: dt.time(2, 30, fold=1),
    "time of UTC": lambda: dt.time(2, 30, tzinfo=dt.UTC),
    "timedelta": lambda: dt.timedelta(3, 70_000, 5),
    "negative timedelta": lambda: dt.timedelta(-999_999_999),
    "longest timedelta": lambda: dt.timedelta.max,
    "UTC": lambda: dt.UTC,
    "timezone": lambda: dt.timezone(dt.timedelta(minutes=-90)),
    "timezone with a name": lambda: dt.timezone(dt.timedelta(minutes=90), "a name"),
    "Decimal": lambda: decimal.Decimal("-1234.50"),
    "Decimal of one digit": lambda: decimal.Decimal(7),
    "Decimal not a number": lambda: decimal.Decimal("-sNaN123"),
    "Decimal of 20,000 digits": lambda: decimal.Decimal("7" * 20_000),
    "Decimal with exponent": lambda: decimal.Decimal("1E+999999"),
    "Fraction": lambda: fractions.Fraction(-(10**30), 7),
    "UUID": lambda: uuid.UUID(int=2**127 + 5),
    "UUID of zero": lambda: uuid.UUID(int=0),
    "safe UUID": lambda: uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe),
    "range": lambda: range(5),
    "range of large": lambda: range(-(2**70), 2**70, 3),
    "empty slice": lambda: slice(None),
    "PurePosixPath": lambda: pathlib.PurePosixPath("/data", "part", "file.csv"),
    "PurePosixPath of many": lambda: pathlib.PurePosixPath(*"abcde"),
    "PurePosixPath of none": pathlib.PurePosixPath,
    "PureWindowsPath": lambda: pathlib.PureWindowsPath("C:\\data/x"),
    "Path": lambda: pathlib.Path("relative/ä.txt"),
    "Path that was used": lambda: used(pathlib.Path("/relative", "to", "it")),
    "Enum": lambda: s.Colour.BLUE,
    "Enum of a text": lambda: Weekday.MONDAY,
    "Enum of a tuple": lambda: Weekday.TUESDAY,
    "Enum with int": lambda: Size.LARGE,
    "Enum by name": lambda: ByName.ONE,
    "Enum with __init__": lambda: Detailed.EARTH,
    "IntEnum": lambda: s.Level.HIGH,
    "StrEnum": lambda: Text.B,
    "Flag": lambda: s.Flags.A | s.Flags.B,
    "Flag of none": lambda: s.Flags(0),
    "IntFlag": lambda: Permission.READ | Permission.WRITE,
    "IntFlag beyond": lambda: Permission(64),
}
if Permission(64) is not Permission(64):  # before 3.11.4
    del LEAVES["IntFlag beyond"]


def with_own(instance, **values):
    for name, value in values.items():
        object.__setattr__(instance, name, value)
    return instance


def used(path):
    """Its parts are known to it."""
    assert path.parts and str(path) and path.drive == "" and hash(path)
    return path


def attributes_of_slots(made, x):
    made.a = x
    return made


def moved(ordered):
    ordered.move_to_end("a")
    del ordered["b"]
    return ordered
