"""A runtime per test that NAT's components belong to; its trace is checked for its form when the test ends."""

from __future__ import annotations

import pytest

from tests.adapters.nat.traces import Trace


@pytest.fixture
def trace():
    from relay_adapter_nat import bind  # not where the adapter is not installed

    with Trace() as found:
        bind(found.relay)
        yield found
        bind(None)
