"""progress= of dump, load and verify: who is told what, when, and what comes of an exception."""

import io
import os
import pickle
import signal
import sys
import threading
import time

import fastpersist
import numpy as np
import pytest
from fastpersist import _progress
from helpers import run_python

MIB = 1 << 20


class Slow(io.BytesIO):
    """A file object that takes its time, for every chunk."""

    seconds = 0.02

    def write(self, data):
        time.sleep(self.seconds)
        return super().write(data)

    def readinto(self, target):
        time.sleep(self.seconds)
        return super().readinto(target)

    def read(self, n=-1):
        time.sleep(self.seconds)
        return super().read(n)


class Report:
    def __init__(self, fails_at=None, error=RuntimeError):
        self.calls, self.times, self.threads = [], [], set()
        self.fails_at, self.error = fails_at, error

    def __call__(self, done, total):
        self.calls.append((done, total))
        self.times.append(time.monotonic())
        self.threads.add(threading.get_ident())
        if self.fails_at is not None and len(self.calls) > self.fails_at:
            raise self.error("from the callable")

    def check(self, n_bytes):
        """What every call promises."""
        done = [n for n, _ in self.calls]
        assert done == sorted(done)
        assert self.calls[-1] == (n_bytes, n_bytes)
        assert all(total is None or n < total for n, total in self.calls[:-1])
        assert all(total in (None, n_bytes) for _, total in self.calls)
        assert self.threads == {threading.get_ident()}
        for first, tenth in zip(self.times, self.times[10:], strict=False):
            assert tenth - first > 1.0
        assert all(type(n) is int for n in done)


VALUE = [np.arange(4 * MIB), np.ones(MIB), b"text" * 10_000]


@pytest.fixture(scope="module")
def data():
    file = io.BytesIO()
    fastpersist.dump(VALUE, file)
    return file.getvalue()


def test_a_dump_tells_what_it_has_written():
    file, report = Slow(), Report()
    fastpersist.dump(VALUE, file, progress=report)
    report.check(len(file.getvalue()))
    assert len(report.calls) > 3
    assert {total for _, total in report.calls[:-1]} == {None}


def test_a_load_tells_what_it_has_read(data):
    report = Report()
    value = fastpersist.load(Slow(data), progress=report)
    assert (value[0] == VALUE[0]).all()
    report.check(len(data))
    assert len(report.calls) > 3


def test_verify_tells_what_it_has_checked(data):
    report = Report()
    fastpersist.verify(Slow(data), progress=report)
    report.check(len(data))
    assert len(report.calls) > 3


def test_a_plain_pickle_is_told_of_as_well(data):
    plain = pickle.dumps([bytes(40 * MIB), "text"], 5)
    report = Report()
    fastpersist.verify(Slow(plain), progress=report)
    report.check(len(plain))
    many = pickle.dumps([bytes([i % 256]) * 300_000 for i in range(100)], 5)
    report = Report()
    fastpersist.load(Slow(many), progress=report)
    report.check(len(many))
    assert len(report.calls) > 3


@pytest.mark.parametrize("options", [{}, {"mmap_mode": "r"}, {"verify": "full"}, {"threads": 1}])
def test_by_path_the_last_call_has_it_all(tmp_path, options):
    path, report = tmp_path / "file", Report()
    fastpersist.dump(VALUE, path, progress=report)
    report.check(path.stat().st_size)
    report = Report()
    fastpersist.load(path, progress=report, **options)
    report.check(report.calls[-1][0])
    if options.get("mmap_mode") is None:
        assert report.calls[-1][0] == path.stat().st_size
    report = Report()
    fastpersist.verify(path, progress=report)
    report.check(path.stat().st_size)


@pytest.mark.parametrize(
    "options", [{"protocol": 4}, {"layout": "joblib"}, {"compress": "zlib"}, {"compress": "lz4"}]
)
def test_other_layouts_and_codecs(tmp_path, options):
    path = tmp_path / "file"
    reports = [Report() for _ in range(3)]
    fastpersist.dump(VALUE, path, progress=reports[0], **options)
    fastpersist.load(path, progress=reports[1])
    fastpersist.verify(path, progress=reports[2])
    n_bytes = reports[0].calls[-1][0]
    if "compress" not in options:
        assert n_bytes == path.stat().st_size
    for report in reports:
        report.check(n_bytes)


def test_two_files_are_told_of_together(tmp_path):
    main, second = tmp_path / "main", tmp_path / "second"
    report = Report()
    fastpersist.dump(VALUE, main, sidecar=second, progress=report)
    n_bytes = main.stat().st_size + second.stat().st_size
    report.check(n_bytes)
    for check in (fastpersist.load, fastpersist.verify):
        report = Report()
        check(main, sidecar=second, progress=report)
        report.check(n_bytes)
    files = Slow(main.read_bytes()), Slow(second.read_bytes())
    report = Report()
    fastpersist.load(files[0], sidecar=files[1], progress=report)
    report.check(n_bytes)
    assert len(report.calls) > 2


def test_verify_adds_up_the_dumps_of_a_compressed_file(tmp_path):
    import gzip

    path = tmp_path / "file.gz"
    one = io.BytesIO()
    fastpersist.dump([1], one)
    path.write_bytes(gzip.compress(one.getvalue() * 3) + gzip.compress(one.getvalue()))
    report = Report()
    fastpersist.verify(path, progress=report)
    assert report.calls == [(4 * len(one.getvalue()),) * 2]


# ---------------------------------------------------------------- exceptions


@pytest.mark.parametrize(
    "error", [RuntimeError, EOFError, pickle.UnpicklingError, UnicodeError, KeyboardInterrupt]
)
@pytest.mark.parametrize("fails_at", [0, 2])
@pytest.mark.by_day(
    wanted=lambda error, fails_at: fails_at == 0 or error in (RuntimeError, KeyboardInterrupt)
)
def test_an_exception_of_the_callable_ends_the_call_as_it_is(data, error, fails_at):
    plain = pickle.dumps([bytes([i % 256]) * 300_000 for i in range(100)], 5)
    for call in (
        lambda report: fastpersist.dump(VALUE, Slow(), progress=report),
        lambda report: fastpersist.load(Slow(data), progress=report),
        lambda report: fastpersist.verify(Slow(data), progress=report),
        lambda report: fastpersist.load(Slow(plain), progress=report),
        lambda report: fastpersist.verify(Slow(plain), progress=report),
    ):
        report = Report(fails_at, error)
        with pytest.raises(error, match="from the callable") as caught:
            call(report)
        assert type(caught.value) is error
        assert len(report.calls) == fails_at + 1


@pytest.mark.parametrize(
    "options", [{}, {"compress": "gzip"}, {"compress": "lz4"}, {"protocol": 2}]
)
def test_after_a_failing_callable_the_old_file_is_there(tmp_path, options):
    """Also where the last call fails: it comes in front of the rename."""
    path = tmp_path / "file"
    fastpersist.dump("old", path)
    before = path.read_bytes()
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            fastpersist.dump(VALUE, path, progress=Report(0, error), **options)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["file"]


def test_after_a_failing_callable_the_old_pair_is_there(tmp_path):
    main, second = tmp_path / "main", tmp_path / "second"
    fastpersist.dump([np.arange(3)], main, sidecar=second)
    before = main.read_bytes(), second.read_bytes()
    with pytest.raises(RuntimeError):
        fastpersist.dump(VALUE, main, sidecar=second, progress=Report(0))
    assert (main.read_bytes(), second.read_bytes()) == before


def test_the_callable_may_itself_dump_and_load(data):
    def report(done, total):
        assert fastpersist.load(io.BytesIO(data))[2] == VALUE[2]

    fastpersist.load(Slow(data), progress=report)


# ---------------------------------------------------------------- what it takes


@pytest.mark.parametrize("odd", [1, "yes", 0.5, []])
def test_what_progress_may_be(odd, tmp_path):
    path = tmp_path / "file"
    fastpersist.dump(1, path)
    for call in (
        lambda: fastpersist.dump(1, tmp_path / "other", progress=odd),
        lambda: fastpersist.load(path, progress=odd),
        lambda: fastpersist.verify(path, progress=odd),
    ):
        with pytest.raises(TypeError, match="progress must be"):
            call()
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("nobody", [None, False, True])
def test_without_a_terminal_nobody_is_told(nobody, data, capfd):
    fastpersist.load(Slow(data), progress=nobody)
    assert capfd.readouterr() == ("", "")


def test_nobody_to_tell_imports_nothing():
    code = """
import fastpersist, sys, io
file = io.BytesIO()
fastpersist.dump([1], file, progress=None)
print("fastpersist._progress" in sys.modules)
file.seek(0)
fastpersist.load(file, progress=False)
print("tqdm" in sys.modules)
"""
    assert run_python(code).split() == ["False", "False"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("seconds, is_shown", [(0.0, False), (0.08, True)])
def test_a_bar_comes_after_a_second(seconds, is_shown, data, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(Slow, "seconds", seconds)
    fastpersist.load(Slow(data), progress=True)
    text = sys.stderr.getvalue()
    assert ("load" in text and "B/s" in text) == is_shown
    assert bool(text) == is_shown


def test_without_tqdm_there_is_no_bar(data, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(_progress, "_SHOWN_AFTER_SECONDS", 0.0)
    fastpersist.load(Slow(data), progress=True)
    assert sys.stderr.getvalue() == ""


def test_signals_are_still_seen_to(data):
    seen = []
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        fastpersist.dump(VALUE, Slow(), progress=Report())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen == [1]
