"""Where a response's bytes pass: each is a byte stream of the SDK's HTTP library, so types stay as they are."""

# The byte streams are subclasses of classes of whichever HTTP library is in use:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from relay_core.kept_chunks import KEPT_CHUNKS
from relay_core.stainless.wire import StreamCut, StreamFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from relay_core.stainless.exchange import Exchange
    from relay_core.stainless.wire import Wire

__all__ = ["AsyncPassing", "AsyncSource", "Passing", "Source", "async_tap", "http_of", "tap"]


def http_of(client: Any) -> Any:
    """Give the HTTP library that a client uses: httpx, or its successor httpx2."""
    for cls in type(client._client).__mro__:
        top = cls.__module__.partition(".")[0]
        if top in ("httpx", "httpx2"):
            return sys.modules[top]
    raise LookupError(f"the HTTP client {type(client._client).__name__} is none of httpx")


class Source:
    """The chunks of a response, as they come over the wire."""

    def __init__(self, wire: Wire, raw: Any) -> None:
        self._wire = wire
        self._raw = raw
        self.pieces: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[Any]:
        wire = self._wire
        pieces = iter(self._raw)
        if wire.decodes or wire.hides:
            for piece in pieces:
                yield from wire.chunks_of(piece)
            yield from wire.chunks_of(None)
        else:
            self.pieces = pieces
            for piece in pieces:
                wire.recent.append(piece)
                yield piece
        wire.finish()

    def passed(self, chunks: list[bytes], *, ended: bool = False) -> None:
        """Take note of the chunks so far, some of which were read from `pieces` past this."""
        del ended  # an iterator goes on telling that it has ended
        self._wire.passed(chunks)

    def close(self) -> None:
        """Close the connection's stream."""
        self._raw.close()


class AsyncSource:
    """The same for async clients; no generator, so that a loop that ends need not close it."""

    def __init__(self, wire: Wire, raw: Any) -> None:
        self._wire = wire
        self._raw = raw
        self._pieces: Any = None
        self._chunks: Iterator[Any] = iter(())
        self._closed = self._ended = False

    def __aiter__(self) -> Self:
        return self

    @property
    def pieces(self) -> AsyncIterator[bytes] | None:
        """What reads the connection; None while there is more to do with its bytes than to pass them on."""
        return None if self._ended or self._wire.decodes or self._wire.hides else self._pieces

    def passed(self, chunks: list[bytes], *, ended: bool = False) -> None:
        """Take note of the chunks so far, some of which were read past this; and whether the connection has ended."""
        self._wire.passed(chunks)
        self._ended = self._ended or ended

    async def __anext__(self) -> Any:
        wire = self._wire
        while (chunk := next(self._chunks, None)) is None:
            if self._ended:
                wire.finish()
                raise StopAsyncIteration
            if self._pieces is None:
                self._pieces = aiter(self._raw)
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                self._ended = True
                piece = None
            if piece is None or wire.decodes or wire.hides:
                self._chunks = iter(wire.chunks_of(piece))
            else:
                wire.recent.append(piece)
                return piece
        return chunk

    async def aclose(self) -> None:
        """Close the connection's stream, once: what closes around it must not wait in two places."""
        if not self._closed:
            self._closed = True
            await self._raw.aclose()


class Passing:
    """A stream of a call that a layer around this one reports; that layer is told the facts of the wire."""

    def __init__(self, exchange: Exchange, source: Source) -> None:
        self._exchange = exchange
        self._source = source
        self._chunks: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        try:
            for chunk in self._source:
                self._chunks.append(chunk)
                yield chunk
        finally:
            self._exchange.tell_outer(self._chunks)

    def close(self, cause: str = "closed", error: BaseException | None = None) -> None:
        """Close the connection's stream."""
        del cause, error
        self._exchange.tell_outer(self._chunks)
        self._source.close()


class AsyncPassing:
    """The same for async clients."""

    def __init__(self, exchange: Exchange, source: AsyncSource) -> None:
        self._exchange = exchange
        self._source = source
        self._chunks: list[Any] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await anext(self._source)
        except BaseException:
            self._exchange.tell_outer(self._chunks)
            raise
        self._chunks.append(chunk)
        return chunk

    async def aclose(self, cause: str = "closed", error: BaseException | None = None) -> None:
        """Close the connection's stream."""
        del cause, error
        self._exchange.tell_outer(self._chunks)
        await self._source.aclose()


class _Tap:
    # Each of the layers below costs more than the rest of a chunk. Where they only pass bytes on, they are left out
    # from the second chunk on, until the end, of which they are told.
    _kept: Any = None  # where the chunks are kept, meanwhile
    _take: Any = None  # what is told of each

    def __init__(self, wire: Wire, stream: Any, source: Any) -> None:
        self._wire = wire
        self._stream = stream
        self._source = source
        self._ended = False

    def _skip(self) -> Any:
        """Give what reads the connection, if the layers may be left out."""
        final = getattr(self._stream, "passing", None)
        pieces = None if final is None or self._source is None else self._source.pieces
        if final is not None and pieces is not None:
            self._kept, self._take = final.chunks, final.take
        return pieces

    def _stop(self, *, ended: bool = False) -> None:
        """Let the layers do their work again."""
        if self._kept is not None:
            self._source.passed(self._kept, ended=ended)
            self._kept = None


class _SyncTap(_Tap):
    def __iter__(self) -> Iterator[bytes]:
        self._stop()  # the rest may be read by another iterator
        return self._passing() if self._wire.plain else self._writing()

    def _writing(self) -> Iterator[bytes]:
        with suppress(StreamCut, StreamFailed):  # told to observers; the SDK finds out by itself
            for chunk in self._stream:
                data = self._wire.out(chunk)
                if data:
                    yield data
        self._ended = True
        rest = self._wire.rest()
        if rest:
            yield rest

    def _passing(self) -> Iterator[bytes]:
        chunks = iter(self._stream)
        pieces: Iterable[bytes] | None = None
        with suppress(StreamCut, StreamFailed):  # see above
            try:
                for piece in chunks:
                    yield piece
                    pieces = self._skip()
                    if pieces is not None:
                        break
                take, kept = self._take, self._kept
                for piece in islice(pieces or (), KEPT_CHUNKS - len(kept or ())):
                    take(piece)
                    yield piece
            except BaseException as error:
                self._stop()
                chunks.throw(error)  # the layers are told of it, and raise it
                raise
            self._stop()
            yield from chunks
        self._ended = True

    def close(self) -> None:
        if not self._ended:
            self._stop()
            with suppress(ValueError):  # another thread is inside; what it waits for ends the stream
                self._stream.close(*self._wire.ending_early())


class _AsyncTap(_Tap):
    def __aiter__(self) -> AsyncIterator[bytes]:
        self._stop()  # the rest may be read by another iterator
        return self._passing() if self._wire.plain else self._writing()

    async def _writing(self) -> AsyncIterator[bytes]:
        with suppress(StreamCut, StreamFailed):  # see _SyncTap
            async for chunk in self._stream:
                data = self._wire.out(chunk)
                if data:
                    yield data
        self._ended = True
        rest = self._wire.rest()
        if rest:
            yield rest

    async def _passing(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        pieces: AsyncIterator[bytes] | None = None
        with suppress(StreamCut, StreamFailed):  # see _SyncTap
            async for piece in chunks:
                yield piece
                pieces = self._skip()
                if pieces is not None:
                    break
            if pieces is not None:
                take, room = self._take, KEPT_CHUNKS - len(self._kept)
                try:
                    async for piece in pieces:
                        take(piece)
                        yield piece
                        room -= 1
                        if not room:
                            break
                    self._stop(ended=bool(room))
                except GeneratorExit:
                    raise  # nothing may be awaited any more
                except BaseException as error:
                    self._stop()
                    with suppress(StopAsyncIteration):  # it has been closed meanwhile
                        await chunks.athrow(error)  # the layers are told of it, and raise it
                    raise
                async for piece in chunks:
                    yield piece
        self._ended = True

    async def aclose(self) -> None:
        if self._ended:
            return
        self._stop()
        ending = self._wire.ending_early()
        if self._source is not None:
            await self._source.aclose()  # first, so that closing the stream does not wait: the event loop may do it too
        with suppress(RuntimeError):  # another task is inside; what it waits for ends the stream
            await self._stream.aclose(*ending)


@cache
def _class(http: str, base: str, kind: type[_Tap]) -> type[Any]:
    return type("RelayStream", (kind, getattr(sys.modules[http], base)), {})


def tap(http: Any, wire: Wire, stream: Any, source: Source | None) -> Any:
    """Make the byte stream that the SDK reads in place of the connection's, which `source` reads, if there is one."""
    return _class(http.__name__, "SyncByteStream", _SyncTap)(wire, stream, source)


def async_tap(http: Any, wire: Wire, stream: Any, source: AsyncSource | None) -> Any:
    """Make the same for async clients."""
    return _class(http.__name__, "AsyncByteStream", _AsyncTap)(wire, stream, source)
