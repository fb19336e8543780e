"""The targets of the fuzzer hold for what it starts from, for damaged pieces of that, and for any bytes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
class TestTargets:
    def test_real_shapes(self, name):
        found = seeds(name)
        assert found
        for data in found:
            TARGETS[name](data)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.binary(max_size=200))
    def test_any_bytes(self, name, data):
        TARGETS[name](data)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_damaged_shapes(self, name, data):
        seed = data.draw(st.sampled_from(seeds(name)))
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(seed))] * 2)))
        TARGETS[name](seed[:start] + data.draw(st.binary(max_size=4)) + seed[end:])
