"""Managed streams, and the one finaliser that gives each exactly one end, however the consumer leaves.

Ways out: exhausted, left early and closed, left early and collected, cancelled, failed. A stream that is never iterated
never starts: nothing is sent, no event is emitted.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Self

from relay_core.calls import begin, place, take_back
from relay_core.errors import UsageError
from relay_core.kept_chunks import KEPT_CHUNKS, Kept
from relay_core.observation import read_outcome, shown_by
from relay_core.pipeline import before, execute, finished, refuse_await_only, step_through
from relay_core.scopes import UNSET

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
    from types import TracebackType

    from relay_core.call_types import LlmCall
    from relay_core.chunk_marks import ChunkStream
    from relay_core.runtime import Relay
    from relay_core.scopes import Scope

__all__ = ["AsyncStream", "Stream"]


class Finaliser:
    """Counts the chunks of one stream and ends its scope once.

    Args:
        relay: the runtime.
        call: its scope is open; its codec may know how to put the chunks together.
        scope: the call's scope.
        assemble: puts the list of chunks together to the response that the end event shows.
    """

    __slots__ = (
        "_assemble",
        "_call",
        "_marks",
        "claim",
        "kept",
        "passes",
        "scope",
        "take",
    )

    def __init__(self, relay: Relay, call: LlmCall, scope: Scope, assemble: Callable[[list[Any]], Any] | None) -> None:
        self._call = call
        self.scope = scope
        self.claim = call.claimed
        self._assemble = assemble
        observed = scope._route is not None
        self.kept = Kept([] if observed else None)
        self._marks: ChunkStream | None = None
        if observed and relay.settings.stream.chunk_marks:
            from relay_core.chunk_marks import ChunkStream  # noqa: PLC0415  # observed, so what it needs is loaded

            self._marks = ChunkStream(relay, scope, getattr(call.observation, "parts", None))
            taking = self._marks.taking(self.kept)
        else:
            taking = self.kept.taking(relay.monotonic)
        next(taking)
        self.take: Callable[[Any], None] = taking.send
        self.passes = observed and getattr(call.observation, "passes", False)
        if call.codec is not None and assemble is None:
            self._assemble = _assembler(call.codec)

    @property
    def chunks(self) -> list[Any] | None:
        """The chunks so far; None where nobody observes."""
        return self.kept.chunks

    def _counted(self) -> int:
        kept = self.kept
        if self.passes and not kept.more:
            return getattr(self._call.observation, "counted", len)(kept.chunks or ())
        return kept.total

    def finish(self, cause: str, error: BaseException | None = None) -> None:
        """End the scope; the first cause counts.

        Args:
            cause: complete, closed (the consumer left), abandoned (it was collected), cancelled or error.
            error: the exception that ended it, if any.
        """
        scope = self.scope
        if scope.closed:
            return
        count = self._counted()
        if self._marks is not None:
            self._marks.end(self.kept.total)
        facts: dict[str, Any] = {"end_cause": cause, "chunks": count}
        if self.kept.more and self.kept.chunks is not None:
            facts["chunks_not_kept"] = self.kept.more
        profile = None
        if self.kept.first_ns:
            profile = {"time_to_first_chunk": (self.kept.first_ns - scope._mono) / 1e9}
        status = "cancelled" if cause in ("closed", "abandoned") else None
        if cause == "complete" and not self._call.ran:
            status = "cached"  # an intercept gave the stream instead of the provider
        output = self._output()
        outcome = read_outcome(self._call, UNSET, error)
        if outcome is not None:
            error, status = outcome.error, outcome.status or status
            output = output if outcome.output is UNSET else outcome.output
        scope.close(output=output, error=error, status=status, metadata={"relay.stream": facts}, profile=profile)

    def _output(self) -> Any:
        chunks, assemble, call = self.kept.chunks, self._assemble, self._call
        if chunks is None:
            return None
        if assemble is None and call.observation is None:
            return chunks
        from relay_core.events import Deferred  # noqa: PLC0415  # observed, so it is loaded

        def made() -> Any:
            result = chunks if assemble is None else _assembled(assemble, chunks)
            return result if call.observation is None else shown_by(call.observation.result, call, result)

        return Deferred(made)


def _assembled(assemble: Callable[[list[Any]], Any], chunks: list[Any]) -> Any:
    try:
        return assemble(chunks)
    except Exception as error:  # noqa: BLE001  # the chunks themselves are better than nothing
        return {"$relay": {"assemble_failed": type(error).__qualname__}, "chunks": chunks}


def _assembler(codec: Any) -> Callable[[list[Any]], Any]:
    def assemble(chunks: list[Any]) -> Any:
        assembler = codec.assembler()
        for chunk in chunks:
            assembler.feed(chunk)
        return assembler.result()

    return assemble


class _Opening:
    """What sync and async streams share: the call up to its first chunk, and how it was left."""

    def __init__(self, relay: Relay, call: LlmCall, fn: Callable[[Any], Any], assemble: Any) -> None:
        self.relay = relay
        self.call = call
        self.fn = fn
        self.assemble = assemble
        self.cause = "abandoned"  # unless somebody leaves it in another way
        self.error: BaseException | None = None
        self.opens = False
        self.final: Finaliser | None = None
        call.parent, chains = place(relay, call.parent)
        self.chain = chains.llm

    async def begin(self, *, wait: bool) -> tuple[Any, Finaliser | None]:
        """Run policy, open the scope, get the iterator. No finaliser where a layer around this one has the call."""
        relay, chain = self.relay, self.chain
        call: Any = self.call
        if call.claims and relay.current_claim(call.kind) is not None:
            return await finished(self.fn(call.request), wait), None
        if chain is not None and (chain.guardrails or chain.requests):
            call = await before(relay, chain, call, wait)
        token = begin(relay, call)
        scope = call.scope
        assert scope is not None  # begin has opened it
        final = self.final = Finaliser(relay, call, scope, self.assemble)
        try:
            executions = chain.executions if chain is not None else ()
            source = await execute(relay, executions, call, (call, self.fn), wait)
        except BaseException as error:
            self.leave(final, error)
            raise
        finally:
            take_back(token)
            relay.release(call.claimed)
        return source, final

    def leave(self, final: Finaliser | None, error: BaseException) -> None:
        """End the scope of a stream that did not run to its end."""
        if final is None:
            return
        if isinstance(error, GeneratorExit):
            final.finish(self.cause, self.error)
        else:
            final.finish("cancelled" if self.relay.status_of(error) == "cancelled" else "error", error)


class _Managed:
    _opening: _Opening

    @property
    def kept(self) -> list[Any] | None:
        """For adapters: the chunks so far, a list that grows; None where nobody observes."""
        final = self._opening.final
        return None if final is None else final.chunks

    @property
    def passing(self) -> Finaliser | None:
        """For adapters: what takes the chunks from now on, if nothing is done with them but to keep them.

        An adapter may then read its source itself, tell this of each chunk, and leave the end, or what went wrong, to
        the stream: by asking it for a chunk, or by throwing into it.
        """
        final = self._opening.final
        return final if final is not None and final.passes and len(final.chunks or ()) < KEPT_CHUNKS else None


class Stream(_Managed):
    """A managed stream for sync callers: an iterator, a context manager, with `close`.

    Example:
        >>> import relay_core as relay
        >>> with relay.stream_llm("local", {"messages": []}, lambda request: iter(["a", "b"])) as stream:
        ...     list(stream)
        ['a', 'b']
    """

    def __init__(self, relay: Relay, call: LlmCall, fn: Callable[[Any], Any], assemble: Any) -> None:
        self._opening = _Opening(relay, call, fn, assemble)
        refuse_await_only(self._opening.chain, call)
        self._chunks = _iterate(self._opening)  # it does not know this object, so that leaving ends it at once

    def __iter__(self) -> Iterator[Any]:
        return self._chunks

    def __next__(self) -> Any:
        return next(self._chunks)

    def open(self) -> Self:
        """Send the request now, not when the first chunk is asked for; raises what sending raises."""
        self._opening.opens = True
        next(self._chunks)
        return self

    def close(self, cause: str = "closed", error: BaseException | None = None) -> None:
        """Leave the stream: the provider's stream is closed, the scope ends. Closing twice is harmless.

        Args:
            cause: for adapters: "complete" where the rest of the stream says nothing, "error" where it has failed.
            error: for adapters: what it failed with.
        """
        self._opening.cause, self._opening.error = cause, error
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _iterate(opening: _Opening) -> Generator[Any, None, None]:
    source, final = step_through(opening.begin(wait=False))
    try:
        if opening.opens:
            yield None  # taken by `open`
        iterator = _iterator(source, opening.call)
        if final is None:
            yield from iterator
        elif final.chunks is None and final.claim is None:
            # Nobody observes: the scope need not be current between chunks, which costs most of a chunk.
            kept = final.kept
            for chunk in iterator:
                kept.more += 1
                yield chunk
        elif final.passes:
            take = final.take
            for chunk in iterator:
                take(chunk)
                yield chunk
        else:
            yield from _steps(opening.relay, iterator, final)
    except BaseException as error:
        opening.leave(final, error)
        raise
    finally:
        close = getattr(source, "close", None)
        try:
            if callable(close):
                close()
        finally:
            if final is not None:
                final.finish("complete")


def _steps(relay: Relay, iterator: Iterator[Any], final: Finaliser) -> Generator[Any, None, None]:
    """Give the chunks; while the source makes one, the call's scope is current, and its claim, if it has one."""
    scope, take, claim, current = final.scope, final.take, final.claim, relay._current
    used, token = None, current.set(scope)
    if claim is not None:
        claim.__enter__()
    try:
        for chunk in iterator:
            used = token  # noted first: a signal may come right behind
            current.reset(token)
            if claim is not None:
                relay.release(claim)
            take(chunk)
            yield chunk
            token = current.set(scope)
            if claim is not None:
                claim.__enter__()
    finally:
        if token is not used:
            current.reset(token)
            if claim is not None:
                relay.release(claim)


def _iterator(source: Any, call: LlmCall) -> Iterator[Any]:
    if not isinstance(source, Iterable):
        raise UsageError(
            f"stream_llm {call.name!r}: the function gave {type(source).__name__}, which is no iterable; "
            f"use astream_llm for async streams"
        )
    return iter(source)  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]  # of anything


class AsyncStream(_Managed):
    """A managed stream for async callers: an async iterator, an async context manager, with `aclose`.

    Example:
        >>> import asyncio, relay_core as relay
        >>> async def chunks(request):
        ...     yield "a"
        ...     yield "b"
        >>> async def main():
        ...     return [chunk async for chunk in relay.astream_llm("local", {"messages": []}, chunks)]
        >>> asyncio.run(main())
        ['a', 'b']
    """

    def __init__(self, relay: Relay, call: LlmCall, fn: Callable[[Any], Any], assemble: Any) -> None:
        self._opening = _Opening(relay, call, fn, assemble)
        self._chunks = _aiterate(self._opening)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._chunks

    async def __anext__(self) -> Any:
        return await anext(self._chunks)

    async def open(self) -> Self:
        """Send the request now, not when the first chunk is asked for; raises what sending raises."""
        self._opening.opens = True
        await anext(self._chunks)
        return self

    async def aclose(self, cause: str = "closed", error: BaseException | None = None) -> None:
        """Leave the stream: the provider's stream is closed, the scope ends. Closing twice is harmless.

        Args:
            cause: for adapters, as in `Stream.close`.
            error: for adapters: what it failed with.
        """
        self._opening.cause, self._opening.error = cause, error
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


async def _aiterate(  # noqa: C901, PLR0912  # one loop: a second async generator would cost as much as the chunk
    opening: _Opening,
) -> AsyncGenerator[Any, None]:
    source, final = await opening.begin(wait=True)
    try:
        if opening.opens:
            yield None  # taken by `open`
        _check_async(source, opening.call)
        if final is None or (final.chunks is None and final.claim is None):  # as in _iterate
            async for chunk in source:
                if final is not None:
                    final.kept.more += 1
                yield chunk
        elif final.passes:
            take = final.take
            async for chunk in source:
                take(chunk)
                yield chunk
        else:
            relay, scope, take, claim = opening.relay, final.scope, final.take, final.claim
            current = relay._current
            used, token = None, current.set(scope)
            if claim is not None:
                claim.__enter__()
            try:
                async for chunk in source:
                    used = token  # noted first: a signal may come right behind
                    try:
                        current.reset(token)
                    except ValueError:  # see `take_back`
                        take_back(token)
                    if claim is not None:
                        relay.release(claim)
                    take(chunk)
                    yield chunk
                    token = current.set(scope)
                    if claim is not None:
                        claim.__enter__()
            finally:
                if token is not used:
                    take_back(token)
                    if claim is not None:
                        relay.release(claim)
    except BaseException as error:
        opening.leave(final, error)
        raise
    finally:
        try:
            await _aclose(source)
        finally:
            if final is not None:
                final.finish("complete")


async def _aclose(source: Any) -> None:
    """Close the provider's stream: async generators have `aclose`, the streams of SDKs an async `close`."""
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    if callable(close):
        done = close()
        if isinstance(done, Awaitable):
            await done


def _check_async(source: Any, call: LlmCall) -> None:
    if not isinstance(source, AsyncIterable):
        raise UsageError(
            f"astream_llm {call.name!r}: the function gave {type(source).__name__}, which is no async iterable"
        )
