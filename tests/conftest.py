"""Hypothesis profiles and what holds for every test."""

import collections
import functools
import gc
import importlib.util
import inspect
import os
import pathlib

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("default")


def encodable(value):
    """With lone surrogates written as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(encodable, value))
    return value


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """A failure whose text has a lone surrogate would end the run with processes side by side."""
    return encodable((yield))


# Several hundred MB, which only .ci/nightly installs: no skip where they are not.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["*/test_torch*.py"]

# ---------------------------------------------------------------- --night


def pytest_configure(config):
    if config.getoption("--night"):
        os.environ["FASTPERSIST_TEST_NIGHT"] = "1"  # for helpers.py


def _by_day(item):
    """Whether a test runs without --night: its markers say so."""
    if item.get_closest_marker("night"):
        return False
    for marker in item.iter_markers("by_day"):
        wanted = marker.kwargs["wanted"]
        names = inspect.signature(wanted).parameters
        if not wanted(**{name: item.callspec.params[name] for name in names}):
            return False
    return True


def pytest_collection_modifyitems(config, items):
    # Another process would name them otherwise, and pytest -n then runs nothing at all.
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError("an id with an address in it: " + ", ".join(unstable))
    if not config.getoption("--night"):
        kept = [item for item in items if _by_day(item)]
        if len(kept) < len(items):
            config.hook.pytest_deselected(items=[item for item in items if not _by_day(item)])
            items[:] = kept


@pytest.fixture(autouse=True)
def collector_state_is_kept():
    """Whatever a dump does, the collector is left as it was found."""
    enabled = gc.isenabled()
    yield
    now = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    assert now == enabled, "the test left the garbage collector in another state"


@pytest.fixture(scope="module")
def nothing_else_is_collected():
    """For tests that collect often, and need not look at what all tests have imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# ---------------------------------------------------------------- --names

# Here tests write files that harm nobody who loads them.
_OWN_FILES = (
    "build",
    "codecs",
    "dump",
    "load",
    "out",
    "package",
    "report",
    "survey",
    "walk",
    "whole",
)
_compared = collections.Counter()


def pytest_addoption(parser):
    parser.addoption(
        "--night",
        action="store_true",
        help="run the cases as well that show by day what others show, and more generated ones",
    )
    parser.addoption(
        "--names",
        action="store_true",
        help="compare the names that inspect lists of every file that a test writes with those that"
        " a traced load asks for",
    )


@pytest.fixture(autouse=True)
def names_are_listed(request):
    """With --names: inspect lists the names that a load of what the test writes asks for."""
    folder = request.node.path.relative_to(pathlib.Path(__file__).parent).parts[0]
    if not request.config.getoption("--names") or folder not in _OWN_FILES:
        yield
        return
    directory = None
    if "tmp_path" in request.fixturenames:
        directory = request.getfixturevalue("tmp_path")
    import joblib
    import written_names

    written_names.begin()
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(joblib, "dump", _noting(joblib.dump))
        yield
    found = written_names.compare(directory)
    if found is not None:
        request.node.user_properties.append(("names", found))
        assert not found["differences"], "\n".join(found["differences"])


def _noting(dump):
    @functools.wraps(dump)
    def noting(value, filename, *arguments, **keywords):
        import written_names

        out = dump(value, filename, *arguments, **keywords)
        if isinstance(filename, (str, os.PathLike)) and os.path.isfile(filename):
            written_names.note(pathlib.Path(filename).read_bytes())
        return out

    return noting


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        for name, found in report.user_properties:
            if name == "names":
                _compared.update({kind: n for kind, n in found.items() if kind != "differences"})
                _compared["different"] += len(found["differences"])


def pytest_terminal_summary(terminalreporter):
    if _compared:
        counts = ", ".join(f"{n} {kind}" for kind, n in _compared.items())
        terminalreporter.write_line(f"files whose names were compared: {counts}")
