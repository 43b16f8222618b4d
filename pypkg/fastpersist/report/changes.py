"""What differs between two files: `FileReport.diff`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastpersist.report.records import ArrayReport, Environment, GlobalReport, plain
from fastpersist.report.tree import MAX_DEPTH, Dump, Node, Tree, described
from fastpersist.report.words import fitted, shown, size

_ROWS = 1000
_CHILDREN = 100_000  # of one object that are compared by name


@dataclass(frozen=True)
class Change:
    """Bytes at one path, before and after; None where there was or is nothing."""

    path: str
    label: str
    depth: int
    before: int | None
    after: int | None

    @property
    def difference(self) -> int:
        return (self.after or 0) - (self.before or 0)


@dataclass(frozen=True)
class ArrayChange:
    """An array whose dtype, shape or order is another one."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class FileDiff:
    """From one report to another."""

    before: str
    after: str
    n_bytes_before: int
    n_bytes_after: int
    sizes: tuple[Change, ...]
    """Objects whose bytes differ, below those that they are part of; the largest differences."""
    arrays: tuple[ArrayChange, ...]
    globals_gone: tuple[str, ...]
    globals_new: tuple[str, ...]
    environment: tuple[tuple[str, str | None, str | None], ...]
    """(package, version before, version after), those that differ."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, in the order of the fields."""
        return {"schema": 1, **plain(self)}

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def between(
    names: tuple[str, str],
    dumps: tuple[Sequence[Dump], Sequence[Dump]],
    arrays: tuple[Iterable[ArrayReport], Iterable[ArrayReport]],
    rows: tuple[Iterable[GlobalReport], Iterable[GlobalReport]],
    environments: tuple[Environment | None, Environment | None],
    n_bytes: tuple[int, int],
) -> FileDiff:
    """All arguments: before, after."""
    gone, new = _names(rows[0]), _names(rows[1])
    return FileDiff(
        before=names[0],
        after=names[1],
        n_bytes_before=n_bytes[0],
        n_bytes_after=n_bytes[1],
        sizes=tuple(_sizes(*dumps)),
        arrays=tuple(_changed(*arrays)),
        globals_gone=tuple(name for name in gone if name not in new),
        globals_new=tuple(name for name in new if name not in gone),
        environment=tuple(_packages(*environments)),
    )


def _names(rows: Iterable[GlobalReport]) -> dict[str, None]:
    return {row.label: None for row in rows}


def _packages(
    before: Environment | None, after: Environment | None
) -> Iterator[tuple[str, str | None, str | None]]:
    one, other = (_versions(each) for each in (before, after))
    for name in {**one, **other}:
        if one.get(name) != other.get(name):
            yield name, one.get(name), other.get(name)


def _versions(environment: Environment | None) -> dict[str, str]:
    if environment is None:
        return {}
    known = {"python": environment.python, "fastpersist": environment.fastpersist}
    found = {name: version for name, version in known.items() if version is not None}
    return {**found, **dict(environment.packages)}


def _changed(before: Iterable[ArrayReport], after: Iterable[ArrayReport]) -> Iterator[ArrayChange]:
    was = {(array.dump, array.path): _described(array) for array in before}
    n_left = _ROWS
    for array in after:
        then, now = was.get((array.dump, array.path)), _described(array)
        if then is not None and then != now and n_left > 0:
            n_left -= 1
            yield ArrayChange(array.path, then, now)


def _described(array: ArrayReport) -> str:
    order = f" {array.order}" if array.order != "C" else ""
    return f"{array.dtype} {'?' if array.shape is None else array.shape}{order}"


# ---------------------------------------------------------------- sizes

_Pair = tuple[Tree | None, Node | None, Tree | None, Node | None, str, int]


def _sizes(before: Sequence[Dump], after: Sequence[Dump]) -> Iterator[Change]:
    waiting: list[_Pair] = []
    for i in range(max(len(before), len(after))):
        one, other = (dumps[i] if i < len(dumps) else None for dumps in (before, after))
        prefix = f"dump {i}: " if max(len(before), len(after)) > 1 else ""
        waiting.append((*_root(one), *_root(other), prefix, 0))
    waiting.reverse()
    n_left = _ROWS
    while waiting and n_left > 0:
        pair = waiting.pop()
        old_tree, old, new_tree, new, prefix, depth = pair
        change = _change(old, new, prefix, depth)
        if change is None or change.difference == 0:
            continue
        yield change
        n_left -= 1
        if old is None or new is None or depth >= MAX_DEPTH or old_tree is None or new_tree is None:
            continue
        below = _matched(old_tree, old, new_tree, new)
        below.sort(key=_by_difference, reverse=True)
        waiting.extend((old_tree, a, new_tree, b, prefix, depth + 1) for a, b in below)


def _root(dump: Dump | None) -> tuple[Tree | None, Node | None]:
    if dump is None or dump.facts.survey.root is None:
        return None, None
    return dump.tree, dump.tree.node(dump.facts.survey.root)


def _change(old: Node | None, new: Node | None, prefix: str, depth: int) -> Change | None:
    node = new or old
    if node is None:
        return None
    return Change(
        path=prefix + node.path,
        label=described(node)[1],
        depth=depth,
        before=None if old is None else old.n_bytes,
        after=None if new is None else new.n_bytes,
    )


def _matched(
    old_tree: Tree, old: Node, new_tree: Tree, new: Node
) -> list[tuple[Node | None, Node | None]]:
    ours = {node.step: node for node in new_tree.children(new, _CHILDREN)[0]}
    out: list[tuple[Node | None, Node | None]] = []
    for node in old_tree.children(old, _CHILDREN)[0]:
        out.append((node, ours.pop(node.step, None)))
    out.extend((None, node) for node in ours.values())
    return out


def _by_difference(pair: tuple[Node | None, Node | None]) -> tuple[int, str]:
    """The one that comes first is the last: it is taken from the end."""
    old, new = pair
    n_bytes = abs((new.n_bytes if new else 0) - (old.n_bytes if old else 0))
    return -n_bytes, (new or old).step  # type: ignore[union-attr]


# ---------------------------------------------------------------- text


def _lines(diff: FileDiff, width: int = 80) -> Iterator[str]:
    yield fitted(f"{shown(diff.before)} -> {shown(diff.after)}", width)
    change = diff.n_bytes_after - diff.n_bytes_before
    yield (f"{diff.n_bytes_before:,} -> {diff.n_bytes_after:,} bytes ({_signed(change)})")
    if diff.sizes:
        yield ""
        for each in diff.sizes[:40]:
            yield fitted(
                f"{_signed(each.difference):>12}  {'  ' * min(each.depth, 10)}"
                f"{shown(each.path) or '(the object)'}  {_state(each)}",
                width,
            )
        if diff.sizes[40:]:
            yield f"{'':>12}  and {len(diff.sizes) - 40:,} more"
    for title, names in (("new", diff.globals_new), ("gone", diff.globals_gone)):
        if names:
            yield ""
            yield f"globals that are {title}"
            for name in names[:20]:
                yield fitted(f"  {shown(name)}", width)
            if names[20:]:
                yield f"  and {len(names) - 20:,} more"
    if diff.arrays:
        yield ""
        yield "arrays that are others"
        for array in diff.arrays[:20]:
            text = f"  {shown(array.path) or '(the object)'}  {array.before} -> {array.after}"
            yield fitted(text, width)
        if diff.arrays[20:]:
            yield f"  and {len(diff.arrays) - 20:,} more"
    if diff.environment:
        yield ""
        yield "saved with"
        for name, then, now in diff.environment[:20]:
            yield fitted(f"  {shown(name)}  {shown(then or '-')} -> {shown(now or '-')}", width)


def _state(change: Change) -> str:
    if change.before is None:
        return f"new, {change.label}"
    if change.after is None:
        return f"gone, {change.label}"
    return f"{size(change.before)} -> {size(change.after)}"


def _signed(n_bytes: int) -> str:
    sign = "+" if n_bytes > 0 else "-" if n_bytes < 0 else ""
    return sign + size(abs(n_bytes))
