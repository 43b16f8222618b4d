"""Of the files that a test writes: the names that a traced load asks for, beside what `inspect`
lists.

Looked at are the files that are left at the end of a test, and the bytes that `note` was given.
In a child, as such a load runs what the file says: it has the test's modules, and may end.
"""

import copyreg
import io
import json
import os
import pickle
import signal
import sys
import tempfile
import warnings

MAX_BYTES = 8 << 20
_MAX_DECODED = 64 << 20
_SECONDS = 60
_MEMORY = 4 << 30


_noted = None
_MAX_NOTED = 64 << 20


def begin():
    """From here on, `note` keeps what it is given."""
    import fastpersist.report.looking  # noqa: F401  (once, not in every child)

    global _noted
    _noted = {}


def note(data):
    if (
        _noted is not None
        and len(data) < MAX_BYTES
        and sum(map(len, _noted)) + len(data) < _MAX_NOTED
    ):
        _noted[bytes(data)] = True


def compare(directory):
    """How many files were compared to their end, to where a load fails, and not; differences."""
    global _noted
    noted, _noted = _noted, None
    with tempfile.TemporaryDirectory() as other:
        for i, data in enumerate(noted or ()):
            with open(os.path.join(other, f"noted{i}"), "wb") as file:
                file.write(data)
        paths = list(_files(other))
        if directory is not None:
            paths += _files(directory)
        return _compare(paths)


def _compare(paths):
    if not paths:
        return None
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _restrict()
            for path in paths:
                os.write(writer, json.dumps(_compared(path)).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        found = [json.loads(line) for line in file]
    os.waitpid(child, 0)
    out = {"differences": [text for kind, text in found if kind == "different"]}
    for kind in ("compared", "partly"):
        out[kind] = sum(1 for each, _ in found if each == kind)
    out["not"] = len(paths) - sum(map(out.get, ("compared", "partly"))) - len(out["differences"])
    return out


def _files(directory):
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.path.isfile(path) and 0 < os.path.getsize(path) < MAX_BYTES:
                    yield path
            except OSError:
                continue


def _restrict():
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_SECONDS)
    warnings.simplefilter("ignore")
    if sys.platform == "linux":
        import resource

        with open("/proc/self/statm") as file:
            n_bytes = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (n_bytes + _MEMORY, n_bytes + _MEMORY))


# ---------------------------------------------------------------- a file


def _compared(path):
    """(kind, what differs)."""
    import fastpersist

    try:
        report = fastpersist.inspect(path)
    except Exception:
        return "not", None
    if not report.dumps:
        return "not", None
    try:
        traces = list(_traces(path, report))
    except Exception:
        return "not", None  # nothing that can be decoded
    kind = "compared" if len(traces) == len(report.dumps) else "partly"
    for dump, (names, error) in zip(report.dumps, traces, strict=False):
        if error is not None:
            kind = "partly"
        wrong = _differs(dump, names, error)
        if wrong:
            return "different", f"{path}, dump {dump.number} ({dump.layout}): {wrong}"
    return kind, None


def _differs(dump, names, error):
    rows = [row for row in dump.globals if "unknown" not in row.flags]
    is_computed = any({"computed", "cut"} & set(row.flags) for row in rows)
    listed = list(dict.fromkeys(_label(row) for row in rows if row.name is not None))
    asked = list(dict.fromkeys(f"{module}.{name}" for module, name in names))
    if is_computed or not dump.complete or error is not None:
        missing = [] if is_computed else [name for name in asked if name not in listed]
        # Of what a load cannot reach the survey says what it met, or nothing.
        if error is None and not set(listed) <= set(asked) and not is_computed:
            return f"listed {listed}, asked for {asked}"
        if missing and dump.complete:
            return f"asked for and not listed: {missing} (the load: {error})"
        return None
    return None if listed == asked else f"listed {listed}, asked for {asked}"


def _label(row):
    if "extension" in row.flags:
        return ".".join(copyreg._inverted_registry[int(row.name)])
    return row.spelled or f"{row.module}.{row.name}"


# ---------------------------------------------------------------- traced loads


class _Traced(pickle.Unpickler):
    names = None

    def find_class(self, module, name):
        self.names.append((module, name))
        return super().find_class(module, name)

    def persistent_load(self, pid):
        return None


def _traces(path, report):
    """The names of each dump, and the exception at which its load ended; after one, no more."""
    if report.dumps[0].layout == "joblib":
        yield _joblib_trace(path)
        return
    file = _decoded(path, report.codec)
    for _ in report.dumps:
        unpickler = _Traced(file)
        unpickler.names = names = []
        try:
            unpickler.load()
        except Exception as error:
            yield names, repr(error)
            return
        yield names, None


def _decoded(path, codec):
    with open(path, "rb") as file:
        if codec is None:
            return io.BytesIO(file.read())
        from fastpersist.codecs.registry import COMPRESSORS

        data = COMPRESSORS[codec].decompressor_file(file).read(_MAX_DECODED)
        return io.BytesIO(data)


def _joblib_trace(path):
    import joblib.numpy_pickle

    names = []

    class Unpickler(joblib.numpy_pickle.NumpyUnpickler):
        def find_class(self, module, name):
            names.append((module, name))
            return super().find_class(module, name)

    def load(file, **keywords):
        unpickler = _Traced(file, **keywords)
        unpickler.names = names
        return unpickler.load()

    kept = joblib.numpy_pickle.NumpyUnpickler, joblib.numpy_pickle.pickle.load
    joblib.numpy_pickle.NumpyUnpickler, joblib.numpy_pickle.pickle.load = Unpickler, load
    try:
        joblib.load(path)
    except Exception as error:
        return names, repr(error)
    finally:
        joblib.numpy_pickle.NumpyUnpickler, joblib.numpy_pickle.pickle.load = kept
    return names, None
