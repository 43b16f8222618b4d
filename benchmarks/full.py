"""Every peer that can do the object: dump, load, mapped load, size, peak memory; and how they grow.

    python benchmarks/full.py                                    what make bench-full runs
    python benchmarks/full.py --objects 1000 10000 --bytes 1000000   other sizes
    python benchmarks/full.py --only records array --peers pickle joblib

Each measurement is a process of its own, which builds the object or finds the file, and repeats
for a second, at least three times; the best counts. Peak memory is what the process grew by at
the most, in bytes: beyond the object for a dump, from nothing for a load. What a peer cannot do is
a row with the reason. Writes PREFIX.json, PREFIX.md and PREFIX.png (--out PREFIX).
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

HERE = Path(__file__).resolve().parent
LEAST_REPEATS, LEAST_SECONDS = 3, 1.0
MIB = 1 << 20

# --- Objects ----------------------------------------------------------------------------


class Point:
    def __init__(self, number):
        self.id = number
        self.name = f"point {number}"
        self.value = number * 0.5


def records(n):
    """A list of dicts with text, numbers and a list: ten objects each."""
    return [
        {"id": i, "name": f"user{i}", "score": i * 0.5, "tags": ["a", f"t{i % 100}"], "ok": True}
        for i in range(n // 10)
    ]


def instances(n):
    """A list of instances: five objects each."""
    return [Point(i) for i in range(n // 5)]


def texts(n):
    return [f"string number {i}" for i in range(n)]


def small_arrays(n):
    rng = np.random.default_rng(0)
    return list(rng.standard_normal((n // 10, 16)))


def trees(n):
    """A random forest with so many nodes, about."""
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    data, target = make_classification(2000, 20, n_informative=10, random_state=0)
    forest = RandomForestClassifier(max(1, n // 300), max_depth=10, random_state=0)
    return forest.fit(data, target)


def array(n_bytes):
    return np.random.default_rng(0).standard_normal(n_bytes // 8)


def weights(n_bytes):
    """A dict of float32 arrays, as of a network: sixteen layers."""
    rng = np.random.default_rng(0)
    return {f"layer{i}": rng.random(n_bytes // 64, dtype=np.float32) for i in range(16)}


BY_OBJECTS = {build.__name__: build for build in (records, instances, texts, small_arrays, trees)}
BY_BYTES = {build.__name__: build for build in (array, weights)}
BUILDS = {**BY_OBJECTS, **BY_BYTES}

# --- Peers ------------------------------------------------------------------------------


@dataclass
class Peer:
    """What writes and reads; `map` only where arrays can stay in the file."""

    package: str
    dump: Callable[[object, str], object]
    load: Callable[[str], object]
    map: Callable[[str], object] | None = None


def pickle_dump(value, path):
    with open(path, "wb") as file:
        pickle.dump(value, file, protocol=5)


def pickle_load(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def cloudpickle_dump(value, path):
    import cloudpickle

    with open(path, "wb") as file:
        cloudpickle.dump(value, file, protocol=5)


def skops_load(path):
    from skops import io

    return io.load(path, trusted=io.get_untrusted_types(file=path))


def pyfory_of():
    import pyfory

    return pyfory.Fory(xlang=False, ref=True, strict=False)


def pyfory_dump(value, path):
    with open(path, "wb") as file:
        file.write(pyfory_of().serialize(value))


def pyfory_load(path):
    with open(path, "rb") as file:
        return pyfory_of().deserialize(file.read())


def safetensors_dump(value, path):
    from safetensors.numpy import save_file

    if isinstance(value, np.ndarray):
        value = {"": value}
    is_arrays = isinstance(value, dict) and all(
        isinstance(item, np.ndarray) for item in value.values()
    )
    if not is_arrays:
        raise TypeError("it holds named arrays only")
    save_file(value, path)


def safetensors_load(path):
    from safetensors.numpy import load_file

    found = load_file(path)
    return found[""] if set(found) == {""} else found


def lazily(module, name, *arguments, **keywords):
    """A function of a module that is imported at its first use."""

    def call(*given):
        function = getattr(importlib.import_module(module), name)
        return function(*given, *arguments, **keywords)

    return call


PEERS = {
    "fastpersist": Peer(
        "fastpersist",
        lazily("fastpersist", "dump"),
        lazily("fastpersist", "load"),
        lazily("fastpersist", "load", mmap_mode="r"),
    ),
    "pickle": Peer("pickle", pickle_dump, pickle_load),
    "joblib": Peer(
        "joblib",
        lazily("joblib", "dump"),
        lazily("joblib", "load"),
        lazily("joblib", "load", mmap_mode="r"),
    ),
    "cloudpickle": Peer("cloudpickle", cloudpickle_dump, pickle_load),
    "skops": Peer("skops", lazily("skops.io", "dump"), skops_load),
    "pyfory": Peer("pyfory", pyfory_dump, pyfory_load),
    "safetensors": Peer("safetensors", safetensors_dump, safetensors_load),
    "torch.save": Peer(
        "torch",
        lazily("torch", "save"),
        lazily("torch", "load", weights_only=False),
        lazily("torch", "load", weights_only=False, mmap=True),
    ),
}

# --- One measurement, in a process of its own ---------------------------------------------


def forget_peak():
    """The peak begins anew, at what is in use; Linux only."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def memory(field):
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def repeated(function):
    """Best seconds, the peak growth of the first call in bytes, and the last result."""
    best, begin, n, growth = float("inf"), perf_counter(), 0, 0
    while n < LEAST_REPEATS or perf_counter() - begin < LEAST_SECONDS:
        result = None
        gc.collect()
        if not n:
            forget_peak()
            before = memory("VmRSS")
        start = perf_counter()
        result = function()
        seconds = perf_counter() - start
        best = min(best, seconds)
        if not n:
            growth = max(0, memory("VmHWM") - before)
            if seconds > 60:
                break
        n += 1
    return best, growth, result


def described(value):
    """What of a value has to come back; enough to notice another one."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), float(value[-1]) if value.ndim == 1 else None]
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    if isinstance(value, list):
        return [len(value), described(value[-1]) if value else None]
    if isinstance(value, Point):
        return described(vars(value))
    if hasattr(value, "estimators_"):
        return [type(value).__name__, len(value.estimators_)]
    return value


def warm_up(peer, path):
    """Imports, and the pages of what is called, are not what is measured."""
    for value in ([1.5], {"small": np.ones(3)}):
        with contextlib.suppress(Exception):  # not every peer takes every value
            peer.dump(value, path)
            peer.load(path)


def work(what, name, size, peer_name, path):
    """A row: seconds, peak growth, and for a dump the size and what the object is."""
    peer = PEERS[peer_name]
    if what == "dump":
        value = BUILDS[name](size)
        warm_up(peer, path)
        seconds, growth, _ = repeated(lambda: peer.dump(value, path))
        return {"seconds": seconds, "peak": growth, "size": os.path.getsize(path),
                "is": described(value)}  # fmt: skip
    load = peer.load if what == "load" else peer.map
    warm_up(peer, f"{path}.small")
    if name == "trees":
        importlib.import_module("sklearn.ensemble")
    seconds, growth, value = repeated(lambda: load(path))
    return {"seconds": seconds, "peak": growth, "is": described(value)}


def in_process(arguments, seconds):
    """The row of a process, or the reason why there is none."""
    command = [sys.executable, __file__, "--worker", json.dumps(arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"not done after {seconds} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return lines[-1][:120] if lines else f"exit status {done.returncode}"
    return json.loads(done.stdout.splitlines()[-1])


def measured(name, size, peer_name, directory, seconds):
    """Dump, load and map of one object by one peer."""
    path = str(directory / "file")
    row = {"object": name, "n": size, "peer": peer_name}
    dump = in_process(["dump", name, size, peer_name, path], seconds)
    if isinstance(dump, str):
        return row | {"cannot": dump}
    row |= {"dump": dump["seconds"], "dump_peak": dump["peak"], "size": dump["size"]}
    for what in ("load", "map"):
        if what == "map" and PEERS[peer_name].map is None:
            continue
        got = in_process([what, name, size, peer_name, path], seconds)
        if isinstance(got, str):
            row[f"cannot_{what}"] = got
        elif got["is"] != dump["is"]:
            row[f"cannot_{what}"] = "comes back as another value"
        else:
            row |= {what: got["seconds"], f"{what}_peak": got["peak"]}
    for left in directory.iterdir():
        left.unlink()
    return row


# --- Report -----------------------------------------------------------------------------


def duration(seconds):
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def short(seconds):
    """Of a tick: a power of ten."""
    for unit, name in ((1, "s"), (1e-3, "ms")):
        if seconds >= unit * 0.99:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds * 1e6:.0f} µs"


def mib(n_bytes):
    return "" if n_bytes is None else f"{n_bytes / MIB:.3g}"


def count(n):
    return f"{n:,}"


def report(rows, where):
    """Markdown: a table for each object and size, the largest last."""
    parts = ["# All peers\n", where + "\n"]
    parts.append("Sizes and peak memory in MiB; peak memory is beyond what was there before.\n")
    groups = dict.fromkeys((row["object"], row["n"]) for row in rows)
    for name, n in groups:
        unit = "objects" if name in BY_OBJECTS else "bytes"
        parts.append(f"## {name}, {count(n)} {unit}\n")
        parts.append("| | dump | load | mapped | size | peak of dump | of load | mapped |")
        parts.append("|---|--:|--:|--:|--:|--:|--:|--:|")
        for row in (row for row in rows if (row["object"], row["n"]) == (name, n)):
            if "cannot" in row:
                parts.append(f"| {row['peer']} | cannot: {row['cannot'].replace('|', '/')} |")
                continue
            cells = [duration(row.get(what)) for what in ("dump", "load", "map")]
            cells += [mib(row.get(what)) for what in ("size", "dump_peak", "load_peak", "map_peak")]
            parts.append(f"| {row['peer']} | " + " | ".join(cells) + " |")
            why = {f"{what}: {row[f'cannot_{what}']}" for what in ("load", "map")
                   if f"cannot_{what}" in row}  # fmt: skip
            if why:
                parts.append(f"| | {'; '.join(sorted(why)).replace('|', '/')} |")
        parts.append("")
    return "\n".join(parts)


COLOURS = ("#1a7f37", "#2563a8", "#c2570c", "#8250df", "#bf3989", "#0d7d84", "#7d6200", "#59636e")


def ends_apart(ends, least):
    """Heights for the labels of lines that end at `ends`, in order, `least` apart."""
    placed = []
    for height in sorted(ends):
        placed.append(max(height, placed[-1] + least) if placed else height)
    return dict(zip(sorted(ends), placed, strict=True))


def draw(rows, where, path):
    """Seconds by size: a panel for each object and direction, a line for each peer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in BUILDS if any(row["object"] == name for row in rows)]
    figure, panels = pyplot.subplots(
        len(names), 2, figsize=(11, 3.1 * len(names) + 0.6), squeeze=False, layout="constrained",
        facecolor="#fbfbfa",
    )  # fmt: skip
    for name, pair in zip(names, panels, strict=True):
        for what, axes in zip(("dump", "load"), pair, strict=True):
            unit = "objects" if name in BY_OBJECTS else "bytes"
            panel(axes, [row for row in rows if row["object"] == name and what in row], what)
            axes.set_title(f"{what} of {name}: seconds by {unit}", fontsize=10, loc="left")
    figure.text(0.01, 0, where, fontsize=7, va="top", color="#59636e")
    figure.savefig(path, dpi=110, facecolor=figure.get_facecolor(), bbox_inches="tight",
                   metadata={"Software": None})  # fmt: skip
    pyplot.close(figure)


def panel(axes, rows, what):
    axes.set(xscale="log", yscale="log", facecolor="#fbfbfa")
    axes.grid(color="#e3e6e9", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter("")
    axes.xaxis.set_major_formatter(lambda n, _: f"{n:.0e}".replace("e+0", "e"))
    axes.yaxis.set_major_formatter(lambda seconds, _: short(seconds))
    last = {}
    for (peer, _), colour in zip(PEERS.items(), COLOURS, strict=True):
        line = [(row["n"], row[what]) for row in rows if row["peer"] == peer]
        if line:
            width = 2.4 if peer == "fastpersist" else 1.3
            axes.plot(*zip(*line, strict=True), "o-", color=colour, linewidth=width, markersize=3.5)
            last[peer] = (line[-1], colour)
    if not last:
        return
    low, high = np.log10(axes.get_ylim())
    heights = ends_apart({np.log10(y) for (_, y), _ in last.values()}, 0.075 * (high - low))
    for peer, ((x, y), colour) in last.items():
        axes.annotate(peer, (x, y), xytext=(x * 1.0, 10 ** heights[np.log10(y)]), fontsize=8.5,
                      color=colour, va="center", annotation_clip=False,
                      textcoords="data").set_x(x * 1.25)  # fmt: skip
    axes.margins(x=0.05)


# --- The run -----------------------------------------------------------------------------


def positive(text):
    number = int(float(text))
    if number < 100:
        raise argparse.ArgumentTypeError("at least 100")
    return number


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", nargs="*", type=positive, metavar="N",
                        default=[10**k for k in range(3, 8)],
                        help="sizes of what is counted in objects")  # fmt: skip
    parser.add_argument("--bytes", nargs="*", type=positive, metavar="N",
                        default=[1 << 20, 16 << 20, 256 << 20, 1 << 30, 4 << 30],
                        help="sizes of what is counted in bytes")  # fmt: skip
    parser.add_argument("--only", nargs="*", choices=BUILDS, default=list(BUILDS), metavar="OBJECT",
                        help=", ".join(BUILDS))  # fmt: skip
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="PEER",
                        help=", ".join(PEERS))  # fmt: skip
    parser.add_argument("--seconds", type=int, default=600, help="at most, for one measurement")
    parser.add_argument("--dir", type=Path, default=HERE.parent / "build", help="where files go")
    parser.add_argument("--out", type=Path, metavar="PREFIX",
                        default=HERE.parent / "build" / "bench" / "full")  # fmt: skip
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(*json.loads(options.worker))))
        return
    import bench

    absent = [
        name for name in options.peers if importlib.util.find_spec(PEERS[name].package) is None
    ]
    peers = [name for name in options.peers if name not in absent]
    if absent:
        print(f"not installed, so not measured: {', '.join(absent)}", file=sys.stderr)
    rows, too_slow = [], set()
    options.dir.mkdir(parents=True, exist_ok=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    machine = bench.machine(("cloudpickle", "skops", "pyfory", "safetensors", "torch"))
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="bench-") as directory:
        for name in options.only:
            for size in sorted(options.objects if name in BY_OBJECTS else options.bytes):
                for peer in peers:
                    if (name, peer) in too_slow:
                        continue
                    row = measured(name, size, peer, Path(directory), options.seconds)
                    rows.append(row)
                    if "not done" in row.get("cannot", "") + row.get("cannot_load", ""):
                        too_slow.add((name, peer))  # larger ones would be, too
                print(f"{name}, {count(size)}: measured", file=sys.stderr, flush=True)
                # As far as it has come: a long run may be cut.
                content = {"machine": machine, "absent": absent, "rows": rows}
                options.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    where = bench.where_measured(machine, "")
    options.out.with_suffix(".md").write_text(report(rows, where) + "\n")
    draw(rows, where, options.out.with_suffix(".png"))
    print(f"written: {options.out}.json, .md, .png")


if __name__ == "__main__":
    main()
