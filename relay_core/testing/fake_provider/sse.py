"""Server-sent events: one event, its bytes, and a reader for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


def to_json(value: Any) -> str:
    """Write compact JSON; characters outside ASCII stay as they are where UTF-8 can hold them.

    Args:
        value: Anything that `json` writes.

    Returns:
        The JSON text.

    Example:
        >>> to_json({"a": ["é"]})
        '{"a":["é"]}'
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; its JSON escape is fine.
        return json.dumps(value, separators=(",", ":"))
    return text


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    r"""One event of a stream.

    Example:
        >>> ServerSentEvent('{"a":1}', "ping").encode()
        b'event: ping\ndata: {"a":1}\n\n'
    """

    data: str
    event: str | None = None

    @classmethod
    def of(cls, payload: dict[str, Any], event: str | None = None) -> ServerSentEvent:
        """Make an event from a JSON object.

        Args:
            payload: The object.
            event: The event's name, if it has one.

        Returns:
            The event.

        Example:
            >>> ServerSentEvent.of({"a": 1}).data
            '{"a":1}'
        """
        return cls(to_json(payload), event)

    def json(self) -> Any:
        """Decode the data.

        Returns:
            The JSON value.

        Raises:
            ValueError: The data is not JSON (`[DONE]` is not).

        Example:
            >>> ServerSentEvent('{"a":1}').json()
            {'a': 1}
        """
        return json.loads(self.data)

    def encode(self) -> bytes:
        r"""Write the event for the wire.

        Returns:
            UTF-8 bytes, closed by an empty line.

        Example:
            >>> ServerSentEvent("[DONE]").encode()
            b'data: [DONE]\n\n'
        """
        lines = [] if self.event is None else [f"event: {self.event}"]
        lines += [f"data: {line}" for line in self.data.split("\n")]
        return ("\n".join(lines) + "\n\n").encode()


def read_events(body: bytes) -> list[ServerSentEvent]:
    r"""Read the events of a recorded stream body.

    Args:
        body: The bytes of the stream, without transfer encoding.

    Returns:
        The complete events; a torn one at the end is left out.

    Example:
        >>> [event.data for event in read_events(b"data: one\n\ndata: two\n\ndata: to")]
        ['one', 'two']
    """
    *blocks, _ = body.decode().replace("\r\n", "\n").split("\n\n")
    events: list[ServerSentEvent] = []
    for block in blocks:
        fields = [line.partition(":") for line in block.split("\n") if line and not line.startswith(":")]
        data = [value.removeprefix(" ") for name, _, value in fields if name == "data"]
        names = [value.removeprefix(" ") for name, _, value in fields if name == "event"]
        if data:
            events.append(ServerSentEvent("\n".join(data), names[-1] if names else None))
    return events
