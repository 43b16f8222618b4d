"""Every cut and every bit of twelve models in every way, and the same on the peers: `make hostile`.

Prints a table and writes it to RESULTS.md. Exits with 1 where one of our own files was loaded and
different, crashed, hung, took memory, or was refused by another exception than CorruptFileError.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import platform
import sys
import time

import damage
import results
import subjects
from damage import CRASHED, EQUAL, HUNG, NO_MEMORY, REFUSED, REFUSED_OTHERWISE, SILENT

sys.path.append(
    str(pathlib.Path(__file__).resolve().parents[1] / "support")
)  # compare, format_reader

COLUMNS = [
    ("cases", ()),
    ("refused", (REFUSED, REFUSED_OTHERWISE)),
    ("equal", (EQUAL,)),
    ("silently different", (SILENT,)),
    ("crashed", (CRASHED,)),
    ("hung", (HUNG,)),
    ("over-allocated", (NO_MEMORY,)),
]


def run_task(model, most):
    """Counts of one model, by way; `most` says how many cases in each. A way may have no file."""
    value = {**subjects.MODELS, **subjects.LARGE}[model]()
    counts = {}
    for name, n_cases in most.items():
        way = subjects.WAYS[name]
        contents = way.write(value)
        if contents is not None:
            cases = damage.cases_of(way, contents, n_cases)
            counts[name] = damage.run(model, way, contents, cases)
    return counts


def run_tasks(tasks, n_jobs):
    """Yields (model, counts by way) as they come, each model in a process of its own."""
    running = {}
    waiting = list(reversed(tasks))
    while waiting or running:
        while waiting and len(running) < n_jobs:
            task = waiting.pop()
            read_end, write_end = os.pipe()
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    os.close(read_end)
                    data = pickle.dumps(run_task(*task))
                    with open(write_end, "wb") as pipe:
                        pipe.write(data)
                    status = 0
                finally:
                    os._exit(status)
            os.close(write_end)
            running[pid] = (task[0], read_end)
        pid, status = os.wait()  # what a task sends fits into the pipe
        model, read_end = running.pop(pid)
        with open(read_end, "rb") as pipe:
            data = pipe.read()
        if status != 0:
            raise RuntimeError(f"{model}: exit status {status}")
        yield model, pickle.loads(data)


def table(counts, names):
    lines = ["| | " + " | ".join(title for title, _ in COLUMNS) + " |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for name in names:
        found = counts.get(name)
        if found is None:
            lines.append(f"| {name} | not installed here |" + " |" * (len(COLUMNS) - 1))
            continue
        cells = [f"{found.number(*outcomes):,}" for _, outcomes in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def share(found, kinds):
    n_cases = found.number(kinds=kinds)
    return f"{100 * found.number(SILENT, kinds=kinds) / n_cases:.1f} %" if n_cases else "-"


def peers_table(ours, counts, names):
    """Silently different, by kind of damage: the same models, the same kinds, drawn evenly."""
    kinds = [
        ("one bit", ("bit",)),
        ("cut", ("cut",)),
        ("other", ("append", "zero", "swap", "byte")),
    ]
    lines = ["| | cases | " + " | ".join(f"silent: {title}" for title, _ in kinds)]
    lines[0] += " | crashed | hung | over-allocated |"
    lines.append("|---|" + "---:|" * (len(kinds) + 4))
    for name, found in [("fastpersist, all ways", ours), *((n, counts.get(n)) for n in names)]:
        if found is None:
            lines.append(f"| {name} | not installed here |" + " |" * (len(kinds) + 3))
            continue
        cells = [f"{found.number():,}", *(share(found, which) for _, which in kinds)]
        cells += [f"{found.number(outcome):,}" for outcome in (CRASHED, HUNG, NO_MEMORY)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def versions():
    import importlib.metadata as metadata

    found = [f"Python {platform.python_version()}"]
    for package in ("numpy", "scikit-learn", "joblib", "skops"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            pass
    return ", ".join(found)


def report(counts, n_models, n_large, seconds):
    ours = damage.Counts()
    our_names = [way.name for way in subjects.OURS if way.name in counts]
    for name in our_names:
        ours.add(counts[name])
    lines = [
        f"{ours.number():,} cases on our own files in {seconds / 60:.0f} minutes: {n_models} "
        f"models with every cut and every bit of every byte in each way, {n_large} large ones "
        f"sampled; bytes appended, zeroed, swapped, replaced. {versions()}.",
        "",
        *table(counts, our_names),
        "",
        "Equal: in a compressed file a changed bit may decode to the same bytes (in gzip's header "
        "it names the time or the system). `map` leaves out the bytes of arrays, which it does not "
        'check unless asked to with `verify="full"`; what stands between them it does not read.',
        "",
        "Beside the peers, which are run on a sample of the same kinds of damage to the same "
        "models (skops takes no DataFrame, and no graph with cycles):",
        "",
        *peers_table(ours, counts, [way.name for way in subjects.PEERS]),
        "",
        "Over-allocated: memory grew by more than the size of the file and 64 MiB, or ran out. "
        "Silent: loaded without an exception, and not equal to what was dumped.",
    ]
    return ours, "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, help="cases per model and way of ours; default: all")
    parser.add_argument("--large", type=int, default=400, help="cases per large model and way")
    parser.add_argument("--peers", type=int, default=3000, help="cases per model and way of a peer")
    parser.add_argument("--models", nargs="*", default=list(subjects.MODELS))
    parser.add_argument("--ways", nargs="*", default=list(subjects.WAYS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-results", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    ways = [name for name in options.ways if subjects.is_available(name)]
    most = {way.name: options.peers for way in subjects.PEERS}
    n_cases = {name: most.get(name, options.most) for name in ways}
    tasks = [(model, n_cases) for model in options.models]
    large = list(subjects.LARGE) if options.large else []
    ours = [name for name in ways if subjects.WAYS[name].ours]
    tasks += [(model, dict.fromkeys(ours, options.large)) for model in large]
    counts = {name: damage.Counts() for name in ways}
    start = time.monotonic()
    for model, found in run_tasks(tasks, options.jobs):
        for name, of_way in found.items():
            counts[name].add(of_way)
        n_done = sum(of_way.number() for of_way in found.values())
        print(f"{time.monotonic() - start:7.0f} s  {model:20} {n_done:9,} cases", flush=True)
    total, text = report(counts, len(options.models), len(large), time.monotonic() - start)
    print(f"\n{text}\n")
    for model, name, outcome, case in total.failures:
        print(f"NOT AS IT MUST BE: {model}, {name}: {outcome}: {case}")
    if not options.no_results:
        results.write("Damaged files", text)
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
