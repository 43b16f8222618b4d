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
        shows = works and "value" not in attack.shows
        yield "joblib, nested", attacks.in_an_object_array(nested), shows


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
        tasks = {
            label: (data, attack.shows, "joblib" in label or "joblib" in attack.name)
            for label, data, works in files
            if works
        }
        is_pure = attack.shows == attacks.MARKED or attack.shows.startswith("value")
        if is_pure and "build" not in attack.name:
            done = in_child(_all_plain, list(tasks.values()))
            out[attack.name] = dict(zip(tasks, done, strict=True))
        else:  # what it shows stays in the process
            out[attack.name] = {label: in_child(_plain, *task) for label, task in tasks.items()}
    print(json.dumps(out))


def _all_plain(tasks: list[tuple[bytes, str, bool]]) -> list[Any]:
    import attack_marks

    out = []
    for task in tasks:
        attack_marks.marks.clear()
        try:
            out.append(_plain(*task))
        except Exception as error:
            out.append(repr(error))
    return out


# ---------------------------------------------------------------- restricted loads

OWN_READS = ("sys._getframe", "builtins.id", "mmap.", "gc.", "object.__getattr__")


class Watch:
    """Notes what the process is asked to do while it is on, but for reading the file itself."""

    def __init__(self, directory: str, approved: set[tuple[str, str]]) -> None:
        self.directory = directory
        self.approved = approved
        self.modules = {module for module, _ in approved}
        self.is_on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or event.startswith(OWN_READS):
            return
        if event == "open":
            name = arguments[0]
            if isinstance(name, int) or str(name).startswith(self.directory):
                return
        if event == "pickle.find_class":
            if arguments in self.approved or arguments[1] == "NumpyArrayWrapper":
                return  # no harm in itself, and an own stand-in
        if event == "import" and arguments[0] in self.modules:
            return
        self.seen.append(f"{event} {arguments!r}"[:200])


def without_audit() -> None:
    """What refuses then is the machine that runs the opcodes, alone."""
    from fastpersist import restricted

    restricted.audit = lambda *arguments: None  # type: ignore[assignment]


def ways(path: str, label: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    import fastpersist

    def file_object() -> Any:
        with open(path, "rb") as file:
            return fastpersist.load(file, trusted=())

    def in_memory() -> Any:
        with open(path, "rb") as file:
            return fastpersist.load(io.BytesIO(file.read()), trusted=())

    def loads() -> Any:
        with open(path, "rb") as file:
            return fastpersist.loads(file.read(), trusted=())

    yield "path", lambda: fastpersist.load(path, trusted=())
    if label.startswith("in "):  # a codec
        return
    yield "file object", file_object
    yield "in memory", in_memory
    yield "map", lambda: fastpersist.load(path, "r", trusted=())
    if "joblib" not in label:
        yield "loads", loads


def inspected(path: str) -> str:
    import fastpersist

    report = fastpersist.inspect(path)
    return "refused" if report.untrusted or report.odd or report.damage else ""


def _tried(
    attack: attacks.Attack,
    files: list[tuple[str, bytes, bool]],
    watch: Watch,
) -> list[list[Any]]:
    """[label, way, what it came to, its text, events, modules] of every file in every way."""
    import fastpersist

    warnings.simplefilter("ignore")
    out = []
    paths = []
    for i, (label, data, _) in enumerate(files):
        paths.append((label, f"{watch.directory}/{i}.pkl", data))
        if label == "ours" or (i + 1 == len(files) and attack.body is None):
            for codec, (extension, compress) in attacks.codecs().items():
                name = f"in {codec}, {label}"
                wrong = ".pkl" if i % 2 else extension  # what it is called is of no account
                paths.append((name, f"{watch.directory}/{i}{codec}{wrong}", compress(data)))
    for _, path, data in paths:
        with open(path, "wb") as file:
            file.write(data)
    for label, path, _ in paths:
        for way, load in ways(path, label):
            modules = set(sys.modules)
            watch.seen.clear()
            watch.is_on = True
            try:
                value: Any = load()
                result, text = "value", ""
                watch.is_on = False
                text = type(value).__name__
            except Exception as error:
                watch.is_on = False
                result = "clean" if isinstance(error, CLEAN) else "odd"
                if isinstance(error, fastpersist.UntrustedError):
                    result = "untrusted"
                    if not error.names and not error.reasons:
                        result = "untrusted without a reason"
                text = f"{type(error).__name__}: {error}"[:300]
            finally:
                watch.is_on = False
            new = sorted(set(sys.modules) - modules)
            out.append([label, way, result, text, list(watch.seen), new])
    return out


CLEAN = (pickle.PickleError, EOFError, ValueError, MemoryError, OverflowError)


def prepared(directory: str) -> tuple[Any, Watch]:
    """All files, and a watch; what the package itself imports at the first use is imported."""
    import copyreg

    import fastpersist
    from fastpersist import policy

    found = all_layouts()
    sys.modules.pop("attack_marks", None)
    copyreg.add_extension("attack_marks", "mark", 0x7A)
    copyreg.add_extension("attack_marks", "Called", 0x7A7A)
    copyreg.add_extension("attack_marks", "New", 0x7A7A7A)
    path = f"{directory}/warm"
    hostile = attacks.plain(4, attacks.Form(4).payload())
    for data in (hostile, attacks.BENIGN, forged_files.dump(opcodes=b"N")):
        for _, compress in [("", bytes), *attacks.codecs().values()]:
            with open(path, "wb") as file:
                file.write(compress(data))
            for _, load in ways(path, ""):
                with contextlib.suppress(Exception), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    load()
            str(fastpersist.inspect(path))
    rows = policy.approved()
    for module in sorted({row.module for row in rows}):
        with contextlib.suppress(ImportError, AttributeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    sys.modules.pop("attack_marks", None)
    return found, Watch(directory, {(row.module, row.name) for row in rows})


def restricted(directory: str, wall: str) -> None:
    """What came of each attack, by its name; `wall`: "both", or "machine" alone."""
    found, watch = prepared(directory)
    if wall == "machine":
        without_audit()
    out = {}
    for i in range(0, len(found), TOGETHER):
        several = found[i : i + TOGETHER]
        done = in_child(_all_tried, several, watch)
        if isinstance(done, str):  # which of them was it?
            done = [in_child(_tried, *each, watch) for each in several]
        for (attack, _), result in zip(several, done, strict=True):
            out[attack.name] = result
    print(json.dumps(out))


TOGETHER = 15


def _all_tried(several: list[Any], watch: Watch) -> list[Any]:
    return [_tried(attack, files, watch) for attack, files in several]


def surveyed(directory: str) -> None:
    """What inspect() says of each, by attack and label, and what it did for it."""
    found, watch = prepared(directory)
    out: dict[str, dict[str, list[Any]]] = {}
    path = f"{directory}/file"
    for attack, files in found:
        out[attack.name] = {}
        for label, data, _ in files:
            with open(path, "wb") as file:
                file.write(data)
            watch.seen.clear()
            watch.is_on = True
            try:
                result = inspected(path)
            except Exception as error:
                result = f"{type(error).__name__}: {error}"
            watch.is_on = False
            out[attack.name][label] = [result, list(watch.seen)]
    print(json.dumps(out))


# ---------------------------------------------------------------- gadgets


def is_never(module: str, name: str) -> bool:
    from fastpersist.policy import never

    return never.is_never(module, name) is not None


def gadgets(directory: str, table: str) -> None:
    """What came of each function of a table, by its name, by form and by what was trusted."""
    import csv

    import fastpersist

    _, watch = prepared(directory)
    with open(table, encoding="utf-8", newline="") as file:
        names = [(row["module"], row["name"]) for row in csv.DictReader(file, delimiter="\t")]
    out: dict[str, Any] = {}
    for module, name in names:
        label = f"{module}.{name}"
        out[label] = {}
        for form, data in attacks.gadget_forms(module, name).items():
            out[label][form] = {}
            for what, trusted in (("nothing", ()), ("trusted by its name", [label])):
                if trusted and not is_never(module, name):
                    continue  # it would run
                watch.seen.clear()
                watch.is_on = True
                try:
                    fastpersist.loads(data, trusted=trusted)
                    result, text = "loaded", ""
                except fastpersist.UntrustedError as error:
                    result, text = "untrusted", str(error)[:200]
                except Exception as error:
                    result, text = "another exception", f"{type(error).__name__}: {error}"[:200]
                    if trusted and isinstance(error, ValueError) and "never" in str(error):
                        result = "refused to trust"
                watch.is_on = False
                out[label][form][what] = [result, text, list(watch.seen)]
    print(json.dumps(out))


# ---------------------------------------------------------------- approved names


def _misused(rows: list[tuple[str, str]], watch: Watch) -> list[list[Any]]:
    import fastpersist

    warnings.simplefilter("ignore")
    out = []
    for module, name in rows:
        for what, (data, is_refused) in attacks.misuses(module, name).items():
            watch.seen.clear()
            modules = set(sys.modules)
            watch.is_on = True
            try:
                value = fastpersist.loads(data, trusted=())
                watch.is_on = False
                result, text = "value", type(value).__name__
                new = sorted(set(sys.modules) - modules)
                with contextlib.suppress(Exception):
                    repr(value)  # which may crash
            except Exception as error:
                watch.is_on = False
                result = "another exception"
                if isinstance(error, fastpersist.UntrustedError):
                    result = "untrusted"
                text = f"{type(error).__name__}: {error}"
                new = sorted(set(sys.modules) - modules)
            label = f"{module}.{name}"
            if watch.seen or new or (is_refused and result == "value"):
                out.append([label, what, result, text[:200], list(watch.seen), new])
            found = sys.modules.get(module)
            found = getattr(found, name, None)
            if getattr(found, "marked", None) == 1:
                out.append([label, what, "changed", "", [], []])
    return out


def misused(directory: str, wall: str) -> None:
    """What went wrong with approved names that were put to other uses."""
    from fastpersist import policy

    _, watch = prepared(directory)
    if wall == "machine":
        without_audit()
    # Some are of other versions of their libraries.
    names = [(row.module, row.name) for row in policy.approved() if row.module in sys.modules]
    out = []
    for i in range(0, len(names), 50):
        several = names[i : i + 50]
        done = in_child(_misused, several, watch)
        if isinstance(done, str):
            done = []
            for each in several:
                alone = in_child(_misused, [each], watch)
                if isinstance(alone, str):
                    alone = [[".".join(each), "", alone, "", [], []]]
                done += alone
        out += done
    print(json.dumps([len(names), out]))
