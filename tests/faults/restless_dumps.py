"""Threads dump what other threads change all the time. Prints counts as JSON.

Arguments: a directory, seconds. A dump gives a file that loads, or one of a few exceptions: that
something changed its size, or is in use.
"""

import collections
import faulthandler
import io
import json
import pathlib
import random
import sys
import threading
import time

import fastpersist
import numpy as np
import sample_classes as s
from inside import Resources

faulthandler.enable()
directory, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
counts = collections.Counter()
lock = threading.Lock()
stop = threading.Event()
failures = []
sys.setswitchinterval(1e-5)

shared = {
    "list": [[i] for i in range(300)],
    "dict": {i: str(i) for i in range(300)},
    "set": set(range(300)),
    "array": np.zeros(40_000),
    "large": np.zeros(400_000),
    "strided": np.zeros((300, 200))[::2, ::-1],
    "bytearray": bytearray(50_000),
    "plain": s.Plain(a=1, b=[2]),
    "nested": {f"k{i}": {j: [j] for j in range(20)} for i in range(30)},
    "state": s.GetState([1, 2]),
}


def change(chance):
    while not stop.is_set():
        i = chance.randrange(400)
        kind = chance.randrange(11)
        try:
            if kind == 0:
                shared["list"].append([i])
            elif kind == 1 and shared["list"]:
                del shared["list"][i % len(shared["list"]) :]
            elif kind == 2:
                shared["dict"][i] = [i]
            elif kind == 3:
                shared["dict"].pop(i, None)
            elif kind == 4:
                shared["set"] ^= {i}
            elif kind == 5:
                shared["array"].fill(i)
                shared["large"][i::7] = i
            elif kind == 6:
                shared["array"].resize(chance.choice([10, 40_000, 90_000]))
            elif kind == 7:
                del shared["bytearray"][:i]
                shared["bytearray"].extend(bytes(i + 1))
            elif kind == 8:
                shared["plain"].__dict__ = {f"a{k}": k for k in range(i % 9)}
            elif kind == 9:
                shared["nested"][f"k{i % 30}"] = dict.fromkeys(range(i % 30), i)
            else:
                shared["strided"] = np.full((300, 200), i)[:: 1 + i % 3, ::-1]
        except (BufferError, RuntimeError, KeyError, IndexError, ValueError):
            pass  # NumPy does not resize what others refer to
        time.sleep(0)


def dump(n):
    path = directory / f"model{n % 2}"  # two threads to one path
    ways = [
        lambda: fastpersist.dump(shared, path, threads=1 + n % 2),
        lambda: fastpersist.dump(shared, path, compress="lz4"),
        lambda: fastpersist.loads(fastpersist.dumps(shared)),
        lambda: fastpersist.load(io.BytesIO(by_file())),
        lambda: fastpersist.dump(shared, path, layout="joblib"),
    ]

    def by_file():
        file = io.BytesIO()
        fastpersist.dump(shared, file)
        return file.getvalue()

    k = n
    while not stop.is_set():
        k += 1
        try:
            ways[k % len(ways)]()
            if path.exists():
                assert len(fastpersist.load(path)) == len(shared)
            outcome = "dumped"
        except (RuntimeError, BufferError, IndexError) as error:
            outcome = type(error).__name__
        with lock:
            counts[outcome] += 1


def guarded(work, *arguments):
    def run():
        try:
            work(*arguments)
        except BaseException as error:
            failures.append(repr(error))
            stop.set()

    return threading.Thread(target=run)


before = Resources.settled()
faulthandler.dump_traceback_later(seconds + 120, exit=True)
threads = [guarded(dump, n) for n in range(4)]
threads += [guarded(change, random.Random(n)) for n in range(2)]
for thread in threads:
    thread.start()
while not stop.wait(seconds) and counts["dumped"] <= 5:
    pass  # a busy machine takes longer
stop.set()
for thread in threads:
    thread.join()
faulthandler.cancel_dump_traceback_later()
assert not failures, failures
assert before.are_back(), (before, Resources())
assert {p.name for p in directory.iterdir()} <= {"model0", "model1"}
print(json.dumps(counts))
