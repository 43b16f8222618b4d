"""Ctrl-C while a dump waits or writes, whoever it is that it waits for."""

import io
import os
import signal
import sys
import threading
import time

import fastpersist
import numpy as np
import pytest
from helpers import run_python

FOR_NOBODY = """
import os, signal, sys, threading, time
import numpy as np
import fastpersist

fifo, kind, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
value = {
    "arrays": lambda: [np.zeros(3_000_000)],
    "graph": lambda: [str(i) for i in range(300_000)],
    "old": lambda: [str(i) for i in range(300_000)],
    "lz4": lambda: [np.random.default_rng(0).random(3_000_000)],
}[kind]()
options = {"old": {"protocol": 2}, "lz4": {"compress": ("lz4", 1)}}.get(kind, {})
signal.signal(signal.SIGALRM, signal.default_int_handler)
os.mkfifo(fifo)
reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # who never reads
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)
try:
    fastpersist.dump(value, fifo, threads=threads, **options)
except KeyboardInterrupt:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("interrupted", len(os.listdir("/proc/self/task")) if os.path.isdir("/proc") else "")
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["arrays", "graph", "old", "lz4"])
def test_a_fifo_that_nobody_empties(kind, threads, tmp_path):
    printed = run_python(FOR_NOBODY, tmp_path / "fifo", kind, threads, timeout=60)
    assert printed.startswith("interrupted")


class Raised(Exception):
    pass


@pytest.fixture
def alarm():
    """Raises in the main thread at a given time, and again and again if asked to."""

    def handler(number, frame):
        raise Raised

    def start(seconds, again=True):
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds if again else 0)

    old = signal.signal(signal.SIGALRM, handler)
    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


def stop_alarm():
    signal.setitimer(signal.ITIMER_REAL, 0)


class SlowPipe:
    """A pipe whose reader takes a block now and then: a dump into it takes minutes."""

    def __enter__(self):
        self.reader, self.writer = os.pipe()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.read)
        self.thread.start()
        return self

    def read(self):
        while not self.stop.wait(0.01):
            os.read(self.reader, 4096)

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        os.close(self.reader)
        os.close(self.writer)


@pytest.mark.skipif(sys.platform != "linux", reason="opens /dev/fd")
@pytest.mark.parametrize("options", [{}, {"protocol": 2}, {"layout": "joblib"}], ids=str)
def test_a_slow_device(options, alarm):
    """It is being written all the time: signals are seen to between the pieces too."""
    value = [str(i) for i in range(200_000)]
    with SlowPipe() as pipe:
        start = time.monotonic()
        alarm(0.2)
        with pytest.raises(Raised):
            try:
                fastpersist.dump(value, f"/proc/self/fd/{pipe.writer}", **options)
            finally:
                stop_alarm()
        assert time.monotonic() - start < 5


def test_graph_and_footer_are_interrupted_too(tmp_path, alarm):
    """Long after the walk has ended: the old file is as it was."""
    path = tmp_path / "file"
    fastpersist.dump("old", path)
    old = path.read_bytes()
    value = [str(i) * 20 for i in range(1_500_000)]
    start = time.monotonic()
    fastpersist.dump(value, tmp_path / "new")
    seconds = time.monotonic() - start
    new = (tmp_path / "new").read_bytes()
    (tmp_path / "new").unlink()
    n_kept = 0
    for i in range(12):
        try:
            alarm(seconds * (i + 1) / 12, again=False)
            fastpersist.dump(value, path)
        except Raised:
            # It may have come when all was done.
            assert path.read_bytes() in (old, new)
            n_kept += path.read_bytes() == old
        finally:
            stop_alarm()
        assert os.listdir(tmp_path) == ["file"]
        path.write_bytes(old)
    assert n_kept > 0


def test_a_raw_file_that_would_have_to_wait():
    """It took nothing, and says so with None: what is lost is never lost in silence."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        with io.FileIO(writer, "w", closefd=False) as file:
            for options in ({}, {"protocol": 2}, {"layout": "joblib"}, {"compress": ("lz4", 1)}):
                with pytest.raises(BlockingIOError):
                    fastpersist.dump([np.random.default_rng(0).random(100_000)], file, **options)
    finally:
        os.close(reader)
        os.close(writer)


def test_none_of_other_objects_means_all():
    class Parts:
        def __init__(self):
            self.parts = []

        def write(self, data):
            self.parts.append(data)

    file = Parts()
    value = [np.arange(100_000), "text"]
    fastpersist.dump(value, file)
    back = fastpersist.load(io.BytesIO(b"".join(file.parts)))
    assert (back[0] == value[0]).all() and back[1] == "text"
