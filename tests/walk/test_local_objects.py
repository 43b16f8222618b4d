"""What a dump cannot hold, beside joblib: a PicklingError for what is local to a function, on every
Python. pickle itself raises an AttributeError for it before 3.14, and so do dumps and Pickler.
"""

import functools
import io
import operator
import os
import pickle
import sys

import fastpersist
import joblib
import numpy as np
import pytest
import sample_classes as s
from unpicklable import UNPICKLABLE, Reduces


def make_function():
    def function():
        pass

    return function


def make_class(base=object, **attributes):
    return type("Local", (base,), {"__qualname__": "make_class.<locals>.Local", **attributes})


def in_cycle():
    value = []
    value.append([value, make_function()])
    return value


class GetState:
    def __init__(self, state):
        self.state = state

    def __getstate__(self):
        return self.state


LOCAL = {
    "lambda": lambda: lambda: 0,
    "function": make_function,
    "class": make_class,
    "instance": lambda: make_class()(),
    "class of a list": lambda: make_class(list),
    "instance of a subclass of list": lambda: make_class(list)([1]),
    "instance of a subclass of dict": lambda: make_class(dict)(a=1),
    "instance of a subclass of int": lambda: make_class(int)(5),
    "instance of a subclass of ndarray": lambda: np.arange(3).view(make_class(np.ndarray)),
    "local exception": lambda: make_class(ValueError)("x"),
    "partial": lambda: functools.partial(make_function()),
    "partial's argument": lambda: functools.partial(print, make_function()),
    "method": lambda: make_class(run=lambda self: 1)().run,
    "in a list": lambda: [1, [2, make_function()]],
    "in a cycle": in_cycle,
    "as a key": lambda: {make_function(): 1},
    "as an attribute": lambda: s.Plain(kernel=make_function()),
    "in __getstate__": lambda: GetState({"a": make_function()}),
    "in a set": lambda: {make_function()},
    "behind a large array": lambda: [np.arange(300_000.0), make_function()],
    "reduced to": lambda: Reduces((make_function(), ())),
    "deep": lambda: functools.reduce(lambda inner, _: [inner], range(50), make_function()),
}
# joblib, too, has pickle's C code write what is in such an array.
IN_OBJECT_ARRAY = {
    "in an object array": lambda: np.array([1, make_function()], object),
    "in a structured array": lambda: np.array([(1, make_function())], [("a", int), ("b", object)]),
}
WAYS = {
    "plain": {},
    "protocol 0": {"protocol": 0},
    "protocol 2": {"protocol": 2},
    "protocol 4": {"protocol": 4},
    "layout joblib": {"layout": "joblib"},
    "zlib": {"compress": "zlib"},
    "lz4": {"compress": "lz4"},
    "xz": {"compress": "xz"},
}
ways = pytest.mark.parametrize("way", WAYS)


@pytest.mark.parametrize("name", LOCAL)
@ways
def test_as_joblib(name, way, tmp_path):
    with pytest.raises(pickle.PicklingError) as theirs:
        joblib.dump(LOCAL[name](), io.BytesIO())
    (tmp_path / "file").write_bytes(b"old")
    for target in (io.BytesIO(), tmp_path / "file"):
        with pytest.raises(pickle.PicklingError, match="local object") as ours:
            fastpersist.dump(LOCAL[name](), target, **WAYS[way])
        assert type(ours.value) is type(theirs.value)
        (note,) = [note for note in ours.value.__notes__ if note.startswith("while dumping value")]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", IN_OBJECT_ARRAY)
@ways
def test_in_arrays_of_objects(name, way):
    """Meant to differ: joblib's answer is pickle's, here it is the same wherever it stands."""
    with pytest.raises((pickle.PicklingError, AttributeError)):
        joblib.dump(IN_OBJECT_ARRAY[name](), io.BytesIO())
    with pytest.raises(pickle.PicklingError, match="local object"):
        fastpersist.dump(IN_OBJECT_ARRAY[name](), io.BytesIO(), **WAYS[way])


def test_with_a_sidecar(tmp_path):
    for target, second in (
        (io.BytesIO(), io.BytesIO()),
        (tmp_path / "file", tmp_path / "second"),
    ):
        with pytest.raises(pickle.PicklingError, match="local object"):
            fastpersist.dump([np.arange(10.0), make_function()], target, sidecar=second)
    assert os.listdir(tmp_path) == []


def pickler(value, protocol):
    fastpersist.Pickler(io.BytesIO(), protocol).dump(value)


@pytest.mark.parametrize("name", [*LOCAL, *IN_OBJECT_ARRAY])
def test_dumps_and_pickler_stay_as_the_running_pickle(name):
    make = {**LOCAL, **IN_OBJECT_ARRAY}[name]
    for protocol in range(6):
        with pytest.raises((pickle.PicklingError, AttributeError)) as theirs:
            pickle.dumps(make(), protocol)
        for dumps in (fastpersist.dumps, pickler):
            with pytest.raises((pickle.PicklingError, AttributeError)) as ours:
                dumps(make(), protocol)
            assert type(ours.value) is type(theirs.value)


# ---------------------------------------------------------------- others stay what they are


class RaisesIt:
    """An AttributeError of the object's own, with the very words."""

    def __reduce__(self):
        raise AttributeError("Can't pickle local object 'x'")


class DumpsInside:
    def __reduce__(self):
        return bytes, (pickle.dumps(make_function()),)


class DumpsInsideByUs:
    def __reduce__(self):
        return bytes, (fastpersist.dumps(make_function()),)


class NoSuchAttribute:
    def __getstate__(self):
        return self.no_such_attribute


class Missing:
    __getstate__ = property(operator.attrgetter("missing"))


@pytest.mark.parametrize("kind", [RaisesIt, DumpsInside, DumpsInsideByUs, NoSuchAttribute])
@ways
def test_an_attribute_error_of_the_objects_own(kind, way):
    outcomes = []
    for dump in (joblib.dump, functools.partial(fastpersist.dump, **WAYS[way])):
        with pytest.raises((AttributeError, pickle.PicklingError)) as caught:
            dump([kind()], io.BytesIO())
        outcomes.append(type(caught.value))
    assert outcomes[0] is outcomes[1]
    of_pickle = "Inside" in kind.__name__ and sys.version_info >= (3, 14)
    assert outcomes[0] is (pickle.PicklingError if of_pickle else AttributeError)


def test_an_attribute_error_without_a_traceback():
    """C code raises it, in the words of C code."""
    outcomes = []
    for dump in (joblib.dump, fastpersist.dump):
        with pytest.raises(AttributeError) as caught:
            dump([Missing()], io.BytesIO())
        outcomes.append(str(caught.value))
    assert outcomes[0] == outcomes[1]


# Meant to differ: what the two implementations of pickle differ in by themselves. Here the C one
# is followed, which checks more of what a reducer returns, and says it in one way.
CHECKED_BY_C_ALONE = {
    "module name not a str",
    "reduce list items",
    "reduce list items a list",
    "reduce dict items",
    "reduce dict items triples",
    "reduce dict items lists",
    "reduce state setter",
    "newobj none",
    "newobj_ex none",
    "newobj_ex two",
    "newobj_ex four",
    "newobj_ex args",
    "newobj_ex keywords",
    "newobj_ex without new",
    "newobj_ex another class",
    "reduce_ex is None",
}


def type_of(call):
    try:
        call()
    except Exception as error:
        return type(error)
    return None


@pytest.mark.parametrize("name", UNPICKLABLE)
@pytest.mark.parametrize("protocol", [None, 2])
def test_all_that_cannot_be_dumped(name, protocol):
    """The type of exception is joblib's, for each."""
    make = UNPICKLABLE[name]
    ours = type_of(lambda: fastpersist.dump(make(), io.BytesIO(), protocol=protocol))
    if name in CHECKED_BY_C_ALONE:
        theirs = type_of(lambda: pickle.dumps(make(), protocol or 5))
    elif name == "in an object array":
        theirs = pickle.PicklingError
    else:
        theirs = type_of(lambda: joblib.dump(make(), io.BytesIO(), protocol=protocol or 5))
    assert ours is theirs


def test_no_traceback_is_made_up():
    """It is raised once: no other exception is its context."""
    with pytest.raises(pickle.PicklingError) as caught:
        fastpersist.dump(make_function(), io.BytesIO())
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_in_an_exception_handler():
    try:
        raise KeyError("of the caller")
    except KeyError as outer:
        with pytest.raises(pickle.PicklingError) as caught:
            fastpersist.dump(make_function(), io.BytesIO())
        assert caught.value.__context__ is outer
