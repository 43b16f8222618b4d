"""fastpersist beside pickle (protocol 5) and joblib, measured in one run.

Every object (objects.py, keep.py) is built in a process of its own, the writers take turns, the
collector runs before each timing, and the minimum counts. A ratio is the peer's
time divided by ours. Files lie in a new directory below --dir (default: build/),
so on one disk, and are in the page cache.

    python benchmarks/bench.py                    the short table, of its objects
    python benchmarks/bench.py --quick            smaller ones, under two minutes
    python benchmarks/bench.py dicts objs -n 9    some of them, best of nine
    python benchmarks/bench.py kept               what people keep: 100,000 of each kind
    python benchmarks/bench.py all --json FILE    everything, with all rows as JSON
    python benchmarks/bench.py all --page docs/performance.md --readme README.md
                                                  all rows as a page, the short table
                                                  between the markers
    python benchmarks/bench.py --chart FILE       also a picture (chart.py)
"""

import argparse
import gc
import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import types
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import chart
import keep
from objects import OBJECTS, QUICK

HERE = Path(__file__).resolve().parent
JOBLIB_REPEATS = 3  # joblib takes many seconds on some objects
TINY_REPEATS = 200  # of microseconds each, so not all behind a collection
MEMORY_NOISE = 1 << 20  # bytes; two runs of the same program differ by less
BARE_WRITE = ("forest_deep", "mlp", "array_1gib")
DURABLE = "forest_deep"  # beside a bare write with fsync

# (object, case, peer): the smallest ratio, or the largest number where "<=".
TARGETS = {
    ("dicts", "new file", "pickle"): 5,
    ("dicts", "full memo", "pickle"): 2.5,
    ("dicts", "new file", "joblib"): 80,
    ("objs", "new file", "pickle"): 7,
    ("objs", "first dump", "pickle"): 3.5,
    ("strs", "new file", "pickle"): 6,
    ("strs", "full memo", "pickle"): 1.7,
    ("ints", "new file", "pickle"): 1.6,
    ("smallarrs", "new file", "pickle"): 15,
    ("tfidf", "new file", "pickle"): 3,
    ("boosting", "new file", "pickle"): 4.5,
    ("forest_shallow", "new file", "pickle"): 2.8,
    ("forest_shallow", "new file", "joblib"): 20,
    **{(name, "over a file", "pickle"): 1 for name in BARE_WRITE},
    # At most 1.1 (one thread: 1.6) times a bare write.
    **{(name, "new file", "bare write"): 1 / 1.1 for name in BARE_WRITE},
    **{(name, "one thread", "bare write"): 1 / 1.6 for name in BARE_WRITE},
    # pickle.load of our file, against pickle.load of pickle's.
    **{(name, "pickle.load", "pickle"): 1 / 1.1 for name in OBJECTS},
    ("smallarrs", "pickle.load", "pickle"): 5,
}
TINY_MICROSECONDS = 100
KEPT = 100_000  # objects of each kind in keep.py
KEPT_QUICK = 10_000
TARGETS |= keep.TARGETS
# The short table: rows, of the objects that are measured where none is named.
SHORT = (
    ("dicts", "new file"),
    ("dicts", "load"),
    ("objs", "new file"),
    ("objs", "load"),
    ("smallarrs", "new file"),
    ("smallarrs", "load"),
    ("forest_shallow", "new file"),
    ("forest_shallow", "load"),
    ("forest_deep", "new file"),
    ("forest_deep", "load"),
    ("array_1gib", "new file"),
    ("array_1gib", "load"),
    ("boosting", "new file"),
    ("boosting", "load"),
    ("tfidf", "new file"),
    ("frame", "new file"),
    ("slotted class", "dump"),
    ("slotted class", "load"),
    ("datetime", "dump"),
)
# Loads; where two Pythons differ: before 3.12, and since.
OLD = sys.version_info < (3, 12)
TARGETS |= {
    **{(name, "load", "pickle"): 1 for name in OBJECTS if name != "tiny"},
    ("dicts", "load", "pickle"): 3.5 if OLD else 1.6,
    ("objs", "load", "pickle"): 5 if OLD else 2.4,
    ("strs", "load", "pickle"): 1.4,
    ("smallarrs", "load", "pickle"): 10 if OLD else 8,
    ("tfidf", "load", "pickle"): 1.2,
    ("boosting", "load", "pickle"): 1.6,
    ("forest_shallow", "load", "pickle"): 1.6,
    ("forest_deep", "load", "pickle"): 1.7,
    ("dicts", "load", "joblib"): 15,
    ("objs", "load", "joblib"): 15,
    ("forest_shallow", "load", "joblib"): 8,
    ("mlp", "load", "two preads"): 1 / 1.25,
    ("array_1gib", "load", "two preads"): 1 / 1.25,
    ("forest_deep", "load", "no hashes"): 1 / 1.1,
    ("array_1gib", "load", "no hashes"): 1 / 1.1,
    **{(name, "load pickle's", "pickle"): 1 for name in OBJECTS if name != "tiny"},
    **({("dicts", "load pickle's", "pickle"): 3} if OLD else {}),
    **{(name, "load joblib's", "joblib"): 1 for name in OBJECTS if name != "tiny"},
    ("dicts", "load joblib's", "joblib"): 10,
    ("forest_shallow", "map", "load"): 1,
}
# Compressed dumps and loads of those files, against joblib at the same setting. True is joblib's
# name for ("zlib", 3).
SETTINGS = {"zlib 3": ("zlib", 3), "lz4": "lz4", "lz4 3": ("lz4", 3)}
COMPRESSED = {"weights": SETTINGS, "forest_deep": SETTINGS, "dicts": SETTINGS}
TARGETS |= {
    ("weights", "dump zlib 3", "joblib"): 15,
    ("forest_deep", "dump zlib 3", "joblib"): 3,
    ("dicts", "dump zlib 3", "joblib"): 20,
    ("weights", "dump lz4", "joblib"): 2.5,
    ("forest_deep", "dump lz4", "joblib"): 2,
    ("dicts", "dump lz4", "joblib"): 50,
    ("weights", "dump lz4 3", "joblib"): 1.8,
    ("weights", "load zlib 3", "joblib"): 1.8,
    ("forest_deep", "load zlib 3", "joblib"): 2,
    ("dicts", "load zlib 3", "joblib"): 12,
    ("weights", "load lz4", "joblib"): 2,
    ("forest_deep", "load lz4", "joblib"): 2.5,
    ("dicts", "load lz4", "joblib"): 12,
}
TARGETS |= {
    (name, f"{what} {setting}, 1 thread", "joblib"): 1
    for name, settings in COMPRESSED.items()
    for setting in settings
    for what in ("dump", "load")
}
LARGER_PERCENT = {("weights", "zlib 3"): 1, ("forest_deep", "zlib 3"): 6, ("dicts", "zlib 3"): 6}
LARGER_PERCENT |= {(name, "lz4"): 2 for name in COMPRESSED}
SLOW_REPEATS = 2  # joblib compresses 35 MB/s
NO_HASHES = ("forest_deep", "array_1gib")
TWO_PREADS = ("mlp", "array_1gib")
# load(trusted=()), at most 1.5 times a plain load; of a small pipeline twice.
RESTRICTED = ("dicts", "forest_shallow", "forest_deep", "boosting", "mlp", "tiny")
TARGETS |= {(name, "restricted", "load"): 1 / 1.5 for name in RESTRICTED}
TARGETS[("tiny", "restricted", "load")] = 1 / 2
TINY_LOAD_MICROSECONDS = 60
MAP_MILLISECONDS = 1
IMPORT_MILLISECONDS = 20
DUMP_MEMORY_MIB = 32


@dataclass
class Row:
    """Best seconds of one case; `peers` by name."""

    object: str
    case: str
    ours: float
    peers: dict[str, float]


@dataclass
class Fact:
    """A number with an upper limit of its own."""

    name: str
    value: float
    unit: str
    limit: float | None
    # What else to say, such as the peer's number.
    note: str = ""


# --- Timing, in the process that holds the object ---------------------------------


def with_pickle(value, path):
    with open(path, "wb") as file:
        pickle.dump(value, file, protocol=5)


def with_joblib(value, path):
    import joblib

    joblib.dump(value, path)


def with_fastpersist(value, path):
    import fastpersist

    fastpersist.dump(value, path)


def with_durable(value, path):
    import fastpersist

    fastpersist.dump(value, path, durable=True)


def with_one_thread(value, path):
    import fastpersist

    fastpersist.dump(value, path, threads=1)


def remove(path):
    path.unlink(missing_ok=True)


def settle(path):
    """An existing file, on the disk already, as an older model would be."""
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)


def seconds(write, value, path):
    start = perf_counter()
    write(value, path)
    return perf_counter() - start


def interleaved(
    writers, value, directory, repeat, prepare=remove, joblib_repeat=JOBLIB_REPEATS, kind="file"
):
    """Best seconds by writer. `value` may be a function that makes a fresh one."""
    best = dict.fromkeys(writers, float("inf"))
    for turn in range(repeat):
        for name, write in writers.items():
            if name == "joblib" and turn >= joblib_repeat:
                continue
            path = directory / f"{name}.{kind}"
            prepare(path)
            subject = value() if isinstance(value, types.FunctionType) else value
            if repeat < TINY_REPEATS or turn % 20 == 0:
                gc.collect()
            best[name] = min(best[name], seconds(write, subject, path))
            del subject
    return best


def everything_in(value):
    """Every object reachable from `value`, so that none has one reference only."""
    held, seen, todo = [], set(), [value]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        held.append(item)
        if isinstance(item, (list, tuple, set, frozenset)):
            todo.extend(item)
        elif isinstance(item, dict):
            todo.extend(item.keys())
            todo.extend(item.values())
        elif not isinstance(item, (type, types.ModuleType, types.FunctionType)):
            todo.extend(getattr(item, "__dict__", {}).values())
            if getattr(getattr(item, "dtype", None), "hasobject", False):
                todo.extend(getattr(item, "flat", ()))
    return held


def bare_writer(content, *, sync=False):
    """A writer that ignores its value: os.write() of these bytes, a MiB at a time.

    With `sync` also fsync() of the file and of its directory.
    """
    view = memoryview(content)

    def write(_value, path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for begin in range(0, len(view), 1 << 20):
            piece = view[begin : begin + (1 << 20)]
            while piece:
                piece = piece[os.write(fd, piece) :]
        if sync:
            os.fsync(fd)
        os.close(fd)
        if sync:
            fd = os.open(path.parent, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    return write


def measure(name, sizes, directory, repeat):
    """Rows of one object; leaves ours.file and pickle.file in `directory`."""
    build = OBJECTS[name]
    value = build(**sizes)
    plain = {"pickle": with_pickle, "ours": with_fastpersist}
    rows = []

    def add(case, best):
        rows.append(Row(name, case, best.pop("ours"), best))

    if name == "tiny":
        repeat = TINY_REPEATS
    writers = {"joblib": with_joblib, **plain}
    if name in BARE_WRITE:
        with_fastpersist(value, directory / "ours.file")
        bare = bare_writer((directory / "ours.file").read_bytes())
        writers["bare write"] = bare
        one_thread = {"bare write": bare, "ours": with_one_thread}
        add("one thread", interleaved(one_thread, value, directory, repeat))
        if name == DURABLE:
            content = (directory / "ours.file").read_bytes()
            durable = {"bare write": bare_writer(content, sync=True), "ours": with_durable}
            add("durable", interleaved(durable, value, directory, repeat))
    add("new file", interleaved(writers, value, directory, repeat))
    writers.clear()
    bare = one_thread = durable = content = None  # frees the bytes of the file
    with_pickle(value, directory / "pickle.file")
    with_fastpersist(value, directory / "ours.file")
    add("over a file", interleaved(plain, value, directory, repeat, prepare=settle))
    if name == "objs":
        fresh = interleaved(plain, lambda: build(**sizes), directory, repeat)
        add("first dump", fresh)
    held = everything_in(value)
    add("full memo", interleaved(plain, value, directory, repeat))
    del held
    for setting, compress in COMPRESSED.get(name, {}).items():
        rows += compressed_rows(name, setting, compress, value, directory, repeat)
    return rows


def compressed_rows(name, setting, compress, value, directory, repeat):
    """Two rows: all cores, one thread. Leaves joblib.SETTING and ours.SETTING in `directory`."""
    import fastpersist
    import joblib

    writers = {
        "joblib": lambda value, path: joblib.dump(value, path, compress=compress),
        "ours": lambda value, path: fastpersist.dump(value, path, compress=compress),
        "one thread": lambda value, path: fastpersist.dump(
            value, path, compress=compress, threads=1
        ),
    }
    best = interleaved(writers, value, directory, repeat, joblib_repeat=SLOW_REPEATS, kind=setting)
    alone, ours = best["one thread"], best.pop("ours")
    return [
        Row(name, f"dump {setting}", ours, best),
        Row(name, f"dump {setting}, 1 thread", alone, {"joblib": best["joblib"]}),
    ]


# --- Processes of their own ---------------------------------------------------------

# Times pickle.load of two files in turns. Never imports fastpersist.
TIME_LOADS = """
import gc, json, pickle, sys
from time import perf_counter
paths, best = sys.argv[2:], {}
for _ in range(int(sys.argv[1])):
    for path in paths:
        gc.collect()
        start = perf_counter()
        with open(path, "rb") as file:
            value = pickle.load(file)
        best[path] = min(best.get(path, 1e9), perf_counter() - start)
        value = None
assert "fastpersist" not in sys.modules
print(json.dumps([best[path] for path in paths]))
"""

# Peak memory in bytes. Not ru_maxrss where it can be helped: Linux lets a child
# inherit its parent's.
PEAK = """
import resource, sys
def memory(field):
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
"""

LOAD_PEAK = (
    PEAK
    + """
import pickle
with open(sys.argv[1], "rb") as file:
    value = pickle.load(file)
print(memory("VmHWM"))
"""
)

DUMP_PEAK = (
    PEAK
    + """
import fastpersist, numpy as np
order, rows, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
shape = (rows, 8192)
if order == "every second column":
    value = np.ones((rows, 2 * 8192))[:, ::2]
else:
    value = np.ones(shape, order=order)
fastpersist.dump([1.5], path)
before = memory("VmRSS")
fastpersist.dump(value, path)
print(memory("VmHWM") - before)
"""
)

IMPORT_TIME = """
import numpy
from time import perf_counter
start = perf_counter()
import fastpersist
print(perf_counter() - start)
"""


def in_process(source, *arguments):
    """What a program prints, as JSON. It finds the module of the objects."""
    return run_json([sys.executable, "-c", source, *arguments], [str(HERE), *python_path()])


def run_json(command, path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *path])}
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, env=environment, check=True
    )
    return json.loads(done.stdout)


def load_rows(name, directory, repeat):
    """Our load beside the others', on files of all three kinds."""
    ours, theirs, joblibs = (
        str(directory / f"{kind}.file") for kind in ("ours", "pickle", "joblib")
    )
    plain = [["pickle", "pickle", theirs], ["joblib", "joblib", joblibs]]
    if name in NO_HASHES:
        plain.append(["no hashes", "no hashes", ours])
    if name in TWO_PREADS:
        plain.append(["two preads", "two preads", ours])
    cases = [
        ["load", [["ours", "ours", ours], *plain]],
        ["load pickle's", [["ours", "ours", theirs], ["pickle", "pickle", theirs]]],
        ["load joblib's", [["ours", "ours", joblibs], ["joblib", "joblib", joblibs]]],
        ["map", [["ours", "map", ours], ["load", "ours", ours]]],
    ]
    if name in RESTRICTED:
        turns = [["ours", "restricted", ours], ["load", "ours", ours]]
        cases.append(["restricted", [*turns, ["pickle", "pickle", theirs]]])
    if name != "smallarrs":  # joblib opens a descriptor for each array
        cases[3][1].append(["joblib", "joblib map", joblibs])
    best = run_json(
        [sys.executable, HERE / "load_worker.py", json.dumps(cases), str(repeat)], python_path()
    )
    return [Row(name, case, times.pop("ours"), times) for case, times in best.items()]


def compressed_loads(name, directory, repeat):
    """Rows of loads of what compressed_rows() left, and the files' sizes."""
    rows, facts, cases = [], [], []
    for setting in COMPRESSED[name]:
        joblibs, ours = (directory / f"{who}.{setting}" for who in ("joblib", "ours"))
        cases.append([f"load {setting}", [
            ["joblib", "joblib", str(joblibs)],
            ["ours", "ours", str(ours)],
            ["one thread", "one thread", str(ours)],
        ]])  # fmt: skip
        percent = (ours.stat().st_size / joblibs.stat().st_size - 1) * 100
        limit = LARGER_PERCENT.get((name, setting))
        facts.append(
            Fact(f"{name}: size, {setting}, beside joblib's", round(percent, 2), "%", limit)
        )
    command = [sys.executable, HERE / "load_worker.py", json.dumps(cases), str(repeat)]
    for case, times in run_json(command, python_path()).items():
        rows.append(Row(name, case, times.pop("ours"), times))
        alone = Row(name, f"{case}, 1 thread", times["one thread"], {"joblib": times["joblib"]})
        rows.append(alone)
    return rows, facts


def python_path():
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def measure_kept(kind, sizes, directory, repeat):
    """Rows of one kind of what people keep."""
    rows = []
    for case, times in keep.measure(kind, sizes["n"], directory, repeat).items():
        rows.append(Row(kind, case, times.pop("ours"), times))
    return rows


def run_object(name, sizes, directory, repeat):
    """Everything about one object: rows and facts."""
    worker = [
        sys.executable,
        __file__,
        "--worker",
        json.dumps([name, sizes, str(directory), repeat]),
    ]
    done = subprocess.run(worker, stdout=subprocess.PIPE, check=True)
    rows = [Row(**row) for row in json.loads(done.stdout)]
    if name in keep.KINDS:
        return rows, []
    ours, theirs = directory / "ours.file", directory / "pickle.file"
    pair = in_process(TIME_LOADS, 100 if name == "tiny" else repeat, ours, theirs)
    rows.append(Row(name, "pickle.load", pair[0], {"pickle": pair[1]}))
    peaks = [in_process(LOAD_PEAK, path) for path in (ours, theirs)]
    facts = [
        Fact(
            f"{name}: peak memory of pickle.load",
            round(peaks[0] / 2**20, 1),
            "MiB",
            round((peaks[1] + MEMORY_NOISE) / 2**20, 1),
            f"of pickle's own file {peaks[1] / 2**20:.1f}; the limit adds 1 for noise",
        )
    ]
    loads = load_rows(name, directory, 100 if name == "tiny" else repeat)
    if name == "tiny":
        beyond = (loads[0].ours - loads[0].peers["pickle"]) * 1e6
        facts.append(
            Fact(
                "tiny: load beyond open, pickle.load, close",
                round(beyond, 1),
                "us",
                TINY_LOAD_MICROSECONDS,
                f"ours {loads[0].ours * 1e6:.0f}",
            )
        )
    if name == "array_1gib":
        mapped = next(row for row in loads if row.case == "map")
        milliseconds = round(mapped.ours * 1e3, 3)
        facts.append(Fact("array_1gib: mapped load", milliseconds, "ms", MAP_MILLISECONDS))
    rows += loads
    if name in COMPRESSED:
        new_rows, new_facts = compressed_loads(name, directory, repeat)
        rows += new_rows
        facts += new_facts
    if name == "tiny":
        beyond = (rows[0].ours - rows[0].peers["pickle"]) * 1e6
        facts.append(
            Fact(
                "tiny: dump beyond open, pickle.dump, close",
                round(beyond, 1),
                "us",
                TINY_MICROSECONDS,
                f"ours {rows[0].ours * 1e6:.0f}",
            )
        )
    return rows, facts


def run_machine(directory, rows, repeat):
    """Import time, and memory growth of dumps of one array."""
    times = [in_process(IMPORT_TIME) for _ in range(max(repeat, 5))]
    facts = [
        Fact(
            "import fastpersist, beyond NumPy",
            round(min(times) * 1e3, 2),
            "ms",
            IMPORT_MILLISECONDS,
        )
    ]
    mib = rows * 8192 * 8 // 2**20
    for order in ("C", "F", "every second column"):
        growth = in_process(DUMP_PEAK, order, rows, directory / "memory.file")
        name = {"C": "C order", "F": "Fortran order"}.get(order, order)
        facts.append(
            Fact(
                f"memory growth, dump of {mib} MiB, {name}",
                round(growth / 2**20, 1),
                "MiB",
                DUMP_MEMORY_MIB,
            )
        )
    return facts


# --- Report -----------------------------------------------------------------------------


def grid(head, body):
    """A table that reads well as text and as Markdown; all but the first two to the right."""
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]

    def line(cells):
        padded = (
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * w if i < 2 else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, body)])


def duration(value):
    return f"{value:.3f} s" if value >= 0.1 else f"{value * 1e3:.3g} ms"


def ratio_cells(row, peer):
    """The ratio, and its target with a verdict."""
    if peer not in row.peers:
        return "", ""
    ratio = row.peers[peer] / row.ours
    target = TARGETS.get((row.object, row.case, peer))
    text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"
    if target is None:
        return text, ""
    return text, f">= {target:.3g} {'ok' if ratio >= target else 'MISS'}"


def version_of(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor():
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def machine(others=("pyfory",)):
    """Where the numbers are from: the processor, the system, and every version."""
    packages = ("fastpersist", "numpy", "scikit-learn", "pandas", "joblib", *others)
    versions = {package: version_of(package) for package in packages}
    return {
        "processor": processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name, found in versions.items() if found},
    }


RATIOS = " Ratios are the peer's time divided by ours."


def where_measured(here=None, what=RATIOS):
    here = here or machine()
    packages = ", ".join(f"{name} {found}" for name, found in here["packages"].items())
    return (
        f"{here['processor']}, {here['cores']} cores, {here['system']}; {here['python']}, "
        f"{packages}.{what}"
    )


def table_of(rows):
    peers = ("pickle", "joblib", "pyfory", "bare write", "two preads", "no hashes", "load")
    peers = [peer for peer in (*peers, "one thread") if any(peer in row.peers for row in rows)]
    head = ["object", "case", "ours"]
    for peer in peers:
        head += [f"{peer} / ours", "target"]
    body = []
    for row in rows:
        cells = [row.object, row.case, duration(row.ours)]
        for peer in peers:
            cells += ratio_cells(row, peer)
        body.append(cells)
    return grid(head, body)


def facts_table(facts):
    limits = []
    for fact in facts:
        verdict = "" if fact.limit is None else "ok" if fact.value <= fact.limit else "MISS"
        limit = "" if fact.limit is None else f"<= {fact.limit} {verdict}"
        limits.append([fact.name, fact.note, f"{fact.value} {fact.unit}", limit])
    return grid(["number", "", "measured", "limit"], limits)


def report(rows, facts):
    """Every row with its targets. Case pickle.load: our file against pickle's own."""
    models = [row for row in rows if row.object in OBJECTS]
    kept = [row for row in rows if row.object in keep.KINDS]
    parts = [where_measured()]
    parts += [table_of(group) for group in (models, kept) if group]
    if facts:
        parts.append(facts_table(facts))
    return "\n\n".join(parts)


def short_report(rows):
    """The rows of SHORT, without targets."""
    by_name = {(row.object, row.case): row for row in rows}
    body = []
    for row in filter(None, map(by_name.get, SHORT)):
        ratios = [ratio_cells(row, peer)[0] for peer in ("pickle", "joblib")]
        body.append([row.object, row.case, duration(row.ours), *ratios])
    head = ["object", "case", "ours", "pickle / ours", "joblib / ours"]
    return f"{where_measured()}\n\n{grid(head, body)}"


def page(rows, facts):
    return (
        "# Performance\n\n"
        "![How many times faster than pickle and joblib, by object, on a log scale]"
        "(pictures/speed.png)\n\n"
        "Written by `benchmarks/bench.py --page`; `make bench` measures again. Case `pickle.load` "
        "is the standard pickle on our file against its own file.\n\n"
        f"{report(rows, facts)}\n"
    )


def objects_named(names):
    """The objects that the command line means; of none, those of the short table."""
    if not names:
        return list(dict.fromkeys(name for name, _ in SHORT))
    groups = {"all": [*OBJECTS, *keep.KINDS], "kept": list(keep.KINDS)}
    return [name for given in names for name in groups.get(given, [given])]


def put_in_readme(path, text):
    begin, end = "<!-- bench:begin -->", "<!-- bench:end -->"
    before, rest = path.read_text().split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("objects", nargs="*", metavar="OBJECT", help="all, kept, or their names")
    parser.add_argument("-n", "--repeat", type=int, help="best of so many (5, quick 3)")
    parser.add_argument("--quick", action="store_true", help="small objects; targets do not bind")
    parser.add_argument("--dir", type=Path, default=HERE.parent / "build", help="where files go")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the seconds here")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the short table there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write all rows as Markdown")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the ratios as PNG")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, sizes, directory, repeat = json.loads(options.worker)
        timer = measure_kept if name in keep.KINDS else measure
        print(json.dumps([asdict(row) for row in timer(name, sizes, Path(directory), repeat)]))
        return
    names = objects_named(options.objects)
    unknown = [name for name in names if name not in OBJECTS and name not in keep.KINDS]
    if unknown:
        there = ", ".join(["all", "kept", *OBJECTS, *keep.KINDS])
        parser.error(f"no such object: {', '.join(unknown)}; there are {there}")

    repeat = options.repeat or (3 if options.quick else 5)
    rows, facts = [], []
    options.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="bench-") as base:
        for name in names:
            start = perf_counter()
            directory = Path(base, name.replace(" ", "_"))
            directory.mkdir()
            sizes = QUICK.get(name, {}) if options.quick else {}
            if name in keep.KINDS:
                sizes = {"n": KEPT_QUICK if options.quick else KEPT}
            new_rows, new_facts = run_object(name, sizes, directory, repeat)
            rows += new_rows
            facts += new_facts
            for path in directory.iterdir():
                path.unlink()
            print(f"{name}: measured in {perf_counter() - start:.0f} s", file=sys.stderr)
        if options.objects == ["all"]:
            facts += run_machine(Path(base), 2_048 if options.quick else 16_384, repeat)
    print(report(rows, facts) if options.objects else short_report(rows))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": {**machine(), "quick": options.quick},
            "rows": [asdict(row) for row in rows],
            "facts": [asdict(fact) for fact in facts],
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.readme:
        put_in_readme(options.readme, short_report(rows))
    if options.page:
        options.page.write_text(page(rows, facts))
    if options.chart:
        options.chart.parent.mkdir(parents=True, exist_ok=True)
        here = {**machine(), "quick": options.quick}
        chart.draw([asdict(row) for row in rows], here, options.chart)
        print(f"\nthe chart: {options.chart}")


if __name__ == "__main__":
    main()
