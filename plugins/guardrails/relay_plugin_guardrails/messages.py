"""The check of one message, part by part where a rail rewrites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_plugin_guardrails.texts import Unplaceable, readable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.llm import Part
    from relay_plugin_guardrails.checker import Checker
    from relay_plugin_guardrails.decision import Decision

__all__ = ["PartsCheck"]


class PartsCheck:
    """Checks the parts of one message together; only if a rail rewrites them, each by itself.

    Args:
        checker: of the surface.
        parent: the scope below which checks are shown.
        unscanned: kinds of parts that nobody can read.
        asked: what the message answers.
    """

    def __init__(self, checker: Checker, parent: Any, unscanned: Sequence[str], asked: str = "") -> None:
        self._checker = checker
        self._parent = parent
        self._unscanned = unscanned
        self._asked = asked
        self.refused: Decision | None = None

    async def run(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """Give the parts to use instead; `refused` is set where they must not be used.

        Raises:
            Unplaceable: a rewrite spans parts, or touches one that its provider has signed.
        """
        said = [place for place, part in enumerate(parts) if readable(part).strip()]
        if not said and not self._unscanned:
            return parts
        found = await self._check("\n".join(readable(parts[place]) for place in said), self._unscanned)
        if found.kind != "rewrite":
            return parts
        if len(said) == 1:
            return _with_text(parts, said[0], found.text or "")
        made = parts
        for place in said:
            found = await self._check(readable(parts[place]))
            if found.kind == "rewrite":
                made = _with_text(made, place, found.text or "")
        if made is parts:
            raise Unplaceable("a rail rewrites the message across its parts")
        return made

    async def _check(self, text: str, unscanned: Sequence[str] = ()) -> Decision:
        found = await self._checker.check(text, self._asked, parent=self._parent, unscanned=unscanned)
        if found.kind in ("block", "error"):
            self.refused = self.refused or found
        return found


def _with_text(parts: tuple[Part, ...], place: int, text: str) -> tuple[Part, ...]:
    part: Any = parts[place]
    if part.immutable:
        raise Unplaceable("a rail rewrites a part that its provider has signed")
    return (*parts[:place], part.replace(text=text), *parts[place + 1 :])
