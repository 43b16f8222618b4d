"""What cannot be pickled: pickle's own exceptions, with a note that says where in the object."""

import asyncio
import collections
import copyreg
import io
import operator
import pickle
import sys
import threading
import types
import weakref

import fastpersist
import numpy as np
import pytest
import sample_classes as s
from helpers import (
    PERSISTENT_ID_IS_READ_ONLY,
    PROTOCOLS,
    assert_same_pickle,
    file_bytes,
    outcome,
    outcome_of_dump,
    same_bytes,
)

# ---------------------------------------------------------------- reducers that return nonsense


class Reduces:
    """Its reducer returns whatever it was given."""

    def __init__(self, result):
        self.result = result

    def __reduce__(self):
        return self.result


class ReducesEx(Reduces):
    def __reduce_ex__(self, protocol):
        return self.result


class Named:
    """Something with a name that is not where the name says."""

    def __init__(self, name, module="sample_classes"):
        self.__qualname__ = self.__name__ = name
        self.__module__ = module

    def __reduce__(self):
        return self.__qualname__


class Raises:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


class NoNew:
    __new__ = None


class BadGetattr:
    def __getattr__(self, name):
        raise ZeroDivisionError(name)


class NewArgsNotTuple(int):
    def __getnewargs__(self):
        return [1]


class NewArgsExNotTuple:
    def __getnewargs_ex__(self):
        return [(), {}]


class NewArgsExThree:
    def __getnewargs_ex__(self):
        return (), {}, 3


class NewArgsExArgs:
    def __getnewargs_ex__(self):
        return [1], {}


class NewArgsExKeywords:
    def __getnewargs_ex__(self):
        return (1,), []


class NewArgsRaises:
    def __getnewargs__(self):
        raise ZeroDivisionError("newargs")


class GetStateRaises:
    def __getstate__(self):
        raise ZeroDivisionError("state")


class ReduceIsNone:
    __reduce__ = None


class ReduceExIsNone:
    __reduce_ex__ = None


class GetStateIsNone:
    __getstate__ = None


class StrRaises(str):
    def __reduce_ex__(self, protocol):
        raise OverflowError


def local_function():
    return lambda: 0


def local_class():
    class Local:
        pass

    return Local


def with_qualname(name, module="sample_classes"):
    cls = type("Made", (), {})
    cls.__qualname__ = name
    cls.__module__ = module
    return cls


async def coroutine_function():
    pass


def closed_coroutine():
    x = coroutine_function()
    x.close()
    return x


def generator():
    yield 1


def newobj(*arguments):
    return Reduces((copyreg.__newobj__, arguments))


def newobj_ex(*arguments):
    return Reduces((copyreg.__newobj_ex__, arguments))


UNPICKLABLE = {
    "lambda": lambda: local_function(),
    "local class": local_class,
    "instance of a local class": lambda: local_class()(),
    "generator": generator,
    "coroutine": closed_coroutine,
    "module": lambda: sys,
    "lock": threading.Lock,
    "memoryview": lambda: memoryview(b"x"),
    "frame": sys._getframe,
    "code": lambda: local_function.__code__,
    "property": lambda: property(local_function),
    "weak reference": lambda: weakref.ref(local_class),
    "text stream": lambda: sys.__stderr__,
    "mappingproxy": lambda: types.MappingProxyType({}),
    "dict views": lambda: {}.keys(),
    "event loop policy": lambda: asyncio.Handle,
    "not found": lambda: Named("Missing"),
    "not found nested": lambda: Named("Outer.Missing"),
    "no such module": lambda: Named("x", "no_such_module_at_all"),
    "another object": lambda: with_qualname("Plain"),
    "class not found": lambda: with_qualname("Missing"),
    "class in locals": lambda: with_qualname("f.<locals>.C"),
    "class with a dotted miss": lambda: with_qualname("Outer.Missing.Deeper"),
    "class of an odd module": lambda: with_qualname("C", "no_such_module_at_all"),
    "class with a surrogate": lambda: with_qualname("\udc80"),
    "module with a surrogate": lambda: with_qualname("C", "m\udc80"),
    "module name not a str": lambda: with_qualname("C", 5),
    "empty name": lambda: with_qualname(""),
    "dotted dots": lambda: with_qualname("a..b"),
    "reduce int": lambda: Reduces(5),
    "reduce None": lambda: Reduces(None),
    "reduce list": lambda: Reduces([list, ()]),
    "reduce empty": lambda: Reduces(()),
    "reduce one": lambda: Reduces((list,)),
    "reduce seven": lambda: Reduces((list, (), None, None, None, None, None)),
    "reduce not callable": lambda: Reduces((5, ())),
    "reduce arguments not a tuple": lambda: Reduces((list, [])),
    "reduce arguments None": lambda: Reduces((list, None)),
    "reduce list items": lambda: Reduces((list, (), None, 5)),
    "reduce list items a list": lambda: Reduces((list, (), None, [])),
    "reduce dict items": lambda: Reduces((dict, (), None, None, 5)),
    "reduce dict items not pairs": lambda: Reduces((dict, (), None, None, iter([1]))),
    "reduce dict items triples": lambda: Reduces((dict, (), None, None, iter([(1, 2, 3)] * 2))),
    "reduce dict items lists": lambda: Reduces((dict, (), None, None, iter([[1, 2]]))),
    "reduce state setter": lambda: Reduces((list, (), {}, None, None, 5)),
    "reduce unpicklable callable": lambda: Reduces((local_function(), ())),
    "reduce unpicklable argument": lambda: Reduces((list, (1, local_function()))),
    "reduce unpicklable state": lambda: Reduces((list, (), {"a": local_function()})),
    "reduce unpicklable item": lambda: Reduces((list, (), None, iter([1, local_function()]))),
    "reduce unpicklable pair": lambda: Reduces(
        (dict, (), None, None, iter([(1, 2), (3, local_function())]))
    ),
    "reduce unpicklable setter": lambda: Reduces((list, (), {}, None, None, local_function())),
    "reduce unpicklable state of a setter": lambda: Reduces(
        (list, (), local_function(), None, None, s.set_state)
    ),
    "reduce_ex int": lambda: ReducesEx(5),
    "reduce_ex one": lambda: ReducesEx((list,)),
    "newobj none": lambda: newobj(),
    "newobj not a class": lambda: newobj(5),
    "newobj without new": lambda: newobj(NoNew),
    "newobj another class": lambda: newobj(s.Plain),
    "newobj unpicklable class": lambda: newobj(local_class()),
    "newobj_ex none": lambda: newobj_ex(),
    "newobj_ex two": lambda: newobj_ex(Reduces, ()),
    "newobj_ex four": lambda: newobj_ex(Reduces, (), {}, 4),
    "newobj_ex not a class": lambda: newobj_ex(5, (), {}),
    "newobj_ex args": lambda: newobj_ex(Reduces, [], {}),
    "newobj_ex keywords": lambda: newobj_ex(Reduces, (), []),
    "newobj_ex without new": lambda: newobj_ex(NoNew, (), {}),
    "newobj_ex another class": lambda: newobj_ex(s.Plain, (), {}),
    "newobj_ex unpicklable argument": lambda: newobj_ex(Reduces, (local_function(),), {}),
    "newobj_ex unpicklable keyword": lambda: newobj_ex(Reduces, (), {"a": local_function()}),
    "newargs not a tuple": lambda: NewArgsNotTuple(1),
    "newargs_ex not a tuple": NewArgsExNotTuple,
    "newargs_ex three": NewArgsExThree,
    "newargs_ex arguments": NewArgsExArgs,
    "newargs_ex keywords": NewArgsExKeywords,
    "newargs raises": NewArgsRaises,
    "getstate raises": GetStateRaises,
    "getstate is None": GetStateIsNone,
    "reduce is None": ReduceIsNone,
    "reduce_ex is None": ReduceExIsNone,
    "str subclass raises": lambda: StrRaises("x"),
    "bad getattr": BadGetattr,
    "raises OSError": lambda: Raises(OSError(5, "an error of its own", "name")),
    "raises StopIteration": lambda: Raises(StopIteration("stop")),
    "raises MemoryError": lambda: Raises(MemoryError("of its own")),
    "slots in old protocols": lambda: s.Slots(1),
    "in a list": lambda: [1, [2, local_function()]],
    "in a tuple": lambda: (1, (2, local_function())),
    "in a dict": lambda: {"a": {"b": local_function()}},
    "as a key": lambda: {local_function(): 1},
    "in a set": lambda: {local_function()},
    "in a frozenset": lambda: frozenset([local_function()]),
    "in an object array": lambda: np.array([1, local_function()], object),
    "in a slot": lambda: s.Slots(local_function()),
    "in a partial": lambda: operator.methodcaller("x", local_function()),
    "in a deque": lambda: collections.deque([local_function()]),
    "released buffer": lambda: released_buffer(),
}


def released_buffer():
    buffer = pickle.PickleBuffer(b"x")
    buffer.release()
    return buffer


@pytest.fixture(params=UNPICKLABLE, ids=lambda name: name.replace(" ", "_"))
def build(request):
    """Makes the value anew for each use: some hold iterators."""
    return UNPICKLABLE[request.param]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_exception_as_pickle(build, protocol):
    expected = outcome_of_dump(lambda: pickle.dumps(build(), protocol))
    assert same_bytes(outcome_of_dump(lambda: fastpersist.dumps(build(), protocol)), expected)


def test_the_same_exception_from_the_file(build):
    expected = outcome_of_dump(lambda: pickle.dumps(build(), 5))
    got = outcome_of_dump(lambda: file_bytes(build()))
    if isinstance(expected, bytes):
        assert isinstance(got, bytes)
    else:
        assert got == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_extension_codes(protocol):
    cls = s.ExtensionClass
    for code in (1, 0xFF, 0x100, 0xFFFF, 0x10000, 0x7FFFFFFF):
        copyreg.add_extension("sample_classes", "ExtensionClass", code)
        try:
            assert_same_pickle([cls, cls(), cls], [protocol])
            assert pickle.loads(fastpersist.dumps([cls], protocol)) == [cls]
            assert pickle.loads(file_bytes([cls, cls()]))[0] is cls
        finally:
            copyreg.remove_extension("sample_classes", "ExtensionClass", code)


def test_bad_extension_codes():
    key = "sample_classes", "ExtensionClass"
    for code in (0, -1, 1 << 31, 1 << 40, "x", None):
        copyreg._extension_registry[key] = code
        try:
            assert_same_pickle(s.ExtensionClass)
        finally:
            del copyreg._extension_registry[key]


# ---------------------------------------------------------------- where in the object


def notes_of(value, dump=file_bytes, error=(pickle.PicklingError, AttributeError, TypeError)):
    with pytest.raises(error) as caught:
        dump(value)
    return "\n".join(getattr(caught.value, "__notes__", []))


def bad():
    return local_function()


PATHS = {
    "value": bad,
    "value[2]": lambda: [0, 1, bad()],
    "value[1][0]": lambda: (0, [bad()]),
    "value['k']": lambda: {"k": bad()},
    "value['k'][2].attr": lambda: {"j": 1, "k": [0, 1, s.Plain(a=1, attr=bad())]},
    "value.a.b.c": lambda: s.Plain(a=s.Plain(b=s.Plain(c=bad()))),
    "value.steps[1][1].kernel": lambda: s.Plain(
        steps=[("scale", s.Plain()), ("svc", s.Plain(C=1, kernel=bad()))]
    ),
    "value[7]": lambda: {5: 1, 7: bad()},
    "value[b'key']": lambda: {b"key": bad()},
    "value[None]": lambda: {None: bad()},
    "value.items[1]": lambda: s.Data("n", [1, bad()]),
    "value['x'][0]": lambda: collections.OrderedDict(w=1, x=[bad()]),
    "value[1]": lambda: collections.deque([1, bad()]),
    "value[3]": lambda: s.ListSub([0, 1, 2, bad()]),
    "value[2000]": lambda: [*range(2000), bad()],
    "value[1999][1]": lambda: {i: [i, bad() if i == 1999 else i] for i in range(2000)},
}


@pytest.mark.parametrize("path", PATHS)
def test_the_note_says_where(path):
    notes = notes_of(PATHS[path]())
    assert notes.endswith(path), notes
    assert len(notes.splitlines()) == 1


def test_the_note_after_user_code_has_run():
    notes = notes_of([s.GetState(1), s.Plain(kernel=bad())])
    assert notes.endswith("value[1].kernel")


@pytest.mark.parametrize(
    "value",
    [
        lambda: {bad(): 1},
        lambda: {bad()},
        lambda: s.Slots(1, bad()),
        lambda: s.GetState(bad()),
        lambda: s.Reduce(1, bad()),
        lambda: np.array([1, bad()], object),
        lambda: s.NewArgsEx(key=bad()),
        lambda: s.StateSetter(bad()),
        lambda: pickle.PickleBuffer(np.zeros((30, 30))[::2, ::2]),
        lambda: np.zeros(3, np.dtype("f8", metadata={"m": bad()})),
    ],
)
def test_there_is_a_note_wherever_it_is(value):
    assert "value" in notes_of([{"k": value()}])
    assert "value[0]['k']" in notes_of([{"k": value()}])


def test_notes_on_the_objects_own_exception():
    error = ZeroDivisionError("mine")
    notes = notes_of({"a": [Raises(error)]}, error=ZeroDivisionError)
    assert "value['a'][0]" in notes


def test_notes_of_dumps_and_pickler():
    value = {"a": [bad()]}
    assert "value['a'][0]" in notes_of(value, fastpersist.dumps)
    assert "value['a'][0]" in notes_of(value, lambda v: fastpersist.Pickler(io.BytesIO()).dump(v))


def test_notes_stay_short():
    value = [bad()]
    for _ in range(100_000):
        value = [value]
    notes = notes_of(value)
    assert "value[0][0]" in notes and len(notes) < 5000
    assert len(notes_of({"k" * 10_000: bad()})) < 5000
    while isinstance(value, list) and isinstance(value[0], list):
        value = value[0]


def test_notes_run_no_code_of_the_object():
    class Key:
        def __repr__(self):
            raise AssertionError("repr was called")

        __str__ = __repr__

    assert "value" in notes_of({Key(): [bad()]}) + notes_of([{Key(): bad()}])
    key = type("StrKey", (str,), {"__repr__": lambda self: 1 / 0})("k")
    assert "value" in notes_of({key: bad()}, error=Exception)


def test_an_exception_that_takes_no_notes():
    class Stubborn(Exception):
        def add_note(self, note):
            raise RuntimeError("no notes")

    with pytest.raises(Stubborn) as caught:
        file_bytes([Raises(Stubborn("mine"))])
    assert caught.value.args == ("mine",)


@pytest.mark.models
def test_the_note_in_a_pipeline():
    svm = pytest.importorskip("sklearn.svm")
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    model = Pipeline([("scale", StandardScaler()), ("svc", svm.SVC(kernel=lambda x, y: x @ y.T))])
    assert notes_of(model).endswith("value.steps[1][1].kernel")


# ---------------------------------------------------------------- after an error


def test_a_pickler_after_an_error():
    """As with pickle, what was remembered stays; clear_memo starts anew."""
    file = io.BytesIO()
    pickler = fastpersist.Pickler(file, 4)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickler.dump([1, local_function()])
    pickler.clear_memo()
    start = file.tell()
    pickler.dump(["fine"])
    file.seek(start)
    assert pickle.load(file) == ["fine"]


def test_many_errors_in_a_row():
    value = [{"a": [1, 2, np.arange(5000), s.GetState(1), local_function()]}]
    for _ in range(200):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            file_bytes(value)
    value[0]["a"].pop()
    assert pickle.loads(file_bytes(value))[0]["a"][:2] == [1, 2]


# ---------------------------------------------------------------- arguments of dumps and Pickler


def test_arguments_of_dumps():
    for call in (
        lambda f: f(),
        lambda f: f(1, 2, 3),
        lambda f: f(1, no_such=1),
        lambda f: f(1, 6),
        lambda f: f(1, "2"),
        lambda f: f(1, 2.0),
        lambda f: f(1, 4, buffer_callback=[].append),
        lambda f: f(1, 5, buffer_callback=5),
        lambda f: f(obj=1, protocol=2),
        lambda f: f(1, protocol=-5),
        lambda f: f(1, None),
        lambda f: f(1, True),
        lambda f: f(1, fix_imports="yes"),
        lambda f: f(1, 1 << 70),
        lambda f: f(pickle.PickleBuffer(b"x"), 5, buffer_callback=5),
    ):
        expected = outcome(call, pickle.dumps)
        got = outcome(call, fastpersist.dumps)
        if isinstance(expected, bytes):
            assert got == expected
        else:
            assert got[0] is expected[0], (got, expected)


PERSISTENT_ID_CALLS = (
    lambda p: setattr(p(io.BytesIO()), "persistent_id", 5),
    lambda p: delattr(p(io.BytesIO()), "persistent_id"),
)


def test_arguments_of_pickler():
    for call in (
        lambda p: p(),
        lambda p: p(5),
        lambda p: p(io.BytesIO(), 6),
        lambda p: p(io.BytesIO(), "2"),
        lambda p: p(io.BytesIO(), 4, buffer_callback=[].append),
        lambda p: p(io.BytesIO(), 2, True, None, 5),
        lambda p: p(file=io.BytesIO(), protocol=None, fix_imports=False, buffer_callback=None),
        lambda p: p(io.BytesIO(), no_such=1),
        lambda p: p.__new__(p).dump(1),
        lambda p: p.__new__(p).clear_memo(),
        lambda p: p.__new__(p).memo,
        lambda p: p(io.BytesIO()).dump(),
        lambda p: p(io.BytesIO()).dump(1, 2),
        lambda p: setattr(p(io.BytesIO()), "memo", 5),
        lambda p: setattr(p(io.BytesIO()), "memo", {1: 2}),
        lambda p: setattr(p(io.BytesIO()), "memo", {1: ("x", 2)}),
        lambda p: setattr(p(io.BytesIO()), "memo", {"a": (1, 2)}),
        lambda p: delattr(p(io.BytesIO()), "memo"),
        *(() if PERSISTENT_ID_IS_READ_ONLY else PERSISTENT_ID_CALLS),
        lambda p: p(io.BytesIO()).dispatch_table,
        lambda p: setattr(p(io.BytesIO()), "bin", "x"),
        lambda p: setattr(p(io.BytesIO()), "fast", "x"),
    ):
        expected = outcome(call, pickle.Pickler)
        got = outcome(call, fastpersist.Pickler)
        if isinstance(expected, tuple):
            assert got[0] is expected[0], (got, expected)
        else:
            assert not isinstance(got, tuple) or got[0] is not expected, (got, expected)


def test_pickling_error_is_the_standard_librarys():
    assert fastpersist.PicklingError is pickle.PicklingError
