from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.streams import StreamExporter, StreamSettings
from tests.plugins.observability.certificates import Certificate
from tests.plugins.observability.streams.collectors import (
    HttpCollector,
    LineCollector,
    balanced,
    events,
    hang,
)
from tests.waiting import wait_for

QUICK = Backoff(first=0.02, longest=0.05)


def exporter_to(url, **options):
    options = {"linger": 0.01, "retry": QUICK, **options}
    return StreamExporter(StreamSettings(url=url, transport="ndjson", **options), name="test")


def test_events_arrive_before_the_request_ends_and_its_answer_confirms_them():
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url)
        for n in range(5):
            exporter.on_batch(events(n, 1))
            wait_for(lambda n=n: len(collector.pieces) == n + 1)
        assert collector.pieces[4] == b'{"n": 4}\n'
        assert collector.requests == []  # it has not ended
        stats = exporter.stats()
        assert (stats.delivered, stats.pending) == (0, 5) and balanced(stats)
        assert exporter.flush(5) is True
        assert collector.numbers == list(range(5))
        assert collector.requests[0].headers["transfer-encoding"] == "chunked"
        assert collector.requests[0].headers["content-type"] == "application/x-ndjson"
        assert exporter.stats().delivered == 5
        exporter.on_batch(events(5, 5))
        assert exporter.flush(5) is True
        assert collector.numbers == list(range(10))
        assert (len(collector.connections), len(collector.requests)) == (1, 2)
        exporter.close(1)


def test_the_request_ends_by_itself_before_it_takes_the_room_of_new_events():
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url, max_events=100, batch_events=10)
        for start in range(0, 1000, 10):
            exporter.on_batch(events(start, 10))
            wait_for(lambda: exporter.stats().pending < 80)
        assert exporter.flush(5)
        assert collector.numbers == list(range(1000))
        assert exporter.stats().dropped == {} and len(collector.requests) >= 10
        exporter.close(1)


def test_the_request_ends_by_itself_after_a_while():
    with HttpCollector() as collector:
        exporter = exporter_to(collector.url, acknowledge_after=0.1)
        exporter.on_batch(events(0, 3))
        wait_for(lambda: exporter.stats().delivered == 3)
        assert collector.numbers == [0, 1, 2]
        exporter.close(1)


def test_a_failure_at_the_end_of_the_request_loses_nothing():
    with HttpCollector(503, 500) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 20))
        exporter.flush(5)
        wait_for(lambda: exporter.flush(1))
        assert sorted(set(collector.numbers)) == list(range(20))
        stats = exporter.stats()
        assert (stats.delivered, stats.failures, stats.dropped) == (20, 2, {}) and balanced(stats)
        exporter.close(1)


@pytest.mark.parametrize("status", [200, 503, 400])
def test_an_answer_in_the_middle_of_the_request(status):
    def early(sock, stream):
        sock.sendall(b"HTTP/1.1 %d Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        with contextlib.suppress(OSError):
            while stream.readline():
                pass

    with HttpCollector(early) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: collector.connections and not collector.replies)
        time.sleep(0.1)
        exporter.on_batch(events(5, 5))
        wait_for(lambda: exporter.flush(1))
        stats = exporter.stats()
        assert balanced(stats) and stats.pending == 0
        if status == 400:
            assert stats.dropped == {"http_400": 10} or stats.dropped == {"http_400": 5}
        else:
            assert stats.dropped == {} and stats.delivered == 10
            assert set(collector.numbers) >= set(range(5, 10))
        exporter.close(1)


def test_a_connection_that_breaks_in_the_middle_loses_nothing():
    def breaks(sock, stream):
        for _ in range(6):
            stream.readline()
        sock.shutdown(socket.SHUT_RDWR)

    with HttpCollector(breaks, breaks) as collector:
        exporter = exporter_to(collector.url, batch_events=2)
        exporter.on_batch(events(0, 50))
        wait_for(lambda: exporter.flush(1))
        assert sorted(set(collector.numbers)) == list(range(50))
        stats = exporter.stats()
        assert stats.delivered == 50 and stats.failures >= 1 and balanced(stats)
        exporter.close(1)


def test_a_request_that_is_never_confirmed_is_given_up():
    with HttpCollector(*[500] * 500) as collector:
        exporter = exporter_to(collector.url, give_up_after=0.2)
        exporter.on_batch(events(0, 5))
        exporter.flush(5)
        wait_for(lambda: exporter.stats().dropped == {"http_500": 5})
        assert balanced(exporter.stats())
        exporter.close(1)


def test_an_endpoint_that_hangs_does_not_hold_up_the_end():
    with HttpCollector(hang, hang, hang) as collector:
        exporter = exporter_to(collector.url, timeout=0.4)
        exporter.on_batch(events(0, 10))
        began = time.monotonic()
        assert exporter.flush(30) is False
        exporter.close(30)
        assert time.monotonic() - began < 10
        stats = exporter.stats()
        assert stats.dropped == {"closed": 10} and balanced(stats)


def test_lines_over_tcp():
    with LineCollector() as collector:
        exporter = exporter_to(collector.url)
        for start in range(0, 500, 50):
            exporter.on_batch(events(start, 50))
        assert exporter.flush(5) is True
        wait_for(lambda: len(collector.rows) == 500)
        assert [row["n"] for row in collector.rows] == list(range(500))
        assert len(collector.connections) == 1
        assert exporter.check() is None
        exporter.close(1)
        wait_for(lambda: collector.finished == 2)  # this one and that of the check


def test_a_tcp_connection_that_was_closed_is_opened_again():
    with LineCollector(10) as collector:
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 10))
        assert exporter.flush(5)
        wait_for(lambda: len(collector.rows) == 10)
        wait_for(lambda: collector.ended == 1)
        time.sleep(0.1)  # the end of the connection has arrived
        exporter.on_batch(events(10, 10))
        wait_for(lambda: exporter.stats().delivered == 20)
        wait_for(lambda: len(collector.rows) == 20)
        assert [row["n"] for row in collector.rows] == list(range(20))
        assert exporter.stats().failures == 1
        exporter.close(1)


def test_a_tcp_peer_that_does_not_read_is_left_after_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        exporter = exporter_to(f"tcp://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.3, max_bytes=2**28)
        exporter.on_batch(events(0, 60, x="x" * 2**20))
        began = time.monotonic()
        wait_for(lambda: exporter.stats().failures > 0)
        exporter.close(30)
        assert time.monotonic() - began < 15
        stats = exporter.stats()
        assert stats.dropped["closed"] > 0 and balanced(stats)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.mark.parametrize("make", [HttpCollector, LineCollector])
def test_certificates_are_verified(make, certificate):
    with make(context=certificate.server) as collector:
        trusting = exporter_to(collector.url, ca_file=certificate.file)
        trusting.on_batch(events(0, 5))
        assert trusting.flush(5) is True
        assert trusting.check() is None
        trusting.close(1)
        exporter = exporter_to(collector.url)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().failures > 0)
        assert "tls_certificate" in exporter.stats().last_error
        exporter.close(1)
        assert exporter.stats().delivered == 0


def test_a_file_without_certificates_is_named(tmp_path, certificate):
    (tmp_path / "empty.pem").touch()
    with LineCollector(context=certificate.server) as collector:
        exporter = exporter_to(collector.url, ca_file=str(tmp_path / "empty.pem"))
        assert "empty.pem" in exporter.check()
        exporter.close(0)


def test_the_same_events_whatever_the_transport():
    lines = []
    with LineCollector() as plain, HttpCollector() as http:
        for url in (plain.url, http.url):
            exporter = exporter_to(url)
            exporter.on_batch(events(0, 3, text="zwei\nZeilen \u2028 ü"))
            assert exporter.flush(5)
            exporter.close(1)
        wait_for(lambda: len(plain.rows) == 3)
        lines = [json.loads(line) for line in http.requests[0].body.splitlines()]
    assert lines == plain.rows
