"""`inspect`: what is in a file, of every kind, as records, text and JSON."""

import copy
import gzip
import io
import json
import os
import pickle

import array_values
import fastpersist
import forged_files as forge
import joblib
import numpy as np
import pytest
import sample_classes
import values
from fastpersist import CorruptFileError, TruncatedFileError
from fastpersist.report import words
from fastpersist.report.file_report import FileReport
from helpers import NIGHT, PROTOCOLS, SANITIZED, file_bytes, run_python

CODECS = ["zlib", "gzip", "bz2", "lzma", "xz", "lz4"]


def model():
    return {
        "name": "text" * 5000,
        "parts": [{"weights": np.arange(4000.0) + i} for i in range(3)],
        "small": np.arange(3, dtype=">i2"),
        "plain": sample_classes.Plain(a=[1, 2], b=np.arange(5)),
        "objects": np.array([None, "x"], object),
    }


ARRAYS = [
    "['parts'][0]['weights']",
    "['parts'][1]['weights']",
    "['parts'][2]['weights']",
    "['small']",
    "['plain'].b",
    "['objects']",
]


def written(value):
    """The bytes of files with the value, by how they were written."""
    out = {"ours": file_bytes(value)}
    for protocol in PROTOCOLS:
        out[f"protocol {protocol}"] = pickle.dumps(value, protocol)
    for name in CODECS:
        out[f"ours {name}"] = file_bytes(value, compress=name)
    file = io.BytesIO()
    joblib.dump(value, file)
    out["joblib"] = file.getvalue()
    out["joblib zlib"] = gzip.compress(file.getvalue())
    return out


def check_sums(report):
    """By path they add up to the file, to the byte."""
    rows = report.tree
    assert len(rows) <= 1000
    assert rows[0].n_bytes == report.n_bytes_decoded
    assert sum(row.own_bytes for row in rows) == report.n_bytes_decoded
    for i, row in enumerate(rows):
        assert row.own_bytes >= 0 and row.n_bytes >= 0
        assert row.parent is None if i == 0 else row.parent < i
        if i:
            assert row.depth == rows[row.parent].depth + 1
    below = [0] * len(rows)
    for row in rows[1:]:
        below[row.parent] += row.n_bytes
    assert all(row.n_bytes == own + row.own_bytes for row, own in zip(rows, below, strict=True))
    for dump in report.dumps:
        assert sum(dump.sums.values()) == dump.n_bytes == sum(part.n_bytes for part in dump.parts)
    total = sum(dump.n_bytes for dump in report.dumps) + report.n_bytes_behind
    assert total == report.n_bytes_decoded
    return report


def check_shown(report, width=80):
    """Every form, for every report."""
    text = str(report) if width == 80 else report.to_text(width)
    for line in text.split("\n"):
        assert words.columns(line) <= width and line.isprintable(), line
    assert json.loads(json.dumps(report.to_dict(), ensure_ascii=False).encode()) == (
        report.to_dict()
    )
    assert "\n" not in repr(report)
    assert report._repr_html_().startswith("<div")
    return text


WAYS = written(model())


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_file(way, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(WAYS[way])
    report = check_sums(fastpersist.inspect(path))
    assert report.damage is None and report.complete and report.faults == ()
    assert report.n_bytes == len(WAYS[way])
    if report.codec is None:
        assert report.n_bytes_decoded == report.n_bytes
    assert report.layout == ("fastpersist" if way.startswith("ours") else way.split()[0]).replace(
        "protocol", "pickle"
    )
    assert sorted(array.path for array in report.arrays) == sorted(ARRAYS)
    assert [leaf.path for leaf in report.leaves] == ["['name']"]
    for array in report.arrays:
        if array.dtype == "object":
            with pytest.raises(ValueError, match="objects"):
                array.read()
            continue
        value = eval("model()" + array.path)
        assert array.shape == value.shape and np.dtype(array.dtype) == value.dtype
        assert array.n_bytes == value.nbytes
        assert (array.read() == value).all()
    hashed = way.startswith("ours")
    assert {dump.hashes for dump in report.dumps} == {"valid" if hashed else "none"}
    assert (report.environment is not None) == hashed
    check_shown(report)
    check_shown(report, 50)
    with open(path, "rb") as file:
        other = fastpersist.inspect(file)
        check_sums(other)
        assert [a.path for a in other.arrays] == [a.path for a in report.arrays]
        first = next(a for a in other.arrays if a.path == ARRAYS[0])
        assert (first.read() == np.arange(4000.0)).all()


def test_sums_of_many_values():
    made = {**values.shared_and_cyclic(), **values.batches()}
    for value in (values.leaf_values(), *(make() for make in made.values())):
        if value is not None:
            for data in (file_bytes(value), pickle.dumps(value, 2), pickle.dumps(value, 4)):
                check_sums(fastpersist.inspect(io.BytesIO(data)))


def test_sums_and_text_of_every_array():
    for name, make in array_values.arrays().items():
        for data in (file_bytes([make()]), pickle.dumps([make()], 2)):
            report = check_sums(fastpersist.inspect(io.BytesIO(data)))
            assert [a.path for a in report.arrays] == ["[0]"], name
            check_shown(report)


def test_json_has_one_schema(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump(model(), path)
    found = fastpersist.inspect(path).to_dict()
    assert list(found) == [
        "schema", "name", "n_bytes", "codec", "n_bytes_decoded", "n_bytes_read",
        "n_bytes_behind", "behind", "complete", "damage", "dumps", "tree",
    ]  # fmt: skip
    assert found["schema"] == 1
    assert list(found["dumps"][0]) == [
        "number", "offset", "n_bytes", "n_bytes_read", "layout", "protocol", "n_opcodes",
        "n_frames", "n_buffers", "complete", "hashes", "hashes_compared", "environment",
        "second_file_buffers", "second_file_bytes", "sums", "parts", "globals", "arrays",
        "leaves", "equal", "odd", "damage",
    ]  # fmt: skip
    assert list(found["dumps"][0]["arrays"][0]) == [
        "path", "dtype", "shape", "order", "offset", "n_bytes", "kind", "stored", "dump",
    ]  # fmt: skip
    assert list(found["dumps"][0]["globals"][0]) == [
        "module", "name", "spelled", "use", "n_called", "n_class", "n_built", "n_argument",
        "n_fetched", "path", "flags", "dump",
    ]  # fmt: skip
    assert list(found["tree"][0]) == [
        "path", "step", "parent", "depth", "n_bytes", "own_bytes", "kind", "label", "colour",
        "n_hidden",
    ]  # fmt: skip
    assert json.dumps(fastpersist.inspect(path).to_dict()) == json.dumps(found)


def test_several_dumps(tmp_path):
    path = tmp_path / "file"
    parts = [[np.arange(3000) + i, np.arange(3) + i] for i in range(3)]
    for data, layout in (
        (b"".join(map(file_bytes, parts)), "fastpersist"),
        (b"".join(map(pickle.dumps, parts)), "pickle"),
        (gzip.compress(b"".join(map(file_bytes, parts))), "fastpersist"),
    ):
        path.write_bytes(data)
        report = check_sums(fastpersist.inspect(path))
        assert [dump.layout for dump in report.dumps] == [layout] * 3
        assert len(report.arrays) == 6 and len(report.arrays[1:3]) == 2
        for array in report.arrays:
            i = int(array.path[1])
            assert (array.read() == parts[array.dump][i]).all()
        assert "3 dumps" in check_shown(report)


def test_what_stands_behind_a_pickle(tmp_path):
    path = tmp_path / "file"
    data = pickle.dumps([np.arange(10)])
    for behind in (b"\0" * 100, b"\x80\x04]"):
        for whole in (data + behind, gzip.compress(data + behind)):
            path.write_bytes(whole)
            report = check_sums(fastpersist.inspect(path))
            assert len(report.dumps) == 1 and report.damage is None
            assert report.n_bytes_behind == len(behind)
            assert report.behind.startswith("no whole pickle")
            assert "behind the last dump" in check_shown(report)


def test_pairs(tmp_path):
    main, second = tmp_path / "main", tmp_path / "second"
    fastpersist.dump([np.arange(5000)], main, sidecar=second)
    report = check_sums(fastpersist.inspect(main))
    assert report.dumps[0].second_file_bytes == os.path.getsize(second)
    assert report.arrays[0].stored == "buffer"
    assert "a second file holds 1 buffer" in check_shown(report)
    other = fastpersist.inspect(second)
    assert other.layout == "sidecar" and other.dumps == ()
    check_sums(other)
    check_shown(other)


def test_void_hashes(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([np.arange(5000)], path)
    mapped = fastpersist.load(path, mmap_mode="r+")
    mapped[0][0] = 7
    del mapped
    report = fastpersist.inspect(path)
    assert report.dumps[0].hashes == "void" and report.damage is None
    assert "void" in check_shown(report)


@pytest.mark.parametrize("way", WAYS)
def test_damaged_files_are_described_up_to_the_damage(way, tmp_path):
    path = tmp_path / "file"
    data = WAYS[way]
    for n in (len(data) - 1, len(data) * 2 // 3, len(data) // 2, 40):
        path.write_bytes(data[:n])
        report = check_sums(fastpersist.inspect(path))
        assert not report.complete and report.faults
        assert report.damage.error in ("CorruptFileError", "TruncatedFileError")
        assert report.damage.offset is not None and report.damage.section
        assert "DAMAGED" in check_shown(report)
        report.save_html(tmp_path / "page.html")
        assert 'class="damage"' in (tmp_path / "page.html").read_text()


def test_a_damaged_graph_still_has_its_arrays(tmp_path):
    path = tmp_path / "file"
    data = bytearray(WAYS["ours"])
    at = bytes(data).rindex(b"parts")
    data[at] ^= 1
    path.write_bytes(data)
    report = check_sums(fastpersist.inspect(path))
    assert report.damage.section == "graph" and len(report.arrays) == len(ARRAYS)
    assert report.dumps[0].hashes == "damaged"
    with pytest.raises(CorruptFileError):
        report.arrays[0].read()


def test_checksums_of_a_codec(tmp_path):
    path = tmp_path / "file"
    value = [np.arange(1000), np.random.default_rng(0).bytes(5_000_000)]
    data = bytearray(gzip.compress(pickle.dumps(value), 1))
    data[-6] ^= 1
    path.write_bytes(data)
    report = fastpersist.inspect(path)
    assert report.damage is not None and len(report.arrays) == 1
    assert fastpersist.inspect(io.BytesIO(data)).damage is not None


def test_bad_arguments(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(EOFError):
        fastpersist.inspect(path)
    with pytest.raises(EOFError):
        fastpersist.inspect(io.BytesIO(b""))
    with pytest.raises(ValueError, match="filename"):
        fastpersist.inspect(3)
    with pytest.raises(OSError):
        fastpersist.inspect(tmp_path / "none")
    path.write_bytes(b"ZF0x10")
    with pytest.raises(ValueError, match=r"0\.10"):
        fastpersist.inspect(path)
    path.write_bytes(pickle.dumps(list(range(5000))))
    with pytest.raises(pickle.UnpicklingError, match="max_bytes"):
        fastpersist.inspect(path, max_bytes=100)
    report = fastpersist.inspect(path)
    with pytest.raises(ValueError, match="sort"):
        report.to_text(sort="colour")
    with pytest.raises(TypeError, match="FileReport"):
        report.diff({})
    with pytest.raises(TypeError, match="progress"):
        fastpersist.inspect(path, progress=3)


def test_equal_payloads(tmp_path):
    path = tmp_path / "file"
    value = [np.arange(5000), np.arange(5000), np.ones(5000, "i8"), b"x" * 9000, b"y" * 9000]
    for protocol in (3, 4):
        report = fastpersist.inspect(io.BytesIO(pickle.dumps(value, protocol)))
        (equal,) = report.equal
        assert equal.certain and equal.count == 2 and equal.n_bytes == 40_000
        assert set(equal.paths) == {"[0]", "[1]"}
        assert "1" in check_shown(report)
    fastpersist.dump(value, path)
    (equal,) = fastpersist.inspect(path).equal
    assert equal.paths == ("[0]", "[1]") and equal.certain
    assert 39.0 < 40_000 / 1024 < 39.1 and "39.1 KiB" in str(fastpersist.inspect(path))
    fastpersist.dump([np.zeros(5000), np.arange(5000.0)], path)
    assert fastpersist.inspect(path).equal == ()


def test_what_grew(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    value = model()
    fastpersist.dump(value, old)
    value["parts"][1]["weights"] = np.arange(9000.0)
    value["small"] = value["small"].astype("<i2")
    value["more"] = np.arange(20_000)
    del value["plain"]
    fastpersist.dump(value, new)
    report = fastpersist.inspect(old)
    diff = report.diff(fastpersist.inspect(new))
    by_path = {change.path: change for change in diff.sizes}
    assert by_path["['more']"].before is None and by_path["['more']"].after > 160_000
    assert by_path["['plain']"].after is None
    assert by_path["['parts'][1]['weights']"].difference > 30_000
    assert "['parts'][0]" not in by_path
    assert [change.path for change in diff.arrays] == [ARRAYS[1], "['small']"]
    assert list(diff.globals_gone) == ["sample_classes.Plain"]
    assert all(words.columns(line) <= 80 for line in str(diff).split("\n"))
    assert json.loads(json.dumps(diff.to_dict()))["schema"] == 1
    assert report.diff(fastpersist.inspect(old)).sizes == ()


def test_requirements(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([np.arange(3)], path)
    assert fastpersist.inspect(path).requirements() == [f"numpy=={np.__version__}"]
    data = b"(csklearn.base\nx\n(t\x81cos\nsystem\n(t\x81c--index-url http://x\ny\n(t\x81t."
    assert fastpersist.inspect(io.BytesIO(data)).requirements() == ["scikit-learn"]
    hostile = {
        "packages": {"numpy": "1.0 --index-url x", "a b": "1", "x\ny": "2", "good": "1.2+cpu"},
        "python": 3,
    }
    data = forge.dump(environment=json.dumps(hostile).encode())
    report = fastpersist.inspect(io.BytesIO(data))
    assert report.requirements() == ["good==1.2+cpu"]
    assert report.environment.python is None
    check_shown(report)
    for environment in (b"", b"[" * 10_000, b"[]", b"\xff", b'{"packages":[1]}'):
        report = fastpersist.inspect(io.BytesIO(forge.dump(environment=environment)))
        assert report.environment is not None and report.requirements() == []


@pytest.mark.parametrize("compress", [0, "gzip"])
def test_progress(compress, tmp_path):
    path = tmp_path / "file"
    for protocol in (4, 5):
        fastpersist.dump(list(range(300_000)), path, compress=compress, protocol=protocol)
        calls = []

        def note(done, total, calls=calls):
            calls.append((done, total))

        report = fastpersist.inspect(path, progress=note)
        n_bytes = path.stat().st_size
        assert calls[0] == (0, n_bytes) and calls[-1] == (n_bytes, n_bytes)
        assert calls == sorted(calls)
        assert report.dumps == fastpersist.inspect(path).dumps
    assert fastpersist.inspect(path, progress=True).complete

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fastpersist.inspect(path, progress=stop)


# ---------------------------------------------------------------- names

NAMES = {
    "tags": "<script>alert(1)</script>",
    "quotes": "\"'&amp;'\"",
    "controls": "a\x1b[31mb\x00c\nd\te",
    "direction": "a\u202ebc\u2066d\u200f",
    "surrogates": "a\ud800b\udc80",
    "long": "x" * 1_000_000,
    "wide": "漢字" * 60,
    "lines": "a\u2028b\x85c",
}


def named(name):
    """A pickle with the name wherever a name can be."""
    data = name.encode("utf-8", "surrogatepass")
    text = b"X" + len(data).to_bytes(4, "little") + data
    array = pickle.dumps(np.arange(3000), 4)[:-1]
    return (
        b"\x80\4}("
        + text
        + b"]"
        + text
        + text
        + b"\x93)\x81"
        + text
        + b"\x86a"
        + b"K\1"
        + (array + b"u.")
    )


@pytest.mark.parametrize("name", NAMES)
def test_names_are_cut_and_escaped(name, tmp_path):
    data = named(NAMES[name])
    path = tmp_path / "page.html"
    report = check_sums(fastpersist.inspect(io.BytesIO(data)))
    assert len(report.arrays) == 1
    text = check_shown(report)
    assert len(text) < 10_000
    report.save_html(path)
    page = path.read_text("utf-8")
    assert len(page) < 60_000
    assert "<script>alert" not in page + report._repr_html_()
    for character in "\x1b\x00\u202e\u2066\u200f\u2028\x85":
        assert character not in page + report._repr_html_()
    assert len(json.dumps(report.to_dict())) < 30_000


def test_dtypes_have_names_too(tmp_path):
    for name in NAMES.values():
        dtype = np.dtype([(name.replace("\ud800", "").replace("\udc80", ""), "f8"), ("b", "i4")])
        report = fastpersist.inspect(io.BytesIO(pickle.dumps(np.zeros(3, dtype))))
        assert report.arrays[0].dtype.startswith("record(") and len(report.arrays[0].dtype) <= 200
        check_shown(report)


# ---------------------------------------------------------------- nothing runs; bombs

WATCH = """
import io, sys, tempfile, pathlib
import fastpersist, test_survey_damage, test_report
folder = pathlib.Path(tempfile.mkdtemp())
files = []
for i, data in enumerate([*test_survey_damage.HOSTILE.values(), test_report.named("os.system")]):
    files.append(folder / str(i))
    files[-1].write_bytes(data)
def use(path):
    report = fastpersist.inspect(path)
    str(report), report.to_dict(), report._repr_html_(), report.diff(report)
    report.requirements(), list(report.globals), list(report.arrays)
    report.save_html(folder / "page.html")
    for array in report.arrays:
        try:
            array.read()
        except (ValueError, KeyError):
            pass
import numpy
warm = folder / "warm"
fastpersist.dump([numpy.arange(3)], warm)
use(warm)
warm.write_bytes(fastpersist.dumps(numpy.arange(3), 2))
use(warm)
modules, seen = set(sys.modules), []
def hook(event, arguments):
    if event == "open" and str(arguments[0]).startswith((str(folder), package)):
        return
    if event.split(".")[0] in ("import", "open", "exec", "compile", "subprocess", "pickle",
                               "ctypes", "marshal", "socket") or event == "os.system":
        seen.append((event, arguments))
package = str(pathlib.Path(fastpersist.__file__).parent)
sys.addaudithook(hook)
for path in files:
    use(path)
assert set(sys.modules) <= modules, set(sys.modules) - modules
assert not seen, seen
print(len(files))
"""


def test_nothing_of_a_hostile_file_is_run():
    assert int(run_python(WATCH)) > 15


MANY = 10_000 if SANITIZED and not NIGHT else 50_000
BOMBS = {
    "deep": b"\x80\4" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "names": b"\x80\4](" + b"".join(b"cm%d\nn\n" % i for i in range(MANY)) + b"e.",
    "arrays": pickle.dumps([np.arange(2) for _ in range(MANY * 2 // 5)]),
    "memo": b"\x80\4]\x94" + b"](h\0h\0e\x94" * MANY + b".",
    "dup": b"\x80\4](" + b"K\x012" * MANY + b"e.",
    "dumps": b"N." * (MANY // 10),
    "deep and wide": pickle.dumps([[[[np.zeros(600)] * 2] * 3] for _ in range(MANY // 25)]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_reports_of_files_that_are_large_by_design(name, tmp_path):
    report = check_sums(fastpersist.inspect(io.BytesIO(BOMBS[name])))
    check_shown(report)
    report.save_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 3_000_000
    path = tmp_path / "file"
    path.write_bytes(BOMBS[name])
    check_sums(fastpersist.inspect(path))


def test_later_versions_are_damage():
    report = fastpersist.inspect(io.BytesIO(forge.dump(version=2)))
    assert report.damage.error == "UnpicklingError" and "later version" in report.damage.message
    with pytest.raises((CorruptFileError, TruncatedFileError, pickle.UnpicklingError)):
        fastpersist.load(io.BytesIO(forge.dump(version=2)))


def test_odd_things_are_told():
    report = fastpersist.inspect(io.BytesIO(b"(cos\nsystem\nS'exit 3'\no0N."))
    assert {odd.what for odd in report.odd} >= {"OBJ"}
    assert "OBJ" in check_shown(report)


@pytest.mark.parametrize("way", ["ours", "protocol 2", "joblib", "ours lz4"])
@pytest.mark.parametrize(
    "again",
    [lambda report: pickle.loads(pickle.dumps(report)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
def test_reports_are_pickled_and_copied(way, again, tmp_path):
    """And all that is made of a report is the same of the copy; but arrays are not read."""
    value = [model(), {"k" * 5000: [b"x" * 20_000] * 2}, {(1, "a"): np.zeros(3, "U4")}]
    for _ in range(100):
        value = [value, np.zeros(2)]
    (tmp_path / "f").write_bytes(written(value)[way])
    report = fastpersist.inspect(tmp_path / "f")
    copied = again(again(report))
    assert copied == report and report == copied
    for text in (str, FileReport.to_dict, FileReport._repr_html_):
        assert text(copied) == text(report)
    assert copied.rows(50, sort="path") == report.rows(50, sort="path")
    assert copied.requirements() == report.requirements()
    for one, other in ((copied, report), (report, copied)):
        assert not one.diff(other).sizes and not one.diff(other).arrays
    if again is not copy.copy:
        assert type(copied.arrays) is tuple
        with pytest.raises(ValueError, match="pickled or copied"):
            copied.arrays[0].read()


def test_reports_of_several_dumps_and_of_damage_are_pickled(tmp_path):
    for data in (file_bytes([1]) + pickle.dumps({"a": np.ones(9)}), file_bytes(model())[:-30]):
        (tmp_path / "f").write_bytes(data)
        report = fastpersist.inspect(tmp_path / "f")
        copied = pickle.loads(pickle.dumps(report))
        assert copied == report
        assert (str(copied), copied.to_dict()) == (str(report), report.to_dict())
