"""The names of OpenInference, from its own package, and keys made of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from relay_core.errors import PluginError

try:
    from openinference.semconv import trace as _names

    EVALUATION: Final = _names.EvaluationAttributes  # old versions lack these three
    VIDEO: Final = _names.VideoAttributes
    _REQUESTED: Final = _names.SpanAttributes.LLM_REQUEST_MODEL_NAME
except (ImportError, AttributeError) as error:
    raise PluginError(
        "OpenInference spans need the package openinference-semantic-conventions, 0.1.42 or later;"
        " install relay-plugin-observability[openinference]"
    ) from error

__all__ = [
    "AUDIO",
    "CALL",
    "CHOICE",
    "CONTENT",
    "DOCUMENT",
    "EMBEDDING",
    "EVALUATION",
    "IMAGE",
    "JSON",
    "KINDS",
    "MESSAGE",
    "PROMPT",
    "PROVIDERS",
    "RERANKER",
    "SPAN",
    "SYSTEMS",
    "TEXT",
    "TOOL",
    "VIDEO",
    "CallKeys",
    "ContentKeys",
    "DocumentKeys",
    "MessageKeys",
    "ToolKeys",
    "call_keys",
    "content_keys",
    "document_keys",
    "message_keys",
    "tool_keys",
]

SPAN: Final = _names.SpanAttributes
MESSAGE: Final = _names.MessageAttributes
CONTENT: Final = _names.MessageContentAttributes
CALL: Final = _names.ToolCallAttributes
TOOL: Final = _names.ToolAttributes
IMAGE: Final = _names.ImageAttributes
AUDIO: Final = _names.AudioAttributes
DOCUMENT: Final = _names.DocumentAttributes
EMBEDDING: Final = _names.EmbeddingAttributes
RERANKER: Final = _names.RerankerAttributes
PROMPT: Final = _names.PromptAttributes
CHOICE: Final = _names.ChoiceAttributes

TEXT: Final = _names.OpenInferenceMimeTypeValues.TEXT.value
JSON: Final = _names.OpenInferenceMimeTypeValues.JSON.value
KINDS: Final = frozenset(kind.value for kind in _names.OpenInferenceSpanKindValues)
PROVIDERS: Final = frozenset(one.value for one in _names.OpenInferenceLLMProviderValues)
SYSTEMS: Final = frozenset(one.value for one in _names.OpenInferenceLLMSystemValues)

# Joining keys is most of the work of a long conversation, so keys are kept: a few hundred bytes each.
_KEPT: Final = 4096


class MessageKeys(NamedTuple):
    """Keys of one message."""

    prefix: str
    role: str
    content: str
    name: str
    tool_call_id: str


class ContentKeys(NamedTuple):
    """Keys of one part of a message."""

    type: str
    text: str
    image: str
    audio: str
    audio_type: str
    audio_transcript: str
    video: str
    document: str
    id: str
    signature: str
    data: str
    encrypted: str


class CallKeys(NamedTuple):
    """Keys of one tool call of a message."""

    id: str
    name: str
    arguments: str


class ToolKeys(NamedTuple):
    """Keys of one tool that is offered to a model."""

    name: str
    description: str
    json_schema: str


class DocumentKeys(NamedTuple):
    """Keys of one document."""

    id: str
    score: str
    content: str
    metadata: str
    url: str
    mime_type: str
    name: str


@lru_cache(_KEPT)
def message_keys(base: str, index: int) -> MessageKeys:
    """Give the keys of a message.

    Example:
        >>> message_keys("llm.input_messages", 2).role
        'llm.input_messages.2.message.role'
    """
    at = f"{base}.{index}."
    names = (MESSAGE.MESSAGE_ROLE, MESSAGE.MESSAGE_CONTENT, MESSAGE.MESSAGE_NAME, MESSAGE.MESSAGE_TOOL_CALL_ID)
    return MessageKeys(at, *(at + name for name in names))


@lru_cache(_KEPT)
def content_keys(message: str, index: int) -> ContentKeys:
    """Give the keys of a part, below the prefix of its message."""
    at = f"{message}{MESSAGE.MESSAGE_CONTENTS}.{index}."
    audio = f"{at}{CONTENT.MESSAGE_CONTENT_AUDIO}."
    return ContentKeys(
        type=at + CONTENT.MESSAGE_CONTENT_TYPE,
        text=at + CONTENT.MESSAGE_CONTENT_TEXT,
        image=f"{at}{CONTENT.MESSAGE_CONTENT_IMAGE}.{IMAGE.IMAGE_URL}",
        audio=audio + AUDIO.AUDIO_URL,
        audio_type=audio + AUDIO.AUDIO_MIME_TYPE,
        audio_transcript=audio + AUDIO.AUDIO_TRANSCRIPT,
        video=f"{at}{CONTENT.MESSAGE_CONTENT_VIDEO}.{VIDEO.VIDEO_URL}",
        document=f"{at}{CONTENT.MESSAGE_CONTENT_DOCUMENT}.",
        id=at + CONTENT.MESSAGE_CONTENT_ID,
        signature=at + CONTENT.MESSAGE_CONTENT_SIGNATURE,
        data=at + CONTENT.MESSAGE_CONTENT_DATA,
        encrypted=at + CONTENT.MESSAGE_CONTENT_ENCRYPTED_CONTENT,
    )


@lru_cache(_KEPT)
def call_keys(message: str, index: int) -> CallKeys:
    """Give the keys of a tool call, below the prefix of its message."""
    at = f"{message}{MESSAGE.MESSAGE_TOOL_CALLS}.{index}."
    names = (CALL.TOOL_CALL_ID, CALL.TOOL_CALL_FUNCTION_NAME, CALL.TOOL_CALL_FUNCTION_ARGUMENTS_JSON)
    return CallKeys(*(at + name for name in names))


@lru_cache(_KEPT)
def tool_keys(base: str, index: int) -> ToolKeys:
    """Give the keys of a tool that is offered to a model."""
    at = f"{base}.{index}."
    return ToolKeys(at + TOOL.TOOL_NAME, at + TOOL.TOOL_DESCRIPTION, at + TOOL.TOOL_JSON_SCHEMA)


@lru_cache(_KEPT)
def document_keys(prefix: str) -> DocumentKeys:
    """Give the keys of a document below a prefix that ends in a dot, or that is empty."""
    return DocumentKeys(
        prefix + DOCUMENT.DOCUMENT_ID,
        prefix + DOCUMENT.DOCUMENT_SCORE,
        prefix + DOCUMENT.DOCUMENT_CONTENT,
        prefix + DOCUMENT.DOCUMENT_METADATA,
        prefix + DOCUMENT.DOCUMENT_URL,
        prefix + DOCUMENT.DOCUMENT_MIME_TYPE,
        prefix + DOCUMENT.DOCUMENT_NAME,
    )
