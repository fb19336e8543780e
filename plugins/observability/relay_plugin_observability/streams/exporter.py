"""The subscriber that sends every event to an endpoint."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from relay_plugin_observability.dialect import dialect_of
from relay_plugin_observability.exporter import gap_line
from relay_plugin_observability.headers import Headers
from relay_plugin_observability.streams.field_names import replace_dots
from relay_plugin_observability.streams.http import HttpPost, HttpUpload
from relay_plugin_observability.streams.outbox import Limits, Outbox, StreamStats
from relay_plugin_observability.streams.tcp import TcpLines
from relay_plugin_observability.streams.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_plugin_observability.exporter import Line
    from relay_plugin_observability.streams.settings import StreamSettings
    from relay_plugin_observability.streams.transport import Transport

__all__ = ["StreamExporter"]

_LAST_TRY = 1.0  # seconds that closing waits for what a flush did not deliver
_log = logging.getLogger("relay.observability")


class StreamExporter:
    """Sends events to an endpoint as they happen; register it as a subscriber.

    Delivery is in a thread of its own: neither the program nor other subscribers wait for the endpoint. Events may
    arrive twice after a failure; ``uuid`` and ``scope_category`` tell.

    Args:
        settings: where to and how.
        name: tells streams apart.

    Example:
        >>> from relay_plugin_observability.streams import StreamSettings
        >>> exporter = StreamExporter(StreamSettings(url="http://127.0.0.1:9/events"), name="collector")
        >>> exporter.name, exporter.stats().accepted
        ('stream:collector', 0)
        >>> exporter.close(timeout=0)
    """

    def __init__(self, settings: StreamSettings, *, name: str = "stream") -> None:
        self.name = f"stream:{name}"
        self.settings = settings
        self.place = settings.endpoint().shown
        self._headers = Headers(settings.headers)
        self._transport = _transport(settings, self._headers)
        limits = {field: getattr(settings, field) for field in Limits.__struct_fields__}
        self._outbox = Outbox(
            self._transport, Limits(**limits), name=self.name, place=self.place, gap_line=self._gap_line
        )
        self._dialect = dialect_of(settings.dialect)
        self._rename = settings.field_name_policy == "replace_dots"
        self._complained = False

    def on_event(self, event: Line) -> None:
        """Queue one event; never raises, never waits."""
        self.on_batch((event,))

    def on_batch(self, events: Sequence[Line]) -> None:
        """Queue events; never raises, never waits."""
        lines: list[bytes] = []
        try:
            for event in events:
                try:
                    line = self._worded(event.to_json())
                    if line is not None:
                        lines.append(line)
                except Exception as error:  # noqa: BLE001  # one odd event must not cost the others
                    self._outbox.drop(1, "not_encoded")
                    self._complain(f"an event has no JSON form ({type(error).__name__})")
            self._outbox.put(lines)
        except Exception as error:  # noqa: BLE001  # whatever happens, the program must not notice
            self._complain(f"unexpected {type(error).__name__}")

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the events so far are delivered, at most one attempt long; tell whether they are."""
        limit = self.settings.timeout
        return self._outbox.flush(limit if timeout is None else min(timeout, limit))

    def close(self, timeout: float | None = None) -> None:
        """Deliver what can be delivered in time, drop and count the rest, end the connection."""
        self._outbox.close(_LAST_TRY if timeout is None else min(timeout, _LAST_TRY))

    def stats(self) -> StreamStats:
        """Return what became of this process's events."""
        return self._outbox.stats()

    def check(self, timeout: float = 3.0) -> str | None:
        """Say what keeps the endpoint from being reached; None if nothing does. Sends no event."""
        return self._headers.check() or self._transport.check(timeout)

    def _worded(self, line: bytes) -> bytes | None:
        found = line if self._dialect is None else self._dialect.line(line)
        return replace_dots(found) if self._rename and found is not None else found

    def _gap_line(self, dropped: dict[str, int]) -> bytes:
        line = gap_line(dropped)
        return replace_dots(line) if self._rename else line

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("exporter %r dropped events: %s; said once", self.name, what)


def _transport(settings: StreamSettings, headers: Headers) -> Transport:
    endpoint, timeout, ca_file = settings.endpoint(), settings.timeout, settings.ca_file
    if settings.transport == "websocket":
        return WebSocket(endpoint, headers, timeout=timeout, ca_file=ca_file)
    if endpoint.scheme in ("tcp", "tls"):
        return TcpLines(endpoint, timeout=timeout, ca_file=ca_file)
    if settings.transport == "ndjson":
        return HttpUpload(endpoint, headers, timeout=timeout, ca_file=ca_file)
    packed = settings.compression == "gzip"
    return HttpPost(endpoint, headers, timeout=timeout, ca_file=ca_file, body=settings.body, packed=packed)
