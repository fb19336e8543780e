"""What an adapter's tests tell the contract: its capabilities, and how to make one call of the real framework."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import pytest

from relay_core.errors import UsageError
from relay_core.testing.assertions import assert_well_formed
from relay_core.testing.contracts import Contract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from relay_core.adapters import Adapter
    from relay_core.events import ScopeEvent
    from relay_core.runtime import Relay
    from relay_core.testing.recorder import EventRecorder

__all__ = ["AdapterCapabilities", "AdapterDrivers", "Outcome", "Subject"]


@dataclass(frozen=True)
class AdapterCapabilities:
    """What an adapter and its framework can do. Each is True, or a text that says why not: its tests are skipped then.

    Args:
        tools: tool calls are seen.
        llm: model calls are seen.
        sync: the framework has sync calls.
        asynchronous: it has async ones.
        streaming: model calls can stream.
        batch: many inputs can be given at once.
        threads: it may be used from several threads.
        block: a guardrail can stop calls.
        rewrite: a request intercept can change what is asked.
        replace: an execution intercept can change what is answered.

    Raises:
        UsageError: one is neither True nor a reason.

    Example:
        >>> AdapterCapabilities(batch="the framework has no batches").batch
        'the framework has no batches'
    """

    tools: Literal[True] | str = True
    llm: Literal[True] | str = True
    sync: Literal[True] | str = True
    asynchronous: Literal[True] | str = True
    streaming: Literal[True] | str = True
    batch: Literal[True] | str = True
    threads: Literal[True] | str = True
    block: Literal[True] | str = True
    rewrite: Literal[True] | str = True
    replace: Literal[True] | str = True

    def __post_init__(self) -> None:
        """Demand a reason for what is off."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not True and not (isinstance(value, str) and value.strip()):
                raise UsageError(
                    f"AdapterCapabilities: {field.name} is True, or a text that says why not, got {value!r}"
                )


class Outcome(NamedTuple):
    """How one call went, in terms that do not depend on Relay."""

    result: Any
    error: BaseException | None
    asked: Any  # what the real tool or model got
    answer: Any  # what it gave or raised


class Subject:
    """One kind of call of the adapter under test: tool or model, sync or async."""

    def __init__(self, contract: AdapterDrivers, kind: Literal["llm", "tool"], mode: Literal["sync", "async"]) -> None:
        self.contract = contract
        self.kind: Literal["llm", "tool"] = kind
        self.mode = mode

    def run(self, relay: Relay | None, text: str, body: Callable[[str], Any]) -> Any:
        """Make one call; `relay` is None where the framework runs without the adapter."""
        if self.mode == "sync":
            return getattr(self.contract, f"call_{self.kind}")(relay, text, body)
        return asyncio.run(self.arun(relay, text, body))

    async def arun(self, relay: Relay | None, text: str, body: Callable[[str], Any]) -> Any:
        """Make one async call in the running loop; a `body` that gives an awaitable is awaited."""

        async def real(value: str) -> Any:
            await asyncio.sleep(0)
            found = body(value)
            return await found if asyncio.iscoroutine(found) else found

        return await getattr(self.contract, f"acall_{self.kind}")(relay, text, real)

    def outcome(self, relay: Relay | None, text: str, answer: Any) -> Outcome:
        """Make one call whose real tool or model gives `answer`, or raises it, and tell how it went."""
        asked: list[Any] = []

        def body(value: str) -> Any:
            asked.append(value)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            result = self.run(relay, text, body)
        except Exception as error:  # noqa: BLE001  # an exception is an outcome
            return Outcome(None, error, asked[0] if asked else None, answer)
        return Outcome(result, None, asked[0] if asked else None, answer)


def _driver(capability: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a driver that says how to go on; an adapter's tests define the real one."""

    def make(stub: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(stub)
        def missing(self: object, *_args: Any) -> Any:
            raise UsageError(
                f"{type(self).__name__} has no {stub.__name__}(); define it, or say in AdapterCapabilities why {capability} is off"
            )

        return missing

    return make


class AdapterDrivers(Contract):
    """The part of the contract that an adapter's tests fill in; see `AdapterContract`."""

    capabilities: ClassVar[AdapterCapabilities] = AdapterCapabilities()
    entry: ClassVar[str]
    frameworks: ClassVar[tuple[str, ...]] = ()
    growth_runs: ClassVar[int] = 2_000

    def make_adapter(self) -> Adapter:
        """Give the adapter; default what `entry` names."""
        module, _, attribute = self.entry.partition(":")
        found: Any = import_module(module)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
        return found() if isinstance(found, type) else found

    @_driver("llm or sync")
    def call_llm(self, relay: Relay | None, text: str, body: Callable[[str], Any]) -> Any:
        """Ask a model of the framework `text`; its answer is ``body(text)``."""

    @_driver("llm or asynchronous")
    async def acall_llm(self, relay: Relay | None, text: str, body: Callable[[str], Awaitable[Any]]) -> Any:
        """Do the same through the framework's async way."""

    @_driver("tools or sync")
    def call_tool(self, relay: Relay | None, text: str, body: Callable[[str], Any]) -> Any:
        """Call a tool of the framework with the argument ``value=text``; its result is ``body(text)``."""

    @_driver("tools or asynchronous")
    async def acall_tool(self, relay: Relay | None, text: str, body: Callable[[str], Awaitable[Any]]) -> Any:
        """Do the same through the framework's async way."""

    @_driver("streaming or sync")
    def stream_llm(self, relay: Relay | None, text: str, body: Callable[[str], Iterator[str]]) -> Any:
        """Stream a model's answer, made of the pieces of ``body(text)``: the framework's own iterator."""

    @_driver("streaming or asynchronous")
    def astream_llm(self, relay: Relay | None, text: str, body: Callable[[str], AsyncIterator[str]]) -> Any:
        """Do the same through the framework's async way: its own async iterator."""

    @_driver("batch")
    def batch_llm(self, relay: Relay | None, texts: Sequence[str], body: Callable[[str], Any]) -> Any:
        """Ask all the texts with one call of the framework."""

    def settle(self, relay: Relay) -> None:
        """Let the adapter notice calls whose end the framework does not tell; default nothing."""

    def text_of(self, result: Any) -> str:
        """Give the text of what a call or a stream's step has returned."""
        return str(result)

    def rewritten(self, call: Any, old: str, new: str) -> Any:
        """Give the call with `new` in place of `old` in its request; default for requests of dicts, lists and text."""
        return call.replace(request=_put(call.request, old, new))

    def replaced(self, kind: str, result: Any, text: str) -> Any:
        """Give a result of the same kind as `result` with this text; default for results that are text."""
        if not isinstance(result, str):
            raise UsageError(
                f"{type(self).__name__}: results are {type(result).__name__}; define replaced() for {kind}"
            )
        return text

    # -- fixtures and helpers ---

    def needs(self, *capabilities: str) -> None:
        """Skip the test if one of the capabilities is off."""
        for name in capabilities:
            reason = getattr(self.capabilities, name)
            if reason is not True:
                pytest.skip(f"{name}: {reason}")

    @pytest.fixture
    def relay(self, relay_runtime: Relay) -> Iterator[Relay]:
        """Give a runtime with the adapter installed."""
        adapter = self.make_adapter()
        relay_runtime.adapters.install(adapter)
        yield relay_runtime
        relay_runtime.adapters.uninstall(adapter.name)

    @pytest.fixture(params=["llm-sync", "llm-async", "tool-sync", "tool-async"])
    def subject(self, request: pytest.FixtureRequest) -> Subject:
        """Give each kind of call in turn."""
        kind, _, mode = str(request.param).partition("-")
        self.needs("llm" if kind == "llm" else "tools", "sync" if mode == "sync" else "asynchronous")
        return Subject(self, "llm" if kind == "llm" else "tool", "sync" if mode == "sync" else "async")

    def pairs(self, events: EventRecorder, kind: str) -> list[tuple[ScopeEvent, ScopeEvent]]:
        """Give start and end of each call of this kind, after checking the form of all events."""
        self.settle(events.runtime)
        assert_well_formed(events)
        ends = {end.uuid: end for end in events.ends(kind)}
        return [(start, ends[start.uuid]) for start in events.starts(kind)]

    def one(self, events: EventRecorder, kind: str) -> tuple[ScopeEvent, ScopeEvent]:
        """Give start and end of the only call of this kind."""
        found = self.pairs(events, kind)
        assert len(found) == 1, f"one logical call gave {len(found)} {kind} scopes:\n{events.tree()}"
        return found[0]


def _put(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if type(value) is dict:  # subclasses belong to the framework
        return {key: _put(item, old, new) for key, item in cast("dict[Any, Any]", value).items()}
    if type(value) is list:
        return [_put(item, old, new) for item in cast("list[Any]", value)]
    return value
