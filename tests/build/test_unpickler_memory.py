"""Unpickling at its limits: depth, the collector, leaks."""

import gc
import io
import pickle
import sys
import weakref

import fastpersist
import pytest
from helpers import outcome, run_python


def load(data):
    return fastpersist.Unpickler(io.BytesIO(data)).load()


DEEP = """
import sys
import fastpersist, pickle
n = 10**6
for head, tail in (
    (b"](" , b"e"), (b"]\\x94(", b"e"), (b"]", b"a"), (b"(", b"t"), (b"", b"\\x85"), (b"(", b"l"),
    (b"}(K\\1", b"u"), (b"}K\\1", b"s"), (b"(K\\1", b"d"),
    (b"h\\0)\\x81}(h\\1", b"ub"), (b"h\\0)\\x81\\x94}\\x94(h\\1", b"ub"),
    (b"h\\0)\\x81}h\\1", b"sb"),
):
    start = b"\\x80\\4csample_classes\\nPlain\\nq\\x000\\x8c\\1aq\\x010"
    value = fastpersist.loads(start + head * n + b"N" + tail * n + b".")
    depth = 0
    while value is not None:
        if isinstance(value, (list, tuple)):
            value = value[0]
        elif isinstance(value, dict):
            value = value[1]
        else:
            value = value.a
        depth += 1
    assert depth == n, depth
"""


def test_a_million_levels():
    run_python(DEEP)


GARBAGE = """
import gc, resource, sys
import fastpersist
kind, n, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# a list that holds itself and n dicts that hold it
data = b"\\x80\\4]\\x94(h\\0" + b"}(K\\1h\\0u" * n + b"e."
def run(times):
    for _ in range(times):
        if kind == "loads":
            fastpersist.loads(data)
        else:
            import io
            fastpersist.Unpickler(io.BytesIO(data)).load()
run(count // 10)
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
before = memory()
most = 0
for _ in range(9):
    run(count // 10)
    most = max(most, memory() - before)
print(most >> 20)
"""


@pytest.mark.slow  # and not for sanitizers, which keep what was freed
def test_garbage_of_small_loads_is_collected():
    assert int(run_python(GARBAGE, "loads", 1, 300_000)) < 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loads", "Unpickler"])
@pytest.mark.by_day(wanted=lambda kind: kind == "Unpickler")
def test_garbage_of_large_loads_is_collected(kind):
    # Up to 2,000,000 containers lie about between two full collections.
    assert int(run_python(GARBAGE, kind, 110_000, 100)) < 900
    assert int(run_python(GARBAGE, kind, 90_000, 100)) < 900


LARGE_LIST = pickle.dumps([[] for _ in range(120_000)])


def test_the_collector_afterwards():
    for data in (LARGE_LIST, pickle.dumps([])):
        for broken in (data, data[:-1]):
            for enabled in (True, False):
                (gc.enable if enabled else gc.disable)()
                try:
                    for loads in (fastpersist.loads, load):
                        outcome(loads, broken)
                        assert gc.isenabled() == enabled
                finally:
                    gc.enable()


def test_what_a_large_load_made_is_old():
    gc.collect()
    collections_before = gc.get_stats()[-1]["collections"]
    value = fastpersist.loads(LARGE_LIST)
    assert gc.get_count()[0] < 100_000
    assert gc.get_freeze_count() == 0
    assert gc.get_stats()[-1]["collections"] - collections_before <= 1
    assert gc.is_tracked(value)


def test_what_others_froze_stays_frozen():
    gc.collect()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        fastpersist.loads(LARGE_LIST)
        assert 0 < gc.get_freeze_count() <= frozen
    finally:
        gc.unfreeze()


def test_a_disabled_collector_is_left_alone():
    code = """
import gc, pickle
data = pickle.dumps([[] for _ in range(120_000)])
gc.disable()
import fastpersist
gc.collect()
value = fastpersist.loads(data)
assert gc.get_count()[0] > 100_000
"""
    run_python(code)


LEAKS = """
import gc, io, pickle, sys, warnings
warnings.simplefilter("ignore")
import fastpersist
from values import catalogue
pickles = []
for build in catalogue().values():
    try:
        pickles.append(pickle.dumps(build(), 4))
    except Exception:
        pass
class U(fastpersist.Unpickler):
    def find_class(self, module, name):
        return super().find_class(module, name)
    def persistent_load(self, pid):
        return pid
def attempt(load, data):
    try:
        load(data)
    except Exception:
        pass
def hooked(data):
    u = U(io.BufferedReader(io.BytesIO(data)))
    u.memo = {1: [], 10**10: []}
    u.memo = u.memo
    u.me = u
    u.load()
loads = [fastpersist.loads, lambda d: fastpersist.Unpickler(io.BytesIO(d)).load(), hooked]
def once(data):
    for broken in (data, data[: len(data) // 2], data[: len(data) * 3 // 4] + b"\\xff"):
        for load in loads:
            attempt(load, broken)
n = 60
for data in pickles:
    # Python's own caches grow too, but not for ever.
    for _ in range(20):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(n):
            once(data)
        gc.collect()
        grown = sys.getallocatedblocks() - before
        if grown < n // 2:
            break
    else:
        raise AssertionError((grown, data))
"""


@pytest.mark.slow
def test_nothing_leaks():
    run_python(LEAKS)


def test_an_unpickler_in_a_cycle_is_collected():
    class U(fastpersist.Unpickler):
        pass

    for where in ("attribute", "memo", "persistent_load", "far memo"):
        unpickler = U(io.BytesIO(pickle.dumps([1])))
        unpickler.load()
        if where == "attribute":
            unpickler.me = unpickler
        elif where == "persistent_load":
            unpickler.persistent_load = lambda pid, u=unpickler: u
        else:
            unpickler.memo = {5 if where == "memo" else 10**9: [unpickler]}
        reference = weakref.ref(unpickler)
        del unpickler
        gc.collect()
        assert reference() is None, where


def test_an_unpickler_with_hooks_is_freed_at_once():
    class Hooked(fastpersist.Unpickler):
        def find_class(self, module, name):
            return super().find_class(module, name)

        def persistent_load(self, pid):
            return pid

    unpickler = Hooked(io.BytesIO(pickle.dumps([1])))
    unpickler.load()
    reference = weakref.ref(unpickler)
    del unpickler
    assert reference() is None


def test_types_are_freed_with_their_instances():
    for make in (
        lambda: fastpersist.Unpickler(io.BytesIO()),
        lambda: fastpersist.Unpickler(io.BytesIO()).memo,
    ):
        tp = type(make())
        before = sys.getrefcount(tp)
        for _ in range(100):
            make()
        assert sys.getrefcount(tp) < before + 20


OUT_OF_MEMORY = """
import gc, io, pickle
import _testcapi
import fastpersist
import sample_classes as s

shared = ["shared"]
VALUE = [1, "a" * 40, "\\u00e9", 2.5, 1 << 90, b"x" * 600, [shared, shared], {"k": (1, 2)}, {1, 2},
         frozenset([3]), [s.Plain(a=i, b=[i]) for i in range(3)], bytearray(b"x"), (), "x" * 70_000]
WAYS = {
    "loads": bytes,
    "BytesIO": io.BytesIO,
    "buffered": lambda data: io.BufferedReader(io.BytesIO(data)),
}
def load(source):
    if isinstance(source, bytes):
        return fastpersist.loads(source)
    return fastpersist.Unpickler(source).load()
def attempt(source, n):
    try:
        _testcapi.set_nomemory(n, n + 1)
        try:
            return load(source)
        finally:
            _testcapi.remove_mem_hooks()
    except Exception as error:
        return error
n_failures = 0
for data in (pickle.dumps(VALUE, 5), pickle.dumps(VALUE, 0), fastpersist.dumps(VALUE, 2)):
    expected = repr(pickle.loads(data)[:10])
    for name, source in WAYS.items():
        load(source(data))
        in_a_row = n = 0
        while in_a_row < 30:
            value = attempt(source(data), n)
            n += 1
            if isinstance(value, list):
                assert repr(value[:10]) == expected
                assert [x.a for x in value[10]] == [0, 1, 2]
                in_a_row += 1
            else:
                # The interpreter's own slip, where it makes a traceback: with pickle too.
                assert isinstance(value, MemoryError) or "without" in str(value), (name, n, value)
                in_a_row = 0
                n_failures += 1
            assert gc.isenabled()
print(n_failures)
"""


def test_every_allocation_fails_once():
    pytest.importorskip("_testcapi", reason="this Python comes without its test modules")
    assert int(run_python(OUT_OF_MEMORY)) > 200
