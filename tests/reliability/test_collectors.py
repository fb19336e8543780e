"""R6, R14 to R18: collectors that refuse, hang, drip and lie, on raw sockets. The program must not notice any of them."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

import relay_core
from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.otel import OtelSettings, build
from tests.plugins.observability.otel.receiver import balanced, collector
from tests.reliability.support import assert_account
from tests.waiting import wait_for

LATE = 20.0  # seconds: more than a busy machine adds to a timeout, less than any of the collectors takes


class RawCollector:
    """Answers each request with whatever `answer(socket)` does; counts connections, requests and bytes taken from it."""

    def __init__(self, answer):
        self.answer = answer
        self.connections = self.open = self.most = self.requests = self.sent = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                with self.lock:
                    self.connections += 1
                    self.open += 1
                    self.most = max(self.most, self.open)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with suppress(OSError, ValueError), peer:
            while self._take_request(peer):
                self.requests += 1
                self.answer(self, peer)
        with self.lock:
            self.open -= 1

    @staticmethod
    def _take_request(peer):
        data = b""
        while b"\r\n\r\n" not in data:
            part = peer.recv(65_536)
            if not part:
                return False
            data += part
        head, body = data.split(b"\r\n\r\n", 1)
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += peer.recv(65_536)
        return True

    def send(self, peer, data):
        peer.sendall(data)
        self.sent += len(data)


@contextmanager
def raw(answer):
    made = RawCollector(answer)
    try:
        yield made
    finally:
        made.listener.close()


def start(url, **options):
    [exporter] = build(OtelSettings(endpoint=url, **{"delay": 0.02, "timeout": 0.5, **options}))
    for channel in exporter.channels():
        channel._backoff = Backoff(first=0.05, longest=0.1, jitter=0.0)
    runtime = relay_core.Relay()
    runtime.register("subscriber", exporter)
    return runtime, exporter


def say(*parts, pause=0.0):
    def answer(there, peer):
        for part in parts:
            there.send(peer, part)
            time.sleep(pause)

    return answer


def endless(there, peer):
    there.send(peer, b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(1_000):
        there.send(peer, b"\xff" * 1_000_000)


def endless_headers(there, peer):
    there.send(peer, b"HTTP/1.1 200 OK\r\n")
    for n in itertools.count():
        there.send(peer, b"X-%d: %s\r\n" % (n, b"y" * 1_000))


def hang(there, peer):
    peer.settimeout(30)
    peer.recv(1)  # until the other side hangs up
    raise ConnectionError


BOMB = gzip.compress(b"\0" * 100_000_000)
LIES = {
    "html": say(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<html></html"),
    "endless body": endless,
    "endless headers": endless_headers,
    "gzip bomb": say(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(BOMB),
        BOMB,
    ),
    "body shorter than told": lambda there, peer: (
        there.send(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc"),
        peer.close(),
    ),
    "negative length": say(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "chunks of nonsense": say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\nabc\r\n"),
    "no status": say(b"hello\r\n\r\n"),
    "deep json": say(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n", b"[" * 60_000
    ),
    "more rejected than sent": say(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n{"partialSuccess":{"rejectedSpans":99999999}}'
    ),
    "rejected of no type": say(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n{"partialSuccess":{"rejectedSpans":[1,2,"a"]}}'
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_R17_a_collector_that_lies(lie):
    with raw(LIES[lie]) as there:
        runtime, exporter = start(there.url)
        for n in range(20):
            assert runtime.call_tool("echo", n, lambda n: n) == n
        wait_for(lambda: there.requests)
        began = time.monotonic()
        runtime.shutdown(timeout=3.0)
        assert time.monotonic() - began < LATE
        stats = balanced(exporter.stats().traces)
        assert (stats.accepted, stats.pending) == (20, 0)
        assert there.sent < 16_000_000 * there.requests, "little more was read than the kernel buffers"
        assert_account(runtime, "otel", 40, dropped={})


def test_R16_a_redirect_is_not_followed():
    with raw(say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as elsewhere:
        away = b"HTTP/1.1 307 There\r\nLocation: %s/v1/traces\r\nContent-Length: 0\r\n\r\n" % elsewhere.url.encode()
        with raw(say(away)) as there:
            runtime, exporter = start(there.url, headers={"Authorization": "Bearer secret"})
            runtime.call_tool("echo", 1, lambda n: n)
            runtime.shutdown(timeout=3.0)
            assert balanced(exporter.stats().traces).dropped == {"http_307": 1}
            assert (elsewhere.connections, there.requests) == (0, 1)


def test_R16_a_server_without_tls_and_an_answer_that_drips():
    with raw(hang) as there:
        runtime, exporter = start(there.url.replace("http", "https"))
        runtime.call_tool("echo", 1, lambda n: n)
        began = time.monotonic()
        runtime.shutdown(timeout=2.0)
        assert time.monotonic() - began < LATE
        assert sum(balanced(exporter.stats().traces).dropped.values()) == 1
    with raw(say(*[bytes((byte,)) for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 500], pause=0.1)) as there:
        runtime, exporter = start(there.url)
        runtime.call_tool("echo", 1, lambda n: n)
        wait_for(lambda: there.requests)
        began = time.monotonic()
        runtime.shutdown(timeout=2.0)
        assert time.monotonic() - began < LATE
        assert sum(balanced(exporter.stats().traces).dropped.values()) == 1


def test_R16_a_retry_after_of_a_year_does_not_hold_up_the_end():
    with raw(say(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n")) as there:
        runtime, exporter = start(there.url)
        runtime.call_tool("echo", 1, lambda n: n)
        wait_for(lambda: there.requests)
        began = time.monotonic()
        runtime.shutdown(timeout=5.0)
        assert time.monotonic() - began < LATE
        assert sum(balanced(exporter.stats().traces).dropped.values()) == 1


def test_R15_a_black_hole_takes_at_most_two_sockets():
    with raw(hang) as there:
        runtime, exporter = start(there.url, timeout=0.3)
        for n in range(40):
            runtime.call_tool("echo", n, lambda n: n)
            time.sleep(0.02)
        runtime.shutdown(timeout=2.0)
        assert there.connections >= 2
        assert there.most <= 2
        assert balanced(exporter.stats().traces).pending == 0


def test_R18_shutdown_in_a_pause_takes_no_longer_than_its_timeout():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        runtime, exporter = start(f"http://127.0.0.1:{closed.getsockname()[1]}")
        for channel in exporter.channels():
            channel._backoff = Backoff(first=60.0, longest=60.0, jitter=0.0)
        runtime.call_tool("echo", 1, lambda n: n)
        wait_for(lambda: exporter.stats().traces.last_error)
        began = time.monotonic()
        runtime.shutdown(timeout=0.5)
        took = time.monotonic() - began
        assert balanced(exporter.stats().traces).dropped == {"shutdown": 1}
        assert took < LATE, took  # 0.5 s in peace: its own timeout, whatever the pause


def calls(url, count=3_000):
    """Give the median cost of a call for the caller, in seconds, and the account."""
    runtime, exporter = start(url, max_queue=256)
    took = []
    for n in range(count):
        began = time.perf_counter()
        runtime.call_tool("echo", n, lambda n: n)
        took.append(time.perf_counter() - began)
    runtime.shutdown(timeout=1.0)
    stats = balanced(exporter.stats().traces)
    assert stats.accepted == count
    return sorted(took)[count // 2], stats


def test_R06_R14_callers_pay_the_same_whatever_the_collector_does(figure):
    with socket.socket() as closed, collector() as well, raw(hang) as hanging:
        closed.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}"
        best = {}
        for _ in range(3):
            for name, url in (("well", well.url), ("refuses", refused), ("hangs", hanging.url)):
                cost, stats = calls(url)
                best[name] = min(cost, best.get(name, 1.0))
                assert name == "well" or stats.delivered == 0
    told = ", ".join(f"{name}: {cost * 1e6:.0f} us" for name, cost in best.items())
    figure(f"R06, R14, a call beside a collector that {told}")
    assert best["refuses"] <= 2 * best["well"]  # 1.2 in peace
    assert best["hangs"] <= 2 * best["well"]


def test_R06_roots_come_through_a_burst_over_a_full_queue():
    with collector() as there:
        runtime, exporter = start(there.url, max_queue=64)
        for n in range(20):
            with runtime.scope(f"root{n}", "agent", parent=None):
                for _ in range(100):
                    runtime.call_tool("echo", n, lambda n: n)
        runtime.shutdown(timeout=5.0)
        stats = balanced(exporter.stats().traces)
        assert stats.accepted == 20 * 101
        assert stats.delivered == len(there.spans())
        assert sum(span.name.startswith("invoke_agent") for span in there.spans()) == 20
