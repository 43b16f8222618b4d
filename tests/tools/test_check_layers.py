"""tools/check_layers: what climbs is told, what does not passes."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "check_layers"

TABLE = """# The house

## The storeys

| storey | folder | others may include | what it knows |
|---|---|---|---|
| 2 | `module.c` | nothing | everything |
| 1 | `left/` | `left.h` | the ground |
| 1 | `right/` | `right.h` | the ground |
| 0 | `ground/` | all | nothing |

## Other tables

| 9 | `nowhere/` | all | is no storey |
"""

SOUND = {
    "README.md": TABLE,
    "module.c": '#include "left/left.h"\n#include "right/right.h"\n',
    "left/left.h": '#include "ground/a.h"\n',
    "left/left.c": '#include <Python.h>\n#include "left.h"\n#include "left_parts.h"\n',
    "left/left_parts.h": "",
    "right/right.h": "",
    "ground/a.h": "#include <stddef.h>\n",
    "ground/a.c": '#include "a.h"\n',
}


def run(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return subprocess.run(
        [sys.executable, str(TOOL), str(directory)], capture_output=True, text=True
    )


def test_the_project_itself():
    result = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    n_files, n_includes = map(int, re.findall(r"\d+", result.stdout))
    assert n_files == len(list((ROOT / "csrc").glob("**/*.[ch]")))
    assert n_includes > n_files


def test_a_sound_house(tmp_path):
    result = run(tmp_path, SOUND)
    assert (result.returncode, result.stdout) == (0, "layers: 7 files, 8 includes, none climbs\n")


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("ground/a.c", '#include "left/left.h"\n', "climbs: it includes left/left.h (storey 1)"),
        ("ground/a.c", '  #  include "module.c"\n', "module.c is not in ground/"),
        ("ground/a.h", "#include <Python.h>\n", "knows no Python, but includes <Python.h>"),
        ("ground/a.h", "#include <numpy/arrayobject.h>\n", "knows no Python"),
        ("left/left.c", '#include "right/right.h"\n', "climbs: it includes right/right.h"),
        ("left/left.c", '#include "../right/right.h"\n', "by a way up"),
        ("left/left.c", '#include "left/left.h"\n', "its own folder"),
        ("left/left.c", '#include "missing.h"\n', "missing.h is not in left/"),
        ("left/left.c", '#include "ground/missing.h"\n', "ground/missing.h is not there"),
        ("module.c", '#include "left/left_parts.h"\n', "does not offer left_parts.h"),
        ("attic/a.c", "", "the table has no row for attic"),
        ("README.md", TABLE.replace("| 0 |", "| 1 | `cellar/` | all | |\n| 0 |"), "no cellar"),
        ("README.md", TABLE.replace("`right.h`", "`wrong.h`"), "right/ has no wrong.h"),
    ],
)
def test_what_climbs_is_told(tmp_path, name, text, fault):
    result = run(tmp_path, SOUND | {name: text})
    assert result.returncode == 1
    assert fault in result.stdout


@pytest.mark.parametrize("readme", ["", "## The storeys\n\nnone\n"])
def test_a_house_without_a_table(tmp_path, readme):
    result = run(tmp_path, SOUND | {"README.md": readme})
    assert result.returncode == 1
    assert "README.md: no " in result.stderr
