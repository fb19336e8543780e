"""The callback handler: turns LangChain's runs into scopes.

It holds no state of runs, so any number of instances, copies and pickles are one; the runs are in `runs.RunTable`.
Methods are sync and run inline: LangChain then calls them in order, in the context of the code that runs.
"""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks.base import BaseCallbackHandler

import relay_core
from relay_adapter_langchain import observation
from relay_adapter_langchain.outcomes import is_cancelled
from relay_adapter_langchain.runs import table_of
from relay_adapter_langchain.shapes import shown
from relay_core.scopes import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from relay_adapter_langchain.runs import Run, RunTable
    from relay_core.runtime import Relay

__all__ = ["RelayCallbackHandler", "contained"]

_runtimes: weakref.WeakValueDictionary[int, Relay] = weakref.WeakValueDictionary()


def contained(method: Callable[..., None]) -> Callable[..., None]:
    """Keep an observer's own failure away from the program, and count it."""

    @functools.wraps(method)
    def guarded(self: RelayCallbackHandler, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  # observation never hurts the program
            self.relay.fault(f"langchain {method.__name__}", error)

    return guarded


class RelayCallbackHandler(BaseCallbackHandler):
    """Reports every LangChain run that it is told of to a runtime.

    Pass it where LangChain takes callbacks, or let `instrument` (or ``relay.autoload()``) add it to every run. Adding
    it twice does no harm.

    Args:
        relay: the runtime; default the process-wide one.

    Example:
        >>> import relay_core as relay
        >>> from langchain_core.runnables import RunnableLambda
        >>> runtime, names = relay.Relay(), []
        >>> handle = runtime.subscriber(lambda event: names.append((event.name, event.scope_category)))
        >>> RunnableLambda(len).invoke("four", {"callbacks": [RelayCallbackHandler(runtime)], "run_name": "count"})
        4
        >>> runtime.flush(timeout=2.0).pending, names
        (0, [('count', 'start'), ('count', 'end')])
    """

    run_inline = True
    raise_error = False

    def __init__(self, relay: Relay | None = None) -> None:
        self.enabled = True
        self._older: RunTable | None = None
        self.relay: Relay = relay if relay is not None else relay_core.default
        self._table: RunTable = table_of(self.relay)

    def attach(self, relay: Relay | None = None) -> None:
        """Report to another runtime from now on; runs that are open end where they began."""
        self._older = self._table
        self.relay = relay if relay is not None else relay_core.default
        self._table = table_of(self.relay)

    def _take(self, run_id: UUID) -> Run | None:
        older = self._older
        if older is not None and older.get(run_id) is not None:
            return older.take(run_id)
        return self._table.take(run_id)

    def _is_idle(self) -> bool:
        return not self._table and not self._older

    # -- chains, graphs, nodes -----------------------------------------------------------------------------------

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a scope for a chain, an agent, a graph or a node."""
        self._begin(observation.chain_started, serialized, inputs, run_id, parent_run_id, tags, metadata, kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """End it."""
        self._end(observation.chain_ended, outputs, run_id, kwargs.get("inputs", UNSET))

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """End it as the exception says; what was open below a cancelled run ends first."""
        self._end(observation.failed, error, run_id)

    # -- models --------------------------------------------------------------------------------------------------

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a scope for a model call, or join the managed call around it."""
        self._begin(
            observation.llm_started,
            serialized,
            messages[0] if messages else [],
            run_id,
            parent_run_id,
            tags,
            metadata,
            kwargs,
        )

    def on_llm_start(
        self,
        serialized: dict[str, Any] | None,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a scope for a call of a text model."""
        self._begin(observation.llm_started, serialized, prompts, run_id, parent_run_id, tags, metadata, kwargs)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **_: Any) -> None:  # noqa: ARG002  # LangChain names it
        """Note when the first one came."""
        run = self._table.get(run_id)
        if run is not None and not run.first:
            run.first = self.relay.monotonic() - run.mono

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """End it; usage and model name come from the response."""
        self._end(observation.llm_ended, response, run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End it as the exception says, with what had arrived until then."""
        self._end(observation.failed, error, run_id, kwargs.get("response"))

    # -- tools and retrievers ------------------------------------------------------------------------------------

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a scope for a tool call, or join the managed call around it."""
        self._begin(
            observation.tool_started,
            serialized,
            input_str if inputs is None else inputs,
            run_id,
            parent_run_id,
            tags,
            metadata,
            kwargs,
        )

    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """End it; a tool that answered with an error message has failed."""
        self._end(observation.tool_ended, output, run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """End it as the exception says."""
        self._end(observation.failed, error, run_id)

    def on_retriever_start(
        self,
        serialized: dict[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a scope for a retrieval."""
        self._begin(observation.retriever_started, serialized, query, run_id, parent_run_id, tags, metadata, kwargs)

    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **_: Any) -> None:
        """End it with the documents found."""
        self._end(observation.retrieved, documents, run_id)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """End it as the exception says."""
        self._end(observation.failed, error, run_id)

    def _begin(
        self,
        begin: Callable[..., None],
        serialized: dict[str, Any] | None,
        given: Any,
        run_id: UUID,
        parent_run_id: UUID | None,
        tags: list[str] | None,
        metadata: dict[str, Any] | None,
        facts: dict[str, Any],
    ) -> None:
        """Start a run, unless it is known already or nobody wants to know."""
        try:
            start = observation.Start(self, self._table, run_id, parent_run_id, tags, metadata)
            if start.fresh:
                begin(start, serialized, given, facts)
        except Exception as error:  # noqa: BLE001  # observation never hurts the program
            self.relay.fault("langchain start of a run", error)

    def _end(self, end: Callable[..., None], outcome: Any, run_id: UUID, *facts: Any) -> None:
        """End a run: its scope ends once, even where what it shows cannot be made; and what is open below it."""
        run = self._table.take(run_id) if self._older is None else self._take(run_id)
        if run is None:
            return
        cancelled = issubclass(type(outcome), BaseException) and is_cancelled(outcome)
        if cancelled:
            run.table.settle(run, cancelled=True)
        if run.note is not None:
            self._note_end(run, outcome)
        try:
            end(run, outcome, *facts, observed=self.relay.observed)
        except BaseException as error:
            observation.give_up(run, outcome, error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise  # a signal of the program
            self.relay.fault("langchain end of a run", error)
        finally:
            if run.children and not cancelled:
                run.table.settle(run, cancelled=False)

    @contained
    def _note_end(self, run: Run, outcome: Any) -> None:
        if run.note is not None:
            run.note.ending(run, outcome)

    # -- marks ---------------------------------------------------------------------------------------------------

    @contained
    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **_: Any) -> None:
        """Emit a mark under the run that dispatched the event."""
        run = self._table.get(run_id)
        if run is not None and self.relay.observed:
            run.scope.mark(name, data=shown(data))

    @contained
    def on_retry(self, retry_state: Any, *, run_id: UUID, **_: Any) -> None:
        """Emit a mark under the run that tries again."""
        run = self._table.get(run_id)
        if run is not None and self.relay.observed:
            outcome = getattr(retry_state, "outcome", None)
            error = outcome.exception() if outcome is not None and outcome.failed else None
            data = {"attempt": getattr(retry_state, "attempt_number", None)}
            if error is not None:
                data["error.type"] = type(error).__qualname__
            run.scope.mark("retry", data=data, severity="warn")

    # -- one of many ---------------------------------------------------------------------------------------------

    @property
    def ignore_llm(self) -> bool:
        """Whether LangChain leaves the handler out: when it is off and the last open run has ended."""
        return not self.enabled and self._is_idle()

    @property
    def ignore_chain(self) -> bool:
        """Whether LangChain leaves the handler out: when it is off and the last open run has ended."""
        return not self.enabled and self._is_idle()

    @property
    def ignore_agent(self) -> bool:
        """Whether LangChain leaves the handler out: when it is off and the last open run has ended."""
        return not self.enabled and self._is_idle()

    @property
    def ignore_retriever(self) -> bool:
        """Whether LangChain leaves the handler out: when it is off and the last open run has ended."""
        return not self.enabled and self._is_idle()

    @property
    def ignore_chat_model(self) -> bool:
        """Whether LangChain leaves the handler out: when it is off and the last open run has ended."""
        return not self.enabled and self._is_idle()

    @property
    def ignore_custom_event(self) -> bool:
        """Whether LangChain leaves the handler out: when it is off and the last open run has ended."""
        return not self.enabled and self._is_idle()

    @property
    def ignore_retry(self) -> bool:
        """Whether LangChain leaves the handler out: when it is off and the last open run has ended."""
        return not self.enabled and self._is_idle()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        key = id(self.relay)
        if self.relay is relay_core.default:
            return type(self), ()
        _runtimes[key] = self.relay
        return _rebuilt, (type(self), key)


def _rebuilt(cls: type[RelayCallbackHandler], key: int) -> RelayCallbackHandler:
    """Unpickle: the same runtime in the same process, else the default one."""
    return cls(_runtimes.get(key))
