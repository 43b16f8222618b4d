"""What a file is that holds no dump, by its first bytes, and who reads it.

Asked for where a load has failed already, so that nothing that could be loaded is refused for it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import zipfile
from pickle import UnpicklingError
from typing import Any

from fastpersist._core import CorruptFileError, UntrustedError
from fastpersist.codecs import registry
from fastpersist.codecs.decoding import position
from fastpersist.files import kinds

SECTION = "another format"
_HEAD_BYTES = 1 << 16  # two lines of a wide table

_TORCH = "torch.load"
_XGBOOST = "xgboost.Booster().load_model"

# Offset, bytes, what it is, who reads it. The first row that fits is taken.
FORMATS = (
    # The first of its five pickles is a number.
    (0, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a file of torch.save before 1.6", _TORCH),
    (0, b"\x93NUMPY", "an array of NumPy (.npy)", "numpy.load"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "h5py.File, pandas.read_hdf or keras"),
    (0, b"PAR1", "a Parquet file", "pandas.read_parquet"),
    (0, b"ARROW1\0\0", "an Arrow file (Feather)", "pandas.read_feather"),
    (0, b"FEA1", "a Feather file", "pandas.read_feather"),
    (0, b"\xff\xff\xff\xff", "a stream of Arrow's", "pyarrow.ipc.open_stream"),
    (0, b"ORC", "an ORC file", "pandas.read_orc"),
    (0, b"Obj\x01", "an Avro file", "fastavro.reader"),
    (0, b"GGUF", "a GGUF model", "gguf.GGUFReader or llama.cpp"),
    (0, b"SQLite format 3\0", "an SQLite database", "sqlite3.connect"),
    (4, b"TFL3", "a TensorFlow Lite model", "tf.lite.Interpreter"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", "scipy.io.loadmat"),
    (0, b"CDF\x01", "a NetCDF file", "xarray.open_dataset"),
    (0, b"CDF\x02", "a NetCDF file", "xarray.open_dataset"),
    (0, b"CDF\x05", "a NetCDF file", "xarray.open_dataset"),
    (0, b"RDX3\n", "data of R (.rda)", "pyreadr.read_r"),
    (0, b"RDX2\n", "data of R (.rda)", "pyreadr.read_r"),
    (0, b"X\n\0\0\0\x03", "an object of R (.rds)", "pyreadr.read_r"),
    (0, b"X\n\0\0\0\x02", "an object of R (.rds)", "pyreadr.read_r"),
    (0, b"<stata_dta>", "a table of Stata", "pandas.read_stata"),
    (0, b"$FL2", "a table of SPSS", "pandas.read_spss"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office file (.xls)", "pandas.read_excel"),
    (0, b"tree\nversion=v", "a model of LightGBM", "lightgbm.Booster(model_file=...)"),
    (0, b"CBM1", "a model of CatBoost", "catboost.CatBoost().load_model"),
    (0, b"{L\0\0\0\0\0\0\0\x07learner", "a model of XGBoost (UBJSON)", _XGBOOST),
    (0, b"binf", "a model of XGBoost", _XGBOOST + " before 3.1"),
    (257, b"ustar", "a tar archive", "tarfile.open"),
    (0, b"%PDF-", "a PDF document", "pypdf.PdfReader"),
    (0, b"\x89PNG\r\n\x1a\n", "a picture (PNG)", "PIL.Image.open"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)", "PIL.Image.open"),
    (0, b"PK\x05\x06", "an empty zip archive", "zipfile.ZipFile"),
)  # fmt: skip

# In a zip archive: the end of a member's name.
MEMBERS = (
    ("constants.pkl", "a TorchScript model (zip)", "torch.jit.load"),
    ("data.pkl", "a file of torch.save (zip)", _TORCH),
    ("schema.json", "a model of skops (zip)", "skops.io.load"),
    ("[Content_Types].xml", "a workbook or document of Office (zip)", "pandas.read_excel"),
    (".weights.h5", "a model of Keras (zip)", "keras.saving.load_model"),
    (".npy", "arrays of NumPy (.npz)", "numpy.load"),
    (".csv", "a table as text (CSV), zipped", "pandas.read_csv"),
    ("", "a zip archive", "zipfile.ZipFile"),
)  # fmt: skip

# What no fixed bytes tell.
PATTERNS = (
    (rb"(?s).{4}\0{4}\{[\"}]", "a safetensors file", "safetensors.torch.load_file (or .numpy)"),
    (
        rb"\x08[\x01-\x20](?:[\x12\x1a\x22\x28\x32][\x00-\x7f]|[\x3a\x42])",
        "an ONNX model, as it seems",
        "onnx.load or onnxruntime.InferenceSession",
    ),
    (rb"[\x6c-\x73][\x01\x02]\x01\0", "a table of Stata", "pandas.read_stata"),
)
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*(?:"|\})|\[\s*(?:[\[{"\]0-9tfn-]))')
_HTML = re.compile(rb"\s*<(?:!doctype html|html)", re.IGNORECASE)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml ")
_MARK = b"\xef\xbb\xbf"  # of UTF-8
_POINTER = b"version https://git-lfs.github.com/spec/"


def explain(error: Exception, filename: Any) -> None:
    """Raise what says more than an exception of a load, a check or a look at a file; or return.

    Parameters
    ----------
    error
        What was raised: it stays, where it is about anything but what the bytes are.
    filename
        What was passed: a path, or a file object, which is left where it stands.
    """
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    is_path = isinstance(filename, (str, bytes))
    if is_path and type(error) is EOFError and error.args == ("Ran out of input",):
        raise EOFError(f"Ran out of input: {filename!r} is empty") from None
    if isinstance(error, AttributeError):
        _hint_at_main(error)
    if isinstance(error, (OSError, MemoryError)):
        return
    if getattr(error, "section", None) not in (None, "pickle"):
        return
    text = told(filename)
    if text is None:
        return
    if isinstance(error, UntrustedError):
        _note(error, text)  # the refusal stays what it is
        return
    better = CorruptFileError(text)
    better.path = filename if is_path else None
    better.offset, better.section = 0, SECTION
    if isinstance(error, UnpicklingError):
        raise better from None
    raise better from error  # it may have been the cause after all


def told(filename: Any) -> str | None:
    """What a message says of a file that is no pickle; None: nobody knows what it is."""
    is_path = isinstance(filename, (str, bytes))
    found = None
    with contextlib.suppress(Exception):
        found = _of_path(filename) if is_path else _of_file(filename)
    name = repr(filename) if is_path else "the file"
    return None if found is None else f"{name} is no pickle but {found}"


class explained:
    """Around what looks into a file."""

    def __init__(self, filename: Any) -> None:
        self._filename = filename

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if isinstance(error, Exception):
            explain(error, self._filename)


# ---------------------------------------------------------------- classes of a script

_MAIN = re.compile(r"(?:Can't get|module '__main__' has no) attribute '([^']+)'")


def _hint_at_main(error: AttributeError) -> None:
    found = _MAIN.match(str(error))
    if found is None or "'__main__'" not in str(error):
        return
    _note(
        error,
        f"{found[1]!r} was defined in the script or notebook that saved the file (__main__), and "
        "this process runs another: move it to a module that both import, and save the object "
        "again; or define it here before loading",
    )


def _note(error: Exception, text: str) -> None:
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


# ---------------------------------------------------------------- looking


def _of_path(path: str | bytes) -> str | None:
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with open(path, "rb") as file:
        return _look(file, path)


def _of_file(file: Any) -> str | None:
    """Of a file object that can go back: from its beginning."""
    end = position(file)
    if end is None:
        return None
    try:
        file.seek(0)
        return _look(file, None)
    finally:
        file.seek(end)


def _look(file: Any, path: str | bytes | None) -> str | None:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    name = kinds.detect(head)
    codec = registry.COMPRESSORS.get(name) if name is not None else None
    if not isinstance(codec, registry.Codec):
        return named(head, file)
    with codec.open_stream(file, path, 1) as stream:
        head = stream.read(_HEAD_BYTES)
    found = named(head, None)
    return None if found is None else f"compressed with {name}: {found}"


def named(head: bytes, file: Any = None) -> str | None:
    """What begins with these bytes and who reads it; None: nobody knows.

    `file`: to look into a zip archive; left anywhere.
    """
    for offset, magic, what, reader in FORMATS:
        if head.startswith(magic, offset):
            return f"{what}: {reader} reads it"
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(head, file)
    if head.startswith(_POINTER):
        return "a pointer of Git LFS, in place of the file: git lfs pull fetches it"
    if _HTML.match(head):
        return "a page of HTML, as a failed download leaves it: look at it with a browser"
    for pattern, what, reader in PATTERNS:
        if re.match(pattern, head):
            return f"{what}: {reader} reads it"
    return _of_text(head)


def _of_zip(head: bytes, file: Any) -> str:
    names = [head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("ascii", "replace")]
    if file is not None:
        with contextlib.suppress(Exception), zipfile.ZipFile(_Borrowed(file)) as archive:
            names = archive.namelist()
    for end, what, reader in MEMBERS:
        if any(name.endswith(end) for name in names):
            return f"{what}: {reader} reads it"
    raise AssertionError("every name ends with nothing")


class _Borrowed(io.RawIOBase):
    """A file object that stays open."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def read(self, n_bytes: int = -1) -> bytes:
        return self._file.read(n_bytes)  # type: ignore[no-any-return]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)  # type: ignore[no-any-return]

    def tell(self) -> int:
        return self._file.tell()  # type: ignore[no-any-return]


def _of_text(head: bytes) -> str | None:
    whole = len(head) < _HEAD_BYTES
    try:
        text = head.removeprefix(_MARK).decode("utf-8", "strict" if whole else "ignore")
    except UnicodeDecodeError:
        return None
    if not all(c.isprintable() or c in "\t\r\n" for c in text):
        return None
    if _JSON.match(head):
        if re.match(r'\s*\{\s*"(learner|version)"\s*:', text) and '"learner"' in text[:200]:
            return f"a model of XGBoost (JSON): {_XGBOOST} reads it"
        return "JSON: json.load reads it, or who wrote it (pandas.read_json, xgboost, ...)"
    if _XML.match(head):
        return "XML: xml.etree.ElementTree.parse or pandas.read_xml reads it"
    lines = text.splitlines()
    for separator in ",\t;|":
        counts = [line.count(separator) for line in lines[:2]]
        if len(counts) == 2 and counts[0] == counts[1] > 0:
            return f"a table as text (CSV, {separator!r} in between): pandas.read_csv reads it"
    return None
