"""RESULTS.md: one section for each part of `make hostile`, each written by its own part."""

from __future__ import annotations

import pathlib
import re

FILE = pathlib.Path(__file__).resolve().parent / "RESULTS.md"
START = """\
# What was done to files, and what came of it

Written by `make hostile`.
"""


def write(title: str, text: str) -> None:
    """Replaces the section of this title, or adds it."""
    old = FILE.read_text() if FILE.exists() else START
    head, *sections = re.split(r"^(?=## )", old, flags=re.MULTILINE)
    new = f"## {title}\n\n{text.strip()}\n"
    kept = [s.strip() + "\n" for s in sections]
    titles = [s.partition("\n")[0] for s in kept]
    if f"## {title}" in titles:
        kept[titles.index(f"## {title}")] = new
    else:
        kept.append(new)
    FILE.write_text("\n".join([head.strip() + "\n", *kept]))
