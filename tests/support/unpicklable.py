"""What cannot be pickled, each in a way of its own: UNPICKLABLE makes one by its name."""

import asyncio
import collections
import copyreg
import operator
import pickle
import sys
import threading
import types
import weakref

import numpy as np
import sample_classes as s


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
