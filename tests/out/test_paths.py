"""dump to a path: all or nothing, whatever happens, and the exceptions a user of joblib expects."""

import errno
import io
import mmap
import os
import pathlib
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time

import fastpersist
import numpy as np
import pytest
import sample_classes as s
from helpers import file_bytes, run_python

ROOT = os.geteuid() == 0
OLD = {"old": list(range(100))}


class Fails:
    """Cannot be pickled, and stands behind much that can."""

    def __reduce__(self):
        raise ZeroDivisionError("in the middle")


def early_failure():
    return [Fails()]


def late_failure():
    """Several megabytes are on their way to the file when it fails."""
    return [np.zeros(1_500_000), [f"text {i}" for i in range(20_000)], Fails()]


@pytest.fixture
def path(tmp_path):
    """A path with an old file in a directory that holds nothing else."""
    out = tmp_path / "model.pkl"
    fastpersist.dump(OLD, out)
    return out


def assert_old(path):
    assert fastpersist.load(path) == OLD
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# ---------------------------------------------------------------- names and results


def test_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fastpersist.dump(1, "name") == ["name"]
    assert fastpersist.dump(2, pathlib.Path("name")) == ["name"]
    result = fastpersist.dump(3, tmp_path / "name")
    assert result == [str(tmp_path / "name")] and type(result[0]) is str
    assert fastpersist.dump(4, io.BytesIO()) is None
    assert fastpersist.load("name") == 3


def test_a_path_like_of_ones_own(tmp_path):
    class PathLike:
        def __fspath__(self):
            return str(tmp_path / "name")

    assert fastpersist.dump(1, PathLike()) == [str(tmp_path / "name")]
    assert fastpersist.load(PathLike()) == 1


class StrangePath:
    def __fspath__(self):
        return b"bytes"


@pytest.mark.parametrize(
    "filename", [b"name", 5, None, 1.5, ["name"], {"a": 1}, bytearray(b"x"), StrangePath()]
)
def test_what_is_no_filename(filename, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Second argument should be a filename or a file-like obj"):
        fastpersist.dump([1], filename)
    assert list(tmp_path.iterdir()) == []


def test_arguments_in_the_wrong_order(tmp_path, monkeypatch):
    joblib = pytest.importorskip("joblib")
    monkeypatch.chdir(tmp_path)
    model = s.Plain(a=1)
    with pytest.raises(ValueError) as expected:
        joblib.dump("model.pkl", model)
    with pytest.raises(ValueError) as got:
        fastpersist.dump("model.pkl", model)
    assert str(got.value) == str(expected.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["é漢😀", "with space\nand newline", "-", "~", "n" * 255, "a.gz", ".x"]
)
def test_odd_names(name, tmp_path):
    path = tmp_path / name
    for value in (1, 2):
        assert fastpersist.dump(value, str(path)) == [str(path)]
        assert fastpersist.load(path) == value
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_name_that_is_not_utf8(tmp_path):
    path = os.path.join(tmp_path, os.fsdecode(b"caf\xe9"))
    if sys.platform != "linux":
        pytest.skip("the file system may refuse it")
    assert fastpersist.dump([1], path) == [path]
    assert fastpersist.load(path) == [1]
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9"]


def test_names_that_cannot_be():
    with pytest.raises(ValueError, match="null"):
        fastpersist.dump(1, "a\0b")
    for name in ("", "no/such/directory/name"):
        with pytest.raises(FileNotFoundError) as caught:
            fastpersist.dump(1, name)
        assert caught.value.filename == name
    with pytest.raises(OSError) as caught:
        fastpersist.dump(1, "n" * 256)
    assert caught.value.errno == errno.ENAMETOOLONG


def test_a_directory(tmp_path):
    for name in (tmp_path, f"{tmp_path}/"):
        with pytest.raises(IsADirectoryError) as caught:
            fastpersist.dump(1, name)
        assert caught.value.filename == str(name)
    with pytest.raises(OSError):
        fastpersist.dump(1, f"{tmp_path}/name/")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").write_bytes(b"")
        fastpersist.dump(1, tmp_path / "file" / "name")


def test_relative_names_and_another_directory_meanwhile(tmp_path, monkeypatch):
    """The directory is that of the call, even where user code changes it."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)

    class Changes:
        def __reduce__(self):
            os.chdir(tmp_path / "other")
            return list, ()

    fastpersist.dump([Changes()], "name")
    where = [p.name for p in tmp_path.rglob("*") if p.is_file()]
    assert where == ["name"], "and no temporary is left anywhere"


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("compress", [0, False])
def test_no_compression(compress, path):
    fastpersist.dump([1], path, compress)
    assert path.read_bytes() == file_bytes([1])


def test_protocols(path):
    for protocol in (6, 7, 100, 1 << 70):
        with pytest.raises(ValueError, match="pickle protocol must be <= 5"):
            fastpersist.dump(1, path, protocol=protocol)
    for protocol in ("5", 2.0, [2]):
        with pytest.raises(TypeError):
            fastpersist.dump(1, path, protocol=protocol)
    assert_old(path)
    fastpersist.dump([1], path, 0, 2)
    assert path.read_bytes() == pickle.dumps([1], 2)


def test_threads(path):
    for threads in (0, -1, -(1 << 70)):
        with pytest.raises(ValueError, match="threads"):
            fastpersist.dump(1, path, threads=threads)
    for threads in ("2", 1.5, [2]):
        with pytest.raises(TypeError, match="threads"):
            fastpersist.dump(1, path, threads=threads)
    assert_old(path)
    for threads in (1, 2, 5, 1 << 70):
        fastpersist.dump([threads], path, threads=threads)
        assert fastpersist.load(path) == [threads]


def test_other_arguments(path):
    for arguments, keywords in (
        ((), {}),
        ((1,), {}),
        ((1, path, 0, None, False), {}),
        ((1, path), {"no_such": 1}),
        ((1, path), {"value": 2}),
    ):
        with pytest.raises(TypeError):
            fastpersist.dump(*arguments, **keywords)
    assert_old(path)
    assert fastpersist.dump(value=[1], filename=path, compress=0, protocol=None) == [str(path)]


def test_durable(path):
    fastpersist.dump([1], path, durable=True)
    assert fastpersist.load(path) == [1]
    with pytest.raises(ZeroDivisionError):
        fastpersist.dump(late_failure(), path, durable=True)
    assert fastpersist.load(path) == [1]


# ---------------------------------------------------------------- failures in the object


@pytest.mark.parametrize("failure", [early_failure, late_failure])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("protocol", [None, 2])
def test_a_failed_dump_keeps_the_old_file(failure, threads, protocol, path):
    before = path.stat()
    with pytest.raises(ZeroDivisionError, match="in the middle"):
        fastpersist.dump(failure(), path, protocol=protocol, threads=threads)
    assert_old(path)
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("failure", [early_failure, late_failure])
def test_a_failed_dump_makes_no_file(failure, tmp_path):
    with pytest.raises(ZeroDivisionError):
        fastpersist.dump(failure(), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_pickled(path):
    for value in ([lambda: 0], [np.zeros(1_000_000), lambda: 0]):
        with pytest.raises((pickle.PicklingError, AttributeError)) as caught:
            fastpersist.dump(value, path)
        # The last one is ours; pickle of 3.14 adds its own.
        assert "value[" in caught.value.__notes__[-1]
    assert_old(path)


def test_exit_and_interrupt_from_a_reducer(path):
    class Raises:
        def __init__(self, error):
            self.error = error

        def __reduce__(self):
            raise self.error

    for error in (KeyboardInterrupt(), SystemExit(3), GeneratorExit()):
        with pytest.raises(type(error)):
            fastpersist.dump([np.zeros(500_000), Raises(error)], path)
    assert_old(path)


# ---------------------------------------------------------------- failures of the file


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("n", [1, 1_000_000])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("protocol", [None, 4])
def test_a_full_disk(n, threads, protocol):
    value = [np.zeros(n), "x" * n]
    with pytest.raises(OSError) as caught:
        fastpersist.dump(value, "/dev/full", protocol=protocol, threads=threads)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == "/dev/full"


LIMITED = """
import errno, os, resource, signal, sys
import numpy as np
import fastpersist
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = sys.argv[1]
before = open(path, "rb").read()
value = [np.zeros(1_000_000), "x" * 500_000, [f"text {i}" for i in range(50_000)]]
for limit in (1, 100, 5000, 1_000_000, 8_500_000, 9_000_000):
    for threads in (1, 2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            fastpersist.dump(value, path, threads=threads)
        except OSError as error:
            assert error.errno == errno.EFBIG, error
        else:
            raise AssertionError("no error")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert open(path, "rb").read() == before
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
fastpersist.dump([1], path)
"""


def test_no_room_at_each_write(path):
    run_python(LIMITED, path)
    assert fastpersist.load(path) == [1]


class Sink:
    def __init__(self, fail_at, error):
        self.n = 0
        self.fail_at, self.error = fail_at, error

    def write(self, data):
        self.n += len(data)
        if self.n >= self.fail_at:
            raise self.error
        return len(data)


@pytest.mark.parametrize("fail_at", [0, 22, 1000, 300_000, 4_000_000])
def test_exceptions_of_a_file_object(fail_at):
    value = [np.zeros(500_000), ["text"] * 100]
    for error in (OSError(errno.EIO, "of its own"), ZeroDivisionError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            fastpersist.dump(value, Sink(fail_at, error))
        assert caught.value is error


def test_file_objects_that_cannot_take_it(tmp_path):
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        fastpersist.dump([1], closed)
    with open(tmp_path / "text", "w") as file, pytest.raises(TypeError):
        fastpersist.dump([1], file)
    (tmp_path / "read").write_bytes(b"")
    with open(tmp_path / "read", "rb") as file, pytest.raises((io.UnsupportedOperation, OSError)):
        fastpersist.dump([1], file)


def test_a_broken_pipe():
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "wb", buffering=0) as file:
        with pytest.raises(BrokenPipeError):
            fastpersist.dump(np.zeros(500_000), file)


# ---------------------------------------------------------------- what is replaced, and how


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o027])
def test_a_new_file_honours_the_umask(umask, tmp_path):
    old = os.umask(umask)
    try:
        fastpersist.dump([1], tmp_path / "new")
    finally:
        os.umask(old)
    assert mode_of(tmp_path / "new") == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_an_existing_files_mode_is_kept(mode, path):
    path.chmod(mode)
    fastpersist.dump([1], path)
    assert mode_of(path) == mode
    assert fastpersist.load(path) == [1]


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_an_existing_files_owner_is_kept(path):
    os.chown(path, 12345, 23456)
    fastpersist.dump([1], path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


@pytest.mark.parametrize("relative", [True, False])
def test_symbolic_links_stay(relative, path, tmp_path):
    (tmp_path / "sub").mkdir()
    link = tmp_path / "sub" / "link"
    link.symlink_to("../model.pkl" if relative else path)
    second = tmp_path / "second"
    second.symlink_to("sub/link")
    assert fastpersist.dump([1], second) == [str(second)]
    assert link.is_symlink() and second.is_symlink() and not path.is_symlink()
    assert fastpersist.load(path) == [1]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["link", "model.pkl", "second", "sub"]


def test_a_link_to_nothing_makes_the_file(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("target")
    fastpersist.dump([1], link)
    assert link.is_symlink() and fastpersist.load(tmp_path / "target") == [1]


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError) as caught:
        fastpersist.dump([1], tmp_path / "a")
    assert caught.value.errno == errno.ELOOP


def test_a_link_to_a_directory(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    with pytest.raises(IsADirectoryError):
        fastpersist.dump([1], tmp_path / "link")
    fastpersist.dump([1], tmp_path / "link" / "name")
    assert fastpersist.load(tmp_path / "d" / "name") == [1]


# An empty file that is open: targets/test_empty_files.py. Other targets, beside joblib: targets/.


def test_hard_links_keep_the_old_content(path, tmp_path):
    other = tmp_path / "other"
    os.link(path, other)
    fastpersist.dump([1], path)
    assert fastpersist.load(path) == [1] and fastpersist.load(other) == OLD


def test_an_open_file_and_a_map_keep_the_old_content(path):
    old = path.read_bytes()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        fastpersist.dump([np.zeros(100_000)], path)
        assert mapped[:] == old and file.read() == old


def test_a_dump_of_a_map_of_the_target_itself(tmp_path):
    path = tmp_path / "raw"
    np.arange(100_000.0).tofile(path)
    mapped = np.memmap(path, "f8", "r")
    fastpersist.dump({"mapped": mapped, "again": mapped[::2]}, path)
    back = fastpersist.load(path)
    assert (back["mapped"] == np.arange(100_000.0)).all() and len(back["again"]) == 50_000


def test_a_fifo(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    value = [np.arange(100_000), "text"]
    received = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    assert fastpersist.dump(value, fifo) == [str(fifo)]
    reader.join()
    assert received == [file_bytes(value)]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    with pytest.raises(OSError):
        fastpersist.dump(value, fifo, durable=True)


def test_devices():
    assert fastpersist.dump([np.zeros(100_000)], os.devnull) == [os.devnull]
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_standard_output():
    code = "import fastpersist; fastpersist.dump(['out'], '/dev/stdout')"
    environment = {**os.environ}
    path = [os.path.abspath(p) for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0
    assert pickle.loads(done.stdout) == ["out"]


# ---------------------------------------------------------------- permissions

AS_NOBODY = """
import os, sys, warnings
import numpy as np
import fastpersist
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
os.chdir("/")
d = sys.argv[1]

def listing():
    return sorted(os.path.relpath(os.path.join(r, f), d) for r, _, fs in os.walk(d) for f in fs)

before = listing()

# A file that may not be written: refused, though its directory would allow to replace it.
for value in ([1], [np.zeros(500_000)]):
    try:
        fastpersist.dump(value, f"{d}/open/read-only")
    except PermissionError as error:
        assert error.filename == f"{d}/open/read-only"
    else:
        raise AssertionError("read-only")

# A new file in a directory that may not be written.
try:
    fastpersist.dump([1], f"{d}/closed/new")
except PermissionError as error:
    assert error.filename == f"{d}/closed/new"
else:
    raise AssertionError("new")

# An existing file that may be written there: in place, with a warning.
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert fastpersist.dump(["in place"], f"{d}/closed/writable") == [f"{d}/closed/writable"]
assert [w.category for w in caught] == [RuntimeWarning], caught
assert "in place" in str(caught[0].message)
assert caught[0].filename != fastpersist.__file__, "the warning points at the caller"
assert fastpersist.load(f"{d}/closed/writable") == ["in place"]
content = open(f"{d}/closed/writable", "rb").read()

# With warnings as errors nothing is touched.
with warnings.catch_warnings():
    warnings.simplefilter("error")
    try:
        fastpersist.dump(["other"], f"{d}/closed/writable")
    except RuntimeWarning:
        pass
    else:
        raise AssertionError("warning")
assert open(f"{d}/closed/writable", "rb").read() == content

# durable cannot be kept there.
try:
    fastpersist.dump(["durable"], f"{d}/closed/writable", durable=True)
except OSError:
    pass
else:
    raise AssertionError("durable")
assert open(f"{d}/closed/writable", "rb").read() == content

# What was there is lost as soon as it is written; half a dump is not left.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        fastpersist.dump([np.zeros(500_000), lambda: 0], f"{d}/closed/writable")
    except Exception:
        pass
    else:
        raise AssertionError("lambda")
assert open(f"{d}/closed/writable", "rb").read() == b""
assert listing() == before, listing()
fastpersist.dump(["mine"], f"{d}/open/new")
assert fastpersist.load(f"{d}/open/new") == ["mine"]
"""


def test_permissions(tmp_path):
    for name, mode in (("open", 0o777), ("closed", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    for name, mode in (("open/read-only", 0o444), ("closed/writable", 0o666)):
        fastpersist.dump(OLD, tmp_path / name)
        (tmp_path / name).chmod(mode)
    (tmp_path / "closed").chmod(0o555)
    above = tmp_path
    while ROOT and above != above.parent and above.stat().st_uid == 0:
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o001)  # pytest keeps its directories to root
        above = above.parent
    try:
        run_python(AS_NOBODY, tmp_path, warnings="default")
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert fastpersist.load(tmp_path / "open" / "read-only") == OLD


# ---------------------------------------------------------------- interruptions

INTERRUPTED = """
import os, random, signal, sys, time
import numpy as np
import fastpersist
path = sys.argv[1]
directory = os.path.dirname(path)
value = [np.zeros(3_000_000), [{"k": [i, str(i)]} for i in range(60_000)], np.ones((1500, 900)).T]
old = open(path, "rb").read()
start = time.perf_counter()
fastpersist.dump(value, path)
duration = time.perf_counter() - start
new = open(path, "rb").read()
n_interrupted = 0
for i in range(100):
    if i >= 25 and n_interrupted >= 5:
        break  # more rounds only where other processes make the alarm late
    with open(path, "wb") as file:
        file.write(old)
    start = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, max(1e-4, duration * (i % 25 + 0.5) / 25))
        fastpersist.dump(value, path, threads=1 + i % 2)
        signal.setitimer(signal.ITIMER_REAL, 0)
        interrupted = False
        duration = min(duration, time.perf_counter() - start)  # the first may have had to wait
    except KeyboardInterrupt:
        interrupted = True
    signal.setitimer(signal.ITIMER_REAL, 0)
    content = open(path, "rb").read()
    assert content == (old if interrupted else new) or (interrupted and content == new)
    assert os.listdir(directory) == [os.path.basename(path)], os.listdir(directory)
    n_interrupted += interrupted and content == old
print(n_interrupted)
"""


def test_keyboard_interrupt(path):
    code = (
        "import signal\nsignal.signal(signal.SIGALRM, signal.default_int_handler)\n" + INTERRUPTED
    )
    assert int(run_python(code, path, timeout=120)) >= 5


def test_a_signal_handler_that_does_not_raise(path):
    """Handlers run during a long dump, and one that uses the graph does no harm."""
    seen = []
    value = [np.zeros(1_000_000), [[i] for i in range(50_000)], np.zeros((1000, 1000))[:, ::2]]
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(list(value[1][:3])))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(5):
            fastpersist.dump(value, path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen
    assert path.read_bytes() == file_bytes(value)


KILLED = """
import sys
import numpy as np
import fastpersist
value = [np.zeros(2_000_000), [{"k": i} for i in range(50_000)]]
print("ready", flush=True)
while True:
    fastpersist.dump(value, sys.argv[1])
"""


def test_kill(path):
    """Old or new, never half; the temporary of a killed process is all that may be left."""
    fastpersist.dump([np.zeros(2_000_000), [{"k": i} for i in range(50_000)]], path)
    new = path.read_bytes()
    for i in range(4):
        fastpersist.dump(OLD, path)
        old = path.read_bytes()
        environment = {**os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(
            os.path.abspath(p) for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p
        )
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, env=environment
        )
        process.stdout.readline()
        time.sleep(0.005 + 0.013 * i)
        process.kill()
        process.communicate()
        assert path.read_bytes() in (old, new)
        for left in path.parent.iterdir():
            if left != path:
                left.unlink()


def test_writers_and_readers_at_once(path):
    """Every reader sees one whole version."""
    values = [[i, np.full(20_000, i)] for i in range(4)]
    fastpersist.dump(values[0], path)
    stop, errors, n_read = threading.Event(), [], []

    def guarded(work):
        def run():
            try:
                work()
            except BaseException as error:
                errors.append(error)

        return threading.Thread(target=run)

    def write(i):
        for _ in range(40):
            fastpersist.dump(values[i], path)

    def read():
        while not stop.is_set():
            i, array = fastpersist.load(path)
            assert (array == i).all()
            n_read.append(1)

    writers = [guarded(lambda i=i: write(i)) for i in range(4)]
    readers = [guarded(read) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not errors and n_read
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_descriptor_is_left_open(path):
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(20):
        fastpersist.dump([1], path)
        for failure in (early_failure, late_failure):
            with pytest.raises(ZeroDivisionError):
                fastpersist.dump(failure(), path)
        with pytest.raises(OSError):
            fastpersist.dump([1], "/no/such/directory/name")
        fastpersist.load(path)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
