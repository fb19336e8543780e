"""Collectors on the loopback that decode what they get, and that can misbehave."""

from __future__ import annotations

import gzip
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

REQUESTS = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}
RESPONSES = {
    "traces": ExportTraceServiceResponse,
    "logs": ExportLogsServiceResponse,
    "metrics": ExportMetricsServiceResponse,
}


class Seen(NamedTuple):
    signal: str
    headers: dict
    message: Any
    at: float


class Answer(NamedTuple):
    status: int = 200
    headers: Any = MappingProxyType({})
    body: bytes | None = None
    delay: float = 0.0


def value_of(value):
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "array_value":
        return [value_of(item) for item in found.values]
    if kind == "kvlist_value":
        return {item.key: value_of(item.value) for item in found.values}
    return found


def attributes_of(pairs):
    keys = [pair.key for pair in pairs]
    assert len(keys) == len(set(keys)), f"an attribute twice: {sorted(keys)}"
    return {pair.key: value_of(pair.value) for pair in pairs}


class Collected:
    """What a collector has got."""

    def __init__(self):
        self.seen = []
        self.answers = []  # used up one by one; then all is well
        self.lock = threading.Lock()
        self.arrived = threading.Condition(self.lock)

    def take(self, signal, headers, message):
        with self.lock:
            self.seen.append(Seen(signal, headers, message, time.monotonic()))
            self.arrived.notify_all()
            return self.answers.pop(0) if self.answers else Answer()

    def wait(self, n=1, timeout=20.0):
        with self.lock:
            assert self.arrived.wait_for(lambda: len(self.seen) >= n, timeout), f"{len(self.seen)} requests came"

    def messages(self, signal):
        with self.lock:
            return [seen.message for seen in self.seen if seen.signal == signal]

    def spans(self):
        return [
            span
            for message in self.messages("traces")
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def by_name(self):
        return {span.name: span for span in self.spans()}

    def logs(self):
        return [
            record
            for message in self.messages("logs")
            for resource in message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def metrics(self):
        """The last state of each metric."""
        return {
            metric.name: metric
            for message in self.messages("metrics")
            for resource in message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


class HttpCollector(Collected):
    def __init__(self, context=None):
        super().__init__()
        collected = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                signal = self.path.rsplit("/", 1)[-1]
                signal = signal if signal in REQUESTS else "traces"
                as_json = "json" in self.headers["content-type"]
                message = from_json(signal, body) if as_json else REQUESTS[signal].FromString(body)
                headers = {key.lower(): value for key, value in self.headers.items()} | {":path": self.path}
                answer = collected.take(signal, headers, message)
                if answer.delay:
                    time.sleep(answer.delay)
                out = answer.body
                if out is None:
                    out = b"{}" if as_json else RESPONSES[signal]().SerializeToString()
                self.send_response(answer.status)
                self.send_header("content-type", "application/json" if as_json else "application/x-protobuf")
                self.send_header("content-length", str(len(out)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(out)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request, client_address):
                pass  # a client that hung up is part of the tests

        self.server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.url = f"http{'' if context is None else 's'}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


def from_json(signal, body):
    """Read OTLP/JSON: ids are hexadecimal there, and base64 in protobuf's own JSON."""
    import base64

    def walk(node):
        if isinstance(node, dict):
            ids = ("traceId", "spanId", "parentSpanId")
            return {
                key: base64.b64encode(bytes.fromhex(value)).decode() if key in ids else walk(value)
                for key, value in node.items()
            }
        return [walk(item) for item in node] if isinstance(node, list) else node

    return ParseDict(walk(json.loads(body)), REQUESTS[signal]())


class GrpcCollector(Collected):
    """`answers` hold a status as `(grpc.StatusCode, trailing metadata)`, or a response message."""

    def __init__(self, credentials=None):
        super().__init__()
        self.text = "as asked"
        self.pool = ThreadPoolExecutor(4)
        self.server = grpc.server(self.pool)
        for signal, service in (
            ("traces", "trace.v1.Trace"),
            ("logs", "logs.v1.Logs"),
            ("metrics", "metrics.v1.Metrics"),
        ):
            handler = grpc.unary_unary_rpc_method_handler(
                self.answer(signal),
                request_deserializer=REQUESTS[signal].FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            name = f"opentelemetry.proto.collector.{service}Service"
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": handler}),))
        if credentials is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.url = f"http{'' if credentials is None else 's'}://127.0.0.1:{self.port}"
        self.server.start()

    def answer(self, signal):
        def export(message, context):
            answer = self.take(signal, dict(context.invocation_metadata()), message)
            if isinstance(answer, Answer):
                return RESPONSES[signal]()
            if isinstance(answer, tuple):
                context.set_trailing_metadata(answer[1])
                context.abort(answer[0], self.text)
            return answer

        return export

    def close(self):
        self.server.stop(0).wait(5)
        self.pool.shutdown()


@contextmanager
def collector(kind="http", security=None):
    """`security` is a context for HTTP, credentials for gRPC."""
    made = HttpCollector(security) if kind == "http" else GrpcCollector(security)
    try:
        yield made
    finally:
        made.close()


def balanced(stats):
    """The account adds up."""
    assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.pending, stats
    return stats
