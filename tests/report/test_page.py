"""The HTML page: whole, harmless, and usable, with scripts and without."""

import base64
import doctest
import hashlib
import html.parser
import io
import json
import os
import pickle
import re
import shutil
import subprocess

import fastpersist
import numpy as np
import pytest
from fastpersist.report import file_report, records
from fastpersist.report import squarify as squarify_module
from fastpersist.report.drawing import MAX_RECTANGLES
from fastpersist.report.squarify import squarify

VOID = {"meta", "link", "input", "br", "img", "rect"}


class Page(html.parser.HTMLParser):
    """Tags in order, which must nest; texts by tag."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def forest(n=60):
    return {
        "parts": [
            {
                "weights": np.arange(300.0 + 10 * i),
                "ids": np.arange(100 + i),
                "ok": np.ones(90, "?"),
            }
            for i in range(n)
        ],
        "text": "word " * 5000,
    }


def page_of(value, tmp_path, name="file"):
    path = tmp_path / name
    fastpersist.dump(value, path)
    fastpersist.inspect(path).save_html(tmp_path / "page.html")
    return (tmp_path / "page.html").read_text("utf-8")


def test_examples_of_the_docstrings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n_tried = 0
    for module in (file_report, records, squarify_module):
        n_failed, n_examples = doctest.testmod(module)
        assert n_failed == 0
        n_tried += n_examples
    assert n_tried > 20


def test_rectangles_fill_their_box():
    for areas in ([6, 6, 4, 3, 2, 2, 1], [1], [5] * 100, [1e18, 1], [10**6, *[1] * 50]):
        boxes = squarify(areas, (10, 20, 600, 400))
        assert len(boxes) == len(areas)
        scale = 600 * 400 / sum(areas)
        for area, (x, y, width, height) in zip(areas, boxes, strict=True):
            assert width * height == pytest.approx(area * scale, rel=1e-6, abs=1e-6)
            assert 10 - 1e-6 <= x and x + width <= 610 + 1e-6
            assert 20 - 1e-6 <= y and y + height <= 420 + 1e-6
    assert squarify([], (0, 0, 1, 1)) == squarify([1], (0, 0, 0, 1)) == []
    # The example of the paper.
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], (0, 0, 6, 4))
    assert boxes[:2] == [(0, 0, 3.0, 2.0), (0, 2.0, 3.0, 2.0)]


def test_it_is_one_page_that_asks_for_nothing(tmp_path):
    text = page_of(forest(), tmp_path)
    page = Page(text)
    assert not re.findall(r"(?:https?:)?//[a-z]", text.replace("http://www.w3.org/2000/svg", ""))
    assert "@import" not in text and "url(" not in text
    for _, attributes in page.tags:
        assert not {"src", "action", "onclick", "onload", "style"} & set(attributes)
        assert attributes.get("href", "data:,") == "data:,"
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_it_says_everything_without_scripts(tmp_path):
    text = re.sub(r"<script.*?</script>", "", page_of(forest(), tmp_path), flags=re.S)
    page = Page(text)
    said = " ".join(data for _, data in page.texts)
    assert "['parts'][59]['weights']" in said and "numpy.ndarray" in said
    assert f"{np.__version__}" in said and "Environment" in said
    assert len(page.all("svg")) >= 2
    hidden = [attributes for _, attributes in page.tags if "hidden" in attributes]
    assert hidden and all("tool" in attributes["class"] for attributes in hidden)
    titles = [data for tag, data in page.texts if tag == "title"]
    assert any("['parts'][59]['weights'], <f8 (890,)" in title for title in titles)


def test_at_most_so_many_rectangles(tmp_path):
    value = [[np.arange(600 + j) for j in range(90)] for i in range(90)]
    text = page_of(value, tmp_path)
    assert 500 < text.count("<rect") <= MAX_RECTANGLES
    rows = json.loads(re.search(r'id="rows">(.*?)</script>', text, re.S)[1])
    assert len(rows) <= MAX_RECTANGLES and any(row[5] == "rest" for row in rows)
    assert len(Page(text).all("tr")) < 2100 and "the 2,000 largest are listed" in text


def test_a_notebook_shows_it_without_scripts():
    report = fastpersist.inspect(io.BytesIO(pickle.dumps(forest())))
    text = report._repr_html_()
    page = Page(text)
    assert page.all("svg") and page.all("table")
    assert not page.all("script") and not page.all("style") and "</script" not in text


def test_names_cannot_leave_their_place(tmp_path):
    name = "</script><script>alert(1)</script><!--' onload=\"alert(2)"
    value = {name: np.arange(3000), "x": {name: "y" * 20_000}}
    text = page_of(value, tmp_path, "<b>&'.pkl")
    page = Page(text)
    assert len(page.all("script")) == 2 and not page.all("b")
    assert "alert(1)</script>" not in text and "<!--" not in text


# ---------------------------------------------------------------- a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

# Put behind the page's script; what it finds is left in the document.
PROBE = """
const found = {};
const live = document.getElementById("live"), detail = document.getElementById("detail");
const items = () => [...live.querySelectorAll("g[tabindex]")];
const key = (name) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
found.errors = window.errors;
found.rectangles = live.querySelectorAll("rect").length;
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.still = getComputedStyle(document.querySelector(".still")).display;
items()[0].focus();
found.focused = detail.textContent;
key("Enter"); found.entered = detail.textContent;
found.way = document.querySelectorAll("#way button").length;
key("ArrowRight"); found.moved = detail.textContent;
key("End"); key("Home"); key("Enter");
found.deeper = document.querySelectorAll("#way button").length;
key("Escape"); key("Escape"); found.out = document.querySelectorAll("#way button").length;
found.back = document.activeElement.getAttribute("aria-label");
items()[0].querySelector("rect").dispatchEvent(new MouseEvent("click", { bubbles: true }));
found.clicked = document.querySelectorAll("#way button").length;
live.querySelectorAll("g")[3].dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
found.hovered = detail.textContent;
const table = document.querySelector('table[data-filter="arrays"]');
const column = (i) => [...table.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[i]);
const heads = table.querySelectorAll("thead button");
heads[1].click(); heads[1].click();
found.bytes = column(1).map((c) => Number(c.dataset.v));
heads[0].click();
found.paths = column(0).map((c) => c.textContent);
const input = document.getElementById("arrays");
input.value = "weights [7]"; input.dispatchEvent(new Event("input"));
found.filtered = column(0).map((c) => c.textContent);
found.requests = performance.getEntriesByType("resource").map((e) => e.name);
const out = document.createElement("pre");
out.id = "found"; out.textContent = JSON.stringify(found);
document.body.append(out);
"""
CATCH = """
window.errors = [];
addEventListener("error", (e) => errors.push(String(e.message)));
addEventListener("securitypolicyviolation", (e) => errors.push(e.violatedDirective));
"""


def chromium(folder, *arguments):
    # Not with the sanitizers in it.
    environment = {name: text for name, text in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr",
            *arguments,
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@needs_chromium
@pytest.mark.parametrize("width", [1200, 500])
def test_in_a_browser(width, tmp_path):
    text = page_of(forest(), tmp_path)
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
        for code in (CATCH, PROBE)
    )
    text = text.replace("script-src '", f"script-src{hashes} '", 1)
    text = text.replace("<style>", f"<script>{CATCH}</script><style>", 1)
    text = text.replace("</body>", f"<script>{PROBE}</script></body>")
    path = tmp_path / "probed.html"
    path.write_text(text, "utf-8")
    done = chromium(tmp_path, f"--window-size={width},900", "--dump-dom", path.as_uri())
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(
        html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)[1])
    )
    assert found["errors"] == [] and found["requests"] == []
    assert found["overflow"] <= 0 and found["still"] == "none"
    assert 20 < found["rectangles"] <= MAX_RECTANGLES
    assert found["focused"].startswith("(the object), dict of 2")
    assert found["entered"].startswith("['parts'], list of 60")
    assert (found["way"], found["deeper"], found["out"], found["clicked"]) == (2, 3, 1, 2)
    assert found["moved"].startswith("['text'], str")
    assert found["back"].startswith("(the object)") and found["hovered"]
    assert found["bytes"] == sorted(found["bytes"]) and len(found["bytes"]) == 181
    assert found["paths"][0] == "['parts'][0]['ids']"
    assert found["paths"].index("['parts'][9]['ok']") < found["paths"].index("['parts'][10]['ok']")
    assert found["filtered"] == ["['parts'][7]['weights']"]


@needs_chromium
def test_on_paper(tmp_path):
    page_of(forest(), tmp_path)
    pdf = tmp_path / "page.pdf"
    chromium(tmp_path, f"--print-to-pdf={pdf}", (tmp_path / "page.html").as_uri())
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 10_000
