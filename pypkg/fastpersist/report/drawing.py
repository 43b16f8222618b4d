"""Tree maps as SVG: rectangles in rectangles, each with a title, and no script."""

from __future__ import annotations

from collections.abc import Sequence

from fastpersist.report.records import TreeRow
from fastpersist.report.squarify import Rectangle, squarify
from fastpersist.report.words import fitted, share, shown, size, tagged

MAX_RECTANGLES = 2000
COLOURS = {
    "float": "#7fb2e5",
    "int": "#8fd19e",
    "bool": "#c3dd8f",
    "complex": "#b9a7e8",
    "time": "#f3c57a",
    "text": "#f2a7a0",
    "bytes": "#d8b792",
    "record": "#72cccb",
    "object": "#e5a3c8",
    "opcodes": "#c5cad3",
    "other": "#dedfe3",
}
_HEADER = 17.0  # height of a container's name
_GAP = 2.0
_LEAST = 3.0  # pixels; what is narrower is not drawn
_LETTER = 6.3  # width of one, at the size of the labels


def tree_map(rows: Sequence[TreeRow], width: int, height: int, *, kind: str = "map") -> str:
    """An SVG of rows that begin with the file; at most MAX_RECTANGLES rectangles.

    Without a width of its own: it takes the width that there is.
    """
    below: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        if row.parent is not None and row.n_bytes > 0:
            below.setdefault(row.parent, []).append(i)
    out = [
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        'xmlns="http://www.w3.org/2000/svg" aria-label="Bytes by object path" '
        'font-family="system-ui, sans-serif" font-size="11">'
    ]
    waiting: list[tuple[int, Rectangle]] = [(0, (0.0, 0.0, float(width), float(height)))]
    n_left = MAX_RECTANGLES
    while waiting and n_left > 0:
        i, box = waiting.pop()
        inner = below.get(i, [])
        out.append(_rectangle(rows[i], rows[0].n_bytes, box, is_leaf=not inner))
        n_left -= 1
        if inner:
            waiting.extend(reversed(_inside(rows, i, inner, box)))
    out.append("</svg>")
    return "".join(out)


def _inside(
    rows: Sequence[TreeRow], i: int, inner: Sequence[int], box: Rectangle
) -> list[tuple[int, Rectangle]]:
    x, y, width, height = box
    header = _HEADER if width >= 40 and height >= 40 else _GAP
    room = (x + _GAP, y + header, width - 2 * _GAP, height - header - _GAP)
    ordered = sorted(inner, key=lambda j: -rows[j].n_bytes)
    # Its own bytes are what is left empty, behind the last one.
    areas = [float(rows[j].n_bytes) for j in ordered]
    own = rows[i].own_bytes
    if own > 0:
        areas.append(float(own))
        areas.sort(reverse=True)
        ordered.insert(areas.index(float(own)), -1)
    boxes = squarify(areas, room)
    return [
        (j, each)
        for j, each in zip(ordered, boxes, strict=False)
        if j >= 0 and each[2] >= _LEAST and each[3] >= _LEAST
    ]


def name_of(row: TreeRow) -> str:
    """As a rectangle bears it."""
    if row.kind == "rest":
        return row.label
    return row.step or (row.label if row.kind == "part" else "(the object)")


def title_of(row: TreeRow, whole: int) -> str:
    path = row.path or ("" if row.kind == "part" else "(the object)")
    label = row.label if row.label != path else ""
    parts = [shown(path, 300), shown(label), f"{size(row.n_bytes)} ({row.n_bytes:,} bytes)"]
    return ", ".join(part for part in [*parts, share(row.n_bytes, whole)] if part)


def _rectangle(row: TreeRow, whole: int, box: Rectangle, *, is_leaf: bool) -> str:
    x, y, width, height = box
    colour = row.colour if is_leaf else "frame"
    fill = COLOURS.get(colour, "#eef0f4")
    gap = 0.5
    text = (
        f'<g><title>{tagged(title_of(row, whole), 600)}</title><rect class="c-{colour}" '
        f'x="{x + gap:.1f}" y="{y + gap:.1f}" width="{max(0.5, width - 2 * gap):.1f}" '
        f'height="{max(0.5, height - 2 * gap):.1f}" rx="2" fill="{fill}" stroke="#8a93a3" '
        'stroke-width="0.6"/>'
    )
    n_letters = int((width - 8) / _LETTER)
    if n_letters >= 4 and height >= (16 if is_leaf else 40):
        label = fitted(shown(name_of(row)), n_letters, keep_end=True)
        if not is_leaf and len(label) + len(row.label) + 2 <= n_letters and row.kind != "part":
            label += ": " + shown(row.label)
        text += f'<text x="{x + 5:.1f}" y="{y + 13:.1f}" fill="#14181f">{tagged(label)}</text>'
        if is_leaf and height >= 32 and n_letters >= 7:
            small = size(row.n_bytes)
            text += f'<text x="{x + 5:.1f}" y="{y + 26:.1f}" fill="#3b4352">{small}</text>'
    return text + "</g>"
