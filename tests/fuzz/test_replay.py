"""The fuzz targets, run once on their seeds and their corpus: no clang is needed for this."""

import os
import shlex
import subprocess
import sysconfig

import pytest
import restricted_target
import seeds
import survey_target
import targets
import unpickle_target


@pytest.mark.parametrize("target", targets.ROOMS)
def test_core_target(target, tmp_path):
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    program = tmp_path / target
    command = [*compiler, *targets.common_flags(), "-O1", "-Wall", "-Wextra", "-Werror"]
    command += [*targets.core_sources(target), str(targets.HERE / "replay_main.c")]
    done = subprocess.run(
        [*command, *targets.LIBRARIES, "-o", str(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    targets.write_inputs(target, tmp_path / "inputs")
    inputs = sorted(map(str, (tmp_path / "inputs").iterdir()))
    assert inputs
    done = subprocess.run([str(program), *inputs], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_unpickle_target():
    n_inputs = 0
    with unpickle_target.harmless():
        for data in seeds.all_inputs("unpickle"):
            unpickle_target.one(data)
            n_inputs += 1
    assert n_inputs > 200


def test_survey_target():
    n_inputs = 0
    with unpickle_target.harmless():
        for data in seeds.all_inputs("survey"):
            survey_target.one(data)
            n_inputs += 1
    assert n_inputs > 150


def test_restricted_target():
    n_inputs = 0
    for data in seeds.all_inputs("restricted"):
        restricted_target.one(data)
        n_inputs += 1
    assert n_inputs > 500


def test_names_that_harm_are_refused():
    """The safety of the embedding program: fuzzed bytes call nothing but what is listed."""
    with unpickle_target.harmless(), pytest.raises(Exception, match="not harmless"):
        unpickle_target.fastpersist.loads(b"cos\ngetpid\n)R.")
    assert isinstance(unpickle_target.fastpersist.loads(b"cos\ngetpid\n)R."), int)
