"""Classes that the tests pickle: one for each rule of pickle, importable by name anywhere."""

import collections
import dataclasses
import enum
import functools
import typing


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Node:
    """An instance with a few attributes, for large graphs."""

    def __init__(self, value=None, link=None):
        self.value = value
        self.link = link


class OneSlot:
    __slots__ = ("a",)


class Slots:
    __slots__ = ("a", "b", "__weakref__")

    def __init__(self, a=None, b=None):
        self.a = a
        if b is not None:
            self.b = b


class SlotsAndDict(Slots):
    """Slots of the base class, and a dictionary besides."""


class PrivateSlots:
    __slots__ = ("__hidden", "seen")

    def __init__(self, hidden=None):
        self.__hidden = hidden


class EmptySlots:
    __slots__ = ()


class SlotsBelow(EmptySlots):
    __slots__ = ("c",)


class DictSlot:
    __slots__ = ("a", "__dict__")


class GetState:
    def __init__(self, state=None):
        self.state = state

    def __getstate__(self):
        return ["state", self.state]

    def __setstate__(self, state):
        assert state[0] == "state"
        self.state = state[1]


class FalsyState:
    """Its state is false: before 3.11 pickle would not have stored it."""

    def __init__(self, state=0):
        self.state = state

    def __getstate__(self):
        return self.state

    def __setstate__(self, state):
        self.state = state


class NoState:
    def __getstate__(self):
        return None


class StatePair:
    """A pair (dictionary, slots) from a class's own __getstate__."""

    __slots__ = ("__dict__", "slot")

    def __getstate__(self):
        return {"x": 1}, {"slot": 2}


class InstanceGetState:
    """__getstate__ in the instance's dictionary is not the class's."""

    def __init__(self):
        self.__getstate__ = "not a method"


class Reduce:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return Reduce, self.arguments


class ReduceEx:
    def __init__(self, protocol=None):
        self.protocol = protocol

    def __reduce_ex__(self, protocol):
        return ReduceEx, (protocol,)


class ReduceWithState:
    def __init__(self, argument=None):
        self.argument = argument

    def __reduce__(self):
        return ReduceWithState, (self.argument,), dict(self.__dict__)


class ReduceToGlobal:
    def __reduce__(self):
        return "SINGLETON"


class NamedStr(str):
    """A reducer may return a subclass of str as well."""


class ReduceToStrSubclass:
    def __reduce__(self):
        return NamedStr("OTHER_SINGLETON")


SINGLETON = ReduceToGlobal()
OTHER_SINGLETON = ReduceToStrSubclass()


class Items:
    """A reducer with list items and dictionary items, as many as asked for."""

    def __init__(self, n_list=0, n_dict=0):
        self.n = n_list, n_dict

    def append(self, item):
        self.__dict__.setdefault("listed", []).append(item)

    def extend(self, items):
        for item in items:
            self.append(item)

    def __setitem__(self, key, item):
        self.__dict__.setdefault("mapped", {})[key] = item

    def __reduce__(self):
        n_list, n_dict = self.n
        return (
            Items,
            self.n,
            None,
            (f"item {i}" for i in range(n_list)) if n_list is not None else None,
            ((i, f"value {i}") for i in range(n_dict)) if n_dict is not None else None,
        )


class StateSetter:
    def __init__(self, value=None):
        self.value = value

    def __reduce__(self):
        return StateSetter, (), {"value": self.value}, None, None, set_state


def set_state(instance, state):
    instance.value = state["value"]


class NewArgs(int):
    def __new__(cls, number, label):
        self = super().__new__(cls, number)
        self.label = label
        return self

    def __getnewargs__(self):
        return int(self), self.label


class NewArgsEx:
    def __new__(cls, *arguments, **keywords):
        self = super().__new__(cls)
        self.arguments, self.keywords = arguments, keywords
        return self

    def __getnewargs_ex__(self):
        return self.arguments, self.keywords


class NewArgsExNoKeywords(NewArgsEx):
    def __new__(cls, *arguments):
        return super().__new__(cls, *arguments)

    def __getnewargs_ex__(self):
        return self.arguments, {}


class Labelled:
    """Hashable by a label, so that it may be a key or stand in a set."""

    def __init__(self, label):
        self.label = label
        self.link = None

    def __hash__(self):
        return hash(self.label)

    def __eq__(self, other):
        return type(other) is type(self) and other.label == self.label

    # The label is there before the object goes into a set, also in a cycle.
    def __reduce__(self):
        return Labelled, (self.label,), {"link": self.link}


class IntSub(int):
    pass


class FloatSub(float):
    pass


class ComplexSub(complex):
    pass


class StrSub(str):
    pass


class BytesSub(bytes):
    pass


class BytearraySub(bytearray):
    pass


class ListSub(list):
    pass


class ListSubSlots(list):
    __slots__ = ("a",)


class TupleSub(tuple):
    pass


class DictSub(dict):
    pass


class SetSub(set):
    pass


class FrozensetSub(frozenset):
    pass


class OrderedSub(collections.OrderedDict):
    pass


class DefaultSub(collections.defaultdict):
    pass


class DequeSub(collections.deque):
    pass


class CounterSub(collections.Counter):
    pass


class SmartDict(dict):
    """Its items() is not the dictionary's own."""

    def items(self):
        return [(k, ("seen", v)) for k, v in super().items()]


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Flags(enum.Flag):
    A = enum.auto()
    B = enum.auto()


class Point(typing.NamedTuple):
    x: float
    y: float = 0.0


Pair = collections.namedtuple("Pair", "first second")


@dataclasses.dataclass
class Data:
    name: str
    items: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenData:
    name: str
    number: int = 0


@dataclasses.dataclass(slots=True)
class SlottedData:
    name: str
    link: object = None


class CustomError(Exception):
    def __init__(self, message, code):
        super().__init__(message, code)
        self.code = code


class Meta(type):
    pass


class WithMeta(metaclass=Meta):
    pass


class ReducingMeta(type):
    """A metaclass whose classes pickle by a reducer registered in copyreg."""


class Outer:
    class Inner:
        class Innermost:
            pass

        def method(self):
            return self

    @staticmethod
    def static():
        return "static"

    @classmethod
    def klass(cls):
        return cls


class Property:
    """A state that reads a property and a class attribute must not be confused by either."""

    shared = "class attribute"

    def __init__(self):
        self._value = 1

    @property
    def value(self):
        return self._value


class GetAttr:
    """Answers to any attribute name, as proxies do, but for the special ones."""

    def __init__(self):
        self.real = 1

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


def function(x):
    return x


@functools.lru_cache
def cached(x):
    return x


class Générique:
    """A name outside ASCII."""


class ExtensionClass:
    """Registered with copyreg.add_extension by the tests."""
