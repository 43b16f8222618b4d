"""One file, several writers: a dump of ours with another writer's pickle or stream behind it, or
the other way round. joblib.load and pickle.load give the first, whatever stands behind it; so does
load of a path, where what stands behind is another writer's, or a whole dump. verify refuses it.

What is meant to differ from joblib, and is asserted here:
    * behind a dump of ours, what is no pickle of protocol 2 or later and no codec's stream is
      damage (a pickle of protocol 0 or 1 can begin with any of sixty bytes);
    * what begins with our header, or would but for one byte, has to be a whole dump;
    * what pickletools.optimize made of a dump: by its path a CorruptFileError that says so.
"""

import bz2
import gzip
import io
import itertools
import lzma
import pickle
import pickletools
import zlib

import fastpersist
import joblib
import numpy as np
import pytest
from fastpersist import CorruptFileError
from helpers import file_bytes


def value(number, n=3000):
    """With a blob, a shared blob and a large leaf; of a few frames where n is large."""
    return {
        "number": number,
        "array": np.arange(float(n)),
        "small": [np.arange(5), np.arange(7)],
        "text": "é" * 20_000,
        "list": [str(i) for i in range(n)],
    }


def joblibs(number, **kwargs):
    file = io.BytesIO()
    joblib.dump(value(number), file, **kwargs)
    return file.getvalue()


def pickles(protocol):
    return lambda number: pickle.dumps(value(number), protocol)


def compressed(codec):
    return lambda number: codec.compress(pickle.dumps(value(number), 4))


OURS = {
    "ours": lambda number: file_bytes(value(number)),
    "ours, large": lambda number: file_bytes(value(number, 60_000)),
    "ours, two": lambda number: file_bytes(value(number)) + file_bytes(value(number + 50)),
}
OTHERS = {
    **{f"pickle {p}": pickles(p) for p in (2, 3, 4, 5)},
    "joblib": joblibs,
    "gzip": compressed(gzip),
    "zlib": compressed(zlib),
    "bz2": compressed(bz2),
    "lzma": lambda number: lzma.compress(pickle.dumps(value(number)), lzma.FORMAT_ALONE),
    "xz": compressed(lzma),
    "ours in zlib": lambda number: file_bytes(value(number), compress="zlib"),
    "ours in lz4": lambda number: file_bytes(value(number), compress="lz4"),
    "ours by protocol 3": lambda number: file_bytes(value(number), protocol=3),
    "ours, optimized": lambda number: pickletools.optimize(file_bytes(value(number))),
}
OLD = {f"pickle {p}": pickles(p) for p in (0, 1)}
WITHOUT_CODEC = [name for name in OTHERS if name.startswith(("pickle", "joblib", "ours by"))]
JUNK = {
    "text": b"trailing text",
    "zeros": bytes(64),
    "a byte": b"\0",
    "PROTO": b"\x80",
    "PROTO 1": b"\x80\x01K\x01.",
    "PROTO 9": b"\x80\x09K\x01.",
    "an x": b"x",
    "an x and more": b"xylophone",
    "half a magic": b"\x28\xb5",
    "aligned zeros": bytes(4096),
}


def number_of(filename, **kwargs):
    got = fastpersist.load(filename, **kwargs)
    np.testing.assert_array_equal(got["array"], np.arange(float(len(got["array"]))))
    assert got["text"] == "é" * 20_000
    return got["number"]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "file")


def write(path, *parts):
    with open(path, "wb") as file:
        file.writelines(parts)


def refused(path):
    with pytest.raises(CorruptFileError):
        fastpersist.verify(path)


# ---------------------------------------------------------------- ours first


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("ours", OURS)
def test_the_first_is_loaded_where_another_writer_went_on(ours, other, path):
    write(path, OURS[ours](1), OTHERS[other](2))
    assert number_of(path) == joblib.load(path)["number"] == 1
    for kwargs in ({"verify": "full"}, {"verify": False}, {"threads": 3}, {"max_bytes": 10**7}):
        assert number_of(path, **kwargs) == 1
    with open(path, "rb") as file:
        assert number_of(file) == 1
    with open(path, "rb") as file:
        assert fastpersist.load(file, mmap_mode="r")["number"] == 1
    refused(path)
    for mode in ("r", "c", "r+"):
        got = fastpersist.load(path, mmap_mode=mode)
        assert got["number"] == 1
        assert isinstance(got["array"], np.memmap)
        del got


def test_what_follows_the_first_is_another_writers_whoever_comes_after_it(path):
    for parts in itertools.product(("ours", "pickle 4", "gzip"), repeat=3):
        makers = [(OURS | OTHERS)[part] for part in parts]
        if parts[0] == "gzip":
            continue  # a stream: tests/codecs/test_stream_kinds.py
        write(path, *(make(i) for i, make in enumerate(makers)))
        assert number_of(path) == 0, parts


def test_it_is_left_as_it_is(path):
    data = OURS["ours"](1) + OTHERS["pickle 4"](2)
    write(path, data)
    fastpersist.load(path)
    with open(path, "rb") as file:
        assert file.read() == data


@pytest.mark.parametrize("name", JUNK)
def test_what_is_nobodys_is_damage(name, path):
    for ours in OURS.values():
        write(path, ours(1), JUNK[name])
        with pytest.raises(CorruptFileError, match="file"):
            fastpersist.load(path)
        with pytest.raises(CorruptFileError):
            fastpersist.load(path, mmap_mode="r")
        refused(path)


@pytest.mark.parametrize("name", OLD)
def test_a_pickle_without_proto_behind_is_damage(name, path):
    write(path, OURS["ours"](1), OLD[name](2))
    assert joblib.load(path)["number"] == 1
    with pytest.raises(CorruptFileError):
        fastpersist.load(path)


def test_a_registered_codec_may_follow(path):
    class Reversed:
        fileobj_factory = None
        prefix = b"REVERSED!"
        extension = ".rev"

        def compressor_file(self, fileobj, compresslevel=None):
            raise NotImplementedError

        def decompressor_file(self, fileobj):
            raise NotImplementedError

    write(path, OURS["ours"](1), b"REVERSED! and so on")
    with pytest.raises(CorruptFileError):
        fastpersist.load(path)
    from fastpersist.codecs.registry import COMPRESSORS

    fastpersist.register_compressor("reversed", Reversed())
    try:
        assert number_of(path) == 1
    finally:
        del COMPRESSORS["reversed"]


# ---------------------------------------------------------------- damage


def test_every_bit_of_the_first_counts(path):
    first = bytearray(file_bytes({"number": 1, "array": np.arange(2100.0)}))
    second = OTHERS["pickle 4"](2)
    for i in range(len(first)):
        if 2000 < i < len(first) - 600 and i % 97:
            continue  # the array's bytes: some of them
        first[i] ^= 1 << i % 8
        write(path, first, second)
        try:
            got = fastpersist.load(path)
        except (CorruptFileError, pickle.UnpicklingError):
            got = None
        # Where PROTO is 4, say, it is no file of ours any more, but a pickle of another writer.
        assert got is None, i
        first[i] ^= 1 << i % 8


def test_a_first_that_is_cut_is_damaged(path):
    first = file_bytes({"number": 1, "array": np.arange(2100.0)})
    second = OTHERS["pickle 4"](2)
    # From 17 bytes on it begins as a file of ours does, or would but for one byte.
    for n in {*range(17, 300), *range(300, len(first), 211), *range(len(first) - 300, len(first))}:
        write(path, first[:n], second)
        with pytest.raises((CorruptFileError, pickle.UnpicklingError)):
            fastpersist.load(path)


@pytest.mark.parametrize("first", ["ours", *WITHOUT_CODEC[:-1], *OLD])
def test_a_dump_behind_has_to_be_whole(first, path):
    start, ours = (OURS | OTHERS | OLD)[first](1), OURS["ours"](2)
    write(path, start, ours)
    assert number_of(path) == 1
    for i in range(21):
        for bit in (1, 128):
            damaged = bytearray(ours)
            damaged[i] ^= bit
            write(path, start, damaged)
            with pytest.raises(CorruptFileError):
                fastpersist.load(path)
    for n in (1, 5, 20, 21, 22, 40, 500, len(ours) - 100, len(ours) - 64, len(ours) - 1):
        if n < 5 and first != "ours":
            continue  # of so few bytes one is anybody's
        write(path, start, ours[:n])
        with pytest.raises(CorruptFileError):
            fastpersist.load(path)
    write(path, start, ours, OTHERS["gzip"](3))
    assert number_of(path) == 1
    write(path, start, ours[:-64], OTHERS["gzip"](3))
    with pytest.raises(CorruptFileError):
        fastpersist.load(path)


# ---------------------------------------------------------------- ours behind


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("other", [*WITHOUT_CODEC, *OLD])
def test_the_first_is_loaded_where_ours_stands_behind(other, ours, path):
    write(path, (OTHERS | OLD)[other](1), OURS[ours](2))
    assert number_of(path) == joblib.load(path)["number"] == 1
    if other == "joblib":
        assert fastpersist.load(path, mmap_mode="r")["number"] == 1
    with open(path, "rb") as file:
        assert number_of(file) == 1
        assert number_of(file) == 2


@pytest.mark.parametrize("other", [*OTHERS, *OLD])
def test_verify_refuses_ours_behind_another_writers(other, path):
    start = (OTHERS | OLD)[other](1)
    write(path, start, OURS["ours"](2))
    if other in ("ours in zlib", "ours in lz4"):  # one writer
        fastpersist.verify(path)
        return
    with pytest.raises(CorruptFileError):
        fastpersist.verify(path)
    if other in WITHOUT_CODEC:
        with pytest.raises(CorruptFileError, match="several writers") as caught:
            fastpersist.verify(path)
        assert caught.value.path == path
        assert caught.value.offset == len(start)


@pytest.mark.parametrize("second", [*OTHERS, *OLD])
@pytest.mark.parametrize("first", ["pickle 4", "pickle 0", "joblib", "gzip"])
def test_verify_of_several_dumps_of_others(first, second, path):
    if second.startswith("ours"):
        return  # the test above
    parts = [(OTHERS | OLD)[name](i) for i, name in enumerate((first, second))]
    write(path, *parts)
    fastpersist.verify(path)
    write(path, *parts, b"trailing text")
    with pytest.raises(CorruptFileError):
        fastpersist.verify(path)
    write(path, parts[0], parts[1][:-20])
    with pytest.raises(CorruptFileError):
        fastpersist.verify(path)


def test_verify_of_short_pickles(path):
    """Shorter than a header of ours, of which it looks for one."""
    for protocol in range(6):
        one = pickle.dumps([1], protocol)
        write(path, one * 5)
        fastpersist.verify(path)
        write(path, one * 5, b"(")
        with pytest.raises(CorruptFileError):
            fastpersist.verify(path)


# ---------------------------------------------------------------- rewritten


def test_an_optimized_dump(path):
    optimized = OTHERS["ours, optimized"](1)
    write(path, optimized)
    assert pickle.loads(optimized)["number"] == joblib.load(path)["number"] == 1
    assert number_of(io.BytesIO(optimized)) == 1
    with open(path, "rb") as file:
        assert number_of(file) == 1
    assert fastpersist.loads(optimized)["number"] == 1
    for load in (fastpersist.load, fastpersist.verify):
        with pytest.raises(CorruptFileError, match="was rewritten by another program"):
            load(path)
    with gzip.open(path, "wb") as file:
        file.write(optimized)
    assert number_of(path) == 1
