"""Collectors on 127.0.0.1 that answer, refuse, hang, lie or go away, as a test wants."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time


class Event:
    """What an exporter needs of an event."""

    def __init__(self, number, **fields):
        self.row = {"n": number, **fields}

    def to_json(self):
        return json.dumps(self.row).encode()


def events(start, count, **fields):
    return [Event(n, **fields) for n in range(start, start + count)]


def balanced(stats):
    return stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.pending


class Server:
    """Accepts connections and hands each to `serve` in a thread."""

    def __init__(self, context=None):
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        self.ended = 0
        self.stopped = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with contextlib.suppress(OSError, ValueError):
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
            with sock:
                self.serve(sock)
            self.ended += 1

    def serve(self, sock):
        """Overridden."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class Request:
    def __init__(self, line, headers, body, at):
        self.line, self.headers, self.body, self.at = line, headers, body, at

    @property
    def numbers(self):
        body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        rows = json.loads(body) if body.startswith(b"[") else [json.loads(line) for line in body.splitlines()]
        return [row["n"] for row in rows if "n" in row]


class HttpCollector(Server):
    """Reads requests; answers each with the next reply: a status, raw bytes, or a function of the socket.

    After the last reply every request gets 200.
    """

    def __init__(self, *replies, context=None):
        self.replies = list(replies)
        self.requests = []
        self.pieces = []  # of chunked bodies, as they come
        super().__init__(context)

    @property
    def url(self):
        scheme = "http" if self.context is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/events?key=SECRET-IN-QUERY"

    @property
    def numbers(self):
        """Of all events that were answered with 200."""
        return [number for request in self.requests if request.accepted for number in request.numbers]

    def serve(self, sock):
        stream = sock.makefile("rb")
        while line := stream.readline():
            headers = {}
            while (field := stream.readline().strip()) != b"":
                name, _, value = field.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            reply = self.replies.pop(0) if self.replies else 200
            if callable(reply):
                reply = reply(sock, stream)
                if reply is None:
                    return
            body = self._body(stream, headers)
            request = Request(line.decode().strip(), headers, body, time.monotonic())
            request.accepted = reply == 200
            self.requests.append(request)
            if isinstance(reply, int):
                reply = b"HTTP/1.1 %d Told\r\nContent-Length: 2\r\n\r\nok" % reply
            sock.sendall(reply)
            if b"Connection: close" in reply or not reply.startswith(b"HTTP/1.1"):
                return

    def _body(self, stream, headers):
        if headers.get("transfer-encoding") != "chunked":
            return stream.read(int(headers["content-length"]))
        parts = []
        while size := int(stream.readline(), 16):
            parts.append(stream.read(size))
            self.pieces.append(parts[-1])
            assert stream.readline() == b"\r\n"
        assert stream.readline() == b"\r\n"
        return b"".join(parts)


def hang(sock, stream):
    """Never answer."""
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


def close_at_once(sock, stream):
    """Go away in the middle of the request."""
    stream.read(10)
    sock.shutdown(socket.SHUT_RDWR)


def drip(sock, stream):
    """Answer so slowly that every single byte is in time."""
    with contextlib.suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\n" * 1000:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)


class LineCollector(Server):
    """Reads lines; closes a connection after so many of them."""

    def __init__(self, *limits, context=None):
        self.limits = list(limits)
        self.rows = []
        self.finished = 0
        super().__init__(context)

    @property
    def url(self):
        return f"{'tcp' if self.context is None else 'tls'}://127.0.0.1:{self.port}"

    def serve(self, sock):
        limit = self.limits.pop(0) if self.limits else None
        count = 0
        with sock.makefile("rb") as stream:
            for line in stream:
                self.rows.append(json.loads(line))
                count += 1
                if count == limit:
                    return
        self.finished += 1
