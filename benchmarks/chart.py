"""The chart of the README: how many times faster than pickle and joblib, on a log scale.

    python benchmarks/chart.py ROWS.json speed.png

ROWS.json is what bench.py --json writes. One line for each object and direction, as far as there
are rows for it; a mark for each peer, with its number.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

# In this order, from the top: (object, what one calls it, what it is).
SHOWN = (
    ("dicts", "nested dicts", "records as of JSON"),
    ("objs", "instances", "of a class of one's own"),
    ("smallarrs", "small arrays", "a list of arrays of 16"),
    ("slotted class", "slotted instances", "of a class with __slots__"),
    ("datetime", "datetimes", "a list of them"),
    ("forest_shallow", "shallow forest", "2,000 trees of depth 5"),
    ("boosting", "boosting", "by histograms, 200 rounds"),
    ("tfidf", "TF-IDF", "a large vocabulary"),
    ("frame", "DataFrame", "a million rows"),
    ("forest_deep", "deep forest", "200 trees, grown out"),
    ("array_1gib", "one array", "1 GiB of float64"),
)
CASES = {"dump": ("new file", "dump"), "load": ("load",)}
PEERS = {"pickle": "#2563a8", "joblib": "#c2570c"}  # each reads well on the card
INK, FAINT, CARD = "#1f2328", "#59636e", "#fbfbfa"


@dataclass
class Line:
    """Ratios of one object in one direction, by peer."""

    object: str
    title: str
    detail: str
    direction: str
    ratios: dict[str, float]


def lines_of(rows):
    """What is drawn, from the top; `rows` as of JSON."""
    found = {(row["object"], row["case"]): row for row in rows}
    lines = []
    for name, title, detail in SHOWN:
        for direction, cases in CASES.items():
            row = next((found[name, case] for case in cases if (name, case) in found), None)
            if row is None:
                continue
            ratios = {
                peer: row["peers"][peer] / row["ours"] for peer in PEERS if peer in row["peers"]
            }
            if ratios:
                lines.append(Line(name, title, detail, direction, ratios))
    return lines


def number(ratio):
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def caption(machine):
    packages = ", ".join(
        f"{name} {version}"
        for name, version in machine["packages"].items()
        if name in ("numpy", "scikit-learn", "joblib")
    )
    quick = "; smaller objects (--quick)" if machine.get("quick") else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores; {machine['python']}, {packages}{quick}"
    )


def places_of(lines):
    """Heights of the lines: those of one object stand together."""
    places, height = [], 0.0
    for i, line in enumerate(lines):
        if i:
            height -= 1.0 if lines[i - 1].object == line.object else 1.5
        places.append(height)
    return places


def draw(rows, machine, path):
    """Write the chart as PNG.

    Parameters
    ----------
    rows : list of dict
        Rows of bench.py: "object", "case", "ours" and "peers" in seconds.
    machine : dict
        What bench.machine() returns; "quick": the objects are not those that `SHOWN` describes.
    path : path
        Where the picture goes.
    """
    lines = lines_of(rows)
    if not lines:
        raise SystemExit("chart: no rows that it shows")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    places = places_of(lines)
    values = [ratio for line in lines for ratio in line.ratios.values()]
    left, right = min(0.7, min(values) * 0.7), max(values) * 2.2
    height = 1.75 - places[-1] * 0.235
    figure = pyplot.figure(figsize=(9.2, height), facecolor=CARD)
    bottom = 0.62 / height
    axes = figure.add_axes((0.235, bottom, 0.745, 1 - bottom - 1.0 / height), facecolor=CARD)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(places[-1] - 0.8, 0.8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.set_yticks([])
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if left <= tick <= right]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks], fontsize=10, color=INK)
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.grid(axis="x", color="#d9dde1", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axvline(1, color=INK, linewidth=1.2)

    beside = axes.get_yaxis_transform()
    for i, (line, y) in enumerate(zip(lines, places, strict=True)):
        if not i or lines[i - 1].object != line.object:
            both = i + 1 < len(lines) and lines[i + 1].object == line.object
            middle = y - (0.5 if both else 0)
            axes.text(-0.289, middle + 0.36, line.title, transform=beside, fontsize=10.5, color=INK,
                      va="center", weight="bold")  # fmt: skip
            detail = "" if machine.get("quick") else line.detail
            axes.text(-0.289, middle - 0.42, detail, transform=beside, fontsize=8, color=FAINT,
                      va="center")  # fmt: skip
        axes.text(-0.012, y, line.direction, transform=beside, fontsize=9.5, color=INK,
                  va="center", ha="right")  # fmt: skip
        axes.plot([1, max(1, *line.ratios.values())], [y, y], color="#b6bec6", linewidth=1.4)
        mark(axes, line.ratios, y)

    words = [("How many times faster than", INK), ("and", INK)]
    words[1:1] = [("● pickle", PEERS["pickle"])]
    write_in_line(figure, [*words, ("◆ joblib", PEERS["joblib"])], 1 - 0.3 / height)
    figure.text(0.02, 1 - 0.66 / height, "The peer's time divided by fastpersist's, log scale; "
                "1× is as fast. Best of several, in the page cache.", fontsize=9.5, color=FAINT,
                va="center")  # fmt: skip
    figure.text(0.02, 0.16 / height, caption(machine), fontsize=7.5, color=FAINT, va="center")
    figure.savefig(path, dpi=160, facecolor=CARD, metadata={"Software": None})
    pyplot.close(figure)


def write_in_line(figure, words, y):
    """Texts of several colours, one behind the other."""
    x, width = 0.02, figure.bbox.width
    for word, colour in words:
        text = figure.text(x, y, word, fontsize=14, color=colour, weight="bold", va="center")
        x = (text.get_window_extent().x1 + 0.06 * figure.dpi) / width


def mark(axes, ratios, y):
    """A mark and a number for each peer; where two are close, one number left and one right."""
    shapes = {"pickle": "o", "joblib": "D"}
    ordered = sorted(ratios, key=ratios.get)
    for i, peer in enumerate(ordered):
        ratio = ratios[peer]
        close = len(ordered) == 2 and ratios[ordered[1]] / ratios[ordered[0]] < 1.9
        leftward = close and i == 0
        axes.plot([ratio], [y], shapes[peer], color=PEERS[peer], markersize=7, zorder=3,
                  markeredgecolor=CARD, markeredgewidth=0.8)  # fmt: skip
        axes.annotate(number(ratio), (ratio, y), xytext=(-8 if leftward else 8, 0), zorder=4,
                      textcoords="offset points", fontsize=9, color=PEERS[peer], va="center",
                      ha="right" if leftward else "left", weight="bold",
                      bbox={"facecolor": CARD, "edgecolor": "none", "pad": 0.6})  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, metavar="ROWS.json")
    parser.add_argument("picture", type=Path, metavar="PICTURE.png")
    options = parser.parse_args()
    content = json.loads(options.rows.read_text())
    draw(content["rows"], content["machine"], options.picture)


if __name__ == "__main__":
    main()
