"""The part of `Relay` that runs tool and model calls."""

# Calling is only ever part of a Relay:
# pyright: reportArgumentType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.call_types import LlmCall, ToolCall, joined, llm_scope
from relay_core.calls import arun_plain, here, managed, run, run_plain
from relay_core.errors import UsageError
from relay_core.pipeline import finished
from relay_core.scopes import CURRENT, Scope
from relay_core.scoping import Scoping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import ContextVar

    from relay_core.claims import Claim
    from relay_core.codecs import Codec, CodecRegistry
    from relay_core.middleware import Chains
    from relay_core.observation import Observation
    from relay_core.scopes import Node
    from relay_core.streams import AsyncStream, Stream

__all__ = ["Calling"]


class Calling(Scoping):
    """Managed calls; see `relay_core.Relay`."""

    _chains: Chains
    _claim: ContextVar[Claim | None]
    _codecs: CodecRegistry | None
    _scoped: bool

    # -- managed calls -------------------------------------------------------------------------------------------

    def call_tool(
        self,
        name: str,
        args: Any,
        func: Callable[[Any], Any],
        *,
        parent: Node | None = CURRENT,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        tool_call_id: str | None = None,
        claim: bool = False,
        observation: Observation | None = None,
    ) -> Any:
        """Run a tool under policy and observation, on the caller's thread.

        Args:
            name: of the tool.
            args: handed to `func` as they are, unless an intercept replaces them.
            func: the tool, called with the arguments.
            parent: default the current scope.
            metadata: correlation data for the events.
            attributes: behaviour flags, such as "remote".
            profile: fields of the category profile.
            tool_call_id: the id that the model gave the call.
            claim: for adapters: an inner adapter that sees the same call adds to this one.
            observation: for adapters: what observers see of the call's objects.

        Returns:
            What `func` returned, the same object, unless an intercept replaced it.

        Raises:
            Blocked: a guardrail said no; `func` did not run.
            UsageError: `func` is async, or an intercept must await.
            Exception: whatever `func` raised, the same object.

        Example:
            >>> import relay_core as relay
            >>> relay.call_tool("add", {"a": 1, "b": 2}, lambda args: args["a"] + args["b"])
            3
        """
        if self.disabled:
            return func(args)
        chain = (self.chains_for(parent := here(self, parent)) if self._scoped else self._chains).tool
        if chain is None and not claim and observation is None and self._claim.get() is None:
            if tool_call_id is not None:
                profile = joined("tool", name, profile, "tool_call_id", tool_call_id)
            scope = Scope().prepare(self, name, "tool", parent, args, metadata, profile or {}, attributes, None)
            return run_plain(self, scope, args, func)
        parent = here(self, parent)
        call = ToolCall(name, args, parent, metadata, attributes, profile, tool_call_id, claim, observation)
        return run(self, call, chain, func)

    async def acall_tool(
        self,
        name: str,
        args: Any,
        func: Callable[[Any], Any],
        *,
        parent: Node | None = CURRENT,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        tool_call_id: str | None = None,
        claim: bool = False,
        observation: Observation | None = None,
    ) -> Any:
        """Run a sync or async tool for an async caller, in its own task; otherwise as `call_tool`.

        Example:
            >>> import asyncio, relay_core as relay
            >>> async def add(args):
            ...     return args["a"] + args["b"]
            >>> asyncio.run(relay.acall_tool("add", {"a": 1, "b": 2}, add))
            3
        """
        if self.disabled:
            return await finished(func(args), True)
        chain = (self.chains_for(parent := here(self, parent)) if self._scoped else self._chains).tool
        if chain is None and not claim and observation is None and self._claim.get() is None:
            if tool_call_id is not None:
                profile = joined("tool", name, profile, "tool_call_id", tool_call_id)
            scope = Scope().prepare(self, name, "tool", parent, args, metadata, profile or {}, attributes, None)
            return await arun_plain(self, scope, args, func)
        parent = here(self, parent)
        call = ToolCall(name, args, parent, metadata, attributes, profile, tool_call_id, claim, observation)
        return await managed(self, call, chain, func, True)

    def call_llm(
        self,
        name: str,
        request: Any,
        func: Callable[[Any], Any],
        *,
        codec: Codec | str | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        parent: Node | None = CURRENT,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        claim: bool = False,
        observation: Observation | None = None,
        category: str = "llm",
    ) -> Any:
        """Run a model call under policy and observation, on the caller's thread.

        Args:
            name: of the provider or logical call.
            request: the native request, handed to `func` as it is, unless an intercept replaces it.
            func: the call, made with the request.
            codec: the lens to the neutral view: a codec or the name of a registered one.
            model: the model asked for.
            headers: request headers for observers; credentials among them are never recorded.
            parent: default the current scope.
            metadata: correlation data for the events.
            attributes: behaviour flags, such as "stateful".
            profile: fields of the category profile.
            category: llm, or embedder or reranker for models that give no text.
            claim: for adapters: an inner adapter that sees the same call adds to this one.
            observation: for adapters: what observers see of the call's objects.

        Returns:
            What `func` returned, the same object, unless an intercept replaced it.

        Raises:
            Blocked: a guardrail said no; `func` did not run.
            UsageError: `func` is async, or an intercept must await.
            CodecError: no codec has that name.
            Exception: whatever `func` raised, the same object.

        Example:
            >>> import relay_core as relay
            >>> relay.call_llm("local", {"messages": []}, lambda request: {"text": "hi"}, model="m")
            {'text': 'hi'}
        """
        if self.disabled:
            return func(request)
        lens = None if codec is None else self._codec(codec)
        chain = (self.chains_for(parent := here(self, parent)) if self._scoped else self._chains).llm
        if chain is None and not claim and observation is None:
            node = llm_scope(self, name, request, parent, metadata, attributes, profile, model, headers, lens, category)
            return run_plain(self, node, request, func)
        parent = here(self, parent)
        call = LlmCall(
            name, request, parent, metadata, attributes, profile, model, headers, lens, claim, observation, category
        )
        return run(self, call, chain, func)

    async def acall_llm(
        self,
        name: str,
        request: Any,
        func: Callable[[Any], Any],
        *,
        codec: Codec | str | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        parent: Node | None = CURRENT,
        metadata: Mapping[str, Any] | None = None,
        attributes: Iterable[str] = (),
        profile: Mapping[str, Any] | None = None,
        claim: bool = False,
        observation: Observation | None = None,
        category: str = "llm",
    ) -> Any:
        """Run a sync or async model call for an async caller, in its own task; otherwise as `call_llm`.

        Example:
            >>> import asyncio, relay_core as relay
            >>> async def send(request):
            ...     return {"text": "hi"}
            >>> asyncio.run(relay.acall_llm("local", {"messages": []}, send))
            {'text': 'hi'}
        """
        if self.disabled:
            return await finished(func(request), True)
        lens = None if codec is None else self._codec(codec)
        chain = (self.chains_for(parent := here(self, parent)) if self._scoped else self._chains).llm
        if chain is None and not claim and observation is None:
            node = llm_scope(self, name, request, parent, metadata, attributes, profile, model, headers, lens, category)
            return await arun_plain(self, node, request, func)
        parent = here(self, parent)
        call = LlmCall(
            name, request, parent, metadata, attributes, profile, model, headers, lens, claim, observation, category
        )
        return await managed(self, call, chain, func, True)

    def stream_llm(
        self, name: str, request: Any, func: Callable[[Any], Any], *, assemble: Any = None, **options: Any
    ) -> Stream:
        """Run a streaming model call; nothing happens before the first chunk is asked for.

        Args:
            name: of the provider or logical call.
            request: the native request.
            func: called with the request; gives an iterable of chunks.
            assemble: puts the list of chunks together to the response that the end event shows; default the codec's
                assembler, else the chunks themselves.
            **options: as for `call_llm`.

        Returns:
            An iterator of the chunks, the same objects; also a context manager.

        Example:
            >>> import relay_core as relay
            >>> "".join(relay.stream_llm("local", {}, lambda request: iter("abc"), assemble="".join))
            'abc'
        """
        from relay_core.streams import Stream  # noqa: PLC0415  # not on every path

        return Stream(self, self._stream_call(name, request, options), func, assemble)

    def astream_llm(
        self, name: str, request: Any, func: Callable[[Any], Any], *, assemble: Any = None, **options: Any
    ) -> AsyncStream:
        """Run a streaming model call for an async caller; otherwise as `stream_llm`.

        Args:
            name: of the provider or logical call.
            request: the native request.
            func: called with the request; gives an async iterable, or a coroutine of one.
            assemble: as for `stream_llm`.
            **options: as for `call_llm`.

        Returns:
            An async iterator of the chunks; also an async context manager.

        Example:
            >>> import asyncio, relay_core as relay
            >>> async def chunks(request):
            ...     yield "a"
            >>> async def main():
            ...     async with relay.astream_llm("local", {}, chunks) as stream:
            ...         return [chunk async for chunk in stream]
            >>> asyncio.run(main())
            ['a']
        """
        from relay_core.streams import AsyncStream  # noqa: PLC0415  # not on every path

        return AsyncStream(self, self._stream_call(name, request, options), func, assemble)

    def _stream_call(self, name: str, request: Any, options: dict[str, Any]) -> LlmCall:
        known = (
            "codec",
            "model",
            "headers",
            "parent",
            "metadata",
            "attributes",
            "profile",
            "claim",
            "observation",
            "category",
        )
        unknown = options.keys() - set(known)
        if unknown:
            raise UsageError(f"stream_llm has no argument {', '.join(sorted(unknown))}; it has {', '.join(known)}")
        return LlmCall(
            name,
            request,
            options.get("parent", CURRENT),
            options.get("metadata"),
            {*options.get("attributes", ()), "streaming"},
            options.get("profile"),
            options.get("model"),
            options.get("headers"),
            self._codec(options.get("codec")),
            options.get("claim", False),
            options.get("observation"),
            options.get("category", "llm"),
        )

    def _codec(self, codec: Codec | str | None) -> Codec | None:
        return self.codecs.get(codec) if isinstance(codec, str) else codec

    @property
    def codecs(self) -> CodecRegistry:
        """The codecs of this runtime, by name."""
        if self._codecs is None:
            from relay_core.codecs import CodecRegistry  # noqa: PLC0415  # only calls with a codec need it

            self._codecs = CodecRegistry()
        return self._codecs
