"""The list of models, in OpenAI's or Anthropic's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.testing.fake_provider.api import InvalidRequest
from relay_core.testing.fake_provider.replies import DEFAULT_CREATED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.testing.fake_provider.requests import RecordedRequest


def render_models(request: RecordedRequest, models: Sequence[str], wanted: str = "") -> dict[str, Any]:
    """Render all models, or the one that the path names.

    Args:
        request: The request; the header `anthropic-version` selects Anthropic's shape.
        models: The names that the provider knows.
        wanted: The name in the path, if there is one.

    Returns:
        The JSON object.

    Raises:
        InvalidRequest: The provider does not know the wanted name.

    Example:
        >>> from relay_core.testing.fake_provider.requests import RecordedRequest
        >>> listing = render_models(RecordedRequest("GET", "/v1/models", {}, None, 0.0), ["m"])
        >>> listing["data"][0]["id"]
        'm'
    """
    if wanted and wanted not in models:
        raise InvalidRequest(f"The model '{wanted}' does not exist", param="model", code="model_not_found", status=404)
    anthropic = "anthropic-version" in request.headers
    entries = [_anthropic(name) if anthropic else _openai(name) for name in ([wanted] if wanted else models)]
    if wanted:
        return entries[0]
    if not anthropic:
        return {"object": "list", "data": entries}
    ends = {"first_id": models[0] if models else None, "last_id": models[-1] if models else None}
    return {"data": entries, "has_more": False, **ends}


def _openai(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": DEFAULT_CREATED, "owned_by": "fake-provider"}


def _anthropic(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2023-11-14T22:13:20Z"}
