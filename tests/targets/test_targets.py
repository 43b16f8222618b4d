"""A dump by name, beside joblib's in the same situation: the scenes of this directory.

What joblib does is what is expected, but for two rules, and for what a scene lists by itself with
its reason:

- a file with content is replaced, not written to: it is another file then, of the same mode;
- what can only be written in place is written there, with a RuntimeWarning.
"""

import os
import pathlib
import sys

import pytest
from helpers import SUPPORT, run_python

pytest.importorskip("joblib")

if sys.platform != "linux":
    pytest.skip("the scenes are of Linux", allow_module_level=True)

import json

from play import GROUPS

HERE = pathlib.Path(__file__).resolve().parent
# A disk, and a file system in memory; other users are to come there, so not pytest's directories.
PLACES = [(group, "/tmp") for group in GROUPS]
if os.access("/dev/shm", os.W_OK):
    PLACES += [(group, "/dev/shm") for group in ("names", "open", "owners", "failures", "flags")]


def without(told, path):
    return {key: value for key, value in told.items() if not key.startswith(f"{path} ")}


def expected(scene, theirs):
    """What we make of the scene, from what joblib makes of it."""
    ours = dict(theirs)
    for key, value in theirs.items():
        path, _, what = key.rpartition(" ")
        if what == "content" and value == "value" and theirs[f"{path} was"] == "old":
            ours[f"{path} kept"] = scene.in_place
    if scene.in_place:
        ours["warned"] = ["RuntimeWarning"]
    for changes in scene.ours.values():
        for key, value in changes.items():
            if value is None and f"{key} kind" in ours:
                ours = without(ours, key)
            else:
                assert key in ours
                assert ours[key] != value, f"{key} is no difference"
                ours[key] = value
    return ours


def play(group, place):
    path = [str(HERE), str(SUPPORT)]
    path += [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    text = (HERE / "play.py").read_text()
    env = {"PYTHONPATH": os.pathsep.join(path)}
    printed = run_python(text, place, group, warnings="default", timeout=600, env=env)
    return json.loads(printed.splitlines()[-1])


@pytest.mark.parametrize("group, place", PLACES)
@pytest.mark.by_day(wanted=lambda group, place: place == "/tmp" and group != "names")
def test_as_joblib(group, place):
    wrong, lacking, n_played = [], set(), 0
    for _, name, way, theirs, ours in play(group, place):
        if ours is None:
            lacking.update(theirs)
            continue
        for told in (theirs, ours):
            assert "broken" not in told, (name, told["broken"])
        n_played += 1
        wanted = expected(GROUPS[group][name], theirs)
        wrong += [
            f"{name}, {way}: {key}: {ours.get(key)!r}, expected {wanted.get(key)!r}, "
            f"joblib {theirs.get(key)!r}"
            for key in sorted(wanted.keys() | ours.keys())
            if ours.get(key) != wanted.get(key)
        ]
    assert not wrong, "\n".join(wrong)
    if n_played == 0:
        pytest.skip(f"cannot be done here: {', '.join(sorted(lacking))}")
