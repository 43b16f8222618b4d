"""Which Pythons a build takes: pyproject.toml names them, and everything else goes by it."""

import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib

import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
PYPROJECT = (PROJECT / "pyproject.toml").read_text()
CLASSIFIER = "Programming Language :: Python :: "
RUNNING = "{}.{}".format(*sys.version_info)


def named():
    """The versions, as (3, 11)."""
    classifiers = tomllib.loads(PYPROJECT)["project"]["classifiers"]
    names = [name.removeprefix(CLASSIFIER) for name in classifiers if name.startswith(CLASSIFIER)]
    return [tuple(map(int, name.split("."))) for name in names if "." in name]


def test_versions_are_a_range_and_this_one_is_in_it():
    versions = named()
    (major, oldest), (_, newest) = versions[0], versions[-1]
    assert versions == [(major, minor) for minor in range(oldest, newest + 1)]
    assert sys.version_info[:2] in versions


def test_requires_python_is_the_oldest():
    requires = tomllib.loads(PYPROJECT)["project"]["requires-python"]
    assert requires == ">={}.{}".format(*named()[0])


def test_the_readme_names_the_same():
    oldest, newest = ("{}.{}".format(*named()[i]) for i in (0, -1))
    ranges = re.findall(r"(3\.\d+) to (3\.\d+)", (PROJECT / "README.md").read_text())
    assert ranges
    assert set(ranges) == {(oldest, newest)}


def test_ci_has_counts_for_each():
    lines = [
        line.partition("#")[0].split() for line in (PROJECT / ".ci/counts").read_text().splitlines()
    ]
    counted = {line[0] for line in lines if line and line[1] == "test-base"}
    assert counted == {"{}.{}".format(*version) for version in named()}


def other_project(directory, minors):
    """What the guards read, with other versions in pyproject.toml."""
    lines = [f'    "{CLASSIFIER}3.{minor}",\n' for minor in minors]
    text = re.sub(rf' +"{CLASSIFIER}3\.\d+",\n', "", PYPROJECT)
    text = text.replace("classifiers = [\n", "classifiers = [\n" + "".join(lines))
    (directory / "pyproject.toml").write_text(text)
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, directory)
    shutil.copytree(PROJECT / "licenses", directory / "licenses")
    (directory / "tools").mkdir()
    shutil.copy(PROJECT / "tools/prepare.sh", directory / "tools")
    return directory


def setup_py(directory, *arguments):
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def prepare(directory):
    """With an interpreter that makes no environment: that would take a network."""
    python = directory / "python"
    python.write_text(
        '#!/bin/sh\ncase "$*" in *"-m venv"*) exit 1 ;; esac\n'
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    python.chmod(0o755)
    return subprocess.run(
        ["tools/prepare.sh", python, directory / "venv"],
        cwd=directory,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_an_older_python_gets_one_line(tmp_path):
    project = other_project(tmp_path, [99, 98])
    done = setup_py(project, "build")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fastpersist needs Python 3.98 or newer, this is {RUNNING}\n"
    done = prepare(project)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"fastpersist: needs Python 3.98 or newer, {project}/python is {RUNNING}; "
        "name another: make PYTHON=python3.12\n"
    )


def test_a_newer_python_gets_a_warning(tmp_path):
    project = other_project(tmp_path, [9, 10, 8])
    warning = f"fastpersist: not tested with Python {RUNNING}, only with 3.8 to 3.10\n"
    assert setup_py(project, "--help").stderr == warning
    done = prepare(project)
    assert done.stderr.splitlines()[:2] == [
        warning.strip(),
        f"fastpersist: could not make {tmp_path}/venv",
    ]


def test_a_tested_python_is_told_nothing(tmp_path):
    project = other_project(tmp_path, [9, sys.version_info[1], 10])
    assert setup_py(project, "--help").stderr == ""
    done = prepare(project)
    assert done.stderr.splitlines()[0] == f"fastpersist: could not make {tmp_path}/venv"


@pytest.mark.parametrize("minor, is_refused", [(-1, True), (0, False)])
def test_the_compiler_refuses_older_headers(minor, is_refused, tmp_path):
    major, oldest = named()[0]
    (tmp_path / "Python.h").write_text(
        f"#define PY_VERSION_HEX {major << 24 | oldest + minor << 16:#x}\n"
    )
    (header,) = (PROJECT / "csrc").rglob("state.h")
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        compiler = ["cc"]
    done = subprocess.run(
        [*compiler, "-E", "-I", tmp_path, "-I", PROJECT / "csrc", header],
        capture_output=True,
        text=True,
        check=False,
    )
    refusal = f'#error "fastpersist needs Python {major}.{oldest} or newer"'
    assert (refusal in done.stderr) == is_refused
    assert (done.returncode != 0) == is_refused
