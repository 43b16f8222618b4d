"""The largest of each kind, for what shows no more."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastpersist.report.facts import Facts
from fastpersist.report.records import ArrayReport, GlobalReport, LeafReport


@dataclass(frozen=True)
class Lists:
    """So many of each as are shown, and how many there are."""

    arrays: tuple[ArrayReport, ...]
    """The largest."""
    n_arrays: int
    array_bytes: int
    leaves: tuple[LeafReport, ...]
    """The largest."""
    n_leaves: int
    leaf_bytes: int
    globals: tuple[GlobalReport, ...]
    """Those that are called first, each in the order of first use."""
    n_globals: int
    n_called: int


def lists_of(dumps: Sequence[Facts], n_listed: int) -> Lists:
    arrays = [facts.arrays["n_bytes"] for facts in dumps]
    leaves = [facts.leaves["n_bytes"] for facts in dumps]
    n_called = [sum(1 for each in facts.globals if each[2] > 0) for facts in dumps]
    return Lists(
        arrays=tuple(dumps[i].array(j) for i, j in _largest(arrays, n_listed)),
        n_arrays=sum(map(len, arrays)),
        array_bytes=sum(int(sizes.sum(dtype="u8")) for sizes in arrays),
        leaves=tuple(dumps[i].leaf(j) for i, j in _largest(leaves, n_listed)),
        n_leaves=sum(map(len, leaves)),
        leaf_bytes=sum(int(sizes.sum(dtype="u8")) for sizes in leaves),
        globals=tuple(dumps[i].global_(j) for i, j in _foremost(dumps, n_listed)),
        n_globals=sum(len(facts.globals) for facts in dumps),
        n_called=sum(n_called),
    )


def _largest(tables: Sequence[np.ndarray[Any, Any]], n: int) -> list[tuple[int, int]]:
    """(table, row) of the n largest numbers, the first of equal ones first."""
    found = []
    for i, sizes in enumerate(tables):
        for j in np.argsort(~sizes, kind="stable")[:n].tolist():
            found.append((-int(sizes[j]), i, j))
    return [(i, j) for _, i, j in heapq.nsmallest(n, found)]


def _foremost(dumps: Sequence[Facts], n: int) -> list[tuple[int, int]]:
    rows = (
        (each[2] == 0, i, j)
        for i, facts in enumerate(dumps)
        for j, each in enumerate(facts.globals)
    )
    return [(i, j) for _, i, j in heapq.nsmallest(n, rows)]
