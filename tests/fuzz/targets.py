"""The fuzz targets: how each is built, and what is run with it.

    python tests/fuzz/targets.py [--seconds N] [--work DIRECTORY] [--keep BYTES] [TARGET ...]

builds the targets with clang's libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, and
runs each for a while, from the seeds (seeds.py) and from what earlier runs found. An input that
crashes a target is left in the work directory; it belongs into corpus/<target>.txt, in hex. --keep
adds to that file what else was found and reaches code that its lines do not, as long as it takes
no more than so many bytes: the tests replay it all.

The targets "unpickle", "survey" and "restricted" embed the Python that runs this script, which
must have a shared libpython.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import sysconfig

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORE = ROOT / "csrc" / "core"
LAYOUT = ["layout", "footer_read", "footer_write", "block_hash", "buffer"]
LZ4 = ["lz4_frame_read", "lz4_frame_write", "workers", "buffer"]
# What of the core each needs.
ROOMS = {
    "layout": LAYOUT,
    "blob_table": LAYOUT,
    "sidecar_layout": [*LAYOUT, "sidecar_layout"],
    "lz4_read": LZ4,
    "lz4_write": LZ4,
}
# Those that run in Python, whose program is fuzz_python.c.
IN_PYTHON = ["unpickle", "survey", "restricted"]
TARGETS = [*ROOMS, *IN_PYTHON]
SANITIZERS = "address,undefined"
LIBRARIES = ["-llz4", "-lxxhash", "-pthread"]


def core_sources(target: str) -> list[str]:
    rooms = [str(CORE / f"{room}.c") for room in ROOMS[target]]
    return [str(HERE / f"fuzz_{target}.c"), *rooms]


def common_flags() -> list[str]:
    return ["-std=c11", "-D_GNU_SOURCE=1", "-g", "-I", str(ROOT / "csrc"), "-I", str(HERE)]


def python_flags(target: str) -> list[str]:
    import numpy

    includes = [sysconfig.get_path("include"), numpy.get_include()]
    return [
        *(flag for directory in includes for flag in ("-isystem", directory)),
        "-fvisibility=hidden",
        "-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION",
        "-DNPY_TARGET_VERSION=NPY_1_25_API_VERSION",
        '-DFASTPERSIST_VERSION="0"',
        f'-DFUZZ_PYTHON="{sys.executable}"',
        f'-DFUZZ_MODULE="{target}_target"',
    ]


def libpython() -> list[str]:
    directory = sysconfig.get_config_var("LIBDIR")
    name = sysconfig.get_config_var("LDLIBRARY") or ""
    if not name.startswith("libpython") or not name.endswith((".so", ".dylib")):
        raise SystemExit("this Python has no shared libpython: no target can embed it")
    library = name.removeprefix("lib").rsplit(".", 1)[0]
    return [f"-L{directory}", f"-Wl,-rpath,{directory}", f"-l{library}"]


def build(target: str, directory: pathlib.Path, clang: str) -> pathlib.Path:
    program = directory / target
    flags = [*common_flags(), "-O1", "-fno-omit-frame-pointer", f"-fsanitize={SANITIZERS}"]
    flags += ["-fno-sanitize-recover=all"]
    if target in IN_PYTHON:
        sources = [str(HERE / "fuzz_python.c")]
        sources += sorted(map(str, ROOT.glob("csrc/**/*.c")))
        flags += python_flags(target)
        libraries = [*libpython(), *LIBRARIES]
    else:
        sources = core_sources(target)
        libraries = LIBRARIES
    command = [*shlex.split(clang), *flags, "-fsanitize=fuzzer"]
    subprocess.run([*command, *sources, *libraries, "-o", str(program)], check=True)
    return program


def write_inputs(target: str, directory: pathlib.Path) -> None:
    import seeds

    directory.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(seeds.all_inputs(target)):
        (directory / f"{i:04}").write_bytes(data)


def keep(command: list[str], environment: dict[str, str], target: str, n_bytes: int) -> None:
    """Adds found inputs to the corpus, shortest first."""
    *command, found, start = command
    reduced = pathlib.Path(f"{found}.reduced")
    shutil.rmtree(reduced, ignore_errors=True)
    shutil.copytree(start, reduced)
    command = [*command, "-merge=1", str(reduced), found]
    subprocess.run(command, env=environment, check=True)
    old = {path.read_bytes() for path in pathlib.Path(start).iterdir()}
    new = {path.read_bytes() for path in reduced.iterdir()} - old
    with open(HERE / "corpus" / f"{target}.txt", "a") as file:
        for data in sorted(new, key=lambda data: (len(data), data)):
            n_bytes -= len(data)
            if n_bytes < 0:
                break
            file.write(data.hex() + "\n")


def run(
    target: str, work: pathlib.Path, clang: str, seconds: int, n_keep: int, arguments: list[str]
) -> int:
    program = build(target, work, clang)
    found, start = work / f"{target}.found", work / f"{target}.seeds"
    found.mkdir(exist_ok=True)
    write_inputs(target, start)
    options = [f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-malloc_limit_mb=0"]
    options += ["-timeout=60", "-max_len=8192", f"-artifact_prefix={work}/{target}-"]
    path = [str(HERE), str(HERE.parent / "support"), os.environ.get("PYTHONPATH", "")]
    path.append(str(ROOT / "pypkg"))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in path if p),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    print(f"=== {target}: {seconds} s", flush=True)
    command = [str(program), *options, *arguments, str(found), str(start)]
    status = subprocess.run(command, env=environment, check=False).returncode
    if n_keep > 0:
        keep(command, environment, target, n_keep)
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--keep", type=int, default=0, metavar="BYTES", help="for the corpus")
    parser.add_argument("--clang", default=os.environ.get("FUZZ_CC", "clang"))
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="TARGET")
    options, arguments = parser.parse_known_args()
    options.work.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
    share = max(1, options.seconds // len(options.targets))
    failed = [
        target
        for target in options.targets
        if run(target, options.work, options.clang, share, options.keep, arguments) != 0
    ]
    if failed:
        print("failed:", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
