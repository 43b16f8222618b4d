"""What many test files share: dumping in every way, running other processes."""

import io
import os
import pathlib
import pickle
import pickletools
import re
import subprocess
import sys

import fastpersist
import written_names
from compare import shorten
from hypothesis import settings

# How much more than usual the generated tests do: see examples().
EFFORT = int(os.environ.get("FASTPERSIST_TEST_EFFORT", "1"))
# pytest --night: see tests/conftest.py.
NIGHT = "FASTPERSIST_TEST_NIGHT" in os.environ
SUPPORT = pathlib.Path(__file__).resolve().parent
PROJECT = SUPPORT.parents[1]
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def examples(n, by_day=None):
    """Settings of a generated test; FASTPERSIST_TEST_EFFORT=100 runs it a hundred times as long."""
    return settings(max_examples=(n if NIGHT or by_day is None else by_day) * EFFORT)


# ---------------------------------------------------------------- dumping


def file_bytes(value, **kwargs):
    """The bytes that dump() writes to a file object."""
    file = io.BytesIO()
    assert fastpersist.dump(value, file, **kwargs) is None
    written_names.note(file.getvalue())
    return file.getvalue()


def through_file(value, **kwargs):
    """Dumped by us in the file layout, loaded by the standard library."""
    return pickle.loads(file_bytes(value, **kwargs))


def pickler_bytes(value, protocol=None, **kwargs):
    file = io.BytesIO()
    fastpersist.Pickler(file, protocol, **kwargs).dump(value)
    return file.getvalue()


def outcome(function, *arguments, **keywords):
    """What a call returned, or the type and text (without addresses) of what it raised."""
    try:
        return function(*arguments, **keywords)
    except RecursionError:
        return RecursionError  # where it is noticed, and so its text, may differ
    except Exception as error:
        return type(error), without_addresses(error)


def without_addresses(text):
    return re.sub("0x[0-9a-f]+", "0x...", str(text))


OUR_NOTE = "while dumping value"


def pickles_notes(error):
    """The notes that pickle adds itself (from 3.14 on), without the one of ours behind them."""
    notes = getattr(error, "__notes__", [])
    return [without_addresses(note) for note in notes if not note.startswith(OUR_NOTE)]


def outcome_of_dump(function, *arguments, **keywords):
    """As outcome(), with all else that pickle says: notes, cause and context."""
    raised = None

    def call():
        nonlocal raised
        try:
            return function(*arguments, **keywords)
        except Exception as error:
            raised = error
            raise

    result = outcome(call)
    if not isinstance(result, tuple):
        return result
    chain = []
    linked = raised
    while linked is not None:
        chain.append((type(linked), without_addresses(linked), linked.__suppress_context__))
        linked = linked.__cause__ or linked.__context__
    return *result, pickles_notes(raised), chain[1:]


def assert_same_pickle(value, protocols=PROTOCOLS, **kwargs):
    """dumps and a Pickler give pickle's very bytes, or fail as it does."""
    for protocol in protocols:
        expected = outcome_of_dump(pickle.dumps, value, protocol, **kwargs)
        if expected is RecursionError:
            continue  # ours goes deeper, or takes longer to give up: see test_depth.py
        got = outcome_of_dump(fastpersist.dumps, value, protocol, **kwargs)
        assert same_bytes(got, expected), f"dumps, protocol {protocol}"
        got = outcome_of_dump(pickler_bytes, value, protocol, **kwargs)
        assert same_bytes(got, expected), f"Pickler, protocol {protocol}"


def same_bytes(got, expected):
    """Equality whose failure shows opcodes in place of two walls of bytes."""
    if got == expected:
        return True
    if not (isinstance(got, bytes) and isinstance(expected, bytes)):
        raise AssertionError(f"got {shorten(got)}, expected {shorten(expected)}")
    at = next((i for i, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), None)
    at = min(len(got), len(expected)) if at is None else at
    raise AssertionError(
        f"{len(got)} bytes against {len(expected)}, different from byte {at}\n"
        f"got      ... {shorten(opcodes_from(got, at))}\n"
        f"expected ... {shorten(opcodes_from(expected, at))}"
    )


def opcodes_from(data, at, before=3, after=6):
    """The opcodes around one position, as far as they can be parsed."""
    seen = []
    try:
        for opcode, argument, position in pickletools.genops(data):
            seen.append((position, opcode.name, shorten(argument)[:60]))
            if position > at and sum(p > at for p, _, _ in seen) > after:
                break
    except Exception as error:
        seen.append(repr(error))
    first = sum(isinstance(s, tuple) and s[0] <= at for s in seen) - before
    return seen[max(0, first) :]


def opcode_names(data):
    return [opcode.name for opcode, _, _ in pickletools.genops(data)]


# ---------------------------------------------------------------- processes

# For a process whose memory is watched: the sanitizer is not to keep what was freed.
FRUGAL = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"}


def run_command(*arguments, cwd=None, stdin=subprocess.DEVNULL, **env):
    """The command line, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "fastpersist", *map(str, arguments)],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env={**os.environ, **env},
    )


def run_python(
    code, *arguments, warnings="error", timeout=300, env=None, python=sys.executable, given=""
):
    """Runs a script in a process of its own that sees all tests, and returns what it printed."""
    path = [str(SUPPORT), *sorted(map(str, SUPPORT.parent.glob("*/")))]
    path += [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), **(env or {})}
    done = subprocess.run(
        [python, "-W", warnings, "-c", code, *map(str, arguments)],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, (
        f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    )
    return done.stdout


def _persistent_id_is_read_only():
    try:
        pickle.Pickler(io.BytesIO()).persistent_id = len
    except AttributeError:
        return True
    return False


# Python 3.13.0 alone; ours takes the attribute on every version.
PERSISTENT_ID_IS_READ_ONLY = _persistent_id_is_read_only()


def _pickler_forbids_reentry():
    class Dumps:
        def write(self, data):
            pickler.dump(None)

    pickler = pickle.Pickler(Dumps())
    return outcome(pickler.dump, None) == (RuntimeError, "Pickler object is already used")


# From 3.13.12 and 3.14.3 on; before that what pickle does then may be a crash.
PICKLER_FORBIDS_REENTRY = _pickler_forbids_reentry()
