"""Classes whose reducers are not asked: what is written is what they would have returned."""

import abc
import collections
import copyreg
import datetime as dt
import decimal
import enum
import fractions
import inspect
import io
import pathlib
import pickle
import sys
import types
import uuid

import fastpersist
import known_classes as k
import pytest
import sample_classes as s
from compare import assert_isomorphic
from helpers import (
    NIGHT,
    assert_same_pickle,
    examples,
    file_bytes,
    outcome_of_dump,
    pickler_bytes,
    same_bytes,
)
from hypothesis import given
from hypothesis import strategies as st

HOLDERS, LEAVES = k.HOLDERS, k.LEAVES


def for_each(kinds):
    """The test is run with each of them, in one go; the one that fails is named."""

    def decorate(test):
        first, *others = inspect.signature(test).parameters.values()

        def run(**arguments):
            for name, kind in kinds.items():
                try:
                    test(**{first.name: kind}, **arguments)
                except BaseException as error:
                    error.add_note(f"with {name!r}")
                    raise

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        run.__signature__ = inspect.Signature(others)
        return run

    return decorate


def assert_same(build):
    """pickle's bytes, and its object out of the file; built anew, so that nothing is shared with
    an earlier walk.
    """
    assert_same_pickle(build())
    assert_same_file(build())


def assert_same_file(value):
    expected = pickle.loads(pickle.dumps(value, 5))
    written = file_bytes(value)
    assert_isomorphic(expected, pickle.loads(written))
    assert_isomorphic(expected, fastpersist.load(io.BytesIO(written)))


# ---------------------------------------------------------------- as they are


@pytest.mark.parametrize("content", [None, 1.5, "a text", ("a", "tuple"), 10**30, True])
@for_each(HOLDERS)
def test_holders(hold, content):
    assert_same(lambda: hold(content))
    assert_same(lambda: [hold(content), hold(content)])


@for_each(HOLDERS)
def test_holders_of_what_is_new(hold):
    assert_same(lambda: [hold([i, {"key": str(i)}, f"text {i}"]) for i in range(3)])


@for_each(HOLDERS)
def test_holders_within_each_other(hold):
    for other in HOLDERS.values():
        assert_same_pickle(hold(other(hold([1]))))


@for_each(HOLDERS)
def test_holders_that_are_shared(hold):
    def build():
        shared = [1, "shared"]
        one = hold(shared)
        return [one, shared, hold(shared), one, {"again": one}, (one, one)]

    assert_same(build)


@for_each(HOLDERS)
def test_holders_in_a_cycle(hold):
    def build():
        items = []
        items.append(hold(items))
        items.append(items[0])
        return items

    assert_same_pickle(build())
    assert_same_pickle(build()[0])
    written = file_bytes(build())
    # What depends on its own arguments may be another object for each of them.
    assert same_bytes(
        pickle.dumps(pickle.loads(written)), pickle.dumps(pickle.loads(pickle.dumps(build())))
    )


@for_each(HOLDERS)
def test_the_dictionary_of_a_holder_met_elsewhere(hold):
    def build(first):
        held = hold(["x"])
        extra = getattr(held, "__dict__", None)
        return [held, extra] if first else [extra, held]

    assert_same(lambda: build(True))
    assert_same_pickle(build(False))


@for_each(LEAVES)
def test_leaves(make):
    assert_same(make)
    assert_same(lambda: [make(), make()])


@for_each(LEAVES)
def test_leaves_that_are_shared(make):
    def build():
        leaf = make()
        return [leaf, [leaf], leaf, {"again": leaf}, "text", "t", b"", b"b", ""]

    assert_same(build)


@for_each(LEAVES)
def test_leaves_after_what_they_may_share(make):
    assert_same_pickle(["text", "t", "", b"", b"b", b"bytes", (), 1000, "item", make()])


@for_each(HOLDERS)
def test_leaves_in_holders(hold):
    assert_same(lambda: [hold(make()) for make in LEAVES.values()])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@for_each(HOLDERS)
def test_frames(hold, protocol):
    """More than fits into one frame of pickle, whose ends may fall anywhere."""
    for n in range((8 if NIGHT else 3) if protocol == 5 else 1):
        value = ["x" * n, [hold(f"{i} and more") for i in range(1800)]]
        expected = pickle.dumps(value, protocol)
        assert same_bytes(fastpersist.dumps(value, protocol), expected)


@for_each(LEAVES)
def test_frames_of_leaves(make):
    for n in range(3 if NIGHT else 1):
        n_items = max(5, min(4000, 300_000 // len(pickle.dumps(make()))))
        value = ["x" * n, [make() for _ in range(n_items)]]
        assert same_bytes(fastpersist.dumps(value, 5), pickle.dumps(value, 5))


SIZES = [0, 1, 2, 3, 4, 5, 999, 1000, 1001, 1002, 2000, 2001, 3500]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("with_dict", [False, True])
def test_sizes(n, with_dict):
    kinds = [
        *(lambda x, c=c: c(x) for c in (s.ListSub, s.TupleSub, s.SetSub, s.FrozensetSub)),
        lambda x: s.DequeSub(x),
        lambda x: s.DequeSub(x, 1000),
        lambda x: s.DictSub(dict.fromkeys(x, "v")),
        lambda x: s.OrderedSub(dict.fromkeys(x, "v")),
        lambda x: s.DefaultSub(int, dict.fromkeys(x, "v")),
        lambda x: s.CounterSub(dict.fromkeys(x, "v")),
        lambda x: k.NamespaceSub(**{f"_{i}": i for i in x}),
    ]
    for kind in kinds:
        value = kind(range(n))
        if with_dict:
            k.attributes(value, a=1, b=[2])
        assert_same_pickle(value, [2, 4, 5])
        assert_same_pickle([kind([f"{i}" for i in range(n)])], [5])
        assert_same_file(value)


@pytest.mark.parametrize("n", [998, 999, 1000, 1001])
def test_many_slots(n):
    cls = type("Many", (), {"__slots__": tuple(f"s{i}" for i in range(n)), "__module__": __name__})
    globals()["Many"] = cls
    try:
        value = k.slots(cls, **{f"s{i}": i for i in range(n)})
        assert_same_pickle(value)
        assert_same_file(value)
    finally:
        del globals()["Many"]


def test_many_classes():
    """More of them than any cache has places for."""
    names = [f"Class{i}" for i in range(300)]
    for name in names:
        members = {"__slots__": ("own",), "__module__": __name__}
        globals()[name] = type(name, (k.ThreeSlots,), members)
    try:
        value = [k.slots(globals()[name], a=1, own=name) for name in names * 3]
        assert_same_pickle(value, [2, 5])
        assert_same_file(value)
    finally:
        for name in names:
            del globals()[name]


@for_each(HOLDERS)
def test_deep(hold):
    def build():
        value = None
        for _ in range(300):
            value = hold(value)
        return value

    assert_same_pickle(build(), [4])


# ---------------------------------------------------------------- that nobody is asked


def python_calls(function, *arguments):
    """The Python functions that ran, by name."""
    names = []

    def note(frame, event, _argument):
        if event == "call":
            names.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return names


OF_BYTES = ("bytes", "date", "time")  # which protocol 2 cannot name
ASKED = {
    "hidden slot",  # the property is
    "private slots",  # copyreg knows how they are called
    "slots as dict",
    "frozen dataclass",
    "namedtuple that iterates",
    "Enum by name",
    "datetime with a zone, fold",
    "datetime of zoneinfo",
    "safe UUID",
    "own __reduce__",
    "own __reduce__ and slots",
    "own __reduce_ex__",
    "own __getstate__",
}
if sys.version_info[:2] == (3, 12):  # takes its parts from what it has parsed
    ASKED.update(name for name in [*HOLDERS, *LEAVES] if "ath" in name)


# Before 3.11.4 a member is written by its name, and asked for it.
EARLY_ENUM = "_name_" in enum.Enum.__reduce_ex__.__code__.co_names


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_reducer_is_called(protocol):
    calls = {}
    kinds = {**LEAVES, **{name: lambda hold=hold: hold([1]) for name, hold in HOLDERS.items()}}
    for name, make in kinds.items():
        if name in ASKED or (protocol == 2 and any(word in name for word in OF_BYTES)):
            continue
        value = make()
        if EARLY_ENUM and isinstance(value, enum.Enum):
            continue
        calls[name] = python_calls(fastpersist.dumps, value, protocol)
    assert {name: called for name, called in calls.items() if called} == {}


def test_a_class_is_left_as_it_is():
    cls = type("Fresh", (), {"__slots__": ("a",), "__module__": __name__})
    globals()["Fresh"] = cls
    try:
        file_bytes(k.slots(cls, a=1))
        assert "__slotnames__" not in cls.__dict__
    finally:
        del globals()["Fresh"]


# ---------------------------------------------------------------- overridden


def reduce_to_text(instance):
    return str, (type(instance).__name__,)


KINDS = {
    name: make
    for name, make in {
        **{name: lambda hold=hold: hold("held") for name, hold in HOLDERS.items()},
        **LEAVES,
    }.items()
    if "with __new__" not in name
}


@for_each(KINDS)
def test_registered_in_copyreg(kind):
    value = [kind(), kind()]
    cls = type(value[0])
    before = copyreg.dispatch_table.pop(cls, None)  # complex has one
    copyreg.pickle(cls, reduce_to_text)
    try:
        assert_same_pickle(value)
        assert pickle.loads(file_bytes(value)) == [cls.__name__] * 2
    finally:
        del copyreg.dispatch_table[cls]
        if before is not None:
            copyreg.dispatch_table[cls] = before
    assert_same_pickle(value)


def pickled_by(pickler_type, value, protocol):
    file = io.BytesIO()
    pickler_type(file, protocol).dump(value)
    return file.getvalue()


def in_both(value, **members):
    """The bytes of a subclass of each Pickler that has these members."""
    return [
        pickled_by(type("P", (base,), members), value, protocol)
        for base in (fastpersist.Pickler, pickle.Pickler)
        for protocol in (2, 5)
    ]


@for_each(KINDS)
def test_a_dispatch_table_of_the_pickler(kind):
    value = [kind(), kind()]
    got = in_both(value, dispatch_table={type(value[0]): reduce_to_text})
    assert got[:2] == got[2:]
    got = in_both(value, dispatch_table={})
    assert got[:2] == got[2:]


@for_each(KINDS)
def test_reducer_override(kind):
    value = [kind(), kind()]
    cls = type(value[0])

    def reducer_override(_self, instance):
        return reduce_to_text(instance) if type(instance) is cls else NotImplemented

    got = in_both(value, reducer_override=reducer_override)
    assert got[:2] == got[2:]
    got = in_both(value, reducer_override=lambda _self, _instance: NotImplemented)
    assert got[:2] == got[2:]


@for_each(KINDS)
def test_persistent_ids(kind):
    seen = []

    def persistent_id(_self, instance):
        seen.append((type(instance), repr(instance)[:20]))
        return "the id" if instance == "held" else None

    value = [kind(), kind()]
    got = in_both(value, persistent_id=persistent_id)
    assert got[:2] == got[2:]
    half = len(seen) // 2
    assert [t for t, _ in seen[:half]] == [t for t, _ in seen[half:]]


@for_each(KINDS)
def test_the_memo_of_a_pickler(kind):
    """Two dumps of one Pickler."""
    value = kind()
    files = io.BytesIO(), io.BytesIO()
    picklers = [
        pickler(file, 5)
        for pickler, file in zip((fastpersist.Pickler, pickle.Pickler), files, strict=True)
    ]
    for pickler in picklers:
        pickler.dump([value])
        pickler.dump([value, kind()])
    assert same_bytes(*(file.getvalue() for file in files))
    assert len(picklers[0].memo.copy()) == len(picklers[1].memo.copy())


METHODS = {
    "__reduce_ex__": lambda self, protocol: (str, ("reduce_ex",)),
    "__reduce__": lambda self: (str, ("reduce",)),
    "__getstate__": lambda self: ("a", "state"),
    "__getnewargs__": lambda self: (),
    "__getnewargs_ex__": lambda self: ((), {}),
    "__iter__": lambda self: iter(["other", "items"]),
    "items": lambda self: [("other", "items")],
    "keys": lambda self: ["other"],
    "__getattribute__": lambda self, name: getattr_of(self, name),
    "__getattr__": lambda self, name: getattr_of(self, name),
    "__class__": property(lambda self: str),
    "_value_": property(lambda self: "other value"),
    "__slotnames__": ["__doc__"],
    "__dict__": property(lambda self: {"other": "dictionary"}),
    "__len__": lambda self: 0,
    "maxlen": 5,
    "default_factory": str,
}


def getattr_of(instance, name):
    if name == "__reduce_ex__":
        return lambda protocol: (str, ("from getattr",))
    return object.__getattribute__(instance, name)


def same_outcomes(value, protocols=(2, 3, 4, 5)):
    for protocol in protocols:
        expected = outcome_of_dump(pickle.dumps, value, protocol)
        got = outcome_of_dump(fastpersist.dumps, value, protocol)
        assert same_bytes(got, expected), protocol
        got = outcome_of_dump(pickler_bytes, value, protocol)
        assert same_bytes(got, expected), protocol
    if isinstance(expected, bytes):
        loaded = outcome_of_dump(pickle.loads, expected)
        got = outcome_of_dump(lambda: pickle.loads(file_bytes(value)))
        if isinstance(loaded, tuple) and len(loaded) > 1 and isinstance(loaded[0], type):
            assert got[0] is loaded[0]
        else:
            assert same_bytes(
                outcome_of_dump(pickle.dumps, got), outcome_of_dump(pickle.dumps, loaded)
            )
    else:
        assert outcome_of_dump(file_bytes, value)[0] is expected[0]


def of_subclass(value, sub):
    """The same value as an instance of the subclass, or None where there can be none."""
    try:
        object.__setattr__(value, "__class__", sub)
        return value
    except TypeError:
        pass
    if isinstance(value, uuid.UUID):
        return sub(int=value.int)
    for take in (lambda: sub(value), lambda: sub(*value.__reduce_ex__(5)[1])):
        try:
            return take()
        except TypeError:
            pass
    return None


@pytest.mark.parametrize("method", METHODS)
def test_a_subclass_that_overrides(method):
    n_made = 0
    for make in KINDS.values():
        value = make()
        cls = type(value)
        if isinstance(cls, enum.EnumMeta):
            continue
        try:
            sub = type("Overrides", (cls,), {method: METHODS[method], "__module__": __name__})
        except TypeError:
            continue  # no type to inherit from
        value = of_subclass(value, sub)
        if value is None:
            continue
        n_made += 1
        globals()["Overrides"] = sub
        try:
            same_outcomes([value, value])
        finally:
            del globals()["Overrides"]
    assert n_made > len(KINDS) // 2


@pytest.mark.parametrize("method", METHODS)
@for_each(KINDS)
def test_a_method_patched_in(kind, method):
    value = kind()
    cls = type(value)
    before = cls.__dict__.get(method, cls)
    if method in ("__getattribute__", "__class__") and before is not cls:
        return
    fastpersist.dumps(value)
    try:
        setattr(cls, method, METHODS[method])
    except (TypeError, AttributeError):
        return  # of C
    try:
        same_outcomes([value, value])
    finally:
        if before is cls:
            delattr(cls, method)
        else:
            setattr(cls, method, before)
    same_outcomes([value, value])


SHADOWS = {
    "__reduce_ex__": lambda protocol: (str, ("shadowed",)),
    "__reduce__": lambda: (str, ("shadowed",)),
    "__getstate__": lambda: {"shadowed": 1},
    "__getnewargs__": lambda: ("shadowed",),
    "__getnewargs_ex__": lambda: (("shadowed",), {}),
    "__class__": str,
    "items": lambda: [("shadowed", 1)],
    "keys": lambda: ["shadowed"],
    "maxlen": 3,
    "default_factory": str,
    "_value_": "shadowed",
    "__name__": "__newobj__",
    "__slotnames__": [],
    "__iter__": lambda: iter(["shadowed"]),
}


@pytest.mark.parametrize("name", SHADOWS)
@for_each(KINDS)
def test_an_attribute_of_the_instance(kind, name):
    value = kind()
    attributes = getattr(value, "__dict__", None)
    if attributes is None:
        return
    before = dict(attributes)
    attributes[name] = SHADOWS[name]
    try:
        same_outcomes([value, value])
        same_outcomes(value)
    finally:
        attributes.clear()
        attributes.update(before)


# ---------------------------------------------------------------- metaclasses


class ReducesClasses(type):
    pass


class Answers(type):
    def __getattribute__(cls, name):
        if name == "__reduce__":
            return "not what object has"
        return super().__getattribute__(name)


class AnswersWhenAbsent(type):
    def __getattr__(cls, name):
        raise AttributeError(name)


class HasReduce(type):
    @property
    def __reduce__(cls):
        return "of the metaclass"


class HasName(type):
    @property
    def __name__(cls):
        return "__newobj__"


class Hashes(type):
    def __hash__(cls):
        return 7

    def __eq__(cls, other):
        return cls is other


METAS = [ReducesClasses, Answers, AnswersWhenAbsent, HasReduce, HasName, Hashes, abc.ABCMeta]
BASES = [
    object,
    k.ThreeSlots,
    list,
    dict,
    tuple,
    s.Pair,
    str,
    int,
    set,
    collections.OrderedDict,
    collections.defaultdict,
    collections.Counter,
    collections.deque,
    types.SimpleNamespace,
]


@pytest.fixture(params=METAS, ids=lambda meta: meta.__name__)
def meta(request):
    return request.param


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_metaclasses(meta, base):
    for members in ({}, {"__slots__": ("extra",)}):
        try:
            cls = meta("Made", (base,), {"__module__": __name__, **members})
        except TypeError:
            continue  # no slots in what has no fixed size
        globals()["Made"] = cls
        try:
            value = cls(1, 2) if base is s.Pair else cls()
            if members:
                value.extra = [1]
            same_outcomes([value, value])
        finally:
            del globals()["Made"]


def test_a_reducer_for_the_metaclass():
    copyreg.pickle(ReducesClasses, lambda cls: (str, (cls.__name__,)))
    cls = ReducesClasses("Made", (k.ThreeSlots,), {"__module__": __name__})
    try:
        same_outcomes([cls(), cls])
    finally:
        del copyreg.dispatch_table[ReducesClasses]


@pytest.mark.parametrize("name", ["__newobj__", "__newobj_ex__"])
@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_classes_named_like_the_functions_of_copyreg(name, base):
    cls = type(name, (base,), {"__module__": __name__})
    globals()[name] = cls
    try:
        same_outcomes(cls(1, 2) if base is s.Pair else cls())
    finally:
        del globals()[name]


def test_an_enum_named_like_the_functions_of_copyreg():
    cls = enum.Enum("__newobj__", {"A": 1}, module=__name__)
    globals()["__newobj__"] = cls
    try:
        same_outcomes(cls.A)
    finally:
        del globals()["__newobj__"]


@for_each(KINDS)
def test_extension_codes(kind):
    value = [kind(), kind()]
    cls = type(value[0])
    copyreg.add_extension(cls.__module__, cls.__qualname__, 240)
    try:
        assert_same_pickle(value, [2, 3, 4, 5])
    finally:
        copyreg.remove_extension(cls.__module__, cls.__qualname__, 240)


# ---------------------------------------------------------------- odd slots


@pytest.mark.parametrize(
    "names",
    [None, [], ["a"], ["a", "missing"], ("a",), [1], "a", {"a": 1}, ["a", "a"], ["__class__"]],
    ids=str,
)
def test_names_of_slots_that_somebody_stored(names):
    cls = type("Odd", (k.ThreeSlots,), {"__module__": __name__, "__slots__": ("d",)})
    cls.__slotnames__ = names
    globals()["Odd"] = cls
    try:
        same_outcomes(k.slots(cls, a=1, d=2))
    finally:
        del globals()["Odd"]


def test_slots_that_were_taken_away():
    cls = type("Odd", (k.ThreeSlots,), {"__module__": __name__, "__slots__": ("d",)})
    globals()["Odd"] = cls
    try:
        value = k.slots(cls, a=1, d=2)
        del cls.d
        same_outcomes(value)
        cls.d = k.ThreeSlots.b
        same_outcomes(value)
        cls.d = 5
        same_outcomes(value)
        cls.d = k.SlotsAsList.x  # of another class
        same_outcomes(value)
    finally:
        del globals()["Odd"]


@pytest.mark.parametrize("slots", [["a", "b"], ("a",), iter(["a"]), "a", {"a": 1}, ("__a", "b")])
def test_slots_of_any_kind(slots):
    cls = type("Odd", (), {"__module__": __name__, "__slots__": slots})
    globals()["Odd"] = cls
    try:
        same_outcomes([cls(), cls()])
    finally:
        del globals()["Odd"]


def test_private_slots_of_two_classes():
    """Each class has names of its own for them, equal or not."""
    made = s.PrivateSlots("hidden")
    below = type("Below", (s.PrivateSlots,), {"__module__": __name__, "__slots__": ()})
    globals()["Below"] = below
    try:
        same_outcomes([made, below("x"), made, below("y"), s.PrivateSlots("z")])
        same_outcomes([made, below("x"), made, below("y"), s.PrivateSlots("z")])
    finally:
        del globals()["Below"]


# ---------------------------------------------------------------- keys, factories, values


class Key:
    """A key that counts how often it is asked."""

    asked = 0

    def __init__(self, name):
        self.name = name

    def __hash__(self):
        Key.asked += 1
        return hash(self.name)

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize("cls", [collections.OrderedDict, collections.Counter, s.DictSub])
def test_keys_of_any_kind(cls):
    same_outcomes(cls({Key("a"): 1, Key("b"): [2]}))
    same_outcomes(cls({(1, 2): 1, None: 2, 1.5: 3, b"b": 4, frozenset([1]): 5}))


@pytest.mark.parametrize("factory", [None, int, s.ListSub, len, lambda: 1, s.Outer.klass])
def test_factories(factory):
    same_outcomes([collections.defaultdict(factory, a=1), factory])


def test_a_factory_that_leads_back():
    table = collections.defaultdict(None, a=1)
    table.default_factory = table.get
    assert outcome_of_dump(fastpersist.dumps, table) is RecursionError
    assert outcome_of_dump(file_bytes, table) is RecursionError


def test_the_state_of_a_namespace_that_is_shared():
    value = types.SimpleNamespace(a=1)
    same_outcomes([value, value.__dict__])
    same_outcomes([value.__dict__, value])


# ---------------------------------------------------------------- values


def test_the_function_of_complex_is_patched():
    """Whatever stands in copyreg's table: by what it does."""
    value = [1j, 2.5]
    before = copyreg.pickle_complex.__code__
    copyreg.pickle_complex.__code__ = reduce_to_text.__code__
    try:
        same_outcomes(value)
        assert pickle.loads(file_bytes(value)) == ["complex", 2.5]
    finally:
        copyreg.pickle_complex.__code__ = before
    copyreg.complex = str
    try:
        assert outcome_of_dump(fastpersist.dumps, value) == outcome_of_dump(pickle.dumps, value)
    finally:
        del copyreg.complex
    entry = copyreg.dispatch_table.pop(complex)
    try:
        same_outcomes(value)
    finally:
        copyreg.dispatch_table[complex] = entry
    same_outcomes(value)


def test_decimals_are_written_as_the_context_says():
    value = [decimal.Decimal("1E+9"), decimal.Decimal("2.5E-20"), k.Amount("nan")]
    for capitals in (0, 1):
        with decimal.localcontext() as context:
            context.capitals = capitals
            assert_same_pickle(value)
    assert_same_file(value)


def test_a_shared_zone():
    zone = k.attributes(k.Zone(), a=["a list"])
    times = [dt.datetime(2026, 1, i + 1, tzinfo=zone) for i in range(5)]
    same_outcomes([times, zone, times[0], dt.time(1, tzinfo=zone), dt.UTC, times[1].date()])
    zone.times = times
    same_outcomes(times)


def test_a_zone_of_time_zones():
    for offset in (dt.timedelta(0), dt.timedelta(hours=1)):
        zone = dt.timezone(offset)
        named = dt.timezone(offset, "a name")
        when = dt.datetime(2026, 1, 1, tzinfo=named)
        same_outcomes([when, zone, offset, named, "a name", when.tzinfo.utcoffset(None), dt.UTC])


def test_paths_whose_parts_are_met_elsewhere():
    path = pathlib.PurePosixPath("first part", "second part")
    for name in ("_raw_paths", "_parts"):
        parts = getattr(path, name, None)
        if type(parts) is list:
            same_outcomes([path, parts, pathlib.PurePosixPath("first part")])
            same_outcomes([parts, path, parts[0]])
    same_outcomes([[path / f"part{i % 3}" for i in range(10)], path, path.parent])


PARTS_OF_PATHS = "_parts" if sys.version_info < (3, 12) else "_raw_paths"


@pytest.mark.parametrize("parts", [["a", 5], ("a", "b"), [], [["a"]], "ab", None, s.ListSub("a")])
def test_paths_of_odd_parts(parts):
    path = pathlib.PurePosixPath("a")
    setattr(path, PARTS_OF_PATHS, parts)
    for protocol in (2, 4, 5):
        expected = outcome_of_dump(pickle.dumps, [path, path], protocol)
        assert same_bytes(outcome_of_dump(fastpersist.dumps, [path, path], protocol), expected)


@pytest.mark.parametrize("cls", [fractions.Fraction, uuid.UUID, pathlib.PurePosixPath])
def test_values_without_what_they_are_made_of(cls):
    same_outcomes([1, cls.__new__(cls) if cls is not fractions.Fraction else object.__new__(cls)])


def test_odd_uuids():
    safe = uuid.SafeUUID
    for number in (5, -3, 2**200, s.IntSub(7), "text", [1], None):
        for safety in (safe.unknown, safe.safe, safe.unsafe, 5, None):
            made = uuid.UUID(int=1)
            object.__setattr__(made, "int", number)
            object.__setattr__(made, "is_safe", safety)
            for protocol in (2, 5):
                expected = outcome_of_dump(pickle.dumps, ["int", made, made], protocol)
                got = outcome_of_dump(fastpersist.dumps, ["int", made, made], protocol)
                assert same_bytes(got, expected)


def test_another_enum_of_safety(monkeypatch):
    class Other(enum.Enum):
        unknown = 5

    for other in (Other, s.Colour, types.SimpleNamespace(unknown=uuid.SafeUUID.unknown), 5):
        monkeypatch.setattr(uuid, "SafeUUID", other)
        value = object.__new__(uuid.UUID)
        object.__setattr__(value, "int", 3)
        for safety in (Other.unknown, 7):
            object.__setattr__(value, "is_safe", safety)
            expected = outcome_of_dump(pickle.dumps, value, 5)
            assert same_bytes(outcome_of_dump(fastpersist.dumps, value, 5), expected)


def test_slices_and_ranges_of_anything():
    items = [s.ListSub([1]), 5]
    same_outcomes([slice(items, None, items), items, slice(*range(3)), range(s.IntSub(5))])
    items.append(slice(items))
    assert_same_pickle(items)


def test_reducers_of_values_for_other_classes():
    """An own class with the reducer of a value."""
    made = []
    reducers = (dt.date.__reduce__, decimal.Decimal.__reduce__, range.__reduce__)
    for i, reducer in enumerate((*reducers, fractions.Fraction.__reduce__, dt.time.__reduce_ex__)):
        members = {"__module__": __name__, reducer.__name__: reducer}
        cls = globals()[f"Other{i}"] = type(f"Other{i}", (), members)
        made.append(cls())
        made.append(k.attributes(cls(), _numerator=1, _denominator=2))
    cls = type("OtherDay", (dt.datetime,), {"__reduce_ex__": object.__reduce_ex__})
    cls.__module__ = __name__
    globals()["OtherDay"] = cls
    try:
        for instance in [*made, cls(2026, 1, 2, 3, 4)]:
            for protocol in (2, 4, 5):
                expected = outcome_of_dump(pickle.dumps, instance, protocol)
                assert same_bytes(outcome_of_dump(fastpersist.dumps, instance, protocol), expected)
    finally:
        for name in [name for name in globals() if name.startswith("Other")]:
            del globals()[name]


# ---------------------------------------------------------------- what must be asked, and where


class Asked:
    """Hands out what was written already, and takes it from where it was."""

    def __init__(self, items):
        self.items = items

    def __reduce__(self):
        return Asked, (self.items[1:4],), {"n": len(self.items)}

    def __setstate__(self, state):
        self.n = state["n"]


def test_callers_wherever_they_stand():
    def build(place):
        items = [[i, {"key": f"text {i}"}] for i in range(40)]
        asked = [Asked(items), k.OwnState(items), k.OwnReduceEx(items[3]), Asked([])]
        return place(items, asked)

    places = [
        lambda items, asked: [*asked, items],
        lambda items, asked: [items, *asked],
        lambda items, asked: [*items, asked[0], *items],
        lambda items, asked: {"items": items, "asked": asked},
        lambda items, asked: ((((items, asked),),),),
        lambda items, asked: [items, {i: [i] for i in range(20)}, {"a": {"b": {"c": asked}}}],
        lambda items, asked: [items[:9], [[*items, asked[1]]], asked[2]],
        lambda items, asked: asked[0],
        lambda items, asked: k.attributes(s.Plain(), items=items, asked=asked),
    ]
    for place in places:
        assert_same(lambda place=place: build(place))


# ---------------------------------------------------------------- what cannot be pickled


def local():
    return lambda: None


@pytest.mark.parametrize("protocol", range(6))
@for_each(HOLDERS)
def test_what_cannot_be_pickled_within(hold, protocol):
    def build():
        return [hold("fine"), {"key": [hold(local())]}]

    expected = outcome_of_dump(pickle.dumps, build(), protocol)
    assert same_bytes(outcome_of_dump(fastpersist.dumps, build(), protocol), expected)
    assert same_bytes(outcome_of_dump(pickler_bytes, build(), protocol), expected)
    if protocol == 5 and not isinstance(expected, bytes):
        got = outcome_of_dump(file_bytes, build())
        assert got[2] == expected[2]  # the notes


def test_instances_of_local_classes():
    for base in BASES:
        cls = type("Local", (base,), {})
        same_outcomes([1, cls(1, 2) if base is s.Pair else cls()])


# ---------------------------------------------------------------- all of them


def build_graph(plan):
    """Each step makes an object out of earlier ones; lists and namespaces are filled later."""
    names = [*HOLDERS, *LEAVES, "new list"]
    nodes = [[], "text", 5, (1, 2)]
    for choice, link, into in plan:
        name = names[choice % len(names)]
        held = nodes[link % len(nodes)]
        if name in HOLDERS:
            node = HOLDERS[name](held)
        elif name in LEAVES:
            node = LEAVES[name]()
        else:
            node = [held]
        nodes.append(node)
        target = nodes[into % len(nodes)]
        if type(target) in (list, s.ListSub, collections.deque):
            target.append(node)
    return nodes


PLANS = st.lists(st.tuples(*[st.integers(0, 10_000)] * 3), max_size=30)


@examples(150)
@given(PLANS)
def test_any_graph(plan):
    nodes = build_graph(plan)
    assert_same_pickle(nodes, [2, 3, 4, 5])
    assert same_bytes(fastpersist.dumps(build_graph(plan)[-1]), pickle.dumps(build_graph(plan)[-1]))


@examples(75)
@given(PLANS)
def test_any_graph_through_a_file(plan):
    nodes = build_graph(plan)
    expected = pickle.loads(pickle.dumps(nodes, 5))
    written = file_bytes(nodes)
    by_pickle, by_load = pickle.loads(written), fastpersist.load(io.BytesIO(written))
    canonical = pickle.dumps(expected, 5)
    assert same_bytes(pickle.dumps(by_pickle, 5), canonical)
    assert same_bytes(pickle.dumps(by_load, 5), canonical)
