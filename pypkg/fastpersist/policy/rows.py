"""What a row of the policy's tables is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

# What an approved name may be used for; 0: as an argument, which is always allowed. The core has
# the same numbers (csrc/build/restrict.h).
ARGUMENT = 0
CALL = 1
"""Called with arguments (REDUCE)."""
NEW = 2
"""A class whose instances are made by its own ``__new__``, as most are."""
BUILD = 4
"""A class whose instances take a state."""
ITEMS = 8
"""A subclass of dict, list or set that takes items as its base does."""
WHOLE = 32
"""What a CALL makes must have got its state when the load ends: without one it is no object."""

Check: TypeAlias = Callable[[tuple[Any, ...]], "tuple[Any, ...] | None"]
StateCheck: TypeAlias = Callable[[Any, Any], Any]


class Refused(ValueError):
    """An argument or a state that the policy does not allow; says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """An approved name."""

    module: str
    name: str
    """Qualified, within the module."""
    use: int
    """Sum of CALL, NEW, BUILD, ITEMS, WHOLE."""
    reason: str
    call: Check | None = None
    """Looks at the arguments of CALL, or of NEW those behind the class: raises `Refused`, or gives
    the arguments to go on with (None: the same). Without it a CALL takes anything that the policy
    lets be made, and a NEW takes none."""
    state: StateCheck | None = None
    """Looks at an instance and its state: raises `Refused`, or gives the state to be set."""
    plain: StateCheck | Literal[True] | None = None
    """What is asked in place of `state` where the state is a dict that nobody else holds, none of
    whose values can be called, and whose "memory" is None; True: nothing."""
    means: tuple[tuple[str, str], ...] = ()
    """Under which other module and qualified name what is found may present itself."""

    @property
    def label(self) -> str:
        return f"{self.module}.{self.name}"


def rows(
    module: str, names: str, use: int, reason: str, *, means: str = "", **rules: Any
) -> tuple[Row, ...]:
    """A row for each of several names of a module, separated by blanks; `means`: the modules under
    which they may present themselves, by the same names."""
    return tuple(
        Row(module, name, use, reason, means=tuple((m, name) for m in means.split()), **rules)
        for name in names.split()
    )
