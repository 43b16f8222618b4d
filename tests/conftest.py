"""Hypothesis profiles and what holds for every test."""

import gc

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


@pytest.fixture(autouse=True)
def collector_state_is_kept():
    """Whatever a dump does, the collector is left as it was found."""
    enabled = gc.isenabled()
    yield
    now = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    assert now == enabled, "the test left the garbage collector in another state"
