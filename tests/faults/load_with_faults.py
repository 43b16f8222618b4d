"""Every system call of a load fails, once and for good. Prints the number of cases as JSON."""

import collections
import errno
import gc
import json
import os
import pathlib
import pickle
import sys

import fastpersist
import numpy as np
from inside import Resources, SystemCalls

shim = SystemCalls(sys.argv[1])
directory = pathlib.Path(sys.argv[2])
name, long = sys.argv[3], sys.argv[4] == "1"
FOR_GOOD = shim.FOR_GOOD

small = {"a": [1, "two", 3.5], "x": np.arange(10), "y": [{"k": i} for i in range(20)]}
# More than one block to hash, more than one thread, a footer that is read by itself.
large = [
    np.arange(400_000.0),
    [np.full(100, i) for i in range(500)],
    [f"{i}" for i in range(10_000)],
    [np.full(20_000, i) for i in range(12)],
]
path = directory / "model"


def ours(value, **options):
    fastpersist.dump(value, path, **options)
    return fastpersist.load


def plain(value):
    path.write_bytes(pickle.dumps(value, 4))
    return fastpersist.load


def by_python_threads(value, **options):
    """Python's Thread.start() waits for ever where the thread cannot map its first memory."""

    def load(path):
        return fastpersist.load(path, threads=1 if failing == "mmap" else 2)

    fastpersist.dump(value, path, **options)
    return load


def of_joblib(value, compress=0):
    import joblib

    joblib.dump(value, path, compress=compress)
    return fastpersist.load


def mapped(value, mode):
    fastpersist.dump(value, path)
    return lambda path: fastpersist.load(path, mmap_mode=mode)


def by_file(value):
    def load(path):
        with open(path, "rb") as file:
            return fastpersist.load(file)

    fastpersist.dump(value, path)
    return load


def by_raw_file(value):
    def load(path):
        with open(path, "rb", buffering=0) as file:
            return fastpersist.load(file)

    fastpersist.dump(value, path)
    return load


def with_sidecar(value, mode=None):
    sidecar = str(directory / "sidecar")
    fastpersist.dump(value, path, sidecar=sidecar)
    return lambda path: fastpersist.load(path, mmap_mode=mode, sidecar=sidecar)


SCENARIOS = {
    "small": lambda: ours(small),
    "large": lambda: ours(large),
    "many dumps": lambda: many_dumps(),
    "pickle": lambda: plain(large),
    "joblib": lambda: of_joblib(large),
    "joblib's layout": lambda: ours(large, layout="joblib"),
    "sidecar": lambda: with_sidecar(large),
    "mapped sidecar": lambda: with_sidecar(large, "r"),
    "mapped": lambda: mapped(large, "r"),
    "mapped for writing": lambda: mapped(large, "r+"),
    "file": lambda: by_file(large),
    "raw file": lambda: by_raw_file(large),
    "lz4": lambda: ours(large, compress="lz4"),
    "zlib": lambda: by_python_threads(large, compress=("zlib", 1)),
    "joblib's zlib": lambda: of_joblib(large, 1),
}


def many_dumps():
    with open(path, "wb") as file:
        for _ in range(3):
            fastpersist.dump(large, file)
    return fastpersist.load


failing = None  # the call that a case makes fail
load = SCENARIOS[name]()
CONTENT = path.read_bytes()
NAMES = os.listdir(directory)
EXPECTED = fastpersist.dumps(load(path))
load(path)
gc.collect()
before = Resources.settled()
path.write_bytes(CONTENT)
if name == "mapped for writing":
    EXPECTED_READ = fastpersist.dumps(fastpersist.load(path))
shim.arm(everybody=True)
load(path)
shim.disarm()
counts = collections.Counter()


def may_be_absorbed(call, number):
    if number in (errno.EINTR, shim.SHORT):
        return True  # tried again, gone on
    if call in ("close", "pthread_create"):
        return True  # nothing was written; the caller's thread does it all
    # Python's files ask for the size of blocks, and whether something is a directory.
    return call in ("fstat", "stat", "lstat", "mmap", "readlink")


def case(call, n, n_times, number):
    global failing
    value = error = None
    failing = call
    if name == "mapped for writing":
        path.write_bytes(CONTENT)  # without the mark that the first such load leaves
    shim.arm(call, n, n_times, number, everybody=True)
    try:
        value = load(path)
    except BaseException as caught:
        error = caught
    shim.disarm()
    failed = shim.failed
    where = (call, n, n_times, number, repr(error))
    if failed == 0:
        assert error is None, where
        return
    counts[call] += 1
    if error is not None:
        error.__traceback__ = None
        counts["raised"] += 1
        if call == "mmap" and isinstance(error, MemoryError):
            pass
        elif call == "fstat" and "mapped" in name and n > 0:
            # mmap.mmap() takes a size that it cannot learn for 0.
            assert isinstance(error, OSError) and error.errno in (number, errno.EINVAL), where
        else:
            assert isinstance(error, OSError) and error.errno == number, where
        error = None
    else:
        assert may_be_absorbed(call, number), where
        counts["absorbed"] += 1
        assert fastpersist.dumps(value) == EXPECTED, where
        value = None
    assert before.are_back(), (where, before, Resources())
    assert os.listdir(directory) == NAMES, where
    if name != "mapped for writing":
        assert path.read_bytes() == CONTENT, where
    else:
        # Voided or not, it is whole.
        assert fastpersist.dumps(fastpersist.load(path)) == EXPECTED_READ, where


CALLS = ["open", "close", "read", "pread", "preadv", "fstat", "lstat", "stat", "mmap", "write"]
CALLS += ["pwrite", "fdatasync", "pthread_create", "readlink", "ftruncate"]
used = {call: shim.used(call) for call in CALLS}
for call in CALLS:
    faults = [(errno.EIO, 1), (errno.ENOMEM, FOR_GOOD)]
    if call in ("read", "pread", "preadv", "pwrite", "write"):
        faults += [(shim.SHORT, 1), (shim.SHORT, FOR_GOOD)]
    if call not in ("mmap", "pthread_create", "close"):
        faults += [(errno.EINTR, 1)]
    for n in range(used[call] + 1):
        if not long and 4 < n < used[call] - 3 and n % 11:
            continue
        for number, n_times in faults:
            case(call, n, n_times, number)
counts["cases"] = sum(counts[call] for call in CALLS)
print(json.dumps(counts))
