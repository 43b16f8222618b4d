"""Comparing two graphs side by side.

Imports nothing of fastpersist: processes that read its files without it use this too.
"""

import copyreg
import enum
import math
import pickle
import types

import numpy as np


def shorten(thing):
    text = repr(thing)
    return text if len(text) < 1000 else f"{text[:600]} ... {text[-300:]}"


# Equal by ==, without children, and of no identity that pickle would keep.
_VALUES = (type(None), bool, int, type(...), type(NotImplemented))
_AT_ONCE = {type(None), bool, int}  # where a list holds nothing else
# Compared by `is`: pickled by name.
_NAMED = (type, types.FunctionType, types.ModuleType, np.ufunc, enum.Enum)
# May come back as one object where there were two: interned or cached by Python.
_MAY_MERGE = (str, bytes, tuple, frozenset, int, float, complex, range, np.dtype)


def assert_isomorphic(a, b):
    """`b` is a copy of `a`: the same types, values, order and structure of identity.

    Both graphs are walked side by side, without recursion. The same object in `a` must be the same
    object in `b`, and two objects in `a` must be two in `b` (but for immutables that Python itself
    may merge).
    """
    pairs = [(a, b, "value")]
    a_to_b, b_to_a = {}, {}
    alive = []  # what reducers return must not give its address to the next
    while pairs:
        x, y, path = pairs.pop()
        assert type(x) is type(y), f"{path}: {type(x)} against {type(y)}"
        if isinstance(x, _VALUES) and type(x) in _VALUES:
            assert x == y, f"{path}: {x!r} against {y!r}"
            continue
        if type(x) is float:
            assert same_float(x, y), f"{path}: {x!r} against {y!r}"
            continue
        if isinstance(x, _NAMED) or x is np.ma.masked:
            assert x is y, f"{path}: {x!r} against {y!r}"
            continue
        if id(x) in a_to_b:
            assert a_to_b[id(x)] is y, f"{path}: no longer the object that was met before"
            continue
        if id(y) in b_to_a:
            merged = isinstance(x, _MAY_MERGE) or x is b_to_a[id(y)]
            assert merged, f"{path}: two objects became one"
        a_to_b[id(x)] = y
        b_to_a.setdefault(id(y), x)
        alive.append((x, y))
        pairs.extend(reversed(list(_children(x, y, path, alive))))


def same_float(x, y):
    if math.isnan(x) or math.isnan(y):
        return math.isnan(x) and math.isnan(y)
    return x == y and math.copysign(1, x) == math.copysign(1, y)


def _children(x, y, path, alive):
    """Compares what an object is by itself and yields the pairs that it holds."""
    kind = type(x)
    if kind in (str, bytes, bytearray, range):
        assert x == y, f"{path}: {shorten(x)} against {shorten(y)}"
    elif kind is complex:
        assert same_float(x.real, y.real) and same_float(x.imag, y.imag), path
    elif kind in (list, tuple):
        assert len(x) == len(y), f"{path}: length {len(x)} against {len(y)}"
        if _AT_ONCE.issuperset(map(type, x)) and [*map(type, x)] == [*map(type, y)] and x == y:
            return
        for i, pair in enumerate(zip(x, y, strict=True)):
            yield *pair, f"{path}[{i}]"
    elif kind is dict:
        yield from _dict_children(x, y, path)
    elif isinstance(x, (set, frozenset)):
        yield from _set_children(x, y, path)
        if kind not in (set, frozenset):
            state = x.__getstate__(), y.__getstate__()
            alive.append(state)
            yield *state, f"{path}.<state>"
    elif isinstance(x, np.ndarray):
        yield from _array_children(x, y, path, alive)
    elif isinstance(x, pickle.PickleBuffer):
        assert bytes(x) == bytes(y), path
    elif isinstance(x, np.dtype):
        assert same_dtype(x, y), f"{path}: {x!r} against {y!r}"
    elif isinstance(x, np.generic) and not x.dtype.hasobject:
        assert same_dtype(x.dtype, y.dtype) and same_scalar(x, y), f"{path}: {x!r} against {y!r}"
    else:
        yield from _reduced_children(x, y, path, alive)


def _dict_children(x, y, path):
    assert len(x) == len(y), f"{path}: length {len(x)} against {len(y)}"
    for (k1, v1), (k2, v2) in zip(dict.items(x), dict.items(y), strict=True):
        label = shorten(k1) if isinstance(k1, (str, int, bytes, tuple)) else object.__repr__(k1)
        yield k1, k2, f"key of {path} {label}"
        yield v1, v2, f"{path}[{label}]"


def _set_children(x, y, path):
    """Elements are paired by equality, as the order of a set is not kept."""
    assert len(x) == len(y), f"{path}: length {len(x)} against {len(y)}"
    mine = {element: element for element in y}
    for element in x:
        assert element in mine, f"{path}: {shorten(element)} is gone"
        yield element, mine[element], f"element of {path}"


def _array_children(x, y, path, alive):
    assert same_dtype(x.dtype, y.dtype), f"{path}: {x.dtype} against {y.dtype}"
    assert x.shape == y.shape, f"{path}: shape {x.shape} against {y.shape}"
    if x.dtype.hasobject:
        alive.append(pair := (x.ravel().tolist(), y.ravel().tolist()))
        for i, (one, other) in enumerate(zip(*pair, strict=True)):
            yield one, other, f"{path}.flat[{i}]"
    else:
        assert same_elements(x, y), f"{path}: other elements"
    if isinstance(x, np.ma.MaskedArray):
        yield x.mask, y.mask, f"{path}.mask"
        yield x.fill_value, y.fill_value, f"{path}.fill_value"
    extra = getattr(x, "__dict__", None)
    if extra and not isinstance(x, (np.ma.MaskedArray, np.memmap)):
        yield from _dict_children(extra, y.__dict__, f"{path}.__dict__")


def same_scalar(x, y):
    if x.dtype.char in "gG":  # has bytes that mean nothing
        return repr(x) == repr(y)
    return same_elements(x, y)


def same_dtype(x, y):
    if not (x == y and x.str == y.str):
        return False
    # Of long and long long, of the same size, NumPy's pickles keep only one.
    if not (type(x) is type(y) and x.type is y.type or x.kind in "iu"):
        return False
    if metadata_of(x) != metadata_of(y) or x.isalignedstruct != y.isalignedstruct:
        return False
    if x.subdtype is not None:
        return x.shape == y.shape and same_dtype(x.base, y.base)
    if x.names != y.names:
        return False
    for name in x.names or ():
        (dtype, *place), (other_dtype, *other_place) = x.fields[name], y.fields[name]
        if place != other_place or not same_dtype(dtype, other_dtype):
            return False
    return True


def metadata_of(dtype):
    try:
        return dict(dtype.metadata or {})
    except TypeError:  # NumPy 1.26, of a field's dtype that was unpickled without any
        return {}


def same_elements(x, y):
    """Equal bits, but for the padding of structures."""
    x, y = np.asarray(x), np.asarray(y)
    if x.dtype.subdtype is None and x.dtype.names is not None:
        return all(same_elements(x[name], y[name]) for name in x.dtype.names)
    if x.dtype.kind == "T":
        return x.tolist() == y.tolist()
    return x.tobytes() == y.tobytes()


def _reduced_children(x, y, path, alive):
    """Any other object is what its reducer says it is."""
    one, other = reduced(x), reduced(y)
    if isinstance(one, str):
        assert one == other and x is y, path
        return
    alive.append((one, other))
    assert len(one) == len(other), f"{path}: reduced to {one!r} against {other!r}"
    for i, pair in enumerate(zip(one, other, strict=True)):
        if i == 1:
            # Made for this call: only what is in it has an identity.
            yield from _children(*pair, f"{path}.<reduce {i}>", alive)
        elif i == 2 and type(pair[0]) is type(pair[1]) is dict:
            yield from _attributes(*pair, path)
        elif i == 2 and all(is_dict_and_slots(state) for state in pair):
            for state in zip(*pair, strict=True):
                yield from _attributes(*(part or {} for part in state), path)
        elif i in (3, 4) and pair[0] is not None:
            alive.append(pair := (list(pair[0]), list(pair[1])))
            flat = ([e for kv in side for e in kv] for side in pair) if i == 4 else pair
            one_flat, other_flat = map(list, flat)
            assert len(one_flat) == len(other_flat), path
            for n, items in enumerate(zip(one_flat, other_flat, strict=True)):
                yield *items, f"{path}.<item {n}>"
        else:
            yield *pair, f"{path}.<reduce {i}>"


def is_dict_and_slots(state):
    return type(state) is tuple and [type(part) for part in state] in (
        [type(None), dict],
        [dict, dict],
    )


def _attributes(x, y, path):
    """Names are interned when attributes are set, so their own identity means nothing."""
    assert list(x) == list(y), f"{path}: attributes {list(x)} against {list(y)}"
    for name, other in zip(x, y, strict=True):
        assert type(name) is type(other), path
        yield x[name], y[other], f"{path}.{name}"


def reduced(x):
    reducer = copyreg.dispatch_table.get(type(x))
    return reducer(x) if reducer else x.__reduce_ex__(4)
