"""LangChain's event streams of version 3, made of the chunks of a stream that is under policy.

They are what LangChain makes of a model's own chunks: the same classes, filled by the same functions. Where nothing but
LangChain comes between the model and its reader they are LangChain's own; see `ModelControl.stream_events`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.language_models._compat_bridge import achunks_to_events, chunks_to_events
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["aevents_of", "events_of"]


def events_of(chunks: Iterator[Any]) -> ChatModelStream:
    """Make an event stream that asks for a chunk when its reader wants more.

    Args:
        chunks: messages, chunks of them, or texts.
    """
    stream = ChatModelStream()
    events = chunks_to_events(_generation(chunk) for chunk in chunks)

    def pump() -> bool:
        try:
            event = next(events, None)
        except BaseException as error:  # noqa: BLE001  # the reader gets it, from whichever view it reads
            stream.fail(error)
            return False
        if event is None:
            _end(stream)
            return False
        stream.dispatch(event)
        return True

    stream.bind_pump(pump)
    return stream


def aevents_of(chunks: AsyncIterator[Any]) -> AsyncChatModelStream:
    """Make the same for async readers; a task of its own reads ahead for them, as LangChain's does.

    Args:
        chunks: an async generator of messages, chunks of them, or texts.
    """
    return _Ahead(chunks).stream


class _Ahead:
    """The task that reads ahead for one stream."""

    def __init__(self, chunks: AsyncIterator[Any]) -> None:
        self._chunks = chunks
        self.stream = AsyncChatModelStream()
        self.stream.set_start(self._start)
        self.stream._on_aclose_fail = self._close  # where the task is cancelled before it has begun

    async def _start(self) -> None:
        if self.stream._producer_task is None:
            self.stream._producer_task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            async for event in achunks_to_events(_generation(chunk) async for chunk in self._chunks):
                self.stream.dispatch(event)
            _end(self.stream)
        except asyncio.CancelledError as error:
            self.stream.fail(error)
            raise
        except BaseException as error:  # noqa: BLE001  # see pump
            self.stream.fail(error)
        finally:
            await self._close()

    async def _close(self, _: object = None) -> None:
        leave = getattr(self._chunks, "aclose", None)
        if leave is not None:
            await leave()


def _end(stream: Any) -> None:
    if not stream.done:
        stream.fail(ValueError("No generation chunks were returned"))  # LangChain's words


def _generation(chunk: Any) -> ChatGenerationChunk:
    if isinstance(chunk, AIMessage) and not isinstance(chunk, AIMessageChunk):
        chunk = AIMessageChunk(**{name: value for name, value in chunk.__dict__.items() if name != "type"})
    return ChatGenerationChunk(message=AIMessageChunk(chunk) if isinstance(chunk, str) else chunk)
