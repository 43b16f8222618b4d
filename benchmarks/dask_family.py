"""The family "fastpersist" beside Dask's own, in one run: python benchmarks/dask_family.py

Prints the rows of docs/dask.md: the best of several rounds, taken in turns.
"""

import copy
import dataclasses
import time

import numpy as np
from distributed.protocol import deserialize, serialize
from fastpersist.integrations import dask as fastpersist_dask

# cloudpickle would take what is of __main__.
if __name__ == "__main__":
    from dask_family import main

    raise SystemExit(main())

N = 200_000
ROUNDS = 7


class Member:
    def __init__(self, i):
        self.number, self.name, self.weights = i, f"member {i}", (0.5 * i, i)


@dataclasses.dataclass(slots=True)
class Row:
    number: int
    name: str


OBJECTS = {
    f"{N:,} instances": lambda: [Member(i) for i in range(N)],
    f"{N:,} dataclasses with slots": lambda: [Row(i, f"row {i}") for i in range(N)],
    f"{N:,} tuples in a dict": lambda: {i: (i, str(i), 0.5 * i) for i in range(N)},
    f"{N:,} dicts in a list": lambda: [{"id": i, "name": f"n{i}", "v": i * 0.5} for i in range(N)],
    "one array of 80 MB": lambda: np.ones(10_000_000),
    "80 MB in 20 arrays": lambda: {f"w{i}": np.ones(500_000) for i in range(20)},
}


def seconds(value, serializers):
    start = time.perf_counter()
    header, frames = serialize(value, serializers=serializers, on_error="raise")
    there = time.perf_counter()
    header = copy.deepcopy(header)  # deserialize takes keys out of it
    back = time.perf_counter()
    found = deserialize(header, list(frames))
    end = time.perf_counter()
    del found
    return there - start, end - back


def main():
    fastpersist_dask.register()
    print("| | Dask's own: there, back | fastpersist: there, back | ratio |")
    print("|---|---|---|---|")
    for name, make in OBJECTS.items():
        value = make()
        rounds = [
            [seconds(value, None), seconds(value, ["fastpersist", "dask", "pickle"])]
            for _ in range(ROUNDS)
        ]
        own, ours = np.min(rounds, axis=0) * 1000
        print(
            f"| {name} | {own[0]:.3g}, {own[1]:.3g} ms | {ours[0]:.3g}, {ours[1]:.3g} ms "
            f"| {own.sum() / ours.sum():.1f} |"
        )
