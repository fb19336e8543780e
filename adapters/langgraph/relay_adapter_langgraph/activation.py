"""Turning observation of graphs on for the whole process, and off again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from relay_adapter_langchain.activation import instrument as instrument_runs
from relay_adapter_langchain.activation import is_instrumented as are_runs_instrumented
from relay_adapter_langchain.activation import uninstrument as uninstrument_runs
from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from relay_adapter_langgraph.handler import RelayGraphHandler
    from relay_adapter_langgraph.lifecycle import Lifecycle
    from relay_core.runtime import Relay

__all__ = ["LangGraphAdapter", "instrument", "is_instrumented", "uninstrument"]

_lock = threading.Lock()
_hooked: RelayGraphHandler | None = None
_lifecycle: Lifecycle | None = None
_brought = False  # whether the runs of LangChain are observed because of us


def instrument(relay: Relay | None = None) -> RelayGraphHandler:
    """Let every graph of this process be seen, with its interrupts and resumes, without touching its code.

    This includes `relay_adapter_langchain.instrument`: models, tools and chains are seen as well. Calling it again is
    fine; the last runtime given is the one that sees the runs.

    Args:
        relay: the runtime; default the process-wide one.

    Returns:
        The handler that is told of every interrupt and resume.

    Example:
        >>> import relay_adapter_langgraph as langgraph_adapter
        >>> langgraph_adapter.instrument().enabled
        True
        >>> langgraph_adapter.uninstrument()
    """
    global _hooked, _lifecycle, _brought
    from relay_adapter_langchain.gate import map_control_flow  # noqa: PLC0415  # needs LangChain
    from relay_adapter_langgraph.handler import RelayGraphHandler  # noqa: PLC0415  # needs LangGraph
    from relay_adapter_langgraph.lifecycle import Lifecycle  # noqa: PLC0415  # see above

    with _lock:
        if _hooked is None:
            _hooked = RelayGraphHandler(relay)
            _lifecycle = Lifecycle(_hooked)
        else:
            _hooked.attach(relay)
        _brought = _brought or not are_runs_instrumented(_hooked.relay)
        instrument_runs(_hooked.relay)
        map_control_flow(_hooked.relay)
        _hooked.enabled = True
        if _lifecycle is not None:
            _lifecycle.put_on()
        return _hooked


def is_instrumented(relay: Relay) -> bool:
    """Tell whether graphs are observed for this runtime.

    Example:
        >>> import relay_core
        >>> is_instrumented(relay_core.Relay())
        False
    """
    hooked = _hooked
    return hooked is not None and hooked.enabled and hooked.relay is relay


def uninstrument() -> None:
    """Stop observing graphs; and the runs of LangChain, if it was `instrument` that began with them."""
    _stop(keep_runs=False)


def _stop(*, keep_runs: bool) -> None:
    global _brought
    with _lock:
        if _hooked is None:
            return
        if _lifecycle is not None:
            _lifecycle.take_off()
        _hooked.enabled = False
        if _brought and not keep_runs and are_runs_instrumented(_hooked.relay):
            uninstrument_runs()
        _brought = False


class LangGraphAdapter:
    """What `relay.autoload()` finds: observes every graph once LangGraph is there.

    Attributes:
        name: of the adapter.
        requires: the modules that must be installed for the adapter to make sense.
        hook_module: the module after whose import `install` is called; no graph can run before.
        control: which calls can be put under policy.
    """

    name = "langgraph"
    requires = ("langgraph", "langchain_core")
    hook_module = "langgraph.pregel.main"
    control = "tool nodes made by tool_node"

    def version(self) -> str:
        """Version of LangGraph."""
        from importlib.metadata import version  # noqa: PLC0415  # only `relay doctor` asks

        return version("langgraph")

    def install(self, relay: Relay, **options: Any) -> None:
        """Observe every graph of the process for `relay`.

        Raises:
            AdapterError: an option is given; this adapter has none.
        """
        if options:
            raise AdapterError(f"adapter 'langgraph' has no option {', '.join(sorted(options))}; it takes none")
        instrument(relay)

    def uninstall(self, relay: Relay) -> None:
        """Stop observing, if `relay` is the runtime that observes; what another adapter has turned on stays."""
        if _hooked is not None and _hooked.relay is relay:
            others = (record.name for record in relay.adapters.records() if record.state == "active")
            _stop(keep_runs="langchain" in others)
