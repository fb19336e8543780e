"""Turning observation on for the whole process, and off again."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from relay_adapter_langchain.handler import RelayCallbackHandler
    from relay_core.runtime import Relay

__all__ = ["LangChainAdapter", "instrument", "is_instrumented", "uninstrument"]

_lock = threading.Lock()
_hooked: RelayCallbackHandler | None = None


def instrument(relay: Relay | None = None) -> RelayCallbackHandler:
    """Let every LangChain run of this process be seen, in any thread and context, without touching its code.

    Calling it again is fine; the last runtime given is the one that sees the runs. LangChain has one such place per
    process, so one runtime at a time is fed. A `RelayCallbackHandler` that a program passes itself is not doubled.

    Args:
        relay: the runtime; default the process-wide one.

    Returns:
        The handler that LangChain now adds to every run.

    Example:
        >>> import relay_adapter_langchain as langchain_adapter
        >>> langchain_adapter.instrument().enabled
        True
        >>> langchain_adapter.uninstrument()
    """
    global _hooked
    from langchain_core.tracers.context import register_configure_hook  # noqa: PLC0415  # loads half of LangChain

    from relay_adapter_langchain.handler import RelayCallbackHandler  # noqa: PLC0415  # needs LangChain

    with _lock:
        if _hooked is None:
            _hooked = RelayCallbackHandler(relay)
            # A default is seen in every context, also in new threads; a value that was set is not.
            variable = ContextVar("relay_langchain", default=_hooked)
            register_configure_hook(variable, inheritable=True, handle_class=RelayCallbackHandler)
        else:
            _hooked.attach(relay)
        _hooked.enabled = True
        return _hooked


def is_instrumented(relay: Relay) -> bool:
    """Tell whether the process-wide handler is on and reports to this runtime.

    Example:
        >>> import relay_core
        >>> is_instrumented(relay_core.Relay())
        False
    """
    hooked = _hooked
    return hooked is not None and hooked.enabled and hooked.relay is relay


def uninstrument() -> None:
    """Stop observing. LangChain cannot forget the handler, so it stays and asks to be ignored."""
    with _lock:
        if _hooked is not None:
            _hooked.enabled = False


class LangChainAdapter:
    """What `relay.autoload()` finds: installs the process-wide handler once LangChain is there.

    Attributes:
        name: of the adapter.
        requires: the module that must be installed for the adapter to make sense.
        hook_module: the module after whose import `install` is called; LangChain imports it before its first run.
        control: which calls can be put under policy.
    """

    name = "langchain"
    requires = "langchain_core"
    hook_module = "langchain_core.tracers.context"
    control = "agents with RelayMiddleware; any model or tool with wrap"

    def version(self) -> str:
        """Version of LangChain's core."""
        from importlib.metadata import version  # noqa: PLC0415  # only `relay doctor` asks

        return version("langchain-core")

    def install(self, relay: Relay, **options: Any) -> None:
        """Observe every LangChain run of the process for `relay`.

        Raises:
            AdapterError: an option is given; this adapter has none.
        """
        if options:
            raise AdapterError(f"adapter 'langchain' has no option {', '.join(sorted(options))}; it takes none")
        instrument(relay)

    def uninstall(self, relay: Relay) -> None:
        """Stop observing, if `relay` is the runtime that observes."""
        hooked = _hooked
        if hooked is not None and hooked.relay is relay:
            uninstrument()
