"""What the pages show is so: their Python runs, as do the examples of the docstrings."""

import doctest
import importlib
import pkgutil
import re
import sys
import types
import warnings

import fastpersist
import pages
import pytest
from helpers import PROJECT

PAGES = {
    str(path.relative_to(PROJECT)): pages.blocks_of(path.read_text(encoding="utf-8"))
    for path in [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
}
BIG = {"sklearn", "pandas", "scipy", "torch", "xgboost", "lightgbm"}


def cases():
    """Pages with Python; of a page that needs a package that is not here, the blocks before it."""
    for name, blocks in PAGES.items():
        # A block that is left out would be missed by those behind it.
        here = [block.is_possible or not block.is_run for block in blocks]
        blocks = blocks[: here.index(False)] if False in here else blocks
        if blocks:
            needs = set().union(*(block.needs for block in blocks if block.is_run))
            yield pytest.param(
                name, blocks, id=name, marks=[pytest.mark.models] if needs & BIG else []
            )


@pytest.mark.parametrize("name, blocks", list(cases()))
def test_python_of_a_page(name, blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Classes of the page are found by their module's name.
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    with warnings.catch_warnings():
        for block in blocks:
            code = compile(block.padded(), str(PROJECT / name), "exec")
            if block.is_run:
                exec(code, module.__dict__)


@pytest.mark.parametrize("name", list(PAGES))
def test_pages_say_what_they_need(name):
    """A package that is not named there would be missing where the page is run without it."""
    for block in PAGES[name]:
        if block.is_run:
            unnamed = pages.imports_of(block) - pages.BASE - block.needs
            assert not unnamed, f"{name}, line {block.line}: <!-- needs: {', '.join(unnamed)} -->"


def modules():
    for found in pkgutil.walk_packages(fastpersist.__path__, "fastpersist."):
        text = importlib.util.find_spec(found.name).loader.get_source(found.name)
        if text and ">>> " in text:
            yield found.name
    yield "fastpersist"


@pytest.mark.parametrize("name", list(modules()))
def test_examples_of_the_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except ImportError as error:  # of a package that only this module needs
        pytest.skip(str(error))
    n_failed, n_examples = doctest.testmod(module)
    assert n_failed == 0 and n_examples > 0


def test_the_reference_has_every_public_name():
    text = (PROJECT / "docs" / "reference.md").read_text(encoding="utf-8")
    named = set(re.findall(r"fastpersist\.(\w+)$", text, re.M)) | set(re.findall(r"`(\w+)`", text))
    assert set(fastpersist.__all__) <= named
