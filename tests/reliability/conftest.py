"""The long tests of this folder run only where they are asked for: `RELAY_SOAK=1`, or `tox -e soak`. Figures are told."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items):
    if os.environ.get("RELAY_SOAK", "") in ("1", "true", "yes", "on"):
        return
    skip = pytest.mark.skip(reason="takes minutes; RELAY_SOAK=1 runs it")
    for item in items:
        if "tests/reliability" in item.path.as_posix() and item.get_closest_marker("slow"):
            item.add_marker(skip)


_figures = []


@pytest.fixture
def figure():
    """Tell a measured figure at the end of the run."""
    return _figures.append


def pytest_terminal_summary(terminalreporter):
    for text in _figures:
        terminalreporter.write_line(text)
