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


@pytest.fixture(autouse=True)
def collector_state_is_kept():
    """Whatever a dump does, the collector is left as it was found."""
    enabled = gc.isenabled()
    yield
    now = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    assert now == enabled, "the test left the garbage collector in another state"
