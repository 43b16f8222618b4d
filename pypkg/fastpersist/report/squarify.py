"""Rectangles whose areas are given numbers, each as near to a square as it goes.

Bruls, Huizing, van Wijk: Squarified Treemaps. Proc. Joint Eurographics and IEEE TCVG Symposium on
Visualization, 2000, pp. 33-42.
"""

from __future__ import annotations

from collections.abc import Sequence

Rectangle = tuple[float, float, float, float]  # x, y, width, height


def squarify(areas: Sequence[float], box: Rectangle) -> list[Rectangle]:
    """One rectangle for each area, in its order, which together fill the box.

    Parameters
    ----------
    areas
        Positive numbers, the largest first. They are scaled to the box.
    box
        Left, top, width and height of what is to be filled.

    Returns
    -------
    list of (x, y, width, height)
        Empty where there is nothing to fill or to fill it with.

    Examples
    --------
    >>> squarify([2, 1, 1], (0, 0, 4, 2))
    [(0, 0, 2.0, 2.0), (2.0, 0, 2.0, 1.0), (2.0, 1.0, 2.0, 1.0)]
    """
    x, y, width, height = box
    total = float(sum(areas))
    if total <= 0 or width <= 0 or height <= 0:
        return []
    scale = width * height / total
    out: list[Rectangle] = []
    first = 0
    while first < len(areas):
        side = min(width, height)
        last, row = first, 0.0
        worst = float("inf")
        while last < len(areas):
            area = areas[last] * scale
            ratio = _worst(row + area, areas[first] * scale, area, side)
            if ratio > worst:
                break
            worst, row, last = ratio, row + area, last + 1
        thickness = row / side if side > 0 else 0.0
        along = y if width >= height else x
        for area in areas[first:last]:
            length = area * scale / thickness if thickness > 0 else 0.0
            if width >= height:
                out.append((x, along, thickness, length))
            else:
                out.append((along, y, length, thickness))
            along += length
        if width >= height:
            x, width = x + thickness, max(0.0, width - thickness)
        else:
            y, height = y + thickness, max(0.0, height - thickness)
        first = last
    return out


def _worst(row: float, largest: float, smallest: float, side: float) -> float:
    """The worst ratio of sides in a row of this area along this side."""
    if row <= 0 or smallest <= 0 or side <= 0:
        return float("inf")
    return max(side * side * largest / (row * row), row * row / (side * side * smallest))
