"""Memory and start of four workers with one model: fastpersist beside joblib and pickle. Linux.

    python examples/serve/measure.py                 every model, a table
    python examples/serve/measure.py forest mlp      some of them

For each model and each way to load it four processes import what they need, then load the same file
and predict once. Memory is PSS, of /proc/PID/smaps_rollup: pages that several processes share
count for each of them in part, so that the sum over the workers is what they take together. What is
listed is the growth of that sum from before the load to after the prediction, and the time
until the slowest worker has its first answer, without imports. The files are in the page cache.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np

WORKERS = 4
MIB = 1 << 20

# --- Models, each with rows to predict: about 30 to 130 MiB -------------------------------


def forest():
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    data, target = rng.standard_normal((20_000, 10)), rng.integers(0, 2, 20_000)
    return RandomForestClassifier(60, n_jobs=-1, random_state=0).fit(data, target), data[:100]


def boosting():
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(0)
    data, target = rng.standard_normal((20_000, 10)), rng.integers(0, 2, 20_000)
    model = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=None, min_samples_leaf=2, early_stopping=False
    )
    return model.fit(data, target), data[:100]


def linear():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    data = rng.standard_normal((50, 3000))
    return Ridge().fit(data, rng.standard_normal((50, 4000))), data


def mlp():
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(0)
    data, target = rng.standard_normal((200, 100)), rng.integers(0, 2, 200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration does not converge
        return MLPClassifier((2000, 2000), max_iter=1).fit(data, target), data


def neighbours():
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    data = rng.standard_normal((100_000, 100))
    return KNeighborsClassifier().fit(data, rng.integers(0, 2, 100_000)), data[:20]


def svm():
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    data, target = rng.standard_normal((1500, 5000)), rng.integers(0, 2, 1500)
    return SVC().fit(data, target), data[:20]


class Multiply:
    """A matrix, dense or sparse, by itself."""

    def __init__(self, matrix):
        self.matrix = matrix

    def predict(self, rows):
        return self.matrix @ rows


def array():
    rng = np.random.default_rng(0)
    return Multiply(rng.standard_normal((3000, 4000))), rng.standard_normal(4000)


def sparse():
    from scipy.sparse import csr_array

    rng = np.random.default_rng(0)
    n, each = 100_000, 80
    columns = np.sort(rng.integers(0, n, (n, each), dtype=np.int32)).ravel()
    starts = np.arange(0, n * each + 1, each, dtype=np.int32)
    matrix = csr_array((rng.standard_normal(n * each), columns, starts), shape=(n, n))
    return Multiply(matrix), rng.standard_normal(n)


MODELS = {
    build.__name__: build
    for build in (array, sparse, linear, mlp, neighbours, svm, boosting, forest)
}

# --- Ways to save and to load -----------------------------------------------------------


def save(value, path, writer):
    if writer == "pickle":
        with open(path, "wb") as file:
            pickle.dump(value, file, protocol=5)
    else:
        __import__(writer).dump(value, path)


def load(path, writer, mode):
    if writer == "pickle":
        with open(path, "rb") as file:
            return pickle.load(file)
    return sys.modules[writer].load(path, mmap_mode=mode)


# (writer and reader, mmap_mode)
WAYS = (
    ("fastpersist", "r"),
    ("fastpersist", None),
    ("joblib", "r"),
    ("joblib", None),
    ("pickle", None),
)


def pss():
    """Bytes of this process, shared pages in part."""
    with open("/proc/self/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    raise OSError("smaps_rollup has no Pss")


def work(path, writer, mode, name):
    """A worker: says what it takes, before and behind, when it is asked to."""
    __import__(writer)
    for module in {"array": (), "sparse": ("scipy.sparse",)}.get(
        name, ("sklearn.ensemble", "sklearn.neural_network", "sklearn.neighbors", "sklearn.svm")
    ):
        __import__(module)
    rows = np.load(f"{path}.rows.npy")
    say({})
    sys.stdin.readline()
    say({"pss": pss()})
    sys.stdin.readline()
    start = perf_counter()
    model = load(path, writer, mode)
    loaded = perf_counter() - start
    model.predict(rows)
    say({"loaded": loaded, "answered": perf_counter() - start})
    sys.stdin.readline()
    say({"pss": pss()})
    sys.stdin.readline()


def say(value):
    print(json.dumps(value), flush=True)


def measure(path, writer, mode, name):
    """Growth of the workers' memory together in bytes, and seconds until each has answered."""
    command = [sys.executable, __file__, "--worker", json.dumps([str(path), writer, mode, name])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(WORKERS)]
    try:

        def all_say():
            return [json.loads(worker.stdout.readline()) for worker in workers]

        def ask_all():
            for worker in workers:
                worker.stdin.write("\n")
                worker.stdin.flush()
            return all_say()

        all_say()
        before = sum(said["pss"] for said in ask_all())
        times = ask_all()
        after = sum(said["pss"] for said in ask_all())
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    seconds = {what: max(said[what] for said in times) for what in ("loaded", "answered")}
    return {"memory": after - before, **seconds}


# --- Report -----------------------------------------------------------------------------


def table(rows):
    """Markdown: a line for each model, a column for each way; memory, and time to the answer."""
    names = [f"{writer}, mapped" if mode else writer for writer, mode in WAYS]
    lines = ["| model | file | " + " | ".join(names) + " |", "|---|--:|" + "--:|" * len(names)]
    for name in dict.fromkeys(row["model"] for row in rows):
        ours = [row for row in rows if row["model"] == name]
        cells = [f"{row['memory'] / MIB:.0f} MiB, {row['answered'] * 1e3:.0f} ms" for row in ours]
        lines.append(f"| {name} | {ours[0]['size'] / MIB:.0f} MiB | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*json.loads(options.worker))
        return
    if not os.path.exists("/proc/self/smaps_rollup"):
        parser.error("needs /proc/self/smaps_rollup, which Linux has")
    unknown = set(options.models) - set(MODELS)
    if unknown:
        parser.error(f"no such model: {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    rows = []
    for name in options.models or MODELS:
        model, asked = MODELS[name]()
        with tempfile.TemporaryDirectory() as directory:
            for writer in dict.fromkeys(writer for writer, _ in WAYS):
                save(model, Path(directory, writer), writer)
                np.save(f"{directory}/{writer}.rows.npy", asked)
            del model
            for writer, mode in WAYS:
                path = Path(directory, writer)
                found = measure(path, writer, mode, name)
                size = path.stat().st_size
                rows.append({"model": name, "way": writer, "mode": mode, "size": size, **found})
        print(f"{name}: measured", file=sys.stderr, flush=True)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
