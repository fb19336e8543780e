"""A runtime per test: one that records and checks its events, and one as programs make it."""

from __future__ import annotations

import pytest

import relay_core as relay
from tests.core.golden_scenario import Recording


@pytest.fixture
def rec():
    with Recording() as recording:
        yield recording


@pytest.fixture
def runtime():
    made = relay.Relay()
    yield made
    made.shutdown(timeout=20.0)
