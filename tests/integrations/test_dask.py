"""The serialization family, by itself and between the processes of a cluster."""

import operator
import os
import subprocess
import sys

import dask
import fastpersist
import msgpack
import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.protocol import deserialize, serialize
from distributed.protocol.serialize import families, merge_and_deserialize, serialize_and_split
from documented import code_of
from fastpersist.integrations import dask as fastpersist_dask
from sample_classes import Plain

PRELOAD = "fastpersist.integrations.dask"
OURS = ["fastpersist", "dask", "pickle"]


@pytest.fixture
def family():
    fastpersist_dask.register()
    yield
    fastpersist_dask.register()


def through(value, serializers=("fastpersist",)):
    header, frames = serialize_and_split(value, serializers=list(serializers), on_error="raise")
    header = msgpack.loads(msgpack.dumps(header), strict_map_key=False, use_list=False)
    return merge_and_deserialize(header, [memoryview(bytes(frame)) for frame in frames])


ARRAYS = {
    "C": np.arange(12.0).reshape(3, 4),
    "Fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "gaps": np.arange(24)[::2],
    "empty": np.empty((0, 3)),
    "no axes": np.array(3.5),
    "times": np.array(["2020-01-01", "NaT"], "M8[D]"),
    "records": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    "objects": np.array([1, "a", None], object),
    "big-endian": np.arange(5, dtype=">i4"),
    "read-only": np.frombuffer(b"12345678", "u1"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name, family):
    array = ARRAYS[name]
    found = through(array)
    assert found.dtype == array.dtype and found.shape == array.shape
    assert np.array_equal(found, array) or name == "times"
    assert found.tobytes() == array.tobytes() or name == "objects"
    assert found.flags.writeable == array.flags.writeable
    assert found.flags.f_contiguous == array.flags.f_contiguous or name == "gaps"
    inside = through({"a": [array]})["a"][0]
    assert inside.dtype == array.dtype
    if name == "objects":
        assert inside.tolist() == array.tolist()
    else:
        assert inside.tobytes() == array.tobytes()


def test_objects_and_their_buffers(family):
    value = {"plain": Plain(), "list": [1, None], "bytes": b"x" * 100_000, "array": np.ones(50_000)}
    header, frames = serialize(value, serializers=["fastpersist"], iterate_collection=False)
    assert header["serializer"] == "fastpersist"
    assert [memoryview(frame).nbytes for frame in frames[1:]] == [400_000]
    assert np.shares_memory(np.frombuffer(frames[1], "f8"), value["array"]), "no copy"
    found = deserialize(header, frames)
    assert found["list"] == [1, None] and np.array_equal(found["array"], value["array"])
    assert isinstance(found["plain"], Plain)


def test_what_cannot_be_pickled_goes_to_the_next_family(family):
    for value in (lambda x: x + 1, {"a": lambda: 3}, (i for i in range(3))):
        with pytest.raises(NotImplementedError):
            families["fastpersist"][0](value)
    header, _ = serialize(lambda x: x + 1, serializers=OURS)
    assert header["serializer"] == "pickle"
    assert through(lambda x: x + 1, OURS)(1) == 2


def test_want_of_memory_is_none_of_the_next_familys_business(family):
    class Large:
        def __reduce__(self):
            raise MemoryError("too large")

    with pytest.raises(MemoryError):
        families["fastpersist"][0](Large())


def test_what_main_defines_goes_to_the_next_family():
    code = (
        "from distributed.protocol import serialize\n"
        "from fastpersist.integrations import dask\n"
        "dask.register()\n"
        "class Own: pass\n"
        "for value in (Own(), Own, [Own()]):\n"
        f"    assert serialize(value, serializers={OURS})[0]['serializer'] == 'pickle'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_trusted_refuses_what_arrives(family):
    bad = serialize(os.system, serializers=["fastpersist"])
    fastpersist_dask.register(trusted=())
    with pytest.raises(fastpersist.UntrustedError, match="system"):
        deserialize(*bad)
    value = {"array": np.arange(1000.0), "list": [1, "a"]}
    assert np.array_equal(through(value)["array"], value["array"])
    assert np.array_equal(through(ARRAYS["Fortran"]), ARRAYS["Fortran"])
    with pytest.raises(fastpersist.UntrustedError, match=r"sample_classes\.Plain"):
        through(Plain())
    fastpersist_dask.register(trusted=["sample_classes.Plain"])
    assert isinstance(through(Plain()), Plain)
    with pytest.raises(TypeError):
        fastpersist_dask.register(trusted=[3])


def test_a_header_makes_no_array_of_objects(family):
    header, frames = serialize(np.arange(4), serializers=["fastpersist"])
    header["array"] = ("O", (4,), "C")
    with pytest.raises(ValueError, match="objects"):
        deserialize(header, frames)
    header["array"] = ("<i8", (5,), "C")
    with pytest.raises(TypeError, match="too small"):
        deserialize(header, frames)


# ---------------------------------------------------------------- a cluster


def where(value):
    """In a worker: its process, and what it makes of a value."""
    return os.getpid(), operator.add(value["array"], 1.0), sorted(families)


@pytest.fixture(scope="module")
def cluster():
    settings = {f"distributed.{role}.preload": [PRELOAD] for role in ("scheduler", "worker")}
    settings["fastpersist.between-workers"] = True
    support = os.path.join(os.path.dirname(__file__), "..", "support")
    paths = [os.path.abspath(support), os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")]
    with (
        pytest.MonkeyPatch.context() as patches,
        dask.config.set(settings),
    ):
        patches.setenv("PYTHONPATH", os.pathsep.join(paths))
        with LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
        ) as made:
            yield made


def test_two_processes(cluster, family):
    with Client(cluster, serializers=OURS, deserializers=[*OURS, "error"]) as client:
        workers = list(client.scheduler_info()["workers"])
        assert len(workers) == 2
        value = {"array": np.arange(1000.0), "name": "x", "plain": [Plain()]}
        [future] = client.scatter([value], workers=workers[:1])
        tasks = [client.submit(where, future, workers=[name], pure=False) for name in workers]
        found = client.gather(tasks)
        assert len({pid for pid, _, _ in found} | {os.getpid()}) == 3
        for _, array, known in found:
            assert np.array_equal(array, np.arange(1001.0)[1:])
            assert "fastpersist" in known
        assert client.submit(lambda x: x * 2, 21).result() == 42


def test_another_client_of_the_same_cluster_goes_by_dasks_own(cluster):
    with Client(cluster) as client:
        _, array, _ = client.submit(where, {"array": np.zeros(3)}).result()
        assert np.array_equal(array, np.ones(3))


def test_the_example_of_the_page(tmp_path):
    (tmp_path / "page.py").write_text(code_of("dask.md"))
    subprocess.run([sys.executable, str(tmp_path / "page.py")], check=True, timeout=120)
