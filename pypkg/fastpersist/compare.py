"""One value dumped with fastpersist, pickle and joblib, side by side: what the
commands `demo` and `bench` print."""

import gc
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import fastpersist

# Runs in a process of its own, which never imports fastpersist: reads the file
# several times, applies the method that the caller named, prints the best time.
READER = """
import gc, importlib, json, pickle, sys
from time import perf_counter

reader, path, repeat, method, arguments, answer = sys.argv[1:]
if reader == "pickle":
    def load(path):
        with open(path, "rb") as file:
            return pickle.load(file)
else:
    load = importlib.import_module(reader).load
best = float("inf")
for _ in range(int(repeat)):
    value = None
    gc.collect()
    start = perf_counter()
    value = load(path)
    best = min(best, perf_counter() - start)
assert "fastpersist" not in sys.modules
if method:
    with open(arguments, "rb") as file:
        result = getattr(value, method)(*pickle.load(file))
    with open(answer, "wb") as file:
        pickle.dump(result, file)
print(json.dumps(best))
"""


def dump_with_pickle(value: object, path: Path) -> None:
    with open(path, "wb") as file:
        pickle.dump(value, file, protocol=5)


def dump_with_joblib(value: object, path: Path) -> None:
    import joblib

    joblib.dump(value, path)


def dump_with_fastpersist(value: object, path: Path) -> None:
    fastpersist.dump(value, path)


WRITERS: dict[str, Callable[[object, Path], None]] = {
    "fastpersist": dump_with_fastpersist,
    "pickle": dump_with_pickle,
    "joblib": dump_with_joblib,
}

# Who is shown to read whose file.
READERS = {
    "fastpersist": ("fastpersist", "pickle", "joblib"),
    "pickle": ("pickle",),
    "joblib": ("joblib",),
}


@dataclass
class Row:
    """Seconds and bytes of one writer; `loads` by the name of the reader."""

    writer: str
    n_bytes: int
    dump: float
    loads: dict[str, float]


@dataclass
class Call:
    """A method to call on the value and on every copy of it that was read."""

    method: str
    arguments: tuple[Any, ...]


def best_dump(writer: str, value: object, path: Path, repeat: int) -> float:
    best = float("inf")
    for _ in range(repeat):
        path.unlink(missing_ok=True)
        gc.collect()
        start = perf_counter()
        WRITERS[writer](value, path)
        best = min(best, perf_counter() - start)
    return best


def best_load(path: Path, repeat: int) -> tuple[float, Any]:
    best = float("inf")
    value = None
    for _ in range(repeat):
        value = None
        gc.collect()
        start = perf_counter()
        value = fastpersist.load(path)
        best = min(best, perf_counter() - start)
    return best, value


def read_elsewhere(reader: str, path: Path, repeat: int, call: Call | None) -> tuple[float, Any]:
    """Reads in a new process without fastpersist: seconds, and what `call` gave there."""
    arguments, answer = path.with_suffix(".arguments"), path.with_suffix(".answer")
    if call is not None:
        arguments.write_bytes(pickle.dumps(call.arguments))
    done = subprocess.run(
        [
            *(sys.executable, "-c", READER, reader, path, str(repeat)),
            *(call.method if call else "", arguments, answer),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    result = pickle.loads(answer.read_bytes()) if call is not None else None
    return json.loads(done.stdout), result


def compare(
    value: object,
    directory: Path,
    repeat: int = 5,
    call: Call | None = None,
    writers: tuple[str, ...] = tuple(WRITERS),
    tell: Callable[[str], object] = lambda step: None,
) -> tuple[list[Row], dict[tuple[str, str], Any]]:
    """Dumps and reads `value`; also what `call` gave on each copy, by (writer, reader).

    `tell` is called with what comes next.
    """
    rows = []
    answers = {}
    for writer in writers:
        path = directory / f"value.{writer}"
        tell(f"dump by {writer}")
        seconds = best_dump(writer, value, path, repeat)
        loads = {}
        for reader in READERS[writer]:
            if reader not in writers:
                continue
            tell(f"load of {writer}'s file by {reader}")
            if reader == "fastpersist":
                loads[reader], copy = best_load(path, repeat)
                result = getattr(copy, call.method)(*call.arguments) if call else None
            else:
                loads[reader], result = read_elsewhere(reader, path, repeat, call)
            answers[writer, reader] = result
        rows.append(Row(writer, path.stat().st_size, seconds, loads))
    return rows, answers


def table(title: str, rows: list[Row]) -> str:
    readers = [row.writer for row in rows]
    lines = [
        title,
        f"  {'written by':<12} {'size':>10} {'dump':>10}   "
        + " ".join(f"{'load by ' + name:>19}" for name in readers),
    ]
    for row in rows:
        loads = (
            f"{row.loads[name] * 1e3:.2f} ms" if name in row.loads else "-" for name in readers
        )
        lines.append(
            f"  {row.writer:<12} {row.n_bytes / 1e6:>7.2f} MB {row.dump * 1e3:>7.2f} ms   "
            + " ".join(f"{text:>19}" for text in loads)
        )
    return "\n".join(lines)
