"""Damaged files are described up to the damage; and nothing of a hostile file is run."""

import io
import os
import pickle

import fastpersist
import forged_files as forge
import format_reader
import joblib
import numpy as np
import pytest
import sample_classes
import surveys
from fastpersist import CorruptFileError, TruncatedFileError, _core
from helpers import file_bytes, run_python


def model():
    return {
        "name": "text",
        "parts": [{"weights": np.arange(4000.0)}, {"weights": np.arange(3)}],
        "plain": sample_classes.Plain(a=[1, 2], b=np.arange(5)),
    }


def array_paths(survey):
    return [survey.path(r["node"]) for r in surveys.records(survey, "arrays")]


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_breaks_off(protocol):
    data = pickle.dumps(model(), protocol)
    whole = array_paths(surveys.check(surveys.every_survey(data), len(data)))
    n_described = []
    for n in [
        *range(25, 200, 7),
        *range(200, len(data), len(data) // 30),
        *range(len(data) - 200, len(data), 5),
    ]:
        survey = surveys.every_survey(data[:n])
        assert not survey.complete and isinstance(survey.damage, CorruptFileError)
        assert survey.damage.offset <= n and survey.damage.section == "pickle"
        nodes = surveys.records(survey, "nodes")
        assert sum(survey.sums.values()) == survey.length <= n
        assert len(set(surveys.paths(survey))) == len(nodes)
        n_described.append(len(set(whole) & set(array_paths(survey))))
    # What was complete is found where it would be: arrays that were set in front, by their paths.
    assert max(n_described) >= 1 or protocol < 2


@pytest.mark.parametrize("n_threads", [1, 3])
def test_every_byte_of_a_file_of_ours(n_threads, tmp_path):
    data = bytearray(file_bytes(model()))
    dump = format_reader.read(bytes(data))
    path = tmp_path / "file"
    places = [*range(21), *dump.graph, *range(dump.footer.start, len(data))]
    for at in places[:: 1 if n_threads == 1 else 11]:
        data[at] ^= 0x21
        path.write_bytes(data)
        with open(path, "rb") as file:
            found = _core.survey_descriptor(file.fileno(), str(path), n_threads)
        damage = found[0].damage
        assert isinstance(damage, (CorruptFileError, pickle.UnpicklingError)), at
        if isinstance(damage, CorruptFileError):
            assert damage.path == str(path) and damage.offset is not None
        with pytest.raises(type(damage)) as caught:
            fastpersist.load(path)
        assert str(caught.value) == str(damage)
        streamed = surveys.of_file(io.BytesIO(data))
        assert streamed.damage is not None or streamed.kind != "fastpersist"
        data[at] ^= 0x21
    path.write_bytes(data)
    with open(path, "rb") as file:
        surveys.check(_core.survey_descriptor(file.fileno(), str(path), n_threads)[0])


def test_a_damaged_graph_is_surveyed_all_the_same():
    """With its damage: the opcodes may be others, but they say where things are."""
    data = bytearray(file_bytes(model()))
    dump = format_reader.read(bytes(data))
    at = bytes(data).index(b"text", dump.graph.start)
    data[at] ^= 1
    survey = surveys.of_descriptor(bytes(data))[0]
    assert survey.damage.section == "graph" and survey.kind == "fastpersist"
    assert set(array_paths(survey)) == {
        "['parts'][0]['weights']",
        "['parts'][1]['weights']",
        "['plain'].b",
    }


def test_a_dump_that_breaks_off():
    data = file_bytes(model())
    dump = format_reader.read(data)
    for n in (
        len(data) - 1,
        dump.footer.start,
        dump.graph.stop - 3,
        dump.graph.start + 30,
        100,
        21,
        5,
    ):
        for found in (surveys.of_descriptor(data[:n])[0], surveys.of_file(io.BytesIO(data[:n]))):
            assert isinstance(found.damage, TruncatedFileError), n
            assert sum(found.sums.values()) == found.length <= n
            if n >= dump.graph.stop:
                assert "['parts'][0]['weights']" in array_paths(found)
    assert surveys.of_file(io.BytesIO(b"")) is None
    with pytest.raises(EOFError):
        surveys.of_descriptor(b"")


def test_several_dumps_of_ours():
    parts = [file_bytes([i, np.arange(3000 + i)]) for i in range(3)]
    found = surveys.of_descriptor(b"".join(parts))
    assert [s.length for s in found] == list(map(len, parts))
    assert [s.start for s in found] == [0, len(parts[0]), len(parts[0]) + len(parts[1])]
    for survey in found:
        surveys.check(survey)
    data = b"".join(parts)
    for survey, i in zip(found, range(3), strict=True):
        record = surveys.records(survey, "arrays")[0]
        at = int(record["offset"])
        assert data[at : at + int(record["n_bytes"])] == np.arange(3000 + i).tobytes()
    file = io.BytesIO(data)
    assert [surveys.of_file(file).length for _ in parts] == list(map(len, parts))
    broken = bytearray(data)
    broken[len(parts[0]) + 100] ^= 1  # of the second sidecar: not looked at
    assert all(s.damage is None for s in surveys.of_descriptor(bytes(broken)))
    broken[len(parts[0]) + len(parts[1]) - 10] ^= 1  # of the second footer
    assert surveys.of_descriptor(bytes(broken))[0].damage is not None


def test_later_versions():
    survey = surveys.of_descriptor(forge.dump(version=2))[0]
    assert type(survey.damage) is pickle.UnpicklingError
    assert "later version" in str(survey.damage)


def test_pairs(tmp_path):
    main, second = tmp_path / "main", tmp_path / "second"
    value = {
        "a": np.arange(5000),
        "b": np.asfortranarray(np.eye(3)),
        "c": pickle.PickleBuffer(b"x"),
    }
    fastpersist.dump(value, main, sidecar=second)
    survey = surveys.check(surveys.of_descriptor(main.read_bytes())[0])
    n_buffers, length, _ = survey.second_file
    assert (n_buffers, length) == (3, os.path.getsize(second)) and survey.n_buffers == 3
    arrays = surveys.records(survey, "arrays")
    assert [surveys.NAMES["stored"][s] for s in arrays["stored"]] == ["buffer", "buffer"]
    assert arrays["payload"].tolist() == [0, 1]
    assert survey.odd == []
    with pytest.raises(ValueError, match="second file"):
        fastpersist.read_array(main, "['a']")
    # A stream that asks for buffers out of band is another thing.
    data = pickle.dumps(np.arange(5000), 5, buffer_callback=lambda buffer: None)
    assert surveys.odd(surveys.of_descriptor(data)[0]) == {"out-of-band buffer": 1}


def test_limits():
    data = pickle.dumps([b"x" * 100_000, list(range(1000))])
    for limit in (10, 5000, 99_000):
        with surveys.descriptor_of(data) as (fd, path):
            with pytest.raises(pickle.UnpicklingError, match=f"max_bytes={limit}"):
                _core.survey_descriptor(fd, path, 1, None, limit)
        with pytest.raises(pickle.UnpicklingError, match=f"max_bytes={limit}"):
            _core.survey_file(io.BytesIO(data), None, limit)
    ours = file_bytes(list(range(1000)))
    with pytest.raises(pickle.UnpicklingError, match="max_bytes=100"):
        _core.survey_file(io.BytesIO(ours), None, 100)
    with surveys.descriptor_of(ours) as (fd, path):
        with pytest.raises(pickle.UnpicklingError, match="max_bytes=100"):
            _core.survey_descriptor(fd, path, 1, None, 100)


class Failing:
    def __init__(self, data, error):
        self.file, self.error = io.BytesIO(data), error

    def read(self, n):
        out = self.file.read(n)
        if not out:
            raise self.error
        return out

    def readline(self):
        return self.file.readline()


def test_errors_of_files_are_not_damage():
    for data in (pickle.dumps([1] * 1000)[:50], file_bytes([np.arange(4000)])[:500]):
        for error in (OSError(5, "broken"), MemoryError(), KeyboardInterrupt()):
            with pytest.raises(type(error)):
                surveys.of_file(Failing(data, error))


# ---------------------------------------------------------------- nothing runs

HOSTILE = {
    "a call": b"cos\nsystem\n(S'exit 3'\ntR.",
    "by STACK_GLOBAL": b"\x80\4\x8c\2os\x8c\6system\x93\x8c\6exit 3\x85R.",
    "INST": b"(S'exit 3'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'exit 3'\no.",
    "NEWOBJ": b"cos\nsystem\n\x8c\6exit 3\x85\x81.",
    "BUILD": b"csubprocess\nPopen\n)\x81}\x8c\4argsK\1sb.",
    "BUILD of a class": b"ccollections\nCounter\n(N}\x8c\x0bmost_common\x8c\1xstb.",
    "extension": b"\x80\2\x82\1)R.",
    "persistent": b"\x80\4\x8c\2idQ.",
    "a dotted name": b"\x80\4\x8c\x0fsklearn._config\x8c\x09os.getpid\x93)R.",
    "a computed name": b"\x80\4cstring\ndigits\n\x8c\1x\x93)R.",
    "no such module": b"cno.such.module\nname\n)R.",
    "a damaged end": b"cos\nsystem\n(S'exit 3'\ntRx",
    "popped": b"(cos\nsystem\nS'exit 3'\no0N.",
    "an array of objects": (
        b"\x80\5\x8c\5numpy\x8c\7ndarray\x93(K\2\x85\x8c\2|OC\x10aaaaaaaabbbbbbbbtR."
    ),
    "an array's strange state": (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\1btR"
        b"(K\1K\2\x85ccopyreg\n_reconstructor\n\x89C\2abtb."
    ),
}

WATCH = """
import io, sys, tempfile
from fastpersist import _core
import fastpersist
fastpersist.verify(io.BytesIO(b"N."))  # imports what it needs
seen = []
def hook(event, arguments):
    if event.split(".")[0] in ("import", "open", "exec", "compile", "os", "subprocess", "pickle",
                               "ctypes", "marshal", "shutil", "socket", "code", "cpython"):
        seen.append((event, arguments))
    elif event.startswith("object.") or event.startswith("function."):
        seen.append((event, arguments))
datas = [bytes.fromhex(a) for a in sys.argv[1:]]
files = []
for data in datas:
    file = tempfile.TemporaryFile()
    file.write(data)
    file.flush()
    files.append(file)
modules = set(sys.modules)
sys.addaudithook(hook)
for data, file in zip(datas, files):
    survey = _core.survey_descriptor(file.fileno(), "hostile", 1)[0]
    other = _core.survey_file(io.BytesIO(data), None)
    for s in (survey, other):
        s.globals, s.nodes, s.arrays, s.leaves, s.odd, s.sums, s.parts
        for node in range(len(s.nodes) // 40):
            s.path(node)
        for i in range(len(s.arrays) // 40):
            s.shape(i), s.inline(i)
    assert survey.globals or survey.odd, data
    try:
        fastpersist.verify(io.BytesIO(data))
    except fastpersist.CorruptFileError:
        pass
assert set(sys.modules) == modules, set(sys.modules) - modules
assert not seen, seen
print(len(datas))
"""


def test_nothing_of_a_hostile_file_is_run():
    variants = list(HOSTILE.values())
    variants += [forge.dump(opcodes=data[:-1]) for data in variants if data.endswith(b".")]
    file = io.BytesIO()
    joblib.dump([np.array([sample_classes.Plain(), None], object)], file)
    variants.append(file.getvalue())
    assert int(run_python(WATCH, *(data.hex() for data in variants))) == len(variants)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_hostile_files_want_is_listed(name):
    survey = surveys.every_survey(HOSTILE[name])
    named = {(module, n) for module, n, *_ in survey.globals}
    if b"system" in HOSTILE[name]:
        assert ("os", "system") in named
        assert survey.globals[0][2] + survey.globals[0][3] == 1
    assert survey.globals or survey.odd
