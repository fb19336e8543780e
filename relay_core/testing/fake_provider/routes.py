"""Paths: which API a request is for."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATH = re.compile(
    r"(?:/openai|/anthropic)?"
    r"(?:/deployments/(?P<deployment>[^/]+))?"
    r"(?:/v\d+)?"
    r"/(?P<resource>chat/completions|responses|messages|embeddings|models)(?:/(?P<item>[^/]+))?/?"
)
_APIS = {
    "chat/completions": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "embeddings": "openai_embeddings",
    "models": "models",
}


@dataclass(frozen=True, slots=True)
class Route:
    """Where a path leads.

    Example:
        >>> find_route("/openai/deployments/gpt-test/chat/completions")
        Route(api='openai_chat', method='POST', deployment='gpt-test', item='')
    """

    api: str
    method: str
    deployment: str = ""
    item: str = ""


def find_route(path: str) -> Route | None:
    """Find the API behind a path, with or without a version and a vendor's prefix.

    Args:
        path: The path without the query string.

    Returns:
        The route, or None when no API has such a path.

    Example:
        >>> find_route("/v1/messages").api, find_route("/messages").api, find_route("/v1/nothing")
        ('anthropic_messages', 'anthropic_messages', None)
    """
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    api, item = _APIS[match["resource"]], match["item"] or ""
    if item and api != "models":
        return None
    return Route(api, "GET" if api == "models" else "POST", match["deployment"] or "", item)
