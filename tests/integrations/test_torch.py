"""Tensors of torch in dumps: how they come back, by all readers; pickle is the oracle."""

import io
import pathlib
import pickle
import re
import subprocess
import sys
import warnings
from collections import OrderedDict

import fastpersist
import joblib
import numpy as np
import pytest
import torch
from helpers import run_python

pytestmark = pytest.mark.torch

NUMBERS = "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 float32 float64".split()
OTHERS = "complex64 complex128 complex32 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz".split()


def bits(tensor):
    """Every byte of a dense tensor's elements."""
    return bytes(tensor.detach().clone().contiguous().untyped_storage())


def assert_same(a, b):
    assert type(a) is type(b)
    assert a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride()
    assert a.storage_offset() == b.storage_offset()
    assert a.requires_grad == b.requires_grad and a.is_leaf and b.is_leaf
    assert bits(a) == bits(b)


def memory_of(tensor):
    return tensor.untyped_storage().data_ptr()


def from_pickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


READERS = {
    "load": fastpersist.load,
    "pickle": from_pickle,
    "joblib": joblib.load,
    "map r": lambda path: fastpersist.load(path, mmap_mode="r"),
    "map c": lambda path: fastpersist.load(path, mmap_mode="c"),
    "map r+": lambda path: fastpersist.load(path, mmap_mode="r+"),
    "file": lambda path: fastpersist.load(io.BytesIO(path.read_bytes())),
    "loads": lambda path: fastpersist.loads(path.read_bytes()),
    "trusted": lambda path: fastpersist.load(path, trusted=()),
    "trusted, map": lambda path: fastpersist.load(path, trusted=(), mmap_mode="r"),
}


@pytest.fixture(params=READERS, ids=lambda name: name.replace(" ", "_"))
def read(request):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that cannot be written to
        yield READERS[request.param]


def dumped(value, tmp_path, **how):
    path = tmp_path / "file"
    fastpersist.dump(value, path, **how)
    return path


def net(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 14 * 14, 10),
    ).eval()


# ---------------------------------------------------------------- what comes back


def dense_tensors():
    generator = np.random.default_rng(0)
    for name in NUMBERS + OTHERS:
        dtype = getattr(torch, name)
        numbers = generator.integers(0, 2, 24) if name == "bool" else generator.integers(0, 100, 24)
        whole = torch.from_numpy(numbers).to(torch.float32).to(dtype).reshape(4, 6)
        yield name, whole
        yield f"{name} part", whole[1:3, ::2]
        yield f"{name} turned", whole.T
    whole = torch.arange(48.0).reshape(2, 3, 2, 4)
    yield "channels last", whole.to(memory_format=torch.channels_last)
    yield "one number", torch.tensor(3.5)
    yield "one of a row", torch.arange(5)[3]
    yield "empty", torch.empty(0)
    yield "empty, two axes", torch.empty(3, 0, 2)
    yield "empty part", torch.arange(5)[5:]
    yield "expanded", torch.arange(3.0).expand(4, 3)
    yield "axes of length 1", torch.arange(6.0).reshape(6, 1)[:, :1]
    yield "odd strides", torch.arange(6.0).as_strided((1, 6), (17, 1))
    yield "gradient", torch.ones(3, requires_grad=True)
    yield "gradient, bfloat16", torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    yield "gradient, part", torch.ones(5)[1:3].requires_grad_()
    yield "parameter", torch.nn.Parameter(torch.ones(2, 3))
    yield "parameter, frozen", torch.nn.Parameter(torch.ones(2, 3), requires_grad=False)
    yield "parameter, part", torch.nn.Parameter(torch.arange(6.0)[2:5])


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch calls complex32 experimental, once
    TENSORS = dict(dense_tensors())


def test_every_dense_tensor_comes_back(tmp_path, read):
    value = read(dumped(TENSORS, tmp_path))
    assert value.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        try:
            assert_same(tensor, value[name])
        except AssertionError as error:
            raise AssertionError(name) from error


@pytest.mark.parametrize("name", TENSORS)
def test_each_alone(tmp_path, name):
    assert_same(TENSORS[name], fastpersist.load(dumped(TENSORS[name], tmp_path)))
    assert_same(TENSORS[name], from_pickle(tmp_path / "file"))


def test_models_and_their_states(tmp_path, read):
    model = net()
    back = read(dumped({"model": model, "state": model.state_dict()}, tmp_path))
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(model(images), back["model"](images))
    assert back["state"]._metadata == model.state_dict()._metadata
    for name, tensor in model.state_dict().items():
        assert_same(tensor, back["state"][name])
        assert memory_of(back["state"][name]) == memory_of(back["model"].state_dict()[name])


def test_shared_storages_stay_shared(tmp_path, read):
    whole = torch.arange(24.0).reshape(4, 6)
    tied = torch.nn.Parameter(torch.ones(3, 3))
    other = torch.nn.Parameter(tied.data)  # another parameter over the same memory
    value = {"row": whole[2], "whole": whole, "again": whole, "bytes": whole.view(torch.uint8)}
    back = read(dumped((value, tied, tied, other, tied.data.T), tmp_path))
    back, *tied = back
    assert back["again"] is back["whole"] and tied[0] is tied[1]
    back["row"].fill_(-1)
    assert (back["whole"][2] == -1).all()
    assert torch.equal(back["bytes"].view(torch.float32), back["whole"])
    with torch.no_grad():
        tied[0][0, 1] = 7
    assert tied[2][0, 1] == 7 and tied[3][1, 0] == 7


def test_what_was_read_can_be_trained(tmp_path, read):
    back = read(dumped(net(), tmp_path)).train()
    before = back[0].weight.detach().clone()
    step = torch.optim.SGD(back.parameters(), lr=0.1)
    back(torch.rand(4, 1, 28, 28)).square().sum().backward()
    step.step()
    assert not torch.equal(before, back[0].weight)


def test_optimizers(tmp_path):
    model = net()
    step = torch.optim.Adam(model.parameters(), lr=0.5)
    model(torch.rand(2, 1, 28, 28)).sum().backward()
    step.step()
    path = dumped((model, step), tmp_path)
    other, other_step = fastpersist.load(path)
    assert other_step.param_groups[0]["params"][0] is other[0].weight
    state = dumped(step.state_dict(), tmp_path)
    for back in (other_step.state_dict(), fastpersist.load(state, trusted=()), from_pickle(state)):
        assert back["param_groups"] == step.state_dict()["param_groups"]
        for i, numbers in step.state_dict()["state"].items():
            for name, tensor in numbers.items():
                assert_same(tensor, back["state"][i][name])


# ---------------------------------------------------------------- maps


@pytest.mark.filterwarnings("ignore:.*was mapped for writing")
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_maps(tmp_path, mode, pair):
    numbers = torch.arange(100_000.0)
    side = {"sidecar": tmp_path / "side"} if pair else {}
    path = dumped([numbers, numbers.numpy(), torch.empty(0)], tmp_path, **side)
    data = [file.read_bytes() for file in (path, *side.values())]
    back, array, _ = fastpersist.load(path, mmap_mode=mode, **side)
    assert isinstance(array, np.memmap) and array.mode == mode
    back[5] = -1.0
    assert torch.equal(back[:5], numbers[:5]) and back[5] == -1
    after = [file.read_bytes() for file in (path, *side.values())]
    assert (data == after) == (mode != "r+")
    assert fastpersist.load(path, **side, verify=False)[0][5] == (-1 if mode == "r+" else 5)


def test_a_map_is_read_when_it_is_used(tmp_path):
    path = dumped(torch.zeros(1 << 22), tmp_path)
    script = (
        "import sys, torch, fastpersist, resource\n"
        "value = fastpersist.load(sys.argv[1], mmap_mode='r')\n"
        "lines = open('/proc/self/smaps').read().split('VmFlags')\n"
        "mine = [text for text in lines if sys.argv[1] in text]\n"
        "resident = sum(int(t.split('Rss:')[1].split()[0]) for t in mine)\n"
        "print(len(mine), resident)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    n_maps, resident = map(int, found.stdout.split())
    assert n_maps == 1 and resident < 4096  # of 16 MiB, in KiB


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("how", [{"compress": 3}, {"compress": "lz4"}, {"threads": 1}])
def test_compressed(tmp_path, how):
    back = fastpersist.load(dumped(TENSORS, tmp_path, **how))
    for name, tensor in TENSORS.items():
        assert_same(tensor, back[name])


def test_the_file_says_what_is_in_it(tmp_path):
    path = dumped({"a": torch.ones(300, 200), "b": torch.ones(4, dtype=torch.bfloat16)}, tmp_path)
    report = fastpersist.inspect(path)
    arrays = [(each.shape, each.dtype) for each in report.arrays]
    assert arrays == [((300, 200), "<f4"), ((8,), "|u1")]
    assert ("torch", str(torch.__version__)) in report.environment.packages
    assert report.untrusted == ()
    assert fastpersist.read_array(path, report.arrays[0].path).sum() == 60_000
    fastpersist.verify(path)


def test_a_changed_byte_is_found(tmp_path):
    path = dumped(torch.ones(100_000), tmp_path)
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(fastpersist.CorruptFileError):
        fastpersist.load(path)


def test_the_same_bytes_from_the_same_object(tmp_path):
    files = []
    for threads in (1, 2):
        dumped(TENSORS, tmp_path, threads=threads)
        files.append((tmp_path / "file").read_bytes())
    assert files[0] == files[1]


# ---------------------------------------------------------------- what torch writes itself


class OfOwn(torch.Tensor):
    pass


class Marked(torch.nn.Parameter):
    pass


def others():
    with_hook = torch.ones(3, requires_grad=True)
    with_hook.register_hook(print)
    named = torch.ones(3)
    named.name_of_mine = "x"
    yield "sparse", torch.eye(3).to_sparse()
    yield "sparse, rows", torch.eye(3).to_sparse_csr()
    yield "meta", torch.ones(3, device="meta")
    yield "result", torch.ones(3, requires_grad=True) * 2
    yield "conjugate", torch.ones(3, dtype=torch.complex64).conj()
    yield "negative", torch.ones(3, dtype=torch.complex64).conj().imag
    yield "attribute", named
    yield "subclass", torch.ones(3).as_subclass(OfOwn)
    yield "parameter's subclass", Marked(torch.ones(3))
    yield "hook", with_hook
    yield "buffer", torch.nn.Buffer(torch.ones(3))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of layouts in beta
    LEFT = dict(others())


@pytest.mark.filterwarnings("ignore")  # torch warns of what it does not save
@pytest.mark.parametrize("name", LEFT)
def test_torch_writes_the_others(tmp_path, name):
    value = LEFT[name]
    path = dumped(value, tmp_path)
    names = {each.name for each in fastpersist.inspect(path).globals}
    of_parts = {"sparse", "sparse, rows", "parameter's subclass"}  # whose reducers hand out tensors
    assert ("from_numpy" in names) == (name in of_parts)
    back, expected = fastpersist.load(path), pickle.loads(pickle.dumps(value, 5))
    assert type(back) is type(expected) and back.layout == expected.layout
    assert back.device == expected.device and vars(back) == vars(expected)
    if name != "meta":
        assert torch.equal(back.to_dense(), expected.to_dense())


def test_who_registers_a_reducer_is_asked_first(tmp_path):
    import copyreg

    copyreg.pickle(torch.Tensor, lambda tensor: (list, (tensor.tolist(),)))
    try:
        assert fastpersist.load(dumped(torch.ones(2), tmp_path)) == [1.0, 1.0]
    finally:
        del copyreg.dispatch_table[torch.Tensor]


def test_pickles_are_as_before(tmp_path):
    tensor = torch.arange(3.0)
    assert fastpersist.dumps(tensor) == pickle.dumps(tensor)
    stream = io.BytesIO()
    fastpersist.Pickler(stream, 5).dump(tensor)
    assert stream.getvalue() == pickle.dumps(tensor, 5)
    for how in ({"protocol": 4}, {"layout": "joblib"}):
        path = dumped(tensor, tmp_path, **how)
        assert "from_numpy" not in {each.name for each in fastpersist.inspect(path).globals}


def test_nothing_is_imported_where_torch_is_not():
    run_python(
        "import sys, fastpersist, os, tempfile\n"
        "path = os.path.join(tempfile.mkdtemp(), 'x')\n"
        "fastpersist.dump([1], path)\n"
        "assert fastpersist.load(path, trusted=()) == [1]\n"
        "assert 'torch' not in sys.modules and 'fastpersist._torch' not in sys.modules\n"
        "import unittest.mock\n"
        "for other in (None, sys, unittest.mock.MagicMock()):\n"
        "    sys.modules['torch'] = other\n"
        "    fastpersist.dump([1], path)\n"
    )


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = pathlib.Path(__file__).parents[2] / "docs" / "torch.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(example, {})


# ---------------------------------------------------------------- torch.save


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "latin1", "bytes"])
def test_torch_saves_and_loads_with_us(tmp_path, zipped, encoding):
    value = OrderedDict(w=torch.arange(6.0).reshape(2, 3), model=net())
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    how = {"_use_new_zipfile_serialization": zipped}
    torch.save(value, ours, pickle_module=fastpersist, **how)
    torch.save(value, theirs, **how)
    for path in (ours, theirs):
        for module in (fastpersist, pickle):
            back = torch.load(path, weights_only=False, pickle_module=module, encoding=encoding)
            assert_same(value["w"], back["w"])
            assert_same(value["model"][0].weight, back["model"][0].weight)
    assert_same(value["w"], torch.load(ours, weights_only=False)["w"])


__all__ = ["Marked", "OfOwn"]
