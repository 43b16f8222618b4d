"""No leak, no reference too many or too few, and little memory whatever the arrays weigh."""

import gc
import io
import pickle
import sys
import types

import array_values
import fastpersist
import numpy as np
import pytest
import sample_classes as s
from helpers import file_bytes, run_python
from unpicklable import UNPICKLABLE
from values import catalogue

# ---------------------------------------------------------------- references of the input


def objects_of(value):
    """Every object that can be reached from a value, but for those that others share by nature."""
    found, pending = {}, [value]
    while pending:
        x = pending.pop()
        shared = (type, type(gc), type(len), int, type(None), types.FunctionType, types.CodeType)
        if id(x) in found or isinstance(x, shared) or isinstance(x, str) and x.isidentifier():
            continue
        found[id(x)] = x
        if not isinstance(x, (np.ndarray, np.dtype)):
            pending.extend(gc.get_referents(x))
    return list(found.values())


def counts(objects):
    return [sys.getrefcount(x) for x in objects]


def ways(value):
    yield lambda: file_bytes(value)
    yield lambda: file_bytes(value, layout="joblib")
    yield lambda: file_bytes(value, sidecar=io.BytesIO())
    for protocol in (2, 5):
        yield lambda protocol=protocol: fastpersist.dumps(value, protocol)
    yield lambda: fastpersist.Pickler(io.BytesIO()).dump(value)


def assert_counts_are_kept(name, value):
    objects = objects_of(value)
    for way in ways(value):
        for _ in range(2):  # the first time, caches of classes may be filled
            before = counts(objects)
            try:
                way()
            except Exception as error:
                error.__traceback__ = None
            after = counts(objects)
        wrong = [(x, b, a) for x, b, a in zip(objects, before, after, strict=True) if a != b]
        assert not wrong, f"{name}: {[(type(x).__name__, b, a) for x, b, a in wrong][:5]}"


@pytest.mark.filterwarnings("ignore")
def test_reference_counts_of_what_was_dumped():
    for name, build in catalogue().items():
        if name in ("iterators", "enumerate", "count"):
            continue
        assert_counts_are_kept(name, build())


@pytest.mark.filterwarnings("ignore")
def test_reference_counts_of_arrays_that_were_dumped():
    for name, build in array_values.everything().items():
        if name.startswith("dtype ") and not name.endswith("f8"):
            continue
        assert_counts_are_kept(name, build())


def test_reference_counts_after_errors():
    for name, build in UNPICKLABLE.items():
        if not name.endswith((" item", " pair", " lists", " pairs", " triples")):  # iterators
            assert_counts_are_kept(name, build())


# ---------------------------------------------------------------- leaks, in processes of their own

# Free lists and caches of Python and NumPy come and go, but a block that leaks each round shows in
# every window.
LOOP = """
import gc, io, os, pickle, sys, warnings
import numpy as np
import fastpersist
import sample_classes as s
import array_values, values
warnings.simplefilter("ignore")

def steady(name, work, rounds=200):
    if "FASTPERSIST_TEST_NIGHT" not in os.environ:
        rounds //= 2
    for _ in range(10):
        work()
    windows = [rounds]
    while windows[-1] >= 0.9 * rounds and len(windows) < 10:  # caches fill for a while
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(rounds):
            work()
        gc.collect()
        windows.append(sys.getallocatedblocks() - before)
    assert windows[-1] < 0.9 * rounds, f"{name}: {windows} blocks in {rounds} rounds each"
"""

LEAKS = {
    "every kind of value": """
catalogue = {**values.catalogue(), **array_values.everything()}
def work():
    for name, value in built.items():
        for dump in (lambda: fastpersist.dump(value, io.BytesIO()),
                     lambda: fastpersist.dumps(value, 2), lambda: fastpersist.dumps(value, 5)):
            try:
                dump()
            except Exception as error:
                pass
large = "doubles", "bytes of", "large", "many small", "reduced", "iterators", "enumerate"
small = [name for name in catalogue if not name.startswith(large)]
built = {n: catalogue[n]() for n in small}
steady("values", work, rounds=40)
""",
    "files": """
path = sys.argv[1]
value = {"a": np.arange(50_000), "b": [s.GetState(1), "x" * 20_000], "c": np.eye(5)}
def work():
    fastpersist.dump(value, path)
    fastpersist.dump(value, path, threads=1)
    fastpersist.dump(value, path, protocol=3)
    fastpersist.load(path)
steady("files", work)
""",
    "joblib's layout": """
path = sys.argv[1]
value = {"a": np.arange(50_000), "b": [s.GetState(1), "x" * 20_000], "c": np.eye(5),
         "o": np.array([1, "two", np.arange(3)], object), "s": np.zeros(3, [("a", "u1")]),
         "m": np.zeros(3, np.dtype("f8", metadata={"a": 1}))}
def work():
    for protocol in (0, 2, 5):
        fastpersist.dump(value, path, layout="joblib", protocol=protocol)
        fastpersist.load(path)
        fastpersist.load(path, "r")
    fastpersist.dump(value, io.BytesIO(), layout="joblib")
steady("joblib's layout", work)
""",
    "two files": """
paths = sys.argv[1], sys.argv[1] + "2"
value = {"a": np.arange(50_000), "b": [s.GetState(1), "x" * 20_000], "c": np.eye(5),
         "p": [pickle.PickleBuffer(b"x" * 20_000), pickle.PickleBuffer(bytearray(5))],
         "m": np.zeros(3, np.dtype("f8", metadata={"a": np.arange(3)}))}
def work():
    fastpersist.dump(value, paths[0], sidecar=paths[1])
    for mode in (None, "r", "c"):
        fastpersist.load(paths[0], mode, sidecar=paths[1])
    with open(paths[0], "rb") as file:
        pickle.load(file, buffers=fastpersist.read_sidecar(paths[1]))
    files = io.BytesIO(), io.BytesIO()
    fastpersist.dump(value, files[0], sidecar=files[1])
    for file in files:
        file.seek(0)
    fastpersist.load(files[0], sidecar=files[1])
    for wrong in (lambda: fastpersist.load(paths[0]),
                  lambda: fastpersist.load(paths[0], sidecar=paths[0]),
                  lambda: fastpersist.load(files[0], sidecar=io.BytesIO())):
        try:
            wrong()
        except Exception:
            pass
steady("two files", work)
""",
    "errors": """
from unpicklable import UNPICKLABLE
path = sys.argv[1]
class Broken:
    def __init__(self): self.n = 0
    def write(self, data):
        self.n += 1
        if self.n > 1: raise OSError("no")
def work():
    for name, build in UNPICKLABLE.items():
        value = build()
        for dump in (lambda: fastpersist.dump([value], path), lambda: fastpersist.dumps([value])):
            try:
                dump()
            except Exception:
                pass
    for arguments in (([1], "/no/such/place"), ([1], 5), ([1], Broken()), ([1], path, 0, 9),
                      (np.zeros(10**6), Broken()), ([1], path, 3)):
        try:
            fastpersist.dump(*arguments)
        except Exception:
            pass
steady("errors", work, rounds=100)
""",
    "picklers": """
class Sub(fastpersist.Pickler):
    def persistent_id(self, x): return "id" if x == 5 else None
    def reducer_override(self, x): return NotImplemented
class Table(fastpersist.Pickler):
    dispatch_table = {}
def work():
    for cls in (fastpersist.Pickler, Sub, Table):
        file = io.BytesIO()
        pickler = cls(file, 4)
        value = [s.Plain(a=[1]), "text %d" % 5, 5, [s.GetState(2)]]
        pickler.dump(value)
        pickler.dump(value)
        memo = pickler.memo.copy()
        pickler.memo = memo
        pickler.memo = pickler.memo
    try: fastpersist.Pickler(5)
    except TypeError: pass
    pickler = fastpersist.Pickler(io.BytesIO())
    pickler.dispatch_table = {int: 1}
    try: pickler.persistent_id = lambda x: None
    except AttributeError: pass
    pickler.memo.clear(); pickler.clear_memo()
    pickler.__init__(io.BytesIO(), 2)
    pickler.__sizeof__(); repr(pickler)
    fastpersist.dumps([np.arange(500)], 5, buffer_callback=lambda b: None)
steady("picklers", work)
""",
    "temporaries": """
class Made:
    def __init__(self, i): self.i = i
    def __getstate__(self): return {"a": [self.i], "b": np.full(2000, self.i), "c": "t%d" % self.i}
    def __setstate__(self, state): pass
value = [Made(i) for i in range(20)]
def work():
    fastpersist.dump(value, io.BytesIO()); fastpersist.dumps(value)
steady("temporaries", work)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LEAKS)
def test_no_leak(case, tmp_path):
    run_python(LOOP + LEAKS[case], tmp_path / "file", warnings="ignore")


RSS = """
import gc, io, resource, sys
import numpy as np
import fastpersist
import sample_classes as s

def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

class Fails:
    def __reduce__(self): raise ZeroDivisionError

value = [np.zeros(300_000), "x" * 500_000, "\\u00e9" * 300_000, [np.zeros(50) for _ in range(2000)],
         np.zeros((500, 500))[::2], [[i] for i in range(20_000)]]
def work():
    fastpersist.dump(value, sys.argv[1])
    fastpersist.dump(value, io.BytesIO())
    fastpersist.dumps(value)
    for bad in (value + [Fails()], value + [s.GetState(1), lambda: 0]):
        try: fastpersist.dump(bad, sys.argv[1])
        except Exception: pass
for _ in range(10): work()
gc.collect()
before = rss()
for _ in range(60): work()
gc.collect()
print((rss() - before) >> 10)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_does_not_grow(tmp_path):
    """What no Python allocator counts (ring, graph, hashes) is given back as well."""
    assert int(run_python(RSS, tmp_path / "file", warnings="ignore")) < 6_000


TYPES = """
import gc, io, sys
import numpy as np
import fastpersist
import fastpersist._core as core
import sample_classes as s

pickler = fastpersist.Pickler(io.BytesIO())
types = {t for t in vars(core).values() if isinstance(t, type)}
types |= {type(pickler), type(pickler.memo)}
types |= {t for t in object.__subclasses__() if t.__module__.startswith("fastpersist")}
types = {t for t in types if t.__module__.startswith("fastpersist")}
assert len(types) >= 2, types
del pickler

class Sub(fastpersist.Pickler):
    pass

def work():
    for cls in (fastpersist.Pickler, Sub):
        pickler = cls(io.BytesIO())
        pickler.dump([1, s.Plain(a=1), np.arange(3)])
        pickler.memo, pickler.memo.copy()
        cls.__new__(cls)
        try:
            cls(5)
        except TypeError:
            pass
    for proxy in [pickler.memo for _ in range(3)]:
        proxy.clear()
    fastpersist.dump([1, np.arange(3)], io.BytesIO())
    for t in types:
        try:
            t()
        except TypeError:
            pass

for _ in range(5):
    work()
gc.collect()
before = {t: sys.getrefcount(t) for t in types}
for _ in range(50):
    work()
gc.collect()
for t, n in before.items():
    assert sys.getrefcount(t) < n + 25, (t, n, sys.getrefcount(t))
assert sys.getrefcount(Sub) < 50
print(len(types))
"""


def test_references_of_the_types():
    """A deallocator that forgets its heap type leaks one reference per object."""
    assert int(run_python(TYPES)) >= 2


def test_heap_types_have_the_collector_and_are_immutable():
    pickler = fastpersist.Pickler(io.BytesIO())
    for cls in (type(pickler), type(pickler.memo)):
        with pytest.raises(TypeError, match="immutable"):
            cls.new = 1
    assert gc.is_tracked(pickler) and gc.is_tracked(pickler.memo)
    assert type(pickler) in gc.get_referents(pickler), "traverse visits the type"
    assert type(pickler.memo) in gc.get_referents(pickler.memo)


def test_module_objects_survive_a_second_import():
    """The module can be imported again beside itself, and taken down."""
    run_python(
        "import sys, io, gc\n"
        "import numpy, fastpersist\n"
        "for _ in range(3):\n"
        "    old = fastpersist\n"
        "    for name in [n for n in sys.modules if n.startswith('fastpersist')]:\n"
        "        del sys.modules[name]\n"
        "    import fastpersist\n"
        "    fastpersist.dump([1, numpy.arange(3)], io.BytesIO())\n"
        "    old.dump([1], io.BytesIO())\n"
        "    del old; gc.collect()\n"
        "    assert fastpersist.loads(fastpersist.dumps([1])) == [1]\n"
    )


# ---------------------------------------------------------------- peak memory

PEAK = """
import io, os, sys
import numpy as np
import fastpersist
from peak import peak_kib

n = 256 << 20

path, how, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]) or None
array = np.ones((8192, 4096))
if how == "strided":
    array = np.ones((8192, 8192))[:, ::2]
elif how == "F":
    array = np.ones((4096, 8192)).T
elif how == "reversed":
    array = array[::-1, ::-1]
elif how == "bytes":
    array = bytes(n)
elif how == "text":
    array = "\\u00e9" * (n // 4)
elif how == "parts":
    array = [np.ones((1024, 1024)) for _ in range(32)]
elif how == "nested":
    array = {"a": [array]}
fastpersist.dump([np.ones(200_000)], path)
before = peak_kib()
fastpersist.dump(array, path, threads=threads)
print((peak_kib() - before) >> 10)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize(
    "how", ["C", "F", "strided", "reversed", "bytes", "text", "parts", "nested"]
)
def test_peak_memory_of_a_large_array(how, threads, tmp_path):
    """256 MiB; the process may grow by 32 MiB at most."""
    if threads == 1 and how in ("reversed", "parts", "nested", "text"):
        pytest.skip("covered with the default number of threads")
    assert int(run_python(PEAK, tmp_path / "file", how, threads)) <= 32


GRAPH_PEAK = """
import sys
import fastpersist
from peak import peak_kib
value = [{"id": i, "name": f"user{i}"} for i in range(100_000)]
before = peak_kib()
fastpersist.dump(value, sys.argv[1])
print((peak_kib() - before) >> 10)
"""


def test_peak_memory_of_a_graph(tmp_path):
    """The opcodes of the graph, the memo and the ring, nothing else."""
    grown = int(run_python(GRAPH_PEAK, tmp_path / "file"))
    assert grown < 40 + 4 * (tmp_path / "file").stat().st_size / (1 << 20)


def test_what_the_file_keeps_nothing_of():
    """After a dump nothing holds on to the value."""
    import weakref

    x = s.Plain(a=[1])
    reference = weakref.ref(x)
    file_bytes([x, np.arange(10)])
    fastpersist.dumps([x])
    assert pickle.loads(fastpersist.dumps([x]))[0].a == [1]
    del x
    assert reference() is None
