"""The telemetry exporter: every intermediate step of NAT's workflows goes to a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import relay_core
from relay_adapter_nat.compat import BaseExporter
from relay_adapter_nat.runs import StepRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.runtime import Relay

__all__ = ["RelayExporter"]


class RelayExporter(BaseExporter):
    """Reports the runs of a workflow to a runtime.

    A YAML file names it (``general.telemetry.tracing.relay: {_type: relay}``), or `instrument` gives it to every
    workflow. NAT makes a copy for each run; it queues nothing itself and awaits nothing.

    Args:
        relay: the runtime; default the process-wide one.
        payloads: whether inputs and outputs are recorded.
        controlled: tells whether a function has Relay's middleware, by its name.
        starting: called before each run.

    Example:
        >>> import relay_core as relay
        >>> RelayExporter(relay.Relay()).name
        'RelayExporter'
    """

    def __init__(
        self,
        relay: Relay | None = None,
        *,
        payloads: bool = True,
        controlled: Callable[[str], bool] | None = None,
        starting: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.relay = relay if relay is not None else relay_core.default
        self.payloads = payloads
        self._controlled = controlled
        self._starting = starting
        self._run: StepRun | None = None

    async def _pre_start(self) -> None:
        if self._starting is not None:
            self._starting()
        self._run = StepRun(self.relay, payloads=self.payloads, controlled=self._controlled)

    def export(self, event: Any) -> None:
        """Report one step; what goes wrong is counted and never reaches the workflow."""
        if self._run is not None:
            try:
                self._run.take(event)
            except Exception as error:  # noqa: BLE001  # observation never hurts the program
                self.relay.fault("nat intermediate step", error)

    async def _cleanup(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            try:
                run.finish()
            except Exception as error:  # noqa: BLE001  # see export
                self.relay.fault("nat end of a run", error)
