"""A proxy on 127.0.0.1: it opens tunnels and passes plain requests on, and says what it was asked."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

from tests.plugins.observability.streams.collectors import Server

NAMES = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]


class Proxy(Server):
    """Every name leads to one port of this machine."""

    def __init__(self, port):
        self.there = port
        self.asked = []
        super().__init__()

    def serve(self, sock):
        stream = sock.makefile("rb", buffering=0)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = stream.read(1)
            if not byte:
                return
            head += byte
        lines = head.decode("latin-1").split("\r\n")
        self.asked.append(
            (lines[0], {name.lower(): text for name, _, text in (row.partition(": ") for row in lines[1:])})
        )
        with socket.create_connection(("127.0.0.1", self.there)) as other:
            if lines[0].startswith("CONNECT "):
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                other.sendall(head)
            threading.Thread(target=_copy, args=(other, sock), daemon=True).start()
            _copy(sock, other)


def _copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def use(monkeypatch, proxy, *, login="", no_proxy=None):
    """Name the proxy in the environment, as people do."""
    for name in NAMES:
        for spelled in (name, name.upper()):
            monkeypatch.delenv(spelled, raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{login}127.0.0.1:{proxy.port}")
    if no_proxy is not None:
        monkeypatch.setenv("no_proxy", no_proxy)
    assert os.environ["http_proxy"]
