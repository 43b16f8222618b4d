"""What the pages of the project link to is there."""

import re
import subprocess

import pytest
from helpers import PROJECT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)


def pages():
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.split()
    return listed or [
        str(path.relative_to(PROJECT))
        for folder in (".", "docs", "csrc", "tests")
        for path in (PROJECT / folder).glob("*.md")
    ]


def anchors(text):
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages())
def test_links_resolve(page):
    path = PROJECT / page
    text = path.read_text(encoding="utf-8")
    wrong = []
    for target in LINK.findall(FENCE.sub("", text)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        if not other.exists():
            wrong.append(target)
        elif anchor and anchor not in anchors(other.read_text(encoding="utf-8")):
            wrong.append(target)
    assert not wrong


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
