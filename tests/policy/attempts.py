"""Every attack of support/attacks.py, tried: on plain pickle, and on a restricted load.

Both run in a process of their own (`helpers.run_python`), each attack in a forked child of it, and
what came of each is printed as JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import os
import pickle
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import attacks
import forged_files

SECONDS = 20
MORE_MEMORY = 4 << 30
HAS = {name for name in ("numpy", "joblib", "sklearn", "pandas") if importlib.util.find_spec(name)}


def usable(attack: attacks.Attack) -> bool:
    """Whether what plain pickle needs for it is installed."""
    return not attack.needs or attack.needs in HAS


# ---------------------------------------------------------------- children


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MORE_MEMORY, now + MORE_MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a forked child; a text where the child died."""
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_end)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            if "ATTEMPTS_VERBOSE" not in os.environ:
                os.dup2(null, 2)
            _limit()
            data = json.dumps(function(*arguments)).encode()
            signal.alarm(0)
            with open(write_end, "wb") as pipe:
                pipe.write(data)
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        data = pipe.read()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return json.loads(data) if status == 0 else f"exit {os.WEXITSTATUS(status)}"


# ---------------------------------------------------------------- files


def layouts(attack: attacks.Attack) -> Iterator[tuple[str, bytes, bool]]:
    """The files of an attack: a label that says which layout it is, the bytes, and whether plain
    pickle, or joblib, does in it what the attack is about."""
    for label, data in attack.pickles().items():
        yield label, data, True
    opcodes = attack.opcodes()
    if opcodes is None:
        return
    works = attack.protocols[-1] >= 3  # else names are of Python 2
    yield "ours", forged_files.dump(opcodes=opcodes), works
    if "joblib" in HAS:
        # Those have memo entries of their own, and an array is looked at once more.
        yield "joblib", attacks.behind_an_array(opcodes), works and "memo" not in attack.name
        nested = attacks.plain(attack.protocols[-1], opcodes)
        yield "joblib, nested", attacks.in_an_object_array(nested), "value" not in attack.shows


def all_layouts() -> list[tuple[attacks.Attack, list[tuple[str, bytes, bool]]]]:
    found = []
    for attack in attacks.ATTACKS:
        if attack.whole is None or "joblib" in HAS or "joblib" not in attack.name:
            found.append((attack, list(layouts(attack))))
    return found


# ---------------------------------------------------------------- plain pickle


def _plain(data: bytes, shows: str, is_joblib: bool) -> bool:
    values = []
    file = io.BytesIO(data)
    warnings.simplefilter("ignore")
    if is_joblib:
        import joblib

        load: Any = joblib.load
    else:
        load = pickle.load
    with contextlib.suppress(Exception):
        while not (is_joblib and values):  # joblib would begin again
            values.append(load(file))
    names = {"value": values[-1] if values else None, "values": values}
    for module in ("attack_marks", "collections", "copyreg", "fastpersist", "numpy", "os"):
        names[module] = importlib.import_module(module)
    for module in ("posixpath", "sklearn", "sys", "warnings"):
        names[module] = sys.modules.get(module)
    return bool(eval(shows, names))


def plain() -> None:
    """Whether each file that says so does it, by attack and label."""
    import attack_marks
    with contextlib.suppress(ImportError):
        importlib.import_module("fastpersist.policy")

    attack_marks.register()
    for name in ("numpy.random._pickle", "sklearn.base", "sklearn.linear_model"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    out = {}
    for attack, files in all_layouts():
        if not attack.shows or not usable(attack):
            continue
        out[attack.name] = {
            label: in_child(_plain, data, attack.shows, "joblib" in label or "joblib" in attack.name)
            for label, data, works in files
            if works
        }
    print(json.dumps(out))
