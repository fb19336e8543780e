"""A codec for Amazon Bedrock's Converse API: what Relay needs to read and edit such calls. Needs no SDK.

Importing this package loads no codec; they are loaded when one is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from relay_core.codec_adapter import CodecAdapter

if TYPE_CHECKING:
    from relay_adapter_bedrock.codec import CODEC as CODEC
    from relay_adapter_bedrock.codec import BedrockConverseCodec as BedrockConverseCodec
    from relay_core.aws_frames import EventStreamDecoder as EventStreamDecoder
    from relay_core.aws_frames import read_events as read_events
    from relay_core.codecs import Codec

__all__ = ["CODEC", "BedrockConverseCodec", "EventStreamDecoder", "adapter", "read_events"]

__version__ = "0.1.0"

_HOMES: Final = {
    "CODEC": "relay_adapter_bedrock.codec",
    "BedrockConverseCodec": "relay_adapter_bedrock.codec",
    "EventStreamDecoder": "relay_core.aws_frames",
    "read_events": "relay_core.aws_frames",
}


def _codecs() -> list[Codec]:
    from relay_adapter_bedrock.codec import CODEC  # noqa: PLC0415  # see above

    return [CODEC]


adapter: Final = CodecAdapter("bedrock", ("bedrock_converse",), _codecs)
"""What the entry point ``bedrock`` of the group ``relay.adapters`` names."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
