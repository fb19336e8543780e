"""A runtime per test whose trace is checked for its form when the test ends."""

from __future__ import annotations

import pytest

from relay_adapter_langgraph import instrument, uninstrument
from tests.adapters.langchain.traces import Trace


@pytest.fixture
def trace():
    with Trace() as found:
        yield found


@pytest.fixture
def observed(trace):
    """The same, seeing every graph of the process, as under `relay.autoload()`."""
    instrument(trace.relay)
    yield trace
    uninstrument()
