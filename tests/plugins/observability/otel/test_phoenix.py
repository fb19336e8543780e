"""A second opinion: Arize Phoenix takes our spans and gives them back through its API.

It runs where Phoenix is installed: in this environment, or in the one of the interpreter that ``PHOENIX_PYTHON`` names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import relay_core
from relay_plugin_observability.otel import OtelSettings, build
from tests.plugins.observability.otel.receiver import balanced
from tests.plugins.observability.scenarios import SCENARIOS

PYTHON = os.environ.get("PHOENIX_PYTHON") or (sys.executable if importlib.util.find_spec("phoenix") else None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PYTHON is None, reason="Phoenix is not installed (pip install arize-phoenix, or PHOENIX_PYTHON)"
    ),
    pytest.mark.timeout(180),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read() or b"null")


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory):
    """A server with an empty database; gives its HTTP and its gRPC address."""
    http, grpc = free_port(), free_port()
    environment = {
        **os.environ,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(http),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_WORKING_DIR": str(tmp_path_factory.mktemp("phoenix")),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    log = tmp_path_factory.mktemp("log") / "server.txt"
    with log.open("wb") as out:
        command = [PYTHON, "-m", "phoenix.server.main", "serve"]
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{http}"
            wait_until(lambda: is_up(url) or server.poll() is not None, 120)
            assert server.poll() is None, log.read_text(errors="replace")[-3000:]
            yield url, f"http://127.0.0.1:{grpc}"
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(15)


def is_up(url):
    try:
        get(f"{url}/v1/projects")
    except (urllib.error.URLError, OSError, ValueError):
        return False
    return True


def wait_until(there, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = there()
        if found:
            return found
        time.sleep(0.2)
    return there()


def send(url, project, name, **settings):
    """Play a scenario; give the exporter's account and the events."""
    named = {"openinference.project.name": project}
    [exporter] = build(OtelSettings(endpoint=url, capture_content=True, resource_attributes=named, **settings))
    runtime, events = relay_core.Relay(), []
    runtime.subscriber(events.append)
    runtime.register("subscriber", exporter)
    SCENARIOS[name](runtime)
    runtime.shutdown(timeout=5)
    return balanced(exporter.stats().traces), events


def spans_in(url, project, count):
    def look():
        try:
            rows = get(f"{url}/v1/projects/{project}/spans?limit=500")["data"]
        except urllib.error.HTTPError:
            return None
        return rows if len(rows) >= count else None

    return wait_until(look, 30) or get(f"{url}/v1/projects/{project}/spans?limit=500")["data"]


# What Phoenix calls them.
KINDS = {"agent": "AGENT", "llm": "LLM", "tool": "TOOL"}


@pytest.mark.parametrize("projection", ["openinference", "gen_ai"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_phoenix_gives_back_what_it_was_sent(phoenix, projection, protocol):
    url, grpc = phoenix
    project = f"{projection}-{protocol[:4]}"
    place = grpc if protocol == "grpc" else url
    delivered, events = 0, []
    for name in ("tool_loop", "nested_agents", "errors"):
        stats, made = send(place, project, name, projection=projection, protocol=protocol)
        assert stats.delivered == stats.accepted > 0
        delivered, events = delivered + stats.delivered, events + made
    rows = spans_in(url, project, delivered)
    assert len(rows) == delivered
    starts = {e.uuid.replace("-", "")[16:]: e for e in events if e.kind == "scope" and e.scope_category == "start"}
    ends = {e.uuid.replace("-", "")[16:]: e for e in events if e.kind == "scope" and e.scope_category == "end"}
    assert {row["context"]["span_id"] for row in rows} == set(starts)
    for row in rows:
        start, end = starts[row["context"]["span_id"]], ends[row["context"]["span_id"]]
        parent = start.parent_uuid
        assert row["parent_id"] == (parent and parent.replace("-", "")[16:])
        assert row["context"]["trace_id"] == start.propagation_root_uuid.replace("-", "")
        assert row["status_code"] == end.metadata["otel.status_code"]
        if start.category in KINDS:
            assert row["span_kind"] == KINDS[start.category]
    counted = 0
    for row in rows:
        answer = (ends[row["context"]["span_id"]].category_profile or {}).get("annotated_response") or {}
        if answer.get("usage"):
            counted += 1
            assert row["attributes"]["llm.token_count.prompt"] == answer["usage"]["prompt_tokens"]
            assert row["attributes"]["llm.output_messages.0.message.role"] == "assistant"
    assert counted >= 2
