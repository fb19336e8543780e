"""A runtime, what it has recorded, and questions about it. Imports no framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import relay_core


@dataclass
class Pair:
    """A scope by its two events."""

    start: dict[str, Any]
    end: dict[str, Any] | None

    @property
    def name(self) -> str:
        return self.start["name"]

    @property
    def category(self) -> str:
        return self.start["category"]

    @property
    def uuid(self) -> str:
        return self.start["uuid"]

    @property
    def parent(self) -> str | None:
        return self.start["parent_uuid"]

    @property
    def metadata(self) -> dict[str, Any]:
        return self.end["metadata"] if self.end else self.start["metadata"]

    @property
    def status(self) -> str | None:
        return self.end["metadata"]["relay.status"] if self.end else None

    @property
    def profile(self) -> dict[str, Any]:
        return self.end["category_profile"] or {}

    def __repr__(self):
        return f"<{self.category} {self.name}>"


@dataclass
class Trace:
    """A runtime and its events; leaving it as a context manager checks their form."""

    own_counters = ()  # how the counters of the adapter's own faults begin
    relay: relay_core.Relay = field(default_factory=relay_core.Relay)
    recorded: list[Any] = field(default_factory=list)
    remote: set[str] = field(default_factory=set)  # parents that are another program's

    def __post_init__(self):
        self.relay.subscriber(lambda event: self.recorded.append(event.to_dict()), name="recorder")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self.check_form()
            self.relay.shutdown(timeout=20.0)

    @property
    def events(self) -> list[dict[str, Any]]:
        assert self.relay.flush(timeout=20.0).pending == 0
        return list(self.recorded)

    def scopes(self, category: str | None = None, name: str | None = None) -> list[Pair]:
        scopes = [event for event in self.events if event["kind"] == "scope"]
        ends = {event["uuid"]: event for event in scopes if event["scope_category"] == "end"}
        starts = [event for event in scopes if event["scope_category"] == "start"]
        found = [Pair(start, ends.get(start["uuid"])) for start in starts]
        return [pair for pair in found if category in (None, pair.category) and name in (None, pair.name)]

    def one(self, category: str | None = None, name: str | None = None) -> Pair:
        found = self.scopes(category, name)
        assert len(found) == 1, f"{category} {name}: {found} of {self.scopes()}"
        return found[0]

    def marks(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == "mark" and event["name"] == name]

    def path(self, pair: Pair) -> list[str]:
        """Names from the root down to `pair`."""
        known = {found.uuid: found for found in self.scopes()}
        names = [pair.name]
        while pair.parent in known:
            pair = known[pair.parent]
            names.insert(0, pair.name)
        return names

    def check_form(self):
        """Every parent is known before, every scope starts once and ends once; nothing was lost, nothing went wrong."""
        started, open_now = set(), set()
        for event in self.events:
            uuid, parent = event["uuid"], event["parent_uuid"]
            assert parent is None or parent in started | self.remote, f"{event['name']}: unknown parent"
            if event["kind"] == "mark":
                continue
            if event["scope_category"] == "start":
                assert uuid not in started, f"{event['name']} started twice"
                started.add(uuid)
                open_now.add(uuid)
            else:
                assert uuid in open_now, f"{event['name']} ended twice, or without a start"
                open_now.remove(uuid)
        assert not open_now, f"not ended: {[pair for pair in self.scopes() if pair.end is None]}"
        stats = self.relay.stats()
        assert not any(found["dropped"] for found in stats["subscribers"].values()), stats
        wrong = {name for name in stats["counters"] if "fault" in name or name.startswith(self.own_counters)}
        assert not wrong, stats
