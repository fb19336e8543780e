"""The OpenAI Embeddings API: vectors that depend on the text alone."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import TYPE_CHECKING, Any, cast

from relay_core.testing.fake_provider.api import InvalidRequest
from relay_core.testing.fake_provider.sse import to_json
from relay_core.testing.fake_provider.turn import count_tokens

if TYPE_CHECKING:
    from relay_core.testing.fake_provider.requests import RecordedRequest

DEFAULT_DIMENSIONS = 32


def check_embeddings(request: RecordedRequest) -> None:
    """Refuse a request without a model or an input.

    Args:
        request: The request.

    Raises:
        InvalidRequest: It lacks one of them.
    """
    if not request.model:
        raise InvalidRequest("you must provide a model parameter")
    if not request.fields.get("input"):
        raise InvalidRequest("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")


def render_embeddings(request: RecordedRequest) -> dict[str, Any]:
    """Render the vectors of every input.

    Args:
        request: A checked request.

    Returns:
        The JSON object; vectors are base64 where the request asks for that.
    """
    inputs = _inputs(request.fields["input"])
    size: Any = request.fields.get("dimensions")
    size = size if isinstance(size, int) and size > 0 else DEFAULT_DIMENSIONS
    packed = [_pack(text, size) for text in inputs]
    encoded = request.fields.get("encoding_format") == "base64"
    tokens = sum(max(1, count_tokens(text)) for text in inputs)
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(data).decode() if encoded else list(struct.unpack(f"<{size}f", data)),
            }
            for index, data in enumerate(packed)
        ],
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def embed(text: str, dimensions: int = DEFAULT_DIMENSIONS) -> list[float]:
    """The unit vector that the fake provider gives for a text.

    Args:
        text: Any text.
        dimensions: The length of the vector.

    Returns:
        The vector, the same one each time.

    Example:
        >>> embed("cat") == embed("cat"), embed("cat") == embed("dog"), len(embed("cat", 3))
        (True, False, 3)
    """
    return list(struct.unpack(f"<{dimensions}f", _pack(text, dimensions)))


def _pack(text: str, size: int) -> bytes:
    digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(4 * size)
    raw = [value / 2**31 - 1 for value in struct.unpack(f"<{size}I", digest)]
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return struct.pack(f"<{size}f", *(value / length for value in raw))


def _inputs(value: Any) -> list[str]:
    """A string, a list of strings, a list of tokens, or a list of lists of tokens."""
    if not isinstance(value, list):
        return [str(value)]
    items = cast("list[Any]", value)
    if all(isinstance(item, int) for item in items):
        return [to_json(items)]
    return [item if isinstance(item, str) else to_json(item) for item in items]
