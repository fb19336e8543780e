"""The error shape that all OpenAI APIs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_core.testing.fake_provider.api import InvalidRequest

_TYPES: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "service_unavailable"),
}


def openai_error(status: int, message: str, problem: InvalidRequest | None = None) -> dict[str, Any]:
    """Render an error body.

    Args:
        status: The HTTP status.
        message: What went wrong.
        problem: The refused request, if that is the cause.

    Returns:
        The JSON object.

    Example:
        >>> openai_error(500, "Broken.")
        {'error': {'message': 'Broken.', 'type': 'server_error', 'param': None, 'code': None}}
    """
    kind, code = _TYPES.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    param = None
    if problem is not None:
        param, code = problem.param, problem.code
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
