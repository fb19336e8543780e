"""Codecs for the wire formats of the OpenAI API and of the servers that speak it. They do not need the SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay_adapter_openai.codecs.chat import ChatCodec
from relay_adapter_openai.codecs.chat_stream import ChatAssembler
from relay_adapter_openai.codecs.embeddings import EmbeddingsCodec
from relay_adapter_openai.codecs.responses import ResponsesCodec
from relay_adapter_openai.codecs.responses_stream import ResponsesAssembler

if TYPE_CHECKING:
    from relay_core.codecs import Codec

__all__ = ["ChatAssembler", "ChatCodec", "EmbeddingsCodec", "ResponsesAssembler", "ResponsesCodec", "codecs"]


def codecs() -> list[Codec]:
    """Make one codec for each wire format.

    Returns:
        The codecs named ``openai_chat``, ``openai_responses`` and ``openai_embeddings``.

    Example:
        >>> [codec.name for codec in codecs()]
        ['openai_chat', 'openai_responses', 'openai_embeddings']
    """
    return [ChatCodec(), ResponsesCodec(), EmbeddingsCodec()]
