"""OTLP over HTTP and gRPC to collectors that decode it, well-behaved ones and others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import grpc
import msgspec
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import relay_core
from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.otel import OtelSettings, build, close_all, doctor_rows
from tests.plugins.observability.otel.receiver import RESPONSES, Answer, attributes_of, balanced, collector

ALL = ("traces", "logs", "metrics")
PROTOCOLS = {"http/protobuf": "http", "http/json": "http", "grpc": "grpc"}


def start(endpoint, **options):
    """A runtime with one exporter that is quick to send and to send again."""
    [exporter] = build(OtelSettings(endpoint=endpoint, **{"delay": 0.05, "timeout": 2.0, **options}))
    for channel in exporter.channels():
        channel._backoff = Backoff(first=0.05, longest=0.1, jitter=0.0)
    runtime = relay_core.Relay()
    runtime.register("subscriber", exporter)
    return runtime, exporter


def run(runtime, calls=3):
    with runtime.scope("trip", "agent", metadata={"session_id": "s-1"}):
        for number in range(calls):
            runtime.call_tool("search", {"n": number}, lambda args: {"hits": 3})
        runtime.mark("ranked", data={"n": 3}, severity="warn")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_all_signals_arrive_decoded(protocol, compression):
    with collector(PROTOCOLS[protocol]) as there:
        options = {"headers": {"X-Tenant": "acme"}, "service_name": "shop", "compression": compression}
        runtime, exporter = start(there.url, protocol=protocol, signals=ALL, **options)
        run(runtime)
        runtime.metric("tea", [relay_core.Measurement("cups", "counter", "u64", 2)])
        runtime.shutdown(timeout=5)
        spans = there.by_name()
        assert set(spans) == {"invoke_agent trip", "execute_tool search"}
        root, tool = spans["invoke_agent trip"], spans["execute_tool search"]
        assert (len(root.trace_id), len(root.span_id), root.parent_span_id) == (16, 8, b"")
        assert (tool.trace_id, tool.parent_span_id) == (root.trace_id, root.span_id)
        assert root.start_time_unix_nano <= tool.start_time_unix_nano <= tool.end_time_unix_nano
        [log] = there.logs()
        assert (log.severity_text, log.severity_number, log.event_name) == ("WARN", 13, "ranked")
        assert (log.trace_id, log.span_id) == (root.trace_id, root.span_id)
        assert {"cups", "gen_ai.execute_tool.duration", "gen_ai.invoke_agent.duration"} <= set(there.metrics())
        assert there.metrics()["cups"].sum.data_points[0].as_int == 2
        for seen in there.seen:
            assert seen.headers["x-tenant"] == "acme"
        resource = there.messages("traces")[0].resource_spans[0].resource
        assert attributes_of(resource.attributes)["service.name"] == "shop"
        for stats in (exporter.stats().traces, exporter.stats().logs, exporter.stats().metrics):
            assert balanced(stats).delivered == stats.accepted > 0
            assert (stats.state, stats.dropped) == ("closed", {})


def test_default_paths_and_whole_endpoints():
    with collector() as there:
        runtime, _ = start(f"{there.url}/prefix/", signals=("traces",))
        run(runtime)
        runtime.shutdown(timeout=5)
        runtime, _ = start(there.url, signals=("traces",), traces_endpoint=f"{there.url}/mine?key=1")
        run(runtime)
        runtime.shutdown(timeout=5)
        assert [seen.headers[":path"] for seen in there.seen] == ["/prefix/v1/traces", "/mine?key=1"]


def test_what_cannot_be_reached_costs_neither_calls_nor_exit():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for protocol in PROTOCOLS:
        runtime, exporter = start(f"http://127.0.0.1:{port}", protocol=protocol)
        began = time.monotonic()
        run(runtime, 50)
        assert time.monotonic() - began < 10.0
        began = time.monotonic()
        report = runtime.flush(timeout=50)
        assert time.monotonic() - began < 20.0, "flush waited for a dead endpoint"
        assert report.pending == 0
        began = time.monotonic()
        runtime.shutdown(timeout=50)
        assert time.monotonic() - began < 20.0
        stats = balanced(exporter.stats().traces)
        assert (stats.accepted, stats.delivered, stats.dropped) == (51, 0, {"shutdown": 51})
        assert stats.last_error


def test_a_collector_that_hangs_is_left_behind():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        for protocol in ("http/protobuf", "grpc"):
            runtime, exporter = start(f"http://127.0.0.1:{deaf.getsockname()[1]}", protocol=protocol, timeout=30.0)
            run(runtime)
            began = time.monotonic()
            runtime.shutdown(timeout=2)
            assert time.monotonic() - began < 20.0
            stats = balanced(exporter.stats().traces)
            assert (stats.delivered, stats.pending, stats.dropped) == (0, 0, {"shutdown": 4})


def test_close_takes_at_most_five_seconds_whatever_it_is_told():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        made = build([OtelSettings(endpoint=url, name=name, delay=0.01) for name in ("one", "two")])
        for exporter in made:
            runtime = relay_core.Relay()
            runtime.register("subscriber", exporter)
            run(runtime)
            runtime.flush(timeout=0.1)
        began = time.monotonic()
        close_all(made, timeout=60)
        assert time.monotonic() - began < 20.0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_for_a_while_is_sent_again(status):
    with collector() as there:
        there.answers = [Answer(status), Answer(status)]
        runtime, exporter = start(there.url)
        run(runtime)
        runtime.flush(timeout=2)
        there.wait(3)
        runtime.shutdown(timeout=5)
        stats = balanced(exporter.stats().traces)
        assert (stats.delivered, stats.dropped, stats.retries) == (4, {}, 2)
        first, second, third = there.messages("traces")
        assert first == second == third


def test_retry_after_is_waited_for():
    with collector() as there:
        there.answers = [Answer(429, {"Retry-After": "1"})]
        runtime, exporter = start(there.url)
        run(runtime)
        runtime.flush(timeout=0.5)
        there.wait(2)
        assert there.seen[1].at - there.seen[0].at >= 1.0
        runtime.shutdown(timeout=5)
        assert balanced(exporter.stats().traces).delivered == 4


@pytest.mark.parametrize(("seconds", "delivered"), [("1", 4), ("60", 0)])
def test_closing_keeps_the_time_that_the_collector_asked_for(seconds, delivered):
    with collector() as there:
        there.answers = [Answer(429, {"Retry-After": seconds})]
        runtime, exporter = start(there.url)
        run(runtime)
        there.wait(1)
        runtime.shutdown(timeout=5)
        again = [seen.at - there.seen[0].at for seen in there.seen[1:]]
        assert all(after >= 1.0 for after in again)
        assert bool(again) == bool(delivered)
        stats = balanced(exporter.stats().traces)
        assert (stats.delivered, stats.dropped) == (delivered, {} if delivered else {"shutdown": 4})


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_is_refused_for_good_is_dropped_and_counted(status):
    with collector() as there:
        there.answers = [Answer(status)]
        runtime, exporter = start(there.url)
        run(runtime)
        runtime.flush(timeout=5)
        run(runtime)
        runtime.shutdown(timeout=5)
        stats = balanced(exporter.stats().traces)
        assert (stats.delivered, stats.dropped, stats.requests) == (4, {f"http_{status}": 4}, 2)


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_half_of_a_batch_is_counted_as_rejected(kind):
    with collector(kind) as there:
        answer = RESPONSES["traces"]()
        answer.partial_success.rejected_spans = 2
        answer.partial_success.error_message = "too old"
        there.answers = [answer if kind == "grpc" else Answer(body=answer.SerializeToString())]
        runtime, exporter = start(there.url, protocol="grpc" if kind == "grpc" else "http/protobuf")
        run(runtime)
        runtime.shutdown(timeout=5)
        stats = balanced(exporter.stats().traces)
        assert (stats.delivered, stats.dropped, stats.last_error) == (2, {"rejected": 2}, "rejected: too old")


def test_half_of_a_batch_in_json():
    with collector() as there:
        there.answers = [Answer(body=b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}')]
        runtime, exporter = start(there.url, protocol="http/json")
        run(runtime)
        runtime.shutdown(timeout=5)
        stats = balanced(exporter.stats().traces)
        assert (stats.delivered, stats.dropped) == (1, {"rejected": 3})


@pytest.mark.parametrize("body", [b"\xff\xff\xff garbage", b"<html>hello</html>"])
def test_an_answer_that_is_garbage_does_not_matter(body):
    with collector() as there:
        there.answers = [Answer(body=body)]
        runtime, exporter = start(there.url)
        run(runtime)
        runtime.shutdown(timeout=5)
        assert balanced(exporter.stats().traces).delivered == 4


def test_a_server_that_speaks_no_http():
    listener = socket.create_server(("127.0.0.1", 0))

    def babble():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.recv(65536)
                peer.sendall(b"\x00\x01\x02 what?\r\n\r\n")

    thread = threading.Thread(target=babble, daemon=True)
    thread.start()
    runtime, exporter = start(f"http://127.0.0.1:{listener.getsockname()[1]}")
    run(runtime)
    runtime.flush(timeout=1)
    runtime.shutdown(timeout=3)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)
    stats = balanced(exporter.stats().traces)
    assert (stats.delivered, stats.dropped) == (0, {"shutdown": 4})


def retry_info(seconds):
    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    return (("grpc-status-details-bin", RpcStatus(code=8, details=[packed]).SerializeToString()),)


def test_grpc_unavailable_is_sent_again_and_retry_info_is_waited_for():
    with collector("grpc") as there:
        there.answers = [(grpc.StatusCode.UNAVAILABLE, ()), (grpc.StatusCode.RESOURCE_EXHAUSTED, retry_info(1))]
        runtime, exporter = start(there.url, protocol="grpc")
        run(runtime)
        runtime.flush(timeout=0.5)
        there.wait(3)
        runtime.shutdown(timeout=5)
        assert there.seen[2].at - there.seen[1].at >= 1.0
        assert balanced(exporter.stats().traces).delivered == 4


def test_grpc_refusal_is_final():
    with collector("grpc") as there:
        there.answers = [(grpc.StatusCode.UNAUTHENTICATED, ())]
        runtime, exporter = start(there.url, protocol="grpc")
        run(runtime)
        runtime.shutdown(timeout=5)
        assert balanced(exporter.stats().traces).dropped == {"grpc_unauthenticated": 4}


def test_a_full_queue_drops_the_newest_but_keeps_places_for_roots():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        runtime, exporter = start(f"http://127.0.0.1:{deaf.getsockname()[1]}", max_queue=16, max_batch=1, timeout=30.0)
        with runtime.scope("trip", "agent"):
            for _ in range(100):
                runtime.call_tool("t", {}, lambda args: 1)
        runtime.flush(timeout=0.3)
        stats = balanced(exporter.stats().traces)
        channel = exporter.channels()[0]
        assert [Span.FromString(item.message).name for item in channel._queue if item.reserved] == ["invoke_agent trip"]
        assert stats.accepted == 101
        assert stats.pending <= 17
        assert stats.dropped["queue_full"] == 101 - stats.pending
        runtime.shutdown(timeout=0.5)
        balanced(exporter.stats().traces)


def test_what_is_too_large_for_one_request_is_sent_in_several():
    with collector() as there:
        runtime, exporter = start(there.url, projection="full", delay=5.0)
        with runtime.scope("trip", "agent"):
            for _ in range(8):
                runtime.call_tool("t", {"text": "x" * 1_000_000}, lambda args: 1)
        runtime.shutdown(timeout=5)
        stats = balanced(exporter.stats().traces)
        assert stats.delivered == 9
        assert stats.requests >= 3


def test_a_dead_endpoint_does_not_hinder_the_next_start():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    runtime, _ = start(f"http://127.0.0.1:{port}")
    run(runtime)
    runtime.shutdown(timeout=2)
    with collector() as there:
        runtime, exporter = start(there.url)
        run(runtime)
        runtime.shutdown(timeout=5)
        assert balanced(exporter.stats().traces).delivered == 4


def test_a_kept_connection_that_the_collector_closed_is_opened_again():
    with collector() as there:
        there.answers = [Answer(headers={"Connection": "close"})]
        runtime, exporter = start(there.url)
        for _ in range(3):
            run(runtime)
            assert runtime.flush(timeout=5).pending == 0
        runtime.shutdown(timeout=5)
        stats = balanced(exporter.stats().traces)
        assert (stats.delivered, stats.requests, stats.retries) == (12, 3, 0)


def test_after_close_events_are_counted_as_dropped():
    with collector() as there:
        runtime, exporter = start(there.url)
        exporter.close(timeout=2)
        run(runtime)
        runtime.flush(timeout=2)
        stats = balanced(exporter.stats().traces)
        assert (stats.accepted, stats.delivered, stats.dropped) == (4, 0, {"closed": 4})
        runtime.shutdown(timeout=2)


def test_no_header_value_is_ever_shown(caplog):
    secret = "tok-3f9a71"
    with collector() as there:
        there.answers = [Answer(401), Answer(500)]
        runtime, exporter = start(there.url, headers={"Authorization": secret})
        run(runtime)
        runtime.flush(timeout=2)
        run(runtime)
        runtime.shutdown(timeout=5)
        assert there.seen[0].headers["authorization"] == secret
        rows = doctor_rows([exporter])
        assert secret not in repr((exporter.stats(), rows, caplog.text))


def test_doctor_asks_the_collector():
    with collector() as there:
        runtime, exporter = start(there.url, signals=("traces", "metrics"))
        assert [(row["check"], row["ok"]) for row in doctor_rows([exporter])] == [
            ("otel traces", True),
            ("otel metrics", True),
        ]
        there.answers = [Answer(401), Answer(404)]
        rows = doctor_rows([exporter])
        assert [row["ok"] for row in rows] == [False, False]
        assert "http_401" in rows[0]["detail"]
        assert there.spans() == []
        runtime.shutdown(timeout=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sends_its_own_spans_and_only_those(tmp_path):
    code = """if True:
        import os, sys
        import relay_core as relay
        from relay_plugin_observability.otel import OtelSettings, build
        [exporter] = build(OtelSettings(endpoint=sys.argv[1], delay=30.0))
        relay.register("subscriber", exporter)
        with relay.scope("before", "agent"):
            pass
        pid = os.fork()
        with relay.scope("child" if pid == 0 else "parent", "agent"):
            pass
        relay.flush(timeout=5)
        stats = exporter.stats().traces
        assert stats.accepted == stats.delivered == (1 if pid == 0 else 2), stats
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """
    with collector() as there:
        done = subprocess.run([sys.executable, "-c", code, there.url], check=False, capture_output=True, timeout=50)
        assert done.returncode == 0, done.stderr.decode()
        names = sorted(span.name for span in there.spans())
        assert names == ["invoke_agent before", "invoke_agent child", "invoke_agent parent"]


def test_a_program_ends_promptly_beside_a_collector_that_hangs():
    code = """if True:
        import sys
        import relay_core as relay
        from relay_plugin_observability.otel import OtelSettings, build
        [exporter] = build(OtelSettings(endpoint=sys.argv[1], signals=("traces", "logs", "metrics"), delay=0.01, timeout=60))
        relay.register("subscriber", exporter)
        with relay.scope("trip", "agent"):
            relay.mark("hello")
        print("done", flush=True)
    """
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        command = [sys.executable, "-c", code, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            assert program.stdout.readline() == b"done\n"
            began = time.monotonic()
            assert program.wait(30) == 0
            assert time.monotonic() - began < 25.0
            assert b"Traceback" not in program.stderr.read()


def test_stats_can_be_written_as_json():
    with collector() as there:
        runtime, exporter = start(there.url, signals=ALL)
        run(runtime)
        runtime.shutdown(timeout=5)
        assert b'"delivered":4' in msgspec.json.encode(exporter.stats())
