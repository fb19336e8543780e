"""Models under policy, wherever they are called: chains, graph nodes, agents, by hand.

A wrapped model manages its call around the run that LangChain makes of it, as `RelayMiddleware` does for an agent.
Events, parents and retries are therefore the same in both ways, and a call inside both is managed once.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseLanguageModel

from relay_adapter_langchain.answers import as_answer, as_chunk, as_result, merged
from relay_adapter_langchain.calls import Frame, around_call
from relay_adapter_langchain.codec import CODEC, named_model
from relay_adapter_langchain.policy import Controlled, checked, controlled
from relay_adapter_langchain.prompts import prompts_of
from relay_adapter_langchain.requests import ModelCall
from relay_core.call_types import LlmCall
from relay_core.calls import place
from relay_core.errors import Blocked, UsageError
from relay_core.pipeline import before, step_through
from relay_core.scopes import CURRENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from relay_adapter_langchain.policy import OnBlock, Policy
    from relay_adapter_langchain.prompts import Prompt
    from relay_core.runtime import Relay
    from relay_core.streams import AsyncStream, Stream

__all__ = ["wrap_model"]


def wrap_model(model: Any, relay: Relay | None = None, *, on_block: OnBlock = "raise") -> Any:
    """Copy a model and put the copy under policy: guardrails and intercepts run around each of its calls.

    The copy is an instance of the same class. ``bind_tools``, ``with_structured_output``, ``with_retry``, batches and
    streams work as before; so do copying and pickling. In an agent with `RelayMiddleware` a call is still managed once.

    Args:
        model: a chat model or a text model.
        relay: the runtime; default the process-wide one.
        on_block: what a blocked call gives: "raise", `Blocked`; or "message", the reason as the model's words.

    Returns:
        The copy.

    Raises:
        UsageError: this is no model, or `on_block` has another value.

    Example:
        >>> import relay_core as relay
        >>> from langchain_core.language_models import FakeListChatModel
        >>> runtime = relay.Relay()
        >>> @runtime.guardrail("llm")
        ... def no_weather(call):
        ...     return relay.Block("not my field") if "weather" in call.view.last_user_text() else None
        >>> model = wrap_model(FakeListChatModel(responses=["hello"]), runtime, on_block="message")
        >>> model.invoke("hi").content, model.invoke("the weather?").content, isinstance(model, FakeListChatModel)
        ('hello', 'not my field', True)
    """
    if not isinstance(model, BaseLanguageModel):
        raise UsageError(
            f"wrap_model takes a chat model or a text model, not {type(model).__name__}; wrap() takes more"
        )
    return controlled(ModelControl, model, checked("wrap_model", relay, on_block))


class _Managed:
    """One call of a wrapped model on its way.

    Args:
        model: the wrapped model.
        policy: whose policy it is under.
        given: its input.
        options: its other arguments.
    """

    def __init__(self, model: Any, policy: Policy, given: Any, options: dict[str, Any]) -> None:
        self.relay = policy.relay
        self.policy = policy
        self.given = given
        self.given_options = options
        self.call = ModelCall.of(model, given, options)
        self.frame = Frame("llm", model.get_name(), asked=self.call)
        self.result: Any = None

    def edited(self, call: ModelCall) -> tuple[Any, dict[str, Any], Any]:
        """Give input and options for an edited call, and the model where it is another one.

        Raises:
            UsageError: an intercept put something else in the place of the call.
        """
        if type(call) is not ModelCall:
            raise UsageError(
                f"the request of a wrapped model is a ModelCall, not {type(call).__name__}; use call.request.override()"
            )
        self.frame.asked = call
        other = None if call.model is self.call.model else call.model
        return call.input(self.call, self.given), call.options(self.call, self.given_options), other

    def options(self) -> dict[str, Any]:
        """Give the options of the managed call."""
        return {"codec": CODEC, "model": named_model(self.call.model), "claim": True, "observation": self.frame}

    def blocked(self, blocked: Blocked) -> str:
        """Give the reason, if a blocked call answers with it.

        Raises:
            Blocked: else.
        """
        if self.frame.ran or self.policy.on_block == "raise":
            raise blocked
        return blocked.words

    def run(self, real: Callable[[ModelCall], Any], bare: Callable[[], Any], *, innermost: bool) -> Any:
        """Run the call under policy, or just run it where an outer layer manages it."""

        def entered(call: ModelCall) -> Any:
            with self.frame.entered(self.relay, innermost=innermost):
                return real(call)

        with around_call(self.relay, self.frame, innermost=innermost) as is_managed:
            if is_managed:
                return bare()
            try:
                return self.relay.call_llm(self.frame.name, self.call, entered, **self.options())
            except Blocked as blocked:
                return self.blocked(blocked)

    async def arun(self, real: Callable[[ModelCall], Any], bare: Callable[[], Any], *, innermost: bool) -> Any:
        """Do the same for an async call."""

        async def entered(call: ModelCall) -> Any:
            with self.frame.entered(self.relay, innermost=innermost):
                return await real(call)

        with around_call(self.relay, self.frame, innermost=innermost) as is_managed:
            if is_managed:
                return await bare()
            try:
                return await self.relay.acall_llm(self.frame.name, self.call, entered, **self.options())
            except Blocked as blocked:
                return self.blocked(blocked)

    def open_stream(self, real: Callable[[ModelCall], Any]) -> Stream | str | None:
        """Open the stream under policy; None where an outer layer manages it, the reason where it is blocked."""
        self.frame.streams = True
        with around_call(self.relay, self.frame) as is_managed:
            if is_managed:
                return None
            try:
                return self.relay.stream_llm(self.frame.name, self.call, real, **self.options()).open()
            except Blocked as blocked:
                return self.blocked(blocked)

    async def aopen_stream(self, real: Callable[[ModelCall], Any]) -> AsyncStream | str | None:
        """Do the same for an async stream."""
        self.frame.streams = True
        with around_call(self.relay, self.frame) as is_managed:
            if is_managed:
                return None
            try:
                return await self.relay.astream_llm(self.frame.name, self.call, real, **self.options()).open()
            except Blocked as blocked:
                return self.blocked(blocked)

    def is_executed(self) -> bool:
        """Tell whether execution intercepts are around the call."""
        chain = place(self.relay, CURRENT)[1].llm
        return chain is not None and bool(chain.executions)

    async def before(self, *, wait: bool) -> tuple[Any, dict[str, Any]]:
        """Run guardrails and request intercepts alone; give input and options.

        Raises:
            Blocked: a guardrail said no.
        """
        given, options = self.given, self.given_options
        with around_call(self.relay, self.frame) as is_managed:
            parent, chains = place(self.relay, CURRENT)
            if is_managed or chains.llm is None:
                return given, options
            call: Any = LlmCall(self.frame.name, self.call, parent, codec=CODEC, observation=self.frame)
            call = await before(self.relay, chains.llm, call, wait)
            given, options, other = self.edited(call.request)
            if other is not None:
                raise UsageError("a request intercept cannot send a call to another model; an execution intercept can")
            return given, options


class ModelControl(Controlled):
    """The ways to call a model, each under policy."""

    def _managed(self, given: Any, options: dict[str, Any]) -> _Managed | None:
        policy = self.__relay_policy__
        return None if policy.relay.disabled else _Managed(self, policy, given, options)

    # -- one answer ----------------------------------------------------------------------------------------------

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002  # LangChain's name
        """Ask once, under policy."""
        bare: Any = super().invoke  # pyright: ignore[reportAttributeAccessIssue]  # of the class that is wrapped
        managed = self._managed(input, kwargs)
        if managed is None:
            return bare(input, config, **kwargs)

        def real(call: ModelCall) -> Any:
            given, options, other = managed.edited(call)
            return (other.invoke if other is not None else bare)(given, config, **options)

        return as_answer(self, managed.run(real, lambda: bare(input, config, **kwargs), innermost=False))

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002  # see invoke
        """Ask once, under policy."""
        bare: Any = super().ainvoke  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        managed = self._managed(input, kwargs)
        if managed is None:
            return await bare(input, config, **kwargs)

        async def real(call: ModelCall) -> Any:
            given, options, other = managed.edited(call)
            return await (other.ainvoke if other is not None else bare)(given, config, **options)

        return as_answer(self, await managed.arun(real, lambda: bare(input, config, **kwargs), innermost=False))

    # -- several at once -----------------------------------------------------------------------------------------

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Ask with each of the prompts, each under policy."""
        bare: Any = super().generate  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        policy, prompts = self.__relay_policy__, prompts_of(args, kwargs)
        if policy.relay.disabled or not prompts:
            return bare(*args, **kwargs)

        def ask(prompt: Prompt) -> Any:
            managed = _Managed(self, policy, prompt.given, prompt.options)

            def real(call: ModelCall) -> Any:
                given, options, other = managed.edited(call)
                return prompt.ask(bare, given, options) if other is None else other.invoke(given, **options)

            unmanaged = functools.partial(prompt.ask, bare, prompt.given, prompt.options)
            return as_result(self, managed.run(real, unmanaged, innermost=True))

        return merged(self, [ask(prompt) for prompt in prompts])

    async def agenerate(self, *args: Any, **kwargs: Any) -> Any:
        """Ask with each of the prompts, each under policy, at the same time."""
        bare: Any = super().agenerate  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        policy, prompts = self.__relay_policy__, prompts_of(args, kwargs)
        if policy.relay.disabled or not prompts:
            return await bare(*args, **kwargs)

        async def ask(prompt: Prompt) -> Any:
            managed = _Managed(self, policy, prompt.given, prompt.options)

            async def real(call: ModelCall) -> Any:
                given, options, other = managed.edited(call)
                return await (prompt.ask(bare, given, options) if other is None else other.ainvoke(given, **options))

            unmanaged = functools.partial(prompt.ask, bare, prompt.given, prompt.options)
            return as_result(self, await managed.arun(real, unmanaged, innermost=True))

        if len(prompts) == 1:
            return await ask(prompts[0])
        results: list[Any] = await asyncio.gather(*map(ask, prompts), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return merged(self, results)

    # -- streams -------------------------------------------------------------------------------------------------

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002  # see invoke
        """Stream an answer, under policy."""
        bare: Any = super().stream  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        managed = self._managed(input, kwargs)
        if managed is None:
            yield from bare(input, config, **kwargs)
            return

        def real(call: ModelCall) -> Iterator[Any]:
            given, options, other = managed.edited(call)
            source = (other.stream if other is not None else bare)(given, config, **options)
            return managed.frame.stepping(managed.relay, source)

        stream = managed.open_stream(real)
        if stream is None:
            yield from bare(input, config, **kwargs)
        elif isinstance(stream, str):
            yield as_chunk(self, stream)
        else:
            try:
                for chunk in stream:
                    yield as_chunk(self, chunk)
            finally:
                stream.close()

    async def astream(self, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002  # see invoke
        """Stream an answer, under policy."""
        bare: Any = super().astream  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        managed = self._managed(input, kwargs)
        stream = None

        def real(call: ModelCall) -> AsyncIterator[Any]:
            assert managed is not None  # else it is not called
            given, options, other = managed.edited(call)
            source = (other.astream if other is not None else bare)(given, config, **options)
            return managed.frame.astepping(managed.relay, source)

        if managed is not None:
            stream = await managed.aopen_stream(real)
        if stream is None:
            async for chunk in bare(input, config, **kwargs):
                yield chunk
        elif isinstance(stream, str):
            yield as_chunk(self, stream)
        else:
            try:
                async for chunk in stream:
                    yield as_chunk(self, chunk)
            finally:
                await stream.aclose()

    def stream_events(self, input: Any, config: Any = None, *, version: str = "v2", **kwargs: Any) -> Any:  # noqa: A002  # see invoke
        """Stream events, under policy. It runs when the stream is made."""
        bare: Any = super().stream_events  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        managed = self._managed(input, kwargs) if version == "v3" else None
        if managed is None:
            return bare(input, config, version=version, **kwargs)
        if not managed.is_executed():
            try:
                given, options = step_through(managed.before(wait=False))
            except Blocked as blocked:
                return _event_streams().events_of(iter([managed.blocked(blocked)]))
            return bare(given, config, version=version, **options)
        plain: Any = super().stream  # pyright: ignore[reportAttributeAccessIssue]  # see invoke

        def real(call: ModelCall) -> Iterator[Any]:
            given, options, other = managed.edited(call)
            source = (other.stream if other is not None else plain)(given, config, **options)
            return managed.frame.stepping(managed.relay, source)

        stream = managed.open_stream(real)
        if stream is None:
            return bare(input, config, version=version, **kwargs)
        return _event_streams().events_of(iter([stream]) if isinstance(stream, str) else iter(stream))

    def astream_events(self, input: Any, config: Any = None, *, version: str = "v2", **kwargs: Any) -> Any:  # noqa: A002  # see invoke
        """Stream events, as `stream_events` does."""
        bare: Any = super().astream_events  # pyright: ignore[reportAttributeAccessIssue]  # see invoke
        managed = self._managed(input, kwargs) if version == "v3" else None
        if managed is None:
            return bare(input, config, version=version, **kwargs)
        plain: Any = super().astream  # pyright: ignore[reportAttributeAccessIssue]  # see invoke

        def real(call: ModelCall) -> AsyncIterator[Any]:
            given, options, other = managed.edited(call)
            source = (other.astream if other is not None else plain)(given, config, **options)
            return managed.frame.astepping(managed.relay, source)

        async def opened() -> Any:
            if not managed.is_executed():
                try:
                    given, options = await managed.before(wait=True)
                except Blocked as blocked:
                    return _event_streams().aevents_of(_one(managed.blocked(blocked)))
                return await bare(given, config, version=version, **options)
            stream = await managed.aopen_stream(real)
            if stream is None:
                return await bare(input, config, version=version, **kwargs)
            return _event_streams().aevents_of(_one(stream) if isinstance(stream, str) else aiter(stream))

        return opened()


async def _one(words: str) -> AsyncIterator[str]:
    yield words


def _event_streams() -> Any:
    """Load what few programs need, when they need it: it stands on parts of LangChain that are in beta."""
    from relay_adapter_langchain import event_streams  # noqa: PLC0415  # see above

    return event_streams
