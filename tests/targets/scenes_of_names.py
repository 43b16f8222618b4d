"""Names, links, and where the process stands."""

import itertools
import os

import numpy as np
from scenery import NOBODY, Case, Goes, Moves, make, put, scene, standard

# ---------------------------------------------------------------- names

NAMES = ["file", "new", "empty", "./file", "./new", "././/new", "sub/file", "sub/new", "sub//new",
         "sub/../new", "sub/./new", "sub/deep/../new", "", ".", "..", "./", "../", "/", "//", "/.",
         "sub", "sub/", "sub//", "sub/.", "sub/..", "file/", "file//", "file/.", "file/..",
         "file/new", "empty/", "new/", "new//", "new/.", "new/..", "new/new", "missing/new",
         "sub/missing/../new", " ", "-", "~", "~root", "...", ".new", "new\n", "new\\", "*",
         "$HOME", "é漢😀", os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff\xfe" * 60),
         "n" * 242, "n" * 254, "n" * 255, "n" * 256, "é" * 127, "é" * 128, "漢" * 85,
         os.fsdecode(b"\x80" * 255), "sub/" + "n" * 255, "sub/" + "n" * 256, "x/" + "n" * 256,
         "./" * 2045 + "file", "./" * 2046 + "new", "./" * 2046 + "file", "sub/../" * 600 + "file",
         ]  # fmt: skip


def _add_names():
    def relative(name):
        def build():
            standard()
            return Case(name)

        return build

    def absolute(name):
        def build():
            standard()
            return Case(f"{os.getcwd()}/{name}")

        return build

    for name in NAMES:
        shown = name if len(name) < 40 else f"{name[:20]}... {len(os.fsencode(name))} bytes"
        scene("names", f"{shown!r}", ways=["plain"])(relative(name))
        if len(name) < 300:
            scene("names", f"{shown!r} from the root", ways=["zlib"])(absolute(name))


_add_names()


@scene("names")
def every_kind_of_separator_at_the_end_of_a_link():
    standard()
    os.symlink("sub/", "link")
    return Case("link/new")


# ---------------------------------------------------------------- links

# The link's name and text, what is dumped to.
LINKS = {
    "a link": ([("link", "file")], "link"),
    "to an empty file": ([("link", "empty")], "link"),
    "dotted": ([("link", "./././file")], "link"),
    "several": ([("one", "two"), ("two", "sub/three"), ("sub/three", "../file")], "one"),
    "several to nothing": ([("one", "sub/two"), ("sub/two", "../sub/new")], "one"),
    "relative to where the link is": ([("sub/link", "file")], "sub/link"),
    "relative and up": ([("sub/deep/link", "../../file")], "sub/deep/link"),
    "to a directory": ([("link", "sub")], "link"),
    "to a directory, slash": ([("link", "sub")], "link/"),
    "through a directory's link": ([("link", "sub")], "link/file"),
    "through a directory's link, new": ([("link", "sub")], "link/new"),
    "through a directory's link, up": ([("link", "sub/deep")], "link/../new"),
    "link in a linked directory": ([("link", "sub/deep"), ("sub/deep/up", "../file")], "link/up"),
    "dangling": ([("link", "new")], "link"),
    "dangling in a directory": ([("link", "sub/new")], "link"),
    "dangling through a missing one": ([("link", "missing/new")], "link"),
    "dangling through a file": ([("link", "file/new")], "link"),
    "dangling, slash": ([("link", "new/")], "link"),
    "file, slash": ([("link", "file/")], "link"),
    "link, slash": ([("link", "file")], "link/"),
    "directory, slash": ([("link", "sub/")], "link"),
    "to dot": ([("link", ".")], "link"),
    "to dots": ([("link", "..")], "link"),
    "to the root": ([("link", "/")], "link"),
    "to itself": ([("link", "link")], "link"),
    "to itself, slash": ([("link", "link")], "link/new"),
    "a circle": ([("one", "sub/two"), ("sub/two", "../three"), ("three", "one")], "one"),
    "a circle of a directory": ([("link", "link/file")], "link"),
    "through /proc": ([("link", "/proc/self/cwd/file")], "link"),
    "through /proc, new": ([("link", "/proc/self/cwd/new")], "link"),
    "to /dev/null": ([("link", "/dev/null")], "link"),
    "a long text": ([("link", "sub/../" * 500 + "file")], "link"),
    "not utf-8": ([(os.fsdecode(b"\xe9"), os.fsdecode(b"\xe8"))], os.fsdecode(b"\xe9")),
    "40 links": ([("c1", "file")] + [(f"c{i}", f"c{i - 1}") for i in range(2, 41)], "c40"),
    "41 links": ([("c1", "file")] + [(f"c{i}", f"c{i - 1}") for i in range(2, 42)], "c41"),
}


def _add_links():
    def linked(links, name, head=""):
        def build():
            standard()
            for link, text in links:
                os.symlink(text, link)
            return Case(head + name)

        return build

    for title, (links, name) in LINKS.items():
        scene("links", title, ways=["plain"])(linked(links, name))
        elsewhere = linked(links, name, "sub/deep/../../")
        scene("links", f"{title}, from elsewhere", ways=["zlib"])(elsewhere)


_add_links()


@scene("links")
def an_absolute_link():
    standard()
    os.symlink(os.path.abspath("sub/file"), "link")
    return Case("link")


@scene("links")
def an_absolute_link_to_nothing():
    standard()
    os.symlink(os.path.abspath("sub/new"), "link")
    return Case("link")


def _add_hidden_links():
    for title, target in (("closed", "closed/file"), ("closed, new", "closed/new")):

        @scene("links", title, user=NOBODY)
        def build(target=target):
            make("closed", 0o700)
            put("closed/file", mode=0o666)
            os.symlink(target, "link")
            return Case("link")


_add_hidden_links()


@scene("links", user=NOBODY)
def a_link_to_nothing_where_nothing_may_be_made():
    make("sub", 0o755)
    os.symlink("sub/new", "link")
    return Case("link")


# ---------------------------------------------------------------- where the process stands


def _add_far():
    """The path from the root is longer than any path may be."""
    steps = ("d" * 200,) * 45

    def far(name):
        def build():
            for step in steps:
                os.mkdir(step)
                os.chdir(step)
            standard()
            os.symlink("sub/file", "link")
            os.symlink("sub/new", "dangling")
            return Case(name, steps)

        return build

    for name in ("file", "new", "empty", "./new", "sub/new", "sub/file", "../new", "link",
                 "dangling", ".", "sub/", "n" * 255):  # fmt: skip
        scene("where", f"far down, {name[:20]}", ways=["plain"])(far(name))


def _add_closed():
    """A directory above may not be searched."""

    def closed(name):
        def build():
            make("closed", 0o700)
            make("closed/here", 0o755, NOBODY, NOBODY)
            os.chdir("closed/here")
            standard()
            os.symlink("sub/file", "link")
            os.symlink("new", "dangling")
            for path in ("file", "empty", "sub", "sub/file"):
                os.chown(path, NOBODY, NOBODY)
            return Case(name, ("closed", "here"))

        return build

    for name in ("file", "new", "empty", "./new", "sub/new", "sub/file", "sub/../new", "link",
                 "dangling", "../new", "../here/new", "n" * 255):  # fmt: skip
        for effective in (False, True):
            title = f"closed above, {name[:20]}" + (", effective user" if effective else "")
            way = "plain" if effective else "zlib"
            scene("where", title, user=NOBODY, effective=effective, ways=[way])(closed(name))


def _add_own_modes():
    """The mode of the directory itself."""

    def directory(mode, target):
        def build():
            make("here", 0o755, NOBODY, NOBODY)
            put("here/file", mode=0o644, owner=NOBODY, group=NOBODY)
            put("here/empty", b"", mode=0o644, owner=NOBODY, group=NOBODY)
            put("here/sealed", mode=0o444, owner=NOBODY, group=NOBODY)
            os.chmod("here", mode)
            return Case(target, ("here",))

        return build

    for mode, target in itertools.product((0o700, 0o300, 0o500, 0o600, 0o100),
                                          ("file", "empty", "new", "sealed")):  # fmt: skip
        in_place = mode in (0o500, 0o100) and target in ("file", "empty")
        way = "plain" if mode & 0o400 else "zlib"
        scene("where", f"mode {mode:o}, {target}", user=NOBODY, in_place=in_place, ways=[way])(
            directory(mode, target)
        )


_add_far()
_add_closed()
_add_own_modes()


@scene("where", user=NOBODY)
def a_path_through_a_closed_directory():
    make("closed", 0o700)
    put("closed/file", mode=0o666)
    return Case(os.path.abspath("closed/file"))


@scene("where")
def a_directory_that_is_gone():
    make("here")
    os.chdir("here")
    os.rmdir("../here")
    return Case("new", ("..", "gone"))


@scene("where")
def the_directory_changes_meanwhile():
    standard()
    return Case("new", value=[1, Goes("sub"), np.arange(5)])


@scene("where")
def the_directory_changes_meanwhile_over_a_file():
    standard()
    return Case("./sub/../file", value=[1, Goes("sub"), np.arange(5)])


@scene("where")
def the_directory_changes_meanwhile_over_an_empty_file():
    standard()
    return Case("empty", value=[1, Goes("/"), np.arange(5)])


@scene("where")
def the_directory_changes_meanwhile_by_a_link():
    standard()
    os.symlink("sub/new", "link")
    return Case("link", value=[1, Goes("sub"), np.arange(5)])


@scene("where")
def the_directory_moves_meanwhile():
    standard()
    return Case("sub/new", value=[1, Moves(), np.arange(5)])


@scene("where")
def the_directory_moves_meanwhile_with_an_empty_file():
    standard()
    put("sub/empty", b"")
    return Case("sub/empty", value=[1, Moves(), np.arange(5)])
