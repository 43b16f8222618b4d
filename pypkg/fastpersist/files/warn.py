"""What a load warns of."""

from __future__ import annotations

from typing import Any

from fastpersist._warn import at_caller as at_caller


def ignored(file: Any, reason: str, mmap_mode: str) -> None:
    """That a file is read although it was to be mapped."""
    at_caller(f'"{file!r}" {reason}, mmap_mode "{mmap_mode}" flag will be ignored.')
