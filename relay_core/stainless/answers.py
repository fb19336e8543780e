"""What an SDK's responses and errors say of a call, for its events."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from relay_core.events import Deferred

__all__ = ["facts_of", "failure_of", "json_or_text", "plain"]


def facts_of(response: Any, request_id: str) -> dict[str, Any]:
    """Give status and id of an HTTP response.

    Args:
        response: of the SDK's HTTP library; None where none came.
        request_id: the header with the id.
    """
    if response is None:
        return {"error": "no response"}
    facts: dict[str, Any] = {"status_code": response.status_code}
    found = response.headers.get(request_id)
    if found:
        facts["request_id"] = found
    return facts


def failure_of(error: BaseException, response: Any) -> tuple[dict[str, Any], Any]:
    """Give what an error says of the call: metadata, and what observers see as the output, or None.

    Args:
        error: what the SDK raised.
        response: the response that came all the same and is not streamed, if any.
    """
    facts: dict[str, Any] = {}
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        facts["provider.status_code"] = status
    request_id = getattr(error, "request_id", None)
    if isinstance(request_id, str):
        facts["provider.request_id"] = request_id
    if response is not None and response.is_closed:
        content = response.content
        return facts, Deferred(lambda: json_or_text(content))
    body = getattr(error, "body", None)
    return facts, {"error": body} if body is not None else None


def plain(result: Any) -> Any:
    """Give the JSON of an SDK's object; anything else stays as it is."""
    if isinstance(result, dict | list | str | bytes):
        return cast("Any", result)
    raw = getattr(result, "http_response", None)
    if raw is not None:
        return msgspec.json.decode(raw.content)
    dump = getattr(result, "to_dict", None)
    return dump() if callable(dump) else result


def json_or_text(content: bytes) -> Any:
    """Read a body as JSON; give it as text where it is none.

    Example:
        >>> json_or_text(b'{"a": 1}'), json_or_text(b"busy")
        ({'a': 1}, 'busy')
    """
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, ValueError, RecursionError):  # a key that is no UTF-8 is a ValueError
        return content.decode("utf-8", "replace")
