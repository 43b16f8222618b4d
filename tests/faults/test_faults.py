"""System calls and allocations that fail, kills, races, user code that does anything, leaks.

Each test runs a script of this directory in a process of its own. `make hostile` runs them in full
(run.py); here is a selection.
"""

import os
import sys

import pytest
from helpers import EFFORT
from shims import build, run_script, run_with

if sys.platform != "linux":
    pytest.skip("preloads libraries, reads /proc", allow_module_level=True)

LONG = EFFORT > 1
# A sanitizer's runtime stands in front of other preloaded libraries: it allocates by itself, keeps
# what is freed, and makes some of the system calls in the extension's place.
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
FEWER = 8 if SANITIZED else 1
OWN_MALLOC = pytest.mark.skipif(SANITIZED, reason="the sanitizer allocates")


@pytest.fixture(scope="module")
def system_calls(tmp_path_factory):
    return build("syscall_faults", tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return build("memory_faults", tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize(
    "scenario",
    ["small", "small, new", "small, durable", "link, durable", "large", "lz4", "zlib", "sidecar",
     "empty", "empty, link", "empty, zlib", "empty, sidecar"],
)  # fmt: skip
def test_system_calls_of_a_dump_fail(scenario, system_calls, tmp_path):
    counts = run_with(system_calls, "dump_with_faults.py", tmp_path, scenario, int(LONG))
    assert counts["old"] >= 15 / FEWER and counts.get("absorbed", 0) >= 5 // FEWER


@pytest.mark.parametrize(
    "scenario",
    ["small", "large", "many dumps", "mapped", "mapped for writing", "file", "lz4", "sidecar"],
)
def test_system_calls_of_a_load_fail(scenario, system_calls, tmp_path):
    counts = run_with(system_calls, "load_with_faults.py", tmp_path, scenario, int(LONG))
    assert counts["raised"] >= 7 / FEWER and counts.get("absorbed", 0) >= 5 // FEWER


# From 3.12 on the interpreter writes past what it has where it cannot allocate a function or a
# frame, in pure Python as well ("unknown opcode", "corrupted double-linked list").
EVERYBODY = pytest.mark.skipif(sys.version_info >= (3, 12), reason="the interpreter crashes itself")


@OWN_MALLOC
@pytest.mark.parametrize("everybody", [
    pytest.param(0, id="ours"), pytest.param(1, id="everybody's", marks=EVERYBODY)
])  # fmt: skip
@pytest.mark.parametrize(
    "way",
    ["dump", "dump, lz4", "dump, sidecar", "load", "load, mapped", "load, lz4", "load, memory"]
    + ["loads, restricted", "survey", "survey, ours", "survey, old", "survey, joblib"],
)
@pytest.mark.by_day(
    wanted=lambda way, everybody: not everybody or way in ("dump", "load", "survey")
)
def test_allocations_fail(way, everybody, memory, tmp_path):
    counts = run_with(
        memory,
        "memory_with_faults.py",
        tmp_path,
        way,
        everybody,
        int(LONG),
        PYTHONMALLOC="malloc",
    )
    assert counts["raised"] > 60
    assert counts["grown"] < 100_000


def test_kills(tmp_path):
    counts = run_script("kill_while_writing.py", tmp_path, "ours", 1000 if LONG else 40, 1)
    assert counts["lost"] == 0 and counts["torn"] == 0
    assert counts["left"] <= counts["kills"]


def test_dumps_where_the_system_lacks_a_call(system_calls, tmp_path):
    counts = run_with(system_calls, "without_calls.py", tmp_path)
    assert counts["works"] > 900 and counts["says so"] > 150


def test_dumps_into_an_empty_file(tmp_path):
    counts = run_script("fill_empty.py", tmp_path, 500 if LONG else 25, 1)
    assert counts["filled"] > counts["rounds"] / 2 and counts["refused"] > 0


def test_two_writers_and_two_readers(tmp_path):
    counts = run_script("write_and_read.py", tmp_path, "ours", 50_000 if LONG else 1000)
    assert counts["torn"] == counts["errors"] == counts["changed"] == 0
    assert counts["versions"] > 5 and counts["maps"] > 0


def test_user_code_in_the_middle_of_loads(tmp_path):
    counts = run_script("restless_loads.py", tmp_path, 20 * EFFORT if LONG else 3, 1)
    assert counts["runs"] > 30 and counts["raised"] > 5


def test_threads_change_what_others_dump(tmp_path):
    counts = run_script("restless_dumps.py", tmp_path, 20 if LONG else 2)
    assert counts["dumped"] > 5


@OWN_MALLOC
def test_nothing_is_left_behind(tmp_path):
    found = run_script("leak_loops.py", tmp_path, 10_000 if LONG else 150)
    for name, left in found.items():
        assert left["references"] < 10, (name, left)
        assert left["blocks"] < 100, (name, left)
        assert left["bytes"] < 150_000, (name, left)
        assert left["resident"] < 3 << 20, (name, left)


def test_the_shim_of_system_calls_counts_and_fails(system_calls):
    """It would prove nothing if it did not."""
    script = """
import errno, os, sys
from inside import Memory, SystemCalls
shim = SystemCalls(sys.argv[1])
shim.arm("rename", 1, 1, errno.EDQUOT, everybody=True)
outcomes = []
for _ in range(3):
    try:
        os.rename("/no/such/one", "/no/such/other")
    except OSError as error:
        outcomes.append(errno.errorcode[error.errno])
shim.disarm()
print(json.dumps([outcomes, shim.used("rename"), shim.failed]))
"""
    found = run_with(system_calls, script="import json" + script)
    assert found == [["ENOENT", "EDQUOT", "ENOENT"], 3, 1]


@OWN_MALLOC
def test_the_shim_of_allocations_fails(memory):
    script = """
import json, sys
from inside import Memory
shim = Memory(sys.argv[1])
shim.arm(0, 1, everybody=True)
try:
    kept = bytes(1 << 22)
    failed = False
except MemoryError:
    failed = True
shim.disarm()
print(json.dumps([failed, shim.failed]))
"""
    assert run_with(memory, script=script) == [True, 1]
