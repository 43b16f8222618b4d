"""What the fuzz target "restricted" does with an input; called by fuzz_python.c and by the tests.

Loads under the built-in policy, of bytes that may ask for anything: the first byte says how the
rest is read, as the target "survey" has it.

- no name is looked up that is not approved, whatever the bytes are, and nothing outside the process
  is reached for: an audit hook ends the program;
- an exception of a few kinds, or a value, comes of it;
- the survey in front and the machine do not differ: what the machine loads by itself asks for no
  name that the survey would have refused.
"""

from __future__ import annotations

import datetime
import decimal
import io
import os
import pickle
import sys
import uuid
import warnings
from collections import Counter, OrderedDict, defaultdict, deque

import attacks
import forged_files as forge
import numpy as np
import survey_target
import unpickle_target
from fastpersist import policy, restricted
from survey_target import opened
from unpickle_target import EXPECTED, LIMIT, OnlyRead, fastpersist, is_bounded

# The hook below takes the place of the other target's.
if unpickle_target.EMBEDDED:
    unpickle_target._refusing = False

RULES = policy.restriction(())
APPROVED = {(row.module, row.name) for row in policy.approved()}
APPROVED |= {("joblib.numpy_pickle", "NumpyArrayWrapper")}
APPROVED |= {("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper")}
HARMFUL = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.remove",
    "os.rename",
)
HARMFUL += ("os.mkdir", "os.rmdir", "os.chmod", "subprocess.", "socket.", "shutil.", "pty.")
HARMFUL += ("builtins.input", "builtins.breakpoint", "signal.", "tempfile.", "urllib.")
MAY_RAISE = (*EXPECTED, pickle.PickleError, ArithmeticError)

_watching = False


def _audit(event, arguments):
    if not _watching:
        return
    if event == "pickle.find_class" and tuple(arguments) not in APPROVED:
        sys.stderr.write(f"a restricted load looked up {arguments}\n")
        os.abort()
    if event.startswith(HARMFUL):
        sys.stderr.write(f"a restricted load did {event} {arguments}\n")
        os.abort()


sys.addaudithook(_audit)


def outcome(function, *arguments, **keywords):
    """What a call raised, or None."""
    global _watching
    _watching = True
    try:
        function(*arguments, **keywords)
    except MAY_RAISE as error:
        return error
    finally:
        _watching = False
    return None


def refused_names(data):
    """What the survey stands for: an UntrustedError with names, or None. That it takes a name in a
    str of Python 2 for computed, which the machine reads, is no difference to tell of."""
    survey = survey_target._core.survey_file(io.BytesIO(data), None, (1 << 64) - 1)
    if survey is None:
        return None
    error = outcome(restricted.audit, survey, RULES)
    if not isinstance(error, fastpersist.UntrustedError) or not error.names:
        return None
    return None if any("computed name" in reason for reason in error.reasons) else error


def as_pickle(data):
    both = outcome(fastpersist.loads, data, trusted=())
    alone = outcome(restricted._loads, data, trusted=RULES)
    if alone is None and data:
        refused = refused_names(data)
        assert refused is None, refused
    if both is None:
        assert alone is None or isinstance(alone, (MemoryError, RecursionError)), alone


def as_file(data):
    with opened(data) as (_, path):
        outcome(fastpersist.load, path, trusted=())
        outcome(fastpersist.load, path, "r", trusted=())
        audit, restricted.audit = restricted.audit, lambda *arguments: None
        try:
            outcome(fastpersist.load, path, trusted=())
        finally:
            restricted.audit = audit


def as_joblib(data):
    outcome(fastpersist.load, OnlyRead(data, 1 << 20), trusted=())
    outcome(fastpersist.load, io.BytesIO(data), trusted=())
    audit, restricted.audit = restricted.audit, lambda *arguments: None
    try:
        outcome(fastpersist.load, io.BytesIO(data), trusted=())
    finally:
        restricted.audit = audit


def as_graph(data):
    """u8 number of blobs; for each u8 kind and u8 length; the rest is the graph's opcodes."""
    n_blobs = data[0] % 6 if data else 0
    at = 1
    blobs = []
    for i in range(n_blobs):
        kind, length = (*data[at : at + 2], 0, 0)[:2]
        at += 2
        n_bytes = (length & 0x7F) << (9 if length & 0x80 else 0)
        blobs.append((kind % 3, bytes([65 + i]) * n_bytes))
    as_file(forge.dump(blobs, data[at:]))


def as_frames(data):
    """The graph's frames as they come, and the numbers of the blobs."""
    numbers = [int.from_bytes(data[i : i + 4], "little") for i in (0, 4, 8)]
    blobs = [(0, b"a" * 20000), (1, b"b" * 20), (2, b"c" * 20000)]
    as_file(forge.dump(blobs, graph=data[12:], numbers=numbers))


WAYS = [as_pickle, as_joblib, as_file, as_graph, as_frames]


def one(data):
    if not data or len(data) > LIMIT or not is_bounded(data):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        WAYS[data[0] % len(WAYS)](data[1:])


# ---------------------------------------------------------------- seeds

VALUES = [
    OrderedDict(a=1),
    defaultdict(list, a=[1]),
    Counter("abca"),
    deque([1, 2], 5),
    [decimal.Decimal("1.5"), datetime.datetime(2020, 1, 2, 3), datetime.date(2020, 1, 2)],
    [uuid.UUID(int=5), slice(1, 2), range(3), complex(1, 2), bytearray(b"ab"), {1, 2}],
    [np.float64(1.5), np.datetime64(1, "D"), np.dtype("f4,i2"), np.zeros(2, "M8[s]")],
    np.ma.array([1, 2, 3], mask=[0, 1, 0]),
    np.random.default_rng(0),
    np.random.RandomState(0),
    np.array([None, "a", [1]], object),
]


def seeds():
    """Those of the survey, the attacks, and what the tables of Python and NumPy approve."""
    names = {way.__name__: i for i, way in enumerate(WAYS)}
    for data in survey_target.seeds():
        yield bytes([names[survey_target.WAYS[data[0]].__name__]]) + data[1:]
    for value in VALUES:
        for protocol in (0, 2, 4, 5):
            yield bytes([names["as_pickle"]]) + pickle.dumps(value, protocol)
        file = io.BytesIO()
        fastpersist.dump(value, file)
        yield bytes([names["as_file"]]) + file.getvalue()
    for attack in attacks.ATTACKS:
        if attack.body is None:
            continue
        for data in attack.pickles().values():
            if len(data) < 4096 and b"\xff\xff\xff\x7f" not in data:
                yield bytes([names["as_pickle"]]) + data
        yield bytes([names["as_graph"], 0]) + attack.opcodes()[:4096]
