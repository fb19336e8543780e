"""A codec for Gemini's generateContent: what Relay needs to read and edit such calls. Needs no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_google_genai.codec import CODEC, GeminiGenerateContentCodec
from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from relay_core.codecs import Codec
    from relay_core.runtime import Relay

__all__ = ["CODEC", "GeminiGenerateContentCodec", "GoogleGenaiAdapter", "adapter"]

__version__ = "0.1.0"


class GoogleGenaiAdapter:
    """Brings the codec ``gemini_generate_content``; it attaches to no SDK, so that calls go through `relay.call_llm`.

    Example:
        >>> [codec.name for codec in adapter.codecs()], adapter.control
        (['gemini_generate_content'], 'none: a codec only, for calls made through relay.call_llm')
    """

    name: Final = "google_genai"
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
            raise AdapterError(f"the adapter google_genai has no options, but was given {', '.join(sorted(options))}")

    def uninstall(self, relay: Relay) -> None:
        """Detach from nothing."""


adapter: Final = GoogleGenaiAdapter()
"""What the entry point ``google_genai`` of the group ``relay.adapters`` names."""
