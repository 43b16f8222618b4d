"""Files that hold no dump: what they are is told, and who reads them."""

import gzip
import io
import json
import pathlib
import sqlite3
import tarfile
import warnings
import zipfile

import fastpersist
import numpy as np
import pytest
from fastpersist import CorruptFileError, UntrustedError
from fastpersist.files import foreign
from helpers import file_bytes, outcome, run_command, run_python


def of_rows():
    """A file for each row of the tables: content, what it is, who reads it."""
    for offset, magic, what, reader in foreign.FORMATS:
        yield bytes(offset) + magic + bytes(100), what, reader
    for end, what, reader in foreign.MEMBERS:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("model/first", b"1")
            archive.writestr(f"model/x{end}", b"2")
        yield file.getvalue(), what, reader
    yield b"\x10" + bytes(7) + b'{"a":{"dtype":"I64"}}', "safetensors", "safetensors"
    yield b"\x08\x0a\x12\x08skl2onnx\x1a\x01", "an ONNX model", "onnx.load"
    yield b"\x72\x02\x01\0" + bytes(100), "a table of Stata", "pandas.read_stata"
    yield b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS", "git lfs pull"
    yield b"\n<!DOCTYPE html>\n<title>404</title>", "HTML", "browser"
    yield b'<?xml version="1.0"?><PMML/>', "XML", "xml.etree"
    yield b'{"learner":{}, "version": [3,1,0]}', "a model of XGBoost", "xgboost"
    for text in (b'{"a": 1}', b"[\n [1]]", b'[{"a": 1}]', b"{}", b"\xef\xbb\xbf[true]"):
        yield text, "JSON", "json.load"
    # Pickle's opcodes are letters, too: each ends in another exception.
    for text in (b"a,b\n1,2\n", b"Id,Name\n1,x\n", b"country;iso\nDE;1\n", b"Sex\tAge\nf\t3\n"):
        yield text, "a table as text", "pandas.read_csv"
    yield b",".join(b"column%d" % i for i in range(3000)) + b"\n" + b"," * 2999, "a table", "pandas"


ROWS = list(of_rows())
OTHER = "is no pickle but"


@pytest.mark.parametrize("i", range(len(ROWS)))
def test_what_a_file_is_and_who_reads_it(i, tmp_path):
    data, what, reader = ROWS[i]
    path = tmp_path / "file"
    path.write_bytes(data)
    ways = {
        "load": lambda: fastpersist.load(path),
        "bytes": lambda: fastpersist.load(str(path).encode()),
        "file": lambda: fastpersist.load(io.BytesIO(data)),
        "verify": lambda: fastpersist.verify(path),
    }
    if "before 1.6" in what:  # a pickle of a number comes first
        del ways["load"], ways["bytes"], ways["file"]
    for name, way in ways.items():
        with pytest.raises(CorruptFileError, match=OTHER) as caught:
            way()
        text = str(caught.value)
        assert what in text and reader in text, name
        assert ("the file" if name == "file" else repr(str(path))) in text.replace("b'", "'")
        assert (caught.value.section, caught.value.offset) == ("another format", 0)
    if "load" in ways:
        damage = fastpersist.inspect(path).damage
        assert what in damage.message and damage.section == "another format"
        assert "DAMAGED" not in str(fastpersist.inspect(path))


def test_files_that_others_write(tmp_path):
    array = np.arange(6.0)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    (tmp_path / "a.json").write_text(json.dumps({"a": [1, 2]}, indent=1))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.npy")
    sqlite3.connect(tmp_path / "a.db").execute("create table a (b)").connection.close()
    for name, reader in (
        ("a.npy", "numpy.load"),
        ("a.npz", "numpy.load"),
        ("a.json", "json.load"),
        ("a.csv.gz", "compressed with gzip: .*pandas.read_csv"),
        ("a.tar.gz", "compressed with gzip: .*tarfile.open"),
        ("a.db", "sqlite3.connect"),
    ):
        for way in (fastpersist.load, fastpersist.verify):
            with pytest.raises(CorruptFileError, match=f"{name}' {OTHER} .*{reader}"):
                way(tmp_path / name)


@pytest.mark.boosters
def test_models_of_boosting_libraries(tmp_path):
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    x, y = np.random.default_rng(0).random((60, 3)), np.arange(60) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, y), 1)
        booster.save_model(tmp_path / "lightgbm")
        booster = xgboost.train({}, xgboost.DMatrix(x, y), 1)
        for form in ("json", "ubj"):
            booster.save_model(tmp_path / f"xgboost.{form}")
    for name in ("lightgbm", "xgboost.json", "xgboost.ubj"):
        with pytest.raises(CorruptFileError, match=rf"model of .*: {name[:7]}\w*\.Booster"):
            fastpersist.load(tmp_path / name)


def test_a_refusal_stays_one(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1\n" + bytes(50))
    with pytest.raises(UntrustedError) as caught:
        fastpersist.load(tmp_path / "a.parquet", trusted=())
    assert any("pandas.read_parquet" in note for note in caught.value.__notes__)


def test_what_is_not_known_stays_as_it_was(tmp_path):
    path = tmp_path / "file"
    for data in (b"hello world\n", b"\0\0\0", b"Vfoo, bar\np0\n", b"]]]", b"\x80\x04"):
        path.write_bytes(data)
        with pytest.raises(CorruptFileError) as caught:
            fastpersist.load(path)
        assert OTHER not in str(caught.value)
    # Damage of our own file, whatever it begins with, and what is no damage.
    data = bytearray(file_bytes(np.arange(1000)))
    data[:6] = b"\x93NUMPY"
    path.write_bytes(data)
    kind, text = outcome(lambda: fastpersist.load(path))[:2]
    assert OTHER not in str(text)
    for make in (lambda: fastpersist.load(tmp_path), lambda: fastpersist.load(tmp_path / "no")):
        with pytest.raises(OSError):
            make()


def test_a_file_object_stays_where_it_was():
    file = io.BytesIO(b"\x93NUMPY" + bytes(50))
    with pytest.raises(CorruptFileError, match="numpy.load"):
        fastpersist.load(file)
    place = file.tell()

    class Ahead(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *place):
            raise io.UnsupportedOperation("seek")

        def tell(self):
            raise io.UnsupportedOperation("tell")

    with pytest.raises(CorruptFileError) as caught:
        fastpersist.load(Ahead(file.getvalue()))
    assert OTHER not in str(caught.value)
    assert 0 < place < 56


def test_an_empty_file_is_named(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    for way in (
        fastpersist.load,
        fastpersist.verify,
        fastpersist.inspect,
        lambda path: fastpersist.read_array(path, ""),
        lambda path: fastpersist.load(path, trusted=()),
        lambda path: fastpersist.load(path, mmap_mode="r"),
    ):
        with pytest.raises(EOFError, match=rf"^Ran out of input: '.*{path.name}' is empty$"):
            way(path)
    with pytest.raises(EOFError, match="^Ran out of input$"):
        fastpersist.load(io.BytesIO())


# ---------------------------------------------------------------- classes of a script


SAVE = """
import fastpersist

class Model:
    pass

fastpersist.dump(Model(), "model")
"""

LOAD = """
import fastpersist, io

for target in ("model", io.BytesIO(open("model", "rb", 0).readall())):
    try:
        fastpersist.load(target)
    except AttributeError as error:
        print(*error.__notes__, sep="\\n")
"""


def test_a_class_of_a_script_is_explained_to_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python(SAVE)
    text = run_python(LOAD, warnings="default")
    assert text.count("'Model' was defined in the script or notebook that saved the file") == 2
    assert "other versions" not in text  # none differs
    done = run_command("bench", "model", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_no_other_name_is(tmp_path):
    path = pathlib.Path(tmp_path, "file")
    path.write_bytes(b"cos\nnothing\n.")
    with pytest.raises(AttributeError) as caught:
        fastpersist.load(path)
    assert not any("script" in note for note in getattr(caught.value, "__notes__", ()))
