"""The command line: what it prints, its exit status, and what it says where it cannot."""

import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tomllib

import fastpersist
import format_reader
import numpy as np
import pytest
from helpers import PROJECT, file_bytes
from helpers import run_command as run

VALUE = {"weights": np.arange(100_000.0), "bias": [np.ones(50), "text"]}


def refused(done):
    """It says so in one line."""
    assert done.returncode == 2
    assert done.stderr.startswith("fastpersist: ") and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model"
    fastpersist.dump(VALUE, path)
    return path


@pytest.fixture
def damaged(tmp_path):
    path = tmp_path / "damaged"
    data = bytearray(file_bytes(VALUE))
    data[1000] ^= 1
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------- inspect


def test_inspect_prints_the_report_in_the_terminals_width(model):
    for width in (50, 80, 200):
        done = run("inspect", model, COLUMNS=str(width), PYTHONIOENCODING="utf-8")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == fastpersist.inspect(str(model)).to_text(width) + "\n"
        assert max(map(len, done.stdout.splitlines())) <= width
        assert "\x1b" not in done.stdout


def test_inspect_takes_depth_top_and_sort(model):
    report = fastpersist.inspect(str(model))
    done = run(
        "inspect", model, "--depth", 1, "--top", 3, "--sort", "path", COLUMNS="80",
        PYTHONIOENCODING="utf-8",
    )  # fmt: skip
    assert done.stdout == report.to_text(80, depth=1, n_rows=3, sort="path") + "\n"
    for wrong in (("--depth", "0"), ("--top", "x"), ("--sort", "age"), ("--json", "--globals")):
        done = run("inspect", model, *wrong)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_inspect_prints_json(model):
    done = run("inspect", model, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads(
        json.dumps(fastpersist.inspect(str(model)).to_dict())
    )


def test_inspect_prints_names_alone(tmp_path):
    path = tmp_path / "plain"
    path.write_bytes(pickle.dumps([os.path.join, pathlib.PurePosixPath("a")], 4))
    done = run("inspect", path, "--globals")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert sorted(names) == sorted(one.label for one in fastpersist.inspect(str(path)).globals)
    assert "posixpath.join" in names


def test_inspect_prints_untrusted_names(tmp_path):
    path = tmp_path / "plain"
    path.write_bytes(pickle.dumps([os.path.join, os.path.join, np.arange(3)], 4))
    done = run("inspect", path, "--untrusted")
    assert done.returncode == 1 and done.stdout.splitlines() == ["posixpath.join"]
    path.write_bytes(b"(iposixpath\njoin\n.")
    done = run("inspect", path, "--untrusted")
    assert done.returncode == 1 and "INST" in done.stderr
    path.write_bytes(pickle.dumps({"a": np.arange(3)}, 4))
    done = run("inspect", path, "--untrusted")
    assert done.returncode == 0 and done.stdout == ""


def test_inspect_writes_a_page(model, tmp_path):
    done = run("inspect", model, "--html", tmp_path / "out.html")
    assert done.returncode == 0 and "weights" in done.stdout
    assert "<svg" in (tmp_path / "out.html").read_text()
    refused(run("inspect", model, "--html", tmp_path / "no" / "out.html"))


def test_inspect_shows_a_difference_as_a_finding(model, tmp_path):
    other = tmp_path / "other"
    fastpersist.dump({**VALUE, "more": np.ones(90_000)}, other)
    done = run("inspect", model, "--diff", other)
    assert done.returncode == 1 and "more" in done.stdout
    done = run("inspect", model, "--diff", other, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["n_bytes_after"] == other.stat().st_size
    assert run("inspect", model, "--diff", model).returncode == 0


def test_inspect_describes_damage_and_says_so(damaged, tmp_path):
    path = tmp_path / "cut"
    path.write_bytes(pickle.dumps([bytes(1000), "text"])[:-10])
    done = run("inspect", path)
    assert done.returncode == 1 and "DAMAGED" in done.stdout and done.stderr == ""


def test_inspect_tells_what_killed_dumps_left(model, tmp_path):
    long_ago = 1_000_000_000
    for name, data in (
        (".model.abcdefgh.tmp", model.read_bytes()[:5000]),
        (".model.abcdefg2.tmp", b""),
        (".of another program.abcdefgh.tmp", b"text"),
        (".model.abcdefg0.tmp", b""),
        (".model.tmp", b""),
    ):
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, (long_ago, long_ago))
    (tmp_path / ".running.abcdefgh.tmp").write_bytes(b"")
    np.save(tmp_path / "a.npy", np.arange(3))
    (tmp_path / "folder").mkdir()
    (tmp_path / ".model.abcdefg3.tmp").symlink_to("a.npy")
    before = set(os.listdir(tmp_path))

    done = run("inspect", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    killed = [line.split()[2] for line in done.stdout.splitlines() if "was killed" in line]
    assert killed == [".model.abcdefg2.tmp", ".model.abcdefgh.tmp"]
    assert ".running.abcdefgh.tmp  temporary file of a dump: may be running" in done.stdout
    assert "model  fastpersist\n" in done.stdout and "an array of NumPy" in done.stdout
    assert "--clean removes 2 of these" in done.stdout
    assert set(os.listdir(tmp_path)) == before

    with open(tmp_path / ".model.abcdefg2.tmp", "rb"):
        if sys.platform == "linux":
            assert "a process has it open" in run("inspect", tmp_path).stdout
    done = run("inspect", tmp_path, "--clean")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.count(", removed") == 2
    assert set(os.listdir(tmp_path)) == before - set(killed)
    assert run("inspect", tmp_path).returncode == 0
    assert "directory" in refused(run("inspect", model, "--clean"))


# ---------------------------------------------------------------- verify


def test_verify_prints_the_hash_in_the_footer(model):
    done = run("verify", model)
    hash_of = int.from_bytes(model.read_bytes()[-34:-26], "little")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{model}: xxh3-64:{hash_of:016x}\n"


def test_verify_prints_the_hash_of_each_dump(tmp_path):
    path = tmp_path / "several"
    parts = [file_bytes(value) for value in (1, VALUE, "text")]
    path.write_bytes(b"".join(parts))
    expected = [f"xxh3-64:{int.from_bytes(part[-34:-26], 'little'):016x}" for part in parts]
    assert run("verify", path).stdout == f"{path}: {' '.join(expected)}\n"
    assert format_reader.read(parts[1]).data == parts[1]


def test_verify_of_many_files_has_a_line_for_each(model, damaged, tmp_path):
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps([1, 2]))
    packed = tmp_path / "packed.gz"
    fastpersist.dump(VALUE, packed)
    done = run("verify", model, damaged, plain, packed)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and len(lines) == 4 and done.stderr == ""
    assert "xxh3-64:" in lines[0] and "DAMAGED" in lines[1]
    assert "xxh3" not in lines[2] and "as far as it can be told" in lines[2]
    assert "as far as it can be told" in lines[3]
    done = run("verify", tmp_path / "nothing", damaged, model)
    assert done.returncode == 2 and len(done.stdout.splitlines()) == 2
    refused(done)


def test_verify_takes_a_pair(tmp_path):
    main, second = tmp_path / "main", tmp_path / "second"
    fastpersist.dump(VALUE, main, sidecar=second)
    assert run("verify", main, "--sidecar", second).returncode == 0
    assert run("verify", second).returncode == 0
    refused(run("verify", main))
    refused(run("verify", main, main, "--sidecar", second))
    data = bytearray(second.read_bytes())
    data[500] ^= 1
    second.write_bytes(data)
    assert run("verify", main, "--sidecar", second).returncode == 1


# ---------------------------------------------------------------- bench


def test_bench_prints_a_table(model):
    done = run("bench", model, "--repeat", 1)
    assert done.returncode == 0 and "fastpersist" in done.stdout and "pickle" in done.stdout
    assert os.listdir(model.parent) == ["model"]


def test_bench_says_on_a_terminal_what_it_does(model):
    master, terminal = os.openpty()
    with open(terminal, "wb") as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "fastpersist", "bench", model, "--repeat", "1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=300,
        )
    text = os.read(master, 1 << 16).decode()
    os.close(master)
    assert done.returncode == 0 and b"written by" in done.stdout
    assert "load ..." in text and "load of fastpersist's file by pickle ..." in text
    assert text.endswith("\x1b[K")  # nothing stays


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("command", ["inspect", "verify", "bench"])
def test_what_cannot_be_read_is_one_line(command, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "old").write_bytes(b"ZF" + bytes(100))
    np.save(tmp_path / "other.npy", np.arange(3))
    for name, word in (
        ("nothing", "No such file"),
        (".", "directory"),
        ("empty", ""),
        ("other.npy", "numpy.load"),
    ):
        if command == "inspect" and name in (".", "other.npy"):
            continue
        done = run(command, name, cwd=tmp_path)
        assert word in refused(done)
    assert run(command, "old", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_names_are_shown_escaped(command, tmp_path):
    name = "a\x1b[31m\nforged line\u202e"
    fastpersist.dump([1], tmp_path / name)
    done = run(command, name, cwd=tmp_path, PYTHONIOENCODING="utf-8")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert not any(line.startswith("forged") for line in done.stdout.splitlines())
    text = refused(run(command, name + "x", cwd=tmp_path, PYTHONIOENCODING="utf-8"))
    assert "\x1b" not in text and "\\u202e" in text


def test_a_bench_whose_file_raises_is_one_line(tmp_path):
    path = tmp_path / "raises"
    path.write_bytes(b"cbuiltins\nexec\n(V1/0\ntR.")
    assert "division by zero" in refused(run("bench", path))


def test_an_encoding_without_the_trees_lines_is_no_error(model):
    done = run("inspect", model, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stderr == ""


def test_a_reader_that_goes_away_is_no_error(model):
    code = f"{sys.executable} -m fastpersist inspect {model} --json | head -c 10"
    done = subprocess.run(["sh", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stderr == "" and len(done.stdout) == 10


def test_help_has_examples_and_no_colour_where_it_is_not_wanted():
    for arguments in ((), ("inspect",), ("verify",)):
        done = run(*arguments, "--help", NO_COLOR="1", FORCE_COLOR="")
        assert done.returncode == 0 and "examples:\n  fastpersist " in done.stdout
        assert "\x1b" not in done.stdout
    for line in run("--help", COLUMNS="80").stdout.splitlines():
        assert len(line) <= 80


def test_the_script_is_the_same():
    with open(PROJECT / "pyproject.toml", "rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    module, _, function = scripts["fastpersist"].partition(":")
    code = f"import sys; sys.argv = ['/usr/bin/fastpersist', '--help']; import {module}; "
    code += f"sys.exit({module}.{function}())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith("usage: fastpersist ")


def test_a_file_is_never_run(tmp_path):
    path = tmp_path / "gadget"
    path.write_bytes(pickle.dumps(Gadget(tmp_path / "touched"), 2))
    for command in (("inspect",), ("inspect", "--json"), ("inspect", "--globals"), ("verify",)):
        done = run(command[0], path, *command[1:])
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "touched").exists()
    pickle.load(io.BytesIO(path.read_bytes()))
    assert (tmp_path / "touched").exists()


class Gadget:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
