"""Packages that run in other versions than a file was saved with: load(environment=)."""

import bz2
import functools
import inspect
import io
import json
import os
import pickle
import sys
import types
import warnings

import fastpersist
import numpy as np
import pytest
import sample_classes as s
from fastpersist import (
    CorruptFileError,
    EnvironmentMismatchError,
    EnvironmentMismatchWarning,
    _environment,
)
from helpers import file_bytes, run_python

forge = pytest.importorskip("forged_files", reason="needs the package xxhash")

NAMES_NUMPY = b"\x8c\x05numpy\x8c\x07ndarray\x93"


@pytest.fixture
def version(monkeypatch):
    """Sets the version of the module `sample_classes`, which nobody has installed."""
    # Takes seconds, once in a process: all files of all packages are gone through.
    monkeypatch.setattr(_environment, "_installed_distributions", functools.cache(dict))

    def change(text):
        monkeypatch.setattr(s, "__version__", text, raising=False)

    return change


def saved_in(tmp_path):
    """A dump of every kind that load() takes, and how it is loaded."""
    value = [s.Plain(), np.arange(20_000)]
    path = tmp_path / "plain"
    fastpersist.dump(value, path)
    data = path.read_bytes()
    yield "path", lambda **k: fastpersist.load(path, **k)
    yield "bytes path", lambda **k: fastpersist.load(os.fsencode(path), **k)
    for mode in ("r", "c"):
        yield f"map {mode}", lambda m=mode, **k: fastpersist.load(path, mmap_mode=m, **k)

    def written(**keywords):
        copy = tmp_path / "copy"
        copy.unlink(missing_ok=True)
        copy.write_bytes(data)
        return fastpersist.load(copy, mmap_mode="r+", **keywords)

    yield "map r+", written
    yield "file object", lambda **k: fastpersist.load(io.BytesIO(data), **k)
    for name in ("zlib", "gzip", "bz2", "xz", "lz4"):
        compressed = tmp_path / name
        fastpersist.dump(value, compressed, compress=name)
        yield name, lambda c=compressed, **k: fastpersist.load(c, **k)
        raw = compressed.read_bytes()
        yield f"{name} object", lambda r=raw, **k: fastpersist.load(io.BytesIO(r), **k)
    main, second = tmp_path / "main", tmp_path / "second"
    fastpersist.dump(value, main, sidecar=second)
    yield "pair", lambda **k: fastpersist.load(main, sidecar=second, **k)
    yield "mapped pair", lambda **k: fastpersist.load(main, sidecar=second, mmap_mode="r", **k)

    def pair_of_objects(**keywords):
        parts = io.BytesIO(main.read_bytes()), io.BytesIO(second.read_bytes())
        return fastpersist.load(parts[0], sidecar=parts[1], **keywords)

    yield "pair of objects", pair_of_objects
    small = tmp_path / "small"
    fastpersist.dump(s.Plain(), small)
    yield "small", lambda **k: fastpersist.load(small, **k)

    def opened(**keywords):
        with open(path, "rb") as file:
            return fastpersist.load(file, **keywords)

    yield "mapped file object", lambda **k: opened(mmap_mode="r", **k)


def test_each_way_of_loading_warns_once_and_at_the_callers_line(tmp_path, version):
    version("1.2.3")
    ways = dict(saved_in(tmp_path))
    for load in ways.values():
        load()
    version("1.3.0")
    for name, load in ways.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load()
        assert [w.category for w in caught] == [EnvironmentMismatchWarning], name
        warning = caught[0]
        assert warning.message.mismatches == (("sample_classes", "1.2.3", "1.3.0", "minor"),)
        assert warning.filename == __file__, name
        load(environment="ignore")
        with pytest.raises(EnvironmentMismatchError) as error:
            load(environment="raise")
        assert error.value.mismatches == warning.message.mismatches, name
        version("1.2.3")
        load(environment="raise")
        version("1.3.0")


@pytest.mark.parametrize(
    "saved, running, grade",
    [
        ("1.2.3", "1.2.3", None),
        ("1.2.3", "1.2.4", "patch"),
        ("1.2.3", "1.2.3rc1", "patch"),
        ("1.2", "1.2.0", "patch"),
        ("2.1.0+cu118", "2.1.0", "patch"),
        ("1.2.3", "1.3.3", "minor"),
        ("1", "1.1", "minor"),
        ("1.9", "1.10", "minor"),
        ("0.24.2", "0.25.0", "minor"),
        ("1.2.3", "2.2.3", "major"),
        ("2024.1", "1!1.0", "major"),
        ("1.2", "unknown", "major"),
        ("odd", "other", "major"),
        ("1" * 5000, "1", "major"),
        ("v1.2", "1.2", "patch"),
    ],
)
def test_grades(saved, running, grade, version):
    data = forge.dump(environment=json.dumps({"packages": {"sample_classes": saved}}).encode())
    version(running)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fastpersist.load(io.BytesIO(data))
    assert len(caught) == (grade in ("minor", "major"))
    found = _environment.differences(json.dumps({"packages": {"sample_classes": saved}}).encode())
    assert [row.grade for row in found] == ([] if grade is None else [grade])


def test_the_table_and_the_line_for_pip(monkeypatch, version):
    environment = {
        "packages": {
            "numpy": "0.1.2",
            "sample_classes": "1.0+local",
            "sklearn": "0.3",
            "not_to_be_found": "7.1",
        },
        "python": "3.1.4",
    }
    version("1.0.7")
    monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
    sys.modules["sklearn"].__version__ = "1.9"
    with pytest.warns(EnvironmentMismatchWarning) as caught:
        fastpersist.load(io.BytesIO(forge.dump(environment=json.dumps(environment).encode())))
    lines = str(caught[0].message).splitlines()
    assert lines[0] == "the file was saved with other versions:"
    assert [line.split() for line in lines[1:-1]] == [
        ["saved", "with", "running"],
        ["not_to_be_found", "7.1", "none", "missing"],
        ["numpy", "0.1.2", np.__version__, "major"],
        ["sklearn", "0.3", "1.9", "major"],
        ["sample_classes", "1.0+local", "1.0.7", "patch"],
        ["python", "3.1.4", sys.version.split()[0]],
    ]
    assert lines[-1] == (
        "To get them: pip install not_to_be_found==7.1 numpy==0.1.2 sample_classes==1.0 "
        "scikit-learn==0.3"
    )


def test_an_installed_package_that_is_not_imported_is_looked_up():
    code = """
import io, json, sys
from importlib import metadata
import fastpersist, forged_files
assert "joblib" not in sys.modules and "importlib.metadata" in sys.modules
def load(version):
    text = json.dumps({"packages": {"joblib": version}}, separators=(",", ":")).encode()
    fastpersist.load(io.BytesIO(forged_files.dump(environment=text)), environment="raise")
load(metadata.version("joblib"))
assert "joblib" not in sys.modules
try:
    load("0.1")
except fastpersist.EnvironmentMismatchError as error:
    print(error.mismatches[0][2] == metadata.version("joblib"))
"""
    assert run_python(code).strip() == "True"


def test_python_alone_is_no_reason_unless_it_is_another_language():
    def load(python):
        text = json.dumps({"packages": {}, "python": python}, separators=(",", ":")).encode()
        fastpersist.load(io.BytesIO(forge.dump(environment=text)))

    load("3.4.0")
    load("3.99.0")
    with pytest.warns(EnvironmentMismatchWarning, match="python  4.0.0"):
        load("4.0.0")


def test_a_file_object_or_path_without_an_environment_says_nothing(tmp_path, monkeypatch):
    data = pickle.dumps(np.arange(3))
    monkeypatch.setattr(np, "__version__", "0.0")
    for environment in ("warn", "raise", "ignore"):
        fastpersist.load(io.BytesIO(data), environment=environment)
        fastpersist.load(io.BytesIO(forge.dump()), environment=environment)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1]",
        b"nonsense",
        b"\xff\xfe",
        b'{"packages":[]}',
        b'{"packages":{"numpy":1}}',
        b'{"packages":{"numpy":null},"python":3}',
        b'{"packages":{"numpy":"1"',
        b'{"packages":{"numpy"',
        b'{"packages":{"numpy',
        b'{"packages":{',
        b'{"python":"',
        b'{"python":"3',
        b"[" * 100_000,
        b'{"packages":{"a":' + b"9" * 5000 + b"}}",
    ],
)
def test_an_environment_that_is_none_says_nothing(text):
    assert fastpersist.load(io.BytesIO(forge.dump(environment=text)), environment="raise") is None


@pytest.mark.parametrize(
    "name, saved",
    [
        ("numpy", "1.0\n  forged  line\x1b[31m"),
        ("numpy; rm -rf ~", "1.0"),
        ("numpy", "1.0 --index-url=x"),
        ("--index-url=x", "1.0"),
        ("../../etc", "1"),
        ("num\u202epy", "1.0"),
        ("\ud800", "1.0"),
        ("x" * 1_000_000, "1.0"),
        ("numpy", "9" * 1_000_000),
        ("a\x00b", "1.0"),
        ("", "1.0"),
    ],
)
def test_names_and_versions_of_a_file_are_shown_escaped_and_cut(name, saved):
    text = json.dumps({"packages": {name: saved}, "python": "3.0\x07"}).encode()
    with pytest.warns(EnvironmentMismatchWarning) as caught:
        fastpersist.load(io.BytesIO(forge.dump(environment=text)))
    message = str(caught[0].message)
    assert len(message) < 2000
    assert all(c.isprintable() or c == "\n" for c in message)
    pip = [line for line in message.splitlines() if "pip install" in line]
    assert all(";" not in line and " -" not in line and "/" not in line for line in pip)
    assert len(message.splitlines()) <= 5
    with pytest.raises(ModuleNotFoundError) as error:
        fastpersist.load(
            io.BytesIO(forge.dump(environment=text, opcodes=b"\x8c\x04nono\x8c\x01x\x93"))
        )
    assert all(c.isprintable() or c == "\n" for note in error.value.__notes__ for c in note)


def test_a_file_with_many_packages_makes_a_short_table():
    text = json.dumps({"packages": {f"no_such_{i}": "1" for i in range(100_000)}}).encode()
    with pytest.warns(EnvironmentMismatchWarning) as caught:
        fastpersist.load(io.BytesIO(forge.dump(environment=text)))
    assert len(str(caught[0].message).splitlines()) < 40


def test_raise_builds_nothing_where_imported_packages_tell(version):
    version("1.0")
    data = file_bytes(s.Plain())
    version("2.0")
    calls = []
    sys.modules["calls_when_imported"] = module = types.ModuleType("calls_when_imported")
    module.call = lambda: calls.append(1)
    try:
        text = b'{"packages":{"sample_classes":"1.0"}}'
        opcodes = b"\x8c\x13calls_when_imported\x8c\x04call\x93)R"
        forged = forge.dump(environment=text, opcodes=opcodes)
        with pytest.raises(EnvironmentMismatchError):
            fastpersist.load(io.BytesIO(forged), environment="raise")
        assert calls == []
        with pytest.warns(EnvironmentMismatchWarning):
            fastpersist.load(io.BytesIO(forged))
        assert calls == [1]
    finally:
        del sys.modules["calls_when_imported"]
    with pytest.raises(EnvironmentMismatchError):
        fastpersist.load(io.BytesIO(data), environment="raise")


def test_raise_leaves_the_hashes_of_a_file_that_was_to_be_mapped_for_writing(tmp_path, version):
    version("1.0")
    path = tmp_path / "file"
    fastpersist.dump([s.Plain(), np.arange(10)], path)
    version("2.0")
    with pytest.raises(EnvironmentMismatchError):
        fastpersist.load(path, mmap_mode="r+", environment="raise")
    fastpersist.verify(path)


def test_raise_also_finds_what_the_file_itself_imports(tmp_path):
    (tmp_path / "late_package.py").write_text("__version__ = '1.0'\nclass Class: pass")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import fastpersist
path = sys.argv[1] + "/file"
if sys.argv[2] == "dump":
    import late_package
    fastpersist.dump(late_package.Class(), path)
else:
    try:
        fastpersist.load(path, environment="raise")
    except fastpersist.EnvironmentMismatchError as error:
        print(error.mismatches)
"""
    run_python(code, tmp_path, "dump")
    assert run_python(code, tmp_path, "load") == ""
    (tmp_path / "late_package.py").write_text("__version__ = '1.1.0'\nclass Class: pass")
    assert run_python(code, tmp_path, "load").strip() == str(
        (("late_package", "1.0", "1.1.0", "minor"),)
    )


def test_damage_goes_before_versions(version):
    version("1.0")
    data = bytearray(file_bytes([s.Plain(), bytes(100_000)]))
    version("2.0")
    data[50_000] ^= 1
    for environment in ("warn", "raise"):
        with pytest.raises(CorruptFileError):
            fastpersist.load(io.BytesIO(bytes(data)), environment=environment)
    packed = bytearray(bz2.compress(file_bytes(s.Plain())))
    packed[-1] ^= 0xFF
    with pytest.raises(CorruptFileError), warnings.catch_warnings():
        warnings.simplefilter("ignore", EnvironmentMismatchWarning)
        fastpersist.load(io.BytesIO(bytes(packed)))


def test_a_filter_makes_the_warning_an_error_and_the_value_goes(version):
    version("1.0")
    data = file_bytes(s.Plain())
    version("2.0")
    with pytest.raises(EnvironmentMismatchWarning), warnings.catch_warnings():
        warnings.simplefilter("error")
        fastpersist.load(io.BytesIO(data))


def test_the_error_is_what_a_load_that_fails_raises_and_can_be_pickled(version):
    version("1.0")
    data = file_bytes(s.Plain())
    version("2.0")
    with pytest.raises(pickle.UnpicklingError) as caught:
        fastpersist.load(io.BytesIO(data), environment="raise")
    error = caught.value
    assert not isinstance(error, (CorruptFileError, Warning))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.mismatches) == (str(error), error.mismatches)
    assert type(error).__module__ == "fastpersist"


@pytest.mark.parametrize("odd", ["", "error", None, True, 1, ["warn"]])
def test_what_environment_may_be(odd):
    with pytest.raises(ValueError, match="environment must be"):
        fastpersist.load(io.BytesIO(file_bytes(1)), environment=odd)
    assert inspect.signature(fastpersist.load).parameters["environment"].default == "warn"


def test_a_load_without_a_difference_looks_nothing_up(version):
    code = """
import io, sys
import fastpersist, numpy as np
file = io.BytesIO()
fastpersist.dump(np.arange(3), file)
for environment in ("warn", "raise"):
    file.seek(0)
    fastpersist.load(file, environment=environment)
assert "fastpersist._environment" not in sys.modules
"""
    run_python(code)


@pytest.mark.models
def test_scikit_learns_own_warnings_stay_with_the_users_filters(monkeypatch):
    sklearn = pytest.importorskip("sklearn")
    from sklearn.exceptions import InconsistentVersionWarning
    from sklearn.linear_model import Ridge

    monkeypatch.setattr(sklearn, "__version__", "0.1.0")
    monkeypatch.setattr(sys.modules["sklearn.base"], "__version__", "0.1.0")
    data = file_bytes(Ridge())
    monkeypatch.undo()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fastpersist.load(io.BytesIO(data))
    kinds = sorted(w.category.__name__ for w in caught)
    assert kinds == ["EnvironmentMismatchWarning", "InconsistentVersionWarning"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        before = list(warnings.filters)
        fastpersist.load(io.BytesIO(data))
        assert warnings.filters == before
    assert [w.category for w in caught] == [EnvironmentMismatchWarning]
