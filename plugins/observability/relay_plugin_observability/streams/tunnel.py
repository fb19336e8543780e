"""The proxy that the environment names, and a connection through it to somewhere else."""

from __future__ import annotations

import base64
import socket
import time
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from relay_plugin_observability.streams.transport import DeliveryError, remaining

if TYPE_CHECKING:
    from relay_plugin_observability.streams.endpoint import Endpoint

__all__ = ["Proxy", "open_socket", "proxy_of"]

_LIKE: Final = {"ws": "http", "wss": "https"}
_LONGEST_ANSWER: Final = 16_384
_BLANK: Final = b"\r\n\r\n"


class Proxy(NamedTuple):
    """Where the proxy is, and the header that logs in to it, if it wants one."""

    host: str
    port: int
    login: dict[str, str]


def proxy_of(endpoint: Endpoint) -> Proxy | None:
    """Find the proxy that the environment names for this endpoint, as other programs do.

    Args:
        endpoint: where to; ``ws`` and ``wss`` go where ``http`` and ``https`` go, if nothing is said of them.

    Raises:
        DeliveryError: it is no HTTP proxy.
    """
    found = getproxies()
    scheme = endpoint.scheme
    text = found.get(scheme) or found.get(_LIKE.get(scheme, scheme)) or found.get("all")
    if not text or proxy_bypass(f"{endpoint.host}:{endpoint.port}"):
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme != "http" or not parts.hostname:
        raise DeliveryError("proxy", "the proxy that the environment names is not one with http://")
    return Proxy(parts.hostname, parts.port or 80, _login(parts.username, parts.password))


def open_socket(endpoint: Endpoint, timeout: float) -> socket.socket:
    """Connect to an endpoint, through a tunnel where the environment names a proxy.

    Args:
        endpoint: where to.
        timeout: seconds for all of it.

    Raises:
        OSError: nobody answers.
        DeliveryError: the proxy refuses, or is none.
    """
    deadline, proxy = time.monotonic() + timeout, proxy_of(endpoint)
    there = (endpoint.host, endpoint.port) if proxy is None else (proxy.host, proxy.port)
    sock = socket.create_connection(there, remaining(deadline))
    if proxy is not None:
        try:
            _ask(sock, endpoint, proxy, deadline)
        except BaseException:
            sock.close()
            raise
    return sock


def _ask(sock: socket.socket, endpoint: Endpoint, proxy: Proxy, deadline: float) -> None:
    """Have the proxy connect to the endpoint."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    target = f"{host}:{endpoint.port}"
    rows = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    rows += [f"{name}: {value}" for name, value in proxy.login.items()]
    sock.settimeout(remaining(deadline))
    sock.sendall("\r\n".join(rows).encode() + _BLANK)
    answer = b""
    while not answer.endswith(_BLANK):  # byte by byte: what comes after belongs to the endpoint
        sock.settimeout(remaining(deadline))
        byte = sock.recv(1)
        if not byte or len(answer) >= _LONGEST_ANSWER:
            raise DeliveryError("proxy", "the proxy's answer is not one of HTTP")
        answer += byte
    words = answer.split(None, 2)
    if not words[0].startswith(b"HTTP/1.") or len(words[1:]) < 1 or not words[1].isdigit():
        raise DeliveryError("proxy", "the proxy's answer is not one of HTTP")
    if not words[1].startswith(b"2"):
        raise DeliveryError("proxy", f"the proxy refused to connect, with status {int(words[1])}")
    sock.settimeout(remaining(deadline))


def _login(user: str | None, password: str | None) -> dict[str, str]:
    if not user:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}
