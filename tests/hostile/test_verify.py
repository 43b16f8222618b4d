"""verify(): what it checks, in every kind of file; it builds and runs nothing."""

import bz2
import collections
import datetime
import gzip
import io
import lzma
import pickle
import struct
import zlib

import fastpersist
import forged_files as forge
import format_reader
import numpy as np
import pytest
from fastpersist import CorruptFileError, TruncatedFileError
from helpers import file_bytes

joblib = pytest.importorskip("joblib")

LARGE = 40 << 20  # bytes of an array: several windows of the check


class Loud:
    """Says so when it is built."""

    calls = []

    def __reduce__(self):
        return Loud._made, ("x",)

    @staticmethod
    def _made(argument):
        Loud.calls.append(argument)

    def __setstate__(self, state):
        Loud.calls.append(state)


VALUES = {
    "none": None,
    "graph": [1, (2, 3.5), {"k": {1, 2}}, "text", b"bytes", bytearray(b"ab"), 1 << 300, 1 + 2j],
    "arrays": [np.arange(10), np.arange(5000.0), np.zeros((0, 3)), np.arange(6, dtype=">i2")],
    "dtypes": [
        np.array(["ab", "c"]),
        np.array([b"ab", b"c"]),
        np.zeros(3, [("x", "i1"), ("y", "f8", (2,))]),
        np.zeros(10, "M8[s]"),
        np.array([1, None, "a", np.arange(3)], object),
        np.zeros(2, [("a", "<f4"), ("b", "O")]),
    ],
    "classes": [
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        datetime.datetime(2020, 1, 1),
        np.random.default_rng(0),
        Loud(),
        Loud,
        len,
    ],
    "leaves": {"bytes": b"y" * 20000, "text": "x" * 20000, "bytearray": bytearray(20000)},
}
values = pytest.mark.parametrize("name", VALUES)


def each_source(data, tmp_path):
    """The same bytes as a path, and as file objects of several kinds."""
    path = tmp_path / "file"
    path.write_bytes(data)
    yield path
    yield str(path)
    yield bytes(path)
    yield io.BytesIO(data)
    yield io.BufferedReader(io.BytesIO(data), 16)


def check_whole(data, tmp_path):
    for source in each_source(data, tmp_path):
        assert fastpersist.verify(source) is None
    assert Loud.calls == []


def check_damaged(data, tmp_path):
    for source in each_source(data, tmp_path):
        with pytest.raises(CorruptFileError) as caught:
            fastpersist.verify(source)
        error = caught.value
        assert error.offset is not None and error.section
        assert error.path == (source if isinstance(source, (str, bytes)) else error.path)
    assert Loud.calls == []


def decodes_to_the_same(compress, data, changed):
    """Of a compressed stream not every bit counts."""
    decode = {"zlib": zlib.decompress, "gzip": gzip.decompress, "bz2": bz2.decompress}
    try:
        return compress in decode and decode[compress](data) == decode[compress](changed)
    except (ValueError, EOFError, OSError, zlib.error):
        return False


@values
@pytest.mark.parametrize("compress", [0, "lz4", "zlib", "gzip", "bz2", "xz"])
def test_our_files(name, compress, tmp_path):
    data = file_bytes(VALUES[name], compress=compress)
    check_whole(data, tmp_path)
    for at in (3, len(data) // 2, len(data) - 5):
        changed = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        if not decodes_to_the_same(compress, data, changed):
            check_damaged(changed, tmp_path)
    for n in (len(data) - 1, len(data) // 2, 30):
        check_damaged(data[:n], tmp_path)


@values
@pytest.mark.parametrize("protocol", range(6))
def test_pickles(name, protocol, tmp_path):
    data = pickle.dumps(VALUES[name], protocol)
    check_whole(data, tmp_path)
    check_damaged(data[:-1], tmp_path)
    check_damaged(data[: (len(data) + 1) // 2], tmp_path)
    check_damaged(data[:-1] + b"0.", tmp_path)


@values
@pytest.mark.parametrize("compress", [0, 3, ("lz4", 1), ("gzip", 3)])
def test_joblibs_files(name, compress, tmp_path):
    if compress == ("lz4", 1):
        pytest.importorskip("lz4")
    path = tmp_path / "joblib"
    joblib.dump(VALUES[name], path, compress=compress)
    data = path.read_bytes()
    check_whole(data, tmp_path)
    check_damaged(data[:-1], tmp_path)
    check_damaged(data[: len(data) // 2], tmp_path)
    if compress:
        at = len(data) - 4
        check_damaged(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], tmp_path)


def test_every_bit(tmp_path):
    data = bytearray(file_bytes([np.arange(40), {"a": Loud()}]))
    path = tmp_path / "file"
    for at in range(len(data)):
        for bit in range(8):
            data[at] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(CorruptFileError):
                fastpersist.verify(path)
            data[at] ^= 1 << bit
    assert Loud.calls == []


@pytest.mark.parametrize("threads", [1, 4])
def test_every_window_of_a_large_file(threads, tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([np.arange(LARGE // 8), np.arange(10), b"x" * 20000, np.arange(5000)], path)
    fastpersist.verify(path, threads=threads)
    dump = format_reader.read(path.read_bytes())
    places = [25, 16 << 20, (16 << 20) + 21, 33 << 20, dump.graph.start - 2, dump.graph.start + 9]
    with open(path, "r+b") as file:
        for at in places:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 4]))
            file.flush()
            with pytest.raises(CorruptFileError):
                fastpersist.verify(path, threads=threads)
            file.seek(at)
            file.write(byte)
            file.flush()
    fastpersist.verify(path, threads=threads)


def test_opcodes_between_payloads_that_a_forger_changed(tmp_path):
    """The hashes are right; the bytes are not those that the table determines."""
    blobs = [(0, b"a" * (15 << 20)), (1, b"b"), (2, b"c" * ((1 << 20) - 300)), (0, b"d" * 1000)]
    whole = forge.dump(blobs)
    check_whole(whole, tmp_path)
    table = format_reader.read(whole).blobs
    for blob in table:  # the third gap lies across the end of a window
        for distance in (1, 9, 10, 12):
            at = blob.offset - distance - 21

            def change(sidecar, at=at):
                return sidecar[:at] + bytes([sidecar[at] ^ 1]) + sidecar[at + 1 :]

            check_damaged(forge.dump(blobs, change_sidecar=change), tmp_path)


def test_all_dumps_of_a_path_are_checked(tmp_path):
    dumps = [file_bytes([i, np.arange(3000)]) for i in range(3)]
    check_whole(b"".join(dumps), tmp_path)
    path = tmp_path / "file"
    for at in (100, len(dumps[0]) + 100, 2 * len(dumps[0]) + 100):
        data = bytearray(b"".join(dumps))
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptFileError):
            fastpersist.verify(path)
    file = io.BytesIO(b"".join(dumps))
    for _ in dumps:
        fastpersist.verify(file)
    with pytest.raises(EOFError):
        fastpersist.verify(file)


@pytest.mark.parametrize("compress", ["gzip", "lz4", "zlib"])
def test_all_dumps_of_a_compressed_path(compress, tmp_path):
    one = file_bytes([1, np.arange(3000)], compress=compress)
    plain = file_bytes([2])
    path = tmp_path / "file"
    for rest in (b"", one, one + one, plain):
        path.write_bytes(one + rest)
        fastpersist.verify(path)
        assert len(fastpersist.load(path)) == 2
    path.write_bytes(one + pickle.dumps(1))  # see load/test_several_writers.py
    assert len(fastpersist.load(path)) == 2
    with pytest.raises(CorruptFileError, match="several writers"):
        fastpersist.verify(path)
    halves = [one[: len(one) // 2], one[:-1], plain[:-1], plain[:100]]
    padding = [] if compress == "gzip" else [b"\0\0"]  # gzip's tools skip zeros
    for rest in (*halves, *padding, b"x", b"junk" * 9):
        path.write_bytes(one + rest)
        with pytest.raises(CorruptFileError):
            fastpersist.verify(path)
        with pytest.raises(CorruptFileError) as caught:
            fastpersist.load(path)
        assert caught.value.path == str(path) and caught.value.offset is not None


def test_files_mapped_for_writing_have_no_hashes(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([np.arange(5000)], path)
    fastpersist.load(path, mmap_mode="r+")
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(CorruptFileError, match="mapped for writing") as caught:
            fastpersist.verify(source)
        assert caught.value.section == "footer"


def test_pairs(tmp_path):
    main, sidecar = tmp_path / "main", tmp_path / "sidecar"
    fastpersist.dump({"a": np.arange(5000), "b": np.arange(3), "c": Loud()}, main, sidecar=sidecar)
    fastpersist.verify(main, sidecar=sidecar)
    fastpersist.verify(sidecar)
    with open(main, "rb") as file, open(sidecar, "rb") as other:
        fastpersist.verify(file, sidecar=other)
    with pytest.raises(ValueError, match="sidecar="):
        fastpersist.verify(main)
    plain = tmp_path / "plain"
    fastpersist.dump([1], plain)
    with pytest.raises(ValueError, match="without sidecar="):
        fastpersist.verify(plain, sidecar=sidecar)
    plain.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="without sidecar="):
        fastpersist.verify(plain, sidecar=sidecar)
    other_main, other_sidecar = tmp_path / "other", tmp_path / "other sidecar"
    fastpersist.dump({"a": np.arange(5000) + 1, "b": 1}, other_main, sidecar=other_sidecar)
    for pair in ((main, other_sidecar), (other_main, sidecar)):
        with pytest.raises(CorruptFileError, match="another dump"):
            fastpersist.verify(pair[0], sidecar=pair[1])
    for path in (main, sidecar):
        data = path.read_bytes()
        for at in (3, 18, len(data) // 2, len(data) - 60, len(data) - 5):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with pytest.raises(CorruptFileError):
                fastpersist.verify(main, sidecar=sidecar)
        for damaged in (data[:-1], data[:50], data + b"x", data + data[:64]):
            path.write_bytes(damaged)
            with pytest.raises(CorruptFileError):
                fastpersist.verify(main, sidecar=sidecar)
        path.write_bytes(data)
    assert Loud.calls == []


def test_a_sidecar_mapped_for_writing(tmp_path):
    main, sidecar = tmp_path / "main", tmp_path / "sidecar"
    fastpersist.dump([np.arange(5000)], main, sidecar=sidecar)
    fastpersist.load(main, sidecar=sidecar, mmap_mode="r+")
    with pytest.raises(CorruptFileError, match="mapped for writing"):
        fastpersist.verify(main, sidecar=sidecar)


def test_what_cannot_be_verified(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    for source in (path, io.BytesIO()):
        with pytest.raises(EOFError):
            fastpersist.verify(source)
    path.write_bytes(b"ZF0x1")
    with pytest.raises(ValueError, match=r"0\.10"):
        fastpersist.verify(path)
    with pytest.raises(FileNotFoundError):
        fastpersist.verify(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        fastpersist.verify(tmp_path)


def test_arguments_are_checked(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump(1, path)
    for wrong in (-1, True, "1", 1.5):
        for call in (fastpersist.verify, fastpersist.load):
            with pytest.raises((TypeError, ValueError), match="max_bytes"):
                call(path, max_bytes=wrong)
    with pytest.raises(ValueError):
        fastpersist.verify(path, threads=0)


def test_names_that_a_pickle_asks_for_are_not_looked_up(tmp_path):
    """Not even those of copyreg's extension registry, or of no module at all."""
    import copyreg

    copyreg.add_extension(__name__, "Loud", 0x7FFF1234)
    try:
        assert pickle.loads(pickle.dumps(Loud, 2)) is Loud  # now it is in the cache
        data = b"\x80\x02\x84\x34\x12\xff\x7f)\x81}b."
        check_whole(data, tmp_path)
        check_whole(b"\x80\x02cno.such.module\nname\n)R.", tmp_path)
        check_whole(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04exit\x85R.", tmp_path)
        check_whole(b"(ios\nsystem\n.", tmp_path)
        check_whole(b"\x80\x05\x97\x98.", tmp_path)
        check_whole(b"Ppersistent\n.", tmp_path)
    finally:
        copyreg.remove_extension(__name__, "Loud", 0x7FFF1234)


def wrapper(shape, dtype=b"f8", rest=b""):
    """A stream in joblib's layout with one array, its shape given as opcodes."""
    return (
        b"\x80\x04\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81}("
        b"\x8c\x08subclass\x8c\x05numpy\x8c\x07ndarray\x93\x8c\x05shape"
        + shape
        + b"\x8c\x05order\x8c\x01C\x8c\x05dtype\x8c\x05numpy\x8c\x05dtype\x93\x8c%c%b\x89\x88\x87R"
        % (len(dtype), dtype)
        + b"\x8c\x0aallow_mmap\x89ub"
        + rest
    )


def test_arrays_of_joblib_that_claim_too_much(tmp_path):
    check_whole(wrapper(b"K\2\x85", rest=bytes(16) + b"."), tmp_path)
    check_damaged(wrapper(b"K\2\x85", rest=bytes(16)), tmp_path)
    check_damaged(wrapper(b"K\2\x85", rest=bytes(15)), tmp_path)
    huge = b"\x8a\x08" + struct.pack("<q", 1 << 60)
    check_damaged(wrapper(huge + b"\x85", rest=bytes(100)), tmp_path)
    check_damaged(wrapper(huge * 2 + b"\x86", rest=bytes(100)), tmp_path)
    check_damaged(wrapper(b"J\xff\xff\xff\xff\x85", rest=bytes(100)), tmp_path)
    check_damaged(wrapper(b"K\2\x85", dtype=b"?!", rest=bytes(100)), tmp_path)
    check_damaged(wrapper(b"K\2\x85", dtype=b"f8,O", rest=bytes(100)), tmp_path)


@pytest.mark.parametrize("compressed", [bz2.compress, lzma.compress])
def test_streams_of_other_codecs(compressed, tmp_path):
    data = compressed(file_bytes([1, np.arange(3000)]))
    check_whole(data, tmp_path)
    check_damaged(data[:-1], tmp_path)
    check_damaged(compressed(file_bytes([1])[:-10]), tmp_path)
    check_damaged(compressed(b""), tmp_path)


def test_truncated_is_said(tmp_path):
    data = file_bytes([np.arange(5000)])
    for source in each_source(data[:-1], tmp_path):
        with pytest.raises(TruncatedFileError):
            fastpersist.verify(source)
