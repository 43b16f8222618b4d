"""Builds the preloaded libraries of this directory, and runs its scripts in processes."""

import json
import os
import pathlib
import shlex
import subprocess
import sysconfig

from helpers import run_python

HERE = pathlib.Path(__file__).resolve().parent


def build(name, directory):
    """Compiles NAME.c to a library in the directory."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    library = directory / f"{name}.so"
    command += ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    command += ["-o", str(library), str(HERE / f"{name}.c"), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


def run_script(script, *arguments, timeout=3000, **environment):
    """Runs a script, given by its name or its text; what it printed, as JSON, in its last line."""
    text = (HERE / script).read_text() if script.endswith(".py") else script
    path = [str(HERE), str(HERE.parent / "support")]
    path += [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    printed = run_python(
        text,
        *arguments,
        warnings="ignore",
        timeout=timeout,
        env={"PYTHONPATH": os.pathsep.join(path), **environment},
    )
    return json.loads(printed.splitlines()[-1])


def run_with(library, script, *arguments, **environment):
    """The same with a library preloaded, whose path is the first argument.

    A sanitizer's runtime that is preloaded already comes first, as it must.
    """
    preload = f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()
    return run_script(script, library, *arguments, LD_PRELOAD=preload, **environment)
