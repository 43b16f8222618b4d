"""kill -9 at random moments of a process that overwrites one path in a loop. Prints counts as JSON.

Arguments: a directory, the library that writes and loads, how many kills, a seed. After each kill
the file is loaded: it must be what the last finished dump wrote, or the one that was under way.
"""

import collections
import json
import mmap
import os
import pathlib
import random
import re
import signal
import struct
import sys
import time

import numpy as np

directory, library = pathlib.Path(sys.argv[1]), sys.argv[2]
n_kills, seed = int(sys.argv[3]), int(sys.argv[4])
path = directory / "model"
chance = random.Random(seed)
progress = mmap.mmap(-1, 16)  # shared with the children: the dump begun, the dump finished
TEMPORARY = re.compile(r"\.model\.[a-z2-7]{8}\.tmp")


def ours():
    import fastpersist

    def dump(value, i):
        compress = ("lz4", 1) if i % 5 == 4 else 0
        fastpersist.dump(value, path, compress, durable=i % 3 == 0, threads=1 + i % 2)

    return dump, lambda: fastpersist.load(path)


def joblib():
    import joblib

    return (lambda value, i: joblib.dump(value, path)), lambda: joblib.load(path)


def pickle():
    import pickle

    def dump(value, i):
        with open(path, "wb") as file:
            pickle.dump(value, file, 5)

    def load():
        with open(path, "rb") as file:
            return pickle.load(file)

    return dump, load


def skops():
    import skops.io

    return (lambda value, i: skops.io.dump(value, path)), lambda: skops.io.load(path)


# Small, medium, large: the last goes through the writer thread.
SIZES = [(300, 0.004), (200_000, 0.02), (2_600_000, 0.12)]


def value_of(i, n):
    tail = [{"name": f"{i}-{k}", "k": k} for k in range(n // 1000)]
    return [i, n, np.full(n, i), tail, i]


def is_whole(value):
    i, n, array, tail, last = value
    return (
        i == last
        and array.shape == (n,)
        and bool((array == i).all())
        and [x["name"] for x in tail] == [f"{i}-{k}" for k in range(n // 1000)]
    )


def write_for_ever(dump, i, n):
    try:
        while True:
            progress[0:8] = struct.pack("q", i)
            dump(value_of(i, n), i)
            progress[8:16] = struct.pack("q", i)
            i += 1
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(1)


dump, load = {"ours": ours, "joblib": joblib, "pickle": pickle, "skops": skops}[library]()
counts = collections.Counter({"kills": 0, "lost": 0, "torn": 0, "old": 0, "new": 0, "left": 0})
i = 1
dump(value_of(i, 300), i)
progress[:] = struct.pack("qq", i, i)
while counts["kills"] < n_kills:
    n, seconds = chance.choice(SIZES)
    child = os.fork()
    if child == 0:
        write_for_ever(dump, i + 1, n)
    time.sleep(chance.random() * seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), "the writer ended by itself"
    counts["kills"] += 1
    begun, finished = struct.unpack("qq", progress[:])
    try:
        value = load()
    except Exception as error:
        counts["lost"] += 1
        there = 0
        counts[type(error).__name__] += 1
    else:
        there = value[0]
        if not is_whole(value) or value[0] not in (begun, finished):
            counts["torn"] += 1
        counts["new" if value[0] > finished else "old"] += 1
    for name in set(os.listdir(directory)) - {path.name}:
        if library == "ours":
            assert TEMPORARY.fullmatch(name), name
        counts["left"] += 1
        (directory / name).unlink()
    i = begun
    if not there:  # the next kill is to find a file
        dump(value_of(i, 300), i)
        there = i
    progress[:] = struct.pack("qq", i, there)
print(json.dumps(counts))
