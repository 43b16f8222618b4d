"""What is said where a build lacks something: tools/prepare.sh and setup.py, once for all of it."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = "bash sed sort head uname tail dirname printf id env".split()
# A compiler of so many headers: all that prepare.sh asks it is to preprocess.
COMPILER = """#!/bin/sh
for name in $(sed -n 's/#include <\\(.*\\)>/\\1/p'); do
    case " HEADERS " in *" $name "*) ;; *) exit 1 ;; esac
done
"""
# An interpreter of the system, with so many modules.
PYTHON = """#!/bin/sh
case "$*" in
*version_info*) echo 3.11 ;;
*'"CC"'*) echo cc ;;
*include*) echo /usr/include/python3.11-of-no-system ;;
*venv*) exit STATUS ;;
esac
"""


class Machine:
    """A PATH with nothing but what a test puts there."""

    def __init__(self, directory):
        self.directory = directory
        for name in TOOLS:
            self.add(name, f'#!/bin/sh\nexec {shlex.quote(shutil.which(name))} "$@"\n')

    def add(self, name, text="#!/bin/sh\n"):
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)

    def prepare(self, python="python3"):
        done = subprocess.run(
            [PROJECT / "tools/prepare.sh", python, self.directory / "venv"],
            env={"PATH": str(self.directory)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1 and done.stdout == ""
        return done.stderr


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.add("id", "#!/bin/sh\necho 1000\n")  # an ordinary user
    return machine


def test_without_python_the_packages_are_named(machine):
    for installer, line in (
        ("brew", "brew install python lz4 xxhash"),
        ("apk", "apk add python3 python3-dev gcc musl-dev lz4-dev xxhash-dev"),
        ("dnf", "dnf install python3 python3-devel gcc lz4-devel xxhash-devel"),
        (
            "apt-get",
            "apt-get install python3 python3-dev python3-venv gcc libc6-dev liblz4-dev "
            "libxxhash-dev",
        ),
    ):
        machine.add(installer)
        lines = machine.prepare().splitlines()
        assert lines[0].startswith("fastpersist: no python3 here") and lines[1] == f"    {line}"
    assert "python3.14-venv" in machine.prepare("python3.14")
    assert machine.prepare("/nowhere/python3").count("\n") == 1


@pytest.mark.parametrize(
    "headers, has_venv, packages",
    [
        (None, False, "gcc libc6-dev liblz4-dev libxxhash-dev python3.11-dev python3.11-venv"),
        # The libraries' headers are there: they are not named.
        ("lz4frame.h xxhash.h stddef.h", True, "libc6-dev python3.11-dev"),
        ("stdio.h stddef.h", True, "liblz4-dev libxxhash-dev python3.11-dev"),
        ("stdio.h stddef.h xxhash.h lz4frame.h", False, "python3.11-dev python3.11-venv"),
    ],
)
def test_all_that_is_missing_is_one_line_to_paste(headers, has_venv, packages, machine):
    if headers is None and pathlib.Path("/usr/include/lz4frame.h").exists():
        packages = packages.replace(" liblz4-dev libxxhash-dev", "")
    if headers is not None and "stdio.h" not in headers:
        there = pathlib.Path("/usr/include/lz4frame.h").exists()
        packages = packages if there else packages.replace(" ", " liblz4-dev libxxhash-dev ", 1)
    if headers is not None:
        machine.add("cc", COMPILER.replace("HEADERS", headers))
    machine.add("python3", PYTHON.replace("STATUS", "0" if has_venv else "1"))
    machine.add("apt-get", "#!/bin/sh\nexit 1\n")
    text = machine.prepare()
    assert f"\n    apt-get install -y {packages}\n" in text
    assert text.startswith("fastpersist: missing: ") and text.count("\n") == 3
    # With sudo it is tried, and told where that fails.
    machine.add("sudo", "#!/bin/sh\nexit 1\n")
    text = machine.prepare()
    assert text.startswith(f"fastpersist: installing with apt-get: {packages}\n")
    assert f"\n    apt-get install -y {packages}\n" in text


def test_other_systems_get_their_own_line(machine):
    machine.add("python3", PYTHON.replace("STATUS", "0"))
    machine.add("cc", COMPILER.replace("HEADERS", "stdio.h stddef.h"))
    machine.add("dnf")
    assert "\n    dnf install -y lz4-devel xxhash-devel python3-devel\n" in machine.prepare()
    (machine.directory / "dnf").rename(machine.directory / "apk")
    assert "\n    apk add lz4-dev xxhash-dev python3-dev\n" in machine.prepare()
    (machine.directory / "apk").unlink()
    machine.add("uname", "#!/bin/sh\necho Darwin\n")
    assert "\n    brew install lz4 xxhash\n" in machine.prepare()


# ---------------------------------------------------------------- pip install .


def built(directory, **environment):
    """What a build of the extension says, in a copy of what it looks at."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, directory)
    shutil.copytree(PROJECT / "licenses", directory / "licenses", dirs_exist_ok=True)
    shutil.copytree(PROJECT / "pypkg", directory / "pypkg", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext"],
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


def test_a_build_without_a_compiler(tmp_path):
    text = built(tmp_path, CC="/nowhere/cc")
    assert "cannot be built here without a C compiler" in text
    assert "\n    apt-get install -y gcc libc6-dev" in text
    assert "\n    dnf install -y gcc" in text and "\n    xcode-select --install\n" in text
    assert text.count("No such file") == 0


@pytest.mark.parametrize(
    "refused, named, package",
    [
        ("stdio.h", "the C library's headers", "libc6-dev"),
        ("Python.h", "the C headers of Python", "python{}.{}-dev".format(*sys.version_info)),
        ("lz4frame.h", "the C headers of LZ4", "liblz4-dev"),
        ("xxhash.h", "the C headers of xxHash", "libxxhash-dev"),
    ],
)
def test_a_build_without_headers(refused, named, package, tmp_path):
    """A compiler that has all but one, as far as the probes tell."""
    compiler = tmp_path / "cc"
    compiler.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case $word in\n'
        f"*probe.c) if grep -q '<{refused}>' \"$word\"; then exit 1; fi ;;\n"
        "esac; done\n"
    )
    compiler.chmod(0o755)
    text = built(tmp_path, CC=str(compiler), LDSHARED=f"{compiler} -shared")
    assert f"cannot be built here without {named}.\n" in text
    assert f"\n    apt-get install -y {package}\n" in text


def test_a_build_by_an_old_setuptools(tmp_path):
    (tmp_path / "old/setuptools").mkdir(parents=True)
    (tmp_path / "old/setuptools/__init__.py").write_text("__version__ = '66.1.1'\n")
    text = built(tmp_path, PYTHONPATH=str(tmp_path / "old"))
    assert text.startswith("fastpersist is built by setuptools 77 or newer, this is 66.1.1: pip ")
    assert text.count("\n") == 1
