"""Which file it is: by its beginning, and by its end only where nothing else can have made that."""

import gzip
import os
import pickle
import zlib

import fastpersist
import joblib
import numpy as np
import pytest
from compare import assert_isomorphic
from fastpersist import CorruptFileError, register_compressor, verify
from fastpersist.codecs.registry import COMPRESSORS

try:
    import zstd_frames
except ImportError:
    zstd_frames = None

HEADER_BYTES = 21
NOISE = os.urandom(20_000)
VALUES = {
    "noise": NOISE,
    "arrays": {"a": np.frombuffer(os.urandom(80_000), "u8").copy(), "b": [1, "two"]},
    "small": [1, 2],
}


@pytest.fixture(params=VALUES)
def value(request):
    return VALUES[request.param]


def dumped(value, path):
    fastpersist.dump(value, path)
    return path.read_bytes()


def stored_gzip(data):
    return gzip.compress(data, 0)


def stored_zlib(data):
    compressor = zlib.compressobj(0)
    return compressor.compress(data) + compressor.flush()


CODECS = {"gzip": stored_gzip, "zlib": stored_zlib}
if zstd_frames is not None:
    CODECS["zstd"] = zstd_frames.frame


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_that_stores_a_dump_as_it_lies(codec, value, tmp_path):
    """The stream ends in the very bytes of a dump, or nearly."""
    path = tmp_path / "m"
    data = dumped(value, path)
    path.write_bytes(CODECS[codec](data))
    assert_isomorphic(value, fastpersist.load(path))
    verify(path)
    if codec != "zstd":  # joblib has no zstd
        assert_isomorphic(value, joblib.load(path))


class Stored:
    """A codec that puts its name in front, and the data behind it as it lies."""

    MAGIC = b"STORED: "

    def __init__(self, file, mode="rb", **_):
        self.file = open(file, mode) if isinstance(file, (str, bytes)) else file
        if mode == "wb":
            self.file.write(self.MAGIC)
        else:
            assert self.file.read(len(self.MAGIC)) == self.MAGIC

    def write(self, data):
        return self.file.write(data)

    def read(self, n=-1):
        return self.file.read(n)

    def readinto(self, target):
        return self.file.readinto(target)

    def seek(self, *args):
        return self.file.seek(*args)

    def tell(self):
        return self.file.tell()

    def close(self):
        self.file.close()

    @property
    def closed(self):
        return self.file.closed

    def readable(self):
        return True

    def writable(self):
        return True

    def seekable(self):
        return True

    def flush(self):
        self.file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class StoredWrapper(fastpersist.CompressorWrapper):
    def __init__(self):
        super().__init__(Stored, prefix=Stored.MAGIC, extension=".stored")

    def compressor_file(self, fileobj, compresslevel=None):
        return Stored(fileobj, "wb")

    def decompressor_file(self, fileobj):
        return Stored(fileobj)


def test_a_registered_codec_that_stores(value, tmp_path):
    register_compressor("stored", StoredWrapper())
    try:
        path = tmp_path / "m"
        fastpersist.dump(value, path, compress="stored")
        data = path.read_bytes()
        assert data.startswith(Stored.MAGIC) and data.endswith(b"fastpersist end\0" + b"0.")
        assert_isomorphic(value, fastpersist.load(path))
        verify(path)
    finally:
        del COMPRESSORS["stored"]


def test_a_pickle_that_ends_as_a_dump_does(tmp_path):
    """Somebody else's pickle in front of one of ours: it is what comes first, as with joblib."""
    path = tmp_path / "m"
    data = dumped([1, 2], path)
    path.write_bytes(pickle.dumps("first", 5) + data)
    assert fastpersist.load(path) == joblib.load(path) == "first"


@pytest.mark.parametrize("n_wrong", [1, 2, 5, HEADER_BYTES])
def test_a_damaged_header_is_damage(n_wrong, value, tmp_path):
    path = tmp_path / "m"
    data = dumped(value, path)
    for start in range(HEADER_BYTES - n_wrong + 1):
        if start <= 18 < start + n_wrong and n_wrong == 1:
            continue  # the flags, which the footer contradicts: test_file_layout.py
        wrong = bytes(byte ^ 0x55 for byte in data[start : start + n_wrong])
        path.write_bytes(data[:start] + wrong + data[start + n_wrong :])
        for read in (fastpersist.load, verify):
            with pytest.raises(CorruptFileError) as caught:
                read(path)
            assert caught.value.path == str(path)


def test_a_damaged_header_that_opens_a_pickle(value, tmp_path):
    """All of the header's magic is gone, and what is left is a sound pickle, unchecked."""
    path = tmp_path / "m"
    data = dumped(value, path)
    damaged = data[:4] + bytes(16) + data[20:]
    assert_isomorphic(value, pickle.loads(damaged))
    path.write_bytes(damaged)
    for read in (fastpersist.load, verify):
        with pytest.raises(CorruptFileError):
            read(path)
