"""Holds the package to its storeys: usage: tools/check_imports.py [FOLDER OF THE PACKAGE [C FILES]]

Each folder's ``__init__.py`` lists the modules and folders beside it, from the ground up, in
comment lines below "# Storeys": names with commas between them share a storey, and two blanks end
them; ``__init__`` stands for the file itself. Faults are:

- an import of a module that is not below, also one inside a function or under TYPE_CHECKING;
- a circle of imports (each shown whole, as the first fault can be far from where to cut it);
- a module that is not listed, and a listed one that is not there;
- an import that cannot be followed: import_module() or __import__() of a computed name;
- a module or folder that bears a public name of the package: importing it would hide that name.

An extension is known by its stub, and imports what the C files ask for by name. That importing
``a.b`` first runs ``a`` is not counted: each package would be a circle.

import-linter has contracts for most of this, but none that sees a circle through a package's own
``__init__.py``, as `fastpersist` and a module that imports a name from it would be.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
EXTENSION = "_core"
MARK = "# Storeys"
C_IMPORT = re.compile(r"PyImport_\w+\(\s*\"([\w.]+)\"")
STOREY = re.compile(r"# {3,}(\w+(?:, \w+)*)(?: {2,}.*)?")


class Import(NamedTuple):
    importer: str
    imported: str
    place: str  # file and line, for messages


class Package:
    """The modules below a folder, by dotted name, and what they import of each other."""

    def __init__(self, folder: Path, c_files: Iterable[Path] = ()) -> None:
        self.name = folder.name
        self.faults: list[str] = []
        self.paths: dict[str, Path] = {}
        for path in sorted([*folder.rglob("*.pyi"), *folder.rglob("*.py")]):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            self.paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        trees = {name: ast.parse(path.read_bytes()) for name, path in self.paths.items()}
        self.imports = [found for name, tree in trees.items() for found in self._of(name, tree)]
        self.imports += [found for path in c_files for found in self._of_c(path)]
        self.public = _public_names(trees[self.name])

    def is_package(self, name: str) -> bool:
        return self.paths[name].stem == "__init__"

    def inside(self, package: str) -> set[str]:
        """What a map lists: the children of a package, and `__init__`."""
        n_own = len(package) + 1
        below = (name for name in self.paths if name.startswith(package + "."))
        return {name[n_own:].partition(".")[0] for name in below} | {"__init__"}

    def _of(self, importer: str, tree: ast.AST) -> Iterator[Import]:
        """Every import of the package's own, at whatever depth."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._base(importer, node)
                names = [f"{base}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
                given = node.args[0] if node.args else None
                names = [str(given.value)] if isinstance(given, ast.Constant) else [""]
            else:
                continue
            place = f"{_shown(self.paths[importer])}:{node.lineno}"
            for name in names:
                if not name or name.startswith("."):
                    self.faults.append(f"{place}: an import that cannot be followed")
                imported = self._module(name)
                if imported is not None:
                    yield Import(importer, imported, place)

    def _of_c(self, path: Path) -> Iterator[Import]:
        text = path.read_text()
        for match in C_IMPORT.finditer(text):
            place = f"{_shown(path)}:{text.count(chr(10), 0, match.start()) + 1}"
            imported = self._module(match[1])
            if imported is not None:
                yield Import(f"{self.name}.{EXTENSION}", imported, place)
                if imported != match[1]:
                    self.faults.append(f"{place}: there is no module {match[1]}")

    def _base(self, importer: str, node: ast.ImportFrom) -> str:
        """The dotted name behind "from"."""
        if node.level == 0:
            return node.module or ""
        parts = importer.split(".")
        n_up = node.level - self.is_package(importer)
        parts = parts[: len(parts) - n_up]
        return ".".join(parts + ([node.module] if node.module else []))

    def _module(self, name: str) -> str | None:
        """The module that a dotted name is, or is a name in; None for what is not ours."""
        if name.partition(".")[0] != self.name:
            return None
        while name not in self.paths:
            name = name.rpartition(".")[0]
        return name


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def _public_names(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise ValueError("the package has no __all__")


# ---------------------------------------------------------------- circles


def circles(package: Package) -> list[list[str]]:
    """The sets of modules that import each other, directly or not: strongly connected parts."""
    graph: dict[str, set[str]] = {name: set() for name in package.paths}
    for found in package.imports:
        graph[found.importer].add(found.imported)
    reached = {name: _reached(graph, name) for name in graph}
    rest = [name for name in graph if name in reached[name]]
    found_circles = []
    while rest:
        circle = [name for name in rest if name in reached[rest[0]] and rest[0] in reached[name]]
        found_circles.append(circle)
        rest = [name for name in rest if name not in circle]
    return found_circles


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """By one step or more."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in graph[todo.pop()] - seen:
            seen.add(name)
            todo.append(name)
    return seen


def _of_circles(package: Package) -> Iterator[str]:
    for circle in circles(package):
        lines = [f"circle of {len(circle)}: {', '.join(circle)}"]
        lines += [
            f"    {found.place}: {found.importer} imports {found.imported}"
            for found in package.imports
            if found.importer in circle and found.imported in circle
        ]
        yield "\n".join(lines)


# ---------------------------------------------------------------- storeys


def storeys(text: str) -> list[list[str]] | None:
    """The map in a file, ground first; None where there is none."""
    lines = iter(text.splitlines())
    if not any(line.startswith(MARK) for line in lines):
        return None
    found = []
    for line in lines:
        match = STOREY.fullmatch(line)
        if match is None:
            break
        found.append(match[1].split(", "))
    return found


def _of_storeys(package: Package) -> Iterator[str]:
    floors: dict[str, dict[str, int]] = {}
    for name, path in package.paths.items():
        if _parent(name) not in (*package.paths, ""):
            yield f"{_shown(path)}: no __init__.py beside it"
        if not package.is_package(name):
            continue
        levels = storeys(path.read_text())
        if levels is None:
            yield f'{_shown(path)}: no map: comment lines below "{MARK}"'
            continue
        listed = [member for level in levels for member in level]
        floors[name] = {member: i for i, level in enumerate(levels) for member in level}
        inside = package.inside(name)
        for member in sorted(inside.union(listed)):
            if member not in listed:
                yield f"{_shown(path)}: {member} is not on the map"
            elif member not in inside:
                yield f"{_shown(path)}: {member} is on the map, and not there"
            elif listed.count(member) > 1:
                yield f"{_shown(path)}: {member} is on the map twice"
    for found in package.imports:
        one, other = _below_common_package(package, found.importer, found.imported)
        common = floors.get(_parent(one), {})
        at, of = (common.get(name.rpartition(".")[2]) for name in (one, other))
        if at is not None and of is not None and of >= at:
            yield (
                f"{found.place}: {found.importer} imports {found.imported}, which is "
                + ("above it" if of > at else "on the same storey")
            )


def _below_common_package(package: Package, one: str, other: str) -> tuple[str, str]:
    """The members of one map in, or below, which two modules lie."""
    ways = []
    for name in (one, other):
        way = name.split(".")
        ways.append([*way, "__init__"] if package.is_package(name) else way)
    depth = 0
    while depth < min(map(len, ways)) - 1 and ways[0][depth] == ways[1][depth]:
        depth += 1
    return ".".join(ways[0][: depth + 1]), ".".join(ways[1][: depth + 1])


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


# ---------------------------------------------------------------- all of it


def _of_names(package: Package) -> Iterator[str]:
    for name, path in package.paths.items():
        if name != package.name and name.rpartition(".")[2] in package.public:
            yield f"{_shown(path)}: bears the name of what the package exports"


def faults(package: Package) -> list[str]:
    return [
        *package.faults,
        *_of_names(package),
        *_of_storeys(package),
        *_of_circles(package),
    ]


def main(arguments: list[str]) -> int:
    if arguments:
        package = Package(Path(arguments[0]), map(Path, arguments[1:]))
    else:
        package = Package(ROOT / "pypkg" / "fastpersist", sorted(ROOT.glob("csrc/**/*.c")))
    found = faults(package)
    print(*found, sep="\n", end="\n" if found else "")
    print(
        f"{package.name}: {len(package.paths)} modules, {len(package.imports)} imports of each "
        f"other, {len(circles(package))} circles, {len(found)} faults"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
