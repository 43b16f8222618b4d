"""s3:// URLs, by s3fs, to moto's server over HTTP: bytes that go over the wire, and wires that are
cut."""

import gc
import threading

import fastpersist
import fsspec
import numpy as np
import pytest
from aiohttp import ClientError
from botocore.exceptions import BotoCoreError
from fastpersist.files import urls
from s3_server import client, s3_server

MIB = 1 << 20
STORES_ERRORS = (OSError, BotoCoreError, ClientError)
URL = "s3://models/model"
BIG = np.random.default_rng(0).random(1_500_000)  # 12 MB


@pytest.fixture(scope="module")
def proxy():
    with s3_server() as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def fresh(proxy):
    proxy.reset()
    s3 = client(proxy)
    for entry in s3.list_objects_v2(Bucket="models").get("Contents", []):
        s3.delete_object(Bucket="models", Key=entry["Key"])
    for entry in s3.list_multipart_uploads(Bucket="models").get("Uploads", []):
        s3.abort_multipart_upload(Bucket="models", Key=entry["Key"], UploadId=entry["UploadId"])
    fsspec.filesystem("s3").invalidate_cache()
    proxy.reset()
    before = set(threading.enumerate())
    yield
    gc.collect()
    left = {thread.name for thread in set(threading.enumerate()) - before}
    left -= {"proxy", "fsspecIO"}
    # moto's own, one a request, and what fsspec's loop looks names up with.
    assert not [name for name in left if "process_request" not in name and name[:7] != "asyncio"]


def keys(proxy):
    s3 = client(proxy)
    found = s3.list_objects_v2(Bucket="models").get("Contents", [])
    uploads = s3.list_multipart_uploads(Bucket="models").get("Uploads", [])
    return [entry["Key"] for entry in found], [entry["Key"] for entry in uploads]


def model():
    return {"big": BIG, "one": np.arange(125_000.0), "rest": [np.ones(300_000), "text"]}


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in ("big", "one"))


@pytest.fixture
def small_parts(monkeypatch):
    """Of 5 MiB, the least that S3 takes."""
    monkeypatch.setattr(fsspec.filesystem("s3"), "default_block_size", 5 * MIB)


def test_there_and_back(proxy, small_parts):
    assert fastpersist.dump(model(), URL) == [URL]
    assert keys(proxy) == (["model"], [])
    etag = client(proxy).head_object(Bucket="models", Key="model")["ETag"]
    assert etag.endswith('-3"'), "in three parts"
    assert same(fastpersist.load(URL), model())
    assert same(fastpersist.load(URL, trusted=()), model())
    assert same(fastpersist.load(URL, mmap_mode="r"), model())
    fastpersist.verify(URL)


def test_little_goes_over_the_wire(proxy):
    fastpersist.dump(model(), URL)
    proxy.reset()
    report = fastpersist.inspect(URL)
    assert proxy.n_bytes["down"] < 150 << 10
    assert {array.path for array in report.arrays} == {"['big']", "['one']", "['rest'][0]"}
    proxy.reset()
    assert np.array_equal(fastpersist.read_array(URL, "['one']"), model()["one"])
    assert proxy.n_bytes["down"] < 2 * MIB + (200 << 10)


@pytest.mark.slow
def test_one_array_of_a_gigabyte(proxy):
    value = {f"layer {i}": np.full(12_500_000, float(i)) for i in range(10)}
    value["bias"] = np.arange(125_000.0)
    fastpersist.dump(value, URL)
    proxy.reset()
    assert np.array_equal(fastpersist.read_array(URL, "['bias']"), value["bias"])
    assert proxy.n_bytes["down"] < 3_000_000
    print("read_array of 1 MB out of 1 GB:", proxy.n_bytes["down"], "bytes came")


def test_a_change_in_between(proxy, monkeypatch):
    fastpersist.dump(model(), URL)
    ranges = urls.Remote.ranges
    monkeypatch.setattr(urls, "_PART_BYTES", MIB)

    def changing(remote, some):
        found = ranges(remote, some)
        client(proxy).put_object(Bucket="models", Key="model", Body=b"other")
        return found

    monkeypatch.setattr(urls.Remote, "ranges", changing)
    with pytest.raises(OSError, match="replaced or changed") as caught:
        fastpersist.load(URL)
    assert caught.value.filename == URL
    assert not isinstance(caught.value, fastpersist.CorruptFileError)


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("cut_after", [0, MIB, 7 * MIB, 14 * MIB])
@pytest.mark.parametrize("is_there", [False, True], ids=["new", "old"])
def test_an_upload_that_is_cut(proxy, small_parts, cut_after, is_there):
    if is_there:
        fastpersist.dump("old", URL)
    proxy.reset("up", cut_after)
    with pytest.raises(STORES_ERRORS):
        fastpersist.dump(model(), URL)
    gc.collect()
    proxy.reset()
    fsspec.filesystem("s3").invalidate_cache()
    if is_there:
        assert fastpersist.load(URL) == "old"
    else:
        assert keys(proxy)[0] == []
        with pytest.raises(FileNotFoundError):
            fastpersist.load(URL)


def test_an_upload_of_what_cannot_be_pickled(proxy, small_parts):
    with pytest.raises(Exception, match="pickle"):
        fastpersist.dump([model(), lambda: None], URL)
    gc.collect()
    assert keys(proxy) == ([], []), "no parts are left that somebody pays for"


@pytest.mark.parametrize("cut_after", [0, MIB, 7 * MIB])
@pytest.mark.parametrize(
    "call",
    [
        fastpersist.load,
        fastpersist.verify,
        lambda url: fastpersist.load(url, mmap_mode="r"),
        lambda url: fastpersist.read_array(url, "['big']"),
    ],
    ids=["load", "verify", "map", "read_array"],
)
def test_a_download_that_is_cut(proxy, call, cut_after):
    fastpersist.dump(model(), URL)
    proxy.reset("down", cut_after)
    with pytest.raises(STORES_ERRORS) as caught:
        call(URL)
    assert not isinstance(caught.value, fastpersist.CorruptFileError)
    assert "replaced or changed" not in str(caught.value)
    proxy.reset()
    fastpersist.load(URL)


def test_a_bucket_that_is_denied(proxy):
    fastpersist.dump("old", URL)
    proxy.reset(denies=True)
    for call in (
        fastpersist.load,
        fastpersist.inspect,
        fastpersist.verify,
        lambda url: fastpersist.read_array(url, ""),
        lambda url: fastpersist.load(url, mmap_mode="r"),
        lambda url: fastpersist.dump(model(), url),
    ):
        with pytest.raises(PermissionError):
            call(URL)
    gc.collect()
    proxy.reset()
    assert fastpersist.load(URL) == "old"


def test_a_store_that_nobody_reaches(proxy, monkeypatch):
    settings = {**fsspec.config.conf["s3"], "endpoint_url": "http://127.0.0.1:9"}
    monkeypatch.setitem(fsspec.config.conf, "s3", settings)
    for failing in (fastpersist.load, lambda url: fastpersist.dump(1, url)):
        with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
            failing(URL)


def test_a_bucket_that_is_not_there():
    for failing in (fastpersist.load, lambda url: fastpersist.dump(model(), url)):
        with pytest.raises(FileNotFoundError):
            failing("s3://none/model")
