"""Stand-ins, for a pickle of others that is checked: its opcodes are run, nothing that it names.

Whatever it names is `Anything`, which takes every call, item and state and does nothing. Only
joblib's wrappers of arrays and NumPy's dtypes are understood, as far as it takes to know how many
bytes follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _nothing(*arguments: Any) -> None:
    pass


class _TakesItems(type):
    def __setitem__(cls, key: Any, value: Any) -> None:
        pass


class Anything(metaclass=_TakesItems):
    """Stands for every class, function and instance of a file, the class itself for all of them."""

    def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
        return cls

    __setstate__ = staticmethod(_nothing)
    append = staticmethod(_nothing)
    extend = staticmethod(_nothing)
    add = staticmethod(_nothing)
    update = staticmethod(_nothing)


class _Dtype:
    """What the graph says about a dtype; `made` is the dtype of that size."""

    def __init__(self, name: Any = "", *arguments: Any) -> None:
        self.name = name if isinstance(name, str) else ""
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):
            self.state = state

    def made(self) -> Any:
        """None: it is none."""
        try:
            return self._made()
        except Exception:  # of NumPy, about what the file says
            return None

    def _made(self) -> Any:
        import numpy as np

        # (version, byte order, (base, shape), names, fields, size, alignment, flags)
        subarray, _, fields, size = (*self.state[2:6], None, None, None, None)[:4]
        if self.name.startswith("O"):
            return np.dtype(object)
        if isinstance(fields, dict) and any(_holds_objects(part) for part in fields.values()):
            return np.dtype(object)
        if isinstance(subarray, tuple) or isinstance(fields, dict):
            return np.dtype(("V", size))
        if isinstance(size, int) and size > 0:  # text, bytes, void of so many bytes
            return np.dtype(("V", size))
        return np.dtype(self.name)


def _holds_objects(field: Any) -> bool:
    return isinstance(field[0], _Dtype) and bool(field[0].made().hasobject)


class _Wrapper:
    """joblib's NumpyArrayWrapper: the core reads its attributes, and skips the array behind it."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update((k, v) for k, v in state.items() if isinstance(k, str))
        dtype = self.__dict__.get("dtype")
        if isinstance(dtype, _Dtype):
            self.__dict__["dtype"] = dtype.made()


def find_class(module: Any, name: Any) -> Callable[..., Any]:
    if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
        return _Wrapper
    if (module, name) == ("numpy", "dtype"):
        return _Dtype
    return Anything
