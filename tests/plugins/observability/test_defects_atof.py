"""What exporters of the reference runtime get wrong about ATOF files and streams, and ours do not.

The numbers are those of the list that the documentation of the observability plugin answers.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
from pathlib import Path

import pytest

import relay_core
from relay_core.errors import ConfigError, UsageError
from relay_core.plugins import configure, host_of
from relay_plugin_observability import AtofExporter, Rotation, StreamExporter, StreamSettings
from relay_plugin_observability.exporter import GAP
from tests.core.golden_scenario import play, register
from tests.plugins.observability.streams.collectors import HttpCollector, hang
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Run:
    """One runtime that writes to a file, and what is in it."""

    def __init__(self, folder, **options):
        self.path = folder / "e.jsonl"
        self.relay = relay_core.Relay()
        self.exporter = AtofExporter(self.path, **options)
        self.relay.register("subscriber", self.exporter)

    def lines(self):
        self.relay.shutdown(timeout=10)
        data = self.path.read_bytes()
        assert data.endswith(b"\n") and not data.startswith(b"\xef\xbb\xbf") and b"\n\n" not in data
        return [json.loads(line) for line in data.splitlines()]

    def ends(self):
        return {line["name"]: line for line in self.lines() if line.get("scope_category") == "end"}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    """The lines of a run that has everything: parallel tools, failures, blocks, a sub-agent, a stream, all categories."""
    run = Run(tmp_path_factory.mktemp("scenario"))
    register(run.relay)
    asyncio.run(play(run.relay))
    return run.lines(), run.path


def moment(line):
    return dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", line["timestamp"]))


def test_every_line_keeps_the_schema(scenario):
    jsonschema = pytest.importorskip("jsonschema")
    folder = os.environ.get("RELAY_GOLDEN")
    schema = Path(folder, "schemas", "atof_event.schema.json") if folder else None
    if schema is None or not schema.exists():
        schema = ROOT / "tests" / "core" / "golden" / "atof.schema.json"  # the copy of the project
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text()))
    lines, _ = scenario
    assert len(lines) > 60
    for line in lines:
        validator.validate(line)
        assert UUID7.fullmatch(line["uuid"])


def test_scopes_are_pairs_that_agree(scenario):
    lines, _ = scenario
    starts = {line["uuid"]: line for line in lines if line.get("scope_category") == "start"}
    ends = [line for line in lines if line.get("scope_category") == "end"]
    assert len(ends) == len(starts) == len({line["uuid"] for line in ends})
    for end in ends:
        start = starts[end["uuid"]]
        for key in ("parent_uuid", "name", "attributes", "category"):
            assert end[key] == start[key]
        assert end["attributes"] == sorted(set(end["attributes"]))


def test_the_reader_of_the_nemo_agent_toolkit_takes_the_file(scenario):
    io = pytest.importorskip("nat.atof.io", reason="needs nvidia-nat-atif")
    lines, path = scenario
    assert [event.name for event in io.read_jsonl(path)] == [line["name"] for line in lines]


def test_it_takes_what_arrives_over_a_stream(scenario, tmp_path):
    io = pytest.importorskip("nat.atof.io", reason="needs nvidia-nat-atif")
    lines, _ = scenario
    with HttpCollector() as collector:
        relay = relay_core.Relay()
        relay.register("subscriber", StreamExporter(StreamSettings(url=collector.url)))
        register(relay)
        asyncio.run(play(relay))
        relay.shutdown(timeout=10)
        (tmp_path / "stream.jsonl").write_bytes(b"".join(request.body for request in collector.requests))
    assert len(io.read_jsonl(tmp_path / "stream.jsonl")) == len(lines)


def test_defect_19_a_root_has_no_parent_that_nobody_knows(scenario):
    lines, _ = scenario
    known = {line["uuid"] for line in lines}
    assert [line["name"] for line in lines if line["parent_uuid"] is None and line["kind"] == "scope"] == [
        "root-agent"
    ] * 2
    assert all(line["parent_uuid"] in known for line in lines if line["parent_uuid"] is not None)


def test_defect_20_a_custom_scope_has_a_subtype(scenario, run):
    with run.relay.scope("mine", "custom"), run.relay.scope("named", "custom", profile={"subtype": "acme.step"}):
        pass
    found = {line["name"]: line["category_profile"]["subtype"] for line in run.lines()}
    assert found == {"mine": "mine", "named": "acme.step"}
    assert all(line["category_profile"]["subtype"] for line in scenario[0] if line["category"] == "custom")


def test_defect_21_every_end_tells_its_outcome_whatever_sanitizers_do(run):
    relay = run.relay

    @relay.sanitizer(name="eraser")
    def erase(event):
        return event.replace(metadata=None)

    def fail(request):
        raise ValueError("broken")

    with relay.scope("good", "agent"):
        for name in ("manual",):
            relay.open_scope(name, "tool", input={}).close(output={})
        with pytest.raises(ValueError):
            relay.call_tool("bad", {}, fail)
        with pytest.raises(asyncio.CancelledError), relay.scope("stopped"):
            raise asyncio.CancelledError
    ends = run.ends()
    told = {
        name: (line["metadata"]["otel.status_code"], line["metadata"]["relay.status"]) for name, line in ends.items()
    }
    assert told == {
        "manual": ("OK", "ok"),
        "bad": ("ERROR", "error"),
        "stopped": ("UNSET", "cancelled"),
        "good": ("OK", "ok"),
    }


def test_defect_21_guardrails_tell_their_outcome(scenario):
    ends = [line for line in scenario[0] if line["category"] == "guardrail" and line["scope_category"] == "end"]
    assert len(ends) > 3
    assert all(line["metadata"]["relay.status"] for line in ends)


def test_defect_23_a_streamed_call_says_so(run):
    list(run.relay.stream_llm("m", {"messages": []}, lambda request: iter(["a"])))
    run.relay.call_llm("n", {"messages": []}, lambda request: {})
    found = {line["name"]: line["attributes"] for line in run.lines() if line["kind"] == "scope"}
    assert found == {"m": ["streaming"], "n": []}


def test_defect_24_an_end_is_after_its_start_and_metadata_are_objects(run):
    now = dt.datetime.now(dt.UTC)
    scope = run.relay.open_scope("backwards", timestamp=now)
    scope.close(timestamp=now - dt.timedelta(hours=1))
    for metadata in ("text", [1], 5):
        with pytest.raises(UsageError, match="metadata"):
            run.relay.open_scope("s", metadata=metadata)
    start, end = run.lines()
    assert moment(end) > moment(start)


def test_defect_26_secrets_are_scrubbed_from_headers_and_bodies(run):
    secret = "sk-live-abcdefghijklmnopqrstuvwxyz0123456789"
    names = ("Authorization", "Set-Cookie", "X-Auth-Token", "X-Amz-Security-Token", "X-Goog-Api-Key", "Token", "Cookie")
    body = {"messages": [{"role": "user", "content": f"my key is {secret}"}], "api_key": secret, "password": secret}
    run.relay.call_llm("m", body, lambda request: {}, headers={**dict.fromkeys(names, secret), "x-request": "1"})
    text = json.dumps(run.lines())
    assert secret not in text and '"x-request": "1"' in text


def test_defect_27_no_session_header_is_added_or_overwritten(run):
    seen = []
    headers = {"x-dynamo-session-id": "mine"}
    with run.relay.scope("agent", "agent", metadata={"session_id": "sess"}):
        run.relay.call_llm("m", {"messages": []}, lambda request: seen.append(request) or {}, headers=headers)
        run.relay.call_llm("n", {"messages": []}, lambda request: seen.append(request) or {})
    found = {
        line["name"]: line["data"]["headers"] for line in run.lines() if line["category"] == "llm" and line["data"]
    }
    assert found == {"m": headers, "n": {}}
    assert "session" not in json.dumps(seen) and headers == {"x-dynamo-session-id": "mine"}


def test_defect_28_a_file_rotates_keeps_its_limit_and_can_be_synced(tmp_path):
    run = Run(tmp_path, durability="fsync", rotation=Rotation(max_bytes=5_000, compress=False, keep=3))
    for number in range(200):
        run.relay.mark(f"m{number}")
    run.relay.shutdown(timeout=10)
    run.exporter.close(10)
    assert len(list(tmp_path.iterdir())) == 4
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 5_000
    assert run.exporter.stats().written == 200


def test_defect_28_one_error_does_not_silence_a_file_and_the_gap_is_marked(tmp_path):
    (tmp_path / "way").touch()
    run = Run(tmp_path)
    run.exporter._sink.path = run.path = tmp_path / "way" / "e.jsonl"
    run.relay.mark("lost")
    run.relay.flush(timeout=10)
    (tmp_path / "way").unlink()
    wait_for(run.exporter.sink.ready)
    run.relay.mark("kept")
    gap, kept = run.lines()
    assert (gap["name"], list(gap["data"]["dropped"].values()), kept["name"]) == (GAP, [1], "kept")
    assert run.exporter.stats().dropped == gap["data"]["dropped"]


def test_defect_28_streams_try_again_are_bounded_and_show_their_failures(tmp_path):
    with HttpCollector(503, 503) as collector, HttpCollector(*[hang] * 9) as stuck:
        path = tmp_path / "relay.toml"
        path.write_text(
            f"""
            [plugins.observability.streams.passing]
            url = "{collector.url}"
            retry = {{first = 0.02, longest = 0.02}}
            [plugins.observability.streams.stuck]
            url = "{stuck.url}"
            max_events = 10
            timeout = 0.3
            """
        )
        path.chmod(0o600)
        relay = relay_core.Relay()
        configure(relay, path)
        for number in range(100):
            relay.mark(str(number))
        relay.flush(timeout=5)
        wait_for(lambda: len(collector.requests) > 2)
        rows = {row["check"]: row for row in host_of(relay).doctor()}
        assert "delivered 100, pending 0, failed attempts 2, dropped none" in rows["stream passing"]["detail"]
        assert rows["stream stuck"]["ok"] is False
        assert "dropped 90 queue_full" in rows["stream stuck"]["detail"]
        relay.shutdown(timeout=5)


def test_defect_28_an_unknown_key_of_a_sink_is_told(tmp_path):
    path = tmp_path / "relay.toml"
    path.write_text("[plugins.observability.atof.rotation]\nmax_byte = 5\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"relay.toml:2: .*max_byte: unknown key; did you mean max_bytes\?"):
        configure(relay_core.Relay(), path)


def test_defect_29_the_order_of_a_process_can_be_restored(run):
    """Ids grow in the order in which events were made, so they are the sequence number."""
    with run.relay.scope("trip", "agent"):
        for number in range(500):
            run.relay.mark(str(number))
    marks = [line for line in run.lines() if line["kind"] == "mark"]
    assert [line["name"] for line in sorted(marks, key=lambda line: line["uuid"])] == [str(n) for n in range(500)]
    assert [line["name"] for line in marks] == [str(n) for n in range(500)]


@pytest.mark.parametrize(
    ("number", "words"), [(22, "data_schema"), (25, "rejection mark"), (30, "propagation_root_uuid")]
)
def test_defects_that_stay_are_explained(number, words):
    text = (ROOT / "docs" / "observability.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {number} |")]
    assert words in row
