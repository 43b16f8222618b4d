"""The package from outside: its names, what importing it brings, its command line."""

import doctest
import os
import pickle
import pydoc
import subprocess
import sys
import typing

import fastpersist
from fastpersist.codecs import registry
from helpers import run_python

IMPORTED = """
import sys
import __future__, gc, numpy
before = set(sys.modules)
import fastpersist
print(*sorted(set(sys.modules) - before))
before = set(sys.modules)
fastpersist.dump([numpy.arange(5000.0), "text"], "file")
fastpersist.load("file")
fastpersist.load("file", "r")
fastpersist.loads(fastpersist.dumps([1]))
print(*sorted(m for m in set(sys.modules) - before if m.startswith("fastpersist")))
"""


def test_what_importing_brings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at_import, at_use = run_python(IMPORTED).split("\n")[:2]
    assert at_import.split() == [
        "fastpersist",
        "fastpersist._core",
        "fastpersist._ends",  # a dump says that a file object was written to
        "fastpersist._warn",  # two public classes
        "fastpersist.codecs",
        "fastpersist.codecs.registry",
    ]
    assert at_use == ""


def test_public_names_do_not_tell_where_they_stand():
    """What pickles of them, and messages, call them stays when a module moves."""
    for name in fastpersist.__all__:
        thing = getattr(fastpersist, name)
        module = getattr(thing, "__module__", "fastpersist")
        assert module in ("fastpersist", "fastpersist._core", "_pickle"), name
        assert pickle.loads(pickle.dumps(thing)) is thing


def test_dir_shows_public_names_alone():
    names = {name for name in dir(fastpersist) if not name.startswith("__")}
    assert names == set(fastpersist.__all__)
    hints = typing.get_type_hints(fastpersist.dump)
    assert hints["filename"] == str | os.PathLike[str] | fastpersist._Writable


def test_examples_of_the_docstrings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "COMPRESSORS", dict(registry.COMPRESSORS))
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    things = {name: getattr(fastpersist, name) for name in fastpersist.__all__}
    for name, thing in [("fastpersist", fastpersist), *things.items()]:
        for test in finder.find(thing, name, module=False, globs={"fastpersist": fastpersist}):
            assert runner.run(test).failed == 0
    assert runner.tries > 20


def test_help_fits_a_terminal():
    text = pydoc.plain(pydoc.render_doc(fastpersist))
    own = ("help(type)", "__annotations__", " -> ", "(file, *", "(data, /")
    lines = [line for line in text.splitlines() if not any(word in line for word in own)]
    longest = max(lines, key=len)
    assert len(longest) <= 80, longest
    hidden = ("partial", "AtomicFile", "dump_value", "load_path", "registry")
    assert not any(f" {name}" in text for name in hidden)


def command_line(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "fastpersist", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_without_a_command_it_helps():
    alone, helped = command_line(), command_line("--help")
    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout == helped.stdout
    assert "usage: python -m fastpersist" in alone.stdout
    assert "demo" in alone.stdout and "bench" in alone.stdout


def test_an_unknown_command_is_an_error():
    done = command_line("dmeo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "dmeo" in done.stderr


def test_version():
    assert command_line("--version").stdout.strip() == fastpersist.__version__
