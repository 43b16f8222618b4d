"""Compiles the C unit tests of csrc/core and runs each case by itself."""

import os
import pathlib
import re
import shlex
import subprocess
import sysconfig

import pytest

HERE = pathlib.Path(__file__).resolve().parent
CORE = HERE.parents[1] / "csrc" / "core"
ROOMS = ("atomic_file", "block_hash", "block_read", "buffer", "dump_end", "file_copy")
ROOMS += (
    "footer_read",
    "footer_write",
    "layout",
    "place",
    "ring",
    "sidecar_layout",
    "sink",
    "spare_blocks",
    "strided",
    "utf8",
    "utf8_decode",
)
WRAPPED = (
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "free",
    "XXH3_createState",
    "XXH3_freeState",
)
FLAGS = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-I", str(CORE)]
LIBRARIES = ["-lxxhash", "-lpthread"]
# What the program is run by, for example valgrind.
WRAPPER = shlex.split(os.environ.get("FASTPERSIST_TEST_WRAPPER", ""))


def compiler():
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return shlex.split(command)


def compile_program(sources, out, flags):
    command = compiler() + FLAGS + shlex.split(os.environ.get("CFLAGS", ""))
    command += flags + ["-o", str(out)] + [str(s) for s in sources]
    command += shlex.split(os.environ.get("LDFLAGS", "")) + LIBRARIES
    return subprocess.run(command, capture_output=True, text=True)


def links(directory, name, text, flags):
    """Whether a small program compiles and links."""
    source = directory / (name + ".c")
    source.write_text(text)
    return compile_program([source], directory / name, flags).returncode == 0


def case_names():
    """Read from the sources: nothing is compiled before a test runs."""
    for source in sorted(HERE.glob("test_*.c")):
        yield from re.findall(r'^    \{"(\w+)", \w+\},$', source.read_text(), re.MULTILINE)


def test_text_without_vectors(tmp_path):
    """What other machines than x86-64 compile; without effect there."""
    (tmp_path / "main.c").write_text(
        '#include "check.h"\n'
        "int main(void) {\n"
        "    for (const test_case *test = utf8_tests; test->name; test++) { test->run(NULL); }\n"
        "    return 0;\n"
        "}\n"
    )
    sources = [tmp_path / "main.c", HERE / "test_utf8.c"]
    sources += [CORE / "utf8.c", CORE / "utf8_decode.c"]
    out = tmp_path / "plain"
    result = compile_program(sources, out, ["-U__SSE2__", "-I", str(HERE)])
    assert result.returncode == 0, result.stderr
    result = subprocess.run([*WRAPPER, str(out)], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    directory = tmp_path_factory.mktemp("core")
    flags = []
    if links(
        directory,
        "dispatch",
        "#include <xxhash.h>\n#include <xxh_x86dispatch.h>\n"
        'int main(void) { return (int)XXH3_64bits("", 0); }\n',
        [],
    ):
        flags.append("-DFP_HAVE_XXH_DISPATCH")
    wrap = ["-Wl,--wrap=" + name for name in WRAPPED]
    if links(
        directory,
        "wrap",
        "#include <stdlib.h>\nvoid *__wrap_malloc(size_t n);\n"
        "void *__wrap_malloc(size_t n) { (void)n; return 0; }\n"
        "int main(void) { return malloc(1) != 0; }\n",
        ["-Wl,--wrap=malloc"],
    ):
        flags += ["-DFP_WRAP_MALLOC"] + wrap
    sources = sorted(HERE.glob("test_*.c"))
    sources += [CORE / (room + ".c") for room in ROOMS]
    out = directory / "test_core"
    result = compile_program(sources, out, flags)
    assert result.returncode == 0, result.stderr
    listed = subprocess.run([str(out), "list"], capture_output=True, text=True, check=True)
    return out, set(listed.stdout.split())


def test_every_case_is_collected(program):
    names = list(case_names())
    assert len(names) == len(set(names))
    assert program[1] <= set(names)
    left_out = set(names) - program[1]
    assert all(name.startswith("memory_") for name in left_out)


@pytest.mark.parametrize("name", list(case_names()))
def test_core(program, name, tmp_path):
    path, listed = program
    if name not in listed:
        pytest.skip("this linker cannot wrap malloc")
    result = subprocess.run(
        [*WRAPPER, str(path), name, str(tmp_path)], capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
