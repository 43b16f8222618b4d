"""zstd as others write it: frames of every kind, whole and damaged."""

import functools
import io
import pickle
import random

import fastpersist
import numpy as np
import pytest
from compare import assert_isomorphic
from file_objects import Bare
from helpers import NIGHT, file_bytes

zstd_frames = pytest.importorskip(
    "zstd_frames", reason="needs Python 3.14 or the package zstandard"
)

NOISE = np.random.default_rng(0).integers(0, 256, 300_000, "u1")
VALUE = {"noise": NOISE, "zeros": np.zeros(90_000), "text": ["some text", b"bytes", 5] * 600}
CONTENTS = {
    "ours": file_bytes(VALUE),
    "pickle": pickle.dumps(VALUE, 4),
    "small": pickle.dumps([1, 2]),
}
KINDS = [
    pytest.param(kind, content, id=f"{kind}-{content}")
    for content in CONTENTS
    for kind in zstd_frames.kinds(b"")
    if not (kind == "a frame for every 999 bytes" and content == "ours")
]


@functools.cache
def made(content):
    return zstd_frames.kinds(CONTENTS[content])


def readers(data, path):
    path.write_bytes(data)
    yield lambda: fastpersist.load(path)
    yield lambda: fastpersist.load(path, threads=1)
    yield lambda: fastpersist.load(io.BytesIO(data))
    yield lambda: fastpersist.load(io.BufferedReader(io.BytesIO(data), 100))
    yield lambda: fastpersist.load(Bare(data))


@pytest.mark.parametrize("kind, content", KINDS)
def test_frames_of_every_kind(kind, content, tmp_path):
    plain = CONTENTS[content]
    data = made(content)[kind]
    assert zstd_frames.decompressed(data) == plain
    expected = pickle.loads(plain)
    for read in readers(data, tmp_path / "file"):
        assert_isomorphic(expected, read())
    fastpersist.verify(tmp_path / "file")


def test_what_we_write_the_library_reads():
    for level in (None, 1, 9):
        for threads in (1, 3):
            data = file_bytes(VALUE, compress=("zstd", level), threads=threads)
            assert zstd_frames.decompressed(data) == CONTENTS["ours"]


@pytest.mark.parametrize("kind", ["checksum", "many blocks", "two frames", "skippable frames"])
def test_frames_that_are_cut(kind, tmp_path):
    chance = random.Random(0)
    whole = made("pickle")[kind]
    end = len(whole) - (300_008 if kind == "skippable frames" else 0)  # of what counts
    for length in {
        1,
        3,
        4,
        5,
        9,
        end // 2,
        end - 5,
        end - 1,
        *chance.choices(range(end), k=20 if NIGHT else 6),
    }:
        for read in readers(whole[:length], tmp_path / "file"):
            with pytest.raises((pickle.UnpicklingError, EOFError)):
                read()
        with pytest.raises((pickle.UnpicklingError, EOFError)):
            fastpersist.verify(tmp_path / "file")


def test_a_frame_that_is_damaged(tmp_path):
    """Under a checksum every change is met."""
    chance = random.Random(1)
    whole = zstd_frames.frame(CONTENTS["pickle"], checksum=True)
    for _ in range(40 if NIGHT else 12):
        at, bit = chance.randrange(4, len(whole)), 1 << chance.randrange(8)
        data = whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
        for read in readers(data, tmp_path / "file"):
            with pytest.raises(fastpersist.CorruptFileError):
                read()


def test_a_dictionary_that_we_have_not_is_no_damage(tmp_path):
    data = zstd_frames.with_dictionary(CONTENTS["pickle"])
    for read in (*readers(data, tmp_path / "file"), lambda: fastpersist.verify(tmp_path / "file")):
        with pytest.raises(ValueError, match="needs a dictionary") as caught:
            read()
        assert not isinstance(caught.value, fastpersist.CorruptFileError)


def test_a_limit_holds_for_frames_of_unknown_size(tmp_path):
    data = zstd_frames.frame(pickle.dumps(bytes(8_000_000)), size=False)
    assert len(data) < 20_000
    path = tmp_path / "file"
    path.write_bytes(data)
    for source in (path, io.BytesIO(data)):
        with pytest.raises(pickle.UnpicklingError, match="max_bytes"):
            fastpersist.load(source, max_bytes=1 << 20)
