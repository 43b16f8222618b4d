"""Compressed streams as other programs write them: what a codec's format allows, beside the codec's
own decoder and beside joblib where it has the codec.

What cannot be decoded for want of memory, or because of a limit, is not damage. Meant to differ
from joblib: what it says of a stream that it cannot read, and that it never comes back from some
(below, by name).
"""

import bz2
import contextlib
import functools
import gzip
import io
import lzma
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import zlib

import fastpersist
import joblib
import numpy as np
import pytest
from compare import assert_isomorphic
from helpers import FRUGAL, NIGHT, file_bytes, run_python

zstandard = zstd = None
with contextlib.suppress(ImportError):
    from compression import zstd
if zstd is None:
    with contextlib.suppress(ImportError):
        import zstandard
try:
    import lz4.frame as python_lz4
except ImportError:
    python_lz4 = None

NOISE = np.random.default_rng(0).integers(0, 256, 90_000, "u1")
VALUE = {"array": np.arange(30_000.0), "text": "é" * 5000, "noise": NOISE}
OURS = file_bytes(VALUE)
PLAIN = pickle.dumps(VALUE)
HALF = len(OURS) // 2


def halves(compress, between=b""):
    return compress(OURS[:HALF]) + between + compress(OURS[HALF:])


def pieces(compress, n_bytes):
    return b"".join(compress(OURS[i : i + n_bytes]) for i in range(0, len(OURS), n_bytes))


def skippable(n_bytes, kind=0):
    return struct.pack("<II", 0x184D2A50 + kind, n_bytes) + b"s" * n_bytes


def program(*command):
    """What a program makes of its standard input."""

    def run(data):
        if shutil.which(command[0]) is None:
            pytest.skip(f"needs the program {command[0]}")
        done = subprocess.run(command, input=data, capture_output=True, timeout=300)
        if done.returncode != 0:
            pytest.skip(f"{command[0]} does not know: {done.stderr.decode().strip()}")
        return done.stdout

    return run


# ---------------------------------------------------------------- zstd


def zstd_frame(data):
    if zstd is not None:
        return zstd.compress(data)
    return zstandard.ZstdCompressor().compress(data)


def zstd_without_size(data, window_log=None):
    """A frame that says no size, or, untrue as that may be, that it needs a window of such size."""
    if zstd is not None:
        compressor = zstd.ZstdCompressor()
        frame = compressor.compress(data) + compressor.flush()
    else:
        compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
        frame = compressor.compress(data) + compressor.flush()
    descriptor = frame[4]
    assert not descriptor & 0xE0, "neither a content size nor a single segment"
    if window_log is not None:
        frame = frame[:5] + bytes(((window_log - 10) << 3,)) + frame[6:]
    return frame


def zstd_with_dictionary(data):
    frame = zstd_without_size(data)
    return frame[:4] + bytes((frame[4] | 1,)) + frame[5:6] + b"\x55" + frame[6:]


def zstd_reserved_bit(data):
    frame = zstd_without_size(data)
    return frame[:4] + bytes((frame[4] | 8,)) + frame[5:]


def pzstd(data):
    if shutil.which("pzstd") is None:
        pytest.skip("needs the program pzstd")
    done = subprocess.run(["pzstd", "-q", "-c", "-p", "3"], input=data, capture_output=True)
    assert done.returncode == 0
    assert done.stdout.startswith(b"\x50\x2a\x4d\x18")
    return done.stdout


def zstd_decoded(data):
    if zstd is not None:
        options = {zstd.DecompressionParameter.window_log_max: 31}
        return zstd.decompress(data, options=options)
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    with decompressor.stream_reader(data, read_across_frames=True) as reader:
        return reader.read()


ZSTD = {
    "one frame": lambda: zstd_frame(OURS),
    "of a pickle": lambda: zstd_frame(PLAIN),
    "without its size": lambda: zstd_without_size(OURS),
    "two frames": lambda: halves(zstd_frame),
    "many frames": lambda: pieces(zstd_frame, 1000),
    "empty frames": lambda: zstd_frame(b"") + halves(zstd_frame, zstd_frame(b"")) + zstd_frame(b""),
    "skippable in front": lambda: skippable(10) + zstd_frame(OURS),
    "an empty skippable in front": lambda: skippable(0) + zstd_frame(OURS),
    "a large skippable in front": lambda: skippable(3 << 20) + zstd_frame(OURS),
    "all sixteen kinds in front": lambda: (
        b"".join(skippable(i, i) for i in range(16)) + zstd_frame(OURS)
    ),
    "skippable between": lambda: halves(zstd_frame, skippable(7) + skippable(0, 15)),
    "a large skippable between": lambda: halves(zstd_frame, skippable(3 << 20)),
    "skippable behind": lambda: zstd_frame(OURS) + skippable(9, 15),
    "a large skippable behind": lambda: zstd_frame(OURS) + skippable(3 << 20),
    "skippable everywhere": lambda: (
        skippable(4) + pieces(lambda data: skippable(4) + zstd_frame(data) + skippable(0), 50_000)
    ),
    **{
        f"a window of 2**{log}": lambda log=log: zstd_without_size(OURS, log)
        for log in (20, 27, 28, 30, 31)
    },
    "pzstd": lambda: pzstd(OURS),
    "the program": lambda: program("zstd", "-q", "-c")(OURS),
    "the program, without checksum": lambda: program("zstd", "-q", "-c", "--no-check")(OURS),
    "the program, --long=31": lambda: program("zstd", "-q", "-c", "--long=31")(OURS),
    "the program, --ultra -22": lambda: program("zstd", "-q", "-c", "--ultra", "-22")(OURS),
}
# ---------------------------------------------------------------- gzip


def gzip_member(data, flags=0, fields=b"", level=6):
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = compressor.compress(data) + compressor.flush()
    header = bytes((0x1F, 0x8B, 8, flags)) + b"\x01\x02\x03\x04\x00\x03" + fields
    if flags & 2:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    return header + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


EXTRA = struct.pack("<H", 6) + b"BC\x02\x00\x00\x00"  # as bgzip writes it
GZIP = {
    "one member": lambda: gzip.compress(OURS),
    "of a pickle": lambda: gzip.compress(PLAIN),
    "stored": lambda: gzip_member(OURS, level=0),
    "extra field": lambda: gzip_member(OURS, 4, EXTRA),
    "a long extra field": lambda: gzip_member(OURS, 4, struct.pack("<H", 65535) + b"e" * 65535),
    "name": lambda: gzip_member(OURS, 8, b"model.pkl\0"),
    "a long name": lambda: gzip_member(OURS, 8, b"n" * 1_200_000 + b"\0"),
    "comment": lambda: gzip_member(OURS, 16, b"a comment\0"),
    "header checksum": lambda: gzip_member(OURS, 2),
    "all fields": lambda: gzip_member(OURS, 31, EXTRA + b"name\0comment\0"),
    "two members": lambda: halves(gzip.compress),
    "many members": lambda: (
        pieces(functools.partial(gzip_member, flags=4, fields=EXTRA), 20_000)
        + gzip_member(b"", 4, EXTRA)
    ),
    "an empty member first": lambda: gzip_member(b"") + gzip_member(OURS),
    "an empty member last": lambda: gzip_member(OURS) + gzip_member(b""),
    "zeros behind": lambda: gzip_member(OURS) + bytes(5000),
    "zeros between": lambda: halves(gzip_member, bytes(512)),
    "the program": lambda: program("gzip", "-c")(OURS),
}
# ---------------------------------------------------------------- xz, lzma


def lzma_alone(data, size=-1, dictionary=None):
    stream = lzma.compress(data, lzma.FORMAT_ALONE)
    if dictionary is not None:
        stream = stream[:1] + struct.pack("<I", dictionary) + stream[5:]
    return stream[:5] + struct.pack("<q", size) + stream[13:]


XZ = {
    "one stream": lambda: lzma.compress(OURS),
    "of a pickle": lambda: lzma.compress(PLAIN),
    "two streams": lambda: halves(lzma.compress),
    "padding between": lambda: halves(lzma.compress, bytes(8)),
    "padding behind": lambda: lzma.compress(OURS) + bytes(4096),
    "padding everywhere": lambda: pieces(lambda data: lzma.compress(data) + bytes(12), 100_000),
    "an empty stream first": lambda: lzma.compress(b"") + bytes(4) + lzma.compress(OURS),
    **{
        f"check {check}": lambda check=check: lzma.compress(OURS, check=check)
        for check in (lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256)
    },
    "filters": lambda: lzma.compress(
        OURS,
        filters=[
            {"id": lzma.FILTER_X86},
            {"id": lzma.FILTER_DELTA, "dist": 8},
            {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26},
        ],
    ),
    "blocks": lambda: program("xz", "-c", "-T2", "--block-size=50000")(OURS),
    "the program": lambda: program("xz", "-c", "-9")(OURS),
}
LZMA = {
    "unknown size": lambda: lzma_alone(OURS),
    "of a pickle": lambda: lzma_alone(PLAIN),
    "known size and a mark": lambda: lzma_alone(OURS, len(OURS)),
    "a dictionary of 3 GiB": lambda: lzma_alone(OURS, dictionary=3 << 30),
    "a dictionary of an odd size": lambda: lzma_alone(OURS, dictionary=(9 << 20) + (1 << 8)),
    "the program": lambda: program("xz", "-c", "--format=lzma")(OURS),
}
# ---------------------------------------------------------------- bz2, lz4, zlib

BZ2 = {
    "one stream": lambda: bz2.compress(OURS),
    "of a pickle": lambda: bz2.compress(PLAIN),
    "small blocks": lambda: bz2.compress(OURS, 1),
    "many streams": lambda: pieces(bz2.compress, 30_000),
    "empty streams": lambda: bz2.compress(b"") + halves(bz2.compress, bz2.compress(b"")),
    "an empty stream last": lambda: bz2.compress(OURS) + bz2.compress(b""),
    "zeros behind": lambda: bz2.compress(OURS) + bytes(100),
    "the program": lambda: program("bzip2", "-c")(OURS),
}


def literals(data):
    """A block of LZ4 in which nothing is found."""
    if len(data) < 15:
        return bytes((len(data) << 4,)) + data
    n_more = len(data) - 15
    return b"\xf0" + b"\xff" * (n_more // 255) + bytes((n_more % 255,)) + data


def lz4_legacy(data):
    """What lz4 wrote before there were frames: blocks of 8 MiB and no end."""
    stream = b"\x02\x21\x4c\x18"
    for i in range(0, len(data), 8 << 20):
        block = literals(data[i : i + (8 << 20)])
        stream += struct.pack("<I", len(block)) + block
    return stream


def lz4_frame(data):
    file = io.BytesIO()
    writer = fastpersist.codecs.COMPRESSORS["lz4"].compressor_file(file)
    writer.write(data)
    writer.close()
    return file.getvalue()


LZ4 = {
    "one frame": lambda: lz4_frame(OURS),
    "of a pickle": lambda: lz4_frame(PLAIN),
    "two frames": lambda: halves(lz4_frame),
    "skippable in front": lambda: skippable(10) + lz4_frame(OURS),
    "skippable everywhere": lambda: (
        skippable(0)
        + pieces(lambda data: skippable(4, 9) + lz4_frame(data) + skippable(70_000, 15), 50_000)
    ),
    "legacy": lambda: lz4_legacy(OURS),
    "legacy, of a pickle": lambda: lz4_legacy(PLAIN),
    "legacy and a frame": lambda: lz4_legacy(OURS[:HALF]) + lz4_frame(OURS[HALF:]),
    "a frame and legacy": lambda: lz4_frame(OURS[:HALF]) + lz4_legacy(OURS[HALF:]),
    "legacy twice": lambda: halves(lz4_legacy),
    "legacy and skippable": lambda: halves(lz4_legacy, skippable(5)) + skippable(0),
    "the program": lambda: program("lz4", "-c")(OURS),
    "the program, linked": lambda: program("lz4", "-c", "-BD", "-B4", "--content-size")(OURS),
    "the program, legacy": lambda: program("lz4", "-c", "-l")(OURS),
}
ZLIB = {
    "one stream": lambda: zlib.compress(OURS),
    "of a pickle": lambda: zlib.compress(PLAIN),
    "stored": lambda: zlib.compress(OURS, 0),
}


def bz2_decoded(data):
    made = b""
    while data.lstrip(b"\0"):
        stream = bz2.BZ2Decompressor()
        made += stream.decompress(data.lstrip(b"\0"))
        assert stream.eof
        data = stream.unused_data
    return made


def lz4_decoded(data):
    if b"\x02\x21\x4c\x18" not in data and python_lz4 is not None:
        with python_lz4.open(io.BytesIO(data)) as file:
            return file.read()
    return program("lz4", "-d", "-c")(data)


CODECS = {
    "gzip": (GZIP, gzip.decompress),
    "xz": (XZ, lambda data: program("xz", "-d", "-c")(data)),
    "lzma": (LZMA, lambda data: lzma.decompress(data, lzma.FORMAT_ALONE)),
    "bz2": (BZ2, bz2_decoded),
    "lz4": (LZ4, lz4_decoded),
    "zlib": (ZLIB, zlib.decompress),
}
if zstd or zstandard:
    CODECS["zstd"] = (ZSTD, zstd_decoded)
KINDS = [(codec, name) for codec, (kinds, _) in CODECS.items() for name in kinds]
kinds = pytest.mark.parametrize(
    ("codec", "name"), KINDS, ids=[f"{codec}-{name}" for codec, name in KINDS]
)


@functools.cache
def stream(codec, name):
    return CODECS[codec][0][name]()


class OnlyReads:
    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, n_bytes):
        return self._file.read(n_bytes)

    def readline(self):
        return self._file.readline()


class Piecemeal(io.RawIOBase):
    """A socket or pipe in which little arrives at once."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, target):
        return self._file.readinto(memoryview(target)[:997])


@contextlib.contextmanager
def patience(seconds):
    """TimeoutError for what does not come back."""

    def raise_timeout(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---------------------------------------------------------------- loaded


@kinds
def test_the_codecs_own_decoder(codec, name):
    """The peer: each of these streams is a valid one."""
    data = stream(codec, name)
    if (codec, name) == ("xz", "filters") and not shutil.which("xz"):
        pytest.skip("needs the program xz")
    decoded = CODECS[codec][1]
    if (codec, name) == ("lz4", "a frame and legacy"):  # each by itself: the program refuses both
        at = data.index(b"\x02\x21\x4c\x18")
        assert decoded(data[:at]) + decoded(data[at:]) == OURS
    else:
        assert decoded(data) in (OURS, PLAIN)


@kinds
def test_loaded(codec, name, tmp_path):
    data = stream(codec, name)
    path = tmp_path / "file"
    path.write_bytes(data)
    for threads in (1, 3):
        assert_isomorphic(VALUE, fastpersist.load(path, threads=threads))
        assert_isomorphic(VALUE, fastpersist.load(io.BytesIO(data), threads=threads))
    assert_isomorphic(VALUE, fastpersist.load(OnlyReads(data)))
    assert_isomorphic(VALUE, fastpersist.load(io.BufferedReader(Piecemeal(data))))
    assert_isomorphic(VALUE, fastpersist.load(path, max_bytes=len(OURS)))
    with open(path, "rb") as file:
        assert_isomorphic(VALUE, fastpersist.load(file))
    fastpersist.verify(path)
    fastpersist.verify(io.BytesIO(data))


@kinds
def test_one_after_the_other(codec, name):
    """Of a file object, with another dump behind: uncompressed, and compressed again."""
    data = stream(codec, name)
    # Padding belongs to the codec, and nothing but another stream of it may follow.
    is_padded = "padding" in name or name == "zeros behind"
    between = (
        CODECS[codec][0]["one stream" if codec in ("xz", "bz2") else "one member"]()
        if is_padded
        else file_bytes("between")
    )
    file = io.BytesIO(b"begin" + data + between + data + data)
    file.seek(5)
    for expected in (VALUE, VALUE if is_padded else "between", VALUE, VALUE):
        assert_isomorphic(expected, fastpersist.load(file))
    with pytest.raises(EOFError):
        fastpersist.load(file)


# Joblib has no zstd. Meant to differ:
JOBLIB_FAILS = {
    # It reads the first member, and then nothing, for ever.
    ("gzip", "two members"): TimeoutError,
    ("gzip", "many members"): TimeoutError,
    ("gzip", "an empty member first"): TimeoutError,
    ("gzip", "zeros between"): TimeoutError,
    ("gzip", "zeros behind"): TimeoutError,
    ("gzip", "an empty member last"): TimeoutError,
    # lzma.LZMAFile takes padding for the end, or for a stream.
    ("xz", "padding between"): EOFError,
    ("xz", "padding behind"): EOFError,
    ("xz", "padding everywhere"): EOFError,
    ("xz", "an empty stream first"): EOFError,
    # By itself liblzma finds out nothing.
    ("lzma", "a dictionary of an odd size"): lzma.LZMAError,
    # It does not know these.
    ("lz4", "skippable in front"): pickle.UnpicklingError,
    ("lz4", "skippable everywhere"): pickle.UnpicklingError,
    ("lz4", "legacy"): KeyError,
    ("lz4", "legacy, of a pickle"): KeyError,
    ("lz4", "legacy and a frame"): KeyError,
    ("lz4", "a frame and legacy"): RuntimeError,
    ("lz4", "legacy twice"): KeyError,
    ("lz4", "legacy and skippable"): KeyError,
    ("lz4", "the program, legacy"): KeyError,
}


@pytest.mark.parametrize(
    ("codec", "name"),
    [kind for kind in KINDS if kind[0] != "zstd"],
    ids=[f"{codec}-{name}" for codec, name in KINDS if codec != "zstd"],
)
def test_beside_joblib(codec, name, tmp_path):
    if codec == "lz4" and python_lz4 is None:
        pytest.skip("joblib needs python-lz4")
    path = tmp_path / "file"
    path.write_bytes(stream(codec, name))
    error = JOBLIB_FAILS.get((codec, name))
    if error is None:
        assert_isomorphic(VALUE, joblib.load(path))
        return
    with pytest.raises(error), patience(1 if error is TimeoutError else 60):
        joblib.load(path)


def test_a_long_legacy_frame():
    """Of more than one block."""
    value = np.random.default_rng(1).integers(0, 256, 9 << 20, "u1")
    data = lz4_legacy(file_bytes(value))
    for source in (io.BytesIO(data), OnlyReads(data)):
        assert np.array_equal(fastpersist.load(source), value)


# ---------------------------------------------------------------- damage is damage


@kinds
def test_cuts_are_damage(codec, name, tmp_path):
    """At the first bytes, and all the way: skippable frames that end too early among them."""
    data = stream(codec, name)
    path = tmp_path / "file"
    n_cuts = 20 if NIGHT else 7
    for n_bytes in {*range(1, 40), *range(40, len(data), len(data) // n_cuts)}:
        cut = data[:n_bytes]
        if cut.strip(b"s") in {skippable(n)[:8] for n in (4, 10)} and len(cut) >= 8:
            continue
        path.write_bytes(cut)
        for source in (path, io.BytesIO(cut), OnlyReads(cut)):
            try:
                loaded = fastpersist.load(source)
            except (EOFError, pickle.UnpicklingError) as error:
                if source is path:
                    assert isinstance(error, fastpersist.CorruptFileError)
            else:  # what is missing was padding, or an empty member
                assert_isomorphic(VALUE, loaded)


@pytest.mark.parametrize("n_frames", [1, 3])
def test_nothing_but_skippable_frames(n_frames, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(skippable(5) * n_frames)
    for call in (fastpersist.load, fastpersist.verify):
        with pytest.raises(fastpersist.CorruptFileError, match="no dump"):
            call(path)
        for source in (io.BytesIO(path.read_bytes()), OnlyReads(path.read_bytes())):
            with pytest.raises(EOFError):
                call(source)


def test_skippable_frames_that_are_cut(tmp_path):
    path = tmp_path / "file"
    for n_bytes in (5, 100_000, 3 << 20):
        frame = skippable(n_bytes)
        for n_kept in (4, 6, 8, len(frame) - 1):
            path.write_bytes(frame[:n_kept])
            for source in (path, io.BytesIO(frame[:n_kept]), OnlyReads(frame[:n_kept])):
                with pytest.raises(fastpersist.TruncatedFileError, match="to be skipped"):
                    fastpersist.load(source)


def test_a_pickle_that_begins_like_a_skippable_frame():
    """Protocol 1, of a str of 0x184D2A bytes and more: its length comes first."""
    for n_bytes in (0x184D2A,):
        data = pickle.dumps("x" * n_bytes, 1)
        assert data.startswith(b"X\x2a\x4d\x18\x00")
    for n_bytes in (0x184D2A,):
        assert fastpersist.load(io.BytesIO(pickle.dumps("x" * n_bytes, 1))) == "x" * n_bytes


def test_what_ends_as_a_file_of_ours_does(tmp_path):
    """Stored as it is, and no checksum behind it: the last bytes are those of the dump."""
    path = tmp_path / "file"

    class Stored(io.BytesIO):
        """A compressor of a user's that does nothing but put its magic in front."""

        def __init__(self, file, mode):
            super().__init__()
            self._file = file if not isinstance(file, str) else open(file, mode)
            if mode == "wb":
                self._file.write(b"<stored>")
            else:
                self._file.read(8)
                self.read, self.readinto = self._file.read, self._file.readinto
                self.readline = self._file.readline

        def write(self, data):
            return self._file.write(data)

        def close(self):
            if hasattr(self._file, "name") and isinstance(self._file.name, str):
                self._file.close()

    with contextlib.ExitStack() as stack:
        compressors = fastpersist.codecs.COMPRESSORS
        stack.callback(compressors.pop, "stored", None)
        wrapper = fastpersist.CompressorWrapper(Stored, b"<stored>", ".stored")
        fastpersist.register_compressor("stored", wrapper)
        path.write_bytes(b"<stored>" + OURS)
        assert_isomorphic(VALUE, fastpersist.load(path))
        fastpersist.verify(path)
    for call in (fastpersist.load, fastpersist.verify):
        with pytest.raises(fastpersist.CorruptFileError):
            call(path)
    for wrong in (b"\x00" * 30 + OURS[30:], b"\x80\x04" + OURS[2:], b"in front" + OURS):
        path.write_bytes(wrong)
        for call in (fastpersist.load, fastpersist.verify):
            with pytest.raises(fastpersist.CorruptFileError):
                call(path)


@kinds
def test_other_data_behind(codec, name, tmp_path):
    """Of a path nobody knows what it is; of a file object it is the caller's."""
    data = stream(codec, name)
    path = tmp_path / "file"
    path.write_bytes(data + b"other data")
    with pytest.raises(fastpersist.CorruptFileError):
        fastpersist.load(path)
    with pytest.raises(fastpersist.CorruptFileError):
        fastpersist.verify(path)
    file = io.BytesIO(data + b"other data")
    assert_isomorphic(VALUE, fastpersist.load(file))
    rest = file.read()
    assert rest.endswith(b"other data")
    assert data.endswith(rest[: -len(b"other data")])


# ---------------------------------------------------------------- limits are none


def refused():
    """Sound streams that need what is not there: by codec, and what the message must say."""
    dictionary = zlib.compressobj(zdict=b"hello" * 100)
    with_dictionary = dictionary.compress(OURS) + dictionary.flush()
    flags = bytes((0x64 | 1, 0x70))  # of a frame with a dictionary's number
    header = flags + b"\x05\x00\x00\x00"
    # The header's checksum comes from the frame's own writer; see xxhash below.
    import xxhash

    check = bytes((xxhash.xxh32(header).intdigest() >> 8 & 0xFF,))
    lz4_dictionary = b"\x04\x22\x4d\x18" + header + check + lz4_frame(OURS)[7:]
    found = {
        "zlib, a dictionary": (with_dictionary, "preset dictionary"),
        "lz4, a dictionary": (lz4_dictionary, "needs a dictionary"),
        "xz, a filter that is unknown": (xz_with_unknown_filter(), "options or filters"),
    }
    if zstd or zstandard:
        found |= {
            "zstd, a dictionary": (zstd_with_dictionary(OURS), "needs a dictionary"),
            "zstd, a window of 4 GiB": (
                zstd_without_size(OURS, 32),
                "window of more than 2048 MiB.*zstd --long=31 at most",
            ),
            "zstd, a window of 2 TiB": (zstd_without_size(OURS, 41), "window of more than"),
            "zstd, a reserved bit": (zstd_reserved_bit(OURS), "a newer one"),
        }
    return found


def xz_with_unknown_filter():
    """Of xz: the id of its one filter replaced, and the header's checksum made right."""
    data = lzma.compress(OURS)
    n_header = (data[12] + 1) * 4
    header = bytearray(data[12 : 12 + n_header - 4])
    at = header.index(0x21)  # LZMA2
    header[at] = 0x3F
    return data[:12] + bytes(header) + struct.pack("<I", zlib.crc32(header)) + data[12 + n_header :]


REFUSED = refused()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_decoded_is_not_damage(name, tmp_path):
    """It says what it is, and what to do about it."""
    data, words = REFUSED[name]
    path = tmp_path / "file"
    path.write_bytes(data)
    for threads in (1, 3):
        for source in (path, io.BytesIO(data), OnlyReads(data)):
            with pytest.raises(ValueError, match=words) as caught:
                fastpersist.load(source, threads=threads)
            assert type(caught.value) is ValueError
            assert "compress it" in str(caught.value) or "a newer one" in str(caught.value)
            assert (repr(str(path)) in str(caught.value)) == (source is path)
    for source in (path, io.BytesIO(data)):
        with pytest.raises(ValueError, match=words) as caught:
            fastpersist.verify(source)
        assert type(caught.value) is ValueError
    skipped = skippable(6) + data
    if name.startswith(("zstd", "lz4")):
        path.write_bytes(skipped)
        with pytest.raises(ValueError, match=words) as caught:
            fastpersist.load(path)
        assert type(caught.value) is ValueError


NO_MEMORY = """
import io, resource, sys
import fastpersist

fastpersist.load(io.BytesIO(open(sys.argv[2], "rb").read()))  # what is imported late
size = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1])
limit = (size << 10) + (400 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for source in (sys.argv[1], io.BytesIO(open(sys.argv[1], "rb").read())):
    for call in (fastpersist.load, fastpersist.verify):
        try:
            call(source)
        except MemoryError as error:
            print("MemoryError", str(error)[:60])
        if source is not sys.argv[1]:
            source.seek(0)
print(fastpersist.load(sys.argv[2])["text"][:3])
"""


MEMORY = {
    "lzma": lambda: lzma_alone(OURS, dictionary=3 << 30),
    "zstd": lambda: zstd_without_size(OURS, 31),
}


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="the sanitizer has an address space")
@pytest.mark.parametrize("codec", [codec for codec in MEMORY if codec in CODECS])
def test_want_of_memory_is_not_damage(codec, tmp_path):
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(MEMORY[codec]())
    small.write_bytes(zstd_without_size(OURS) if codec == "zstd" else lzma_alone(OURS))
    printed = run_python(NO_MEMORY, large, small, env=FRUGAL).splitlines()
    assert [line.partition(" ")[0] for line in printed] == ["MemoryError"] * 4 + ["ééé"]


PEAK = """
import io, sys
import fastpersist
from peak import peak_kib

fastpersist.load(sys.argv[2])
before = peak_kib()
fastpersist.load(sys.argv[1])
print((peak_kib() - before) >> 10)
"""


@pytest.mark.parametrize("codec", [codec for codec in MEMORY if codec in CODECS])
def test_what_a_header_claims_takes_no_memory(codec, tmp_path):
    """A window of 2 GiB is used as far as something is decoded into it."""
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(MEMORY[codec]())
    small.write_bytes(zstd_without_size(OURS) if codec == "zstd" else lzma_alone(OURS))
    # The sanitizer marks an eighth of what is allocated, 3 GiB at most.
    room_mib = 64 + (384 if "ASAN_OPTIONS" in os.environ else 0)
    assert int(run_python(PEAK, large, small, env=FRUGAL)) < room_mib
