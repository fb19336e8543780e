"""The section of one stream, ``[plugins.observability.streams.NAME]``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.dialect import Dialect  # noqa: TC001  # msgspec resolves it at run time
from relay_plugin_observability.headers import HeaderTable, header_problems
from relay_plugin_observability.streams.endpoint import Endpoint, parse_endpoint

__all__ = ["StreamSettings"]

_SCHEMES = {
    "http_post": ("http", "https"),
    "ndjson": ("http", "https", "tcp", "tls"),
    "websocket": ("ws", "wss"),
}
_RESERVED_HTTP = {
    "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "expect",
}  # fmt: skip
_RESERVED_WEBSOCKET = {
    "host", "connection", "upgrade", "content-length", "transfer-encoding", "sec-websocket-key",
    "sec-websocket-version", "sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol",
}  # fmt: skip


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send events to one endpoint as they happen.

    Args:
        url: ``http(s)://`` for ``http_post`` and ``ndjson``, ``tcp://`` or ``tls://`` for ``ndjson``, ``ws(s)://`` for
            ``websocket``.
        enabled: ``False`` keeps the settings and turns the stream off.
        transport: ``http_post``: a request for each batch; ``ndjson``: one long request or connection that carries
            lines; ``websocket``: a text message for each event.
        headers: each a literal, ``{env = "NAME"}`` or ``{file = "path"}``; never shown anywhere.
        timeout: seconds for one attempt, from connecting to the confirmation.
        body: of ``http_post``: ``ndjson`` lines or one ``json_array``.
        compression: of the body of ``http_post``: ``none`` or ``gzip``.
        field_name_policy: ``replace_dots`` writes ``_`` for ``.`` in field names.
        dialect: ``nat`` writes for readers that know chat completions only.
        ca_file: certificates to trust instead of the system's; verification cannot be turned off.
        max_events: most events that wait at once.
        max_bytes: most bytes that wait at once.
        when_full: which event is dropped and counted when the queue is full.
        batch_events: most events in one batch; 1 sends each event by itself.
        batch_bytes: most bytes in one batch, unless a single event is larger.
        linger: seconds to wait for more events before a batch goes.
        acknowledge_after: seconds after which ``ndjson`` over HTTP ends its request to have it confirmed.
        give_up_after: seconds of failure after which a batch is dropped and the next one tried.
        retry: pauses between attempts.

    Example:
        >>> StreamSettings(url="http://127.0.0.1:8080/events").transport
        'http_post'
    """

    url: str
    enabled: bool = True
    transport: Literal["http_post", "ndjson", "websocket"] = "http_post"
    headers: HeaderTable = {}
    timeout: Annotated[float, msgspec.Meta(gt=0, le=600)] = 3.0
    body: Literal["ndjson", "json_array"] = "ndjson"
    compression: Literal["none", "gzip"] = "none"
    field_name_policy: Literal["preserve", "replace_dots"] = "preserve"
    dialect: Dialect = "relay"
    ca_file: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    max_events: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 16_384
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**40)] = 32 * 2**20
    when_full: Literal["drop_newest", "drop_oldest"] = "drop_newest"
    batch_events: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 512
    batch_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**30)] = 2**20
    linger: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.1
    acknowledge_after: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 30.0
    give_up_after: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 300.0
    retry: Backoff = Backoff()

    def __post_init__(self) -> None:
        """Refuse what does not fit together, with one line for each problem."""
        problems: list[str] = []
        try:
            endpoint = self.endpoint()
        except ValueError as error:
            problems.append(f"url: {error}")
        else:
            if self.headers and endpoint.scheme in ("tcp", "tls"):
                problems.append(f"headers: {endpoint.scheme}:// carries no headers; take them off")
        reserved = _RESERVED_WEBSOCKET if self.transport == "websocket" else _RESERVED_HTTP
        problems += header_problems(self.headers, reserved=reserved)
        if self.transport != "http_post":
            for key, usual in (("body", "ndjson"), ("compression", "none")):
                if getattr(self, key) != usual:
                    problems.append(f'{key}: only for transport = "http_post"; take it off')
        if problems:
            raise ValueError("\n".join(problems))

    def __repr__(self) -> str:
        """Show no header, also when somebody prints the settings."""
        return f"StreamSettings({self.transport}, headers={sorted(self.headers)})"

    def endpoint(self) -> Endpoint:
        """Take the URL apart.

        Raises:
            ValueError: it does not fit the transport.
        """
        return parse_endpoint(self.url, _SCHEMES[self.transport])
