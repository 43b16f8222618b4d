"""Dumps and loads of every kind, over and over. Prints what each kind left behind as JSON.

Arguments: a directory, how often. Looked at: references to what was dumped, blocks of Python's
allocator, bytes of the C library's, resident memory, descriptors, threads.
"""

import gc
import io
import json
import os
import pathlib
import pickle
import resource
import sys

import fastpersist
import numpy as np
import sample_classes as s
from inside import Resources, bytes_in_use

directory, n_times = pathlib.Path(sys.argv[1]), int(sys.argv[2])
path, sidecar = str(directory / "model"), str(directory / "sidecar")


class Fails:
    def __reduce__(self):
        raise ZeroDivisionError


class FailsLater:
    def __setstate__(self, state):
        raise ZeroDivisionError

    def __getstate__(self):
        return {"a": 1}


shared = [s.Plain(a=1, b="two"), s.Slots(1, 2)]
VALUE = [
    np.arange(50.0),
    np.arange(5000.0),
    np.eye(40)[::2],
    shared,
    {"k": shared, "t": (1, 2.5, None, b"x")},
    "\u00e9" * 20_000,
    np.zeros((3, 2), order="F"),
    {1, 2},
    np.float64(2.5),
]
WITNESSES = [VALUE, *VALUE[:8], *shared, np.dtype("f8"), s.Plain, fastpersist.Pickler]


def dumped(**options):
    fastpersist.dump(VALUE, path, **options)
    return path


def fails(call, *errors):
    expected = errors or (ZeroDivisionError,)

    def work():
        try:
            call()
        except expected:
            return
        raise AssertionError("it must fail")

    return work


def load_file():
    with open(path, "rb") as file:
        return fastpersist.load(file)


def load_with_sidecar(mode=None):
    return lambda: fastpersist.load(path, mode, sidecar=sidecar)


def damaged():
    data = bytearray(pathlib.Path(dumped()).read_bytes())
    data[len(data) // 2] ^= 1
    pathlib.Path(path).write_bytes(data)


def cut():
    data = pathlib.Path(dumped()).read_bytes()
    pathlib.Path(path).write_bytes(data[:-100])


def dump_buffers():
    buffers = []
    data = fastpersist.dumps(VALUE, 5, buffer_callback=buffers.append)
    return fastpersist.loads(data, buffers=buffers)


def by_joblib():
    import joblib

    joblib.dump(VALUE, path)


PLAIN = fastpersist.dumps(VALUE)
OLD = fastpersist.dumps(VALUE, 2)
UNBUILDABLE = fastpersist.dumps([VALUE, FailsLater()])
# What is prepared once, and what is done over and over.
KINDS = {
    "dump": (None, lambda: fastpersist.dump(VALUE, path)),
    "dump, one thread": (None, lambda: fastpersist.dump(VALUE, path, threads=1)),
    "dump, protocol 2": (None, lambda: fastpersist.dump(VALUE, path, protocol=2)),
    "dump, file object": (None, lambda: fastpersist.dump(VALUE, io.BytesIO())),
    "dump, lz4": (None, lambda: fastpersist.dump(VALUE, path, "lz4")),
    "dump, zlib": (None, lambda: fastpersist.dump(VALUE, path, ("zlib", 1))),
    "dump, joblib's layout": (None, lambda: fastpersist.dump(VALUE, path, layout="joblib")),
    "dump, sidecar": (None, lambda: fastpersist.dump(VALUE, path, sidecar=sidecar)),
    "dumps": (None, lambda: fastpersist.dumps(VALUE)),
    "Pickler": (None, lambda: fastpersist.Pickler(io.BytesIO()).dump(VALUE)),
    "load": (dumped, lambda: fastpersist.load(path)),
    "load, without checks": (dumped, lambda: fastpersist.load(path, verify=False)),
    "load, map": (dumped, lambda: fastpersist.load(path, mmap_mode="r")),
    "load, map, c": (dumped, lambda: fastpersist.load(path, mmap_mode="c")),
    "load, file object": (dumped, load_file),
    "load, memory": (
        dumped,
        lambda: fastpersist.load(io.BytesIO(pathlib.Path(path).read_bytes())),
    ),
    "load, lz4": (lambda: dumped(compress="lz4"), lambda: fastpersist.load(path)),
    "load, zlib": (lambda: dumped(compress=("zlib", 1)), lambda: fastpersist.load(path)),
    "load, joblib's layout": (lambda: dumped(layout="joblib"), lambda: fastpersist.load(path)),
    "load, joblib's map": (
        lambda: dumped(layout="joblib"),
        lambda: fastpersist.load(path, mmap_mode="r"),
    ),
    "load, joblib": (by_joblib, lambda: fastpersist.load(path)),
    "load, sidecar": (lambda: dumped(sidecar=sidecar), load_with_sidecar()),
    "load, mapped sidecar": (lambda: dumped(sidecar=sidecar), load_with_sidecar("r")),
    "loads": (None, lambda: fastpersist.loads(PLAIN)),
    "loads, protocol 2": (None, lambda: fastpersist.loads(OLD)),
    "buffers": (None, dump_buffers),
    "Unpickler": (None, lambda: fastpersist.Unpickler(io.BytesIO(PLAIN)).load()),
    "verify": (dumped, lambda: fastpersist.verify(path)),
    "dump fails": (None, fails(lambda: fastpersist.dump([VALUE, Fails()], path))),
    "dump fails early": (None, fails(lambda: fastpersist.dump([Fails(), VALUE], path))),
    "dump fails, lz4": (None, fails(lambda: fastpersist.dump([VALUE, Fails()], path, "lz4"))),
    "dump fails, sidecar": (
        None,
        fails(lambda: fastpersist.dump([VALUE, Fails()], path, sidecar=sidecar)),
    ),
    "dump fails, no directory": (
        None,
        fails(lambda: fastpersist.dump(VALUE, "/no/such/name"), FileNotFoundError),
    ),
    "dump fails, unpicklable": (
        None,
        fails(
            lambda: fastpersist.dump([VALUE, lambda: 0], path), AttributeError, pickle.PickleError
        ),
    ),
    "load fails, damaged": (
        damaged,
        fails(lambda: fastpersist.load(path), fastpersist.CorruptFileError),
    ),
    "load fails, cut": (cut, fails(lambda: fastpersist.load(path), fastpersist.CorruptFileError)),
    "load fails, map of it": (
        cut,
        fails(lambda: fastpersist.load(path, "r"), fastpersist.CorruptFileError),
    ),
    "loads fails": (None, fails(lambda: fastpersist.loads(UNBUILDABLE))),
    "loads fails, cut": (
        None,
        fails(lambda: fastpersist.loads(PLAIN[:-20]), pickle.UnpicklingError, EOFError),
    ),
}  # fmt: skip


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def measure():
    gc.collect()
    counts = [sys.getrefcount(x) for x in WITNESSES]
    return counts, sys.getallocatedblocks(), bytes_in_use(), resident()


results = {}
for name, (prepare, work) in KINDS.items():
    if prepare is not None:
        prepare()
    for _ in range(max(50, n_times // 10)):
        work()
    # What leaks leaks in every round; threads and free lists make some noise, so a round without
    # growth is enough.
    rounds = []
    for _ in range(6):
        before, resources = measure(), Resources.settled()
        for _ in range(n_times):
            work()
        after = measure()
        assert resources.are_back(), (name, resources, Resources())
        rounds.append({
            "references": max(abs(b - a) for a, b in zip(before[0], after[0], strict=True)),
            "blocks": after[1] - before[1],
            "bytes": after[2] - before[2],
            "resident": after[3] - before[3],
        })  # fmt: skip
        if rounds[-1]["blocks"] < 20 and rounds[-1]["bytes"] < 10_000:
            break
    results[name] = {key: min(found[key] for found in rounds) for key in rounds[0]}
    assert set(os.listdir(directory)) <= {"model", "sidecar"}, name
print(json.dumps(results))
