"""Gemini's token counts as neutral usage.

The prompt count includes cached tokens; what server tools put into the prompt, and the thoughts, are counted beside.
"""

from __future__ import annotations

from typing import Any, Final

from relay_adapter_google_genai.names import get
from relay_core.codec_parts import decimal_of, list_of, text_of
from relay_core.lens import copy_json
from relay_core.llm import Usage

__all__ = ["read_usage"]

_MODALITIES: Final = ("unspecified", "text", "image", "video", "audio", "document")  # by number


def read_usage(usage: dict[str, Any]) -> Usage:
    """Read a ``usageMetadata``.

    A count that is zero is left out on the wire; the total says whether it was.

    Example:
        >>> usage = read_usage({"promptTokenCount": 9, "thoughtsTokenCount": 5, "totalTokenCount": 14})
        >>> usage.input_tokens, usage.output_text, usage.output_reasoning, usage.total_tokens
        (9, 0, 5, 14)
    """
    prompt, tools = decimal_of(get(usage, "promptTokenCount")), decimal_of(get(usage, "toolUsePromptTokenCount"))
    cached = decimal_of(get(usage, "cachedContentTokenCount"))
    thoughts, total = decimal_of(get(usage, "thoughtsTokenCount")), decimal_of(get(usage, "totalTokenCount"))
    given = None if prompt is None else prompt + (tools or 0)
    said = decimal_of(get(usage, "candidatesTokenCount"))
    if said is None and total is not None and given is not None:
        said = max(total - given - (thoughts or 0), 0)
    return Usage(
        input_uncached=given if given is None or cached is None or cached > given else given - cached,
        input_cache_read=cached,
        output_text=said,
        output_reasoning=thoughts,
        input_modalities=_modalities(usage, "promptTokensDetails", "toolUsePromptTokensDetails"),
        output_modalities=_modalities(usage, "candidatesTokensDetails"),
        reported_total=total,
        raw=copy_json(usage),
    )


def _modalities(usage: dict[str, Any], *names: str) -> dict[str, int] | None:
    counts: dict[str, int] = {}
    for name in names:
        for item in list_of(get(usage, name)):
            number, count = decimal_of(get(item, "modality")), decimal_of(get(item, "tokenCount"))
            word = (text_of(get(item, "modality")) or "").lower()
            if number is not None and number < len(_MODALITIES):
                word = _MODALITIES[number]
            if word and count is not None:
                counts[word] = counts.get(word, 0) + count
    return counts or None
