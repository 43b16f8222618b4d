"""All of this directory, in full: part of `make hostile`.

Prints tables and writes them to tests/hostile/RESULTS.md. Exits with 1 where a file was lost or
torn, something was left behind, or a script failed.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "support"), str(HERE.parent / "hostile")]

import results  # noqa: E402
from shims import build, run_script, run_with  # noqa: E402

DUMPS = ["small", "small, new", "small, durable", "large", "large, new",
         "large, one thread, durable", "large, protocol 4", "link, durable", "empty",
         "empty, large", "empty, link", "empty, durable", "empty, lz4", "empty, zlib",
         "empty, sidecar", "lz4", "lz4, durable", "zlib", "gzip", "bz2", "xz", "joblib's layout",
         "sidecar", "sidecar, durable", "file object"]  # fmt: skip
LOADS = ["small", "large", "many dumps", "pickle", "joblib", "joblib's layout", "mapped",
         "mapped for writing", "file", "raw file", "lz4", "zlib", "joblib's zlib", "sidecar",
         "mapped sidecar"]  # fmt: skip
MEMORY = ["dumps", "old dumps", "Pickler", "dump, file object", "dump", "dump, durable",
          "dump, lz4", "dump, zlib", "dump, joblib's layout", "dump, sidecar", "loads",
          "loads, old", "load", "load, mapped", "load, file object", "load, memory",
          "load, pickle", "load, joblib", "load, joblib, mapped", "load, lz4", "load, zlib",
          "load, sidecar"]  # fmt: skip
FILES = object()  # in arguments: a directory of its own
failures = []


def attempt(title, function, *arguments, **keywords):
    """What a script printed; {} where it failed, which is reported at the end."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fastpersist-") as directory:
        files = pathlib.Path(directory) / "files"
        files.mkdir()
        try:
            found = function(*[files if a is FILES else a for a in arguments], **keywords)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failures.append(f"{title}: {error}")
            found = {}
    seconds = time.monotonic() - start
    print(f"{seconds:7.1f} s  {title}: {found.get('cases', '') if found else 'FAILED'}", flush=True)
    return found


def must(condition, text):
    if not condition:
        failures.append(text)


def system_calls(library):
    dumps = [attempt(f"system calls, dump: {x}", run_with, library, "dump_with_faults.py",
                     FILES, x, 1) for x in DUMPS]  # fmt: skip
    loads = [attempt(f"system calls, load: {x}", run_with, library, "load_with_faults.py",
                     FILES, x, 1) for x in LOADS]  # fmt: skip

    lacking = attempt("system calls that there are not", run_with, library, "without_calls.py",
                      FILES)  # fmt: skip

    def total(found, key):
        return sum(x.get(key, 0) for x in found)

    return [
        "| system calls that fail | cases | OSError, the old file whole | done all the same "
        "| OSError behind the rename | leaks, leftovers, other |",
        "|---|---:|---:|---:|---:|---:|",
        f"| {len(DUMPS)} kinds of dump | {total(dumps, 'cases'):,} | {total(dumps, 'old'):,} | "
        f"{total(dumps, 'absorbed'):,} | {total(dumps, 'renamed'):,} and "
        f"{total(dumps, 'torn pair')} pairs | {dumps.count({})} |",
        f"| {len(LOADS)} kinds of load | {total(loads, 'cases'):,} | {total(loads, 'raised'):,} | "
        f"{total(loads, 'absorbed'):,} | | {loads.count({})} |",
        f"| not there at all (ENOSYS, EOPNOTSUPP, EINVAL, EPERM) | {total([lacking], 'cases'):,} "
        f"| {total([lacking], 'says so'):,} | {total([lacking], 'works'):,} | | "
        f"{[lacking].count({})} |",
    ]


def allocations(library):
    lines = [
        "| allocations that fail | cases | raised | done all the same | leaks, crashes, other |",
        "|---|---:|---:|---:|---:|",
    ]
    titles = ["of the extension"]
    if sys.version_info < (3, 12):  # from there on the interpreter itself crashes
        titles.append("of the process")
    for everybody, title in enumerate(titles):
        found = [attempt(f"allocations {title}: {x}", run_with, library, "memory_with_faults.py",
                         FILES, x, everybody, 1, PYTHONMALLOC="malloc")
                 for x in MEMORY]  # fmt: skip
        n, raised = (sum(x.get(key, 0) for x in found) for key in ("cases", "raised"))
        n_bad = found.count({}) + sum(x.get("grown", 0) > 100_000 for x in found)
        must(n_bad == 0, f"allocations {title}: {found}")
        lines.append(f"| {title}, {len(MEMORY)} ways | {n:,} | {raised:,} | {n - raised:,} "
                     f"| {n_bad} |")  # fmt: skip
    return lines


def kills(n_ours, n_peers):
    lines = [
        "| kill -9 while overwriting | kills | old file | new file | lost | torn "
        "| left a temporary |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for library in ("ours", "joblib", "pickle", "skops"):
        n = n_ours if library == "ours" else n_peers
        found = attempt(f"kills: {library}", run_script, "kill_while_writing.py", FILES, library,
                        n, 2)  # fmt: skip
        if not found:
            continue
        if library == "ours":
            must(found["lost"] == found["torn"] == 0, f"kills: {found}")
        lines.append(
            f"| {'fastpersist' if library == 'ours' else library} | {n:,} | {found['old']:,} "
            f"| {found['new']:,} | {found['lost']:,} | {found['torn']:,} | {found['left']:,} |"
        )
    return lines


def writers_and_readers(n_ours, n_peers):
    lines = [
        "| 2 writers, 2 readers, one path | loads | errors | silently torn |",
        "|---|---:|---:|---:|",
    ]
    for library in ("ours", "joblib"):
        n = (n_ours if library == "ours" else n_peers) // 2
        found = attempt(f"writers and readers: {library}", run_script, "write_and_read.py",
                        FILES, library, n)  # fmt: skip
        if not found:
            continue
        if library == "ours":
            must(found["torn"] == found["errors"] == found["changed"] == 0, f"readers: {found}")
        lines.append(
            f"| {'fastpersist' if library == 'ours' else library} | {found['loads']:,} "
            f"| {found['errors']:,} | {found['torn']:,} |"
        )
    return lines


def empty_files(n_rounds):
    found = attempt("empty files", run_script, "fill_empty.py", FILES, n_rounds, 2)
    return [
        f"- Three writers and two readers of one empty file that is open, {n_rounds:,} times: "
        f"{found.get('whole', 0):,} whole loads, and before the first of them "
        f"{found.get('empty', 0):,} of an empty file and {found.get('refused', 0):,} refused ones; "
        f"the open file became one of the dumps {found.get('filled', 0):,} times.",
        f"- {n_rounds:,} writers of an empty file killed: {found.get('nothing', 0):,} times it was "
        f"empty, {found.get('all', 0):,} times whole, {found.get('part', 0):,} times a part, "
        "with the whole dump beside it.",
    ]


def restless(seconds, n_times):
    loads = attempt("user code in loads", run_script, "restless_loads.py", FILES, seconds, 2)
    dumps = attempt("threads change what is dumped", run_script, "restless_dumps.py", FILES, 20)
    leaks = attempt("leaks", run_script, "leak_loops.py", FILES, n_times)
    for name, left in leaks.items():
        must(left["references"] < 10 and left["blocks"] < 100 and left["bytes"] < 150_000,
             f"leaks: {name}: {left}")  # fmt: skip
    return [
        f"- User code that changes, raises, loads, dumps, forks, starts threads and cuts the file "
        f"in the middle of {loads.get('runs', 0):,} loads ({loads.get('raised', 0):,} raised): "
        "no crash, no hang.",
        f"- Four threads that dump what two others change: {dumps.get('dumped', 0):,} whole files, "
        f"{dumps.get('RuntimeError', 0):,} RuntimeErrors.",
        f"- {len(leaks)} kinds of dump and load, failing ones among them, {n_times:,} times each: "
        "references, memory and descriptors as before.",
    ]


def valgrind():
    if shutil.which("valgrind") is None:
        return ["- valgrind is not installed here."]
    wrapper = "valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(HERE.parent / "core")],
        env={**os.environ, "FASTPERSIST_TEST_WRAPPER": wrapper},
    )
    print(f"{time.monotonic() - start:7.1f} s  valgrind", flush=True)
    must(done.returncode == 0, "valgrind")
    return ["- The tests of `csrc/core` under valgrind: "
            + ("clean." if done.returncode == 0 else "NOT CLEAN.")]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--loads", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=60, help="of user code in loads")
    parser.add_argument("--times", type=int, default=10_000, help="each kind in the leak loops")
    parser.add_argument("--peers", type=int, default=200, help="kills of each peer")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fastpersist-") as directory:
        calls = build("syscall_faults", pathlib.Path(directory))
        memory = build("memory_faults", pathlib.Path(directory))
        parts = [
            system_calls(calls),
            allocations(memory),
            kills(options.kills, options.peers),
            writers_and_readers(options.loads, options.loads // 10),
            empty_files(1000) + restless(options.seconds, options.times) + valgrind(),
        ]
    minutes = (time.monotonic() - start) / 60
    text = f"In {minutes:.0f} minutes.\n\n" + "\n\n".join("\n".join(lines) for lines in parts)
    text += (
        "\n\nEach system call and each allocation of a dump or load fails at its n-th use, once "
        "and from then on, for every n, until the call succeeds (system calls with ENOSPC, EIO, "
        "EDQUOT and EINTR, short reads and writes). Afterwards the old file is compared byte for "
        "byte, and temporaries, descriptors, threads and memory are counted. Pairs: a `sidecar=` "
        "and its main file are two renames; where the second fails the pair is refused."
    )
    print(f"\n{text}\n")
    for failure in failures:
        print(f"NOT AS IT MUST BE: {failure}")
    results.write("Faults", text)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
