"""The conda recipe asks for what pyproject.toml asks for."""

import re
import tomllib

from helpers import PROJECT

RECIPE = (PROJECT / "recipe" / "recipe.yaml").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
# Names that conda-forge has for packages of another name.
CONDA = {"isal": "python-isal", "zlib-ng": "python-zlib-ng", "xxhash": "python-xxhash"}


def requirements(part):
    """Lines of a list, up to the next key."""
    text = re.search(rf"^ *{part}:\n((?: +- .*\n)+)", RECIPE, re.M)[1]
    return set(re.findall(r"- (.+)", text))


def in_conda(lines):
    """Requirements of pyproject.toml as conda writes them."""
    parts = [re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in lines]
    return {f"{CONDA.get(name, name)} {bound}".strip() for name, bound in parts}


def test_it_is_of_this_version():
    project = PYPROJECT["project"]
    assert f'version: "{project["version"]}"' in RECIPE
    assert f"summary: {project['description']}" in RECIPE
    oldest = project["requires-python"].removeprefix(">=")
    assert f'match(python, "<{oldest}")' in RECIPE


def test_requirements_are_the_same():
    assert in_conda(PYPROJECT["project"]["dependencies"]) <= requirements("run")
    assert in_conda(PYPROJECT["build-system"]["requires"]) <= requirements("host")
    tests = PYPROJECT["project"]["optional-dependencies"]["test-base"]
    assert in_conda(tests) <= set(re.findall(r"- (.+)", RECIPE.partition("\ntests:")[2]))


def test_files_that_it_names_are_there():
    assert re.findall(r"tests/\w+|licenses/\S+", RECIPE)
    for name in re.findall(r"tests/\w+|licenses/\S+", RECIPE):
        assert (PROJECT / name).exists()
