"""What the tests of NAT ask of a trace on top. Imports no NAT."""

from __future__ import annotations

from tests.adapters import traces


class Trace(traces.Trace):
    """A runtime and its events, without faults that the adapter counts."""

    own_counters = ("nat.",)

    def flow(self) -> list[str]:
        """The events in order, one text each."""
        found = []
        for event in self.events:
            phase = event.get("scope_category", "mark")
            status = (event["metadata"] or {}).get("relay.status") if phase == "end" else None
            found.append(" ".join(filter(None, [phase, event["category"], event["name"], status])))
        return found
