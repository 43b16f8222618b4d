"""Files that ask for what attacks are made of (support/gadgets.tsv): looking into them, checking
them and writing them anew imports nothing, calls nothing and opens no other file.
"""

import csv
import io
import json
import struct
import zlib
from pathlib import Path

import fastpersist
import forged_files
import joblib
import numpy as np
import pytest
from helpers import run_python

TABLE = Path(__file__).parents[1] / "support" / "gadgets.tsv"
with open(TABLE, encoding="utf-8", newline="") as file:
    GADGETS = [(row["module"], row["name"]) for row in csv.DictReader(file, delimiter="\t")]


def _text(text):
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def stream(protocol):
    """A list of calls of all of them, as that protocol has names."""
    out = [b"" if protocol < 2 else bytes([0x80, protocol]), b"("]
    for module, name in GADGETS:
        if protocol >= 4:
            out.append(_text(module) + _text(name) + b"\x93")
        else:
            out.append(f"c{module}\n{name}\n".encode())
        out.append(b"(" + _text("touched") + b"tR")
    return b"".join([*out, b"l."])


def test_the_table():
    assert len(GADGETS) == len(set(GADGETS)) == 216
    assert ("os", "system") in GADGETS and ("builtins", "eval") in GADGETS


SCRIPT = """
import io, os, sys
import fastpersist, joblib
from fastpersist.convert import Unsettled, convert

path = sys.argv[1]
WAYS = {
    "inspect": lambda: fastpersist.inspect(path),
    "of a file object": lambda: fastpersist.inspect(data),
    "shown": lambda: (str(report), report.to_dict(), report._repr_html_(), report.requirements()),
    "html": lambda: report.save_html(path + ".html"),
    "verify": lambda: fastpersist.verify(path),
    "convert": lambda: convert(path, path + ".new"),
}

def run(way):
    data.seek(0)
    try:
        WAYS[way]()
    except (fastpersist.UnpicklingError, Unsettled, ValueError) as error:
        return type(error).__name__
    return ""

data = io.BytesIO(open(path, "rb").read())
report = fastpersist.inspect(path)
for way in WAYS:  # what they import themselves
    run(way)
modules = set(sys.modules)
seen = set()
FINE = ("object.__", "sys._getframe", "builtins.id", "mmap.", "gc.", "os.listdir", "os.scandir",
        "os.chmod", "os.rename", "os.remove", "tempfile.", "fcntl.")

OWN = os.path.dirname(fastpersist.__file__)  # the page's style

def hook(event, arguments):
    if event == "pickle.find_class" and arguments[1] == "NumpyArrayWrapper":
        return  # our own stand-in for it
    if event == "open" and str(arguments[0]).startswith((os.path.dirname(path), OWN)):
        return
    if event == "open" and isinstance(arguments[0], int):
        return  # a descriptor that is open already
    if not event.startswith(FINE):
        seen.add((event, str(arguments)[:100]))

sys.addaudithook(hook)
answers = {way: run(way) for way in WAYS}
import json
print(json.dumps([answers, sorted(seen), sorted(set(sys.modules) - modules), len(report.globals)]))
"""


def files():
    for protocol in range(6):
        yield f"protocol {protocol}", stream(protocol)
    graph = stream(4)
    yield "zlib", zlib.compress(graph)
    yield "ours", forged_files.dump(opcodes=graph[2:-1])
    with io.BytesIO() as file:
        joblib.dump(np.arange(5), file)
        yield "behind an array of joblib's", file.getvalue()[:-1] + b"0" + graph[2:]


FILES = dict(files())


@pytest.mark.parametrize("name", FILES)
def test_nothing_happens(name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(FILES[name])
    answers, seen, modules, n_globals = json.loads(run_python(SCRIPT, path))
    assert seen == [] and modules == []
    assert answers["inspect"] == answers["of a file object"] == answers["verify"] == ""
    assert n_globals >= len(GADGETS)
    report = fastpersist.inspect(path)
    named = {(row.module, row.name) for row in report.globals}
    if name == "protocol 5":
        assert set(GADGETS) <= named
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".new") == ["file", "file.html"]
