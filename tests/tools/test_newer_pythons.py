"""tools/newer_pythons: what of it needs neither root nor a network."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = PROJECT / "tools" / "newer_pythons"
SHELL_SCRIPTS = [
    SCRIPT,
    PROJECT / "tools/prepare.sh",
    PROJECT / "tools/walk_through",
    *sorted((PROJECT / ".ci").glob("[!.]*")),
]
SHELL_SCRIPTS = [path for path in SHELL_SCRIPTS if path.name != "counts"]
# A sanitizer that is preloaded has its own words in a chroot.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt reads its own settings")


def run(*arguments, **environment):
    return subprocess.run(
        ["bash", SCRIPT, *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_bash_parses_the_scripts(path):
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("arguments", [(), ("ruin",), ("run",), ("clean", "x"), ("mirror", "x")])
def test_other_arguments_get_the_usage(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: tools/newer_pythons available")
    assert "clean" in done.stderr


# ---------------------------------------------------------------- apt's settings

DEBIAN = "http://mirror.invalid/debian"
DEB822 = f"""\
Types: deb
# a comment
URIs: {DEBIAN}
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.invalid/debian-security
Suites: trixie-security
Components: main
"""
SECURITY = "deb http://mirror.invalid/debian-security trixie-security main\n"

APT_SETTINGS = {
    "deb822": ({"sources.list.d/debian.sources": DEB822}, DEBIAN),
    "one line": ({"sources.list": f"# first\ndeb {DEBIAN} trixie main\n{SECURITY}"}, DEBIAN),
    "security first": ({"sources.list": f"{SECURITY}deb {DEBIAN} trixie main\n"}, DEBIAN),
    "options, a slash at the end": (
        {"sources.list.d/a.list": f"deb [arch=amd64 signed-by=/k.gpg] {DEBIAN}/ trixie main\n"},
        DEBIAN,
    ),
    "security of before 2021": (
        {
            "sources.list": "deb http://a.invalid/debian-security buster/updates main\n"
            f"deb {DEBIAN} buster main\n"
        },
        DEBIAN,
    ),
    "behind other archives": (
        {
            "sources.list.d/a.list": "deb https://a.invalid/php trixie main\n"
            "deb https://b.invalid/linux/debian trixie stable\n"
            "deb https://c.invalid/repo/11.4/debian trixie main\n"
            "deb https://d.invalid/apt ./\n",
            "sources.list.d/debian.sources": DEB822,
        },
        DEBIAN,
    ),
    "a path of its own": (
        {"sources.list": f"deb http://proxy.invalid/remote-7 trixie main\n{SECURITY}"},
        "http://proxy.invalid/remote-7",
    ),
    "snapshot": (
        {"sources.list": "deb http://s.invalid/archive/debian/20250520T000000Z trixie main\n"},
        "http://s.invalid/archive/debian/20250520T000000Z",
    ),
    "sources and what is off": (
        {
            "sources.list": f"deb-src http://a.invalid/debian trixie main\n"
            f"# deb http://b.invalid/debian trixie main\ndeb {DEBIAN} trixie main\n",
            "sources.list.d/c.sources": "Enabled: no\nTypes: deb\nURIs: http://c.invalid/debian\n"
            "Suites: trixie trixie-updates\nComponents: main\n",
        },
        DEBIAN,
    ),
    "a list of mirrors": (
        {
            "sources.list": "deb mirror+file:/etc/apt/mirrors/debian.list trixie main\n",
            "mirrors/debian.list": f"# nearest\n{DEBIAN}/ priority:1\nhttp://far.invalid/debian\n",
        },
        DEBIAN,
    ),
    "a disc": (
        {"sources.list": f"deb cdrom:[Debian]/ trixie main\ndeb {DEBIAN} trixie main\n"},
        DEBIAN,
    ),
    "none": ({"sources.list": SECURITY}, None),
    "nothing": ({}, None),
}


@needs_apt
@pytest.mark.parametrize("name", APT_SETTINGS)
def test_mirror_is_debians_main_archive(name, tmp_path):
    files, expected = APT_SETTINGS[name]
    for path, text in files.items():
        file = tmp_path / "etc/apt" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done = run("mirror", "--root", str(tmp_path))
    if expected is None:
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
    else:
        assert (done.stdout, done.stderr) == (f"{expected}\n", "")
        assert done.returncode == 0


def test_no_host_is_named():
    assert not re.search(r"https?://[^*$\\ ]*\.", SCRIPT.read_text())


# ---------------------------------------------------------------- where it cannot work


def programs(directory, **scripts):
    """A PATH with shell scripts in front."""
    directory.mkdir()
    for name, text in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


OBSTACLES = {
    "needs root": {"id": "echo 1000"},
    "needs Linux": {"uname": "echo Darwin"},
    "may not make a mount namespace here": {
        "id": "echo 0",
        "uname": "echo Linux",
        "unshare": "exit 1",
    },
    "no archive that apt is set up with answers and has Debian's suite sid": {
        "id": "echo 0",
        "uname": "echo Linux",
        "unshare": "exit 0",
        "apt-get": "exit 1",
        "apt-config": "exit 1",
    },
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_an_obstacle_is_said_in_one_line(reason, tmp_path):
    settings = {
        "PATH": programs(tmp_path / "bin", **OBSTACLES[reason]),
        "FASTPERSIST_NEWER_PYTHONS": str(tmp_path / "store"),
    }
    done = run("available", **settings)
    assert (done.returncode, done.stdout, done.stderr) == (1, f"no: {reason}\n", "")
    for command in (["make"], ["run", "true"]):
        done = run(*command, **settings)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"fastpersist: no chroot with newer Pythons: {reason}\n"
    assert not (tmp_path / "store").exists()


# ---------------------------------------------------------------- the directory


def test_a_chroot_that_was_not_finished_is_none(tmp_path):
    (tmp_path / "sid").mkdir()
    done = run("pythons", FASTPERSIST_NEWER_PYTHONS=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    (tmp_path / "sid/fastpersist-pythons").write_text("made with other packages\n3.14 3.15\n")
    done = run("pythons", FASTPERSIST_NEWER_PYTHONS=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")


def wanted():
    """The first line of a finished chroot's stamp."""
    text = SCRIPT.read_text()
    functions = re.search(r"^suite=.*?^wanted\(\) \{.*?^\}$", text, re.MULTILINE | re.DOTALL)[0]
    return subprocess.check_output(["bash", "-c", f"{functions}\nwanted"], text=True)


def test_pythons_that_the_suite_lacks_are_said(tmp_path):
    (tmp_path / "sid").mkdir()
    (tmp_path / "sid/fastpersist-pythons").write_text(f"{wanted()}\n3.15\n")
    done = run("pythons", FASTPERSIST_NEWER_PYTHONS=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "3.15\n")
    assert done.stderr == (
        "fastpersist: Debian's suite sid had no Python 3.14 when the chroot was made\n"
    )


def test_clean_removes_what_the_script_made_and_no_more(tmp_path):
    store = tmp_path / "store"
    for path in ("sid/usr", "sid.partial/usr", "other"):
        (store / path).mkdir(parents=True)
    (store / "sid/link").symlink_to(store / "other")
    assert run("clean", FASTPERSIST_NEWER_PYTHONS=str(store)).returncode == 0
    assert [path.name for path in store.iterdir()] == ["other"]
    (store / "other").rmdir()
    assert run("clean", FASTPERSIST_NEWER_PYTHONS=str(store)).returncode == 0
    assert not store.exists()
    assert run("clean", FASTPERSIST_NEWER_PYTHONS=str(store)).returncode == 0


def may_mount():
    """Whether this process may make a mount namespace."""
    program = shutil.which("unshare")
    command = [program, "--mount", "--propagation", "private", "true"]
    return program and subprocess.run(command, capture_output=True, check=False).returncode == 0


def run_with_mounts(mounts, *arguments, **environment):
    """The script, where shell commands have mounted something that nobody else sees."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    return subprocess.run(
        [*command, f'set -e; {mounts}; exec bash "$0" "$@"', SCRIPT, *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


needs_mounts = pytest.mark.skipif(not may_mount(), reason="only root can mount")


@needs_mounts
@pytest.mark.parametrize("name", ["sid", "sid.partial"])
def test_clean_refuses_where_something_is_mounted(name, tmp_path):
    store = tmp_path / "a store\\of its own"
    outside = tmp_path / "outside"
    inside = store / name / "deep" / "in side"
    inside.mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").touch()
    (store / name / "kept too").touch()
    done = run_with_mounts(
        f"mount --bind '{outside}' '{inside}'", "clean", FASTPERSIST_NEWER_PYTHONS=str(store)
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"fastpersist: not removed: {inside} is a mount; umount it, then try again\n"
    )
    assert (outside / "kept").exists()
    assert (store / name / "kept too").exists()


@pytest.fixture
def chroot(tmp_path):
    """(store, mounts): a finished chroot whose programs are the machine's."""
    root = tmp_path / "store/sid"
    root.mkdir(parents=True)
    mounts = "true"
    for name in ("usr", "bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
        elif os.path.isdir(f"/{name}"):
            (root / name).mkdir()
            mounts += f"; mount --bind /{name} '{root}/{name}'"
    (root / "fastpersist-pythons").write_text(f"{wanted()}\n3.14 3.15\n")
    return tmp_path / "store", mounts


@needs_mounts
def test_a_command_runs_in_the_projects_directory(chroot):
    store, mounts = chroot
    done = run_with_mounts(
        mounts,
        *["run", "sh", "-c", 'pwd; echo "$PATH $LANG $#"; ls "$HOME"; cat; exit 7', "-", "a b"],
        FASTPERSIST_NEWER_PYTHONS=str(store),
        HOME="/home/somebody",
        LC_ALL="C",
        PYTHONPATH="/outside",
    )
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert done.stdout.splitlines() == [str(PROJECT), f"{path} C.UTF-8 1"]
    assert (done.returncode, done.stderr) == (7, "")


@needs_mounts
@pytest.mark.skipif(not os.path.isdir("/mnt"), reason="mounts there")
def test_what_pip_needs_is_in_the_chroot(chroot, tmp_path):
    store, mounts = chroot
    machine = tmp_path / "machine"
    for path in ("pypi/simple", "pypi/files", "wheels"):
        (machine / path).mkdir(parents=True)
    for path in ("pypi/files/a.whl", "wheels/b.whl", "ca.pem"):
        (machine / path).write_text(path)
    (machine / "pip.conf").write_text(
        "[global]\nextra-index-url = https://mirror.invalid/usr\n    file:///mnt/pypi/simple\n"
    )
    # Links in the chroot mean the chroot's directories, never the machine's.
    for path in ("var", "etc", "srv"):
        (store / "sid" / path).mkdir()
    (store / "sid/var/run").symlink_to("/run")
    (store / "sid/etc/resolv.conf").symlink_to("/var/run/fastpersist-names")
    done = run_with_mounts(
        f"{mounts}; mount --bind '{machine}' /mnt; mount --bind '{machine}' /srv",
        *["run", "sh", "-c", "cd /mnt; ls -d * pypi/* /srv/*; cat pypi/*/* wheels/* /srv/*.pem"],
        FASTPERSIST_NEWER_PYTHONS=str(store),
        PIP_CONFIG_FILE="/mnt/pip.conf",
        PIP_FIND_LINKS="/mnt/wheels /usr /nowhere",
        SSL_CERT_FILE="/srv/ca.pem",
    )
    assert (done.returncode, done.stderr) == (0, "")
    # All of the index, since it refers to what is beside it; of the certificates the file alone.
    assert done.stdout.split() == [
        *["/srv/ca.pem", "pip.conf", "pypi", "pypi/files", "pypi/simple", "wheels"],
        "pypi/files/a.whlwheels/b.whlca.pem",
    ]
    assert (store / "sid/run/fastpersist-names").exists()
    assert not os.path.exists("/run/fastpersist-names")
