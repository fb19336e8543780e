"""Streams behind a real runtime: what the program notices of an endpoint in trouble, at its end and in a fork."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

import relay_core
from relay_core.errors import ConfigError
from relay_core.plugins import host_of
from relay_core.trajectory import read
from relay_plugin_observability import plugin
from relay_plugin_observability.streams import StreamExporter, StreamSettings
from tests.plugins.observability.runtimes import configured
from tests.plugins.observability.streams.collectors import HttpCollector, balanced, hang
from tests.waiting import wait_for


def row_of(runtime, check):
    (row,) = [row for row in host_of(runtime).doctor() if row["check"] == check]
    return row


def test_a_run_arrives_whole():
    import io

    with HttpCollector() as collector:
        relay = relay_core.Relay()
        relay.register("subscriber", StreamExporter(StreamSettings(url=collector.url)))
        with relay.scope("trip", "agent"):
            for number in range(50):
                relay.call_tool("search", {"n": number}, lambda request: request)
        report = relay.flush(timeout=10)
        assert (report.pending, report.timed_out) == (0, False)
        found = read(io.BytesIO(b"".join(request.body for request in collector.requests)))
        assert len(found.roots[0].children) == 50 and found.notes == []
        relay.shutdown(timeout=5)


@pytest.mark.parametrize("behaviour", [hang, 500, b"garbage\r\n\r\n"])
def test_calls_do_not_wait_for_an_endpoint_in_trouble(behaviour, caplog):
    with HttpCollector(*[behaviour] * 500) as collector:
        relay = relay_core.Relay()
        exporter = StreamExporter(StreamSettings(url=collector.url, timeout=1))
        relay.register("subscriber", exporter)
        times = []
        with relay.scope("trip", "agent"):
            for number in range(300):
                began = time.perf_counter()
                relay.call_tool("search", {"n": number}, lambda request: request)
                times.append(time.perf_counter() - began)
        assert sorted(times)[150] < 0.01
        began = time.monotonic()
        relay.flush(timeout=50)
        relay.shutdown(timeout=50)
        assert time.monotonic() - began < 20
        stats = exporter.stats()
        assert balanced(stats) and stats.pending == 0 and stats.delivered == 0
        assert stats.accepted == 602 == sum(stats.dropped.values())


def test_a_program_ends_in_time_whatever_the_endpoints_do(tmp_path):
    code = """if True:
        import sys
        import relay_core
        from relay_plugin_observability.streams import StreamExporter, StreamSettings
        for number, url in enumerate(sys.argv[1:]):
            exporter = StreamExporter(StreamSettings(url=url, timeout=30), name=str(number))
            relay_core.register("subscriber", exporter, name=str(number))
        with relay_core.scope("trip", "agent"):
            relay_core.mark("ready")
    """
    with HttpCollector(*[hang] * 50) as stuck, HttpCollector() as fine:
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code, *[stuck.url] * 6, fine.url], check=True, timeout=50)
        assert time.monotonic() - began < 25  # a single request has thirty
        assert sum(request.body.count(b"\n") for request in fine.requests) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_queue_a_connection_and_an_account_of_its_own():
    code = """if True:
        import json, os, sys
        import relay_core
        from relay_plugin_observability.streams import StreamExporter, StreamSettings
        exporter = StreamExporter(StreamSettings(url=sys.argv[1], linger=0.05))
        relay_core.register("subscriber", exporter)
        relay_core.mark("parent 1")
        relay_core.flush(timeout=5)
        relay_core.mark("parent 2")
        child = os.fork()
        if child == 0:
            relay_core.mark("child")
            relay_core.flush(timeout=5)
            stats = exporter.stats()
            os._exit(0 if (stats.accepted, stats.delivered) == (1, 1) else 3)
        relay_core.mark("parent 3")
        relay_core.flush(timeout=5)
        assert os.waitpid(child, 0)[1] == 0
        stats = exporter.stats()
        assert (stats.accepted, stats.delivered) == (3, 3), stats
    """
    with HttpCollector() as collector:
        subprocess.run([sys.executable, "-c", code, collector.url], check=True, timeout=40)
        names = [json.loads(line)["name"] for request in collector.requests for line in request.body.splitlines()]
        assert sorted(names) == ["child", "parent 1", "parent 2", "parent 3"]


def test_tables_turn_streams_on_and_doctor_examines_them(tmp_path, monkeypatch):
    monkeypatch.delenv("COLLECTOR_TOKEN", raising=False)
    with HttpCollector() as collector:
        runtime = configured(
            tmp_path,
            f"""
            [plugins.observability.streams.main]
            url = {json.dumps(collector.url)}
            headers = {{X-Tenant = "SECRET-TENANT", X-Site = {{env = "HOME"}}}}
            retry = {{first = 0.1}}

            [plugins.observability.streams.token]
            url = {json.dumps(collector.url)}
            [plugins.observability.streams.token.headers]
            Authorization = {{env = "COLLECTOR_TOKEN", prefix = "Bearer "}}

            [plugins.observability.streams.gone]
            url = "http://127.0.0.1:9/"

            [plugins.observability.streams.off]
            url = "ws://127.0.0.1:9/"
            transport = "websocket"
            enabled = false
            """,
        )
        assert set(runtime.stats()["subscribers"]) == {"stream:main", "stream:token", "stream:gone"}
        runtime.mark("ready")
        runtime.flush(timeout=5)
        wait_for(lambda: collector.requests)
        row = row_of(runtime, "stream main")
        assert row["ok"] is True
        assert "reachable; state ok, delivered 1, pending 0" in row["detail"] and "dropped none" in row["detail"]
        row = row_of(runtime, "stream token")
        assert row["ok"] is False and "environment variable COLLECTOR_TOKEN is not set" in row["detail"]
        row = row_of(runtime, "stream gone")
        assert row["ok"] is False and "ECONNREFUSED" in row["detail"] and "state degraded" in row["detail"]
        assert "SECRET" not in str(host_of(runtime).doctor())
        runtime.shutdown(timeout=5)


def test_the_configuration_is_shown_without_secrets(tmp_path):
    from relay_core.config import load

    path = tmp_path / "relay.toml"
    path.write_text(
        """
        [plugins.observability.streams.main]
        url = "http://127.0.0.1:9/x?token=SECRET1"
        headers = {X-Tenant = "SECRET2"}
        [plugins.observability.streams.main.headers.Authorization]
        value = "SECRET3"
        """.replace("headers = {X-Tenant", "headers.X-Tenant = 'SECRET2' #")
    )
    config = load(path, env={}, plugin_schemas={"observability": plugin.relay_config_schema()})
    assert "SECRET" not in str(config.describe())
    assert "SECRET" not in str(config.plugin_configs)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("ur = 'http://127.0.0.1/'", ["relay.toml:3", "streams.main.ur", "did you mean url?", "streams.main.url"]),
        ("url = 'ftp://127.0.0.1/'", ["relay.toml:3", "streams.main.url", "http:// or https://"]),
        ("url = 'http://u:SECRET@127.0.0.1/'", ["relay.toml:3", "user name and password"]),
        ("url = 'http:///x'", ["relay.toml:3", "no host"]),
        ("url = 'http://h:0/x'", ["relay.toml:3", "port 0"]),
        ("url = 'http://h/x#y'", ["relay.toml:3", "#"]),
        ("url = 'tcp://127.0.0.1'\ntransport = 'ndjson'", ["relay.toml:3", "no port"]),
        ("url = 'http://h/'\ntransport = 'http'", ["relay.toml:4", "http_post"]),
        ("url = 'http://h/'\ntimeout = 0", ["relay.toml:4", "timeout", "above 0"]),
        ("url = 'http://h/'\nretry = {frist = 1}", ["relay.toml:4", "did you mean first?"]),
        ("url = 'http://h/'\nheaders.'X Y' = 'SECRET'", ["headers", "'X Y' is no header name"]),
        ("url = 'http://h/'\nheaders.Host = 'SECRET'", ["headers", "Host is set by the exporter"]),
        ("url = 'http://h/'\nheaders = {A = 'x', a = 'y'}", ["headers", "a and A are one header"]),
        ("url = 'http://h/'\nheaders.A = {env = 'X', file = '/token'}", ["headers", "exactly one"]),
        ("url = 'http://h/'\nheaders.A = {envv = 'X'}", ["headers.A", "did you mean env?"]),
        ("url = 'http://h/'\nheaders.A = 5", ["headers.A", "expected a string or a table", "hidden"]),
        ("url = 'http://h/'\nheaders.A = \"SECRET\\nx\"", ["headers", "'A': the value is not one line"]),
        ("url = 'tcp://h:1'\ntransport = 'ndjson'\nheaders.A = 'x'", ["headers", "carries no headers"]),
        ("url = 'ws://h'\ntransport = 'websocket'\nbody = 'json_array'", ["body", "only for transport"]),
    ],
)
def test_every_mistake_is_told_with_its_line_and_without_secrets(tmp_path, lines, words):
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, f"\n[plugins.observability.streams.main]\n{lines}\n")
    text = str(caught.value)
    assert [word for word in words if word not in text] == []
    assert "SECRET" not in text


def test_a_name_that_cannot_stand_in_a_log_line_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="letters, digits"):
        configured(tmp_path, '\n[plugins.observability.streams."a b"]\nurl = "http://h/"\n')
