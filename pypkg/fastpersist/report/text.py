"""A report as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastpersist.report.lists import Lists
from fastpersist.report.records import (
    ArrayReport,
    DumpReport,
    EqualReport,
    FileRecord,
    GlobalReport,
    TreeRow,
)
from fastpersist.report.words import columns, count, fitted, share, shown, size

_BAR = 10  # columns
_OWN_PARTS = ("header", "protocol", "frames", "padding", "stop", "footer")


def lines(report: FileRecord, lists: Lists, rows: Sequence[TreeRow], width: int) -> Iterator[str]:
    """Of at most so many columns."""
    n_listed = max(len(lists.arrays), len(lists.globals), 10)
    yield from summary(report, width)
    if len(rows) > 1:
        yield ""
        yield from _tree(rows, width)
    if lists.n_arrays:
        yield ""
        shape_of = count(lists.n_arrays, "array")
        most = _largest(lists.n_arrays, lists.arrays)
        yield fitted(f"{shape_of}, {size(lists.array_bytes)}{most}", width)
        yield from (_array(array, report, width) for array in lists.arrays)
    if lists.n_leaves:
        yield ""
        text = count(lists.n_leaves, "text or bytes object", "texts and bytes objects")
        yield from _wrapped(f"{text} of 16 KiB and more, {size(lists.leaf_bytes)}", width)
        for leaf in lists.leaves:
            front = f"{size(leaf.n_bytes):>11}  {leaf.kind:<10} "
            yield front + _path(leaf.path, width - len(front))
    if lists.n_globals:
        yield ""
        yield from _globals(lists, width)
    equal = [each for dump in report.dumps for each in dump.equal]
    if equal:
        yield ""
        yield from _equal(equal, n_listed, width)
    odd = [(each, dump) for dump in report.dumps for each in dump.odd]
    if odd:
        yield ""
        yield "odd"
        for each, _ in odd[:n_listed]:
            places = ", ".join(map(str, each.offsets[:3])) + (", ..." if each.count > 3 else "")
            yield fitted(f"  {each.what}: {each.count:,}, at {places}", width)
        if odd[n_listed:]:
            yield f"  and {len(odd) - n_listed:,} more"


def summary(report: FileRecord, width: int) -> Iterator[str]:
    """What the file is, and how much of it was looked at."""
    n_bytes = report.n_bytes if report.n_bytes is not None else report.n_bytes_decoded
    what = [count(n_bytes, "byte"), report.layout]
    if report.dumps:
        what.append(f"protocol {report.dumps[0].protocol}")
    if report.codec:
        what.append(f"{report.codec} of {count(report.n_bytes_decoded, 'byte')}")
    if len(report.dumps) > 1:
        what.append(count(len(report.dumps), "dump"))
    front = ", ".join(what)
    name = shown(report.name or "(file object)")
    name = fitted(name, max(20, width - len(front) - 2), keep_end=True)
    yield from _wrapped(f"{name}: {front}", width)
    if report.dumps:
        yield from _wrapped(looked_at(report), width)
    environment = report.environment
    if environment:
        saved = [f"Python {environment.python}"] if environment.python else []
        if environment.fastpersist:
            saved.append(f"fastpersist {environment.fastpersist}")
        saved += [f"{name} {version}" for name, version in environment.packages[:20]]
        yield from _wrapped("saved with " + ", ".join(map(shown, saved)), width)
    second = report.dumps[0] if report.dumps else None
    if second is not None and second.second_file_bytes is not None:
        buffers = count(second.second_file_buffers or 0, "buffer")
        yield f"a second file holds {buffers}, {count(second.second_file_bytes, 'byte')}"
    if report.n_bytes_behind:
        text = f"{count(report.n_bytes_behind, 'byte')} {behind(report)}"
        yield from _wrapped(text, width)
    if report.damage is not None:
        is_other = report.damage.section == "another format"
        message = report.damage.message
        yield from _wrapped(message if is_other else f"DAMAGED: {message}", width)


def behind(report: FileRecord) -> str:
    where = "behind the last dump: " if report.dumps else ""
    return f"{where}{report.behind or ''}"


def looked_at(report: FileRecord) -> str:
    """Hashes, and how much was looked at."""
    text = f"looked at {report.n_bytes_read:,} of {count(report.n_bytes_decoded, 'byte')}"
    first = report.dumps[0]
    if first.hashes_compared == "graph":
        text += " (array bytes not read)"
    return f"{hashes(first)}; {text}"


def hashes(dump: DumpReport) -> str:
    if dump.hashes == "valid":
        return "hashes valid"
    if dump.hashes == "void":
        return "hashes of array bytes void: mapped for writing"
    return "hashes not compared: damaged" if dump.hashes == "damaged" else "no hashes"


def _largest(n: int, listed: Sequence[object]) -> str:
    return f"; the {len(listed)} largest" if n > len(listed) else ""


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Broken between words, and within those that are too long."""
    line = ""
    for word in text.split(" "):
        while columns(word) > width:
            head = fitted(word, width)[:-1]
            yield from ([line] if line else [])
            yield head
            line, word = "", word[len(head) :]
        grown = f"{line} {word}" if line else word
        if columns(grown) > width:
            yield line
            grown = f"  {word}"
            if columns(grown) > width:
                grown = word
        line = grown
    if line:
        yield line


# ---------------------------------------------------------------- tree


def _tree(rows: Sequence[TreeRow], width: int) -> Iterator[str]:
    below: dict[int, list[int]] = {}
    format_bytes, format_names = 0, []
    for i, row in enumerate(rows):
        if row.parent is None:
            continue
        if row.kind == "part" and row.parent == 0 and row.path in _OWN_PARTS:
            format_bytes += row.n_bytes
            format_names.append(row.label)
            continue
        below.setdefault(row.parent, []).append(i)
    whole = rows[0].n_bytes
    yield _line(whole, whole, "", "the file", "", width)
    waiting = [
        (i, "", i == below.get(0, [])[-1] and not format_bytes) for i in reversed(below.get(0, []))
    ]
    while waiting:
        i, front, is_last = waiting.pop()
        row = rows[i]
        branch = front + ("└─ " if is_last else "├─ ")
        step = row.step or ("" if row.kind == "part" else "(the object)")
        if row.kind == "rest":
            step = f"{row.step} × {row.n_hidden:,}" if row.step == "[*]" else row.label
            label = "" if row.step != "[*]" else "more"
        else:
            label = row.label
        yield _line(row.n_bytes, whole, branch, step, label, width)
        inner = below.get(i, [])
        deeper = front + ("   " if is_last else "│  ")
        waiting.extend((j, deeper, j == inner[-1]) for j in reversed(inner))
    if format_bytes:
        label = ", ".join(format_names)
        yield _line(format_bytes, whole, "└─ ", "", label, width)


def _line(n_bytes: int, whole: int, branch: str, step: str, label: str, width: int) -> str:
    filled = round(_BAR * n_bytes / whole) if whole else 0
    bar = "█" * filled + " " * (_BAR - filled)
    front = f"{size(n_bytes):>10} {share(n_bytes, whole):>6} {bar} {branch}"
    room = width - columns(front)
    name = fitted(shown(step), max(room, 8), keep_end=True)
    rest = room - columns(name) - 2
    if label and (rest >= 8 or not name):
        name += f"{'  ' if name else ''}{fitted(shown(label), rest if name else room)}"
    return fitted(front + name, width).rstrip()


# ---------------------------------------------------------------- lists


def _array(array: ArrayReport, report: FileRecord, width: int) -> str:
    dtype = fitted(shown(array.dtype), 14)
    shape = "?" if array.shape is None else fitted(str(array.shape), 20)
    order = array.order if array.order != "C" else " "
    front = f"{size(array.n_bytes):>11}  {dtype:<6} {shape:<14} {order} "
    if len(report.dumps) > 1:
        front += f"#{array.dump} "
    return fitted(front + _path(array.path, max(12, width - columns(front))), width)


def _path(path: str, width: int) -> str:
    return fitted(shown(path, 2000), width, keep_end=True) if path else "(the object)"


def _globals(lists: Lists, width: int) -> Iterator[str]:
    called = f"{lists.n_called:,} called" if lists.n_called else "none called"
    yield f"{count(lists.n_globals, 'global')}, {called}"
    room = max(10, (width - 24) * 2 // 3)
    names = [fitted(shown(each.label), room, keep_end=True) for each in lists.globals]
    longest = max(map(columns, names), default=0)
    for each, name in zip(lists.globals, names, strict=True):
        padded = name + " " * (longest - columns(name))
        front = f"  {padded}  {uses(each)}"
        path = "" if each.path is None else _path(each.path, max(6, width - columns(front) - 2))
        yield fitted(f"{front}  {path}", width)
    if lists.n_globals > len(lists.globals):
        yield f"  and {lists.n_globals - len(lists.globals):,} more"


def uses(each: GlobalReport) -> str:
    """How a name is used, and how often; what is odd about it."""
    n = each.n_called + each.n_class
    text = each.use + (f" {n:,}x" if n > 1 else "")
    flags = [flag for flag in each.flags if flag != "renamed"]
    return f"{text} ({', '.join(flags)})" if flags else text


def _equal(equal: Iterable[EqualReport], n_listed: int, width: int) -> Iterator[str]:
    found = list(equal)
    n_bytes = sum(each.n_bytes * (each.count - 1) for each in found)
    yield from _wrapped(f"equal payloads stored more than once: {size(n_bytes)} too many", width)
    for each in found[:n_listed]:
        about = "" if each.certain else " (probably)"
        front = f"{size(each.n_bytes):>11}  {each.count:,}x{about}  "
        paths = ", ".join(shown(path) or "(the object)" for path in each.paths[:3])
        yield fitted(front + fitted(paths, max(10, width - len(front)), keep_end=True), width)
    if found[n_listed:]:
        yield f"  and {len(found) - n_listed:,} more"
