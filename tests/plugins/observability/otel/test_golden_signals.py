"""Golden files of the log records and metrics of every scenario, as a collector decodes them. ``UPDATE_GOLDEN=1`` writes
them anew; look at the difference."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from relay_plugin_observability.otel import OtelSettings, build
from tests.plugins.observability.otel.receiver import attributes_of, balanced, collector, value_of
from tests.plugins.observability.scenarios import SCENARIOS, START_NS, play

FOLDER = Path(__file__).parent / "golden" / "signals"


def record(log):
    """Give a log record as plain values."""
    return {
        "name": log.event_name,
        "at_us": (log.time_unix_nano - START_NS) // 1000,
        "severity": [log.severity_number, log.severity_text],
        "body": value_of(log.body),
        "attributes": attributes_of(log.attributes),
        "trace": log.trace_id.hex(),
        "span": log.span_id.hex(),
    }


def metric(found):
    """Give a metric as plain values, without the times at which it was collected."""
    kind = found.WhichOneof("data")
    rows = []
    for point in getattr(found, kind).data_points:
        row = {
            "attributes": attributes_of(point.attributes),
            "exemplars": sorted(e.span_id.hex() for e in point.exemplars),
        }
        if kind == "histogram":
            filled = {str(n): count for n, count in enumerate(point.bucket_counts) if count}
            row |= {"count": point.count, "sum": round(point.sum, 6), "buckets": filled}
            row["bounds"] = [point.explicit_bounds[0], point.explicit_bounds[-1], len(point.explicit_bounds)]
        else:
            row["value"] = getattr(point, point.WhichOneof("value"))
        rows.append(row)
    rows.sort(key=lambda row: json.dumps(row["attributes"], sort_keys=True))
    return {"name": found.name, "unit": found.unit, "kind": kind, "points": rows}


@pytest.mark.parametrize("name", SCENARIOS)
def test_logs_and_metrics_are_as_in_the_golden_file(name):
    with collector() as there:
        options = {"signals": ("logs", "metrics"), "minimum_severity": "debug"}
        [exporter] = build(OtelSettings(endpoint=there.url, **options))
        play(name, exporter)
        for stats in (exporter.stats().logs, exporter.stats().metrics):
            assert balanced(stats).delivered == stats.accepted
        logs = sorted(map(record, there.logs()), key=lambda row: (row["at_us"], row["name"]))
        metrics = sorted(map(metric, there.metrics().values()), key=lambda row: row["name"])
    path = FOLDER / f"{name}.json"
    told = {"logs": logs, "metrics": metrics}
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    assert told == json.loads(path.read_text(encoding="utf-8"))


def test_no_golden_file_is_left_over():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(SCENARIOS)
