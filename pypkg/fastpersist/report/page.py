"""A report as one HTML page, and as what a notebook shows.

The page asks for nothing: its policy forbids every request, and every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fastpersist.report.drawing import COLOURS, name_of, tree_map
from fastpersist.report.lists import Lists
from fastpersist.report.records import ArrayReport, Environment, FileRecord, TreeRow
from fastpersist.report.text import behind, hashes, looked_at, summary, uses
from fastpersist.report.words import count, shown, size, tagged

TABLE_ROWS = 2000
_PATH = 400  # characters of a path
_ROWS = 1000  # of the tree that can be entered
_STILL = ((700, 1000, 560, "wide"), (150, 360, 520, "narrow"))  # rows, width, height, class

_COLOUR_NAMES = {
    "float": "floating point",
    "int": "integers",
    "bool": "booleans",
    "complex": "complex",
    "time": "times",
    "text": "text",
    "bytes": "bytes",
    "record": "records",
    "object": "arrays of objects",
    "opcodes": "other objects, opcodes",
    "other": "other",
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1><bdi>{title}</bdi></h1>
{body}
<script type="application/json" id="rows">{rows}</script>
<script>
{script}</script>
</body>
</html>
"""


def whole(
    report: FileRecord,
    lists: Lists,
    rows_of: Callable[[int], Sequence[TreeRow]],
    beside: Callable[[Environment], Iterable[tuple[str, str, str, str]]],
) -> str:
    """The page."""
    folder = Path(__file__).parent
    style = (folder / "page.css").read_text("utf-8")
    script = (folder / "page.js").read_text("utf-8")
    rows = rows_of(_ROWS)
    digest = hashlib.sha256(f"\n{script}".encode()).digest()
    sections = [
        _facts(report),
        _map(rows_of, rows),
        _arrays(lists, len(report.dumps) > 1),
        _globals(lists),
        _environment(report, beside),
        _equal(report),
        _odd(report),
        _dumps(report),
    ]
    return _PAGE.format(
        digest=base64.b64encode(digest).decode(),
        title=tagged(report.name or "(file object)"),
        style=style,
        script=script,
        body="\n".join(section for section in sections if section),
        rows=_json(rows),
    )


def fragment(report: FileRecord, lists: Lists, rows: Sequence[TreeRow]) -> str:
    """For a notebook: SVG and table, with no script and no style of the page's."""
    lines = "<br>".join(tagged(line, 500) for line in summary(report, 500))
    table = "".join(
        f"<tr><td style='text-align:left'><code>{_path(array.path)}</code></td>"
        f"<td>{tagged(array.dtype, 60)}</td><td>{_shape(array)}</td>"
        f"<td>{size(array.n_bytes)}</td></tr>"
        for array in lists.arrays
    )
    if table:
        heading = "<tr><th style='text-align:left'>array</th><th>dtype</th><th>shape</th>"
        table = f"<table><thead>{heading}<th>bytes</th></tr></thead><tbody>{table}</tbody></table>"
        if lists.n_arrays > len(lists.arrays):
            table += f"<p>and {lists.n_arrays - len(lists.arrays):,} more arrays</p>"
    svg = tree_map(rows, 900, 420) if len(rows) > 1 else ""
    return f"<div style='max-width:900px'><p>{lines}</p>{svg}{table}</div>"


# ---------------------------------------------------------------- pieces


def _path(path: str) -> str:
    return f"<bdi>{tagged(path, _PATH)}</bdi>" if path else "(the object)"


def _shape(array: ArrayReport) -> str:
    return "?" if array.shape is None else tagged(str(array.shape), 60)


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>"


def _number(n: int, text: str | None = None, kind: str = "n") -> str:
    return f'<td class="{kind}" data-v="{n}">{f"{n:,}" if text is None else text}</td>'


def _table(headings: Sequence[tuple[str, str]], rows: Iterable[str], more: dict[str, str]) -> str:
    head = "".join(
        f'<th scope="col"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{name}</th>'
        for name, kind in headings
    )
    given = "".join(f' {key}="{value}"' for key, value in more.items())
    return (
        f'<div class="scroll"><table{given}><thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(f"<tr>{row}</tr>" for row in rows)
        + "\n</tbody></table></div>"
    )


def _filter(name: str, label: str) -> str:
    return (
        f'<p class="tool" hidden><label>{label} <input id="{name}" type="search" '
        f'aria-describedby="{name}-n" autocomplete="off" spellcheck="false"></label> '
        f'<span class="dim" id="{name}-n" role="status"></span></p>\n'
    )


# ---------------------------------------------------------------- sections


def _facts(report: FileRecord) -> str:
    facts = [("layout", tagged(report.layout))]
    n_bytes = report.n_bytes if report.n_bytes is not None else report.n_bytes_decoded
    facts.append(("size", f"{size(n_bytes)} ({n_bytes:,} bytes)"))
    if report.codec:
        decoded = f"{size(report.n_bytes_decoded)} ({report.n_bytes_decoded:,} bytes)"
        facts += [("compressed with", tagged(report.codec)), ("decompressed", decoded)]
    if report.dumps:
        first = report.dumps[0]
        facts.append(("protocol", str(first.protocol)))
        facts.append(("dumps", f"{len(report.dumps):,}"))
        facts.append(("hashes", tagged(hashes(first).removeprefix("hashes "))))
        looked = looked_at(report).partition("looked at ")[2]
        facts.append(("looked at", tagged(looked)))
        if first.second_file_bytes is not None:
            buffers = count(first.second_file_buffers or 0, "buffer")
            facts.append(("second file", f"{buffers}, {size(first.second_file_bytes)}"))
    if report.n_bytes_behind:
        text = f"{count(report.n_bytes_behind, 'byte')} {behind(report)}"
        facts.append(("besides", tagged(text, 300)))
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    damage = ""
    if report.damage is not None:
        damage = f'<p class="damage" role="alert">Damaged: {tagged(report.damage.message, 500)}</p>'
    return f'{damage}<dl class="facts">{items}</dl>'


def _map(rows_of: Callable[[int], Sequence[TreeRow]], rows: Sequence[TreeRow]) -> str:
    still = "".join(
        tree_map(rows_of(n), width, height, kind=kind) for n, width, height, kind in _STILL
    )
    used = {row.colour for row in rows}
    legend = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="c-{name}" width="10" '
        f'height="10" rx="2" fill="{COLOURS[name]}"/></svg> {text}</li>'
        for name, text in _COLOUR_NAMES.items()
        if name in used
    )
    return _section(
        "Bytes by object path",
        '<nav id="way" class="tool" aria-label="Way to what is shown" hidden></nav>\n<figure>\n'
        f'<div id="live" class="tool" hidden></div>\n<div class="still">{still}</div>\n'
        f'<p id="detail" class="tool" aria-live="polite" hidden></p>\n'
        f'<figcaption><ul class="legend">{legend}</ul></figcaption>\n</figure>',
    )


def _json(rows: Sequence[TreeRow]) -> str:
    """In a script element: no character of it ends one."""
    data = [
        [
            row.parent,
            shown(name_of(row), 120),
            shown(row.path, _PATH),
            row.n_bytes,
            size(row.n_bytes),
            row.kind,
            shown(row.label, 120),
            row.colour,
        ]
        for row in rows
    ]
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _arrays(lists: Lists, has_dumps: bool) -> str:
    n_items = lists.n_arrays + lists.n_leaves
    if n_items == 0:
        return ""
    headings = [("path", ""), ("bytes", "n"), ("dtype", ""), ("shape", ""), ("order", "extra")]
    headings += [("offset", "n extra"), ("kind", "extra")] + [("dump", "n extra")] * has_dumps
    found: list[tuple[int, str]] = []
    for array in lists.arrays:
        row = (
            f'<td class="name">{_path(array.path)}</td>'
            f"{_number(array.n_bytes, size(array.n_bytes))}"
            f'<td class="dtype">{tagged(array.dtype, 60)}</td><td>{_shape(array)}</td>'
            f'<td class="extra">{tagged(array.order)}</td>{_offset(array.offset)}'
            f'<td class="extra name">{tagged(array.kind, 80)}</td>'
        )
        found.append((array.n_bytes, row + _number(array.dump, kind="n extra") * has_dumps))
    for leaf in lists.leaves:
        row = (
            f'<td class="name">{_path(leaf.path)}</td>'
            f"{_number(leaf.n_bytes, size(leaf.n_bytes))}"
            f'<td></td><td></td><td class="extra"></td>'
            f'{_offset(leaf.offset)}<td class="extra name">{tagged(leaf.kind)}</td>'
        )
        found.append((leaf.n_bytes, row + _number(leaf.dump, kind="n extra") * has_dumps))
    found.sort(key=lambda each: -each[0])
    found = found[:TABLE_ROWS]
    n_bytes = lists.array_bytes + lists.leaf_bytes
    said = f'<p class="dim">{n_items:,}, {size(n_bytes)} in all'
    said += f"; the {len(found):,} largest are listed</p>\n" if n_items > len(found) else "</p>\n"
    table = _table(
        headings, (row for _, row in found), {"class": "sortable", "data-filter": "arrays"}
    )
    title = "Arrays" if not lists.n_leaves else "Arrays, and text and bytes of 16 KiB and more"
    return _section(title, said + _filter("arrays", "Filter") + table)


def _offset(offset: int | None) -> str:
    if offset is None:
        return '<td class="n extra" data-v="-1"></td>'
    return _number(offset, kind="n extra")


def _globals(lists: Lists) -> str:
    if lists.n_globals == 0:
        return _section("Globals", "<p>The file asks for none: it is plain data.</p>")
    rows = (
        f'<td class="name"><bdi>{tagged(each.label)}</bdi></td><td>{tagged(uses(each))}</td>'
        f"{_number(each.n_called + each.n_class)}"
        f'<td class="name">{"" if each.path is None else _path(each.path)}</td>'
        for each in lists.globals
    )
    said = f'<p class="dim">{count(lists.n_globals, "name")} that a load would ask for'
    if lists.n_globals > len(lists.globals):
        said += f"; {len(lists.globals):,} are listed"
    headings = [("name", ""), ("use", ""), ("uses", "n"), ("first path", "")]
    table = _table(headings, rows, {"class": "sortable", "data-filter": "globals"})
    return _section("Globals", f"{said}</p>\n{_filter('globals', 'Filter')}{table}")


def _environment(
    report: FileRecord,
    beside: Callable[[Environment], Iterable[tuple[str, str, str, str]]],
) -> str:
    environment = report.environment
    if not environment:
        return ""
    rows = (
        f'<td class="name"><bdi>{tagged(name)}</bdi></td><td>{tagged(then, 80)}</td>'
        f'<td>{tagged(now, 80)}</td><td class="{grade}">{grade}</td>'
        for name, then, now, grade in beside(environment)
    )
    headings = [("package", ""), ("saved with", ""), ("here", ""), ("difference", "")]
    where = ", ".join(
        tagged(text)
        for text in (environment.implementation, environment.platform, environment.byteorder)
        if text
    )
    said = f'<p class="dim">{where}</p>\n' if where else ""
    return _section("Environment", said + _table(headings, rows, {}))


def _equal(report: FileRecord) -> str:
    found = [each for dump in report.dumps for each in dump.equal]
    if not found:
        return ""
    rows = (
        f"{_number(each.n_bytes, size(each.n_bytes))}{_number(each.count)}"
        f"<td>{'by hash' if each.certain else 'probably'}</td>"
        f'<td class="name">{"<br>".join(_path(path) for path in each.paths[:5])}'
        f"{'<br>…' if each.count > 5 else ''}</td>"
        for each in found[:TABLE_ROWS]
    )
    n_bytes = sum(each.n_bytes * (each.count - 1) for each in found)
    said = f'<p class="dim">{size(n_bytes)} could go</p>\n'
    headings = [("bytes", "n"), ("times", "n"), ("equal", ""), ("paths", "")]
    return _section("Equal payloads stored more than once", said + _table(headings, rows, {}))


def _odd(report: FileRecord) -> str:
    found = [(dump, each) for dump in report.dumps for each in dump.odd]
    if not found:
        return ""
    rows = (
        f"<td>{tagged(each.what)}</td>{_number(each.count)}"
        f"<td>{', '.join(map(str, each.offsets[:10]))}{', …' if each.count > 10 else ''}</td>"
        for _, each in found[:TABLE_ROWS]
    )
    headings = [("what", ""), ("times", "n"), ("at", "")]
    return _section("Odd", _table(headings, rows, {}))


def _dumps(report: FileRecord) -> str:
    rows = (
        f"{_number(dump.number)}<td>{tagged(dump.layout)}</td>{_number(dump.offset)}"
        f"{_number(dump.n_bytes, size(dump.n_bytes))}{_number(dump.protocol)}"
        f"{_number(dump.n_opcodes)}{_number(dump.n_frames, kind='n extra')}"
        f'<td class="extra">{tagged(hashes(dump))}</td>'
        f"<td>{'damaged' if dump.damage else 'whole' if dump.complete else 'incomplete'}</td>"
        for dump in report.dumps[:TABLE_ROWS]
    )
    headings = [("dump", "n"), ("layout", ""), ("offset", "n"), ("bytes", "n"), ("protocol", "n")]
    headings += [("opcodes", "n"), ("frames", "n extra"), ("hashes", "extra"), ("state", "")]
    return _section("Dumps", _table(headings, rows, {})) if report.dumps else ""
