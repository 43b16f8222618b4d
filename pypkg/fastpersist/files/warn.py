"""Warnings, where the caller sees them."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def at_caller(text: str) -> None:
    """A UserWarning at the line that called into this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


def ignored(file: Any, reason: str, mmap_mode: str) -> None:
    """That a file is read although it was to be mapped."""
    at_caller(f'"{file!r}" {reason}, mmap_mode "{mmap_mode}" flag will be ignored.')


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == __name__.partition(".")[0]
