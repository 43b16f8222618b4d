"""Times loads of files in turns, in a process that built none of the objects.

    python load_worker.py '[[case, [[name, reader, path], ...]], ...]' repeat

Prints {case: {name: best seconds}}. A timing ends when the collector has had its
turn: what was built is garbage collection's work too, whoever loads. The collector
is on, as users have it.
"""

import gc
import json
import os
import pickle
import sys
import threading
from time import perf_counter

import numpy as np

MANY = 50  # from so many turns on the loads are short: not all behind a collection
DEBT = 2_000  # containers: more than the youngest generation holds


def with_pickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def with_joblib(path):
    import joblib

    return joblib.load(path)


def with_joblib_map(path):
    import joblib

    return joblib.load(path, mmap_mode="r")


def with_torch(path):
    import torch

    return torch.load(path, weights_only=False)


def with_ours(path):
    import fastpersist

    return fastpersist.load(path)


def without_hashes(path):
    import fastpersist

    return fastpersist.load(path, verify=False)


def with_one_thread(path):
    import fastpersist

    return fastpersist.load(path, threads=1)


def restricted(path):
    import fastpersist

    return fastpersist.load(path, trusted=())


def with_map(path):
    import fastpersist

    return fastpersist.load(path, mmap_mode="r")


def with_two_preads(path):
    """The file's bytes into fresh memory, by two threads: what a read costs at least."""
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    memory = np.empty(size, np.uint8)
    half = size // 2 // 4096 * 4096

    def read(begin, end):
        while begin < end:
            begin += os.preadv(fd, [memory[begin : min(end, begin + (1 << 20))]], begin)

    other = threading.Thread(target=read, args=(half, size))
    other.start()
    read(0, half)
    other.join()
    os.close(fd)
    return memory


READERS = {
    "pickle": with_pickle,
    "joblib": with_joblib,
    "torch": with_torch,
    "joblib map": with_joblib_map,
    "ours": with_ours,
    "no hashes": without_hashes,
    "one thread": with_one_thread,
    "map": with_map,
    "restricted": restricted,
    "two preads": with_two_preads,
}


def seconds(reader, path):
    start = perf_counter()
    value = reader(path)
    debt = [[] for _ in range(DEBT)]
    spent = perf_counter() - start
    del value, debt
    return spent


def main():
    cases, repeat = json.loads(sys.argv[1]), int(sys.argv[2])
    best = {}
    for case, readers in cases:
        times = dict.fromkeys([name for name, _, _ in readers], float("inf"))
        for turn in range(repeat + 1):  # the first imports and fills caches
            for name, reader, path in readers:
                if repeat < MANY or turn % 20 == 0:
                    gc.collect()
                spent = seconds(READERS[reader], path)
                if turn > 0:
                    times[name] = min(times[name], spent)
        best[case] = times
    print(json.dumps(best))


if __name__ == "__main__":
    main()
