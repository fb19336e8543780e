"""Golden files of the spans of every scenario. ``UPDATE_GOLDEN=1`` writes them anew; look at the difference."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from relay_plugin_observability.otel import FullProjection, GenAiProjection, OtelSettings, build
from tests.plugins.observability.otel.receiver import balanced, collector
from tests.plugins.observability.otel.spans import plain, read_back, spans_of
from tests.plugins.observability.scenarios import SCENARIOS, play

FOLDER = Path(__file__).parent / "golden"
VERSIONS = {"gen_ai": GenAiProjection.version, "full": FullProjection.version}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("projection", VERSIONS)
def test_spans_are_as_in_the_golden_file(name, projection):
    made = spans_of(play(name), projection, capture_content=True)
    rows = sorted(map(plain, made), key=lambda row: (row["start_us"], row["span"]))
    told = {"projection": projection, "version": VERSIONS[projection], "spans": rows}
    path = FOLDER / projection / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    expected = json.loads(path.read_text(encoding="utf-8"))
    assert told["version"] == expected["version"], "another version: write the golden files anew"
    assert rows == expected["spans"], "another span from the same record: raise the projection's version"


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("projection", VERSIONS)
def test_a_projection_is_pure(name, projection):
    """Live events, the same events twice, and events read back from their lines give the same spans."""
    events = play(name)
    first = spans_of(events, projection, capture_content=True)
    assert spans_of(events, projection, capture_content=True) == first
    assert spans_of(read_back(events), projection, capture_content=True) == first


@pytest.mark.parametrize("projection", ["gen_ai", "full", "openinference"])
def test_a_collector_gets_the_same_spans(projection):
    with collector() as there:
        expected = []
        for name in SCENARIOS:
            [exporter] = build(OtelSettings(endpoint=there.url, projection=projection))
            events = play(name, exporter)
            stats = balanced(exporter.stats().traces)
            assert stats.delivered == stats.accepted > 0, name
            made = spans_of(events, projection)
            assert len({span.span_id for span in made}) == len(made), name
            expected += made
        assert sorted(map(plain, there.spans()), key=repr) == sorted(map(plain, expected), key=repr)
