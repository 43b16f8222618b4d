"""Build of the C extension; everything else about the package is in pyproject.toml.

Switches, read from the environment:
    FASTPERSIST_SANITIZE=address,undefined   sanitizers, assertions
    FASTPERSIST_DEBUG=1                      no optimization, assertions
    FASTPERSIST_COVERAGE=1                   gcov instrumentation, assertions
    FASTPERSIST_WERROR=1                     the project's warnings, as errors
Each combination has its own directory below build/, so objects never mix.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path
from typing import Any

# The Pythons that are tested are the classifiers of pyproject.toml. Older ones get no further than
# this, but for the metadata: pip asks for it, and finds requires-python there.
if not {"egg_info", "dist_info"} & set(sys.argv):
    MINORS = re.findall(
        r'"Programming Language :: Python :: 3\.(\d+)"',
        Path(__file__).with_name("pyproject.toml").read_text(),
    )
    OLDEST, NEWEST = min(map(int, MINORS)), max(map(int, MINORS))
    RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.version_info < (3, OLDEST):
        sys.exit(f"fastpersist needs Python 3.{OLDEST} or newer, this is {RUNNING}")
    if sys.version_info[:2] > (3, NEWEST):
        print(
            f"fastpersist: not tested with Python {RUNNING}, only with 3.{OLDEST} to 3.{NEWEST}",
            file=sys.stderr,
        )

import setuptools

if int(setuptools.__version__.partition(".")[0]) < 77:  # pyproject.toml, build-system
    sys.exit(
        f"fastpersist is built by setuptools 77 or newer, this is {setuptools.__version__}: "
        "pip install -U setuptools, or leave out --no-build-isolation"
    )

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

SANITIZE = os.environ.get("FASTPERSIST_SANITIZE", "")
DEBUG = os.environ.get("FASTPERSIST_DEBUG", "0") not in ("", "0")
COVERAGE = os.environ.get("FASTPERSIST_COVERAGE", "0") not in ("", "0")
WERROR = os.environ.get("FASTPERSIST_WERROR", "0") not in ("", "0")
ASSERTIONS = bool(SANITIZE) or DEBUG or COVERAGE

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wcast-qual",
    "-Wstrict-prototypes",
    "-Wconversion",
    "-Werror",
]

PYTHON = "python{}.{}".format(*sys.version_info)
# What a build needs: in words, and the packages of apt-get, dnf, apk and Homebrew.
PARTS = {
    "compiler": ("a C compiler", "gcc libc6-dev", "gcc", "gcc musl-dev", ""),
    "libc": ("the C library's headers", "libc6-dev", "glibc-devel", "musl-dev", ""),
    "python": ("the C headers of Python", PYTHON + "-dev", "python3-devel", "python3-dev", ""),
    "lz4": ("the C headers of LZ4", "liblz4-dev", "lz4-devel", "lz4-dev", "lz4"),
    "xxhash": ("the C headers of xxHash", "libxxhash-dev", "xxhash-devel", "xxhash-dev", "xxhash"),
}
INSTALLERS = ("apt-get install -y", "dnf install -y", "apk add", "brew install")

LIBC_PROBE = """
#include <stdio.h>
int main(void) { return puts(""); }
"""

PYTHON_PROBE = """
#include <Python.h>
int main(void) { return 0; }
"""

XXHASH_PROBE = """
#include <xxhash.h>
int main(void) { return (int)XXH3_64bits("", 0); }
"""

LZ4_PROBE = """
#include <lz4frame.h>
int main(void) { return (int)LZ4F_getVersion() - LZ4F_VERSION; }
"""

XXHASH_DISPATCH_PROBE = """
#include <xxh_x86dispatch.h>
int main(void) { return (int)XXH3_64bits_dispatch("", 0); }
"""


def build_directory() -> str:
    switches = {
        "sanitize": SANITIZE,
        "debug": DEBUG,
        "coverage": COVERAGE,
        "werror": WERROR,
    }
    return "build/" + ("-".join(name for name, on in switches.items() if on) or "release")


def decided_here(flag: str) -> bool:
    """Whether a flag of Python's own build is one that this build sets itself."""
    if flag.startswith(("-O", "-g", "-DNDEBUG")):
        return True
    if ASSERTIONS and "_FORTIFY_SOURCE" in flag:  # warns without optimization
        return True
    # These define signed overflow, and so hide it from the sanitizer.
    return bool(SANITIZE) and flag in ("-fwrapv", "-fno-strict-overflow")


class BuildExt(build_ext):
    def build_extensions(self) -> None:
        import numpy

        compiler = self.compiler
        compiler.compiler_so = [f for f in compiler.compiler_so if not decided_here(f)]
        # Headers of Python and NumPy through -isystem: our warnings are not theirs.
        system = [*compiler.include_dirs, numpy.get_include()]
        compiler.set_include_dirs([])
        self.homebrew()
        self.refuse_what_is_missing(system)
        compile_args, link_args, macros = self.flags()
        # CFLAGS of the user come last, so that they win.
        compile_args += shlex.split(os.environ.get("CFLAGS", ""))
        for extension in self.extensions:
            for directory in system:
                extension.extra_compile_args += ["-isystem", directory]
            extension.extra_compile_args += compile_args
            extension.extra_link_args += link_args
            extension.define_macros += macros
        one_by_one = compiler.compile

        def compile_side_by_side(sources: "list[str]", **options: Any) -> "list[str]":
            with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
                objects = pool.map(lambda source: one_by_one([source], **options), sources)
                return [name for names in objects for name in names]

        compiler.compile = compile_side_by_side
        super().build_extensions()

    def refuse_what_is_missing(self, system: "list[str]") -> None:
        """One message for all of it, with the commands that install it."""
        includes = [f"-I{directory}" for directory in system]
        if shutil.which(self.compiler.compiler_so[0]) is None:
            missing = ["compiler"]
            found = [*system, *self.compiler.include_dirs, "/usr/include", "/usr/local/include"]
            for part, header in (
                ("python", "Python.h"),
                ("lz4", "lz4frame.h"),
                ("xxhash", "xxhash.h"),
            ):
                if not any(Path(directory, header).exists() for directory in found):
                    missing.append(part)
        elif not self.builds(LIBC_PROBE):
            missing = ["libc"]
        else:
            missing = []
            if not self.builds(PYTHON_PROBE, includes, is_linked=False):
                missing.append("python")
            if not self.builds(LZ4_PROBE, libraries=["lz4"]):
                missing.append("lz4")
            if not self.builds(XXHASH_PROBE, libraries=["xxhash"]):
                missing.append("xxhash")
        if not missing:
            return
        rows = [PARTS[name] for name in missing]
        lines = [
            "",
            f"fastpersist cannot be built here without {', '.join(row[0] for row in rows)}.",
            "Install what is missing, with one of:",
        ]
        for i, installer in enumerate(INSTALLERS, 1):
            names = " ".join(row[i] for row in rows if row[i])
            if names:
                lines.append(f"    {installer} {names}")
        if {"compiler", "libc"} & set(missing):
            lines.append("    xcode-select --install")
        if "python" in missing:
            lines.append(f"(of the Python that runs: {sys.executable})")
        raise CompileError("\n".join(lines) + "\n")

    def flags(self) -> "tuple[list[str], list[str], list[tuple[str, str | None]]]":
        compile_args = ["-std=c11", "-fvisibility=hidden", "-pthread"]
        link_args = ["-pthread"]
        macros: list[tuple[str, str | None]] = [
            ("_GNU_SOURCE", "1"),
            ("FASTPERSIST_VERSION", f'"{self.distribution.get_version()}"'),
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION"),
        ]
        if SANITIZE:
            sanitizers = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
            compile_args += [*sanitizers, "-O1", "-g", "-fno-omit-frame-pointer"]
            link_args += sanitizers
        elif DEBUG or COVERAGE:
            compile_args += ["-O0", "-g"]
        else:
            compile_args += ["-O3"]
            # Short copies as "rep movs" are several times slower than a call.
            strategy = "-mstringop-strategy=libcall"
            if platform.machine() in ("x86_64", "AMD64", "i686") and self.builds(
                "int main(void) { return 0; }", ["-Werror", strategy]
            ):
                compile_args.append(strategy)
        if COVERAGE:
            compile_args += ["--coverage", "-fprofile-update=atomic"]
            link_args.append("--coverage")
        if not ASSERTIONS:
            macros.append(("NDEBUG", None))
        if WERROR:
            compile_args += WARNINGS
        if self.builds(XXHASH_DISPATCH_PROBE, libraries=["xxhash"]):
            macros.append(("FP_HAVE_XXH_DISPATCH", "1"))
        return compile_args, link_args, macros

    def builds(
        self,
        source: str,
        flags: "list[str] | None" = None,
        libraries: "list[str] | None" = None,
        is_linked: bool = True,
    ) -> bool:
        """Whether a program compiles and links."""
        flags = flags or []
        compiler = self.compiler
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "probe.c")
            path.write_text(source)
            compile_command = [*compiler.compiler_so, *flags]
            compile_command += [f"-I{d}" for d in compiler.include_dirs]
            compile_command += ["-c", str(path), "-o", f"{path}.o"]
            link_command = [*compiler.linker_exe, f"{path}.o", "-o", f"{path}.out"]
            link_command += [f"-L{d}" for d in compiler.library_dirs]
            link_command += [f"-l{name}" for name in libraries or []]
            for command in (compile_command, link_command)[: 1 + is_linked]:
                if subprocess.run(command, capture_output=True, check=False).returncode:
                    return False
        return True

    def homebrew(self) -> None:
        """Homebrew's prefix is not on the compiler's default paths."""
        if sys.platform != "darwin" or shutil.which("brew") is None:
            return
        prefix = subprocess.run(["brew", "--prefix"], capture_output=True, text=True, check=False)
        if prefix.returncode == 0:
            self.compiler.add_include_dir(f"{prefix.stdout.strip()}/include")
            self.compiler.add_library_dir(f"{prefix.stdout.strip()}/lib")


setup(
    ext_modules=[
        Extension(
            "fastpersist._core",
            sources=sorted(glob("csrc/**/*.c", recursive=True)),
            depends=[*sorted(glob("csrc/**/*.h", recursive=True)), "setup.py"],
            include_dirs=["csrc"],
            libraries=["lz4", "xxhash"],
        )
    ],
    cmdclass={"build_ext": BuildExt},
    options={"build": {"build_base": build_directory()}},
)
