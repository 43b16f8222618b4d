"""Bytes by object path: the rows that are worth showing, which add up to the file.

A row's objects are those that hang on it in the file. What only carries them, the state of an
instance and the arguments of a call, has no row: its bytes are the object's own.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fastpersist.report.facts import KINDS, NONE, STEPS, STORED, Facts
from fastpersist.report.records import TreeRow
from fastpersist.report.words import cut

MAX_DEPTH = 64  # of rows; JSON and HTML nest no deeper
_OUTSIDE = 50  # values outside of the object, each a row

_STATE, _ARGS, _INDEX = (STEPS.index(name) for name in ("state", "args", "index"))
_ARRAY, _INSTANCE, _GLOBAL = (KINDS.index(name) for name in ("array", "instance", "global"))
_CONTAINERS = tuple(KINDS.index(name) for name in ("tuple", "list", "dict", "set", "frozenset"))
_ELEMENTS = STORED.index("elements")
_PARTS = ("header", "protocol", "frames", "padding", "stop", "footer")
_COLOURS = {
    "f": "float",
    "i": "int",
    "u": "int",
    "b": "bool",
    "?": "bool",
    "c": "complex",
    "M": "time",
    "m": "time",
    "U": "text",
    "S": "text",
    "a": "text",
    "V": "record",
}


def colour_of(dtype: str) -> str:
    """What the bytes of an array are."""
    if dtype == "object":
        return "object"
    if dtype.startswith("record("):
        return "record"
    return _COLOURS.get(dtype.lstrip("<>|=")[:1], "other")


@dataclass(frozen=True)
class Node:
    """An object that may become a row."""

    facts: Facts
    number: int
    step: str
    path: str

    @property
    def n_bytes(self) -> int:
        return int(self.facts.nodes["total"][self.number])


class Tree:
    """The nodes of one survey, by what they hang on."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        nodes = facts.nodes
        # Siblings side by side, the largest first.
        self._order = np.lexsort((~nodes["total"], nodes["parent"]))
        self._parents = nodes["parent"][self._order]

    def roots(self) -> list[int]:
        """The object itself, and behind it what is no part of it."""
        first = self.facts.survey.root
        found: list[int] = self._slice(NONE).tolist()
        if first is not None:
            found = [first, *(i for i in found if i != first)]
        return found

    def children(self, node: Node, limit: int | None = None) -> tuple[list[Node], list[int]]:
        """The largest ones, and the numbers of the rest."""
        if self.is_leaf(node):
            return [], []
        found = self._direct(node.number)
        n_shown = len(found) if limit is None else limit
        return [self.node(i, node.path) for i in found[:n_shown]], found[n_shown:]

    def is_leaf(self, node: Node) -> bool:
        """The parts of an array's constructor are its own bytes."""
        record = self.facts.nodes[node.number]
        return bool(
            record["kind"] == _ARRAY and self.facts.arrays["stored"][record["what"]] != _ELEMENTS
        )

    def _slice(self, parent: int) -> np.ndarray:
        parent_number = np.uint32(parent)
        first = np.searchsorted(self._parents, parent_number, "left")
        last = np.searchsorted(self._parents, parent_number, "right")
        return self._order[first:last]

    def _direct(self, number: int) -> list[int]:
        nodes = self.facts.nodes
        found: list[int] = self._slice(number).tolist()
        carriers = self._carriers(number, found)
        if not carriers:
            return found
        out = [i for i in found if i not in carriers]
        for carrier in carriers:
            inner: list[int] = self._slice(carrier).tolist()
            is_state = nodes["step_kind"][carrier] == _STATE
            for i in inner:
                if is_state and self._is_unspoken(i):
                    out.extend(self._slice(i).tolist())
                else:
                    out.append(i)
        out.sort(key=lambda i: (-int(nodes["total"][i]), i))
        return out

    def _carriers(self, number: int, found: list[int]) -> set[int]:
        """Those of the children that only carry others."""
        if self.facts.nodes["kind"][number] in _CONTAINERS:
            return set()
        nodes = self.facts.nodes[found]
        carries = np.isin(nodes["step_kind"], (_STATE, _ARGS))
        carries &= np.isin(nodes["kind"], _CONTAINERS)
        return {found[i] for i in np.flatnonzero(carries)}

    def _is_unspoken(self, number: int) -> bool:
        """Whether the paths of what is in it do not go by it: (dict, slots), elements."""
        record = self.facts.nodes[number]
        if record["step_kind"] != _INDEX or record["kind"] not in _CONTAINERS:
            return False
        inner = self._slice(number)
        if len(inner) == 0:
            return False
        path = self.facts.survey.path
        return not path(int(inner[0])).startswith(path(number))

    def node(self, number: int, above: str = "") -> Node:
        path = self.facts.survey.path(number)
        step = path[len(above) :] if path.startswith(above) else path
        return Node(self.facts, number, step, path)


# ---------------------------------------------------------------- what a node is


def described(node: Node) -> tuple[str, str, str]:
    """Kind, label and colour."""
    facts = node.facts
    record = facts.nodes[node.number]
    kind, what = KINDS[record["kind"]], int(record["what"])
    if kind == "array":
        array = facts.arrays[what]
        dtype = facts.dtype(int(array["dtype"]))
        shape = facts.survey.shape(what)
        label = cut(dtype, 40) + (" ?" if shape is None else f" {shape}")
        maker = facts.global_label(int(array["maker"]))
        if maker not in ("numpy.ndarray", "(computed)"):
            label = f"{maker} {label}"
        return kind, cut(label), colour_of(dtype)
    if kind in ("instance", "global"):
        return kind, facts.global_label(what), "opcodes"
    if kind in ("str", "old str"):
        return kind, kind, "text"
    if kind in ("bytes", "bytearray", "buffer", "blob"):
        return kind, kind, "bytes"
    if record["kind"] in _CONTAINERS:
        label = f"{kind} of {what:,}"
        if record["levels"] > 1:
            label += f", {int(record['levels']):,} deep"
        return kind, label, "opcodes"
    return kind, kind, "opcodes"


# ---------------------------------------------------------------- rows


@dataclass
class _Growing:
    step: str
    path: str
    n_bytes: int
    kind: str
    label: str
    colour: str
    depth: int
    n_hidden: int = 0
    below: list[_Growing] = field(default_factory=list)


class Dump:
    """What the rows need of one dump."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.sums = facts.survey.sums
        self.n_bytes = facts.survey.length

    def __reduce__(self) -> tuple[type[Dump], tuple[Facts]]:
        return Dump, (self.facts,)

    @functools.cached_property
    def tree(self) -> Tree:
        return Tree(self.facts)


def rows_of(
    dumps: Sequence[Dump],
    n_behind: int,
    *,
    n_rows: int,
    n_children: int = 100,
    depth: int = MAX_DEPTH,
    sort: str = "size",
    share: float = 0.0,
) -> tuple[TreeRow, ...]:
    """The largest objects by their paths, what they hang on in front of them. What is less than
    this share of the file has no row, but where it is more together."""
    n_bytes = sum(dump.n_bytes for dump in dumps) + n_behind
    least = int(n_bytes * share)
    top = _Growing("", "", n_bytes, "part", "file", "opcodes", 0)
    waiting: list[_Waiting] = []
    ticket = itertools.count()
    n_left = n_rows - 1
    for dump in dumps[:n_children]:
        row = top
        if len(dumps) > 1:
            name = f"dump {dump.facts.number}"
            row = _Growing("", name, dump.n_bytes, "part", name, "opcodes", 1)
            top.below.append(row)
            n_left -= 1
        n_left -= _dump_rows(dump, row, waiting, ticket)
    if dumps[n_children:]:
        n_more = len(dumps) - n_children
        rest_bytes = sum(dump.n_bytes for dump in dumps[n_children:])
        label = f"{n_more:,} more dumps"
        top.below.append(_Growing("", label, rest_bytes, "rest", label, "opcodes", 1, n_more))
        n_left -= 1
    if n_behind:
        label = "behind the last dump"
        top.below.append(_Growing("", label, n_behind, "part", label, "other", 1))
        n_left -= 1
    heapq.heapify(waiting)
    depth = min(depth, MAX_DEPTH)
    while waiting:
        _, _, row, node, tree = heapq.heappop(waiting)
        limit = max(0, min(n_children, n_left - 1)) if row.depth < depth else 0
        shown, rest = tree.children(node, limit)
        if not shown:
            row.n_hidden = len(rest)
            continue
        while shown and shown[-1].n_bytes < least:
            rest.append(shown.pop().number)
        for child in shown:
            below = _grown(child, row.depth + 1)
            row.below.append(below)
            heapq.heappush(waiting, (-child.n_bytes, next(ticket), below, child, tree))
            n_left -= 1
        if rest:
            below = _rest(rest, node.path, row.depth + 1, tree)
            if below.n_bytes >= least:
                row.below.append(below)
                n_left -= 1
    return tuple(_flat(top, sort))


_Waiting = tuple[int, int, _Growing, Node, Tree]


def _dump_rows(dump: Dump, row: _Growing, waiting: list[_Waiting], ticket: Iterator[int]) -> int:
    """The parts of a dump; how many rows they are."""
    sums = dump.sums
    depth = row.depth + 1
    roots = dump.tree.roots()
    n_rows = 0
    if dump.facts.survey.root is not None:
        node, roots = dump.tree.node(roots[0]), roots[1:]
        grown = _grown(node, depth)
        row.below.append(grown)
        waiting.append((-grown.n_bytes, next(ticket), grown, node, dump.tree))
    elif sums["values"]:
        row.below.append(_part("values", sums["values"], depth))
    if sums["outside"]:
        outside = _part("outside", sums["outside"], depth, "values outside of the object")
        row.below.append(outside)
        for root in roots[:_OUTSIDE]:
            node = dump.tree.node(root)
            below = _grown(node, depth + 1)
            outside.below.append(below)
            waiting.append((-below.n_bytes, next(ticket), below, node, dump.tree))
        if roots[_OUTSIDE:]:
            outside.below.append(_rest(roots[_OUTSIDE:], "", depth + 1, dump.tree))
        n_rows += len(outside.below)
    for name in _PARTS:
        if sums[name]:
            row.below.append(_part(name, sums[name], depth))
    return n_rows + len(row.below)


def _grown(node: Node, depth: int) -> _Growing:
    return _Growing(node.step, node.path, node.n_bytes, *described(node), depth)


def _part(name: str, n_bytes: int, depth: int, label: str | None = None) -> _Growing:
    return _Growing("", name, n_bytes, "part", label or name, "opcodes", depth)


def _rest(rest: list[int], above: str, depth: int, tree: Tree) -> _Growing:
    nodes = tree.facts.nodes[rest]
    n_bytes = int(nodes["total"].sum(dtype="u8"))
    step = "[*]" if bool((nodes["step_kind"] == _INDEX).all()) else "…"
    label = f"{len(rest):,} more"
    return _Growing(step, above + step, n_bytes, "rest", label, "opcodes", depth, len(rest))


def _flat(top: _Growing, sort: str) -> Iterable[TreeRow]:
    """What hangs on a row behind it."""
    waiting: list[tuple[_Growing, int | None]] = [(top, None)]
    number = 0
    while waiting:
        row, parent = waiting.pop()
        yield TreeRow(
            path=row.path,
            step=row.step,
            parent=parent,
            depth=row.depth,
            n_bytes=row.n_bytes,
            own_bytes=row.n_bytes - sum(below.n_bytes for below in row.below),
            kind=row.kind,
            label=row.label,
            colour=row.colour,
            n_hidden=row.n_hidden,
        )
        below = row.below
        if sort == "path":
            below = sorted(below, key=_by_path)
        waiting.extend((each, number) for each in reversed(below))
        number += 1


def _by_path(row: _Growing) -> tuple[bool, bool, list[tuple[int, str]]]:
    return row.kind == "part", row.kind == "rest", _natural(row.step)


def _natural(step: str) -> list[tuple[int, str]]:
    """Numbers by what they count."""
    out = []
    text = ""
    digits = ""
    for character in step + "\0":
        if character in "0123456789":
            digits += character
            continue
        if digits:
            out.append((int(digits[:18]), text))
            digits = text = ""
        text += character
    return [*out, (-1, text)]
