"""Every system call of a dump fails, once and for good. Prints the number of cases as JSON.

Arguments: the library, a directory, a scenario, 1 for every call and errno.
"""

import collections
import errno
import io
import json
import pathlib
import sys

import fastpersist
import numpy as np
from inside import Resources, SystemCalls

shim = SystemCalls(sys.argv[1])
directory = pathlib.Path(sys.argv[2])
name, long = sys.argv[3], sys.argv[4] == "1"
FOR_GOOD = shim.FOR_GOOD
OLD = b"the old content"
FULL = [errno.ENOSPC, errno.EIO, errno.EDQUOT]

small = {"a": [1, "two", 3.5], "x": np.arange(10), "y": [{"k": i} for i in range(20)]}
# 10 MB: a writer thread, arrays of their own and in a shared blob, and graph behind them.
large = [
    np.arange(1_200_000.0),
    [np.full(100, i) for i in range(500)],
    [f"{i}" for i in range(25_000)],
]
path, sidecar = directory / "model", directory / "sidecar"


def compressed(*compress):
    return {"value": large[1:], "compress": compress, "everybody": True}


# What is dumped, how, and in front of what.
SCENARIOS = {
    "small": {"value": small},
    "small, new": {"value": small, "is_new": True},
    "small, durable": {"value": small, "durable": True},
    "large": {"value": large, "threads": 2},
    "large, new": {"value": large, "threads": 2, "is_new": True},
    "large, one thread, durable": {"value": large, "threads": 1, "durable": True},
    "large, protocol 4": {"value": large, "protocol": 4},
    "link, durable": {"value": small, "durable": True, "is_link": True},
    "empty": {"value": small, "is_empty": True},
    "empty, large": {"value": large, "is_empty": True, "threads": 2},
    "empty, link": {"value": small, "is_empty": True, "is_link": True},
    "empty, durable": {"value": small, "is_empty": True, "durable": True},
    "empty, lz4": {**compressed("lz4", 1), "is_empty": True},
    "empty, zlib": {**compressed("zlib", 1), "is_empty": True},
    "empty, sidecar": {"value": large[1:], "sidecar": str(sidecar), "is_empty": True},
    "lz4": compressed("lz4", 1),
    "lz4, durable": {**compressed("lz4", 1), "durable": True},
    "zlib": compressed("zlib", 1),
    "gzip": compressed("gzip", 1),
    "bz2": compressed("bz2", 1),
    "xz": compressed("xz", 0),
    "joblib's layout": {"value": large, "layout": "joblib", "threads": 2},
    "sidecar": {"value": large[1:], "sidecar": str(sidecar)},
    "sidecar, durable": {"value": large, "sidecar": str(sidecar), "durable": True, "threads": 2},
    "file object": {"value": large, "to_object": True, "everybody": True},
}
scenario = dict(SCENARIOS[name])
value = scenario.pop("value")
is_new = scenario.pop("is_new", False)
is_link = scenario.pop("is_link", False)
is_empty = scenario.pop("is_empty", False)
to_object = scenario.pop("to_object", False)
everybody = scenario.pop("everybody", False)
is_durable = scenario.get("durable", False)
is_filled = is_empty and not is_durable
if is_empty:
    OLD = b""
files = [path, sidecar] if "sidecar" in scenario else [path]

if is_link:
    (directory / "elsewhere").mkdir()
    (directory / "elsewhere" / "file").touch()
    path.symlink_to("elsewhere/file")


def prepare():
    for file in files:
        if is_new:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(OLD)
            file.chmod(0o640)


def dump():
    if to_object:
        with io.FileIO(path, "w") as file:
            fastpersist.dump(value, file, **scenario)
    else:
        fastpersist.dump(value, path, **scenario)


def contents():
    return [file.read_bytes() if file.exists() else None for file in files]


def inodes():
    return [file.stat().st_ino if file.exists() else None for file in files]


def names():
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*"))


prepare()
BEFORE = contents()
dump()
EXPECTED = contents()
NAMES = names()
MODES = [file.stat().st_mode for file in files]
prepare()
resources = Resources.settled()
dump()
assert resources.are_back(), (resources, Resources())
assert contents() == EXPECTED, "the bytes are determined"
prepare()
shim.arm(everybody=everybody)
dump()
shim.disarm()
counts = collections.Counter()


def may_be_absorbed(call, n, n_times, number):
    """Which failures do not matter to a dump."""
    if call == "write":
        return number in (errno.EINTR, shim.SHORT)
    if call in ("pread", "pwrite"):
        # Where there is no room for both, the temporary gives some back.
        no_room = call == "pwrite" and number in (errno.ENOSPC, errno.EDQUOT) and n_times == 1
        return number in (errno.EINTR, shim.SHORT) or no_room
    if call in ("getrandom", "stat", "statx", "fstatfs", "pthread_create"):
        # There is another source; renaming will tell; the same, by another way; the caller writes.
        return True
    if call in ("fstatat", "fstat", "open", "flock") and is_filled:
        return True  # it is renamed over the empty file instead
    if call in ("fstatat", "faccessat", "readlinkat"):
        return number == errno.EINTR  # opening is tried again, when signals have been seen to
    if call == "close":
        # Directories are closed, too; and what a second descriptor has told is not asked again.
        return n < is_link or n >= is_link + len(files) or is_filled
    # Python's open() asks for the size of blocks.
    return call == "fstat" and n == 0 and everybody


def check_failure(error, call, n, number):
    """Which of the files are there afterwards: "old", "renamed", or "torn" of a pair."""
    assert isinstance(error, OSError), repr(error)
    assert error.errno == number, repr(error)
    if to_object:
        return "old"
    assert error.filename in map(str, files), repr(error)
    if call == "fsync":
        first = n + 1 if n < len(files) else 2 * len(files)
        assert shim.used("fsync") <= first, "a failed fsync is not tried again"
    found = contents()
    if "directory" in str(error):
        assert is_durable and (call == "fsync" or call == "open"), call
        assert found == EXPECTED
        return "renamed"
    if len(files) == 2 and found != BEFORE:
        # Two renames cannot be one, nor two copies: such a pair is refused.
        assert call == "renameat" and n == 1 or is_filled
        assert found == [OLD, EXPECTED[1]]
        return "torn pair"
    assert found == BEFORE, "the old file is as it was"
    if not is_new:
        assert all(file.stat().st_mode & 0o777 == 0o640 for file in files)
    return "old"


def case(call, n, n_times, number):
    prepare()
    before = inodes()
    error = None
    shim.arm(call, n, n_times, number, everybody)
    try:
        dump()
    except BaseException as caught:
        error = caught
    shim.disarm()
    where = (call, n, n_times, number, repr(error))
    if shim.failed == 0:
        assert error is None, where
        assert not is_filled or inodes() == before, where
        return
    counts[call] += 1
    if error is None:
        assert contents() == EXPECTED, where
        assert [file.stat().st_mode for file in files] == MODES, where
        assert may_be_absorbed(call, n, n_times, number), where
        counts["absorbed"] += 1
        counts["filled"] += inodes() == before
    else:
        error.__traceback__ = None
        try:
            counts[check_failure(error, call, n, number)] += 1
        except AssertionError as wrong:
            raise AssertionError(where) from wrong
    if is_new:
        for file in files:
            file.touch()
    assert names() == NAMES, (where, names())
    assert resources.are_back(), (where, resources, Resources())


CALLS = ["open", "close", "write", "fsync", "renameat", "linkat", "fchmod", "fchown", "fstat"]
CALLS += ["fstatat", "fstatfs", "stat", "statx", "faccessat", "getrandom", "readlinkat", "flock"]
CALLS += ["fcntl", "ftruncate", "pwrite", "fdatasync", "read", "pread", "pthread_create"]
# Of an older way to do it, or used when something else has failed.
UNUSED = ["lstat", "readlink", "rename", "fallocate"]
assert not any(map(shim.used, UNUSED)) or everybody
used = {call: shim.used(call) for call in CALLS}
for call in CALLS:
    faults = [(number, n) for number in FULL for n in (1, FOR_GOOD)]
    faults = faults if long else faults[1:3]  # no room for good, one input/output error
    if call in ("write", "pwrite", "pread"):
        faults += [(errno.EINTR, 1), (errno.EINTR, 3), (shim.SHORT, 1), (shim.SHORT, FOR_GOOD)]
    elif call != "open":
        faults += [(errno.EINTR, 1)]
    for n in range(used[call] + 1):
        if not long and 3 < n < used[call] - 3 and n % 29:
            continue
        for number, n_times in faults:
            case(call, n, n_times, number)
counts["cases"] = sum(counts[call] for call in CALLS)
print(json.dumps(counts))
