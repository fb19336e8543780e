"""A stream over ``wss://`` through a proxy: a real tunnel, real certificates, and every event accounted for."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
import time

import pytest

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.headers import HeaderSource
from relay_plugin_observability.streams import StreamExporter, StreamSettings
from relay_plugin_observability.streams.duplex import DuplexSocket
from relay_plugin_observability.streams.websocket import _context
from tests.plugins.observability.certificates import Certificate
from tests.plugins.observability.proxies import Proxy, use
from tests.plugins.observability.streams.collectors import Server, balanced, events
from tests.waiting import wait_for

pytest.importorskip("websockets.sync.server", reason="needs the extra streams")
from websockets.sync.server import serve

QUICK = Backoff(first=0.02, longest=0.05)
HOST = "collector.invalid"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("tls"), HOST)


class Collector:
    """A WebSocket server behind TLS; it may break after so many messages, once for each number."""

    def __init__(self, certificate, *breaks):
        self.breaks = list(breaks)
        self.rows, self.notes, self.headers = [], [], []
        self.server = serve(self.talk, "127.0.0.1", 0, ssl=certificate.server)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def talk(self, connection):
        self.headers.append(connection.request.headers)
        limit, count = self.breaks.pop(0) if self.breaks else None, 0
        with contextlib.suppress(Exception):
            for message in connection:
                row = json.loads(message)
                if "n" in row:
                    self.rows.append(row["n"])
                else:
                    self.notes.append(row)  # the stream's own, on what it had to drop
                count += 1
                if count == limit:
                    connection.socket.shutdown(socket.SHUT_RDWR)
                    return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


class Refusing(Proxy):
    """A proxy that gives these answers first, one for each tunnel that is asked for, and closes."""

    def __init__(self, port, *answers):
        self.answers = list(answers)
        super().__init__(port)

    def serve(self, sock):
        if not self.answers:
            super().serve(sock)
            return
        answer = self.answers.pop(0)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        self.asked.append((head.decode().split("\r\n")[0], {}))
        sock.sendall(answer)


@pytest.fixture
def exporter_through(monkeypatch, certificate):
    made = []

    def make(proxy, *, login="", **options):
        use(monkeypatch, proxy, login=login, no_proxy="localhost")
        options = {"linger": 0.01, "retry": QUICK, "timeout": 20.0, "ca_file": certificate.file, **options}
        url = f"wss://{HOST}/events?key=SECRET-IN-QUERY"
        exporter = StreamExporter(StreamSettings(url=url, transport="websocket", **options), name="test")
        made.append(exporter)
        return exporter

    yield make
    for exporter in made:
        exporter.close(20)
        stats = exporter.stats()
        assert stats.pending == 0 and balanced(stats)


def test_events_go_through_the_tunnel_and_only_the_collector_reads_them(exporter_through, certificate):
    with Collector(certificate) as collector, Proxy(collector.port) as proxy:
        exporter = exporter_through(proxy, login="user:pa%20ss@", headers={"X-Token": HeaderSource(value="SECRET")})
        for start in range(0, 300, 50):
            exporter.on_batch(events(start, 50))
        assert exporter.flush(20)
        wait_for(lambda: len(collector.rows) == 300)
        assert collector.rows == list(range(300))
        stats = exporter.stats()
        assert (stats.delivered, stats.failures, stats.dropped) == (300, 0, {}) and balanced(stats)
        assert exporter.check() is None
        assert [line for line, _ in proxy.asked] == [f"CONNECT {HOST}:443 HTTP/1.1"] * 2  # the second one checks
        sent = proxy.asked[0][1]
        assert base64.b64decode(sent["proxy-authorization"].removeprefix("Basic ")) == b"user:pa ss"
        assert "x-token" not in sent
        assert collector.headers[0]["X-Token"] == "SECRET"
        assert "Proxy-Authorization" not in collector.headers[0]


@pytest.mark.parametrize("status", [407, 502, 503])
def test_a_proxy_that_refuses_for_a_while_costs_no_event(exporter_through, certificate, status):
    answer = b"HTTP/1.1 %d No\r\nContent-Length: 6\r\n\r\nSECRET" % status
    with Collector(certificate) as collector, Refusing(collector.port, *[answer] * 3) as proxy:
        exporter = exporter_through(proxy, login="user:SECRET@")
        exporter.on_batch(events(0, 20))
        wait_for(lambda: exporter.stats().failures)
        stats = exporter.stats()
        assert stats.last_error == f"proxy: the proxy refused to connect, with status {status}"
        assert balanced(stats)
        wait_for(lambda: exporter.stats().delivered == 20)
        wait_for(lambda: len(collector.rows) == 20)
        assert collector.rows == list(range(20))
        assert exporter.stats().failures == 3 and exporter.stats().dropped == {}


def test_what_a_refusing_proxy_holds_up_is_counted_where_it_finds_no_place(exporter_through, certificate):
    with Collector(certificate) as collector, Refusing(collector.port, *[b"HTTP/1.1 407 No\r\n\r\n"] * 9999) as proxy:
        exporter = exporter_through(proxy, max_events=10, batch_events=5)
        exporter.on_batch(events(0, 50))
        wait_for(lambda: exporter.stats().failures >= 2)
        stats = exporter.stats()
        assert stats.accepted == 50 and stats.delivered == 0 and balanced(stats)
        assert 0 < stats.pending <= 15 and sum(stats.dropped.values()) == 50 - stats.pending
        proxy.answers.clear()
        wait_for(lambda: exporter.stats().pending == 0)
        stats = exporter.stats()
        assert stats.delivered + sum(stats.dropped.values()) == 50 and stats.delivered >= 10
        wait_for(lambda: len(collector.rows) == stats.delivered)
        told = [count for note in collector.notes for count in note["data"]["dropped"].values()]
        assert sum(told) == sum(stats.dropped.values())  # whoever reads the stream learns what is missing


@pytest.mark.parametrize("trusted", ["none", "of another host"])
def test_a_certificate_that_is_not_accepted_is_a_failure_and_nothing_is_sent(
    exporter_through, certificate, tmp_path, trusted
):
    shown, options = certificate, {"ca_file": None}
    if trusted == "of another host":
        shown = Certificate(tmp_path, "other.invalid")
        options = {"ca_file": shown.file}
    with Collector(shown) as collector, Proxy(collector.port) as proxy:
        exporter = exporter_through(proxy, **options)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().failures >= 2)
        stats = exporter.stats()
        assert stats.last_error.startswith("tls_certificate: the certificate is not accepted")
        assert stats.pending == 5 and stats.state == "degraded" and balanced(stats)
        assert "tls_certificate" in exporter.check()
        assert exporter.flush(0.1) is False
        exporter.close(20)
        assert exporter.stats().dropped == {"closed": 5} and exporter.stats().delivered == 0
        assert collector.rows == [] and collector.headers == []


def test_a_tunnel_that_breaks_again_and_again_loses_nothing(exporter_through, certificate):
    with Collector(certificate, 7, 1, 30) as collector, Proxy(collector.port) as proxy:
        exporter = exporter_through(proxy, batch_events=20)
        exporter.on_batch(events(0, 100))
        wait_for(lambda: exporter.stats().delivered == 100)
        wait_for(lambda: set(collector.rows) == set(range(100)))
        stats = exporter.stats()
        assert stats.failures >= 3 and stats.dropped == {} and balanced(stats)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", {"tls", "disconnected", "ECONNRESET", "EOF"}),  # and then it closes
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 Speak plainly\r\n\r\n", {"tls"}),
        (b"HTTP/1.0 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", {"proxy"}),
    ],
)
def test_a_tunnel_to_nowhere_is_a_failure(exporter_through, certificate, answer, told):
    with Collector(certificate) as collector, Refusing(collector.port, *[answer] * 2) as proxy:
        exporter = exporter_through(proxy)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().failures)
        assert exporter.stats().last_error.split(":")[0] in told
        wait_for(lambda: exporter.stats().delivered == 5)
        assert exporter.stats().failures == 2 and exporter.stats().dropped == {}


def test_a_server_that_does_not_finish_the_handshake_is_left_after_the_timeout(exporter_through):
    class Silent(Server):
        def serve(self, sock):
            self.stopped.wait(30)

    with Silent() as there, Proxy(there.port) as proxy:
        exporter = exporter_through(proxy, timeout=0.5)
        exporter.on_batch(events(0, 5))
        wait_for(lambda: exporter.stats().last_error == "timeout: no answer in time")
        assert exporter.stats().pending == 5
        began = time.monotonic()
        exporter.close(20)
        assert time.monotonic() - began < 10
        assert exporter.stats().dropped == {"closed": 5}


def test_one_thread_reads_while_another_writes_and_nothing_is_lost(certificate):
    """OpenSSL wants one at a time; both directions are full here, so that they meet all the time."""
    assert _context(None).sslsocket_class is DuplexSocket
    size, pieces = 4_096, 3_000
    heard = bytearray()

    class Echo(Server):
        def serve(self, sock):
            answers = threading.Thread(target=lambda: [sock.sendall(b"s" * size) for _ in range(pieces)])
            answers.start()
            while len(heard) < size * pieces and (data := sock.recv(65_536)):
                heard.extend(data)
            answers.join()
            self.stopped.wait(30)

    served = certificate.server_with(DuplexSocket)
    context = ssl.create_default_context(cafile=certificate.file)
    context.sslsocket_class = DuplexSocket
    with Echo(served) as there, socket.create_connection(("127.0.0.1", there.port), 20) as raw:
        with context.wrap_socket(raw, server_hostname=HOST) as sock:
            sock.settimeout(30.0)
            assert sock.gettimeout() == 30.0
            got = bytearray()

            def read():
                while len(got) < size * pieces:
                    got.extend(sock.recv(65_536))

            reader = threading.Thread(target=read)
            reader.start()
            for n in range(pieces):
                sock.sendall(bytes([n % 251]) * size)
            reader.join(40)
            wait_for(lambda: len(heard) == size * pieces)
            assert bytes(got) == b"s" * size * pieces
            assert bytes(heard) == b"".join(bytes([n % 251]) * size for n in range(pieces))
            sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                sock.recv(1)
