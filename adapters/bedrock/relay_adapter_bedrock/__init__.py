"""A codec for Amazon Bedrock's Converse API: what Relay needs to read and edit such calls. Needs no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_bedrock.codec import CODEC, BedrockConverseCodec
from relay_adapter_bedrock.event_stream import EventStreamDecoder, read_events
from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from relay_core.codecs import Codec
    from relay_core.runtime import Relay

__all__ = ["CODEC", "BedrockAdapter", "BedrockConverseCodec", "EventStreamDecoder", "adapter", "read_events"]

__version__ = "0.1.0"


class BedrockAdapter:
    """Brings the codec ``bedrock_converse``; it attaches to no SDK, so that calls go through `relay.call_llm`.

    Example:
        >>> [codec.name for codec in adapter.codecs()], adapter.control
        (['bedrock_converse'], 'none: a codec only, for calls made through relay.call_llm')
    """

    name: Final = "bedrock"
    requires: Final = ()
    control: Final = "none: a codec only, for calls made through relay.call_llm"

    def codecs(self) -> list[Codec]:
        """Give the codecs that this adapter brings."""
        return [CODEC]

    def install(self, relay: Relay, **options: Any) -> None:
        """Attach to nothing: there is no SDK to attach to.

        Raises:
            AdapterError: there are options; this adapter has none.
        """
        del relay
        if options:
            raise AdapterError(f"the adapter bedrock has no options, but was given {', '.join(sorted(options))}")

    def uninstall(self, relay: Relay) -> None:
        """Detach from nothing."""


adapter: Final = BedrockAdapter()
"""What the entry point ``bedrock`` of the group ``relay.adapters`` names."""
