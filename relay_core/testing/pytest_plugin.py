"""The pytest plugin: a fresh runtime and a recorder as fixtures, and the recorded tree in reports of failed tests.

Pytest loads this module in every run; the kit itself is imported only by the fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from relay_core.runtime import Relay
    from relay_core.testing.recorder import EventRecorder

__all__ = ["relay_events", "relay_runtime"]

_SECTION = "relay events"


def pytest_configure(config: pytest.Config) -> None:
    """Make the plugin's marker known."""
    config.addinivalue_line(
        "markers",
        "relay_subscriber_errors: subscribers of relay_runtime fail on purpose in this test, or give up events",
    )


@pytest.fixture
def relay_runtime(request: pytest.FixtureRequest) -> Iterator[Relay]:
    """Give a runtime of its own to the test; shut down afterwards.

    The test fails if a subscriber raised, or if the account of any subscriber does not add up or is not settled. Mark
    tests where that is meant with ``@pytest.mark.relay_subscriber_errors``.
    """
    import relay_core  # noqa: PLC0415  # only tests that use it pay for it
    from relay_core.testing.assertions import assert_accounts_settled  # noqa: PLC0415  # see above

    runtime = relay_core.Relay()
    try:
        yield runtime
    finally:
        runtime.shutdown(timeout=10.0)
    if request.node.get_closest_marker("relay_subscriber_errors") is None:
        assert_accounts_settled(runtime)


@pytest.fixture
def relay_events(relay_runtime: Relay) -> EventRecorder:
    """Record what ``relay_runtime`` emits; ``relay_events.events`` flushes first."""
    from relay_core.testing.recorder import EventRecorder  # noqa: PLC0415  # see relay_runtime

    recorder = EventRecorder(relay_runtime)
    recorder.subscribe()
    return recorder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the recorded tree to the report of a test that failed."""
    report = yield
    if call.when == "call" and report.failed:
        arguments: dict[str, Any] = getattr(item, "funcargs", {})
        recorder = arguments.get("relay_events")
        if recorder is not None:
            report.sections.append((_SECTION, _tree(recorder)))
    return report


def _tree(recorder: EventRecorder) -> str:
    try:
        return recorder.tree() or "(nothing was recorded)"
    except Exception as error:  # noqa: BLE001  # the report of the real failure matters more
        return f"(the tree cannot be shown: {type(error).__name__})"
