"""Text of every width and length, whole, with surrogates and damaged, as pickle loads it."""

import codecs
import io
import pickle
import random
import struct
import sys

import fastpersist
import pytest
from helpers import file_bytes, outcome

ALPHABETS = {
    "ascii": ["abc xyz", "\x00\x7f"],
    "latin": ["abc xyz" * 3, "\xe4\xf6\xfc\xdf\x80\xbf\xc0\xff"],
    "cyrillic": [" ", "\u0430\u044f\u0100\u07ff\xe9"],
    "han": ["ab", "\u0434", "\u6f22\u5b57\u3000\u0800\uffff\ud7ff\ue000" * 2],
    "astral": ["a", "\xe9\u0434", "\u6f22", "\U0001f600\U0010ffff\U00010000"],
    "surrogates": ["ab", "\u6f22", "\ud800\udfff\udc80"],
}
ODD = [
    0x00,
    0x7F,
    0x80,
    0x9F,
    0xA0,
    0xBF,
    0xC0,
    0xC1,
    0xC2,
    0xE0,
    0xED,
    0xEF,
    0xF0,
    0xF4,
    0xF5,
    0xFF,
]


def text(name, n):
    source = random.Random(f"{name} {n}")
    return "".join(source.choice(source.choice(ALPHABETS[name])) for _ in range(n))


def forms(encoded):
    """Pickles of the same text by each opcode that can hold it."""
    if len(encoded) < 256:
        yield b"\x80\x05\x8c" + bytes([len(encoded)]) + encoded + b"."
    yield b"\x80\x05X" + struct.pack("<I", len(encoded)) + encoded + b"."
    yield b"\x80\x05\x8d" + struct.pack("<Q", len(encoded)) + encoded + b"."


def assert_loads_as_pickle(encoded):
    for stream in forms(encoded):
        expected = outcome(pickle.loads, stream)
        assert outcome(fastpersist.loads, stream) == expected
        assert outcome(fastpersist.Unpickler(io.BytesIO(stream)).load) == expected
        if isinstance(expected, str):
            got = fastpersist.loads(stream)
            assert sys.getsizeof(got) == sys.getsizeof(expected)
            assert hash(got) == hash(expected)


@pytest.mark.parametrize("name", ALPHABETS)
def test_text_is_what_pickle_loads(name):
    for n in [*range(150), 255, 256, 4095, 30_000]:
        assert_loads_as_pickle(text(name, n).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", ALPHABETS)
def test_damaged_text_fails_as_it_does_in_pickle(name):
    source = random.Random(name)
    for _ in range(400):
        encoded = bytearray(
            text(name, source.choice([1, 2, 5, 20, 60, 300])), "utf-8", "surrogatepass"
        )
        for _ in range(source.randint(1, 2)):
            encoded[source.randrange(len(encoded))] = source.choice(ODD)
        assert_loads_as_pickle(bytes(encoded))
        assert_loads_as_pickle(bytes(encoded[: source.randrange(len(encoded) + 1)]))


@pytest.mark.parametrize("name", ALPHABETS)
def test_text_from_a_file_is_what_was_dumped(name):
    # The longest ones lie outside the graph.
    values = [text(name, n) for n in (0, 1, 5, 50, 5000, 16_384, 70_000)]
    assert fastpersist.load(io.BytesIO(file_bytes(values))) == values


def test_characters_of_latin_1_are_the_ones_that_python_shares():
    for character in map(chr, range(256)):
        assert fastpersist.loads(pickle.dumps(character, 5)) is pickle.loads(
            pickle.dumps(character, 5)
        )


def test_surrogates_go_to_the_handler_that_is_registered():
    stream = b"\x80\x05\x8c\x05a\xed\xa0\x80b."
    usual = codecs.lookup_error("surrogatepass")
    codecs.register_error("surrogatepass", lambda error: ("?", error.end))
    try:
        expected = pickle.loads(stream)
        got = fastpersist.loads(stream)
    finally:
        codecs.register_error("surrogatepass", usual)
    assert got == expected
    assert got != "a\ud800b"
