"""Cuts, flipped bits and other damage: a sample of what `make hostile` runs in full (run.py).

Each selection runs in a process of its own, which forks: pytest's has threads.
"""

import os
import pathlib
import subprocess
import sys

import pytest
from helpers import FRUGAL

HERE = pathlib.Path(__file__).resolve().parent
CASES = 400
PLAIN = ["dict of arrays", "lists and dicts", "object array"]
FITTED = ["pipeline", "forest", "TfidfVectorizer", "DataFrame", "sparse matrix"]


def run(models, ways, most=CASES):
    command = [sys.executable, "-W", "error", str(HERE / "run.py"), "--no-results"]
    command += ["--large", "0", "--most", str(most), "--jobs", "1"]
    path = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    done = subprocess.run(
        [*command, "--models", *models, "--ways", *ways],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **FRUGAL},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize(
    "way",
    [
        "path",
        "file object",
        'map, verify="full"',
        "map",
        "lz4",
        "zlib",
        "gzip",
        "sidecar",
        "sidecar, map",
    ],
)
def test_damage_is_always_noticed(way):
    printed = run(PLAIN, [way])
    assert f"{CASES * len(PLAIN):,} cases on our own files" in printed


@pytest.mark.models
def test_damage_to_models_is_always_noticed():
    run(FITTED, ["path", "map", "lz4", "zlib", "sidecar"], most=200)
