"""Plays scenes, once for joblib and once for us.

usage: play.py DIRECTORY GROUP...     prints [[group, scene, way, joblib's, ours], ...] as JSON

The dump runs in a process of its own. What is told of it: what dump() returned or raised, its
warnings, what those read who had a file open, and the whole directory afterwards: kind, mode,
owner, links, content of everything, and whether a file is still the same one. Of a scene that
cannot be played here: what it lacks, and None.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import traceback
import warnings
from functools import partial

import fastpersist
import joblib
import scenes_of_kinds  # noqa: F401
import scenes_of_names  # noqa: F401
import scenes_of_users  # noqa: F401
from scenery import GROUPS, OLD, VALUE, WAYS
from scenes_of_mounts import APPEND, mount, own_mounts, set_flags


def in_child(work):
    """What a function returns in a process of its own, by way of JSON."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(out)
            text = json.dumps(work())
        except BaseException:
            text = json.dumps({"broken": traceback.format_exc()})
        with open(into, "wb") as pipe:
            pipe.write(text.encode())
        os._exit(0)
    os.close(into)
    with open(out, "rb") as pipe:
        found = json.loads(pipe.read() or b'{"broken": "no answer"}')
    os.waitpid(pid, 0)
    return found


def possible(work):
    """Whether something can be done here."""

    def attempt():
        try:
            work()
        except OSError:
            return False
        return True

    return in_child(attempt) is True


def abilities(directory):
    """What can be done in the directory, of what scenes need."""
    path = os.path.join(directory, "probe")

    def mounts():
        own_mounts()

    def overlay():
        own_mounts()
        os.mkdir(path)
        mount("none", path, "tmpfs")
        for name in ("lower", "upper", "work", "here"):
            os.mkdir(f"{path}/{name}")
        mount("none", f"{path}/here", "overlay", 0,
              f"lowerdir={path}/lower,upperdir={path}/upper,workdir={path}/work")  # fmt: skip

    def flags():
        os.mkdir(path)
        set_flags(path, APPEND)
        set_flags(path, 0)

    def attributes():
        os.mkdir(path)
        os.setxattr(path, "user.note", b"x")

    found = {"root"} if os.geteuid() == 0 else set()
    probes = {"mount": mounts, "overlay": overlay, "flags": flags, "attributes": attributes}
    for name, probe in probes.items():
        if possible(probe):
            found.add(name)
        with contextlib.suppress(OSError):
            os.rmdir(path)
    return found


def kind_of_content(data, value):
    if data == b"":
        return "empty"
    if data == OLD:
        return "old"
    try:
        found = fastpersist.load(io.BytesIO(data))
    except Exception:
        return "other"
    same = joblib.hash(found) == joblib.hash(value)
    return "value" if same else "other"


def content_of(name, at, info, value):
    """Kind of content of a file that may have to be opened first."""
    try:
        descriptor = os.open(name, os.O_RDONLY, dir_fd=at)
    except PermissionError:
        os.chmod(name, 0o600, dir_fd=at)
        descriptor = os.open(name, os.O_RDONLY, dir_fd=at)
        os.fchmod(descriptor, stat.S_IMODE(info.st_mode))
    with open(descriptor, "rb") as file:
        return kind_of_content(file.read(), value)


def note_of(name, at):
    try:
        descriptor = os.open(name, os.O_RDONLY, dir_fd=at)
        with open(descriptor, "rb") as file:
            return os.getxattr(file.fileno(), "user.note").decode()
    except OSError:
        return None


def tree(top, before, value, told):
    """Everything below a directory, by its name and what is asked of it."""
    for root, directories, files, at in os.fwalk(top):
        for name in directories + files:
            info = os.lstat(name, dir_fd=at)
            path = os.path.normpath(os.path.join(os.path.relpath(root, top), name))
            told[f"{path} kind"] = stat.S_IFMT(info.st_mode)
            told[f"{path} mode"] = stat.S_IMODE(info.st_mode)
            told[f"{path} uid"] = info.st_uid
            told[f"{path} gid"] = info.st_gid
            if stat.S_ISLNK(info.st_mode):
                told[f"{path} text"] = os.readlink(name, dir_fd=at).replace(top, "TOP")
            if stat.S_ISREG(info.st_mode):
                told[f"{path} nlink"] = info.st_nlink
                inode, told[f"{path} was"] = before.get(path, (None, None))
                told[f"{path} kept"] = inode in (None, info.st_ino)
                told[f"{path} content"] = content_of(name, at, info, value)
                told[f"{path} note"] = note_of(name, at)


def files_of(top):
    """Which file is where, and what is in it."""
    found = {}
    for root, _, files, at in os.fwalk(top):
        for name in files:
            path = os.path.normpath(os.path.join(os.path.relpath(root, top), name))
            info = os.lstat(name, dir_fd=at)
            if stat.S_ISREG(info.st_mode):
                found[path] = info.st_ino, content_of(name, at, info, None)
    return found


def become(user, groups, effective):
    if user:
        os.setgroups(groups)
        if effective:
            os.setegid(user)
            os.seteuid(user)
        else:
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)


def start_reader(path, value):
    """A process that reads a FIFO, and the end of a pipe by which it tells what came."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open(path, "rb") as fifo:
            data = fifo.read()
        os.write(into, kind_of_content(data, value).encode())
        os._exit(0)
    os.close(into)
    return pid, out


def play(scene, library, way, directory):
    """In a process of its own: builds, dumps as the scene's user, looks at what is there."""
    directory = os.path.realpath(directory)
    os.mkdir(directory)
    os.chmod(directory, 0o755)
    os.chdir(directory)
    os.umask(0o022)
    case = scene.build()
    value = VALUE if case.value is None else case.value
    after_dump = value
    if isinstance(value, list) and len(value) == 3:
        after_dump = [value[0], 0, value[2]]  # what Goes and Moves are, loaded
    umask = os.umask(0o022)
    os.chdir(directory)
    before = files_of(directory)
    held = open(case.hold, "rb") if case.hold else None
    if hasattr(case, "unlink"):
        os.unlink(case.unlink)
    reader = start_reader(case.reader, after_dump) if case.reader else None

    def dump():
        for step in case.cwd:
            if step == "gone":
                os.mkdir("gone")
                os.chdir("gone")
                os.rmdir("../gone")
            elif step != "..":
                os.chdir(step)
        os.umask(umask)
        become(scene.user, scene.groups, scene.effective)
        function = {"joblib": joblib.dump, "ours": fastpersist.dump}[library]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                result = function(value, case.name, **WAYS[way])
                result = [name.replace(directory, "TOP") for name in result]
            except OSError as error:
                named = error.filename and error.filename.replace(directory, "TOP")
                result = [type(error).__name__, error.errno, named]
            except ZeroDivisionError:
                result = ["ZeroDivisionError"]
        return {"result": result, "warned": [w.category.__name__ for w in caught]}

    told = in_child(dump)
    if reader is not None:
        pid, out = reader
        if told.get("result", [""])[0] != case.name:
            os.kill(pid, signal.SIGKILL)
        with open(out, "rb") as pipe:
            told["received"] = pipe.read().decode()
        os.waitpid(pid, 0)
    if held is not None:
        told["held"] = kind_of_content(held.read(), after_dump)
        held.close()
    tree(directory, before, after_dump, told)
    if case.after is not None:
        case.after()
    return told


def main():
    top = tempfile.mkdtemp(prefix="fastpersist-", dir=sys.argv[1])
    os.chmod(top, 0o755)
    for library, way in itertools.product((joblib, fastpersist), WAYS.values()):
        # All that is imported when it is first used is there before the user changes.
        library.dump(VALUE, f"{top}/first", **way)
        os.unlink(f"{top}/first")
    able = abilities(top)
    outcomes = []
    try:
        for group in sys.argv[2:]:
            for scene in GROUPS[group].values():
                if not scene.needs <= able:
                    outcomes.append([group, scene.name, "", sorted(scene.needs - able), None])
                    continue
                for way in scene.ways:
                    told = []
                    for library in ("joblib", "ours"):
                        place = f"{top}/{library}"
                        told.append(in_child(partial(play, scene, library, way, place)))
                        shutil.rmtree(place)
                    outcomes.append([group, scene.name, way, *told])
    finally:
        shutil.rmtree(top, ignore_errors=True)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
