"""How `dump` writes tensors of torch: over arrays of ours, so that they are hashed, and mapped.

Asked only where the program has imported torch; imports nothing. A tensor that is no more than
numbers in the memory of this machine is written as calls that any unpickler runs where torch is
installed:

    torch.from_numpy(array)                                   all of a storage, in NumPy's dtype
    torch._utils._rebuild_tensor_v3(storage, offset, ...)     part of one, or another dtype
    torch.Tensor._typed_storage(tensor)                       the storage of such a tensor
    torch.Tensor.requires_grad_(tensor, True)
    torch._utils._rebuild_parameter(tensor, requires_grad, OrderedDict())

Tensors that share a storage share it when they are loaded. Every other tensor is written by torch
itself: sparse, quantized, on a device, with hooks, with a gradient function, with attributes of
its own, of a subclass.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

# What NumPy has, too; the elements of a storage of any other dtype are stored as bytes.
_NUMPY_DTYPES = (
    "bool uint8 int8 int16 int32 int64 float16 float32 float64 complex64 complex128 "
    "uint16 uint32 uint64"
)


class _Name(type):
    """The type of what the core writes by ``__module__`` and ``__qualname__`` as they are: pickle
    would write these functions as getattr() of a class."""


class _FromNumpy(metaclass=_Name):
    pass


class _RequiresGrad(metaclass=_Name):
    pass


_FromNumpy.__module__, _FromNumpy.__qualname__ = "torch", "from_numpy"
_RequiresGrad.__module__, _RequiresGrad.__qualname__ = "torch", "Tensor.requires_grad_"


class _Storage:
    """Stands for the storage of a tensor that is written."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor


Reducer = Callable[[Any], object]


def for_dump() -> tuple[Any, ...]:
    """What `_core.dump_value` takes behind progress, for one dump: names, environment, reducers.

    Returns
    -------
    tuple
        Empty where torch is not there, or not as it is known here.
    """
    torch: Any = sys.modules.get("torch")
    try:
        return (_Name, None, _Tensors(torch).reducers())
    except (AttributeError, TypeError):  # None, half imported, or something else of that name
        return ()


class _Tensors:
    """The tensors of one dump, by the storages that they lie in."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.typed_storage = torch.Tensor._typed_storage
        self.rebuild_tensor = torch._utils._rebuild_tensor_v3
        self.rebuild_parameter = torch._utils._rebuild_parameter
        self.numpy_dtypes = {
            getattr(torch, name) for name in _NUMPY_DTYPES.split() if hasattr(torch, name)
        }
        self.other_dtypes = {
            value
            for name, value in vars(torch).items()
            if isinstance(value, torch.dtype) and name.startswith(("bfloat", "float8", "complex32"))
        }
        # By the address of the storage, which the tensor keeps: what stands for it.
        self.storages: dict[int, _Storage] = {}

    def reducers(self) -> dict[type, Reducer]:
        """By exact type."""
        return {
            self.torch.Tensor: self.reduce_tensor,
            self.torch.nn.Parameter: self.reduce_parameter,
            _Storage: self.reduce_storage,
        }

    def is_plain(self, tensor: Any) -> bool:
        """Whether numbers in memory are all that there is to it."""
        return (
            tensor.layout is self.torch.strided
            and tensor.device.type == "cpu"
            and (tensor.dtype in self.numpy_dtypes or tensor.dtype in self.other_dtypes)
            and tensor.grad_fn is None
            and not tensor._backward_hooks
            and not vars(tensor)
            and not tensor.is_nested
            and not tensor.is_conj()
            and not tensor.is_neg()
            and not tensor._is_zerotensor()
            and not any(getattr(tensor, "names", ()))
            and self.torch._C._has_storage(tensor)
            and not self.torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        )

    def reduce_parameter(self, parameter: Any) -> object:
        if not self.is_plain(parameter):
            return parameter.__reduce_ex__(5)
        no_hooks: OrderedDict[Any, Any] = OrderedDict()
        data = parameter.detach()
        return self.rebuild_parameter, (data, parameter.requires_grad, no_hooks)

    def reduce_tensor(self, tensor: Any) -> object:
        if not self.is_plain(tensor):
            return tensor.__reduce_ex__(5)
        if tensor.requires_grad:
            return _RequiresGrad, (tensor.detach(), True)
        memory = tensor.untyped_storage()
        storage = self.storages.get(memory._cdata)
        if storage is None:
            storage = _Storage(self.whole(tensor, memory))
            self.storages[memory._cdata] = storage
        if storage.tensor is tensor:
            return _FromNumpy, (tensor.numpy(),)
        where = tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
        return self.rebuild_tensor, (storage, *where, False, OrderedDict(), tensor.dtype)

    def reduce_storage(self, storage: _Storage) -> object:
        return self.typed_storage, (storage.tensor,)

    def whole(self, tensor: Any, memory: Any) -> Any:
        """What is written for all of a tensor's storage: the tensor itself, or one of one axis."""
        n_bytes = memory.nbytes()
        dtype = tensor.dtype
        if dtype not in self.numpy_dtypes or n_bytes % dtype.itemsize:
            dtype = self.torch.uint8
        elif n_bytes > 0 and tensor.nbytes == n_bytes and _is_in_c_order(tensor):
            return tensor
        empty = self.torch.empty(0, dtype=dtype, device="cpu")
        return empty.set_(memory, 0, (n_bytes // dtype.itemsize,), (1,))


def _is_in_c_order(tensor: Any) -> bool:
    """Whether an array of that shape has these strides, those of axes of length 1 included."""
    expected = 1
    for length, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if stride != expected:
            return False
        expected *= length
    return True
