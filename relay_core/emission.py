"""Making events: the little that happens on the caller's thread when somebody subscribes."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any

from relay_core.events import Deferred, MarkDetail, MarkEvent, ScopeEvent
from relay_core.payloads import Encoder, Frozen, freeze
from relay_core.skills import skills_in

if TYPE_CHECKING:
    from relay_core.middleware import Chains
    from relay_core.runtime import Relay
    from relay_core.scopes import Node, Scope

__all__ = ["Emitter"]


class Emitter:
    """Takes snapshots and queues events for one runtime. Its methods never raise.

    Args:
        relay: the runtime.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.encoder = Encoder(relay.settings.payload, relay.settings.redaction)
        self._limits = relay.settings.payload
        self._put = relay.dispatcher.put
        _register_exit()

    def scope(self, scope: Scope, phase: Any, ns: int, data: Any, route: Chains) -> None:
        """Queue the start or end event of a scope."""
        try:
            frozen = data if data is None or type(data) is Deferred else freeze(data, self._limits)
            metadata: Any = scope._metadata
            if metadata is not None and type(metadata) is not Frozen:
                metadata = freeze(metadata, self._limits) if metadata else None
            profile: Any = scope.profile
            if profile and type(profile) is not Frozen:
                profile = freeze(profile, self._limits)
            put = self._put
            put(ScopeEvent(scope, ns, frozen, metadata, profile, route, phase, scope._codec))
            if data is not None and scope.category == "tool" and phase == "start":
                for skill, way in skills_in(scope.name, data):
                    note = {"skill_load_source": way, "tool_name": scope.name}
                    scope.mark("skill.load", data={"skill_name": skill}, metadata=note, timestamp=ns)
        except Exception as error:  # noqa: BLE001  # observation never hurts the program
            self._relay.fault("emitting a scope event", error)

    def mark(
        self, source: Node | None, ns: int, data: Any, metadata: Any, profile: Any, route: Chains, what: tuple[Any, ...]
    ) -> None:
        """Queue a mark; `what` is its name, identity, category and data schema."""
        try:
            limits = self._limits
            if data is not None and type(data) is not Deferred:
                data = freeze(data, limits)
            self._put(
                MarkEvent(
                    source,
                    ns,
                    data,
                    freeze(metadata, limits) if metadata else None,
                    freeze(profile, limits) if profile else profile,
                    route,
                    MarkDetail(*what),
                )
            )
        except Exception as error:  # noqa: BLE001  # observation never hurts the program
            self._relay.fault("emitting a mark", error)


_registered = False


def _register_exit() -> None:
    """Drain at interpreter exit; registered by the first subscriber, so after most of the program's own hooks."""
    global _registered
    if _registered:
        return
    _registered = True
    from relay_core.runtime import shut_down_all  # noqa: PLC0415  # it imports this module

    atexit.register(shut_down_all)
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        _drain_worker_process(None)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_ask_multiprocessing)
    _ask_multiprocessing()


def _ask_multiprocessing() -> None:
    """Ask multiprocessing to call back in a child process, once it has forgotten the parent's finalizers."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(_drain_worker_process, _drain_worker_process)


def _drain_worker_process(_: Any) -> None:
    """Processes of multiprocessing end without interpreter exit: their finalizers take its place."""
    from multiprocessing.util import Finalize  # noqa: PLC0415  # it is loaded already

    from relay_core.runtime import shut_down_all  # noqa: PLC0415  # it imports this module

    Finalize(None, shut_down_all, exitpriority=-100)
