"""Turning Deep Agents on for the whole process, observed and under policy, and off again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from relay_adapter_langgraph.activation import LangGraphAdapter
from relay_adapter_langgraph.activation import instrument as instrument_graphs
from relay_adapter_langgraph.activation import is_instrumented as are_graphs_instrumented
from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay_core.runtime import Relay

__all__ = ["DeepAgentsAdapter", "instrument", "uninstrument"]

_lock = threading.Lock()
_active: Relay | None = None
_brought = False  # whether graphs are observed because of us
_graphs = LangGraphAdapter()


def instrument(
    relay: Relay | None = None, *, control: bool = True, providers: Iterable[str] = (), on_block: Any = "message"
) -> None:
    """Let every deep agent of this process be seen, and those made from now on be under policy with their subagents.

    Seeing them includes `relay_adapter_langgraph.instrument`. The policy is that of `RelayMiddleware`; Deep Agents adds
    it to the agents whose model is of a provider that is known by name. Calling it again is fine.

    Args:
        relay: the runtime; default the process-wide one.
        control: whether new agents are put under policy; they are only observed without.
        providers: names of further model providers, such as that of a model class of your own.
        on_block: what a blocked call gives, as for `RelayMiddleware`.

    Raises:
        UsageError: `on_block` has another value.

    Example:
        >>> import relay_adapter_deepagents
        >>> relay_adapter_deepagents.instrument(providers=["acme"])
        >>> relay_adapter_deepagents.uninstrument()
    """
    global _active, _brought
    import relay_core  # noqa: PLC0415  # the default runtime is only needed here
    from relay_adapter_deepagents import policy  # noqa: PLC0415  # needs Deep Agents
    from relay_adapter_deepagents.subagents import watch_subagents  # noqa: PLC0415  # needs LangChain

    runtime = relay if relay is not None else relay_core.default
    with _lock:
        _brought = _brought or not are_graphs_instrumented(runtime)
        instrument_graphs(runtime)
        watch_subagents(runtime)
        if control:
            policy.cover([*policy.PROVIDERS, *providers])
            policy.apply_everywhere(policy.Policy(runtime, on_block))
        _active = runtime


def uninstrument() -> None:
    """Stop: new agents are under no policy, and those that are there pass their calls on without."""
    if _active is not None:
        _stop(_active, keep_graphs=False)


def _stop(relay: Relay, *, keep_graphs: bool) -> None:
    global _active, _brought
    from relay_adapter_deepagents import policy  # noqa: PLC0415  # needs Deep Agents

    with _lock:
        policy.apply_everywhere(None)
        if _brought and not keep_graphs:
            _graphs.uninstall(relay)
        _active, _brought = None, False


class DeepAgentsAdapter:
    """What `relay.autoload()` finds: observes and governs every deep agent once Deep Agents is there.

    Attributes:
        name: of the adapter.
        requires: the module that must be installed for the adapter to make sense.
        control: which calls are put under policy.
    """

    name = "deepagents"
    requires = "deepagents"
    control = "main agents and subagents, for models of known providers"

    def version(self) -> str:
        """Version of Deep Agents."""
        from importlib.metadata import version  # noqa: PLC0415  # only `relay doctor` asks

        return version("deepagents")

    def install(self, relay: Relay, **options: Any) -> None:
        """Observe and govern every deep agent of the process for `relay`.

        Args:
            relay: the runtime.
            **options: ``control``, ``providers`` and ``on_block`` of `instrument`.

        Raises:
            AdapterError: another option is given.
        """
        unknown = sorted(set(options) - {"control", "providers", "on_block"})
        if unknown:
            raise AdapterError(
                f"adapter 'deepagents' has no option {', '.join(unknown)}; it takes control, providers and on_block"
            )
        instrument(relay, **options)

    def uninstall(self, relay: Relay) -> None:
        """Stop, if `relay` is the runtime in charge; what another adapter has turned on stays."""
        if _active is relay:
            others = [record.name for record in relay.adapters.records() if record.state == "active"]
            _stop(relay, keep_graphs="langgraph" in others)
