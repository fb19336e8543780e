"""A turn: one reply, resolved against the request that it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from relay_core.testing.fake_provider.replies import Echo, Reply, Tokens, ToolCall

if TYPE_CHECKING:
    from relay_core.testing.fake_provider.requests import RecordedRequest

_CHARACTERS_PER_TOKEN = 4


def count_tokens(text: str) -> int:
    """Count tokens the way the fake provider does: one per four characters, rounded up.

    Args:
        text: Any text.

    Returns:
        The count; 0 only for empty text.

    Example:
        >>> count_tokens("Hello")
        2
    """
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Turn:
    """What an API module renders: the reply with all that depends on the request filled in.

    Example:
        >>> from relay_core.testing.fake_provider.requests import RecordedRequest
        >>> request = RecordedRequest("POST", "/v1/chat/completions", {}, {"model": "m", "messages": []}, 0.0)
        >>> turn = Turn(number=3, reply=Reply(tool_calls=[ToolCall("now")]), request=request)
        >>> turn.model, turn.finish, turn.tools()[0].id
        ('m', 'tool_calls', 'call_fake_3_0')
    """

    number: int
    reply: Reply
    request: RecordedRequest

    @property
    def model(self) -> str:
        """The model that the answer names."""
        return self.reply.model or self.request.model or "fake-model"

    @cached_property
    def text(self) -> str:
        """The whole text."""
        if isinstance(self.reply, Echo):
            return self.reply.prefix + self.request.last_user_text
        return self.reply.content

    @property
    def text_pieces(self) -> list[str]:
        """The text as a stream sends it."""
        return self.reply.split(self.text) if isinstance(self.reply, Echo) else self.reply.pieces

    @property
    def finish(self) -> str:
        """Why the model stopped, in the words of `Reply.finish`."""
        return self.reply.finish or ("tool_calls" if self.reply.tool_calls else "stop")

    def tools(self, choice: int = 0) -> list[ToolCall]:
        """The tool calls, each with an id that is unique within the answer.

        Args:
            choice: The choice they belong to, where an API gives several.

        Returns:
            The calls in order.
        """
        first = choice * len(self.reply.tool_calls)
        return [
            replace(call, id=call.id or f"call_fake_{self.number}_{first + position}")
            for position, call in enumerate(self.reply.tool_calls)
        ]

    def usage(self, choices: int = 1) -> Tokens:
        """The token counts, computed from the text unless the reply states them.

        Args:
            choices: How many choices the answer holds.

        Returns:
            The counts.
        """
        if self.reply.usage is not None:
            return self.reply.usage
        reasoning = count_tokens(self.reply.reasoning or "")
        said = self.text + (self.reply.refusal or "")
        calls = "".join(call.name + call.arguments_json for call in self.reply.tool_calls)
        return Tokens(
            input=max(1, count_tokens(self.request.prompt_text)),
            output=max(1, (reasoning + count_tokens(said + calls)) * choices),
            reasoning=reasoning * choices,
        )
