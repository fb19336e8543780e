from __future__ import annotations

import json
import logging
import socket
import time

import pytest

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.exporter import GAP
from relay_plugin_observability.headers import HeaderSource
from relay_plugin_observability.streams import StreamExporter, StreamSettings
from tests.plugins.observability.streams.collectors import (
    HttpCollector,
    balanced,
    close_at_once,
    drip,
    events,
    hang,
)
from tests.waiting import told, wait_for

QUICK = Backoff(first=0.02, longest=0.05)


def exporter_to(url, **options):
    return StreamExporter(StreamSettings(url=url, **{"linger": 0.01, "retry": QUICK, **options}), name="test")


@pytest.mark.parametrize("body", ["ndjson", "json_array"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_batches_arrive_in_order_over_one_connection(body, compression):
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url, body=body, compression=compression, batch_events=100)
        for start in range(0, 1000, 50):
            exporter.on_batch(events(start, 50))
        assert exporter.flush(10) is True
        assert collector.numbers == list(range(1000))
        assert len(collector.connections) == 1 and len(collector.requests) < 21
        kinds = {"ndjson": "application/x-ndjson", "json_array": "application/json"}
        for request in collector.requests:
            assert request.line == "POST /events?key=SECRET-IN-QUERY HTTP/1.1"
            assert request.headers["content-type"] == kinds[body]
            assert request.headers["host"] == f"127.0.0.1:{collector.port}"
        stats = exporter.stats()
        assert (stats.accepted, stats.delivered, stats.pending, stats.state) == (1000, 1000, 0, "ok")
        exporter.close(1)
        exporter.on_batch(events(0, 3))
        assert exporter.stats().dropped == {"closed": 3} and balanced(exporter.stats())


def test_one_event_each():
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url, batch_events=1)
        exporter.on_batch(events(0, 20))
        assert exporter.flush(10) is True
        assert [request.numbers for request in collector.requests] == [[n] for n in range(20)]
        assert collector.requests[0].body == b'{"n": 0}\n'
        exporter.close(1)


def test_a_large_event_goes_alone_and_one_over_the_limit_not_at_all():
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url, batch_bytes=1000, max_bytes=20_000)
        exporter.on_batch([*events(0, 2), *events(2, 1, x="x" * 5000), *events(3, 1, x="x" * 30_000), *events(4, 2)])
        assert exporter.flush(10) is True
        assert [request.numbers for request in collector.requests] == [[0, 1], [2], [4, 5]]
        assert exporter.stats().dropped == {"too_large": 1}
        exporter.close(1)


def test_a_refusing_endpoint_costs_the_program_nothing_and_is_told_once(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    exporter = exporter_to(f"http://127.0.0.1:{port}/", max_events=1000)
    began = time.monotonic()
    for start in range(0, 3000, 100):
        exporter.on_batch(events(start, 100))
    assert time.monotonic() - began < 15  # one connection that is waited for takes as long as its timeout
    wait_for(lambda: exporter.stats().failures > 2)
    assert exporter.flush(10) is False
    stats = exporter.stats()
    assert stats.dropped == {"queue_full": 2000} and stats.pending == 1000 and balanced(stats)
    assert stats.state == "degraded" and "ECONNREFUSED" in stats.last_error
    assert "ECONNREFUSED" in exporter.check()
    began = time.monotonic()
    exporter.close(50)
    assert time.monotonic() - began < 20
    stats = exporter.stats()
    assert stats.dropped == {"queue_full": 2000, "closed": 1000} and stats.pending == 0 and balanced(stats)
    (record,) = told(caplog)
    assert record.levelno == logging.WARNING and "ECONNREFUSED" in record.message and "SECRET" not in record.message


@pytest.mark.parametrize("behaviour", [hang, drip])
def test_an_endpoint_that_does_not_answer_is_left_after_the_timeout(behaviour):
    with HttpCollector(*[behaviour] * 100) as collector:
        exporter = exporter_to(collector.url, timeout=0.3)
        began = time.monotonic()
        exporter.on_batch(events(0, 10))
        assert exporter.flush(30) is False
        assert time.monotonic() - began < 10
        wait_for(lambda: exporter.stats().failures > 0)
        stats = exporter.stats()
        assert stats.pending == 10 and balanced(stats) and "timeout" in stats.last_error
        began = time.monotonic()
        exporter.close(30)
        assert time.monotonic() - began < 10
        assert exporter.stats().dropped == {"closed": 10} and balanced(exporter.stats())


@pytest.mark.parametrize("reply", [500, 502, 503, 504, 408, 429, b"garbage\r\n\r\n", b"", close_at_once])
def test_a_passing_failure_loses_nothing(reply):
    with HttpCollector(reply, reply) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 50))
        wait_for(lambda: exporter.stats().delivered == 50)
        assert sorted(set(collector.numbers)) == list(range(50))
        stats = exporter.stats()
        assert (stats.failures, stats.dropped, stats.state) == (2, {}, "ok") and balanced(stats)
        exporter.close(1)


def test_an_idle_connection_that_the_server_closed_is_no_failure():
    def answer_and_go(sock, stream):
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    with HttpCollector(answer_and_go) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 1))
        assert exporter.flush(5)
        collector.connections[0].shutdown(socket.SHUT_RDWR)
        exporter.on_batch(events(1, 1))
        assert exporter.flush(5)
        assert exporter.stats().failures == 0
        exporter.close(1)


def test_retry_after_is_waited_for_also_by_flush():
    slow_down = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 6\r\nContent-Length: 0\r\n\r\n"
    with HttpCollector(slow_down) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 10))
        wait_for(lambda: exporter.stats().failures == 1)
        began = time.monotonic()
        assert exporter.flush(10) is False
        assert time.monotonic() - began < 5
        wait_for(lambda: exporter.stats().delivered == 10)
        first, second = collector.requests
        assert 6.0 <= second.at - first.at < 30
        exporter.close(1)


def test_a_flush_does_not_sit_out_a_pause_of_our_own():
    with HttpCollector(503) as collector:
        exporter = exporter_to(collector.url, retry=Backoff(first=60, longest=60))
        exporter.on_batch(events(0, 10))
        wait_for(lambda: exporter.stats().failures == 1)
        assert exporter.flush(5) is True
        assert collector.numbers == list(range(10))
        exporter.close(1)


@pytest.mark.parametrize("status", [301, 400, 404, 501])
def test_a_final_answer_drops_the_batch_and_the_receiver_learns_of_it(status):
    with HttpCollector(status) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 10))
        wait_for(lambda: exporter.stats().dropped)
        exporter.on_batch(events(10, 10))
        wait_for(lambda: exporter.stats().delivered == 10)
        stats = exporter.stats()
        assert stats.dropped == {f"http_{status}": 10} and balanced(stats)
        gap, *rest = [json.loads(line) for line in collector.requests[1].body.splitlines()]
        assert (gap["name"], gap["data"]) == (GAP, {"dropped": {f"http_{status}": 10}})
        assert [row["n"] for row in rest] == list(range(10, 20))
        exporter.on_batch(events(20, 1))
        assert exporter.flush(5)
        assert GAP.encode() not in collector.requests[2].body
        exporter.close(1)


def test_a_batch_that_is_too_large_is_cut_in_halves():
    with HttpCollector(413, 413, 413, 200) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 8))
        assert exporter.flush(5)
        sizes = [len(request.numbers) for request in collector.requests]
        assert sizes[:4] == [8, 4, 2, 1] and exporter.stats().dropped == {}
        assert collector.numbers == list(range(8))
        collector.replies = [413]
        exporter.on_batch(events(8, 1))
        wait_for(lambda: exporter.stats().dropped == {"http_413": 1})
        assert balanced(exporter.stats())
        exporter.close(1)


def test_a_batch_that_never_gets_through_is_given_up():
    with HttpCollector(*[500] * 6) as collector:
        exporter = exporter_to(collector.url, give_up_after=0.05, batch_events=5)
        exporter.on_batch(events(0, 10))
        wait_for(lambda: exporter.stats().pending == 0)
        stats = exporter.stats()
        assert set(stats.dropped) == {"http_500"} and stats.dropped["http_500"] in (5, 10) and balanced(stats)
        assert collector.numbers in ([5, 6, 7, 8, 9], [])
        exporter.close(1)


@pytest.mark.parametrize("policy, kept", [("drop_newest", range(100)), ("drop_oldest", range(200, 300))])
def test_a_full_queue_drops_by_policy(policy, kept):
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url, max_events=100, when_full=policy, linger=30, batch_events=1000)
        with exporter._outbox._turn():  # nothing is taken out meanwhile
            exporter.on_batch(events(0, 300))
        assert exporter.flush(5)
        assert collector.numbers == list(kept)
        stats = exporter.stats()
        assert stats.dropped == {"queue_full": 200} and stats.delivered == 100 and balanced(stats)
        exporter.close(1)


def test_the_queue_is_bounded_by_bytes():
    with HttpCollector(*[hang] * 9) as collector:
        exporter = exporter_to(collector.url, max_bytes=10_000, timeout=30)
        for start in range(100):
            exporter.on_batch(events(start, 1, x="x" * 1000))
        stats = exporter.stats()
        assert stats.pending_bytes <= 10_000 and stats.pending < 11 and balanced(stats)
        exporter.close(0)


def test_an_endless_answer_ends():
    def endless(sock, stream):
        return b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 200_000

    with HttpCollector(endless) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 1))
        assert exporter.flush(5) is True
        exporter.on_batch(events(1, 1))
        assert exporter.flush(5) is True
        exporter.close(1)


def test_a_token_that_was_rotated_is_read_again(tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")

    def rotate_meanwhile(sock, stream):
        token.write_text("new\n")
        return 401

    with HttpCollector(rotate_meanwhile, 401) as collector:
        headers = {"Authorization": HeaderSource(file=str(token), prefix="Bearer ")}
        exporter = exporter_to(collector.url, headers=headers)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: len(collector.requests) == 2)
        used = [request.headers["authorization"] for request in collector.requests]
        assert used == ["Bearer old", "Bearer new"]
        wait_for(lambda: exporter.stats().dropped == {"http_401": 5})  # the same token is not tried twice
        exporter.close(1)


def test_a_missing_variable_is_told_and_heals(monkeypatch, caplog):
    monkeypatch.delenv("COLLECTOR_TOKEN", raising=False)
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url, headers={"X-Token": HeaderSource(env="COLLECTOR_TOKEN")})
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().failures > 0)
        assert exporter.check() == "header X-Token: environment variable COLLECTOR_TOKEN is not set"
        assert "COLLECTOR_TOKEN" in exporter.stats().last_error
        monkeypatch.setenv("COLLECTOR_TOKEN", "s3cr3t")
        wait_for(lambda: exporter.stats().delivered == 5)
        assert collector.requests[0].headers["x-token"] == "s3cr3t"
        assert exporter.check() is None
        exporter.close(1)
    assert "s3cr3t" not in caplog.text


def test_secrets_are_shown_nowhere(caplog):
    settings = StreamSettings(url="http://127.0.0.1:9/x?token=SECRET1", headers={"Authorization": "SECRET2"})
    exporter = StreamExporter(settings, name="test")
    exporter.on_batch(events(0, 1))
    exporter.flush(2)
    shown = [repr(settings), str(settings), repr(exporter._headers), exporter.check(), exporter.stats(), caplog.text]
    assert "SECRET" not in str(shown)
    assert caplog.records
    exporter.close(0)


def test_field_names_without_dots():
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url, field_name_policy="replace_dots")
        exporter.on_batch(events(0, 1, metadata={"otel.status_code": "OK", "a": [{"b.c": 1, "b_c": 2}]}))
        assert exporter.flush(5)
        row = json.loads(collector.requests[0].body)
        assert row == {"n": 0, "metadata": {"otel_status_code": "OK", "a": [{"b_c": 1, "b_c_2": 2}]}}
        exporter.close(1)


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    with HttpCollector() as proxy:
        for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://user:pass@127.0.0.1:{proxy.port}")
        exporter = exporter_to("http://collector.invalid/events")
        exporter.on_batch(events(0, 3))
        assert exporter.flush(5)
        (request,) = proxy.requests
        assert request.line == "POST http://collector.invalid/events HTTP/1.1"
        assert request.headers["host"] == "collector.invalid"
        assert request.headers["proxy-authorization"].startswith("Basic ")
        exporter.close(1)


def test_an_event_without_json_costs_only_itself(caplog):
    class Odd:
        def to_json(self):
            raise RuntimeError("a secret")

    with HttpCollector() as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch([*events(0, 1), Odd(), *events(1, 1)])
        exporter.on_batch(None)
        exporter.on_event(events(2, 1)[0])
        assert exporter.flush(5)
        assert collector.numbers == [0, 1, 2]
        stats = exporter.stats()
        assert (stats.accepted, stats.delivered, stats.dropped) == (4, 3, {"not_encoded": 1})
        exporter.close(1)
    assert "secret" not in caplog.text
