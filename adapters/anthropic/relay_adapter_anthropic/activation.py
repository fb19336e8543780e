"""Turning the adapter on for one client or for the whole process, and off again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from relay_core.errors import UsageError
from relay_core.stainless.adapter import SdkAdapter

if TYPE_CHECKING:
    from relay_core.codecs import Codec
    from relay_core.runtime import Relay
    from relay_core.stainless.provider import Provider

__all__ = ["adapter", "attach", "detach", "install", "uninstall"]

_Client = TypeVar("_Client")


def _load() -> tuple[Provider, type[Any], type[Any]]:
    from anthropic._base_client import AsyncAPIClient, SyncAPIClient  # noqa: PLC0415  # needs the SDK

    from relay_adapter_anthropic.codec import CODEC  # noqa: PLC0415  # see above
    from relay_core.stainless.provider import Operation, Provider  # noqa: PLC0415  # see above

    operations = (Operation(path="/v1/messages", codec=CODEC, endings=(b"message_stop",)),)
    return Provider("anthropic", "request-id", operations), SyncAPIClient, AsyncAPIClient


def _codecs() -> list[Codec]:
    from relay_adapter_anthropic.codec import CODEC  # noqa: PLC0415  # only where the adapter is enabled

    return [CODEC]


adapter = SdkAdapter(
    "anthropic",
    _load,
    _codecs,
    codec_names=("anthropic_messages",),
    control="messages of every client, streamed or not",
)
"""What the entry point ``anthropic`` of the group ``relay.adapters`` names."""

detach = adapter.detach
install = adapter.install
uninstall = adapter.uninstall


def attach(
    client: _Client, relay: Relay | None = None, *, native_spans: Literal["keep", "disable"] = "keep"
) -> _Client:
    """Put the calls of one client under Relay: messages, streams, helpers and the beta surface.

    Args:
        client: an `Anthropic`, `AsyncAnthropic`, `AnthropicVertex` or similar client; it stays the same object, and so do
            the types of all it returns. Clients derived from it (``with_options``) are attached too.
        relay: the runtime; default the process-wide one.
        native_spans: the SDK makes OpenTelemetry spans of its own where the program has set a global tracer provider.
            With "disable" this client does not, so that a call is not counted twice.

    Returns:
        The client.

    Raises:
        UsageError: it is no client of this SDK, or an option is wrong.
        AdapterError: this version of the SDK is not known.

    Example:
        >>> from anthropic import Anthropic
        >>> client = attach(Anthropic(api_key="unused"))
        >>> type(client).__name__, isinstance(client, Anthropic)
        ('Anthropic', True)
    """
    if native_spans not in ("keep", "disable"):
        raise UsageError(f'native_spans is "keep" or "disable", not {native_spans!r}')
    attached = adapter.attach(client, relay)
    set_spans = getattr(attached, "_set_open_telemetry", None)  # since 2.x; earlier ones make no spans
    if native_spans == "disable" and set_spans is not None:
        set_spans(attached._copy_open_telemetry(False))
    return attached
