"""What is approved of torch: dense tensors as `fastpersist.dump` writes them, and simple modules.

torch's own pickles keep each storage as bytes for torch.storage._load_from_bytes, which is
torch.load: it loads another pickle, and is never approved. The files of torch.save keep storages
outside of their pickle, by persistent ids; ``torch.load(weights_only=True)`` reads those.
"""

from __future__ import annotations

from fastpersist.policy import rules_torch
from fastpersist.policy.rows import ARGUMENT, BUILD, CALL, NEW, Row, rows

_MODULE = "numbers, parameters, other modules; hooks must be empty, no attribute can be called"

_MODULES = {
    "activation": (
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid "
        "LogSoftmax Mish PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin "
        "Softplus Softshrink Softsign Tanh Tanhshrink Threshold"
    ),
    "batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d",
    "channelshuffle": "ChannelShuffle",
    "container": "ModuleDict ModuleList Sequential",
    "conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "distance": "CosineSimilarity PairwiseDistance",
    "dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
    "flatten": "Flatten Unflatten",
    "instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "linear": "Bilinear Identity Linear",
    "loss": (
        "BCELoss BCEWithLogitsLoss CrossEntropyLoss HuberLoss KLDivLoss L1Loss MSELoss NLLLoss "
        "SmoothL1Loss"
    ),
    "normalization": "GroupNorm LayerNorm LocalResponseNorm RMSNorm",
    "padding": (
        "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d "
        "ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d "
        "ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d"
    ),
    "pixelshuffle": "PixelShuffle PixelUnshuffle",
    "pooling": (
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d "
        "AdaptiveMaxPool2d AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d MaxPool1d MaxPool2d "
        "MaxPool3d"
    ),
    "sparse": "Embedding",
    "upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
}

ROWS: tuple[Row, ...] = (
    Row(
        "torch",
        "from_numpy",
        CALL,
        "a tensor over an array of numbers",
        call=rules_torch.from_numpy,
        means=(("torch", "_VariableFunctionsClass.from_numpy"),),
    ),
    Row(
        "torch._tensor",
        "Tensor._typed_storage",
        CALL,
        "the storage of a tensor of this load",
        call=rules_torch.typed_storage,
    ),
    Row(
        "torch._utils",
        "_rebuild_tensor_v3",
        CALL,
        "a tensor over a storage; all of its elements lie in it, and it gets no hooks",
        call=rules_torch.rebuild_tensor,
    ),
    Row(
        "torch._utils",
        "_rebuild_parameter",
        CALL,
        "a parameter over a tensor; it gets no hooks",
        call=rules_torch.rebuild_parameter,
    ),
    Row(
        "torch",
        "Tensor.requires_grad_",
        CALL,
        "says of a tensor that it wants gradients",
        call=rules_torch.requires_grad,
        means=(("torch._C", "TensorBase.requires_grad_"),),
    ),
    *rows(
        "torch",
        f"{rules_torch.INTEGERS} {rules_torch.FLOATS} {rules_torch.FLOATS_OF_8}",
        ARGUMENT,
        "a dtype, which is a constant",
    ),
    Row("torch", "Size", CALL, "a tuple of lengths", call=rules_torch.size),
    Row("torch", "device", CALL, "the CPU", call=rules_torch.device),
    *(
        row
        for module, names in _MODULES.items()
        for row in rows(
            f"torch.nn.modules.{module}",
            names,
            NEW | BUILD,
            _MODULE,
            state=rules_torch.module_state,
        )
    ),
    # Not here: RNN, GRU, LSTM, attention, transformers, EmbeddingBag, fractional and un-pooling,
    # whose compiled code nobody has looked at; optimizers (parameters are keys of their dicts:
    # their state dicts load); what holds functions; lazy modules, which have hooks.
)
