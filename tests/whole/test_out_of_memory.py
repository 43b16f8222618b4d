"""Every allocation fails once: MemoryError, the old file intact, nothing left behind, no crash."""

import pytest
from helpers import run_python

pytest.importorskip("_testcapi", reason="this Python comes without its test modules")

SCRIPT = """
import gc, io, os, pickle, sys
import _testcapi
import numpy as np
import fastpersist
import sample_classes as s

path = sys.argv[1]


class Sink:
    def write(self, data):
        return memoryview(data).nbytes  # a PickleBuffer has no length


def local():
    return lambda: 0


shared = ["shared"]
# Little Python code runs in these: the interpreter itself may crash where allocations fail.
VALUES = {
    "containers": [1, "a", 2.5, [shared, shared], {"k": (1, 2)}, {1}, frozenset([3]), b"x"],
    "recursive": s.Plain(me=[]),
    "instances": [s.Plain(a=1), s.Slots(1, 2), s.GetState([1]), s.Reduce(1), s.NewArgsEx(1, k=2),
                  s.function, s.Colour.RED, s.ListSub([1]), s.StateSetter(2)],
    "leaves": ["x" * 20_000, "\\u00e9" * 20_000, b"x" * 20_000, bytearray(20_000)],
    "many": [[f"{i}", i] for i in range(3000)],
    "arrays": [np.arange(5), np.eye(3)[::2], np.asfortranarray(np.eye(3)), np.zeros(5000),
               np.zeros(200_000), np.zeros(3, "M8[s]"), np.zeros((40, 50)).T, np.float64(1.5)],
    "unpicklable": [1, [s.Plain(k=local())]],
}
VALUES["recursive"].me.append(VALUES["recursive"])
WAYS = {
    "dumps": lambda value: fastpersist.dumps(value, 5),
    "old dumps": lambda value: fastpersist.dumps(value, 2),
    "Pickler": lambda value: fastpersist.Pickler(Sink()).dump(value),
    "file object": lambda value: fastpersist.dump(value, Sink()),
    "two file objects": lambda value: fastpersist.dump(value, Sink(), sidecar=Sink()),
    "joblib's layout": lambda value: fastpersist.dump(value, Sink(), layout="joblib"),
    "path": lambda value: fastpersist.dump(value, path, threads=1),
    "path, threads": lambda value: fastpersist.dump(value, path, threads=2),
}
OLD = b"old content"


def is_expected(error, name):
    \"\"\"What the value raises by itself: AttributeError before 3.14.\"\"\"
    return name == "unpicklable" and isinstance(error, (AttributeError, pickle.PicklingError))


def allowed(error, name):
    if isinstance(error, MemoryError):
        return True
    if is_expected(error, name):
        return True
    # NumPy's reducers, imports, and the interpreter where it makes a traceback: with pickle too.
    return any(text in str(error) for text in ("numpy", "import", "error return without"))


def attempt(dump, value, n):
    try:
        _testcapi.set_nomemory(n, n + 1)
        try:
            dump(value)
        finally:
            _testcapi.remove_mem_hooks()
    except Exception as error:
        return error
    return None


n_failures = n_old = 0
for name, value in VALUES.items():
    for way, dump in WAYS.items():
        in_a_row = n = 0
        while in_a_row < 40:
            with open(path, "wb") as file:
                file.write(OLD)
            error = attempt(dump, value, n)
            n += 1
            if error is None or is_expected(error, name):
                in_a_row += 1
            else:
                in_a_row = 0
                n_failures += 1
                assert allowed(error, name), (name, way, n, repr(error))
                with open(path, "rb") as file:
                    content = file.read()
                # The very last allocation is that of the result, behind the rename.
                assert content == OLD or pickle.loads(content), (name, way, n)
                n_old += content == OLD
            assert gc.isenabled()
            assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)], (name, way, n)
        if name != "unpicklable":
            fastpersist.dump(value, path)
            fastpersist.load(path)
print(n_failures, n_old)
"""


def test_every_allocation_fails_once(tmp_path):
    n_failures, n_old = run_python(SCRIPT, tmp_path / "file", warnings="ignore").split()
    assert int(n_failures) > 300
    assert int(n_failures) - int(n_old) < 20
