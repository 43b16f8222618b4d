"""What compress= may be, and which compressors can be registered, beside joblib: its answer, its
exception and its words for each. Meant to differ: nothing but what is said below.
"""

import bz2
import collections
import contextlib
import decimal
import enum
import fractions
import gzip
import io
import operator
import os
import re
import types
from unittest import mock

import fastpersist
import joblib
import numpy as np
import pytest
from compare import assert_isomorphic
from fastpersist.codecs import registry
from fastpersist.codecs.registry import detect
from helpers import NIGHT, SANITIZED
from joblib import compressor as theirs

try:
    import lz4.frame as lz4
except ImportError:
    lz4 = None

# ---------------------------------------------------------------- forms


class Level(enum.IntEnum):
    three = 3
    ten = 10


class Name(enum.StrEnum):
    zlib = "zlib"
    gz = "gz"


class Text(str):
    pass


class Pair(tuple):
    pass


Named = collections.namedtuple("Named", "name level")


class Indexes:
    def __index__(self):
        return 3


class EqualsThree:
    def __eq__(self, other):
        return other == 3

    __hash__ = None


LEVELS = [0, 1, 3, 9, 10, -1, True, False, None, 0.0, -0.0, 1.0, 3.0, 2.5, float("nan"), 3 + 0j]
LEVELS += [np.int8(9), np.int64(0), np.int64(3), np.int64(10), np.uint8(3), np.True_, np.False_]
LEVELS += [np.float64(0), np.float64(3), np.array(0), np.array(3), np.array([3]), np.array([1, 2])]
LEVELS += ["3", "", b"3", [], [3], {}, {3}, set(), object, Level.three, Level.ten, Indexes()]
LEVELS += [EqualsThree(), fractions.Fraction(3), decimal.Decimal(3), range(3)]

CODECS = ["zlib", "gzip", "bz2", "lzma", "xz"]
ENDINGS = ["", ".z", ".gz", ".bz2", ".lzma", ".xz", ".Z", "gz"]
if lz4 is not None:  # else joblib has no such codec
    CODECS.append("lz4")
    ENDINGS.append(".lz4")

NAMES = [*CODECS, "ZLIB", "gz", "z", "zst", "", "compat", "not-compressed", "cache", "blosc"]
NAMES += [np.str_("zlib"), np.str_("nothing"), Text("gzip"), Name.zlib, Name.gz, b"zlib", None, 3]
NAMES += [True, ["zlib"], ("zlib",)]

FORMS = [*LEVELS, *NAMES]
FORMS += [(name, level) for name in [*CODECS, np.str_("zlib")] for level in LEVELS]
FORMS += [(name, 3) for name in NAMES]
FORMS += [Named("gzip", 3), Pair(("zlib", 3)), ["zlib", 3], ("zlib",), ("zlib", 3, 1), ()]
FORMS += [(None, None), np.array(["zlib", "3"]), {"zlib": 3}, (("zlib", 3),)]
VALUE = "value" * 50


def outcome(module, target, compress):
    """The codec of what was written, or type and words of the exception."""
    try:
        module.dump(VALUE, target, compress=compress)
    except Exception as error:
        # The registries differ, and where they are.
        text = re.sub(r"values are [\[{].*zlib.*[\]}]", "values are {...}", str(error))
        return type(error), text
    data = target.getvalue() if isinstance(target, io.BytesIO) else target.read_bytes()
    assert module.load(io.BytesIO(data)) == VALUE
    assert joblib.load(io.BytesIO(data)) == VALUE
    # FLG of zlib shows the level, as far as it shows at all.
    return data[:2] if data[:1] == b"\x78" else detect(data)


def what_python_lz4_says(compress):
    """Of a level that is none; None for others. python-lz4 compresses with a context that such a
    level left unset: under a sanitizer it asks for gigabytes then, which takes seconds for each."""
    if not (isinstance(compress, tuple) and len(compress) == 2 and compress[0] == "lz4"):
        return None
    with contextlib.suppress(Exception):  # which is joblib's own, as of a wrong number
        if compress[1] in range(1, 10):
            try:
                operator.index(compress[1])
            except TypeError as error:
                return TypeError, str(error)
    return None


def endings_for(compress):
    """xz takes hundreds of megabytes for its level 9: not for every ending, which it overrules."""
    if not NIGHT and repr(compress) in ("('lzma', 9)", "('xz', 9)"):
        return ["", ".z", f".{compress[0]}"]
    return ENDINGS


def targets(folder, name, compress):
    return [io.BytesIO(), *(folder / f"{name}{ending}" for ending in endings_for(compress))]


@pytest.mark.parametrize("compress", FORMS, ids=lambda form: repr(form)[:40])
def test_as_joblib_takes_it(compress, tmp_path):
    ours_and_theirs = (targets(tmp_path, name, compress) for name in ("ours", "theirs"))
    refusal = what_python_lz4_says(compress) if SANITIZED else None
    for ours, their in zip(*ours_and_theirs, strict=True):
        expected = refusal or outcome(joblib, their, compress)
        assert outcome(fastpersist, ours, compress) == expected, their
        if isinstance(expected, tuple) and ours is not None and not isinstance(ours, io.BytesIO):
            assert not ours.exists(), "nothing is left of what was refused"


def test_some_of_them_are_taken(tmp_path):
    """The table holds both: what it would say if everything were refused."""
    taken = [outcome(fastpersist, io.BytesIO(), compress) for compress in FORMS]
    assert {*CODECS, None, b"\x78\x5e", b"\x78\xda"} - {"zlib"} <= {
        answer for answer in taken if not isinstance(answer, tuple)
    }


ZSTD_LEVELS = [1, 3, 9, True, None, np.int64(3), np.int8(9), Level.three]


@pytest.mark.parametrize("level", ZSTD_LEVELS, ids=repr)
def test_levels_of_our_own_codec(level):
    """joblib has no zstd; a level is what the other codecs take for one."""
    pytest.importorskip("zstandard")
    file = io.BytesIO()
    fastpersist.dump(VALUE, file, compress=("zstd", level))
    assert fastpersist.load(file) == VALUE


@pytest.mark.parametrize("level", [1.0, np.float64(3), np.True_], ids=repr)
def test_what_is_no_level_of_our_own_codec(level):
    pytest.importorskip("zstandard")
    for codec in ["lz4", "zstd"]:
        with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
            fastpersist.dump(VALUE, io.BytesIO(), compress=(codec, level))


# ---------------------------------------------------------------- compressors


@pytest.fixture
def registries():
    """The two registries, as they were afterwards."""
    with (
        mock.patch.dict(registry.COMPRESSORS) as ours,
        mock.patch.dict(theirs._COMPRESSORS) as their,
    ):
        yield ours, their


class GzipWithOneLevel(theirs.CompressorWrapper):
    """As in joblib's documentation: a wrapper of its own kind."""

    def __init__(self):
        super().__init__(obj=gzip.GzipFile, prefix=b"\x1f\x8b", extension=".own")

    def compressor_file(self, fileobj, compresslevel=None):
        return (
            gzip.GzipFile(fileobj, "wb", 1)
            if isinstance(fileobj, str)
            else gzip.GzipFile(fileobj=fileobj, mode="wb", compresslevel=1)
        )

    def decompressor_file(self, fileobj):
        return gzip.GzipFile(fileobj=fileobj, mode="rb")


class Magic(io.BufferedIOBase):
    """A codec with a magic of its own in front of bz2."""

    def __init__(self, file, mode, compresslevel=9):
        self.is_own = isinstance(file, str)
        self._target = open(file, mode) if self.is_own else file
        if mode == "wb":
            self._target.write(b"MAGIC")
        else:
            assert self._target.read(5) == b"MAGIC"
        self._file = bz2.BZ2File(self._target, mode, compresslevel=compresslevel)
        self.readable, self.writable = self._file.readable, self._file.writable
        self.read, self.readinto, self.write = (
            self._file.read,
            self._file.readinto,
            self._file.write,
        )

    def close(self):
        if not self.closed:
            self._file.close()
            if self.is_own:
                self._target.close()
        super().close()


JOBLIBS = {
    "joblib's, plain": lambda: theirs.CompressorWrapper(bz2.BZ2File, b"BZh", ".own"),
    "joblib's, a codec with a magic": lambda: theirs.CompressorWrapper(Magic, b"MAGIC", ".own"),
    "a subclass of joblib's": GzipWithOneLevel,
    "joblib's zlib": lambda: theirs.ZlibCompressorWrapper(),
    "joblib's gzip": lambda: theirs.GzipCompressorWrapper(),
    "joblib's bz2": lambda: theirs.BZ2CompressorWrapper(),
    "joblib's lzma": lambda: theirs.LZMACompressorWrapper(),
    "joblib's xz": lambda: theirs.XZCompressorWrapper(),
}
if lz4 is not None:
    JOBLIBS["joblib's lz4"] = lambda: theirs.LZ4CompressorWrapper()
if not hasattr(theirs, "ZlibCompressorWrapper"):
    for name in ("zlib", "gzip"):
        JOBLIBS[f"joblib's {name}"] = lambda name=name: theirs._COMPRESSORS[name]


@pytest.mark.parametrize("level", [None, 1, 9])
@pytest.mark.parametrize("kind", JOBLIBS)
def test_joblibs_own_wrappers(registries, kind, level, tmp_path):
    """One instance in both registries; each reads what the other wrote."""
    value = {"array": np.arange(30_000), "text": ["x" * 100] * 1000}
    compressor = JOBLIBS[kind]()
    for module in (joblib, fastpersist):
        module.register_compressor("own", compressor)
    for module in (joblib, fastpersist):
        for target in (tmp_path / "file", io.BytesIO()):
            module.dump(value, target, compress=("own", level))
            for reader in (joblib, fastpersist):
                if isinstance(target, io.BytesIO):
                    target.seek(0)
                assert_isomorphic(value, reader.load(target))
    if compressor.extension == ".own":
        for module in (joblib, fastpersist):
            module.dump(value, tmp_path / "by its.own")
            assert (tmp_path / "by its.own").read_bytes().startswith(compressor.prefix)
            assert_isomorphic(value, fastpersist.load(tmp_path / "by its.own"))


def test_ours_in_place_of_one_that_comes_along(registries, tmp_path):
    for module, compressor in (
        (joblib, theirs.CompressorWrapper(Magic, b"MAGIC", ".gz")),
        (fastpersist, theirs.CompressorWrapper(Magic, b"MAGIC", ".gz")),
    ):
        with pytest.raises(ValueError, match="Compressor 'gzip' already registered."):
            module.register_compressor("gzip", compressor)
        module.register_compressor("gzip", compressor, force=True)
        module.dump(VALUE, tmp_path / "file.gz")
        assert (tmp_path / "file.gz").read_bytes().startswith(b"MAGIC")
        assert module.load(tmp_path / "file.gz") == VALUE


def test_anything_that_has_what_it_takes(registries, tmp_path):
    """Meant to differ: joblib wants its own class, here it is attributes and methods."""
    compressor = types.SimpleNamespace(
        fileobj_factory=None,
        prefix=b"MAGIC",
        extension=".own",
        compressor_file=lambda file, compresslevel=None: Magic(file, "wb"),
        decompressor_file=lambda file: Magic(file, "rb"),
    )
    with pytest.raises(ValueError, match="CompressorWrapper interface"):
        joblib.register_compressor("own", compressor)
    fastpersist.register_compressor("own", compressor)
    fastpersist.dump(VALUE, tmp_path / "file.own")
    assert fastpersist.load(tmp_path / "file.own") == VALUE
    fastpersist.dump(VALUE, file := io.BytesIO(), compress="own")
    assert fastpersist.load(file) == VALUE


def words(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        return type(error), re.sub(
            r"0x[0-9a-f]+|joblib\.\w+\.|fastpersist\.[\w.]*?\.?(?=C)", "", str(error)
        )
    return None


WRONG = [
    (3, lambda wrapper: wrapper(bz2.BZ2File)),
    (None, lambda wrapper: wrapper(bz2.BZ2File)),
    (b"name", lambda wrapper: wrapper(bz2.BZ2File)),
    ("new", lambda wrapper: None),
    ("new", lambda wrapper: bz2.BZ2File),
    ("new", lambda wrapper: "gzip"),
    ("new", lambda wrapper: bz2),
    ("new", lambda wrapper: wrapper),
    ("new", lambda wrapper: wrapper(3)),
    ("new", lambda wrapper: wrapper(lambda file, mode: file)),
    ("new", lambda wrapper: wrapper(bz2)),
    ("zlib", lambda wrapper: wrapper(bz2.BZ2File)),
    ("xz", lambda wrapper: wrapper(bz2.BZ2File)),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_cannot_be_registered(registries, number):
    name, make = WRONG[number]
    before = [dict(names) for names in registries]
    expected = words(joblib.register_compressor, name, make(theirs.CompressorWrapper))
    assert expected is not None
    assert words(fastpersist.register_compressor, name, make(theirs.CompressorWrapper)) == expected
    ours = make(fastpersist.CompressorWrapper)
    assert words(fastpersist.register_compressor, name, ours) == expected
    assert [dict(names) for names in registries] == before


@pytest.mark.parametrize(
    ("prefix", "extension", "match"),
    [
        ("text", ".own", "'prefix' attribute should be bytes, 'text' given"),
        (None, ".own", "'prefix' attribute should be bytes, 'None' given"),
        (b"OWN", None, "'extension' attribute should be str, 'None' given"),
        (b"OWN", b".own", "'extension' attribute should be str"),
    ],
)
def test_what_would_make_every_load_fail(registries, prefix, extension, match, tmp_path):
    """Meant to differ: joblib takes it, and from then on it reads, or writes, no file at all."""
    joblib.register_compressor("own", theirs.CompressorWrapper(bz2.BZ2File, prefix, extension))
    with pytest.raises(TypeError):
        joblib.dump(VALUE, tmp_path / "file")
        joblib.load(tmp_path / "file")
    compressor = theirs.CompressorWrapper(bz2.BZ2File, prefix, extension)
    with pytest.raises(ValueError, match=match):
        fastpersist.register_compressor("own", compressor)
    fastpersist.dump(VALUE, tmp_path / "file")
    assert fastpersist.load(tmp_path / "file") == VALUE
    assert os.listdir(tmp_path) == ["file"]
