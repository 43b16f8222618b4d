"""Mode, group and owner; who else has the file open, or has another name for it."""

import fcntl
import itertools
import os
import shutil
import subprocess

from scenery import (
    ATTRIBUTES,
    CONTENTS,
    LOCKED,
    NOBODY,
    OTHER,
    OWNER,
    REPLACED,
    RUNNING,
    STRANGERS,
    TEAM,
    Case,
    make,
    put,
    scene,
    standard,
)

# ---------------------------------------------------------------- mode, group, owner

MODES = [0o600, 0o640, 0o644, 0o664, 0o666, 0o755, 0o777, 0o200, 0o204, 0o400, 0o444, 0, 0o4755,
         0o4644, 0o2755, 0o2745, 0o2644, 0o6711, 0o1644, 0o7777]  # fmt: skip


def _add_modes():
    def existing(mode, content, user):
        def build():
            owner = user or None  # else the one who plays
            make("here", 0o755, owner, owner)
            put("here/file", content, mode, owner, owner)
            return Case("here/file")

        return build

    def new(umask):
        def build():
            os.umask(umask)
            return Case("new")

        return build

    for (title, content), mode, user in itertools.product(CONTENTS.items(), MODES, (0, NOBODY)):
        by = "nobody" if user else "whoever plays"
        way = "zlib" if mode & 0o020 else "plain"
        scene("modes", f"{title}, {mode:04o}, {by}", user=user, ways=[way])(
            existing(mode, content, user)
        )
    for umask in (0, 0o022, 0o027, 0o077, 0o177, 0o777):
        scene("modes", f"new, umask {umask:03o}")(new(umask))


_add_modes()


def _add_owners():
    """Who may write the file is not who owns it."""

    def shared(content, mode, owner, group, directory_mode, directory_group, directory_owner=OTHER):
        def build():
            make("here", directory_mode, directory_owner, directory_group)
            put("here/file", content, mode, owner, group)
            return Case("here/file")

        return build

    def add(title, arguments, groups=(), in_place=False, **ours):
        for content in CONTENTS:
            keys = {f"here/file {key}": value for key, value in ours.items()}
            scene("owners", f"{title}, {content}", user=NOBODY, groups=groups, in_place=in_place,
                  ours={OWNER: keys} if content == "old" and keys else {})(
                shared(CONTENTS[content], *arguments)
            )  # fmt: skip

    # File: mode, owner, group; directory: mode, group.
    team = (TEAM,)
    add("a team's", (0o664, OTHER, TEAM, 0o775, TEAM), team, uid=NOBODY)
    add("a team's, setgid directory", (0o664, OTHER, TEAM, 0o2775, TEAM), team, uid=NOBODY)
    add("a team's, program", (0o6775, OTHER, TEAM, 0o2775, TEAM), team, uid=NOBODY)
    add("a team's, no program, setgid", (0o2664, OTHER, TEAM, 0o2775, TEAM), team,
        uid=NOBODY, mode=0o664)  # fmt: skip
    add("everybody's", (0o666, OTHER, TEAM, 0o777, TEAM), uid=NOBODY, gid=NOBODY)
    add("everybody's, closed to the group", (0o606, OTHER, TEAM, 0o777, TEAM),
        uid=NOBODY, gid=NOBODY)  # fmt: skip
    add("everybody's, open to the group", (0o676, OTHER, TEAM, 0o777, TEAM),
        uid=NOBODY, gid=NOBODY, mode=0o666)  # fmt: skip
    add("everybody's, setgid directory", (0o666, OTHER, STRANGERS, 0o2777, TEAM),
        uid=NOBODY, gid=TEAM)  # fmt: skip
    add("everybody's, setuid", (0o4777, OTHER, TEAM, 0o777, TEAM), uid=NOBODY, gid=NOBODY)
    add("my own, the team's", (0o640, NOBODY, TEAM, 0o777, TEAM), team)
    add("my own, the directory's group", (0o644, NOBODY, TEAM, 0o2777, TEAM))
    add("my own, strangers'", (0o640, NOBODY, STRANGERS, 0o777, TEAM), gid=NOBODY, mode=0o600)
    add("my own, strangers', setgid directory", (0o644, NOBODY, STRANGERS, 0o2777, TEAM), team,
        gid=TEAM)  # fmt: skip
    add("not mine, read only", (0o644, OTHER, TEAM, 0o777, TEAM), team)
    add("not mine, closed directory", (0o666, OTHER, TEAM, 0o755, TEAM), in_place=True)
    add("sticky, not mine", (0o666, OTHER, TEAM, 0o1777, TEAM), in_place=True)
    add("sticky, mine", (0o644, NOBODY, NOBODY, 0o1777, TEAM))
    add("sticky, my directory", (0o666, OTHER, TEAM, 0o1777, TEAM, NOBODY), uid=NOBODY, gid=NOBODY)

    for mode, group in ((0o2777, TEAM), (0o2777, STRANGERS), (0o777, TEAM), (0o1777, TEAM)):
        for groups in ((), team):

            @scene("owners", f"new, {mode:o}, {group}, {len(groups)}", user=NOBODY, groups=groups)
            def build(mode=mode, group=group):
                make("here", mode, OTHER, group)
                return Case("here/new")

    for content in CONTENTS:

        @scene("owners", f"root over anybody's, {content}", needs=["root"])
        def anybodys(content=content):
            put("file", CONTENTS[content], 0o640, OTHER, TEAM)
            return Case("file")


_add_owners()


# ---------------------------------------------------------------- who has it open


@scene("open", ours={REPLACED: {"held": "old"}})
def a_file_that_is_open():
    put("file")
    return Case("file", hold="file")


@scene("open")
def an_empty_file_that_is_open():
    put("file", b"", 0o600)
    return Case("file", hold="file")


@scene("open")
def an_empty_file_that_is_open_by_a_link():
    standard()
    os.symlink("../empty", "sub/link")
    return Case("sub/link", hold="empty")


@scene("open")
def an_empty_file_with_another_name():
    put("file", b"")
    os.link("file", "other")
    return Case("file", hold="other")


@scene("open", ours={REPLACED: {"other content": "old", "other nlink": 1, "file nlink": 1,
                                "other kept": True, "held": "old"}})  # fmt: skip
def a_file_with_another_name():
    put("file")
    os.link("file", "other")
    return Case("file", hold="other")


@scene("open", ours={LOCKED: {"file kept": False, "held": "empty"}})
def an_empty_file_with_a_lock():
    put("file", b"")
    descriptor = os.open("file", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return Case("file", hold="file")


@scene("open")
def an_empty_file_with_a_lock_of_another_kind():
    put("file", b"")
    descriptor = os.open("file", os.O_RDWR)
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Case("file", hold="file")


def _add_attributes():
    for content in CONTENTS:
        ours = {ATTRIBUTES: {"file note": None}} if content == "old" else {}

        @scene("open", f"extended attributes, {content}", needs=["attributes"], ours=ours)
        def build(content=content):
            put("file", CONTENTS[content])
            os.setxattr("file", "user.note", b"mine")
            return Case("file")


_add_attributes()


@scene("open", ours={RUNNING: {"result": ["sleep"], "sleep content": "value",
                               "sleep kept": False}})  # fmt: skip
def a_program_that_runs():
    shutil.copy("/bin/sleep", "sleep")
    running = subprocess.Popen(["./sleep", "60"])  # back when it runs
    return Case("sleep", after=lambda: (running.kill(), running.wait()))
