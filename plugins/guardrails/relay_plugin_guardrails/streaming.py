"""Checks of answers while they stream: all held back, held back until safe, or only watched."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from relay_plugin_guardrails.chunks import edited, is_whole, pieces
from relay_plugin_guardrails.texts import Unplaceable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator

    from relay_plugin_guardrails.chunks import Key
    from relay_plugin_guardrails.decision import Decision
    from relay_plugin_guardrails.settings import OutputSettings

__all__ = ["Hold", "check_async", "check_sync", "is_async_stream"]


def is_async_stream(result: Any) -> bool:
    """Tell whether a result gives chunks to an async caller."""
    return hasattr(type(result), "__aiter__")


class _Text:
    """One of the texts of an answer."""

    __slots__ = ("checked", "released", "whole")

    def __init__(self) -> None:
        self.whole = ""
        self.checked = 0  # characters that a check has seen
        self.released = 0  # characters that have gone out


class Hold:
    """Holds chunks back until their text is safe.

    Args:
        settings: of the surface.
    """

    def __init__(self, settings: OutputSettings) -> None:
        self._settings = settings
        self._texts: dict[Key, _Text] = {}
        self._held: deque[tuple[Any, dict[Key, int]]] = deque()
        self._until_end = settings.streaming == "buffer"
        self.passes = settings.streaming == "monitor"

    def feed(self, chunk: Any) -> None:
        """Take the next chunk."""
        ends: dict[Key, int] = {}
        if is_whole(chunk):
            self._until_end = self._until_end or not self.passes  # it repeats what may still be rewritten
        else:
            for key, piece in pieces(chunk):
                text = self._texts.setdefault(key, _Text())
                text.whole += piece
                ends[key] = len(text.whole)
        if not self.passes:
            self._held.append((chunk, ends))

    def due(self) -> Iterator[tuple[_Text, str]]:
        """Give the texts that have grown by a step, each with the part that a check should see."""
        settings = self._settings
        if settings.streaming == "buffer":
            return
        for text in self._texts.values():
            if len(text.whole) - text.checked >= settings.step:
                start = min(text.released, text.checked) if not self.passes else text.checked - settings.hold
                text.checked = len(text.whole)
                yield text, text.whole[max(0, start - settings.context) :]

    def delay(self) -> None:
        """Hold everything until the end: a rail wants to rewrite."""
        self._until_end = not self.passes

    def ready(self) -> Iterator[Any]:
        """Give the chunks whose text is safe, and in order."""
        while self._held and not self._until_end:
            chunk, ends = self._held[0]
            if any(end > self._texts[key].checked - self._settings.hold for key, end in ends.items()):
                return
            self._held.popleft()
            for key, end in ends.items():
                self._texts[key].released = end
            yield chunk

    def rest(self) -> Iterator[tuple[_Text, str]]:
        """Give every text as a whole, for the last check."""
        yield from ((text, text.whole) for text in self._texts.values() if text.whole.strip())

    def finish(self, rewritten: dict[int, str]) -> Iterator[Any]:
        """Give the chunks that are left, with these texts (by identity) in the place of what has not gone out."""
        if not rewritten:
            yield from (chunk for chunk, _ in self._held)
            return
        placed: set[Key] = set()
        wholes = {
            text.whole: text.whole[: text.released] + rewritten[id(text)]
            for text in self._texts.values()
            if id(text) in rewritten
        }

        def change(key: Key, piece: str) -> str:
            text = self._texts.get(key)
            if text is None or id(text) not in rewritten:
                return piece
            if key in placed:
                return ""
            placed.add(key)
            return rewritten[id(text)]

        def repeat(_: Key, piece: str) -> str:
            for old, new in wholes.items():
                piece = piece.replace(old, new)
            return piece

        for chunk, _ in self._held:
            yield edited(chunk, repeat if is_whole(chunk) else change)


class _Checks:
    """What the sync and the async loop share: the questions to ask, and what the answers mean."""

    def __init__(self, settings: OutputSettings) -> None:
        self.hold = Hold(settings)
        self.rewritten: dict[int, str] = {}

    def noted(self, found: Decision) -> None:
        """Take the answer to a check on the way."""
        if found.kind == "rewrite":
            self.hold.delay()

    def last(self) -> Generator[str, Decision, None]:
        """Ask the last questions: give a text, get a decision."""
        for text, whole in list(self.hold.rest()):
            found = yield whole
            if found.kind != "rewrite" or self.hold.passes:
                continue
            if text.released:  # only what is still here can be rewritten
                found = yield text.whole[text.released :]
                if found.kind != "rewrite":
                    raise Unplaceable("a rail rewrites text of the stream that has gone out")
            self.rewritten[id(text)] = found.text or ""


async def check_async(
    source: Any, settings: OutputSettings, check: Callable[[str], Awaitable[Decision]]
) -> AsyncGenerator[Any, None]:
    """Give the chunks of `source` as far as they pass; `check` raises to stop them."""
    checks = _Checks(settings)
    hold = checks.hold
    try:
        async for chunk in source:
            hold.feed(chunk)
            if hold.passes:
                yield chunk
            for _, text in list(hold.due()):
                checks.noted(await check(text))
            for safe in hold.ready():
                yield safe
        questions = checks.last()
        try:
            text = next(questions)
            while True:
                text = questions.send(await check(text))
        except StopIteration:
            pass
        for left in hold.finish(checks.rewritten):
            yield left
    finally:
        close = getattr(source, "aclose", None) or getattr(source, "close", None)
        if close is not None:
            done = close()
            if hasattr(type(done), "__await__"):
                await done


def check_sync(source: Any, settings: OutputSettings, check: Callable[[str], Decision]) -> Generator[Any, None, None]:
    """The same for sync callers."""
    checks = _Checks(settings)
    hold = checks.hold
    try:
        for chunk in source:
            hold.feed(chunk)
            if hold.passes:
                yield chunk
            for _, text in list(hold.due()):
                checks.noted(check(text))
            yield from hold.ready()
        questions = checks.last()
        try:
            text = next(questions)
            while True:
                text = questions.send(check(text))
        except StopIteration:
            pass
        yield from hold.finish(checks.rewritten)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()
