"""tools/check_imports.py fails on each kind of fault, and finds none in the package."""

import importlib.util

import pytest
from helpers import PROJECT

spec = importlib.util.spec_from_file_location(
    "check_imports", PROJECT / "tools" / "check_imports.py"
)
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)

SOUND = {
    "__init__.py": """
# Storeys
#     _core, ground     plain
#     middle            a folder
#     __init__
#     top               what uses the package

from package import ground, middle
from package.middle.one import name
__all__ = ["dump"]
def dump():
    import os.path
    from package.middle import two
""",
    "_core.pyi": "import typing",
    "ground.py": "import os, middle, package_of_others.top",
    "middle/__init__.py": """
# Storeys of this folder
#     one
#     two        with blanks
#     __init__

from package.middle import two
""",
    "middle/one.py": "from ..ground import name as other",
    "middle/two.py": "from .one import *\nfrom package.middle import one",
    "top.py": "import package.middle.two as two\nfrom . import dump\nfrom importlib import util",
}


@pytest.fixture
def faults(tmp_path, monkeypatch, capsys):
    """Faults that the check prints of a package with these files in place of the sound ones."""
    monkeypatch.chdir(tmp_path)

    def run(changes):
        c_files = []
        for name, text in {**SOUND, **changes}.items():
            path = tmp_path / "package" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                path.write_text(text)
            if name.endswith(".c"):
                c_files.append(str(path))
        code = check.main(["package", *c_files])
        *found, last = capsys.readouterr().out.splitlines()
        n_found = sum(not line.startswith(" ") for line in found)
        assert last.endswith(f"{n_found} faults")
        assert code == (1 if n_found else 0)
        return found

    return run


def test_a_sound_package(faults):
    assert faults({}) == []


LATE = "def function():\n    "

CIRCLES = {
    "of two": {"ground.py": "import package.middle.one"},
    "through one name": {"ground.py": "from package.middle.one import name"},
    "through a module as a name": {"ground.py": "from package.middle import one"},
    "relative": {"ground.py": "from .middle import one"},
    "inside a function": {"ground.py": LATE + "from package.middle import one"},
    "inside two functions": {
        "ground.py": LATE + "from package.middle import one",
        "middle/one.py": LATE + "from package import ground",
    },
    "inside a method": {"ground.py": "class A:\n  def f(self):\n    import package.middle.one"},
    "for types": {
        "ground.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from package.middle import one"
    },
    "where something fails": {
        "ground.py": "try:\n  import that\nexcept ImportError:\n  from package.middle import one"
    },
    "by import_module": {
        "ground.py": "import importlib\nimportlib.import_module('package.middle.one')"
    },
    "by __import__": {"ground.py": "__import__('package.middle.one')"},
}


@pytest.mark.parametrize("case", CIRCLES)
def test_circles_of_two(case, faults):
    found = faults(CIRCLES[case])
    assert sum("imports package.middle.one, which is above it" in line for line in found) == 1
    at = found.index("circle of 2: package.ground, package.middle.one")
    assert len(found[at + 1 :]) == 2 and all(line.startswith("    ") for line in found[at + 1 :])


def test_a_circle_of_three(faults):
    found = faults({"ground.py": LATE + "from package.middle import two"})
    assert "circle of 3: package.ground, package.middle.one, package.middle.two" in found


def test_a_circle_through_the_package_itself(faults):
    found = faults({"ground.py": "from package import dump"})
    assert "package/ground.py:1: package.ground imports package, which is above it" in found
    assert any(line.startswith("circle of ") and "package, " in line for line in found)


def test_a_circle_through_the_folder_itself(faults):
    found = faults({"middle/one.py": "from package import middle"})
    circle = "circle of 3: package.middle, package.middle.one, package.middle.two"
    assert circle in found


def test_a_module_that_imports_itself(faults):
    assert "circle of 1: package.ground" in faults({"ground.py": "import package.ground"})


def test_two_circles_are_two(faults):
    found = faults({"ground.py": "import package.ground", "top.py": "from . import top"})
    circles = [line for line in found if line.startswith("circle")]
    assert circles == ["circle of 1: package.ground", "circle of 1: package.top"]


def test_a_circle_through_c(faults):
    c_file = '{\n  PyImport_ImportModule(\n    "package.ground");\n  type = "package._core.X"; }'
    assert faults({"c.c": c_file, "ground.py": LATE + "from package import _core"}) == [
        "package/ground.py:2: package.ground imports package._core, which is on the same storey",
        "package/c.c:2: package._core imports package.ground, which is on the same storey",
        "circle of 2: package._core, package.ground",
        "    package/ground.py:2: package.ground imports package._core",
        "    package/c.c:2: package._core imports package.ground",
    ]


FAULTS = {
    "an import from above": (
        {"middle/one.py": LATE + "import package.top", "top.py": ""},
        ["package/middle/one.py:2: package.middle.one imports package.top, which is above it"],
    ),
    "an import of a neighbour": (
        {"ground.py": "from package._core import f"},
        ["package/ground.py:1: package.ground imports package._core, which is on the same storey"],
    ),
    "a module that is not listed": (
        {"middle/three.py": ""},
        ["package/middle/__init__.py: three is not on the map"],
    ),
    "a folder that is not listed": (
        {"other/__init__.py": "# Storeys\n#    __init__"},
        ["package/__init__.py: other is not on the map"],
    ),
    "a file that is not listed": (
        {"middle/__init__.py": "# Storeys\n#    one\n#    two"},
        ["package/middle/__init__.py: __init__ is not on the map"],
    ),
    "a listed module that is gone": (
        {"middle/__init__.py": "# Storeys\n#    one, gone\n#    two\n#    __init__"},
        ["package/middle/__init__.py: gone is on the map, and not there"],
    ),
    "a module listed twice": (
        {"middle/__init__.py": "# Storeys\n#    one\n#    two\n#    one, __init__"},
        [
            "package/middle/__init__.py: one is on the map twice",
            "package/middle/two.py:1: package.middle.two imports package.middle.one, "
            "which is above it",
            "package/middle/two.py:2: package.middle.two imports package.middle.one, "
            "which is above it",
        ],
    ),
    "no map": (
        {"middle/__init__.py": ""},
        ['package/middle/__init__.py: no map: comment lines below "# Storeys"'],
    ),
    "a folder that is no package": (
        {"middle/deep/one.py": ""},
        [
            "package/middle/__init__.py: deep is not on the map",
            "package/middle/deep/one.py: no __init__.py beside it",
        ],
    ),
    "a computed import": (
        {"ground.py": "import importlib\nimportlib.import_module(name)"},
        ["package/ground.py:2: an import that cannot be followed"],
    ),
    "a relative import_module": (
        {"ground.py": "from importlib import import_module\nimport_module('.top', 'package')"},
        ["package/ground.py:2: an import that cannot be followed"],
    ),
    "a module named as a function": (
        {
            "middle/dump.py": "",
            "middle/__init__.py": "# Storeys\n#    one\n#    two, dump\n#    __init__",
        },
        ["package/middle/dump.py: bears the name of what the package exports"],
    ),
    "a module that C imports and that is gone": (
        {"c.c": 'PyImport_ImportModule("package.gone")'},
        [
            "package/c.c:1: package._core imports package, which is above it",
            "package/c.c:1: there is no module package.gone",
        ],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults(case, faults):
    changes, expected = FAULTS[case]
    found = faults(changes)
    assert sorted(line for line in found if not line.startswith(" ")) == expected


def test_a_package_without_all_is_none(faults):
    with pytest.raises(ValueError, match="__all__"):
        faults({"__init__.py": "# Storeys"})


def test_the_package_is_sound(capsys):
    assert check.main([]) == 0, capsys.readouterr().out


def test_the_check_sees_the_package():
    """What it is about is found: late imports, and the one that the C files make."""
    root = check.ROOT
    package = check.Package(root / "pypkg" / "fastpersist", root.glob("csrc/**/*.c"))
    edges = {(found.importer, found.imported) for found in package.imports}
    assert ("fastpersist", "fastpersist.files.loading") in edges
    assert ("fastpersist.codecs", "fastpersist.codecs.zstd") in edges
    assert ("fastpersist._core", "fastpersist._environment") in edges
    assert {"dump", "load", "verify"} <= package.public
