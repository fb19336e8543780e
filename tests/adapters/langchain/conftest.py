"""A runtime per test whose trace is checked for its form when the test ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

import relay_core
from relay_adapter_langchain import instrument, uninstrument
from relay_adapter_langchain.runs import table_of


@dataclass
class Trace:
    """A runtime, what it has recorded, and questions about it."""

    relay: relay_core.Relay = field(default_factory=relay_core.Relay)
    recorded: list[Any] = field(default_factory=list)

    def __post_init__(self):
        self.relay.subscriber(lambda event: self.recorded.append(event.to_dict()), name="recorder")

    @property
    def events(self) -> list[dict[str, Any]]:
        assert self.relay.flush(timeout=5.0).pending == 0
        return list(self.recorded)

    def scopes(self, category: str | None = None, name: str | None = None) -> list[Pair]:
        starts = [e for e in self.events if e["kind"] == "scope" and e["scope_category"] == "start"]
        ends = {e["uuid"]: e for e in self.events if e["kind"] == "scope" and e["scope_category"] == "end"}
        pairs = [Pair(start, ends.get(start["uuid"])) for start in starts]
        return [p for p in pairs if category in (None, p.category) and name in (None, p.name)]

    def one(self, category: str | None = None, name: str | None = None) -> Pair:
        found = self.scopes(category, name)
        assert len(found) == 1, found
        return found[0]

    def marks(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["kind"] == "mark" and e["name"] == name]

    def path(self, pair: Pair) -> list[str]:
        """Names from the root down to `pair`."""
        names = {p.uuid: p for p in self.scopes()}
        found = [pair.name]
        while pair.parent in names:
            pair = names[pair.parent]
            found.insert(0, pair.name)
        return found

    def table(self):
        return table_of(self.relay)

    def check_form(self):
        table_of(self.relay).sweep(grace=0.0)
        seen: set[str] = set()
        open_now: set[str] = set()
        for event in self.events:
            parent = event["parent_uuid"]
            assert parent is None or parent in seen, f"{event['name']}: unknown parent"
            if event["kind"] == "mark":
                continue
            if event["scope_category"] == "start":
                assert event["uuid"] not in seen, f"{event['name']} started twice"
                seen.add(event["uuid"])
                open_now.add(event["uuid"])
            else:
                assert event["uuid"] in open_now, f"{event['name']} ended twice, or without a start"
                open_now.remove(event["uuid"])
        assert not open_now
        assert len(table_of(self.relay)) == 0
        stats = self.relay.stats()
        assert not any(s["dropped"] for s in stats["subscribers"].values()), stats
        assert "faults" not in stats["counters"], stats


class Pair:
    """The start and end of one scope."""

    def __init__(self, start: dict[str, Any], end: dict[str, Any] | None):
        self.start = start
        self.end = end
        self.name = start["name"]
        self.category = start["category"]
        self.uuid = start["uuid"]
        self.parent = start["parent_uuid"]

    @property
    def status(self) -> str:
        return self.end["metadata"]["relay.status"]

    @property
    def profile(self) -> dict[str, Any]:
        return self.end["category_profile"] or {}

    def __repr__(self):
        return f"<{self.category} {self.name}>"


@pytest.fixture
def trace():
    found = Trace()
    yield found
    found.check_form()
    found.relay.shutdown(timeout=2.0)


@pytest.fixture
def observed(trace):
    """The same, seeing every run of the process, as under `relay.autoload()`."""
    instrument(trace.relay)
    yield trace
    uninstrument()
