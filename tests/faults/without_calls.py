"""Dumps where the file system lacks a call. Prints the number of cases as JSON.

Arguments: the library, a directory. FUSE file systems, network shares, FAT and sandboxes answer
ENOSYS, EOPNOTSUPP, EINVAL or EPERM to what they do not know, for good. A dump works all the same,
or names what is missing and leaves the old file.
"""

import collections
import errno
import json
import os
import pathlib
import re
import stat
import sys
import warnings

import fastpersist
import numpy as np
from inside import Resources, SystemCalls

shim = SystemCalls(sys.argv[1])
directory = pathlib.Path(sys.argv[2])
ANSWERS = [errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM]
OLD = b"the old content"
TEMPORARY = re.compile(r"\.file\.[a-z2-7]{8}\.tmp")
value = [np.arange(140_000.0), [str(i) for i in range(5000)]]
path = directory / "file"
ROOT = os.geteuid() == 0

# What is there first, how it is named, how it is dumped to.
SCENES = {
    "new": (None, path, {}),
    "new, durable": (None, path, {"durable": True}),
    "over": (OLD, path, {}),
    "over, durable": (OLD, path, {"durable": True}),
    "over, zlib": (OLD, path, {"compress": 1}),
    "over, protocol 2": (OLD, path, {"protocol": 2}),
    "empty": (b"", path, {}),
    "empty, lz4": (b"", path, {"compress": "lz4"}),
    "empty, durable": (b"", path, {"durable": True}),
    "link": (OLD, directory / "link", {}),
    "link to nothing": (None, directory / "link", {}),
    "link, empty": (b"", directory / "link", {}),
    "in place": (OLD, directory / "open", {}),
}

# Calls without which all dumps work. EPERM is faccessat's way to say that it may not be written.
NEVER_MISSED = ["statx", "fstatfs", "flock", "fchown", "fchmod", "getrandom", "fallocate", "linkat"]
NEVER_MISSED += ["lstat", "stat", "readlink", "rename", "fdatasync", "unlinkat", "faccessat"]
# Calls that some dumps need, which, and the step in the message; None: opening.
NEEDED = {
    "fsync": (lambda scene: scene.endswith("durable"), "fsync"),
    "renameat": (
        lambda scene: scene == "empty, durable" or "empty" not in scene and scene != "in place",
        "rename",
    ),
    "ftruncate": (lambda scene: scene == "in place", "ftruncate"),
    "fstatat": (lambda scene: True, None),
    "readlinkat": (lambda scene: scene.startswith("link") or scene == "in place", None),
    "fstat": (lambda scene: scene != "in place", "fstat"),
    "pwrite": (
        lambda scene: "empty" in scene and "durable" not in scene,
        "copy into the empty file",
    ),
    "pread": (
        lambda scene: "empty" in scene and "durable" not in scene,
        "copy into the empty file",
    ),
}
NEEDED["faccessat"] = (lambda scene: not scene.startswith(("new", "link to nothing")), None)

counts = collections.Counter()
holder = os.open(directory / "held", os.O_RDWR | os.O_CREAT)
(directory / "link").symlink_to("file")
(directory / "open").symlink_to(f"/proc/self/fd/{holder}")
NAMES = sorted(os.listdir(directory))


def prepare(scene):
    """The file under test, as it is in this scene."""
    old, name, _ = SCENES[scene]
    file = directory / "held" if scene == "in place" else path
    path.unlink(missing_ok=True)
    if old is not None:
        file.write_bytes(old)
        file.chmod(0o6640)
        if ROOT:
            os.chown(file, 12345, 23456)
            file.chmod(0o6640)
    return file


def dump(scene):
    _, name, options = SCENES[scene]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return fastpersist.dump(value, name, **options)


def content(file):
    return file.read_bytes() if file.exists() else None


def attempt(scene, call, number):
    file = prepare(scene)
    before = content(file)
    shim.arm(call, 0, shim.FOR_GOOD, number, everybody=call == "unlinkat")
    error = None
    try:
        dump(scene)
    except OSError as caught:
        error = caught
    used = shim.used(call)
    shim.disarm()
    where = (scene, call, errno.errorcode[number], repr(error))
    left = sorted(set(os.listdir(directory)) - set(NAMES) - {file.name})
    if error is None:
        assert content(file) == EXPECTED[scene], where
        if before is not None:
            # Never more for anybody than there was.
            assert stat.S_IMODE(file.stat().st_mode) & ~0o6640 == 0, where
    else:
        assert content(file) == before, where
        assert error.errno == number and error.filename == str(SCENES[scene][1]), where
    assert resources.are_back(), where
    return error, used, left, where


EXPECTED = {}
for scene in SCENES:
    file = prepare(scene)
    dump(scene)
    EXPECTED[scene] = content(file)
resources = Resources.settled()

for scene in SCENES:
    for call in [*NEVER_MISSED, *NEEDED]:
        if call in NEEDED and call in NEVER_MISSED:
            answers = [errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]
        else:
            answers = ANSWERS
        for number in answers:
            error, used, left, where = attempt(scene, call, number)
            if call in NEVER_MISSED:
                assert error is None, where
            else:
                is_needed, step = NEEDED[call]
                assert (error is not None) == (is_needed(scene) and used > 0), (where, used)
                assert error is None or step is None or f"({step})" in str(error), where
            if call == "unlinkat" and SCENES[scene][0] == b"" and "durable" not in scene:
                # It cannot be removed: it is all that is left.
                assert len(left) == 1 and TEMPORARY.fullmatch(left[0]), where
                (directory / left[0]).unlink()
            else:
                assert left == [], (where, left)
            counts["works" if error is None else "says so"] += 1
            counts["cases"] += 1

# Where a file may not be written, access says so.
for scene in SCENES:
    if NEEDED["faccessat"][0](scene):
        error, _, left, where = attempt(scene, "faccessat", errno.EPERM)
        assert isinstance(error, PermissionError) and not left, where
        counts["says so"] += 1
        counts["cases"] += 1

# Only the directory cannot be synced: some file systems never can.
for number in ANSWERS:
    file = prepare("over, durable")
    shim.arm("fsync", 1, shim.FOR_GOOD, number)
    try:
        dump("over, durable")
        error = None
    except OSError as caught:
        error = caught
    shim.disarm()
    assert content(file) == EXPECTED["over, durable"]
    assert (error is None) == (number != errno.EPERM)
    assert error is None or "fsync of the directory" in str(error)
    counts["cases"] += 1

os.close(holder)
print(json.dumps(counts))
