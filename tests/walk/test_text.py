"""Text of every width, in runs and mixtures, with and without UTF-8 that the str has already."""

import pickle
import random
import sys

import fastpersist
import pytest
from helpers import assert_same_pickle, file_bytes, through_file

ALPHABETS = {
    "latin": "ab\xe9\xff\x80\x7f",
    "cyrillic": "ab \u0434\u044f\u07ff",
    "han": "a \u6f22\u5b57\u0800\uffff",
    "surrogates": "a\ud800\udfff\u6f22",
    "astral": "a\U0001f600\U0010ffff\u6f22\xe9",
}
LENGTHS = [0, 1, 7, 8, 9, 17, 62, 63, 64, 65, 84, 85, 86, 127, 128, 255, 256, 300, 5000, 16385]
LENGTHS += [21846, 32768, 65536, 70001, 400_000]


def text(name, n):
    """Runs of one character, which differ in length, and mixtures."""
    source = random.Random(n)
    pieces = [source.choice(ALPHABETS[name]) * source.choice([1, 1, 3, 20]) for _ in range(2000)]
    some = "".join(pieces)
    return (some * (n // len(some) + 1))[:n]


def encode_beforehand(value):
    """pickle leaves UTF-8 in a str, where that has no surrogates."""
    pickle.dumps(value)
    return value


@pytest.mark.parametrize("name", ALPHABETS)
@pytest.mark.parametrize("prepared", [str, encode_beforehand], ids=["fresh", "encoded"])
def test_the_bytes_are_pickles(name, prepared):
    for n in LENGTHS:
        value = prepared(text(name, n))
        assert_same_pickle([value, value, text(name, n)], protocols=(1, 2, 3, 4, 5))


@pytest.mark.parametrize("name", ALPHABETS)
@pytest.mark.parametrize("prepared", [str, encode_beforehand], ids=["fresh", "encoded"])
def test_a_file_holds_it(name, prepared):
    values = [prepared(text(name, n)) for n in LENGTHS]
    assert through_file(values) == values
    # Characters that the end of a block cuts.
    values = ["x" * i + text(name, 1_500_000 + i) for i in range(4)]
    assert through_file([prepared(value) for value in values]) == values


@pytest.mark.parametrize("name", ALPHABETS)
def test_nothing_is_left_in_the_str(name):
    for n in (10, 100, 5000, 400_000):
        value = text(name, n)
        before = sys.getsizeof(value)
        fastpersist.dumps(value)
        file_bytes(value)
        assert sys.getsizeof(value) == before
