"""Records made from events, events made by hand, and the way back from flat attributes to what they mean.

Run as a program, ``python -m tests.plugins.observability.openinference.support``, it writes the golden files anew.
"""

from __future__ import annotations

import json
from pathlib import Path

from relay_core.events import parse_event
from relay_plugin_observability.openinference import Masking, OpenInferenceProjection
from relay_plugin_observability.prices import Prices
from relay_plugin_observability.projection import ScopeRecord
from tests.plugins.observability.scenarios import SCENARIOS, play

GOLDEN = Path(__file__).parent / "golden"
UUID = "01b77777-0000-7000-8000-000000000001"
OPEN = object()


def projection(**options):
    """A projection that looks at nothing outside."""
    return OpenInferenceProjection(**{"masking": Masking(), "prices": Prices(), **options})


def records(events):
    """The records that an exporter makes of a stream of events, in the order of their starts."""
    starts, ends, marks = {}, {}, {}
    for event in events:
        if event.kind == "mark":
            marks.setdefault(event.parent_uuid, []).append(event)
        elif event.scope_category == "start":
            starts[event.uuid] = event
        else:
            ends[event.uuid] = event
    return [ScopeRecord(start, ends.get(uuid), marks.get(uuid, ())) for uuid, start in starts.items()]


def line(phase, category, **fields):
    row = {
        "kind": "scope",
        "atof_version": "0.1",
        "uuid": UUID,
        "parent_uuid": None,
        "timestamp": f"2026-01-01T00:00:0{0 if phase == 'start' else 1}+00:00",
        "name": "thing",
        "scope_category": phase,
        "attributes": [],
        "category": category,
        "data": None,
        "metadata": None,
        "category_profile": None,
    }
    return parse_event({**row, **fields})


def record(
    category, given=None, made=None, *, profile=None, end_profile=None, metadata=None, end_metadata=None, **more
):
    """A record of a scope that started with `given` and ended with `made`; `made=OPEN` never ended."""
    shared = {name: more.pop(name) for name in ("name", "parent_uuid", "attributes") if name in more}
    start = line("start", category, data=given, category_profile=profile, metadata=metadata, **shared)
    if made is OPEN:
        return ScopeRecord(start, **more)
    outcome = {"otel.status_code": "OK", "relay.status": "ok", **(end_metadata or {})}
    end = line("end", category, data=made, category_profile=end_profile, metadata=outcome, **shared)
    return ScopeRecord(start, end, **more)


def attributes(*args, options=None, **kwargs):
    """The attributes of the span of such a record."""
    return projection(**(options or {})).project(record(*args, **kwargs)).attributes


def mark(name, data=None, **fields):
    row = {"kind": "mark", "uuid": UUID[:-1] + "9", "timestamp": "2026-01-01T00:00:00.5+00:00", "name": name}
    return parse_event({**row, "data": data, **fields})


def nested(flat):
    """Read flat attributes as the objects and lists that they stand for.

    A key that is both a value and a prefix of others, and a list with a gap, are errors.
    """
    tree = {}
    for key, value in flat.items():
        node = tree
        *path, leaf = key.split(".")
        for step in path:
            node = node.setdefault(step, {})
            assert isinstance(node, dict), f"{key!r} lies below a value"
        assert leaf not in node, f"{key!r} is a value and a prefix"
        node[leaf] = value
    return _listed(tree)


def _listed(node):
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() for key in node):
        assert sorted(map(int, node)) == list(range(len(node))), f"a list with gaps: {sorted(node)}"
        return [_listed(node[str(index)]) for index in range(len(node))]
    return {key: _listed(value) for key, value in node.items()}


def shown(span):
    """A span as the golden files have it; JSON texts are opened."""
    body = {
        "name": span.name,
        "kind": span.kind,
        "error": span.error,
        "attributes": nested({key: _opened(value) for key, value in span.attributes.items()}),
        "events": [{"name": e.name, "timestamp_ns": e.timestamp_ns, "attributes": e.attributes} for e in span.events],
    }
    return {name: value for name, value in body.items() if value not in (None, [])}


def _opened(value):
    if isinstance(value, str) and value[:1] in ("{", "["):
        return {"$json": json.loads(value)}
    return value


def spans_of(name):
    subject = projection()
    return [shown(subject.project(found)) for found in records(play(name))]


def golden(name):
    return GOLDEN / f"{name}.json"


if __name__ == "__main__":
    for scenario in SCENARIOS:
        golden(scenario).write_text(json.dumps(spans_of(scenario), indent=1, ensure_ascii=False, sort_keys=True) + "\n")
