"""What a script is made of: the answers that a fake provider gives."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_CREATED = 1_700_000_000
"""The `created` time of every answer that does not say another one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of one answer, in one convention for every API.

    `input` holds all input tokens, cached ones included; `output` holds all output tokens, reasoning included.
    Each API gets them in its own convention: Anthropic, for one, counts cached tokens apart.

    Example:
        >>> Tokens(input=100, output=20, cached=60).total
        120
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call of an answer.

    `arguments` is a mapping, or a string that goes out as it is (for arguments that do not parse). Without an `id`
    the call gets `call_fake_<answer>_<position>`.

    Example:
        >>> ToolCall("add", {"a": 1, "b": 2}).arguments_json
        '{"a":1,"b":2}'
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict[str, Any])
    id: str | None = None

    @property
    def arguments_json(self) -> str:
        """The arguments as the JSON text that goes over the wire."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(dict(self.arguments), separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A successful answer; the same object serves every API, streamed or not.

    Args:
        text: What the model says. Left out, it is the `chunks` joined, or nothing.
        tool_calls: Tools that the model asks for.
        reasoning: Reasoning text: `reasoning_content`, a reasoning summary, or a thinking block.
        refusal: A refusal, in the place that the API has for it.
        usage: Token counts. Left out, one token per four characters, rounded up.
        finish: `stop`, `length`, `tool_calls` or `content_filter`, put into the words of the API; any other value
            goes out as it is. Left out, it follows from the content.
        model: The model that the answer names. Left out, the one that was asked for.
        created: Seconds since the epoch.
        delay: Seconds to wait before the headers.
        chunk_delay: Seconds to wait between the events of a stream.
        chunks: How a stream splits text: characters per chunk, or the chunks themselves. Left out, by words.
        truncate_after: Cut the connection after this many events of a stream; a JSON answer is cut in the middle.
        clean_cut: Let the cut look like a proper end of the HTTP body.
        error_event_after: Send the API's error event after this many events of a stream, and end.
        error_message: The message of that error event.
        interleave: Chat streams only: take turns between parallel tool calls instead of sending one after another.
        headers: Further response headers.

    Raises:
        ValueError: A number is out of range, or `text` and `chunks` contradict each other.

    Example:
        >>> Reply(text="Hello there").pieces
        ['Hello', ' there']
        >>> Reply(chunks=["Hel", "lo"]).content
        'Hello'
    """

    text: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    reasoning: str | None = None
    refusal: str | None = None
    usage: Tokens | None = None
    finish: str | None = None
    model: str | None = None
    created: int = DEFAULT_CREATED
    delay: float = 0.0
    chunk_delay: float = 0.0
    chunks: int | Sequence[str] | None = None
    truncate_after: int | None = None
    clean_cut: bool = False
    error_event_after: int | None = None
    error_message: str = "The fake provider was told to fail in the middle of this stream."
    interleave: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        for name in ("delay", "chunk_delay", "truncate_after", "error_event_after"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"Reply({name}={value!r}): give 0 or more")
        if isinstance(self.chunks, int):
            if self.chunks < 1:
                raise ValueError(f"Reply(chunks={self.chunks!r}): give a chunk size of 1 or more, or a list of chunks")
        elif self.chunks is not None and self.text is not None and "".join(self.chunks) != self.text:
            raise ValueError("Reply(text=..., chunks=[...]): the chunks joined are not the text; leave text out")

    @property
    def content(self) -> str:
        """The whole text, empty when there is none."""
        if self.text is not None:
            return self.text
        return "" if self.chunks is None or isinstance(self.chunks, int) else "".join(self.chunks)

    @property
    def pieces(self) -> list[str]:
        """The text as a stream sends it."""
        if self.chunks is None or isinstance(self.chunks, int):
            return self.split(self.content)
        return list(self.chunks)

    def split(self, text: str) -> list[str]:
        """Split other text (reasoning, a refusal) the way the content is split.

        Args:
            text: Any text.

        Returns:
            Pieces that joined give the text.

        Example:
            >>> Reply(chunks=4).split("reasons")
            ['reas', 'ons']
        """
        if isinstance(self.chunks, int):
            return fixed_pieces(text, self.chunks)
        return re.findall(r"\s*\S+|\s+", text)

    def split_arguments(self, arguments: str) -> list[str]:
        """Split tool arguments: their JSON never arrives in one piece unless `chunks` is large enough.

        Args:
            arguments: JSON text.

        Returns:
            Pieces that joined give the text.

        Example:
            >>> Reply().split_arguments('{"city":"Rome"}')
            ['{"cit', 'y":"R', 'ome"}']
        """
        return fixed_pieces(arguments, self.chunks if isinstance(self.chunks, int) else 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo(Reply):
    """A reply that says what the user said last. It takes all options of `Reply` but the text.

    Example:
        >>> from relay_core.testing.fake_provider import FakeProvider
        >>> provider = FakeProvider(lambda request: Echo(prefix="You said: "))
    """

    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP error, in the error shape of the API that is called.

    Args:
        status: The HTTP status.
        retry_after: Seconds for the `retry-after` header.
        message: The message in the error. Left out, one that fits the status.
        body: Another body: a mapping goes out as JSON, a string as plain text.
        times: How many requests in a row get it when it stands in a list.
        headers: Further response headers.
        delay: Seconds to wait before the headers.

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> Failure(429, retry_after=0.5, times=2).status
        429
    """

    status: int = 500
    retry_after: float | None = None
    message: str | None = None
    body: Mapping[str, Any] | str | None = None
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay: float = 0.0

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"Failure(status={self.status!r}): give an HTTP error status, 400 to 599")
        if self.times < 1:
            raise ValueError(f"Failure(times={self.times!r}): give 1 or more")


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection without any answer.

    Example:
        >>> Drop(times=2).times
        2
    """

    times: int = 1

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError(f"Drop(times={self.times!r}): give 1 or more")


Answer: TypeAlias = Reply | Failure | Drop


def fixed_pieces(text: str, size: int) -> list[str]:
    """Cut text into pieces of one size.

    Args:
        text: Any text.
        size: Characters in a piece.

    Returns:
        The pieces; none for empty text.

    Example:
        >>> fixed_pieces("abcde", 2)
        ['ab', 'cd', 'e']
    """
    return [text[at : at + size] for at in range(0, len(text), size)]
