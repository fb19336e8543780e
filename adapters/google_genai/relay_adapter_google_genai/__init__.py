"""A codec for Gemini's generateContent: what Relay needs to read and edit such calls. Needs no SDK.

Importing this package loads no codec; they are loaded when one is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from relay_core.codec_adapter import CodecAdapter

if TYPE_CHECKING:
    from relay_adapter_google_genai.codec import CODEC as CODEC
    from relay_adapter_google_genai.codec import GeminiGenerateContentCodec as GeminiGenerateContentCodec
    from relay_core.codecs import Codec

__all__ = ["CODEC", "GeminiGenerateContentCodec", "adapter"]

__version__ = "0.1.0"

_HOMES: Final = {"CODEC": "codec", "GeminiGenerateContentCodec": "codec"}


def _codecs() -> list[Codec]:
    from relay_adapter_google_genai.codec import CODEC  # noqa: PLC0415  # see above

    return [CODEC]


adapter: Final = CodecAdapter("google_genai", ("gemini_generate_content",), _codecs)
"""What the entry point ``google_genai`` of the group ``relay.adapters`` names."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
