"""A runtime, what it has recorded, and questions about it. Imports no NAT."""

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
        return self.metadata.get("relay.status") if self.end else None


@dataclass
class Trace:
    """A runtime and its events."""

    relay: relay_core.Relay = field(default_factory=relay_core.Relay)
    recorded: list[Any] = field(default_factory=list)

    def __post_init__(self):
        self.relay.subscriber(lambda event: self.recorded.append(event.to_dict()), name="recorder")

    @property
    def events(self) -> list[dict[str, Any]]:
        assert self.relay.flush(timeout=5.0).pending == 0
        return list(self.recorded)

    def pairs(self, name: str | None = None, category: str | None = None) -> list[Pair]:
        scopes = [event for event in self.events if event["kind"] == "scope"]
        ends = {event["uuid"]: event for event in scopes if event["scope_category"] == "end"}
        starts = [event for event in scopes if event["scope_category"] == "start"]
        found = [Pair(start, ends.get(start["uuid"])) for start in starts]
        return [pair for pair in found if name in (None, pair.name) and category in (None, pair.category)]

    def one(self, name: str | None = None, category: str | None = None) -> Pair:
        found = self.pairs(name, category)
        assert len(found) == 1, f"{name} {category}: {[(p.name, p.category) for p in self.pairs()]}"
        return found[0]

    def marks(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == "mark" and event["name"] == name]

    def path(self, pair: Pair) -> list[str]:
        """Names from the root down to `pair`."""
        known = {found.uuid: found for found in self.pairs()}
        names = [pair.name]
        while pair.parent in known:
            pair = known[pair.parent]
            names.insert(0, pair.name)
        return names

    def flow(self) -> list[str]:
        """The events in order, one text each."""
        found = []
        for event in self.events:
            phase = event.get("scope_category", "mark")
            status = (event["metadata"] or {}).get("relay.status") if phase == "end" else None
            found.append(" ".join(filter(None, [phase, event["category"], event["name"], status])))
        return found

    def check_form(self):
        """Every parent is known before, every scope starts once and ends once, and nothing went wrong inside."""
        opened, ended = set(), set()
        for event in self.events:
            if event["kind"] == "mark":
                continue
            uuid = event["uuid"]
            if event["scope_category"] == "start":
                assert uuid not in opened, f"{event['name']} started twice"
                opened.add(uuid)
            else:
                assert uuid in opened and uuid not in ended, f"{event['name']} ended twice, or without a start"
                ended.add(uuid)
        assert opened == ended, f"not ended: {[p.name for p in self.pairs() if p.end is None]}"
        wrong = {
            name: n for name, n in self.relay.stats()["counters"].items() if "fault" in name or name.startswith("nat.")
        }
        assert not wrong, wrong
