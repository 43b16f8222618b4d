"""Every allocation of a dump or a load fails once, then all from the n-th on. Prints JSON.

Runs with PYTHONMALLOC=malloc, so that Python's own objects are counted too.
"""

import collections
import gc
import io
import json
import os
import pathlib
import sys

import fastpersist
import numpy as np
import sample_classes as s
from fastpersist import _core
from inside import Memory, Resources, bytes_in_use

shim = Memory(sys.argv[1])
directory = pathlib.Path(sys.argv[2])
name, everybody, long = sys.argv[3], sys.argv[4] == "1", sys.argv[5] == "1"
path = directory / "model"
text = str(path)
sidecar = directory / "sidecar"
OLD = b"the old content"

shared = ["shared"]
# Little Python code runs in these: the interpreter itself may crash where allocations fail.
VALUES = {
    "containers": [1, "a", 2.5, [shared, shared], {"k": (1, 2)}, {1}, frozenset([3]), b"x"],
    "instances": [s.Plain(a=1), s.Slots(1, 2), s.function, s.Colour.RED, s.ListSub([1])],
    "leaves": ["x" * 20_000, "\u00e9" * 20_000, b"x" * 20_000, bytearray(20_000), 1 << 3000],
    "many": [[f"{i}", i] for i in range(300)],
    "arrays": [np.arange(5), np.eye(3)[::2], np.asfortranarray(np.eye(3)), np.zeros(5000),
               np.zeros((40, 50)).T],
    "blocks": [np.arange(300_000.0), [np.full(50_000, i) for i in range(6)], "x" * 100_000],
}  # fmt: skip
if not everybody:  # NumPy crashes or miscounts references to this dtype, with pickle too
    VALUES["times"] = [np.zeros(3, "M8[s]"), np.float64(1.5)]


def as_bytes(value):
    # Protocol 5 writes an array by the order of its elements, which a load may change.
    return fastpersist.dumps(value, 4)


class Sink:
    def write(self, data):
        return memoryview(data).nbytes  # a PickleBuffer has no length


def dump_way(dump, load=fastpersist.load):
    """A case: what to do for a value, and how to check afterwards."""

    def make(value):
        def check(result, error):
            # The very last allocation is that of the result, behind the rename.
            content = path.read_bytes()
            assert content == OLD or as_bytes(load(text)) == expected
            counts["old"] += error is not None and content == OLD
            path.write_bytes(OLD)

        path.write_bytes(OLD)
        expected = as_bytes(value)
        return lambda: dump(value), check

    return make


def load_way(prepare, load):
    def make(value):
        source = prepare(value)
        expected = as_bytes(load(source))

        def check(result, error):
            if error is None:
                assert as_bytes(result) == expected

        return lambda: load(source), check

    return make


def dumped(value, **options):
    fastpersist.dump(value, path, **options)
    return str(path)


def by_joblib(value):
    import joblib

    joblib.dump(value, path)
    return str(path)


def dump_pair(value):
    fastpersist.dump(value, text, sidecar=str(sidecar))


def load_pair(source):
    return fastpersist.load(source, sidecar=str(sidecar))


def load_opened(source):
    with open(source, "rb") as file:
        return fastpersist.load(file)


def map_read_only(source):
    return fastpersist.load(source, "r")


def compressed(codec):
    # Python's Thread.start() hangs where the thread fails to begin.
    threads = 1 if everybody and codec != "lz4" else 2
    return dump_way(lambda value: fastpersist.dump(value, text, (codec, 1), threads=threads))


class Everything(_core.Restriction):
    """All names with any arguments, as they were found before: little Python code runs."""

    def __init__(self):
        self.found = {}

    def __call__(self, module, name):
        try:
            return self.found[module, name]
        except KeyError:
            answer = self.found[module, name] = (_core.find_name(module, name), 31, None, None)
            return answer


everything = Everything()


def load_restricted(data):
    return fastpersist.loads(data, trusted=everything)


def known_dumps(value):
    data = fastpersist.dumps(value)
    load_restricted(data)
    return data


# Their arrays go through dtype.__reduce__(), where NumPy dereferences NULL.
IN_BAND = ("dumps", "old dumps", "Pickler")
WAYS = {
    "dumps": dump_way(lambda value: fastpersist.dumps(value, 5)),
    "old dumps": dump_way(lambda value: fastpersist.dumps(value, 2)),
    "Pickler": dump_way(lambda value: fastpersist.Pickler(Sink()).dump(value)),
    "dump, file object": dump_way(lambda value: fastpersist.dump(value, Sink())),
    "dump": dump_way(lambda value: fastpersist.dump(value, text, threads=2)),
    "dump, durable": dump_way(lambda value: fastpersist.dump(value, text, durable=True)),
    "dump, lz4": compressed("lz4"),
    "dump, zlib": compressed("zlib"),
    "dump, joblib's layout": dump_way(
        lambda value: fastpersist.dump(value, text, layout="joblib", threads=2)
    ),
    "dump, sidecar": dump_way(dump_pair, load_pair),
    "load, sidecar": load_way(lambda value: dumped(value, sidecar=str(sidecar)), load_pair),
    "loads": load_way(fastpersist.dumps, fastpersist.loads),
    "loads, old": load_way(lambda value: fastpersist.dumps(value, 2), fastpersist.loads),
    "loads, restricted": load_way(known_dumps, load_restricted),
    "load": load_way(dumped, lambda source: fastpersist.load(source, threads=2)),
    "load, mapped": load_way(dumped, map_read_only),
    "load, file object": load_way(dumped, load_opened),
    "load, memory": load_way(
        lambda value: pathlib.Path(dumped(value)).read_bytes(),
        lambda data: fastpersist.load(io.BytesIO(data)),
    ),
    "load, pickle": load_way(lambda value: dumped(value, protocol=4), fastpersist.load),
    "load, joblib": load_way(by_joblib, fastpersist.load),
    "load, joblib, mapped": load_way(by_joblib, map_read_only),
    "load, lz4": load_way(lambda value: dumped(value, compress="lz4"), fastpersist.load),
    "load, zlib": load_way(
        lambda value: dumped(value, compress="zlib"),
        lambda source: fastpersist.load(source, threads=1 if everybody else 2),
    ),
}


def survey_way(prepare):
    """What a survey says is all there, or there is an exception."""

    def make(value):
        data = prepare(value)

        def facts():
            survey = _core.survey_file(io.BytesIO(data), None)
            numbers = range(len(survey.arrays) // 40)
            dtypes = [survey.dtype(i) for i in (0,) if len(survey.arrays)]
            paths = [survey.path(i) for i in range(min(20, len(survey.nodes) // 40))]
            tables = survey.globals, survey.nodes, survey.leaves, survey.payloads, survey.odd
            damage = survey.damage  # what is said of no memory, too
            if damage is not None:
                raise damage
            return tables, paths, dtypes, [survey.shape(i) for i in numbers]

        expected = facts()

        def check(result, error):
            assert error is not None or result == expected

        return facts, check

    return make


WAYS["survey"] = survey_way(fastpersist.dumps)
WAYS["survey, ours"] = survey_way(lambda value: pathlib.Path(dumped(value)).read_bytes())
WAYS["survey, old"] = survey_way(lambda value: fastpersist.dumps(value, 2))
WAYS["survey, joblib"] = survey_way(lambda value: pathlib.Path(by_joblib(value)).read_bytes())
counts = collections.Counter()


def allowed(error):
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == 12:  # the mmap module, opendir ...
        return True
    # NumPy, imports, locks of files, and the interpreter where it makes a traceback: with pickle
    # and joblib too.
    texts = ("numpy", "import", "error return without", "NULL result", "can't allocate")
    return any(part in str(error) for part in texts)


def attempt(action, n, n_times):
    try:
        shim.arm(n, n_times, everybody)
        try:
            return action(), None
        finally:
            shim.disarm()
    except Exception as error:
        error.__traceback__ = None
        error.__context__ = None
        return None, error


def campaign():
    for value_name, value in VALUES.items():
        if everybody and name in IN_BAND and value_name in ("arrays", "blocks"):
            continue
        action, check = WAYS[name](value)
        action()
        before = Resources.settled()
        check(action(), None)
        for n_times in (1, Memory.FOR_GOOD):
            # Failing for good ends in front of the interpreter's own needs.
            if n_times > 1 and everybody:
                continue
            n, n_silent = 0, 0
            while n_silent < 3:
                result, error = attempt(action, n, n_times)
                where = (name, value_name, n, n_times, repr(error))
                n_silent = n_silent + 1 if shim.failed == 0 else 0
                if shim.failed:
                    counts["cases"] += 1
                    counts["raised"] += error is not None
                elif error is not None:
                    raise AssertionError(where)
                assert error is None or allowed(error), where
                try:
                    check(result, error)
                except AssertionError:
                    raise AssertionError(where) from None
                del result, error
                for kept in ("last_type", "last_value", "last_traceback", "last_exc"):
                    vars(sys).pop(kept, None)  # of what the interpreter could only print
                assert gc.isenabled(), where
                # A thread of Python's own may end behind the call whose start() failed.
                assert before.are_back(), (where, before, Resources())
                assert set(os.listdir(directory)) <= {"model", "sidecar"}, where
                n += 1 if long or n < 150 else 7


campaign()
campaign()
gc.collect()
first = bytes_in_use()
campaign()
gc.collect()
# The interpreter itself loses arguments where it cannot allocate a cell.
counts["grown"] = 0 if everybody else bytes_in_use() - first
print(json.dumps(counts))
