"""Rules of a few lines that the tables need beside those of one library."""

from __future__ import annotations

import sys
from typing import Any

from fastpersist.policy.functions import CLASSES, NAMES
from fastpersist.policy.rows import Check, Refused, StateCheck

# Instances of their classes may be called; functions are of classes of Python's or Cython's.
_LIBRARIES = ("numpy", "scipy", "sklearn")


def type_of_singleton(args: tuple[Any, ...]) -> None:
    """``type(None)``, as pickles name what has no name."""
    if len(args) != 1 or not (args[0] is None or args[0] is ... or args[0] is NotImplemented):
        raise Refused("type() of None, ... or NotImplemented only")


def array_state(instance: Any, state: Any) -> Any:
    """State of an array: (version, shape, dtype, whether in Fortran's order, bytes or items)."""
    if type(state) is not tuple or len(state) not in (4, 5):
        raise Refused("the state of an array")
    shape, dtype, _, data = state[-4:]
    numpy = sys.modules["numpy"]
    if type(shape) is not tuple or not isinstance(dtype, numpy.dtype):
        raise Refused("the state of an array")
    count = 1
    for length in shape:
        if type(length) is not int or length < 0:
            raise Refused("a length in the shape of an array")
        count *= length
    if dtype.hasobject:
        if type(data) is not list or len(data) != count or dtype.kind != "O":
            raise Refused("the items of an array are not as many as its shape takes")
    elif type(data) in (bytes, bytearray) and len(data) != count * dtype.itemsize:
        raise Refused("the bytes of an array are not as many as its shape takes")
    elif type(data) not in (bytes, bytearray, str):
        raise Refused("the bytes of an array")
    return state


# Models


def check_callable(value: Any, what: str, name: str) -> None:
    """Refuses a function or class that is no parameter of a model: what a load may call with
    arguments that its rule has seen, a model would call with others."""
    kind = type(value)
    if isinstance(value, type):
        present = (value.__module__, value.__qualname__)
        numpy = sys.modules.get("numpy")
        if present in CLASSES or (numpy is not None and issubclass(value, numpy.generic)):
            return
        raise Refused(f"{name} of {what} is a class, {'.'.join(present)!s:.80}")
    home = kind.__module__.partition(".")[0]
    if home == "numpy" and kind.__name__ == "ufunc":
        return
    if home in _LIBRARIES and kind.__name__ != "_ArrayFunctionDispatcher":
        return  # a kernel, a scorer, an interpolator: made in this load, by a row of its own
    present = (str(getattr(value, "__module__", None)), str(getattr(value, "__qualname__", None)))
    if present not in NAMES:
        raise Refused(f"{name} of {what} is {'.'.join(present)!s:.80}")


def model_state(instance: Any, state: Any) -> Any:
    """Any estimator, kernel, splitter, scorer or part of one: no functions but those that models
    may hold. That its attributes hide no method is looked at by the core, which also knows the
    states that need nothing of this (`Row.plain`)."""
    if type(state) is not dict:
        raise Refused(f"the state of {type(instance).__name__} is no dict")
    if state.get("memory") is not None:
        # Fitted anew it would load what lies at a place that the file says.
        raise Refused(f"{type(instance).__name__} has a memory")
    for name, value in state.items():
        if callable(value):
            check_callable(value, type(instance).__name__, name)
    # The load could go on to fill the one in the file.
    return dict(state)


def model_and(check: StateCheck) -> StateCheck:
    """`model_state`, and then `check`."""

    def both(instance: Any, state: Any) -> Any:
        return check(instance, model_state(instance, state))

    return both


# Distributions of scipy.stats


def distribution_state(instance: Any, state: Any) -> Any:
    """A distribution makes its methods of text in its state, by exec(): so it gets the state of the
    one that scipy itself has by that name. Only the random generator is kept."""
    what = type(instance).__name__
    if type(state) is not dict:
        raise Refused(f"the state of {what} is no dict")
    name = state.get("name")
    module = sys.modules.get(type(instance).__module__)
    known = getattr(module, name, None) if type(name) is str and name.isidentifier() else None
    if known is None or type(known) is not type(instance):
        raise Refused(f"{what} has no distribution of that name")
    own: dict[str, Any] = known.__getstate__()
    for key in ("a", "b", "numargs", "shapes"):
        mine, theirs = own.get(key), state.get(key)
        if type(theirs) not in (type(None), int, float, str) or theirs != mine:
            raise Refused(f"{key} of {what} is not that of scipy's own")
    result = dict(own)
    numpy = sys.modules["numpy"]
    random = state.get("_random_state")
    if type(random) in (numpy.random.RandomState, numpy.random.Generator):
        result["_random_state"] = random
    return result


def frozen_state(instance: Any, state: Any) -> Any:
    """A distribution with its arguments."""
    what = type(instance).__name__
    if type(state) is not dict or set(state) - {"args", "kwds", "dist", "a", "b"}:
        raise Refused(f"the state of {what}")
    kind = type(state.get("dist"))
    if kind.__module__ not in ("scipy.stats._continuous_distns", "scipy.stats._discrete_distns"):
        raise Refused(f"the distribution of {what}")
    if type(state.get("args")) is not tuple or type(state.get("kwds")) is not dict:
        raise Refused(f"the arguments of {what}")
    for value in (*state["args"], *state["kwds"].values()):
        if callable(value):
            raise Refused(f"an argument of {what}")
    return state


# scikit-learn


def centers_state(check: StateCheck) -> StateCheck:
    """`check`, and a count for each center, which compiled code adds to when training goes on."""

    def both(instance: Any, state: Any) -> Any:
        state = check(instance, state)
        counts, centers = state.get("_counts"), state.get("cluster_centers_")
        if counts is not None and (
            type(counts) is not sys.modules["numpy"].ndarray
            or centers is None
            or counts.shape != centers.shape[:1]
        ):
            raise Refused(f"the counts of {type(instance).__name__}")
        return state

    return both


def text_state(check: StateCheck) -> StateCheck:
    """`model_state`, and then `check`, of what reads texts: not from files that a caller's texts
    would name."""

    def both(instance: Any, state: Any) -> Any:
        state = model_state(instance, state)
        way = state.get("input", "content")
        if type(way) is not str or way != "content":
            raise Refused(f"input of {type(instance).__name__} is not 'content'")
        return check(instance, state)

    return both


def no_state(instance: Any, state: Any) -> Any:
    """What has no attributes, as Cython writes it."""
    if state is not None and not (type(state) is tuple and not state):
        raise Refused(f"{type(instance).__name__} has no state")
    return state


def pyx_unpickle_numbers(module: str, name: str, count: int) -> Check:
    """The rule for ``__pyx_unpickle_NAME(class, checksum, state)`` of a compiled class that keeps
    so many numbers, and nothing else."""

    def check(args: tuple[Any, ...]) -> None:
        own = getattr(sys.modules.get(module), name, None)
        if len(args) != 3 or own is None or args[0] is not own or type(args[1]) is not int:
            raise Refused(f"makes {name} only")
        state = args[2]
        if type(state) is not tuple or [type(value) for value in state] != [float] * count:
            raise Refused(f"the state of {name}")

    return check


def triplet(args: tuple[Any, ...]) -> None:
    """``_ImputerTriplet(feat_idx, neighbor_feat_idx, estimator)``: a tuple of three."""
    if len(args) != 3:
        raise Refused("takes three arguments")


# joblib


def wrapper_state(instance: Any, state: Any) -> Any:
    """State of a NumpyArrayWrapper: what array follows it."""
    names = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
    if type(state) is not dict or set(state) - names:
        raise Refused("the state of a NumpyArrayWrapper")
    numpy = sys.modules["numpy"]
    if not any(state.get("subclass") is kind for kind in (numpy.ndarray, numpy.matrix)):
        raise Refused("the class of an array")
    shape = state.get("shape")
    if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
        raise Refused("the shape of an array")
    if type(state.get("order")) is not str or state["order"] not in ("C", "F"):
        raise Refused("the order of an array")
    return state


# pandas


def string_dtype_state(instance: Any, state: Any) -> Any:
    """State of a StringDtype, of pandas 2."""
    if type(state) is not dict or set(state) - {"storage", "_na_value", "_cache_dtypes"}:
        raise Refused("the state of a StringDtype")
    if type(state.get("storage")) is not str or state["storage"] != "python":
        raise Refused("a StringDtype of Python's own strings only")
    missing = state.get("_na_value")
    if type(missing) not in (type(None), float) and type(missing).__name__ != "NAType":
        raise Refused("what is missing in a StringDtype")
    return {key: value for key, value in state.items() if key != "_cache_dtypes"}
