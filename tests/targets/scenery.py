"""What scenes are made of, and all of them by their groups: GROUPS[group][name].

A scene builds files in a directory of its own, says how the target is named and where the process
stands, and which user it is; play.py plays it for joblib and for us. What joblib does is expected
of us, but for a few rules (test_targets.py) and for what a scene lists with its reason.
"""

import os
from dataclasses import dataclass, field

import numpy as np

OLD = b"the old content"
NOBODY, OTHER, TEAM, STRANGERS = 65534, 12345, 23456, 34567
VALUE = {"numbers": np.arange(3000.0), "names": [f"name {i}" for i in range(50)]}
WAYS = {"plain": {}, "zlib": {"compress": 3}}

# Why we differ from joblib, where we do.
REPLACED = "a file with content is replaced: it stays whole until the new one is"
WHOLE = "a failed dump leaves nothing half-written"
OWNER = "whoever replaces a file that is another user's becomes its owner"
LOCKED = "somebody holds a lock on the empty file: it is replaced"
RUNNING = "a running program cannot be written to, but replaced"
ROOM = "the old and the new file are there at the same time"
ATTRIBUTES = "extended attributes go with the old file"
PIPES = "joblib asks where a pipe stands, and fails"
NAMED = "the exception of a failed write names the file"


@dataclass
class Case:
    """What a scene has built."""

    name: str  # the target's, as it is passed to dump()
    cwd: tuple = ()  # where the process goes first, step by step
    hold: str = ""  # who has it open before the dump
    reader: str = ""  # a FIFO that somebody reads
    value: object = None
    after: object = None  # called when all is over


@dataclass
class Scene:
    name: str
    build: object
    user: int = 0
    groups: tuple = ()
    needs: frozenset = frozenset()  # of "root", "mount", "flags"
    in_place: bool = False  # for us, too
    ours: dict = field(default_factory=dict)  # {reason: {key: what we make of it}}
    ways: tuple = tuple(WAYS)
    effective: bool = False  # only the effective user is another


GROUPS = {}


def scene(group, name="", *, user=0, needs=(), **keywords):
    def add(build):
        needed = frozenset(needs) | ({"root"} if user or "mount" in needs else set())
        made = Scene(name or build.__name__, build, user, needs=needed, **keywords)
        scenes = GROUPS.setdefault(group, {})
        assert made.name not in scenes, made.name
        scenes[made.name] = made
        return build

    return add


# ---------------------------------------------------------------- what scenes are made of


def put(path, content=OLD, mode=0o644, owner=None, group=None):
    with open(path, "wb") as file:
        file.write(content)
    if owner is not None or group is not None:
        os.chown(path, -1 if owner is None else owner, -1 if group is None else group)
    os.chmod(path, mode)


def make(path, mode=0o755, owner=None, group=None):
    os.mkdir(path)
    if owner is not None or group is not None:
        os.chown(path, -1 if owner is None else owner, -1 if group is None else group)
    os.chmod(path, mode)


def standard():
    """A file, an empty one, a directory with one file and another directory."""
    put("file")
    put("empty", b"")
    make("sub")
    put("sub/file")
    make("sub/deep")


CONTENTS = {"old": OLD, "empty": b""}


class Fails:
    def __reduce__(self):
        raise ZeroDivisionError


class Goes:
    """Changes the current directory while it is dumped."""

    def __init__(self, to):
        self.to = to

    def __reduce__(self):
        os.chdir(self.to)
        return int, ()


class Moves:
    """Gives the target's directory another name meanwhile, and puts another one in its place."""

    def __reduce__(self):
        os.rename("sub", "moved")
        os.mkdir("sub")
        return int, ()
