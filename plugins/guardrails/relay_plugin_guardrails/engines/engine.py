"""What every engine offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from relay_plugin_guardrails.decision import Decision

__all__ = ["Direction", "Engine", "messages_for"]

Direction: TypeAlias = Literal["input", "output", "retrieval"]


class Engine(Protocol):
    """Runs the rails of one surface.

    Attributes:
        name: ``iorails``, ``llmrails`` or ``remote``.
        reason: why this engine was chosen.
        rails: the names of its rails, as far as they are known.
        direction: which rails of the configuration it runs.
        apart: whether it must run on the plugin's own thread: it computes for long, or holds connections.
    """

    name: str
    reason: str
    rails: tuple[str, ...]
    direction: Direction
    apart: bool

    async def check(self, text: str, asked: str) -> Decision:
        """Check a text.

        Args:
            text: what is checked.
            asked: what it answers, for output rails.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def messages_for(direction: Direction, text: str, asked: str) -> list[dict[str, str]]:
    """Give the conversation that shows `text` to rails of this direction.

    Example:
        >>> messages_for("output", "4", "2+2?")
        [{'role': 'user', 'content': '2+2?'}, {'role': 'assistant', 'content': '4'}]
    """
    if direction == "output":
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
    return [{"role": "user", "content": text}]
