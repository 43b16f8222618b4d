"""User code that does anything at all in the middle of loads. Prints counts as JSON.

Arguments: a directory, seconds, a seed. What is loaded calls, as it is built, actions that change
what is being built, that load and dump again, raise, fork, start threads, or close, cut and replace
the file that is read. Nothing may crash or hang; a load gives a value or an exception, and leaves
collector, descriptors and threads as they were.
"""

import collections
import faulthandler
import gc
import io
import json
import os
import pathlib
import random
import sys
import threading
import time

import fastpersist
import numpy as np
import sample_classes as s
from inside import Resources

faulthandler.enable()
directory, seconds, seed = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
path, sidecar, other = (str(directory / name) for name in ("model", "sidecar", "other"))
parent = os.getpid()
counts = collections.Counter()


class Planned(Exception):
    pass


class Scene:
    """The load under way: what it reads from, what it showed so far, what may happen."""

    file = None
    way = None
    strangers: set = set()  # lists of others, such as the __slotnames__ of a class
    seen: list = []
    depth = 0


def act():
    if Scene.depth > 2 or chance.random() < 0.5:
        return
    Scene.depth += 1
    try:
        action = chance.choice(ACTIONS)
        counts[action.__name__] += 1
        action()
    finally:
        Scene.depth -= 1


# ---------------------------------------------------------------- what is loaded


class Acts:
    def __new__(cls, *args):
        act()
        return super().__new__(cls)

    def __getnewargs__(self):
        return ("argument",)

    def __setstate__(self, state):
        Scene.seen.append(state)
        act()
        self.__dict__.update(state)

    def __hash__(self):
        act()
        return 5

    def __eq__(self, other):
        act()
        return self is other


class ActingList(list):
    def append(self, item):
        act()
        super().append(item)

    def extend(self, items):
        act()
        super().extend(items)


class ActingDict(dict):
    def __setitem__(self, key, value):
        act()
        super().__setitem__(key, value)


def build(*parts):
    Scene.seen.extend(parts)
    act()
    return list(parts)


class Built:
    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return build, self.parts


class ActingUnpickler(fastpersist.Unpickler):
    def find_class(self, module, name):
        act()
        return super().find_class(module, name)

    def persistent_load(self, pid):
        act()
        return pid


def restless_value():
    nodes = [[], {}, s.Plain(), np.zeros(chance.choice([3, 100, 30_000])), "text", {1, 2}]
    for _ in range(chance.randrange(4, 15)):
        parts = [chance.choice(nodes) for _ in range(chance.randrange(4))]
        kind = chance.randrange(10)
        if kind == 0:
            node = Built(*parts)
        elif kind < 4:
            node = Acts()
            node.__dict__["parts"] = parts
        elif kind == 4:
            node = ActingList(parts)
        elif kind == 5:
            node = ActingDict()
            for i, part in enumerate(parts):
                dict.__setitem__(node, i, part)
        elif kind == 6:
            node = tuple(parts)
        elif kind == 7:
            node = np.full(chance.choice([2, 3000, 20_000]), 1.5)
        elif kind == 8:
            node = s.Plain(**{f"a{i}": part for i, part in enumerate(parts)})
        else:
            acts = Acts()
            node = chance.choice([{acts: parts}, {acts}, frozenset([acts])])
        nodes.append(node)
        target = chance.choice(nodes)
        if type(target) is list:
            target.append(node)
        elif type(target) is dict:
            target[len(target)] = node
        elif type(target) is s.Plain:
            setattr(target, f"b{len(nodes)}", node)
    return nodes


# ---------------------------------------------------------------- what happens meanwhile


def things():
    """Everything that the load under way has shown."""
    found, pending = [], list(Scene.seen)
    while pending and len(found) < 200:
        x = pending.pop()
        if any(x is y for y in found):
            continue
        found.append(x)
        if isinstance(x, dict):
            pending.extend(list(x.values()))
        elif isinstance(x, (list, tuple)):
            pending.extend(list(x))
        elif isinstance(x, s.Plain):
            pending.append(x.__dict__)
    return found


def change_what_is_there():
    for x in things():
        if chance.random() < 0.4:
            continue
        if isinstance(x, list):
            chance.choice([x.clear, x.reverse, lambda x=x: list.append(x, x)])()
        elif isinstance(x, dict):
            chance.choice([x.clear, lambda x=x: dict.update(x, dict.fromkeys(range(99)))])()
        elif isinstance(x, set):
            chance.choice([x.clear, lambda x=x: x.update(range(50))])()
        elif isinstance(x, np.ndarray):
            try:
                x.resize(chance.choice([0, 1, 70_000]), refcheck=False)
            except ValueError:
                pass  # not its own memory
        elif isinstance(x, s.Plain):
            chance.choice([x.__dict__.clear, lambda x=x: setattr(x, "__class__", s.Node)])()


def look_around():
    for x in gc.get_objects()[-300:]:
        if type(x) in (list, dict, tuple, set, np.ndarray):
            repr(x)[:50]
            if type(x) is not dict and id(x) not in Scene.strangers:
                Scene.seen.append(x)


def drop_what_is_there():
    Scene.seen.clear()
    gc.collect()


def load_again():
    if Scene.depth < 2 and Scene.way in WAYS:
        load(Scene.way)


def load_another():
    fastpersist.load(other)
    fastpersist.load(other, mmap_mode="r")


def dump_again():
    fastpersist.dump([np.arange(3), Scene.seen[-1:]], other)


def dump_over_it():
    fastpersist.dump(SANE, path)


def fail():
    raise Planned


def exit():
    raise SystemExit(3)


def fork_and_leave():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def fork_and_go_on():
    if os.getpid() != parent or Scene.depth > 1:
        return
    child = os.fork()
    if child == 0:
        Scene.depth = 9  # calm from here on; run() ends the process
    else:
        status = os.waitpid(child, 0)[1]
        assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, status


def start_thread():
    def work():
        fastpersist.loads(fastpersist.dumps([np.arange(5), "x" * 100]))
        fastpersist.load(other)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def use_the_file():
    file = Scene.file
    if file is None:
        return
    kind = chance.randrange(4)
    if kind == 0:
        file.close()
    elif kind == 1:
        file.seek(chance.randrange(1000))
    elif kind == 2:
        file.read(chance.randrange(1000))
    elif isinstance(file, io.BytesIO):
        try:
            chance.choice([lambda: file.truncate(10), lambda: file.write(b"x" * 100_000)])()
        except BufferError:
            pass  # it is being looked into


def cut_the_path():
    if Scene.way not in ("map", "map, c"):  # there the kernel answers with SIGBUS
        os.truncate(path, chance.randrange(os.path.getsize(path) + 1))


def remove_the_path():
    if os.path.exists(path):
        os.unlink(path)
    fastpersist.dump(SANE, path)


def collect():
    gc.collect()


ACTIONS = [change_what_is_there, look_around, drop_what_is_there, load_again, load_another,
           dump_again, dump_over_it, fail, exit, fork_and_leave, fork_and_go_on, start_thread,
           use_the_file, cut_the_path, remove_the_path, collect, change_what_is_there]  # fmt: skip


class RestlessFile(io.BytesIO):
    """Acts whenever it is read."""

    def read(self, *args):
        act()
        return super().read(*args)

    def readinto(self, target):
        act()
        if chance.random() < 0.1:
            return super().readinto(memoryview(target)[: len(target) // 2])
        return super().readinto(target)

    def readline(self, *args):
        act()
        return super().readline(*args)


# ---------------------------------------------------------------- ways


def of_file(make):
    def load():
        Scene.file = make()
        return fastpersist.load(Scene.file)

    return load


def unpickle():
    Scene.file = RestlessFile(pathlib.Path(path).read_bytes())
    unpickler = ActingUnpickler(Scene.file)
    Scene.seen.append(unpickler.memo.copy())
    return unpickler.load()


WAYS = {
    "path": lambda: fastpersist.load(path, threads=1),
    "threads": lambda: fastpersist.load(path, threads=3),
    "map": lambda: fastpersist.load(path, mmap_mode="r"),
    "map, c": lambda: fastpersist.load(path, mmap_mode="c"),
    "file": of_file(lambda: open(path, "rb")),
    "raw file": of_file(lambda: open(path, "rb", buffering=0)),
    "memory": of_file(lambda: io.BytesIO(pathlib.Path(path).read_bytes())),
    "restless file": of_file(lambda: RestlessFile(pathlib.Path(path).read_bytes())),
    "loads": lambda: fastpersist.loads(pathlib.Path(path).read_bytes()),
    "Unpickler": unpickle,
    "sidecar": lambda: fastpersist.load(path, sidecar=sidecar),
    "mapped sidecar": lambda: fastpersist.load(path, mmap_mode="r", sidecar=sidecar),
}
KINDS = {
    "ours": {},
    "lz4": {"compress": "lz4"},
    "zlib": {"compress": 1},
    "protocol 2": {"protocol": 2},
    "joblib": {"layout": "joblib"},
}


def load(way):
    value = WAYS[way]()
    counts["loaded"] += 1
    return value


SANE = [np.arange(20_000.0), {"k": [1, 2, "x"]}]
fastpersist.dump(SANE, other)


def run():
    Scene.depth = 9  # reducers and hashes on the way to the file are not the subject
    value = restless_value()
    way = chance.choice(list(WAYS))
    if "sidecar" in way:
        fastpersist.dump(value, path, sidecar=sidecar)
    else:
        fastpersist.dump(value, path, **KINDS[chance.choice(list(KINDS))])
    del value
    Scene.strangers = {id(x) for x in gc.get_objects() if type(x) is list}
    Scene.way, Scene.seen, Scene.file, Scene.depth = way, [], None, 0
    try:
        load(way)
    except (Exception, SystemExit) as error:
        error.__traceback__ = error.__context__ = None
        counts["raised"] += 1
        assert not isinstance(error, SystemError), error
    Scene.seen, Scene.depth = [], 9
    if Scene.file is not None:
        Scene.file.close()
    if os.getpid() != parent:
        os._exit(0)  # a child that went on
    assert gc.isenabled()


for _ in range(20):
    run()
gc.collect()
before = Resources.settled()
end = time.monotonic() + seconds
n = 0
while n < 40 or time.monotonic() < end:  # a busy machine takes longer
    faulthandler.dump_traceback_later(60, exit=True)
    state = chance.getstate()
    try:
        run()
    except BaseException:
        print(f"seed {seed}, run {n}", file=sys.stderr)
        raise
    n += 1
faulthandler.cancel_dump_traceback_later()
gc.collect()
assert before.are_back(), (before, Resources())
assert len(fastpersist.load(other)) == 2
print(json.dumps({"runs": n, **counts}))
