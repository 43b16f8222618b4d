"""The rules of the policy around the standard library's own unpickler."""

from __future__ import annotations

import collections
import io
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from fastpersist.policy import rules_numpy, rules_python, rules_scipy
from fastpersist.policy.rows import Refused

Call = Callable[[tuple[Any, ...]], Any]
State = Callable[[Any, Any], Any]


def by_name(names: str, rule: Any) -> dict[str, Any]:
    return dict.fromkeys(names.split(), rule)


CALLS: dict[str, Call] = {
    "dtype": rules_numpy.dtype_call,
    "ndarray": rules_numpy.ndarray_call,
    "_reconstruct": rules_numpy.reconstruct_call,
    "scalar": rules_numpy.scalar_call,
    "_frombuffer": rules_numpy.frombuffer_call,
    "__randomstate_ctor": rules_numpy.randomstate_ctor,
    "__generator_ctor": rules_numpy.generator_ctor,
    "__bit_generator_ctor": rules_numpy.bit_generator_ctor,
    "__pyx_unpickle_SeedSequence": rules_numpy.seed_sequence_call,
    "_mareconstruct": rules_numpy.masked_call,
    "slice": rules_python.slice_,
    "range": rules_python.range_,
    "complex": rules_python.complex_,
    "set": rules_python.set_from_list,
    "frozenset": rules_python.set_from_list,
    "bytearray": rules_python.bytearray_,
    "encode": rules_python.encode,
    "Decimal": rules_python.decimal_,
    "Fraction": rules_python.fraction_,
    "date": rules_python.date_,
    "time": rules_python.time_,
    "datetime": rules_python.datetime_,
    "timedelta": rules_python.timedelta_,
    "timezone": rules_python.timezone_,
    "OrderedDict": rules_python.ordered_dict,
    "defaultdict": rules_python.defaultdict_,
    "deque": rules_python.deque_,
    "Counter": rules_python.counter_,
    "PurePosixPath": rules_python.path_,
    "array": rules_python.array_call,
    "_array_reconstructor": rules_python.array_,
}
STATES: dict[str, State] = {
    "RandomState": rules_numpy.random_state,
    "Generator": rules_numpy.generator_state,
    **by_name("MT19937 PCG64 PCG64DXSM Philox SFC64", rules_numpy.bit_generator_state),
    "SeedSequence": rules_numpy.seed_sequence,
    "MaskedArray": rules_numpy.masked_state,
    "UUID": rules_python.uuid_,
    "BSpline": rules_scipy.bspline_state,
    **by_name("PPoly BPoly CubicSpline PchipInterpolator", rules_scipy.ppoly_state),
    "interp1d": rules_scipy.interp1d_state,
    **{
        f"{name}_{kind}": getattr(rules_scipy, f"{name}_state")
        for name in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")
        for kind in ("matrix", "array")
    },
}


class Ruled(pickle._Unpickler):  # type: ignore[misc, name-defined]
    """The standard library's own unpickler, with the rules where the core asks them."""

    dispatch = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(
        self,
        data: bytes,
        calls: dict[str, Call] = CALLS,
        states: dict[str, State] = STATES,
        buffers: Any = None,
    ) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self.calls, self.states = calls, states
        self.asked: collections.Counter[str] = collections.Counter()

    def load_reduce(self) -> None:
        function, args = self.stack[-2:]
        rule = self.calls.get(function.__name__)
        if rule is not None:
            self.asked[function.__name__] += 1
            replaced = rule(args)
            if replaced is not None:
                self.stack[-1] = replaced
        super().load_reduce()

    def load_build(self) -> None:
        instance = self.stack[-2]
        rule = self.states.get(type(instance).__name__)
        if rule is not None:
            self.asked[type(instance).__name__] += 1
            self.stack[-1] = rule(instance, self.stack[-1])
        super().load_build()

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


def through_rules(value: Any, *rules: str, protocol: int = 5) -> Any:
    """`value` pickled and loaded again; the rules of these names have to have been asked."""
    unpickler = Ruled(pickle.dumps(value, protocol))
    loaded = unpickler.load()
    for name in rules:
        assert unpickler.asked[name], (name, unpickler.asked)
    return loaded


def refused(rule: Any, *args: Any) -> str:
    with pytest.raises(Refused) as error:
        rule(*args)
    return str(error.value)


def ended_by_signal(setup: str, pieces: dict[str, str]) -> dict[str, bool]:
    """Which of these pieces of code end their process by a signal: each in a child of its own of
    one process that has run `setup`."""
    lines = [textwrap.dedent(setup), "import os, json", "ended = {}"]
    for name, piece in pieces.items():
        lines.append(
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    os.close(2)\n"
            "    try:\n"
            f"        exec({textwrap.dedent(piece)!r})\n"
            "    finally:\n"
            "        os._exit(0)\n"
            f"ended[{name!r}] = os.WIFSIGNALED(os.waitpid(pid, 0)[1])"
        )
    lines.append("print(json.dumps(ended))")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, timeout=100, check=True
    )
    result: dict[str, bool] = json.loads(done.stdout)
    return result
