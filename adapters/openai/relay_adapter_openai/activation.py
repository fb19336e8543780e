"""Turning the adapter on for one client or for the whole process, and off again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from relay_core.stainless.adapter import SdkAdapter

if TYPE_CHECKING:
    from relay_core.codecs import Codec
    from relay_core.runtime import Relay
    from relay_core.stainless.provider import Provider

__all__ = ["adapter", "attach", "detach", "install", "uninstall"]

_Client = TypeVar("_Client")
_CHAT_ENDINGS = (b"[DONE]", b'"finish_reason":"', b'"finish_reason": "')
_RESPONSE_ENDINGS = (b"response.completed", b"response.incomplete", b"response.failed", b"response.cancelled")


def _load() -> tuple[Provider, type[Any], type[Any]]:
    from openai._base_client import AsyncAPIClient, SyncAPIClient  # noqa: PLC0415  # needs the SDK

    from relay_adapter_openai.codecs import codecs  # noqa: PLC0415  # see above
    from relay_core.stainless.provider import Operation, Provider  # noqa: PLC0415  # see above

    chat, responses, embeddings = codecs()
    operations = (
        Operation(path="/chat/completions", codec=chat, endings=_CHAT_ENDINGS, asks_usage=True),
        Operation(path="/responses", codec=responses, endings=_RESPONSE_ENDINGS),
        Operation(path="/embeddings", codec=embeddings, category="embedder"),
    )
    hosts = ("api.openai.com", "openai.azure.com")
    return Provider("openai", "x-request-id", operations, usage_hosts=hosts), SyncAPIClient, AsyncAPIClient


def _codecs() -> list[Codec]:
    from relay_adapter_openai.codecs import codecs  # noqa: PLC0415  # only where the adapter is enabled

    return codecs()


adapter = SdkAdapter(
    "openai",
    _load,
    _codecs,
    codec_names=("openai_chat", "openai_responses", "openai_embeddings"),
    control="chat completions, responses and embeddings of every client; not realtime and WebSocket connections",
    options=("include_usage",),
)
"""What the entry point ``openai`` of the group ``relay.adapters`` names."""

detach = adapter.detach
install = adapter.install
uninstall = adapter.uninstall


def attach(client: _Client, relay: Relay | None = None, *, include_usage: bool | str = "auto") -> _Client:
    """Put the calls of one client under Relay: chat completions, responses and embeddings, on every surface.

    Args:
        client: an `OpenAI`, `AsyncOpenAI`, `AzureOpenAI` or similar client; it stays the same object, and so do the
            types of all it returns. Clients derived from it (``with_options``) are attached too.
        relay: the runtime; default the process-wide one.
        include_usage: whether a chat stream is asked for its token usage where the program did not say. The extra chunk
            that the server then sends is not shown to the program. "auto": only where the server is OpenAI or Azure.

    Returns:
        The client.

    Raises:
        UsageError: it is no client of this SDK, or an option is wrong.
        AdapterError: this version of the SDK is not known.

    Example:
        >>> from openai import OpenAI
        >>> client = attach(OpenAI(api_key="unused"))
        >>> type(client).__name__, isinstance(client, OpenAI)
        ('OpenAI', True)
    """
    return adapter.attach(client, relay, include_usage=include_usage)
