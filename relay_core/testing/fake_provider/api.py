"""What every API of the fake provider can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_core.testing.fake_provider.requests import RecordedRequest
    from relay_core.testing.fake_provider.sse import ServerSentEvent
    from relay_core.testing.fake_provider.turn import Turn


class InvalidRequest(ValueError):  # noqa: N818 - it names what the client sent, as the API's own error type does
    """The provider would refuse this request.

    Example:
        >>> InvalidRequest("Missing required parameter: 'input'.", param="input").param
        'input'
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


class Api(Protocol):
    """One wire format: how it checks, answers, streams and fails."""

    name: str
    request_id_header: str

    def check(self, request: RecordedRequest) -> None:
        """Refuse a request that lacks what the API requires.

        Args:
            request: The request; its body is a JSON object.

        Raises:
            InvalidRequest: It lacks something.
        """
        ...

    def render(self, turn: Turn) -> dict[str, Any]:
        """Render a JSON answer.

        Args:
            turn: The turn.

        Returns:
            The JSON object.
        """
        ...

    def events(self, turn: Turn) -> Iterator[ServerSentEvent]:
        """Render a stream.

        Args:
            turn: The turn.

        Returns:
            The events in order.
        """
        ...

    def error_events(self, turn: Turn, sent: int) -> Iterator[ServerSentEvent]:
        """Render the end of a stream that fails.

        Args:
            turn: The turn.
            sent: How many events went out before.

        Returns:
            The events that tell the client.
        """
        ...

    def error(
        self, status: int, message: str, request_id: str, problem: InvalidRequest | None = None
    ) -> dict[str, Any]:
        """Render an error body.

        Args:
            status: The HTTP status.
            message: What went wrong.
            request_id: The id in the response headers.
            problem: The refused request, if that is the cause.

        Returns:
            The JSON object.
        """
        ...


def required_list(request: RecordedRequest, name: str) -> None:
    """Check that a request holds a list that is not empty.

    Args:
        request: The request.
        name: The field.

    Raises:
        InvalidRequest: The field is absent, of another type, or empty.

    Example:
        >>> from relay_core.testing.fake_provider.requests import RecordedRequest
        >>> required_list(RecordedRequest("POST", "/", {}, {"messages": [{}]}, 0.0), "messages")
    """
    value: Any = request.fields.get(name)
    if value is None:
        raise InvalidRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not isinstance(value, list):
        raise InvalidRequest(
            f"Invalid type for '{name}': expected an array of objects.", param=name, code="invalid_type"
        )
    if not value:
        raise InvalidRequest(
            f"Invalid '{name}': empty array. Expected at least one item.", param=name, code="empty_array"
        )
