"""A runtime per test whose trace is checked for its form when the test ends."""

from __future__ import annotations

import pytest

from relay_adapter_deepagents import instrument, uninstrument
from tests.adapters.deepagents.agents import PROVIDER
from tests.adapters.langchain.traces import Trace


@pytest.fixture
def trace():
    with Trace() as found:
        yield found


@pytest.fixture
def observed(trace):
    """The same, with every deep agent of the process observed and under policy, as under `relay.autoload()`."""
    instrument(trace.relay, providers=[PROVIDER])
    yield trace
    uninstrument()
