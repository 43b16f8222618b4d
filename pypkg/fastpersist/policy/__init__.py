"""What a load under ``trusted=`` may use: the names that are approved, and for what.

A decision is made like this. The file's names, as (module, qualified name) after pickle's own
renaming of Python 2, are looked up in tables, one file a library; there are no patterns. Each row
says how the name may be used (`rows`), why, and which function looks at the arguments or the state
first. What is found under the name must be what the row means: its own ``__module__`` and
``__qualname__`` say so. What `never` lists is refused, whoever asks.

>>> from fastpersist import policy
>>> next(row.reason for row in policy.approved() if row.label == "builtins.slice")
'an immutable value; the rule takes only what its pickles have'
"""

# Storeys of the policy, from the ground.
#     rows           what a row is
#     never          names that no load may use
#     functions      functions and classes that models may hold
#     rules_python   arguments and states of the standard library's
#     rules_numpy    of NumPy's
#     rules_small    of several libraries', a few lines each
#     rules_scipy, rules_sklearn, rules_pandas, rules_torch
#     python, numpy_, scipy_, sklearn_, pandas_, joblib_, torch_  the tables
#     __init__       the tables together; one load's restriction

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from types import BuiltinFunctionType, FunctionType
from typing import Any

from fastpersist._core import Restriction, UntrustedError, find_name
from fastpersist.policy import never
from fastpersist.policy.rows import BUILD, CALL, ITEMS, NEW, Row

_ALL = CALL | NEW | BUILD | ITEMS | 16  # 16: any arguments, any state

# What the survey calls odd, and why no restricted load runs it.
_REFUSED_ODDITIES = {
    "persistent id": "only the program that wrote it knows what it stands for",
    "extension code": "it stands for a name that the file does not show",
    "computed name": "the name is made while the file is loaded",
    "name of 4 KiB or more": "it is no name",
    "INST": "an opcode of protocol 0 that calls a class",
    "OBJ": "an opcode of protocol 1 that calls a class",
    "call of what is no global": "no rule covers it",
    "state set on a global": "it would change what is imported",
    "state set on what is no instance": "no rule covers it",
    "items put into what takes none": "it would call methods by name",
    "joblib's array wrapper in another use": "what follows it could be read in two ways",
    "out-of-band buffer": "no buffers were given",
    "frame that ends inside an opcode": "readers differ in what they make of it",
    "STOP in front of its frame's end": "readers differ in what they make of it",
}
_MAX_SHOWN = 20
# Names of modules that belong to a package, which enters them by itself: what else bears such a
# name, on the path, is somebody else's.
_NEVER_IMPORTED = {"_loss"}
# The classes of what a row may stand for besides classes: functions, and constants.
_FUNCTIONS = {
    "function",
    "builtin_function_or_method",
    "cython_function_or_method",
    "ufunc",
    "_ArrayFunctionDispatcher",
    "method_descriptor",
}
_CONSTANTS = {"NAType", "ellipsis", "NotImplementedType", "dtype"}
# Names that the core answers itself, with a class of its own (csrc/load/joblib_layout.c).
_WRAPPERS = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"),
}


@dataclass(frozen=True, slots=True)
class UntrustedName:
    """A name that a file asks for and that is not approved, or not for what it is used for."""

    name: str
    """Module and qualified name."""
    use: str
    """ "called", "class" (an instance is made), "built" (its state is set), or "argument"."""
    count: int
    """How often it is used so."""
    path: str | None
    """Where in the object it is used first."""
    never: str | None
    """Why `trusted` cannot allow it; None where it can."""


@cache
def approved() -> tuple[Row, ...]:
    """Every approved name, library by library.

    Returns
    -------
    tuple of Row
        With `module`, `name`, `use` (sum of `rows.CALL`, `NEW`, `BUILD`, `ITEMS`) and `reason`.
    """
    from fastpersist.policy import joblib_, numpy_, pandas_, python, scipy_, sklearn_, torch_

    tables = (python, numpy_, scipy_, sklearn_, pandas_, joblib_, torch_)
    return tuple(row for table in tables for row in table.ROWS)


@cache
def _table() -> dict[tuple[str, str], Row]:
    return {(row.module, row.name): row for row in approved()}


@cache
def uses() -> dict[tuple[str, str], int]:
    """The use of each approved name."""
    return {(row.module, row.name): row.use for row in approved()}


def restriction(trusted: Iterable[Any]) -> Policy:
    """What `load` and `loads` take as `trusted`, checked.

    Raises
    ------
    TypeError, ValueError
        It is no iterable of names and classes, or a name is none.
    """
    if isinstance(trusted, tuple) and not trusted:
        return _built_in()
    if isinstance(trusted, (str, bytes, bool)) or not isinstance(trusted, Iterable):
        raise TypeError(
            "trusted must be None, or a list of names and classes (an empty one: only what is "
            f"approved), not {trusted!r}"
        )
    return Policy(frozenset(_label(each) for each in trusted))


@cache
def _built_in() -> Policy:
    return Policy(frozenset())


def _label(trusted: Any) -> str:
    if isinstance(trusted, (type, FunctionType, BuiltinFunctionType)):
        return f"{trusted.__module__}.{trusted.__qualname__}"
    if not isinstance(trusted, str):
        raise TypeError(f"trusted takes names and classes, not {trusted!r}")
    parts = trusted.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ValueError(
            f"trusted takes whole names, as 'package.module.Name', and no patterns: {trusted!r}"
        )
    return trusted


class Policy(Restriction):
    """The restriction of a load: the tables, and the names that its caller trusts besides."""

    def __init__(self, trusted: frozenset[str]) -> None:
        self.trusted = trusted
        self._found: dict[tuple[str, str], tuple[Any, int, Any, Any, Any]] = {}

    def use_of(self, module: str, name: str) -> int | None:
        """How a name may be used; None: not at all."""
        row = _table().get((module, name))
        if row is not None:
            return row.use
        if (module, name) in _WRAPPERS:
            return NEW | BUILD
        is_named = f"{module}.{name}" in self.trusted
        return _ALL if is_named and never.is_never(module, name) is None else None

    def __call__(self, module: str, name: str) -> tuple[Any, int, Any, Any, Any]:
        """For the core: what the name stands for, its use, and its rules."""
        key = (module, name)
        found = self._found.get(key)
        if found is not None:
            # Whether it is there yet, under a name without dots.
            try:
                if sys.modules[module].__dict__[name] is found[0]:
                    return found
            except (AttributeError, LookupError, TypeError):
                pass
        row = _table().get(key)
        if module in _NEVER_IMPORTED and module not in sys.modules:
            raise untrusted([], [f"{module} is imported by its own package only"])
        if row is not None:
            value = find_name(module, name)
            if not _is_meant(row, value):
                raise self._not_meant(module, name, value)
            answer = value, row.use, row.call, row.state, row.plain
        elif self.use_of(module, name) is not None:
            value = find_name(module, name)
            other = presented(value)
            if other is not None and never.is_never(*other) is not None:
                raise self._not_meant(module, name, value)
            answer = value, _ALL, None, None, None
        else:
            raise untrusted([self.untrusted_name(module, name, "argument", 1, None)], [])
        self._found[key] = answer
        return answer

    def _not_meant(self, module: str, name: str, value: object) -> UntrustedError:
        other = presented(value)
        shown = "something else" if other is None else ".".join(other)
        return untrusted([], [f"{module}.{name} is {shown} here, not what the policy means"])

    def untrusted_name(
        self, module: str | None, name: str | None, use: str, count: int, path: str | None
    ) -> UntrustedName:
        label = ".".join(part for part in (module, name) if part is not None)
        why = never.is_never(module or "", name or "")
        return UntrustedName(label or "(computed)", use, count, path, why)

    # ------------------------------------------------------------ before a load

    def refused(
        self, names: Sequence[Any], odd: Iterable[tuple[str, int, Sequence[int]]]
    ) -> tuple[list[tuple[int, str, int]], list[str]]:
        """Of a survey's globals (as `_core.Survey.globals` has them) those that are not approved:
        number, use, how often; and what else stands against a load."""
        found = []
        table = _table()
        for i, (module, name, called, made, built, argument, _, _, flags, _) in enumerate(names):
            row = table.get((module, name))
            use = self.use_of(module, name) if row is None else row.use
            if flags & 23:  # computed, unknown, cut, an extension code
                use = None
            if use is None:
                uses = ("called", called), ("class", made), ("built", built)
                used, count = next(((u, n) for u, n in uses if n), ("argument", argument))
                found.append((i, used, max(count, 1)))
            elif called and not use & (CALL | _ALL & 16):
                found.append((i, "called", called))
            elif made and not use & NEW:
                found.append((i, "class", made))
        reasons = [
            f"{what}{f' at byte {places[0]}' if places else ''}: {_REFUSED_ODDITIES[what]}"
            for what, _, places in odd
            if what in _REFUSED_ODDITIES
        ]
        return found, reasons

    def refused_in(self, names: Iterable[Any]) -> tuple[UntrustedName, ...]:
        """The same of a report's globals (`fastpersist.report.records.GlobalReport`)."""
        bits = {"computed": 1, "unknown": 2, "cut": 4, "extension": 16}
        refused = []
        for each in names:
            flags = sum(bits.get(flag, 0) for flag in each.flags)
            counts = (each.n_called, each.n_class, each.n_built, each.n_argument)
            row = (each.module, each.name, *counts, each.n_fetched, None, flags, None)
            for _, use, count in self.refused([row], ())[0]:
                name = self.untrusted_name(each.module, each.name, use, count, each.path)
                refused.append(name)
        return tuple(refused)


def untrusted(names: Sequence[UntrustedName], reasons: Sequence[str]) -> UntrustedError:
    """The exception, which says everything at once."""
    lines = []
    if names:
        plural = "s" if len(names) > 1 else ""
        lines.append(f"the file asks for {len(names)} name{plural} that the policy does not allow:")
        for each in names[:_MAX_SHOWN]:
            where = f" at {each.path}" if each.path else ""
            times = f", {each.count:,} times" if each.count > 1 else ""
            why = f"; never allowed: {each.never}" if each.never else ""
            lines.append(f"  {each.name} ({each.use}{times}{where}{why})")
        if len(names) > _MAX_SHOWN:
            lines.append(f"  and {len(names) - _MAX_SHOWN} more (UntrustedError.names)")
    lines += [f"it is refused: {reason}" for reason in reasons[:_MAX_SHOWN]]
    open_names = [each.name for each in names if each.never is None]
    if open_names and not reasons and len(open_names) == len(names):
        lines.append("If you know where the file comes from, and want the code of these to run:")
        lines.append(f"  trusted={open_names!r}")
    error = UntrustedError("\n".join(lines))
    error.names = tuple(names)
    error.reasons = tuple(reasons)
    return error


def _is_meant(row: Row, value: object) -> bool:
    kind = type(value)
    if isinstance(value, type) or kind.__qualname__ in _FUNCTIONS:
        return presented(value) in ((row.module, row.name), *row.means)
    # A constant: of a class that takes no state, or the load could give it another one.
    own = (kind.__module__, kind.__qualname__)
    return row.use == 0 and kind.__qualname__ in _CONSTANTS and own not in _table()


def presented(value: object) -> tuple[str, str] | None:
    """What an object says that it is: module and qualified name."""
    name = getattr(value, "__qualname__", None)
    if name is None:  # a ufunc of NumPy before 2.3
        name = getattr(value, "__name__", None)
    module = getattr(value, "__module__", None)
    if module is None and type(value).__name__ == "ufunc":
        module = "numpy"
    if type(value).__name__ == "method_descriptor":
        module = value.__objclass__.__module__  # type: ignore[attr-defined]
    return (module, name) if isinstance(module, str) and isinstance(name, str) else None
