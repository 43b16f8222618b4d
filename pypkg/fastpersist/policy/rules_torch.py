"""Rules for arguments and states of what is torch's.

torch trusts its private functions: a storage is what says how large a tensor may be, a bool is 0 or
1, and the dicts of a module hold what is called when the module is. So a load looks at all of them.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from functools import cache
from typing import Any

from fastpersist.policy.rows import Refused
from fastpersist.policy.rules_numpy import holds_plain_bytes, is_array
from fastpersist.policy.rules_python import exact_dict, integer, need

Arguments = tuple[Any, ...]

FLOATS = "float16 float32 float64 bfloat16 complex32 complex64 complex128"
FLOATS_OF_8 = "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu"
INTEGERS = "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64"

_LARGEST = (1 << 63) - 1
_MAX_DIMENSIONS = 64
_KINDS_OF_NUMPY = "biufc"


def torch() -> Any:
    """torch, which is loaded where a rule of its own is asked."""
    module = sys.modules.get("torch")
    if module is None:
        raise Refused("torch is not loaded")
    return module


@cache
def _dtypes(names: str) -> frozenset[Any]:
    return frozenset(d for d in (getattr(torch(), n, None) for n in names.split()) if d is not None)


def _can_require_gradients(dtype: Any) -> bool:
    return dtype in _dtypes(FLOATS) or dtype in _dtypes(FLOATS_OF_8)


def _tensor(value: Any, what: str) -> Any:
    """`value`, where it is a tensor: those of this load are dense, and in memory."""
    if type(value) is not torch().Tensor:
        raise Refused(f"{what} is no tensor")
    return value


def _is_mapped(array: Any) -> bool:
    numpy = sys.modules["numpy"]
    return type(array) is numpy.memmap


def _check_bools(array: Any) -> None:
    """torch counts with the bytes of bools."""
    if array.size and int(array.view("u1").max()) > 1:
        raise Refused("a bool is neither 0 nor 1")


def from_numpy(args: Arguments) -> Arguments:
    """``from_numpy(array)``: numbers. What torch may not write to, what lies at odd addresses, and
    bools of a file that others may change are copied."""
    need(len(args) == 1, "takes an array")
    array = args[0]
    need(is_array(array) or _is_mapped(array), "takes an array")
    dtype = array.dtype
    need(
        holds_plain_bytes(dtype) and dtype.kind in _KINDS_OF_NUMPY and dtype.isnative,
        f"an array of dtype {dtype}",
    )
    need(dtype.itemsize <= 16 and dtype.char not in "gG", f"an array of dtype {dtype}")
    is_bool = dtype.kind == "b"
    if not array.flags.writeable or not array.flags.aligned or (is_bool and _is_mapped(array)):
        array = sys.modules["numpy"].array(array, subok=False)
    if is_bool:
        need(array.flags.c_contiguous, "bools that do not lie in a row")
        _check_bools(array)
    return (array,)


def typed_storage(args: Arguments) -> None:
    """``Tensor._typed_storage(tensor)``"""
    need(len(args) == 1, "takes a tensor")
    _tensor(args[0], "what has a storage")


def requires_grad(args: Arguments) -> None:
    """``Tensor.requires_grad_(tensor, True)``"""
    need(len(args) == 2 and type(args[1]) is bool, "takes a tensor and a bool")
    tensor = _tensor(args[0], "what requires gradients")
    need(_can_require_gradients(tensor.dtype), f"gradients of {tensor.dtype}")


def _hooks(value: Any) -> OrderedDict[Any, Any]:
    """What takes the place of a dict of hooks: empty, and out of the file's reach."""
    need(type(value) is OrderedDict and not value, "hooks")
    return OrderedDict()


def rebuild_parameter(args: Arguments) -> Arguments:
    """``_rebuild_parameter(tensor, requires_grad, OrderedDict())``"""
    need(len(args) == 3 and type(args[1]) is bool, "takes a tensor, a bool and no hooks")
    tensor = _tensor(args[0], "the data of a parameter")
    need(not args[1] or _can_require_gradients(tensor.dtype), f"gradients of {tensor.dtype}")
    return (tensor, args[1], _hooks(args[2]))


def _lengths(value: Any, what: str) -> tuple[int, ...]:
    need(type(value) is tuple and len(value) <= _MAX_DIMENSIONS, f"the {what} of a tensor")
    return tuple(integer(n, 0, _LARGEST, f"a number of the {what}") for n in value)


def rebuild_tensor(args: Arguments) -> Arguments:
    """``_rebuild_tensor_v3(storage, offset, size, strides, False, OrderedDict(), dtype)``, all of
    whose elements lie in the storage."""
    need(len(args) == 7, "takes a storage and what lies where in it")
    storage, offset, size, strides, gradient, hooks, dtype = args
    module = torch()
    need(type(storage) is module.storage.TypedStorage, "a storage is none")
    memory = storage._untyped_storage
    need(type(memory) is module.UntypedStorage and memory.device.type == "cpu", "a storage is none")
    need(
        dtype in _dtypes(FLOATS) or dtype in _dtypes(FLOATS_OF_8) or dtype in _dtypes(INTEGERS),
        f"a tensor of {dtype!s:.80}",
    )
    offset = integer(offset, 0, _LARGEST, "the offset of a tensor")
    size, strides = _lengths(size, "size"), _lengths(strides, "strides")
    need(len(size) == len(strides), "a tensor has not as many strides as lengths")
    count = 1
    last = offset
    for length, stride in zip(size, strides, strict=True):
        count *= max(length, 1)
        last += max(length - 1, 0) * stride
    n_elements = 0 if 0 in size else 1
    need(count <= _LARGEST and last <= _LARGEST, "a tensor is too large")
    end = (last + n_elements) * dtype.itemsize if n_elements else offset * dtype.itemsize
    need(end <= memory.nbytes(), "a tensor ends behind its storage")
    need(gradient is False, "a tensor of a storage requires gradients later")
    address = memory.data_ptr() + offset * dtype.itemsize
    need(address % min(dtype.itemsize, 8) == 0 or not n_elements, "a tensor at an odd address")
    if dtype is module.bool and memory.nbytes():
        of_bytes = module.empty(0, dtype=module.uint8, device="cpu")
        of_bytes.set_(memory, offset, (end - offset,), (1,))
        _check_bools(of_bytes.numpy())
    return (storage, offset, size, strides, False, _hooks(hooks), dtype)


def size(args: Arguments) -> None:
    """``torch.Size((2, 3))``"""
    need(len(args) == 1, "takes the lengths")
    need(type(args[0]) in (tuple, list), "takes the lengths")
    for length in args[0]:
        integer(length, 0, _LARGEST, "a length")


def device(args: Arguments) -> None:
    """``torch.device("cpu")``"""
    need(len(args) == 1 and type(args[0]) is str and args[0] == "cpu", "a device but the CPU")


# Modules

# What a module calls when it is called, loaded or saved.
_HOOKS = frozenset(
    "_backward_hooks _backward_pre_hooks _forward_hooks _forward_hooks_always_called "
    "_forward_hooks_with_kwargs _forward_pre_hooks _forward_pre_hooks_with_kwargs "
    "_load_state_dict_post_hooks _load_state_dict_pre_hooks _state_dict_hooks "
    "_state_dict_pre_hooks".split()
)
_MAX_DEPTH = 8


def _named(value: Any, what: str, kinds: tuple[type, ...]) -> dict[str, Any]:
    """A copy of a dict of tensors: the load could go on to fill the one in the file."""
    need(type(value) in (dict, OrderedDict), f"{what} of a module")
    for name, each in value.items():
        need(type(name) is str and "." not in name and name, f"a name in {what} of a module")
        need(each is None or type(each) in kinds, f"{name!r:.80} in {what} of a module")
    return value.copy()  # type: ignore[no-any-return]


def _modules(value: Any) -> dict[str, Any]:
    need(type(value) in (dict, OrderedDict), "_modules of a module")
    kind = torch().nn.Module
    for name, each in value.items():
        need(type(name) is str, "a name in _modules of a module")
        # Made in this load, by a row of its own.
        need(each is None or isinstance(each, kind), f"{name!r:.80} in _modules is no module")
    return value.copy()  # type: ignore[no-any-return]


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    """A copy of a parameter of a module: nothing that could be called."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple) and depth < _MAX_DEPTH:
        need(len(value) < 1000, f"{name} of a module is too long")
        return kind(_plain(each, name, depth + 1) for each in value)
    module = torch()
    if kind in (module.Size, module.dtype, module.device):
        return value
    raise Refused(f"{name} of a module is a {kind.__name__:.80}")


def module_state(instance: Any, state: Any) -> Any:
    """The state of a module: numbers, parameters, other modules; no hooks."""
    what = type(instance).__name__
    state = exact_dict(state, what)
    nn = torch().nn
    kinds = (nn.Parameter,)
    result: dict[str, Any] = {}
    for name, value in state.items():
        if name in _HOOKS:
            result[name] = _hooks(value)
        elif name == "_parameters":
            result[name] = _named(value, name, kinds)
        elif name == "_buffers":
            result[name] = _named(value, name, (torch().Tensor, *kinds))
        elif name == "_modules":
            result[name] = _modules(value)
        elif name == "_non_persistent_buffers_set":
            need(type(value) is set and all(type(each) is str for each in value), f"{name}")
            result[name] = set(value)
        else:
            need(name != "_compiled_call_impl" or value is None, "a compiled module")
            result[name] = _plain(value, name)
    for name in ("_parameters", "_buffers", "_modules"):
        need(name in result, f"{what} has no {name}")
        for each in result[name]:
            need(each not in result, f"{what} has {each!r:.80} twice")
    return result


__all__ = [
    "device",
    "from_numpy",
    "module_state",
    "rebuild_parameter",
    "rebuild_tensor",
    "requires_grad",
    "size",
    "typed_storage",
]
