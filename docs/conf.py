"""How Sphinx makes build/docs of the pages here: make docs.

The pages are what GitHub shows as well. Links that lead out of docs/ lead to the page that includes
their target (`OUTSIDE`), and how-to.md lists every page that no other page lists.
"""

import re
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).resolve().parent

project = "fastpersist"
author = "the fastpersist developers"
release = version = version_of("fastpersist")

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
root_doc = "index"
# Same bytes for the same sources; nobody reads it.
html_last_updated_fmt = None
default_role = "py:obj"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autosummary_generate = False
autodoc_typehints = "none"  # the parameters' own lines say it, with their meaning
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "fastpersist"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = dict.fromkeys(
    ("tutorial", "reference", "guarantees", "performance", "changelog"), []
)
copyright = "the fastpersist developers, BSD-3-Clause"

# The page here that includes a file from elsewhere.
OUTSIDE = {
    "../csrc/FORMAT.md": "format.md",
    "../csrc/README.md": "design.md",
    "../tests/README.md": "tests.md",
    "../tests/hostile/RESULTS.md": "hostile.md",
    "../README.md": "index.md",
}
TOCTREE = re.compile(r"^:::\{toctree\}\n(.*?)^:::", re.M | re.S)
THE_OTHERS = "<every page that is listed nowhere else>\n"


def listed_nowhere():
    """Pages that no toctree names, in order of their names."""
    named = {"index"}
    entry = re.compile(r"(?:.*<)?([^<>]+)>?")
    for page in HERE.glob("*.md"):
        for tree in TOCTREE.findall(page.read_text(encoding="utf-8")):
            named |= {entry.fullmatch(line)[1] for line in filter(None, tree.splitlines())}
    return sorted({page.stem for page in HERE.glob("*.md")} - named)


def prepare(_app, docname, source):
    text = source[0]
    for outside, page in OUTSIDE.items():
        if page != f"{docname}.md":
            text = text.replace(f"]({outside}", f"]({page}")
    source[0] = text.replace(THE_OTHERS, "".join(f"{name}\n" for name in listed_nowhere()))


def changed(*_):
    """Which pages there are may have changed where how-to.md has not."""
    return ["how-to"]


def signature(_app, _what, _name, _obj, _options, args, _returned):
    """As inspect has it: numpydoc takes the text of a C function, which may have two lines."""
    return None if args is None else (args, "")


def setup(app):
    app.connect("autodoc-process-signature", signature, priority=100)
    app.connect("env-get-outdated", changed)
    app.connect("source-read", prepare)
