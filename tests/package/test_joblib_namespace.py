"""``from fastpersist import joblib``: joblib's names, as a script uses them, with ours in it.

The same script runs with joblib itself, and with each way to import ours.
"""

import importlib.util
import inspect
import os
import pickle
import pickletools
import subprocess
import sys

import fastpersist
import joblib as theirs
import numpy as np
import pytest
from fastpersist import joblib as ours
from helpers import run_python

IMPORTS = {
    "joblib": "import joblib",
    "from": "from fastpersist import joblib",
    "import as": "import fastpersist.joblib as joblib",
}
imports = pytest.mark.parametrize("line", IMPORTS.values(), ids=IMPORTS)

OURS = {"dump", "load", "hash", "register_compressor"}


# ---------------------------------------------------------------- names


def test_all_that_joblib_exports():
    assert set(ours.__all__) == set(theirs.__all__)
    for name in theirs.__all__:
        if name in OURS - {"hash"}:
            assert getattr(ours, name) is getattr(fastpersist, name)
        elif name == "hash":
            assert inspect.signature(ours.hash) == inspect.signature(theirs.hash)
        else:
            assert getattr(ours, name) is getattr(theirs, name)


def test_all_public_names_and_modules():
    public = [name for name in dir(theirs) if not name.startswith("_")]
    assert {"parallel", "memory", "numpy_pickle", "externals", "hashing"} <= set(public)
    assert set(public) <= set(dir(ours))
    for name in set(public) - OURS:
        assert getattr(ours, name) is getattr(theirs, name)
    assert ours.externals.loky is theirs.externals.loky
    assert ours.__version__ == theirs.__version__


def test_hash_is_ours_unless_joblibs_parameters_are_given():
    value = {"a": np.arange(3)}
    assert ours.hash(value) == fastpersist.hash(value)
    for arguments in (["md5"], ["sha1"], ["md5", True]):
        assert ours.hash(value, *arguments) == theirs.hash(value, *arguments)
    assert ours.hash(value, coerce_mmap=False) == theirs.hash(value)
    with pytest.raises(ValueError, match="hash_name"):
        ours.hash(value, hash_name="crc32")


def test_star():
    names = {}
    exec("from fastpersist.joblib import *", names)
    assert names["dump"] is fastpersist.dump
    assert names["Parallel"] is theirs.Parallel
    assert set(theirs.__all__) <= set(names)


def test_what_joblib_has_not():
    for module in (ours, theirs):
        with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
            _ = module.no_such_name
    with pytest.raises(AttributeError, match="module 'fastpersist.joblib' has no attribute"):
        _ = ours.no_such_name
    with pytest.raises(ImportError):
        exec("from fastpersist.joblib import no_such_name")


def test_there_is_no_second_joblib():
    """Not a package: below joblib's own path each of its modules would be imported once more."""
    assert not hasattr(ours, "__path__")
    with pytest.raises(ImportError):
        importlib.util.find_spec("fastpersist.joblib.parallel")
    assert not [name for name in sys.modules if name.startswith("fastpersist.joblib.")]


def test_joblib_itself_stays_as_it_is():
    assert theirs.dump.__module__ == "joblib.numpy_pickle"
    assert theirs.load.__module__ == "joblib.numpy_pickle"
    assert theirs.register_compressor.__module__ == "joblib.compressor"


# ---------------------------------------------------------------- imports


def test_who_does_not_ask_for_it_does_not_import_it():
    run_python("""
import sys
import fastpersist
from fastpersist import dump, load
assert "joblib" not in sys.modules and "fastpersist.joblib" not in sys.modules
assert not hasattr(fastpersist, "joblib")
exec("from fastpersist import *")
assert "joblib" not in sys.modules
import joblib
assert "fastpersist.joblib" not in sys.modules
""")


@pytest.mark.parametrize("line", list(IMPORTS.values())[1:])
def test_without_joblib(line):
    printed = run_python(f"""
import sys
sys.modules["joblib"] = None
import fastpersist
try:
    {line}
except ImportError as error:
    print(error.name, "|", error)
print(fastpersist.loads(fastpersist.dumps([1])))
try:
    {line}
except ImportError as error:
    print("again")
""")
    first, second, third = printed.splitlines()
    assert first == "joblib | fastpersist.joblib needs the package joblib: pip install joblib"
    assert (second, third) == ("[1]", "again")


# ---------------------------------------------------------------- pickles


def globals_of(data):
    """What a pickle names."""
    strings, found = [], []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            found.append(argument)
        elif isinstance(argument, str):
            strings.append(argument)
        elif opcode.name == "STACK_GLOBAL":
            found.append(" ".join(strings[-2:]))
    return found


@pytest.mark.parametrize("name", sorted(set(theirs.__all__) - OURS))
def test_pickles_name_joblib(name):
    """Where joblib's own object is meant: who reads them needs no fastpersist."""
    for value in (getattr(ours, name), [getattr(ours, name)]):
        for dumps in (pickle.dumps, fastpersist.dumps):
            data = dumps(value)
            assert globals_of(data) == globals_of(pickle.dumps(getattr(theirs, name)))
            assert b"fastpersist" not in data


def test_pickles_of_what_it_makes(tmp_path):
    def values(module):
        yield module.delayed(len)([1])
        yield module.Parallel(n_jobs=2).n_jobs
        yield module.Memory(tmp_path / "cache", verbose=0)
        yield module.hash(np.arange(5), "md5")

    for one, other in zip(values(ours), values(theirs), strict=True):
        assert pickle.dumps(one) == pickle.dumps(other)
        assert b"fastpersist" not in fastpersist.dumps(one)


def test_pickles_of_ours_name_fastpersist():
    for name in OURS:
        data = pickle.dumps(getattr(ours, name))
        module = "fastpersist.joblib" if name == "hash" else "fastpersist"
        assert globals_of(data) == [f"{module} {name}"]
        assert pickle.loads(data) is getattr(ours, name)


# ---------------------------------------------------------------- a script

SCRIPT = """
import os, sys, warnings
import numpy as np
{line}

folder = sys.argv[1]
memory = joblib.Memory(os.path.join(folder, "cache"), verbose=0)
calls = os.path.join(folder, "calls")


@memory.cache
def slow(n, scale=1.0):
    with open(calls, "a") as file:
        file.write("x")
    return np.arange(n) * scale


def fit(seed, data):
    rng = np.random.default_rng(seed)
    return {{"seed": seed, "weights": rng.standard_normal(5) + data.mean(), "pid": os.getpid()}}


def load_and_add(path, n):
    return joblib.load(path)["array"][:3] + n


def dump_there(path, n):
    joblib.dump({{"n": n, "array": np.arange(n)}}, path, compress=3)
    return joblib.hash(joblib.load(path)["array"], "md5")


if __name__ == "__main__":
    data = np.arange(300_000.0)
    slow(10), slow(10), slow(10, scale=2.0)
    print("calls", os.path.getsize(calls))

    for keywords in ({{"n_jobs": 2}}, {{"n_jobs": 2, "backend": "threading"}},
                     {{"n_jobs": 1}}, {{"n_jobs": 2, "max_nbytes": "1K", "mmap_mode": "r"}}):
        models = joblib.Parallel(**keywords)(joblib.delayed(fit)(i, data) for i in range(4))
        print([m["seed"] for m in models], [round(float(m["weights"].sum()), 6) for m in models])

    path = os.path.join(folder, "model.pkl")
    print([os.path.basename(name) for name in
           joblib.dump({{"array": data, "models": [m["weights"] for m in models]}}, path)])
    again = joblib.load(path)
    print(joblib.hash(again["array"]) == joblib.hash(data), sorted(again))
    mapped = joblib.load(path, mmap_mode="r")
    print(type(mapped["array"]).__name__)

    # In loky's workers: functions of this script, which use the name joblib.
    sums = joblib.Parallel(n_jobs=2)(joblib.delayed(load_and_add)(path, i) for i in range(3))
    print([s.tolist() for s in sums])
    means = joblib.Parallel(n_jobs=2)(joblib.delayed(fit)(i, mapped["array"]) for i in range(2))
    print([round(float(m["weights"].sum()), 6) for m in means])
    hashes = joblib.Parallel(n_jobs=2)(
        joblib.delayed(dump_there)(os.path.join(folder, f"part{{i}}.gz"), i) for i in range(3))
    print(hashes)
    print([joblib.load(os.path.join(folder, f"part{{i}}.gz"))["n"] for i in range(3)])
    print(joblib.Parallel(n_jobs=2)([joblib.delayed(joblib.hash)([i], "md5") for i in range(2)]))
    print(joblib.Parallel(n_jobs=2)([joblib.delayed(joblib.load)(path) for i in range(1)])[0]
          ["array"].sum())
    print([os.path.basename(p[0]) for p in joblib.Parallel(n_jobs=2)(
        [joblib.delayed(joblib.dump)([i], os.path.join(folder, f"d{{i}}")) for i in range(2)])])

    with joblib.parallel_config(backend="threading", n_jobs=2):
        print(joblib.effective_n_jobs(), joblib.Parallel()(joblib.delayed(abs)(-i) for i in (1, 2)))
    print(joblib.cpu_count() >= 1, joblib.__version__.count("."))
    print(joblib.parallel.Parallel is joblib.Parallel, joblib.externals.loky.__name__)
    memory.clear(warn=False)
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the script prints with joblib."""
    return script_output(IMPORTS["joblib"], tmp_path_factory.mktemp("theirs"))


def script_output(line, folder):
    path = folder / "script.py"
    path.write_text(SCRIPT.format(line=line))
    done = subprocess.run(
        [sys.executable, path, folder], capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("line", list(IMPORTS.values())[1:])
def test_a_script(line, expected, tmp_path):
    assert script_output(line, tmp_path) == expected
    for name in ("model.pkl", "part2.gz", "d1"):
        assert theirs.load(tmp_path / name)
    with open(tmp_path / "model.pkl", "rb") as file:
        assert pickle.load(file)["models"]


@imports
def test_the_registry_is_ours(line):
    """A compressor of joblib's kind, by the namespace's own names."""
    run_python(f"""
import bz2, io
{line}
from joblib.compressor import CompressorWrapper
joblib.register_compressor("own", CompressorWrapper(bz2.BZ2File, b"BZ", ".own"), force=True)
file = io.BytesIO()
joblib.dump([1], file, compress=("own", 3))
file.seek(0)
assert joblib.load(file) == [1]
""")


# ---------------------------------------------------------------- type checkers

TYPED = """
from typing import Any

from fastpersist import joblib
import fastpersist.joblib as joblib2
from fastpersist.joblib import Memory, Parallel, delayed


def square(n: int) -> int:
    return n * n


memory = joblib.Memory("cache")


@memory.cache
def slow(n: int) -> int:
    return n


def make(n_jobs: int) -> joblib.Parallel:
    return joblib.Parallel(n_jobs=n_jobs)


results = joblib.Parallel(n_jobs=2)(joblib.delayed(square)(i) for i in range(3))
more: list[Any] = Parallel()(delayed(square)(i) for i in range(3))
names: list[str] | None = joblib.dump(results, "file", compress=("gzip", 3))
value = joblib.load("file", mmap_mode="r")
text: str = joblib.hash(value)
version: str = joblib.__version__
number: int = joblib2.cpu_count()
joblib.parallel.Parallel
store: type[Memory] = joblib.memory.Memory
with joblib.parallel_config(backend="threading"):
    pass
"""


def test_mypy(tmp_path):
    pytest.importorskip("mypy")
    path = tmp_path / "typed.py"
    path.write_text(TYPED)
    cache = ["--cache-dir", str(tmp_path / "cache"), "--config-file", os.devnull]
    command = [sys.executable, "-m", "mypy", *cache, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    path.write_text(TYPED + '\njoblib.dump(1, "file", compres=3)\njoblib.load()\n')
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.count("error:") == 2, "ours are typed"
