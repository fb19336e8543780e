"""The targets of the fuzzer hold for what it starts from, for damaged pieces of that, and for any bytes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

FOUND = (
    ("sse", b"data: 1\r\n\n; c\n\n\n"),  # three line ends: counted as they are cut
    ("sse", b"data: 1\n\n\n"),
    ("openai_chat", b'{"\x80model": 1}'),  # a key that is no UTF-8
)


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_the_fuzzer_found(name, data):
    TARGETS[name](data)


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
