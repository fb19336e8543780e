"""Turning observation on for every workflow of the process, and off again; and which runtime NAT's components use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import relay_core
from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from relay_adapter_nat.exporter import RelayExporter
    from relay_core.runtime import Relay

__all__ = ["NatAdapter", "bind", "bound_runtime", "instrument", "is_instrumented", "uninstrument"]

_lock = threading.Lock()
_bound: Relay | None = None
_exporter: RelayExporter | None = None
_bare: Any = None


def bound_runtime() -> Relay:
    """Give the runtime that the components of a YAML file report to."""
    return _bound if _bound is not None else relay_core.default


def bind(relay: Relay | None) -> None:
    """Let the components that NAT makes from now on belong to a runtime; None is the process-wide one."""
    global _bound
    _bound = relay


def instrument(relay: Relay | None = None, *, payloads: bool = True) -> RelayExporter:
    """Let every NAT workflow of this process be seen, without an entry in its configuration.

    Calling it again is fine; the last runtime given is the one that sees the runs that start from then on. A workflow whose
    configuration has the exporter of the same runtime is not doubled.

    Args:
        relay: the runtime; default the process-wide one.
        payloads: whether inputs and outputs are recorded.

    Returns:
        The exporter that every run gets a copy of.

    Raises:
        UnsupportedNatError: the installed NAT is another version.

    Example:
        >>> import relay_adapter_nat as nat_adapter
        >>> nat_adapter.instrument().payloads
        True
        >>> nat_adapter.uninstrument()
    """
    global _exporter, _bare
    from relay_adapter_nat import compat  # noqa: PLC0415  # needs NAT
    from relay_adapter_nat.exporter import RelayExporter  # noqa: PLC0415  # see above

    with _lock:
        _exporter = RelayExporter(relay, payloads=payloads)
        bind(relay)
        if _bare is None:
            bare = _bare = compat.ExporterManager.create_isolated_exporters

            def with_relay(self: Any, context_state: Any = None) -> dict[str, Any]:
                return _with_ours(bare(self, context_state), context_state)

            compat.ExporterManager.create_isolated_exporters = with_relay
        return _exporter


def _with_ours(exporters: dict[str, Any], context_state: Any) -> dict[str, Any]:
    """Add a copy of the exporter to those of a run, unless one of them reports to the same runtime."""
    exporter = _exporter
    if exporter is None or any(getattr(other, "relay", None) is exporter.relay for other in exporters.values()):
        return exporters
    return {**exporters, "relay (instrument)": exporter.create_isolated_instance(context_state)}


def is_instrumented(relay: Relay) -> bool:
    """Tell whether every workflow of the process is observed for this runtime.

    Example:
        >>> import relay_core
        >>> is_instrumented(relay_core.Relay())
        False
    """
    return _exporter is not None and _exporter.relay is relay


def uninstrument() -> None:
    """Stop observing; runs that are going on are reported to their end."""
    global _exporter, _bare
    with _lock:
        _exporter = None
        bind(None)
        if _bare is not None:
            from relay_adapter_nat import compat  # noqa: PLC0415  # it is loaded

            compat.ExporterManager.create_isolated_exporters = _bare
            _bare = None


class NatAdapter:
    """What `relay.autoload()` finds: observes every workflow once NAT is there.

    Attributes:
        name: of the adapter.
        requires: the module that must be installed for the adapter to make sense.
        hook_module: the module after whose import `install` is called; no workflow can run before.
        control: which calls can be put under policy.
    """

    name = "nat"
    requires = "nat"
    hook_module = "nat.observability.exporter_manager"
    control = "functions and function groups with the middleware 'relay'"

    def version(self) -> str:
        """Version of NAT's core."""
        from importlib.metadata import version  # noqa: PLC0415  # only `relay doctor` asks

        return version("nvidia-nat-core")

    def install(self, relay: Relay, **options: Any) -> None:
        """Observe every workflow of the process for `relay`.

        Args:
            relay: the runtime.
            **options: ``payloads``, whether inputs and outputs are recorded.

        Raises:
            AdapterError: another option is given, or the version of NAT is not supported.
        """
        payloads = options.pop("payloads", True)
        if options or not isinstance(payloads, bool):
            wrong = ", ".join(sorted(options)) or "payloads"
            raise AdapterError(f"adapter 'nat': wrong option {wrong}; it has one, payloads = true or false")
        instrument(relay, payloads=payloads)

    def uninstall(self, relay: Relay) -> None:
        """Stop observing, if `relay` is the runtime that observes."""
        if is_instrumented(relay):
            uninstrument()
