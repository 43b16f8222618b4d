"""What a file says about the versions it was saved with, beside those that run now."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata


def describe(saved: bytes) -> str:
    """The text of a note; `saved` is the environment of a footer, which may lack any key."""
    try:
        environment = json.loads(saved)
    except ValueError:
        environment = {}
    if not isinstance(environment, dict):
        environment = {}
    packages = environment.get("packages")
    versions = {"python": environment.get("python")}
    if isinstance(packages, dict):
        versions.update(packages)
    lines = ["versions of the packages that the file names:"]
    lines += [
        f"  {name}: saved with {version or 'an unknown version'}, running {_running(name)}"
        for name, version in versions.items()
    ]
    return "\n".join(lines)


def _running(name: str) -> str:
    if name == "python":
        return platform.python_version()
    version = getattr(sys.modules.get(name), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none (not installed, or without a version)"
