"""What a file says about the versions it was saved with, beside those that run now.

The core compares them (csrc/base/environment.h) and comes here where they differ, or where the
file's text is not written as ours is. It is the file's: any bytes, and shown escaped and cut.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NamedTuple

from fastpersist._warn import EnvironmentMismatchError, EnvironmentMismatchWarning, at_caller

# No more packages of one file are looked at, and no longer names and versions shown.
_MAX_PACKAGES = 200
_MAX_SHOWN = 30
_MAX_LENGTH = 80

# The distributions that bring these; for others the installed ones are asked.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "google": "protobuf",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}

# What pip takes, and no shell makes anything of.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!_-]{0,78}")
_RELEASE = re.compile(r"v?(?:(\d{1,9})!)?(\d{1,9}(?:\.\d{1,9}){0,9})")

# Worse ones first.
_GRADES = ("missing", "major", "minor", "patch")


class Difference(NamedTuple):
    package: str
    saved: str
    running: str | None
    grade: str  # "missing", "major", "minor", "patch"


def packages(saved: bytes) -> dict[str, str]:
    """The versions in a footer's environment, by top-level module; Python's not among them."""
    found = _read(saved).get("packages")
    if not isinstance(found, dict):
        return {}
    versions = [(name, version) for name, version in found.items() if isinstance(version, str)]
    return dict(versions[:_MAX_PACKAGES])


def requirement(package: str, version: str) -> str | None:
    """A requirement for pip; None where it would be none."""
    version = version.partition("+")[0]  # a local build is nowhere to be had
    name = _distribution_name(package)
    if _NAME.fullmatch(name) and _VERSION.fullmatch(version):
        return f"{name}=={version}"
    return None


def differences(saved: bytes, only_imported: bool = False) -> list[Difference]:
    """The packages that run in other versions than a footer's environment names."""
    _installed_distributions.cache_clear()  # more may have been installed
    found = []
    for name, version in packages(saved).items():
        running = _imported_version(name)
        if running is None:
            if only_imported:
                continue
            running = _installed_version(name)
        if running != version:
            found.append(Difference(name, version, running, _grade(version, running)))
    return sorted(found, key=lambda row: (_GRADES.index(row.grade), row.package))


def check(path: object, saved: bytes, is_error: bool, only_imported: bool) -> None:
    """Raise or warn, once, where a difference is worse than a patch. The core calls it."""
    found = differences(saved, bool(only_imported))
    python = _read(saved).get("python")
    running_python = _python_version()
    # Pickles are good for any other Python of the same major version.
    is_other_python = (
        isinstance(python, str)
        and _release(python) is not None
        and _grade(python, running_python) == "major"
    )
    if not is_other_python and all(row.grade == "patch" for row in found):
        return
    rows = [(row.package, row.saved, row.running or "none", row.grade) for row in found]
    if isinstance(python, str):
        rows.append(("python", python, running_python, "major" if is_other_python else ""))
    text = _text(path, rows, found)
    mismatches = tuple(tuple(row) for row in found)
    if is_error:
        error = EnvironmentMismatchError(text)
        error.mismatches = mismatches  # type: ignore[assignment]
        raise error
    warning = EnvironmentMismatchWarning(text)
    warning.mismatches = mismatches  # type: ignore[assignment]
    at_caller(warning)


def describe(saved: bytes) -> str:
    """The text of a note: what runs in another version than a footer's environment says, which may
    lack any key. "" where nothing does."""
    python = _read(saved).get("python")
    versions = [("python", python if isinstance(python, str) else None, _python_version())]
    for name, version in packages(saved).items():
        running = _imported_version(name) or _installed_version(name)
        versions.append((name, version, running or "none (not installed, or without a version)"))
    versions = [row for row in versions if row[1] is not None and row[1] != row[2]]
    if not versions:
        return ""
    lines = ["the file was saved with other versions of what it names:"]
    lines += [
        f"  {shown(name)}: saved with {shown(version or '')}, running {running}"
        for name, version, running in versions[: _MAX_SHOWN + 1]
    ]
    return "\n".join(lines + _more(versions, _MAX_SHOWN + 1))


def shown(text: str, length: int = _MAX_LENGTH) -> str:
    """A file's text for people: what is not printable escaped, what is long cut."""
    cut = text if len(text) <= length else text[: length - 3] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


# ---------------------------------------------------------------- the text


def _text(path: object, rows: Sequence[tuple[str, ...]], found: list[Difference]) -> str:
    where = "the file" if path is None else shown(repr(path), 200)
    table = [("", "saved with", "running", ""), *rows[:_MAX_SHOWN]]
    cells = [[shown(cell) for cell in row] for row in table]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    lines = [f"{where} was saved with other versions:"]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(("  " + "  ".join(padded)).rstrip())
    lines += _more(rows, _MAX_SHOWN)
    wanted = [requirement(row.package, row.saved) for row in found[:_MAX_SHOWN]]
    line = " ".join(sorted({one for one in wanted if one is not None}))
    if line:
        lines.append(f"To get them: pip install {line}")
    return "\n".join(lines)


def _more(rows: Sequence[object], n_shown: int) -> list[str]:
    n_left = len(rows) - n_shown
    return [f"  and {n_left} more"] if n_left > 0 else []


# ---------------------------------------------------------------- versions


def _read(saved: bytes) -> dict[str, Any]:
    try:
        environment = json.loads(saved)
    except (ValueError, RecursionError):
        return {}
    return environment if isinstance(environment, dict) else {}


def _release(version: str) -> list[int] | None:
    """Epoch, major, minor and so on; None: not a number."""
    match = _RELEASE.match(version)
    if match is None:
        return None
    return [int(match[1] or 0), *map(int, match[2].split("."))]


def _grade(saved: str, running: str | None) -> str:
    if running is None:
        return "missing"
    one, other = _release(saved), _release(running)
    if one is None or other is None or (one + [0])[:2] != (other + [0])[:2]:
        return "major"
    return "minor" if (one + [0])[2] != (other + [0])[2] else "patch"


def _python_version() -> str:
    return sys.version.partition(" ")[0]


def _imported_version(name: str) -> str | None:
    version = getattr(sys.modules.get(name), "__version__", None)
    return version if isinstance(version, str) else None


def _installed_version(name: str) -> str | None:
    if not _NAME.fullmatch(name):  # also a path, which metadata would look into
        return None
    try:
        return _metadata_version(name)
    except metadata.PackageNotFoundError:
        return None


@functools.cache  # what is not there is asked for again
def _metadata_version(name: str) -> str:
    return metadata.version(_distribution_name(name))


def _distribution_name(package: str) -> str:
    """What pip calls the package that brings a module."""
    known = _DISTRIBUTIONS.get(package)
    if known is not None or not _NAME.fullmatch(package):
        return known or package
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        found = _installed_distributions().get(package)
        return found[0] if found else package
    return package


@functools.cache
def _installed_distributions() -> dict[str, list[str]]:
    try:
        return dict(metadata.packages_distributions())
    except Exception:  # one broken installation must not hide the message
        return {}
