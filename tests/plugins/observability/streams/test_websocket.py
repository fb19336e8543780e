from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import sys
import threading
import time

import pytest

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.headers import HeaderSource
from relay_plugin_observability.streams import StreamExporter, StreamSettings
from tests.plugins.observability.proxies import Proxy, use
from tests.plugins.observability.streams.collectors import HttpCollector, Server, balanced, events
from tests.waiting import told, wait_for

pytest.importorskip("websockets.sync.server", reason="needs the extra streams")
from websockets.sync.server import serve

QUICK = Backoff(first=0.02, longest=0.05)


def exporter_to(port, **options):
    options = {"linger": 0.01, "retry": QUICK, **options}
    url = f"ws://127.0.0.1:{port}/events?key=SECRET-IN-QUERY"
    return StreamExporter(StreamSettings(url=url, transport="websocket", **options), name="test")


def agree(sock, stream):
    """Complete the opening of a WebSocket."""
    lines = list(iter(stream.readline, b"\r\n"))
    (key,) = [line.split()[1] for line in lines if line.lower().startswith(b"sec-websocket-key:")]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    agreed = b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    sock.sendall(agreed + accept + b"\r\n\r\n")


class Deaf(Server):
    """Agrees to a WebSocket and never reads again."""

    def serve(self, sock):
        with sock.makefile("rb") as stream:
            agree(sock, stream)
        self.stopped.wait(30)


class Breaking(Server):
    """Takes frames one by one, so that a pong confirms exactly what came before; breaks after so many messages."""

    def __init__(self, *limits):
        self.limits = list(limits)
        self.numbers = []
        super().__init__()

    def serve(self, sock):
        limit = self.limits.pop(0) if self.limits else None
        count = 0
        with sock.makefile("rb") as stream:
            agree(sock, stream)
            while head := stream.read(2):
                size = head[1] & 0x7F
                size = int.from_bytes(stream.read(2)) if size == 126 else size
                mask = stream.read(4)
                payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(stream.read(size)))
                if head[0] & 0xF == 1:
                    self.numbers.append(json.loads(payload).get("n"))
                    count += 1
                    if count == limit:
                        sock.shutdown(socket.SHUT_RDWR)
                        return
                elif head[0] & 0xF == 9:
                    sock.sendall(b"\x8a" + bytes([len(payload)]) + payload)


class Collector:
    """Takes messages, and answers each at length if chatty."""

    def __init__(self, *, chatty=False, max_size=2**20):
        self.rows, self.headers = [], []
        self.chatty = chatty
        self.server = serve(self.talk, "127.0.0.1", 0, max_size=max_size)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def talk(self, connection):
        self.headers.append(connection.request.headers)
        with contextlib.suppress(Exception):
            for message in connection:
                if self.chatty:
                    connection.send("thank you " * 50)
                self.rows.append(json.loads(message))

    @property
    def numbers(self):
        return [row["n"] for row in self.rows if "n" in row]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


@pytest.mark.parametrize("chatty", [False, True])
def test_one_message_each_over_one_connection(chatty):
    with Collector(chatty=chatty) as collector:
        exporter = exporter_to(collector.port, headers={"X-Site": HeaderSource(value="north")})
        for start in range(0, 500, 50):
            exporter.on_batch(events(start, 50))
        assert exporter.flush(10) is True
        wait_for(lambda: len(collector.rows) == 500)  # the pong says that they have arrived, not that they were read
        assert collector.numbers == list(range(500))
        (headers,) = collector.headers
        assert headers["X-Site"] == "north"
        stats = exporter.stats()
        assert (stats.delivered, stats.pending, stats.failures) == (500, 0, 0)
        exporter.close(2)
        exporter.on_batch(events(0, 2))
        assert exporter.stats().dropped == {"closed": 2}


def test_a_server_that_drops_the_connection_again_and_again_loses_nothing():
    with Breaking(7, 1, 30) as collector:
        exporter = exporter_to(collector.port, batch_events=20)
        exporter.on_batch(events(0, 100))
        wait_for(lambda: exporter.stats().delivered == 100)
        assert sorted(set(collector.numbers)) == list(range(100))
        stats = exporter.stats()
        assert stats.failures == 3 and stats.dropped == {} and balanced(stats)
        exporter.close(2)


def test_a_server_that_stops_and_comes_back(caplog):
    with Collector() as first:
        exporter = exporter_to(first.port)
        exporter.on_batch(events(0, 10))
        assert exporter.flush(5)
    exporter.on_batch(events(10, 10))
    wait_for(lambda: exporter.stats().failures > 0)
    assert exporter.flush(5) is False
    stats = exporter.stats()
    assert stats.pending == 10 and stats.state == "degraded" and balanced(stats)
    exporter.close(1)
    assert exporter.stats().dropped == {"closed": 10}
    assert len(told(caplog)) == 1
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("reply", [503, 429, b"garbage\r\n\r\n"])
def test_a_refused_handshake_is_tried_again(reply):
    with HttpCollector() as collector:

        def refuse(sock, stream):
            status = b"HTTP/1.1 %d No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n" % reply
            sock.sendall(status)

        collector.replies = [refuse if isinstance(reply, int) else (lambda sock, stream: sock.sendall(reply))] * 50
        exporter = exporter_to(collector.port)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().failures >= 2)
        stats = exporter.stats()
        expected = f"http_{reply}" if isinstance(reply, int) else "bad_response"
        assert expected in stats.last_error and "SECRET" not in stats.last_error
        assert stats.pending == 5 and balanced(stats)
        exporter.close(1)


def test_a_final_refusal_drops_the_batch():
    with HttpCollector() as collector:
        collector.replies = [lambda sock, stream: sock.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")] * 50
        exporter = exporter_to(collector.port)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().dropped == {"http_404": 5})
        assert "http_404" in exporter.check()
        exporter.close(1)


def test_headers_do_not_follow_a_redirect_to_another_host():
    with Collector() as elsewhere, HttpCollector() as collector:
        reply = b"HTTP/1.1 302 There\r\nLocation: ws://localhost:%d/\r\nContent-Length: 0\r\n\r\n" % elsewhere.port
        collector.replies = [lambda sock, stream: sock.sendall(reply)] * 50
        exporter = exporter_to(collector.port, headers={"Authorization": "SECRET"})
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().failures > 0)
        assert elsewhere.headers == [] and elsewhere.rows == []
        exporter.close(1)


def test_messages_that_are_too_large_for_the_server_cost_only_themselves():
    with Collector(max_size=1000) as collector:
        exporter = exporter_to(collector.port)
        exporter.on_batch([*events(0, 3), *events(3, 1, x="x" * 5000), *events(4, 3)])
        wait_for(lambda: exporter.stats().pending == 0)
        stats = exporter.stats()
        assert stats.dropped == {"disconnected": 1} and stats.delivered == 6 and balanced(stats)
        wait_for(lambda: set(collector.numbers) == {0, 1, 2, 4, 5, 6})
        exporter.close(2)


def test_a_peer_that_accepts_and_says_nothing_is_left_after_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        exporter = exporter_to(deaf.getsockname()[1], timeout=0.3)
        exporter.on_batch(events(0, 5))
        began = time.monotonic()
        assert exporter.flush(30) is False
        exporter.close(30)
        assert time.monotonic() - began < 10
        assert exporter.stats().dropped == {"closed": 5} and balanced(exporter.stats())


def test_a_peer_that_stops_reading_is_left_after_the_timeout():
    with Deaf() as deaf:
        exporter = exporter_to(deaf.port, timeout=0.5, max_bytes=2**28, batch_bytes=2**28)
        exporter.on_batch(events(0, 60, x="x" * 900_000))
        began = time.monotonic()
        wait_for(lambda: exporter.stats().failures > 0)
        exporter.close(30)
        assert time.monotonic() - began < 15
        stats = exporter.stats()
        assert stats.dropped == {"closed": 60} and balanced(stats)


def test_without_the_library_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.sync.client", None)
    exporter = exporter_to(9)
    exporter.on_batch(events(0, 3))
    wait_for(lambda: exporter.stats().dropped == {"no_library": 3})
    assert 'pip install "relay-plugin-observability[streams]"' in exporter.check()
    exporter.close(1)


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    with Collector() as collector, Proxy(collector.port) as proxy:
        use(monkeypatch, proxy, login="user:pa%20ss@", no_proxy="localhost")
        url = "ws://collector.invalid:7000/events"
        exporter = StreamExporter(StreamSettings(url=url, transport="websocket", linger=0.01, retry=QUICK), name="test")
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().delivered == 5)
        assert collector.numbers == list(range(5))
        assert exporter.check() is None
        exporter.close(2)
        line, headers = proxy.asked[0]
        assert line == "CONNECT collector.invalid:7000 HTTP/1.1"
        assert base64.b64decode(headers["proxy-authorization"].removeprefix("Basic ")) == b"user:pa ss"
        assert "proxy-authorization" not in {name.lower() for name in collector.headers[0]}


def test_a_proxy_is_left_out_where_the_environment_says_so(monkeypatch):
    with Collector() as collector, Proxy(collector.port) as proxy:
        use(monkeypatch, proxy, no_proxy="127.0.0.1")
        exporter = exporter_to(collector.port)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().delivered == 5)
        exporter.close(2)
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 407 Log in\r\n\r\n", "proxy: the proxy refused to connect, with status 407"),
        (b"SSH-2.0 hello\r\n\r\n", "proxy: the proxy's answer is not one of HTTP"),
        (b"HTTP/1.1\r\n\r\n", "proxy: the proxy's answer is not one of HTTP"),
        (b"", "proxy: the proxy's answer is not one of HTTP"),
    ],
)
def test_a_proxy_that_refuses_is_tried_again(monkeypatch, answer, error):
    with HttpCollector() as proxy:
        proxy.replies = [lambda sock, stream: sock.sendall(answer)] * 50
        use(monkeypatch, proxy, login="user:SECRET@")
        exporter = exporter_to(1)
        monkeypatch.delenv("no_proxy", raising=False)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().failures >= 2)
        stats = exporter.stats()
        assert stats.last_error == error and stats.pending == 5 and balanced(stats)
        exporter.close(1)


def test_a_proxy_that_says_nothing_is_left_after_the_timeout(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("ws_proxy", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        exporter = exporter_to(1, timeout=0.3)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().last_error == "timeout: no answer in time")
        assert exporter.stats().pending == 5
        exporter.close(1)
