"""What unpickling does to instances, and code of others that runs in the middle of it."""

import copyreg
import gc
import io
import pickle
import sys
import threading

import fastpersist
import pytest
import sample_classes as s
from compare import assert_isomorphic
from helpers import PROTOCOLS, file_bytes, outcome

# ---------------------------------------------------------------- instances


# An instance of Plain before its state comes.
STATE = b"\x80\4\x8c\x0esample_classes\x8c\x05Plain\x93)\x81"


class Counted:
    """Every attribute is written down."""

    log = []

    def __setattr__(self, name, value):
        self.log.append(name)
        super().__setattr__(name, value)


class DataDescriptor:
    @property
    def x(self):
        return self.__dict__["x"] * 2

    @x.setter
    def x(self, value):
        raise AssertionError("pickle does not come here")


class Fallback:
    asked = []

    def __getattr__(self, name):
        self.asked.append(name)
        raise AttributeError(name)


class Setstate:
    def __setstate__(self, state):
        self.__dict__.update(seen=state)


class OwnDict:
    __dict__ = property(lambda self: OwnDict.shared)
    shared = {}

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj__, (OwnDict,), {"a": 1}


class Child(Exception):
    pass


class Late:
    """Its state arrives while its class changes."""


class ChangesLate:
    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return change_late, (self.name,)


def change_late(name):
    if name == "property":
        Late.b = property(lambda self: 5, lambda self, value: 1 / 0)
    elif name == "setstate":
        Late.__setstate__ = lambda self, state: self.__dict__.update(state=state)
    return name


def instances():
    x, y, z = s.Plain(a=1, b=[2]), DataDescriptor(), Child("e")
    y.__dict__.update(x=3, y=4)
    z.extra = 1
    twice = s.Plain()
    twice.me = twice
    return [x, y, z, twice, Setstate(), s.Slots(), s.SlotsAndDict(), s.DictSlot(), s.GetState()]


@pytest.mark.parametrize("dumps", [pickle.dumps, fastpersist.dumps, file_bytes])
def test_attributes_go_where_pickle_puts_them(dumps):
    for value in instances():
        for protocol in (2, 3, 4, 5):
            data = outcome(dumps, [value, value.__class__, "a"], protocol=protocol)
            if isinstance(data, bytes):
                assert_isomorphic(pickle.loads(data)[0], fastpersist.loads(data)[0])
    Counted.log.clear()
    value = Counted.__new__(Counted)
    value.__dict__["a"] = 1
    assert fastpersist.loads(dumps(value)).a == 1
    assert Counted.log == []
    value = Fallback()
    value.__dict__["a"] = 1
    data = dumps(value)
    Fallback.asked.clear()
    pickle.loads(data)
    expected = Fallback.asked[:]
    Fallback.asked.clear()
    assert fastpersist.loads(data).a == 1
    assert Fallback.asked == expected
    value = OwnDict()
    data = dumps(value)
    fastpersist.loads(data)
    assert OwnDict.shared == {"a": 1}
    OwnDict.shared.clear()


def test_an_instance_that_was_touched_before_its_state_came():
    class U(fastpersist.Unpickler):
        def persistent_load(self, action):
            instance = self.memo.copy()[0]
            if action == "attribute":
                instance.a = "from outside"
            elif action == "setstate":
                instance.__setstate__ = lambda state: setattr(instance, "state", state)
            else:
                instance.__dict__ = Recording()
            return action

    class Recording(dict):
        def __setitem__(self, key, value):
            super().__setitem__(key, (key, value))

    for action, expected in (
        ("attribute", {"a": "attribute", "b": 1}),
        ("setstate", {"a": "setstate", "b": 1}),
        ("dict", {"a": ("a", "dict"), "b": ("b", 1)}),
    ):
        state = b"\x8c\1a\x8c" + bytes([len(action)]) + action.encode() + b"Q\x8c\1bK\1ub"
        for put in (b"", b"q\1"):
            data = STATE + b"q\0}" + put + b"(" + state + b"."
            got = U(io.BytesIO(data)).load()
            got = got.state if action == "setstate" else got.__dict__
            assert got == expected


def test_attribute_names_are_interned():
    name = "".join(["an_attribute_", "that_is_new"])
    value = s.Plain()
    value.__dict__ = {name: 1}  # not a key that the instances share
    for data in (pickle.dumps(value, 2), pickle.dumps(value, 5), file_bytes(value)):
        got = next(iter(fastpersist.loads(data).__dict__))
        assert got is sys.intern("an_attribute_that_is_new")


@pytest.mark.parametrize("change", ["property", "setstate"])
def test_a_class_that_changes_between_its_instances(change):
    def attributes(loads, data):
        try:
            return [getattr(x, "__dict__", x) for x in loads(data)]
        finally:
            for name in ("b", "__setstate__"):
                if name in Late.__dict__:
                    delattr(Late, name)

    first, second, third = Late(), Late(), Late()
    for x in (first, second, third):
        x.__dict__.update(a=1, b=2)
    second.__dict__["c"] = ChangesLate(change)
    for data in (pickle.dumps([first, second, third]), fastpersist.dumps([first, second, third])):
        assert attributes(fastpersist.loads, data) == attributes(pickle.loads, data)


@pytest.mark.parametrize(
    "tail",
    [
        b"}(\x8c\1aK\1\x8c\1aK\2ub",  # a key twice
        b"}(\x8c\x0c__setstate__N\x8c\1aK\2ub",
        b"}(\x8c\x0c__setstate__Nub}(\x8c\1aK\2ub",  # now it has one, which is None
        b"}(\x8c\1aK\1ub}(\x8c\1bK\2ub",  # twice
        b"}(\x8c\x08__dict__K\1\x8c\x09__class__K\2ub",
        b"}(K\1K\2ub",
        b"}(]K\2ub",
        b"}(\x8c\1aK\1K\5ub",
        b"}(ub",
        b"}b",
        b"\x94}\x94(\x8c\1ah\0ub",
        b"\x94}\x94(\x8c\1ah\1\x8c\1bK\2sub",
        b"\x94}\x94(\x8c\1ah\1\x8c\1bK\2s0ub",
        b"\x94}\x94(\x8c\1ah\1(\x8c\1cK\3ub",
        b"\x94}(\x8c\1ah\0}(\x8c\1bK\2ub0\x8c\1cK\3ub",
        b"}(\x8c\1aK\1t\x94",
        b"}(\x8c\1aK\1u\x94b",
        b"}(\x8c\1aK\1u2b",
        b"}}(\x8c\1aK\1u\x86b",
        b"N}(\x8c\1aK\1u\x86b",
        b"](K\1eb",
    ],
)
def test_states_that_no_pickler_writes(tail):
    for data in (STATE + tail + b".", b"\x80\4" + STATE[2:] + b"](" + b"K\1e0" + tail + b"."):
        expected, got = outcome(pickle.loads, data), outcome(fastpersist.loads, data)
        if isinstance(expected, tuple) and isinstance(expected[0], type):
            assert got[0] is expected[0]
        else:
            assert_isomorphic(expected, got)


# ---------------------------------------------------------------- reentrancy


class Callback:
    """Unpickles by calling `run`, whatever that is at the moment."""

    run = staticmethod(lambda: None)

    def __reduce__(self):
        return call_back, ()

    def __setstate__(self, state):
        Callback.run()


def call_back():
    Callback.run()
    return Callback()


class InState(Callback):
    def __reduce__(self):
        return InState, (), {"state": 1}


class InNew:
    def __new__(cls, *args):
        Callback.run()
        return super().__new__(cls)

    def __getnewargs__(self):
        return (1,)


class InHash:
    def __hash__(self):
        Callback.run()
        return 1


class InAppend(list):
    def extend(self, items):
        Callback.run()
        super().extend(items)


class InSetitem(dict):
    def __setitem__(self, key, value):
        Callback.run()
        super().__setitem__(key, value)


def reentrant_value():
    shared = [str(i) for i in range(50)]
    items = InSetitem()
    dict.__setitem__(items, 1, shared)
    return [
        shared,
        Callback(),
        s.Plain(a=InState(), b=shared),
        [InNew(), {InHash(): shared}, {InHash()}],
        InAppend([1, shared]),
        items,
        (Callback(), shared, frozenset([InHash()])),
    ]


def reentrant_actions(unpickler, file):
    def clear():
        unpickler.memo.clear()

    def replace():
        unpickler.memo = {i: [i] for i in range(300)}

    def load_again():
        with pytest.raises(RuntimeError):
            unpickler.load()

    def init_again():
        with pytest.raises(RuntimeError):
            unpickler.__init__(file)

    def fail():
        raise ZeroDivisionError

    def others():
        unpickler.persistent_load = lambda pid: pid
        unpickler.memo.copy()
        unpickler.__sizeof__()

    return [clear, replace, load_again, init_again, fail, others, gc.collect, gc.enable]


@pytest.mark.parametrize("action", range(8))
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.by_day(
    wanted=lambda action, protocol: (
        protocol == PROTOCOLS[-1] or (protocol in (0, 2) and action != 6)
    )
)
def test_code_that_runs_in_the_middle(action, protocol):
    assert gc.isenabled()
    data = pickle.dumps(reentrant_value(), protocol)
    expected = pickle.loads(data)
    for count in range(1, 14):
        file = io.BytesIO(data)

        class Mine(fastpersist.Unpickler):
            def find_class(self, module, name):
                Callback.run()
                return super().find_class(module, name)

        unpickler = Mine(file)
        run = reentrant_actions(unpickler, file)[action]
        calls = iter(range(1000))
        Callback.run = lambda c=calls, n=count, r=run: r() if next(c) == n else None
        try:
            got = outcome(unpickler.load)
        finally:
            Callback.run = lambda: None
        if not (isinstance(got, tuple) and isinstance(got[0], type)):
            assert len(got) == len(expected)
        assert gc.isenabled()


def test_threads_share_an_unpickler():
    started, finish = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, n):
            started.set()
            finish.wait(30)
            return super().read(n)

    unpickler = fastpersist.Unpickler(Slow(pickle.dumps([1])))
    results = []
    thread = threading.Thread(target=lambda: results.append(unpickler.load()))
    thread.start()
    started.wait(30)
    with pytest.raises(RuntimeError):
        unpickler.load()
    finish.set()
    thread.join()
    assert results == [[1]]
