"""Dumps into one empty file at once, and dumps that are killed there. Prints counts as JSON.

Arguments: a directory, how many rounds, a seed. In each round three processes dump to an empty file
that is open, while two load it. Who loads it sees an empty file or a part of a dump, which is
refused, and from the first whole dump on whole dumps only; the open file ends as one of the dumps,
or empty. Then as many processes are killed while they dump to an empty file: there is nothing, all,
or a part, and beside a part the whole dump in the temporary.
"""

import collections
import json
import os
import pathlib
import random
import re
import signal
import sys
import time
import traceback

import fastpersist
import numpy as np

directory, n_rounds, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
path = directory / "model"
chance = random.Random(seed)
TEMPORARY = re.compile(r"\.model\.[a-z2-7]{8}\.tmp")
WAYS = [{}, {"compress": ("lz4", 1)}, {"threads": 1}, {"layout": "joblib"}, {"protocol": 4}]
SIZES = [300, 60_000, 900_000]  # the copy takes one block, one block, seven


def value_of(i, n):
    return [i, np.full(n, i), [i] * 50, i]


def is_whole(value):
    i, array, numbers, last = value
    return i == last and bool((array == i).all()) and numbers == [i] * 50


def bytes_of(i, n, way):
    """The bytes do not depend on the target."""
    other = directory / "other"
    fastpersist.dump(value_of(i, n), other, **way)
    data = other.read_bytes()
    other.unlink()
    return data


def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def wait(pid):
    assert os.waitpid(pid, 0)[1] == 0


def read_for_ever(ready, start, out):
    """Until a signal: how often it was empty, refused, whole; the last comes last."""
    seen = collections.Counter(empty=0, refused=0, whole=0)
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    os.write(ready, b"1")
    os.read(start, 1)
    while not stopped:
        mode = "r" if sum(seen.values()) % 3 == 2 else None
        try:
            value = fastpersist.load(path, mmap_mode=mode)
        except EOFError as error:
            assert not isinstance(error, fastpersist.CorruptFileError)
            seen["empty"] += 1
            state = "empty"
        except Exception:  # a plain pickle or joblib's layout has no checksum, but an end
            seen["refused"] += 1
            state = "refused"
        else:
            assert is_whole(value)
            seen["whole"] += 1
            continue
        assert seen["whole"] == 0, f"{state} after a whole dump"
    os.write(out, json.dumps(seen).encode() + b"\n")


def race():
    path.unlink(missing_ok=True)
    path.touch()
    n, way = chance.choice(SIZES), chance.choice(WAYS)
    expected = {bytes_of(i, n, way) for i in range(3)}
    start, go = os.pipe()
    results, out = os.pipe()
    wait_for, ready = os.pipe()

    def write(i):
        os.read(start, 1)
        fastpersist.dump(value_of(i, n), path, **way)

    with open(path, "rb") as handle:
        readers = [child(lambda: read_for_ever(ready, start, out)) for _ in range(2)]
        for _ in readers:
            os.read(wait_for, 1)
        writers = [child(lambda i=i: write(i)) for i in range(3)]
        os.write(go, b"12345")
        for pid in writers:
            wait(pid)
        for pid in readers:
            os.kill(pid, signal.SIGTERM)
            wait(pid)
        held = handle.read()
    assert held == b"" or held in expected
    counts["filled"] += held != b""
    assert path.read_bytes() in expected
    assert os.listdir(directory) == ["model"]
    os.close(out)
    with open(results) as lines:
        for line in lines:
            counts.update(json.loads(line))
    for fd in (start, go, wait_for, ready):
        os.close(fd)


def kill():
    path.unlink(missing_ok=True)
    path.touch()
    n, way = chance.choice(SIZES), chance.choice(WAYS)
    whole = bytes_of(7, n, way)
    ready, tell = os.pipe()

    def write():
        os.write(tell, b"1")
        fastpersist.dump(value_of(7, n), path, **way)

    pid = child(write)
    os.read(ready, 1)
    time.sleep(chance.random() * 2e-8 * n + chance.random() * 0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    found = path.read_bytes()
    assert whole.startswith(found)
    left = [name for name in os.listdir(directory) if name != "model"]
    assert len(left) <= 1 and all(map(TEMPORARY.fullmatch, left))
    state = "nothing" if found == b"" else "all" if found == whole else "part"
    counts[state] += 1
    if state == "part":
        assert (directory / left[0]).read_bytes() == whole
        # The next dump replaces it like any other file.
        fastpersist.dump(value_of(8, n), path, **way)
        assert is_whole(fastpersist.load(path))
    for name in left:
        (directory / name).unlink()
    os.close(ready)
    os.close(tell)


counts = collections.Counter(dict.fromkeys(["filled", "refused", "part"], 0))
for _ in range(n_rounds):
    race()
for _ in range(n_rounds):
    kill()
counts["rounds"] = n_rounds
print(json.dumps(counts))
