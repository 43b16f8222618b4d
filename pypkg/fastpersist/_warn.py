"""Warnings, where the caller sees them, and what `load` says of other versions."""

from __future__ import annotations

import sys
import warnings
from pickle import UnpicklingError


class EnvironmentMismatchWarning(UserWarning):
    """Packages run in other versions than the file was saved with.

    The text has a table of them. `mismatches` holds them as tuples:
    package, version at saving, version that runs (None: none), and
    "major", "minor", "patch" or "missing".
    """

    mismatches: tuple[tuple[str, str, str | None, str], ...] = ()


class EnvironmentMismatchError(UnpicklingError):
    """The same, where `load` was called with ``environment="raise"``."""

    mismatches: tuple[tuple[str, str, str | None, str], ...] = ()


for _type in (EnvironmentMismatchWarning, EnvironmentMismatchError):
    _type.__module__ = __name__.rpartition(".")[0]  # where it is public


def at_caller(message: str | Warning) -> None:
    """A warning, of a text a UserWarning, at the line that called into this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == __name__.partition(".")[0]
