"""OTLP requests that are too large, go through a proxy, or are answered byte by byte."""

from __future__ import annotations

import time

import grpc
import pytest

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.headers import Headers
from relay_plugin_observability.otel.channel import Channel, Item, Limits
from relay_plugin_observability.otel.transport import HttpTransport, Outcome, Tls
from tests.plugins.observability.certificates import Certificate
from tests.plugins.observability.otel.receiver import Answer, balanced, collector
from tests.plugins.observability.otel.test_delivery import run, start
from tests.plugins.observability.proxies import Proxy, use
from tests.plugins.observability.streams.collectors import HttpCollector, drip
from tests.waiting import wait_for


def names(message):
    return [span.name for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]


def refuse(there, is_too_much, answer):
    """Have a collector refuse some requests; gives the sizes of all that came."""
    sizes = []
    take = there.take

    def judge(signal, headers, message):
        sizes.append(len(names(message)))
        return answer if is_too_much(message) else take(signal, headers, message)

    there.take = judge
    return sizes


TOO_LARGE = {
    "http": Answer(413),
    "grpc": (grpc.StatusCode.RESOURCE_EXHAUSTED, ()),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_a_batch_that_is_too_large_is_sent_in_halves(kind):
    with collector(kind) as there:
        there.text = "Received message larger than max (9 vs. 4)"  # what gRPC itself says
        sizes = refuse(there, lambda message: len(names(message)) > 2, TOO_LARGE[kind])
        runtime, exporter = start(there.url, protocol="grpc" if kind == "grpc" else None, delay=0.3)
        run(runtime, calls=7)
        runtime.shutdown(timeout=20.0)
        stats = balanced(exporter.stats().traces)
        assert (stats.accepted, stats.delivered, stats.dropped) == (8, 8, {})
        assert sorted(name for message in there.messages("traces") for name in names(message)) == [
            *["execute_tool search"] * 7,
            "invoke_agent trip",
        ]
        assert max(sizes) > 2
        assert stats.requests == len(sizes)


def test_a_single_item_that_is_too_large_is_lost_alone_and_counted():
    with collector() as there:
        refuse(there, lambda message: "execute_tool huge" in names(message), Answer(413))
        runtime, exporter = start(there.url, delay=0.3)
        with runtime.scope("trip", "agent"):
            for number in range(8):
                runtime.call_tool("huge" if number == 5 else "small", {}, lambda _args: 1)
        runtime.shutdown(timeout=20.0)
        stats = balanced(exporter.stats().traces)
        assert (stats.accepted, stats.delivered, stats.dropped) == (9, 8, {"http_413": 1})
        assert "http_413" in stats.last_error


class Narrow:
    """Takes requests of so many items, and is otherwise as it is told."""

    where = "nowhere"

    def __init__(self, most, outcomes=()):
        self.most = most
        self.outcomes = list(outcomes)
        self.sizes = []

    def send(self, request):
        self.sizes.append(len(request))
        if len(request) > self.most:
            return Outcome(ok=False, reason="http_413", too_large=True)
        return self.outcomes.pop(0) if self.outcomes else Outcome(ok=True)

    def abort(self): ...

    def close(self): ...

    def renew(self): ...


def deliver(transport, count, **limits):
    channel = Channel(
        "test", transport, list, limits=Limits(batch=64, delay=0.0, **limits), backoff=Backoff(first=0.01)
    )
    channel._thread = object()  # nothing runs by itself here
    for number in range(count):
        channel.put(Item(number, 100_000))
    while channel._queue:
        channel._deliver(channel._take())
    return channel, balanced(channel.stats())


def test_halves_keep_the_order_and_fail_for_themselves():
    transport = Narrow(2, [Outcome(ok=True), Outcome(ok=False, reason="http_400"), Outcome(ok=False, retry=True)])
    _, stats = deliver(transport, 8)
    assert transport.sizes == [8, 4, 2, 2, 4, 2, 2, 2]
    assert (stats.delivered, stats.dropped, stats.retries) == (6, {"http_400": 2}, 1)


def test_the_next_batches_are_of_a_size_that_fits():
    transport = Narrow(2)
    channel, stats = deliver(transport, 64, batch_bytes=800_000)
    assert stats.delivered == 64
    assert transport.sizes[:7] == [8, 4, 2, 2, 4, 2, 2]
    assert set(transport.sizes[7:]) == {2}
    assert channel._fits == 200_000


def test_a_collector_that_takes_nothing_at_all_is_asked_a_bounded_number_of_times():
    transport = Narrow(0)
    _, stats = deliver(transport, 16)
    assert (stats.delivered, stats.dropped) == (0, {"http_413": 16})
    assert len(transport.sizes) == 31


def test_an_answer_that_comes_before_the_body_has_gone_counts():
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def refuse_early(sock, stream):
        sock.sendall(early)
        time.sleep(0.2)
        sock.close()

    with HttpCollector(refuse_early) as there:
        transport = HttpTransport("traces", f"http://127.0.0.1:{there.port}/", headers=Headers({}), timeout=5.0)
        outcome = transport.send(Bytes(b"x" * 20_000_000))
        assert (outcome.reason, outcome.too_large) == ("http_413", True)


class Bytes:
    """Something to send."""

    def __init__(self, data=b""):
        self.data = data

    def SerializeToString(self):  # protobuf's name
        return self.data


def test_an_answer_that_drips_does_not_hold_an_export():
    with HttpCollector(drip, drip) as there:
        transport = HttpTransport("traces", f"http://127.0.0.1:{there.port}/", headers=Headers({}), timeout=0.6)
        for _ in range(2):
            began = time.monotonic()
            outcome = transport.send(Bytes())
            assert (outcome.reason, outcome.retry) == ("timeout", True)
            assert 0.4 < time.monotonic() - began < 3


def test_a_proxy_of_the_environment_is_used_for_plain_requests(monkeypatch):
    with collector() as there, Proxy(there.port) as proxy:
        use(monkeypatch, proxy, login="user:secretword@")
        runtime, exporter = start("http://collector.invalid:4318")
        run(runtime)
        runtime.shutdown(timeout=20.0)
        assert balanced(exporter.stats().traces).delivered == 4
        (line, headers), *_ = proxy.asked
        assert line == "POST http://collector.invalid:4318/v1/traces HTTP/1.1"
        assert headers["host"] == "collector.invalid:4318"
        assert headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXR3b3Jk"


def test_hosts_that_need_no_proxy_get_none(monkeypatch):
    with collector() as there, Proxy(there.port) as proxy:
        use(monkeypatch, proxy, no_proxy="example.org,127.0.0.1")
        runtime, exporter = start(there.url)
        run(runtime)
        runtime.shutdown(timeout=20.0)
        assert balanced(exporter.stats().traces).delivered == 4
        assert proxy.asked == []


def test_a_proxy_that_is_not_there_is_told_without_its_login(monkeypatch):
    with collector() as there:
        proxy = Proxy(there.port)
        proxy.__exit__()
        use(monkeypatch, proxy, login="user:secretword@")
        runtime, exporter = start("http://collector.invalid:4318")
        run(runtime)
        runtime.flush(timeout=20.0)
        runtime.shutdown(timeout=20.0)
        stats = balanced(exporter.stats().traces)
        assert stats.delivered == 0
        assert "secretword" not in str(stats)
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    transport = HttpTransport("traces", "http://collector.invalid/", headers=Headers({}))
    assert transport.send(Bytes()).reason == "proxy"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("tls"), "collector.invalid")


def test_a_proxy_of_the_environment_tunnels_what_is_encrypted(monkeypatch, certificate):
    with HttpCollector(context=certificate.server) as there, Proxy(there.port) as proxy:
        use(monkeypatch, proxy, login="user:secretword@")
        tls = Tls(certificate=certificate.file)
        transport = HttpTransport(
            "traces", "https://collector.invalid/v1/traces", headers=Headers({"X-Token": "t"}), timeout=5.0, tls=tls
        )
        for _ in range(2):
            assert transport.send(Bytes()).ok
        transport.close()
        ((line, headers),) = proxy.asked  # one tunnel for both
        assert line.startswith("CONNECT collector.invalid:443 ")
        assert "x-token" not in headers  # the proxy sees none of the request's headers
        wait_for(lambda: len(there.requests) == 2)
        assert there.requests[0].line == "POST /v1/traces HTTP/1.1"
        assert there.requests[0].headers["x-token"] == "t"
        assert "proxy-authorization" not in there.requests[0].headers
