"""One deep agent under policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import deepagents

import relay_core
from relay_adapter_deepagents.policy import GovernedMiddleware, Policy, applied, cover
from relay_adapter_langchain.middleware import RelayMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph.graph.state import CompiledStateGraph

    from relay_core.runtime import Relay

__all__ = ["create_deep_agent"]


def create_deep_agent(
    model: Any = None,
    tools: Any = None,
    *,
    relay: Relay | None = None,
    on_block: Literal["message", "raise"] = "message",
    **options: Any,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Make a deep agent that is under policy, with its subagents, whether or not `instrument` was called.

    Args:
        model: as for ``deepagents.create_deep_agent``.
        tools: the same.
        relay: the runtime; default the process-wide one.
        on_block: what a blocked call gives, as for `RelayMiddleware`.
        **options: everything else that ``deepagents.create_deep_agent`` takes.

    Returns:
        What ``deepagents.create_deep_agent`` returns. Not under its policy are subagents that are given as compiled
        graphs, or run on a server; and the general-purpose one, if the model does not tell its provider.

    Raises:
        UsageError: `on_block` has another value.

    Example:
        >>> import relay_core as relay
        >>> from langchain_core.language_models import FakeListChatModel
        >>> class Model(FakeListChatModel):
        ...     def bind_tools(self, tools, **kwargs):
        ...         return self
        >>> runtime = relay.Relay()
        >>> @runtime.guardrail("llm")
        ... def closed(call):
        ...     return relay.Block("we are closed")
        >>> agent = create_deep_agent(Model(responses=["hi"]), relay=runtime)
        >>> agent.invoke({"messages": "hello"})["messages"][-1].content
        'we are closed'
    """
    policy = Policy(relay if relay is not None else relay_core.default, on_block)
    middleware = GovernedMiddleware(policy, everywhere=False)  # says what is wrong with on_block
    subagents: Sequence[dict[str, Any]] | None = options.get("subagents")
    models = [model, *(spec.get("model") for spec in subagents or ())]
    cover(provider for provider in map(_provider, models) if provider)
    # Where the provider is not known, no profile applies; then ours goes among the program's own.
    options["middleware"] = _with(middleware, options.get("middleware") or ())
    if subagents is not None:
        options["subagents"] = [_governed(spec, middleware) for spec in subagents]
    make: Any = deepagents.create_deep_agent
    with applied(policy):
        return make(model, tools, **options)


def _with(middleware: RelayMiddleware, given: Any) -> list[Any]:
    return [*given] if any(isinstance(known, RelayMiddleware) for known in given) else [*given, middleware]


def _governed(spec: dict[str, Any], middleware: RelayMiddleware) -> dict[str, Any]:
    if "runnable" in spec or "graph_id" in spec:
        return spec
    return {**spec, "middleware": _with(middleware, spec.get("middleware") or ())}


def _provider(model: Any) -> str | None:
    """Give the provider of a model, as Deep Agents finds it: the first part of its specification, or what it tells."""
    if isinstance(model, str):
        return model.partition(":")[0] if ":" in model else None
    try:
        found = model._get_ls_params().get("ls_provider")  # where LangChain's integrations tell it
    except Exception:  # noqa: BLE001  # the model's own code; it tells none
        return None
    return found if isinstance(found, str) and found and found == found.strip() and ":" not in found else None
