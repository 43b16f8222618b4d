"""Two processes overwrite one path while two others load it. Prints counts as JSON.

Arguments: a directory, the library, how many loads of each reader. A reader sees one whole version
each time; every 16th load maps the file, and looks at the map again when others have replaced it.
"""

import collections
import json
import os
import pathlib
import signal
import sys
import traceback

import numpy as np

directory, library, n_loads = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
path = directory / "model"

if library == "ours":
    import fastpersist

    def dump(value, i):
        fastpersist.dump(value, path, ("lz4", 1) if i % 7 == 6 else 0)

    load = fastpersist.load
else:
    import joblib

    def dump(value, i):
        joblib.dump(value, path)

    load = joblib.load


def value_of(i):
    n = (5, 3000, 40_000)[i % 3]
    return [i, np.full(n, i), [i] * 50, np.full((n, 2), i, order="F")]


def is_whole(value):
    i, first, numbers, second = value
    return bool((first == i).all() and (second == i).all()) and numbers == [i] * 50


def write(n_first):
    i = n_first
    while True:
        dump(value_of(i), i)
        i += 2


def read():
    counts = collections.Counter(loads=n_loads, torn=0, errors=0, maps=0, changed=0, versions=0)
    held, last = [], None
    for k in range(n_loads):
        is_map = k % 16 == 15 and library == "ours"
        try:
            value = load(path, mmap_mode="r") if is_map else load(path)
        except Exception as error:
            counts["errors"] += 1
            counts[type(error).__name__] += 1
            continue
        counts["torn"] += not is_whole(value)
        counts["versions"] += value[0] != last
        last = value[0]
        if is_map:
            counts["maps"] += 1
            held.append(value)
            if len(held) > 20:
                old = held.pop(0)
                counts["changed"] += not is_whole(old)
    return counts


def start(work, *arguments):
    """A child; what it returns is read from the pipe."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(into, json.dumps(work(*arguments)).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(into)
    return child, out


dump(value_of(0), 0)
writers = [start(write, n) for n in (1, 2)]
readers = [start(read) for _ in range(2)]
total = collections.Counter()
for child, out in readers:
    with open(out, "rb") as pipe:
        total.update(json.loads(pipe.read()))
    os.waitpid(child, 0)
for child, out in writers:
    assert os.waitpid(child, os.WNOHANG) == (0, 0), "a writer failed"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(out)
total["left"] = sum(name != "model" for name in os.listdir(directory))
print(json.dumps(total))
