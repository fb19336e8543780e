"""Where a stream goes: one URL, taken apart and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from relay_core.settings import mask

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Endpoint", "parse_endpoint"]

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_TLS = {"https", "wss", "tls"}


class Endpoint(NamedTuple):
    """A URL in its parts.

    Args:
        url: as given.
        scheme: in lower case.
        host: without brackets.
        port: also when the URL names none.
        target: path and query, as a request needs them.
        tls: whether the connection is encrypted.
    """

    url: str
    scheme: str
    host: str
    port: int
    target: str
    tls: bool

    @property
    def shown(self) -> str:
        """The URL for people: what looks like a secret in its query is hidden."""
        return str(mask(self.url, "url"))

    @property
    def authority(self) -> str:
        """Host and port, for the ``Host`` header; the usual port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if _PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"


def parse_endpoint(url: str, schemes: Collection[str]) -> Endpoint:
    """Take a URL apart.

    Args:
        url: absolute, without user name and password.
        schemes: those that are possible.

    Raises:
        ValueError: it is none of that; the text says what to write and does not repeat what may be secret.

    Example:
        >>> parse_endpoint("https://collector.example/events?site=1", ["http", "https"]).target
        '/events?site=1'
    """
    known = " or ".join(f"{scheme}://" for scheme in schemes)
    if not url.isprintable() or not url.isascii() or " " in url:
        raise ValueError("not a URL; it contains spaces, control characters or letters that need an encoding")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise ValueError(f"not a URL; write it like {next(iter(schemes))}://127.0.0.1:8080/events") from None
    if parts.scheme not in schemes:
        raise ValueError(f"this transport needs a URL that starts with {known}")
    if not host:
        raise ValueError(f"no host in the URL; write it like {parts.scheme}://127.0.0.1:8080/events")
    if "@" in parts.netloc:
        raise ValueError("user name and password do not belong into a URL; use a header from a variable or a file")
    if parts.fragment:
        raise ValueError("a URL with '#' is for browsers; take that part off")
    if port is None and parts.scheme not in _PORTS:
        raise ValueError(f"no port in the URL; write it like {parts.scheme}://{host}:4000")
    if port == 0:
        raise ValueError("port 0 is no port; name the one that the collector listens on")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(url, parts.scheme, host, port or _PORTS[parts.scheme], target, parts.scheme in _TLS)
