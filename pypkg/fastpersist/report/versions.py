"""Packages then and now, and as requirement lines for pip."""

from __future__ import annotations

import functools
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata

from fastpersist.report.records import Environment, GlobalReport

# Of packages that are not installed here and have another name on the index.
_KNOWN = {
    "Crypto": "pycryptodome",
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_VERSION = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.!+_-]{0,60}[0-9A-Za-z])?", re.ASCII)
_MISSING = "not installed"


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def distribution_of(module: str) -> str | None:
    """The name that pip knows; None for what is no name of a module."""
    if not _NAME.fullmatch(module):
        return None
    names = _distributions().get(module)
    return names[0] if names else _KNOWN.get(module, module.replace("_", "-"))


def running(module: str) -> str:
    """The version that an import would give, with nothing imported for it."""
    if module == "python":
        return platform.python_version()
    if not _NAME.fullmatch(module):
        return _MISSING
    version = vars(sys.modules[module]).get("__version__") if module in sys.modules else None
    if isinstance(version, str):
        return version
    for name in _distributions().get(module) or (module,):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return _MISSING


def difference(saved: str, now: str) -> str:
    """ "same", "missing", or the part of the version that is another one."""
    if saved == now:
        return "same"
    if now == _MISSING:
        return "missing"
    then_parts, now_parts = (re.split(r"[.+!-]", version) for version in (saved, now))
    for grade, then, this in zip(("major", "minor"), then_parts, now_parts, strict=False):
        if then != this:
            return grade
    return "patch"


def beside(environment: Environment) -> list[tuple[str, str, str, str]]:
    """(package, version then, version now, difference), Python first."""
    saved = [("python", environment.python)] if environment.python else []
    if environment.fastpersist:
        saved.append(("fastpersist", environment.fastpersist))
    saved.extend(environment.packages)
    return [
        (name, version, now, difference(version, now))
        for name, version in saved
        if version is not None
        for now in (running(name),)
    ]


def modules_of(rows: Iterable[GlobalReport]) -> list[str]:
    """The top-level packages of names that are no part of Python itself."""
    found = {row.module.partition(".")[0] for row in rows if row.module is not None}
    own = {*sys.stdlib_module_names, "__main__", "__mp_main__", "builtins"}
    return sorted(name for name in found - own if _NAME.fullmatch(name))


def requirement_lines(
    environments: Sequence[Environment], rows: Iterable[GlobalReport]
) -> list[str]:
    """Sorted; pinned where the file says the version. What is no plain name or version of a
    package is left out: a file cannot slip an option of pip in."""
    found: dict[str, str] = {}
    for module in modules_of(rows):
        name = distribution_of(module)
        if name is not None:
            found[name] = name
    for environment in environments:
        for module, version in environment.packages:
            name = distribution_of(module)
            if name is not None and _VERSION.fullmatch(version):
                found[name] = f"{name}=={version}"
    return sorted(found.values(), key=str.lower)
