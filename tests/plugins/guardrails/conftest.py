"""Fixtures for rails on a watched runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

# What the library says of its own fields while it reads its own defaults.
LIBRARY = "ignore:Use '.*' instead. This field will be removed:DeprecationWarning"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(LIBRARY))


@pytest.fixture
def watched(tmp_path):
    """Install rails on a runtime of their own; gives the watch."""
    from relay_plugin_guardrails import Guardrails
    from tests.plugins.guardrails.rails import Watch

    opened = []

    def start(*, actions=None, llm=None, **fields):
        watch = Watch(tmp_path)
        watch.__enter__()
        opened.append((watch, Guardrails(actions=actions, llm=llm, **fields).install(watch.relay)))
        watch.rails = opened[-1][1]
        return watch

    yield start
    for watch, rails in reversed(opened):
        rails.uninstall()
        watch.__exit__(None, None, None)
