"""Making events: the little that happens on the caller's thread when somebody subscribes."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any, cast

from relay_core.events import MarkDetail, MarkEvent, ScopeEvent
from relay_core.payloads import Encoder, Frozen, freeze
from relay_core.skills import skills_in, way_of

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
        self._dispatcher = relay.dispatcher
        _register_exit()

    def emit(
        self,
        source: Node | None,
        detail: Any,
        ns: int,
        data: Any,
        metadata: Any,
        profile: Any,
        route: Chains,
        view: Any = None,
        kind: type[ScopeEvent | MarkEvent] = ScopeEvent,
    ) -> None:
        """Queue an event; for a scope `detail` is the phase. Waits only within the block policy, does no I/O."""
        try:
            limits = self._limits
            frozen = None if data is None else freeze(data, limits)
            if metadata is not None and type(metadata) is not Frozen:
                metadata = freeze(metadata, limits) if metadata else None
            if profile and type(profile) is not Frozen:
                profile = freeze(profile, limits)
            event = kind(source, ns, frozen, route, detail, view, metadata, profile)
            dispatcher = self._dispatcher
            queue = dispatcher.queue
            if len(queue) < dispatcher.room:
                dispatcher.tail = None
                queue.append(event)
                if dispatcher.idle:
                    dispatcher.rouse()
            else:
                dispatcher.put_busy(event)
            if data is not None and detail == "start" and source.category == "tool" and way_of(source.name) is not None:  # pyright: ignore[reportOptionalMemberAccess]  # a scope has started
                self._tell_skills(cast("Scope", source), data, ns)
        except Exception as error:  # noqa: BLE001  # observation never hurts the program
            self._relay.fault("emitting an event", error)

    def mark(
        self, source: Node | None, ns: int, data: Any, metadata: Any, profile: Any, route: Chains, what: tuple[Any, ...]
    ) -> None:
        """Queue a mark; `what` is its name, identity, category and data schema."""
        self.emit(source, MarkDetail(*what), ns, data, metadata, profile, route, None, MarkEvent)

    def _tell_skills(self, scope: Scope, arguments: Any, ns: int) -> None:
        for skill, way in skills_in(scope.name, arguments):
            note = {"skill_load_source": way, "tool_name": scope.name}
            scope.mark("skill.load", data={"skill_name": skill}, metadata=note, timestamp=ns)


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
