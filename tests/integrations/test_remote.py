"""URLs in place of paths, by fsspec: its memory, and a store that counts, publishes at close, and
fails."""

import gc
import io
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import fastpersist
import fsspec
import numpy as np
import pytest
from documented import code_of
from fastpersist import cli
from fastpersist.files import urls
from object_store import Store

MIB = 1 << 20


@pytest.fixture(autouse=True)
def stores():
    Store.reset()
    fsspec.filesystem("memory").store.clear()
    before = set(threading.enumerate())
    yield
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert left <= {"fsspecIO"}, left


BIG = np.random.default_rng(0).random(1_000_000)


def model():
    rng = np.random.default_rng(1)
    return {
        "big": BIG,
        "parts": [np.arange(200_000), np.asfortranarray(rng.random((300, 200)))],
        "name": "x" * 50,
    }


def same(one, other):
    return (
        np.array_equal(one["big"], other["big"])
        and all(map(np.array_equal, one["parts"], other["parts"]))
        and one["name"] == other["name"]
    )


# ---------------------------------------------------------------- what is a URL


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/key",
        "gs://bucket/key",
        "hf://datasets/a/b",
        "memory://a",
        "filecache::s3://bucket/key",
        "https://host/a?b=c://d",
        "git+ssh://host/a",
    ],
)
def test_a_url_is_what_has_a_scheme(text):
    assert urls.is_url(text)


@pytest.mark.parametrize(
    "place",
    [
        "a",
        "/tmp/s3://x",
        "./s3://bucket/key",
        "s3:/bucket/key",
        "c://windows",
        "1s://x",
        "://x",
        b"s3://bucket/key",
        pathlib.Path("s3://bucket/key"),
        "file:///tmp/a",
        "FILE:///tmp/a",
        None,
        io.BytesIO(),
    ],
    ids=(
        "name path relative one-colon one-letter digit no-scheme bytes Path file FILE None object"
    ).split(),
)
def test_all_else_is_a_place_of_this_machine(place):
    assert not urls.is_url(place)


def test_fsspec_is_imported_for_urls_alone(tmp_path):
    code = (
        "import sys, fastpersist, os\n"
        "os.chdir(sys.argv[1])\n"
        "os.makedirs('a:')\n"
        "fastpersist.dump([1], 'plain'); fastpersist.load('plain'); fastpersist.verify('plain')\n"
        "fastpersist.dump([1], 'a://b'); assert fastpersist.load('a://b') == [1]\n"
        "fastpersist.dump([2], 'file://' + os.path.abspath('there'))\n"
        "assert fastpersist.load('there') == fastpersist.load('file://there') == [2]\n"
        "fastpersist.inspect('file://there')\n"
        "assert 'fsspec' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_missing_fsspec_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    for call in (fastpersist.load, fastpersist.inspect, fastpersist.verify):
        with pytest.raises(ImportError, match=r"fastpersist\[remote\]"):
            call("s3://bucket/key")
    with pytest.raises(ImportError, match=r"fastpersist\[remote\]"):
        fastpersist.dump(1, "s3://bucket/key")


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("scheme", ["memory", "teststore"])
def test_what_was_dumped_is_loaded(scheme):
    url, value = f"{scheme}://bucket/model", model()
    assert fastpersist.dump(value, url) == [url]
    data = fsspec.open(url).open().read()
    file = io.BytesIO()
    fastpersist.dump(value, file)
    assert data == file.getvalue()
    assert same(fastpersist.load(url), value)
    assert same(fastpersist.load(url, trusted=()), value)
    assert same(fastpersist.load(url, verify="full", threads=1), value)
    assert fastpersist.verify(url) == fastpersist.verify(io.BytesIO(data))


def test_an_upload_goes_in_parts():
    fastpersist.dump(model(), "teststore://bucket/model")
    assert len(Store.parts) >= 8
    assert max(Store.parts) < 3 * MIB


def test_the_name_chooses_the_codec():
    url = "memory://bucket/model.pkl.gz"
    fastpersist.dump(model(), url)
    assert fsspec.open(url).open().read(2) == b"\x1f\x8b"
    assert same(fastpersist.load(url), model())
    assert np.array_equal(fastpersist.read_array(url, "['big']"), model()["big"])
    assert fastpersist.inspect(url).codec == "gzip"
    fastpersist.dump([1], "memory://bucket/a.gz", compress=("zlib", 1))
    assert fsspec.open("memory://bucket/a.gz").open().read(1) == b"\x78"


def test_what_other_writers_wrote_is_read():
    Store.put_bytes("bucket/pickle", pickle.dumps(model(), 4))
    assert same(fastpersist.load("teststore://bucket/pickle"), model())
    found = fastpersist.read_array("teststore://bucket/pickle", "['big']")
    assert np.array_equal(found, model()["big"])
    report = fastpersist.inspect("teststore://bucket/pickle")
    assert [array.shape for array in report.arrays] == [(1_000_000,), (200_000,), (300, 200)]


def test_a_dump_in_two_files():
    main, second = "memory://bucket/main", "memory://bucket/second"
    assert fastpersist.dump(model(), main, sidecar=second) == [main, second]
    assert same(fastpersist.load(main, sidecar=second), model())
    assert same(fastpersist.load(main, sidecar=second, mmap_mode="r"), model())
    fastpersist.verify(main, sidecar=second)
    assert len(fastpersist.read_sidecar(second)) == 3


def test_one_of_two_files_may_be_local(tmp_path):
    main, second = "memory://bucket/main", str(tmp_path / "second")
    assert fastpersist.dump(model(), main, sidecar=second) == [main, second]
    assert same(fastpersist.load(main, sidecar=second), model())


def test_progress_counts_what_came_and_what_was_loaded():
    url, told = "teststore://bucket/model", []
    fastpersist.dump(model(), url)
    fastpersist.load(url, progress=lambda *counts: told.append(counts))
    done = [count[0] for count in told]
    assert done == sorted(done)
    size = len(Store.files["bucket/model"])
    assert told[-1][0] == told[-1][1] > size + BIG.nbytes
    assert (size, None) in told


def test_trusted_refuses_what_a_url_asks_for():
    fastpersist.dump(subprocess.Popen.__init__, "memory://bucket/bad")
    with pytest.raises(fastpersist.UntrustedError, match="subprocess"):
        fastpersist.load("memory://bucket/bad", trusted=())


def test_max_bytes_holds_before_anything_is_fetched():
    fastpersist.dump(model(), "teststore://bucket/model")
    with pytest.raises(pickle.UnpicklingError, match="max_bytes"):
        fastpersist.load("teststore://bucket/model", max_bytes=MIB)
    assert Store.ranges == []


@pytest.mark.parametrize("arguments", [{"durable": True}])
def test_durable_is_the_stores_to_decide(arguments):
    with pytest.raises(ValueError, match="durable"):
        fastpersist.dump(1, "memory://bucket/a", **arguments)
    with pytest.raises(ValueError, match="durable"):
        fastpersist.dump(1, "local", sidecar="memory://bucket/a", **arguments)


@pytest.mark.parametrize("mode", ["r+", "w+"])
def test_no_map_writes_to_a_store(mode):
    fastpersist.dump(model(), "memory://bucket/a")
    with pytest.raises(ValueError, match="r\\+"):
        fastpersist.load("memory://bucket/a", mmap_mode=mode)


# ---------------------------------------------------------------- parts of a file


def test_inspect_fetches_no_arrays():
    url = "teststore://bucket/model"
    fastpersist.dump(model(), url)
    report = fastpersist.inspect(url)
    assert Store.n_read() < 100 << 10
    assert report.name == url
    whole = fastpersist.inspect(io.BytesIO(Store.files["bucket/model"]))
    assert [array.path for array in report.arrays] == [array.path for array in whole.arrays]
    n_before = Store.n_read()
    by_path = {array.path: array for array in report.arrays}
    assert np.array_equal(by_path["['parts'][0]"].read(), model()["parts"][0])
    assert Store.n_read() - n_before < 3 * MIB + (100 << 10)


def test_read_array_fetches_the_blocks_that_hold_it():
    value = {"front": np.zeros(2_000_000), "one": np.arange(125_000.0), "back": np.ones(1_000_000)}
    fastpersist.dump(value, "teststore://bucket/model")
    found = fastpersist.read_array("teststore://bucket/model", "['one']")
    assert np.array_equal(found, value["one"])
    assert found.flags.owndata or found.base is not None
    assert Store.n_read() < 2 * MIB + (100 << 10)
    with pytest.raises(KeyError):
        fastpersist.read_array("teststore://bucket/model", "['two']")


def test_several_dumps_in_one_object():
    file = io.BytesIO()
    for factor in (1, 2, 3):
        fastpersist.dump({"a": np.arange(300_000.0) * factor}, file)
    Store.put_bytes("bucket/several", file.getvalue())
    report = fastpersist.inspect("teststore://bucket/several")
    assert Store.n_read() < 200 << 10
    assert [array.dump for array in report.arrays] == [0, 1, 2]
    for factor, array in enumerate(report.arrays, 1):
        assert np.array_equal(array.read(), np.arange(300_000.0) * factor)
    found = fastpersist.load("teststore://bucket/several")
    assert np.array_equal(found["a"], np.arange(300_000.0))


@pytest.mark.parametrize("place", [0, 14, 30, 5_000_000, -10, -30, -150, -1000])
def test_damage_is_the_same_as_of_a_path(place, tmp_path):
    path, url = tmp_path / "model", "teststore://bucket/model"
    fastpersist.dump(model(), path)
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(data)
    Store.put_bytes("bucket/model", data)
    for call in (
        fastpersist.load,
        fastpersist.verify,
        lambda p: fastpersist.read_array(p, "['big']"),
    ):
        failures = []
        for name in (str(path), url):
            try:
                call(name)
            except pickle.UnpicklingError as error:
                failures.append((type(error), str(error).replace(name, "")))
                assert getattr(error, "path", name) == name
            else:
                assert call not in (fastpersist.load, fastpersist.verify)
                failures.append(None)  # the damage is in another array
        assert failures[0] == failures[1]
    ours, local = fastpersist.inspect(url), fastpersist.inspect(str(path))
    assert (ours.damage is None) == (local.damage is None)


@pytest.mark.parametrize("n_bytes", [0, 1, 30, 3000, 1_000_000])
def test_a_cut_file_is_the_same_as_of_a_path(n_bytes, tmp_path):
    path, url = tmp_path / "model", "teststore://bucket/model"
    fastpersist.dump(model(), path)
    data = path.read_bytes()[:n_bytes]
    path.write_bytes(data)
    Store.put_bytes("bucket/model", data)
    for call in (fastpersist.load, fastpersist.verify):
        with pytest.raises((pickle.UnpicklingError, EOFError)) as one:
            call(str(path))
        with pytest.raises((pickle.UnpicklingError, EOFError)) as other:
            call(url)
        assert type(one.value) is type(other.value)


# ---------------------------------------------------------------- maps


def test_a_map_lies_over_fsspecs_cache(tmp_path, monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "filecache", {"cache_storage": str(tmp_path)})
    url, value = "teststore://bucket/model", model()
    fastpersist.dump(value, url)
    mapped = fastpersist.load(url, mmap_mode="r")
    assert same(mapped, value)
    assert isinstance(mapped["big"], np.memmap)
    assert os.path.dirname(mapped["big"].filename) == str(tmp_path)
    n_read = Store.n_read()
    assert same(fastpersist.load(url, mmap_mode="c"), value)
    assert same(fastpersist.load(url, mmap_mode="r", trusted=()), value)
    assert np.array_equal(fastpersist.read_array(url, "['big']", "r"), value["big"])
    assert Store.n_read() == n_read, "it was in the cache"
    fastpersist.dump({"big": np.zeros(10)}, url)
    assert np.array_equal(fastpersist.load(url, mmap_mode="r")["big"], np.zeros(10))
    assert same(mapped, value), "an old map keeps its file"
    assert all(not name.startswith("tmp") for name in os.listdir(tmp_path))


def test_a_copy_that_failed_is_not_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "filecache", {"cache_storage": str(tmp_path)})
    url = "teststore://bucket/model"
    fastpersist.dump(model(), url)

    def fail(path, start, end):
        raise ConnectionResetError("cut")

    Store.on_range = fail
    with pytest.raises(ConnectionResetError):
        fastpersist.load(url, mmap_mode="r")
    assert [name for name in os.listdir(tmp_path) if name != "cache"] == []
    Store.on_range = None
    assert same(fastpersist.load(url, mmap_mode="r"), model())


def test_a_chain_of_fsspecs_is_a_local_file(tmp_path, monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "simplecache", {"cache_storage": str(tmp_path)})
    fastpersist.dump(model(), "memory://bucket/model")
    url = "simplecache::memory://bucket/model"
    assert same(fastpersist.load(url), model())
    assert same(fastpersist.load(url, mmap_mode="r"), model())
    assert len(os.listdir(tmp_path)) == 1


# ---------------------------------------------------------------- failures


class Breaks:
    def __reduce__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize("scheme", ["memory", "teststore"])
@pytest.mark.parametrize("compress", [0, 1])
def test_nothing_appears_after_a_failure(scheme, compress):
    url = f"{scheme}://bucket/model"
    fs, path = fsspec.core.url_to_fs(url)
    for is_there in (False, True):
        if is_there:
            fastpersist.dump("old", url)
        with pytest.raises(RuntimeError):
            fastpersist.dump([model(), Breaks()], url, compress=compress)
        if is_there:
            assert fastpersist.load(url) == "old"
        else:
            with pytest.raises(FileNotFoundError):
                fs.info(path)


@pytest.mark.parametrize("n_before", [0, 1, 5, 8])
def test_a_part_that_fails_leaves_nothing(n_before):
    def fail(n_parts):
        if n_parts == n_before:
            raise ConnectionResetError("cut")

    Store.on_part = fail
    with pytest.raises(ConnectionResetError, match="cut"):
        fastpersist.dump(model(), "teststore://bucket/model")
    assert Store.files == {}
    assert Store.parts[n_before:] == ["discarded"]
    Store.on_part = None
    gc.collect()
    assert Store.files == {}, "a file that was let go must not be closed by the collector"


def test_a_range_that_fails_is_the_stores_error():
    fastpersist.dump(model(), "teststore://bucket/model")

    def fail(path, start, end):
        if start > 0:
            raise ConnectionResetError("cut")

    Store.on_range = fail
    for call in (
        fastpersist.load,
        fastpersist.verify,
        fastpersist.inspect,
        lambda url: fastpersist.read_array(url, "['big']"),
    ):
        with pytest.raises(ConnectionResetError, match="cut"):
            call("teststore://bucket/model")


def test_fewer_bytes_than_asked_for_are_no_damage(monkeypatch):
    fastpersist.dump(model(), "teststore://bucket/model")
    cat_file = Store.cat_file
    monkeypatch.setattr(Store, "cat_file", lambda *arguments: cat_file(*arguments)[:-1])
    with pytest.raises(OSError, match="asked for") as caught:
        fastpersist.load("teststore://bucket/model")
    assert not isinstance(caught.value, fastpersist.CorruptFileError)


def test_what_is_not_there():
    for call in (
        fastpersist.load,
        fastpersist.verify,
        fastpersist.inspect,
        lambda url: fastpersist.read_array(url, ""),
        lambda url: fastpersist.load(url, mmap_mode="r"),
    ):
        with pytest.raises(FileNotFoundError):
            call("teststore://bucket/model")


# ---------------------------------------------------------------- versions

OTHER = {"big": np.zeros(1_000_000), "parts": [np.ones(200_000), np.ones((300, 200))], "name": "y"}


@pytest.mark.parametrize("with_etags", [True, False], ids=["etag", "size alone"])
@pytest.mark.parametrize("n_ranges", [0, 1])
@pytest.mark.parametrize(
    "call",
    [
        fastpersist.load,
        fastpersist.verify,
        fastpersist.inspect,
        lambda url: fastpersist.read_array(url, "['big']"),
        lambda url: fastpersist.load(url, mmap_mode="r"),
    ],
    ids=["load", "verify", "inspect", "read_array", "map"],
)
def test_a_change_in_between_is_said(call, n_ranges, with_etags, monkeypatch):
    url = "teststore://bucket/model"
    fastpersist.dump(model(), url)
    Store.with_etags = with_etags
    seen = []

    def change(path, start, end):
        if len(seen) == n_ranges:
            Store.on_range = None
            fastpersist.dump(OTHER, url)
        seen.append(start)

    Store.on_range = change
    monkeypatch.setattr(urls, "_PART_BYTES", 4 * MIB)  # several for a load
    with pytest.raises(OSError, match="replaced or changed") as caught:
        call(url)
    assert not isinstance(caught.value, fastpersist.CorruptFileError)
    assert caught.value.filename == url


def test_a_file_that_is_removed_in_between():
    url = "teststore://bucket/model"
    fastpersist.dump(model(), url)

    def remove(path, start, end):
        Store.files.clear()
        raise FileNotFoundError(path)

    Store.on_range = remove
    with pytest.raises(OSError, match="replaced or changed"):
        fastpersist.load(url)


def test_a_report_reads_of_the_version_that_it_tells_of():
    url = "teststore://bucket/model"
    fastpersist.dump(model(), url)
    report = fastpersist.inspect(url)
    fastpersist.dump(model(), url)
    with pytest.raises(OSError, match="replaced or changed"):
        report.arrays[0].read()


def test_the_example_of_the_page():
    exec(compile(code_of("remote.md"), "remote.md", "exec"), {})


def test_the_command_line_takes_urls(capsys):
    url = "teststore://bucket/model"
    fastpersist.dump(model(), url)
    assert cli.main(["verify", url]) == 0
    assert capsys.readouterr().out.startswith(f"{url}: xxh3-64:")
    assert cli.main(["inspect", url]) == 0
    assert capsys.readouterr().out.startswith(url)
    Store.put_bytes("bucket/model", Store.files["bucket/model"][:-1])
    assert cli.main(["verify", url]) == 1
    assert "/proc/" not in capsys.readouterr().out
