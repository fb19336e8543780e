"""From the caller's thread to the subscribers: one bounded queue, one daemon worker, and an account that always adds up.

A subscriber that is slow or stuck gets a thread of its own, so that it holds up nobody else. For every subscriber
``accepted = delivered + dropped + pending`` holds at all times.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from itertools import chain, repeat, starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

from relay_core.chunk_marks import ChunkRun
from relay_core.delivery import Alarm, Barrier, FlushReport, Sink, held, inside
from relay_core.intake import Intake
from relay_core.preparation import Preparation, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.chunk_marks import ChunkMark
    from relay_core.delivery import Lane
    from relay_core.events import Event
    from relay_core.middleware import Registration
    from relay_core.settings import Settings

__all__ = ["Dispatcher", "FlushReport"]

_TICK: Final = 0.005  # seconds between looks at a queue that has just been empty
_IDLE_TICKS: Final = 20  # then the worker sleeps until somebody wakes it
_BATCH: Final = 512
_FEW: Final = 64  # events, less than which may wait for a tick
_STUCK: Final = 0.25  # seconds after which the worker is replaced
_HUNG: Final = 1.0  # seconds after which a sanitizer or injector is not waited for
_weight_of: Final = attrgetter("weight")


class Dispatcher(Intake):
    """Queue, worker and accounts of one runtime.

    Args:
        settings: limits and policies of the queue.
        fault: told of Relay's own failures.
        run_async: runs a coroutine of an async subscriber or sanitizer to its end.
    """

    def __init__(self, settings: Settings, fault: Callable[[str, BaseException], None], run_async: Any) -> None:
        super().__init__(settings)
        self._fault = fault
        self.run_async = run_async
        self.sinks = weakref.WeakSet()  # a scope's own subscribers go with it
        self._reset()

    def _reset(self) -> None:
        """Start from nothing: at first, and in a forked child, which owns no thread, lock or event of its parent."""
        self.queue = deque()
        self._barriers = 0  # in the queue
        self.tail = None
        self._pressed = set()
        if not self.refusing:
            self._open_doors()
        self._lock = threading.RLock()  # signal handlers and finalizers emit too, in the middle of anything here
        self._wake = Alarm()
        self._space = Alarm()
        self.idle = True
        self._working = threading.Event()
        self._worker: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._bytes = 0
        self._bytes_done = 0
        self._plan: deque[tuple[Any, Any]] = deque()
        self._taken = ()
        self._heads: list[Event] = []  # of them: of what came from one run, the first one
        self._ready: list[Event] = []  # as many of them as are prepared
        self._barrier: Barrier | None = None  # right behind them
        self._hung: set[Registration] = set()
        self._preparing = Preparation(self.run_async, self._hung, self._fault)
        self._moves = 0  # odd while events move from the queue to the subscribers
        self._calling: Sink | None = None
        self._since = 0.0

    def after_fork(self) -> None:
        """Drop what the parent process will deliver itself, and begin anew."""
        self._reset()
        for sink in tuple(self.sinks):
            sink.reset()

    def rouse(self) -> None:
        """Wake the worker; start it at the first event."""
        if self._worker is None and not held(self._lock):
            with self._lock:
                if self._worker is None and not self.closed:
                    self._worker = self._start(self._run, "relay-dispatch")
                    self._watcher = self._start(self._watch, "relay-watch")
        self._wake.set()

    def _start(self, target: Callable[[], None], name: str) -> threading.Thread | None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread can start any more, at interpreter exit
            self._fault("start of a thread", error)
            return None
        return thread

    # -- the worker's side ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        me = threading.current_thread()
        inside.set(self.run_async)
        with self._lock:  # whoever started this thread has noted it by now
            pass
        ticks = 0
        while self._worker is me:
            if self._work(me):
                ticks = 0
                if len(self.queue) < _FEW:  # a program that goes on makes more, which cost less together
                    self._wake.wait(_TICK)
                continue
            ticks += 1
            if ticks < _IDLE_TICKS:
                self._wake.wait(_TICK)
                continue
            self.idle = True
            if not self.queue and self._worker is me:
                self._wake.wait()
            self.idle = False
            ticks = 0

    def _work(self, me: threading.Thread) -> bool:
        """Do one batch, or the rest of the one that a replaced worker left. Returns whether there was anything."""
        self.idle = False
        if not (self.queue or self._plan or self._taken or self._barrier):
            return False
        try:
            worked = bool(self._plan or self._taken or self._barrier) or self._take()
            if not self._prepare(me):
                return False
            while self._plan:
                sink, what = self._plan.popleft()
                if sink is None:
                    what.done()
                elif not self._serve(sink, what, me):
                    return False
        except Exception as error:  # noqa: BLE001  # the worker lives on
            self._fault("delivering events", error)
            self._drop_taken("error")
            return True
        if worked:
            self._space.set()
        return worked

    def _serve(self, sink: Sink, what: Any, me: threading.Thread) -> bool:
        """Hand events or a barrier to a subscriber. Returns False if this thread was replaced meanwhile."""
        if sink.lane is not None:
            sink.lane.extend((what,))
            sink.lane.serve()
            return True
        self._calling, self._since = sink, time.monotonic()
        if not self._working.is_set():
            self._working.set()
        if type(what) is Barrier:
            what.settle(sink)
        else:
            sink.deliver(what, self.run_async)
        with self._lock:
            if self._worker is me:
                self._since = 0.0
                return True
        lane: Any = sink.lane
        if lane is not None and lane.thread is me:  # from now on this thread serves that subscriber alone
            lane.run()
        return False

    def _take(self) -> bool:
        """Take what is there, up to a batch or a barrier. Returns whether there was anything."""
        with self._lock:
            self._moves += 1
            taken: list[Any] = []
            self._taken, self._heads, queue = taken, taken, self.queue
            try:  # noqa: SIM105  # `suppress` is three calls
                taken.extend(starmap(queue.popleft, repeat((), min(len(queue), _BATCH))))
            except IndexError:  # a finalizer amid this has shut everything down
                pass
            if self.has_runs or self._barriers:
                kinds = set(map(type, taken))
                if ChunkRun in kinds or Barrier in kinds:
                    self._heads = self._unroll(taken)
            if self._bytes != self._bytes_done:
                self._bytes_done += sum(map(_weight_of, taken))
            self._moves += 1
        return bool(taken) or self._barrier is not None

    def _unroll(self, taken: list[Event | Barrier | ChunkRun]) -> list[Event]:
        """Put the events of runs in their place; what is behind a barrier, or more than a batch, goes back.

        Returns:
            The events, of those of a run only the first: one run has one route.
        """
        events: list[Any] = []
        heads: list[Event] = []
        runs: list[list[ChunkMark]] = []
        left = iter(taken)
        for item in left:
            if isinstance(item, ChunkRun):
                opened = item.open()
                runs.append(opened)
                events += opened
                heads += opened[:1]
            elif isinstance(item, Barrier):
                self._barrier = item
                self._barriers -= 1
            else:
                events.append(item)
                heads.append(item)
            if self._barrier is not None or len(events) >= _BATCH:
                break
        if self._taken is taken:
            self.queue.extendleft(reversed(list(left)))
            taken[:] = events
        else:  # a finalizer amid this has shut everything down
            self._drop(chain.from_iterable(runs), "shutdown")
        return heads

    def _prepare(self, me: threading.Thread) -> bool:
        """Prepare what was taken and plan who gets it. Returns False if this thread was replaced meanwhile."""
        ready, mine, taken = self._ready, self._preparing, cast("list[Event]", self._taken)
        if taken:
            route = taken[0].route
            if not (route.sanitizers or route.injectors or [1 for event in self._heads if event.route is not route]):
                many = len(route.sinks) > 1  # each gets a list of its own
                self._plan_events({sink: list(taken) if many else taken for sink in route.sinks})  # nearly always
                return True
        for event in taken[len(ready) :]:
            route = event.route
            if route.sanitizers or route.injectors:
                if not self._working.is_set():
                    self._working.set()
                done = mine.prepare(event)
                with self._lock:
                    if self._worker is not me or self._preparing is not mine:
                        return False
                ready.append(done)
            else:
                ready.append(event)
        plan: dict[Sink, list[Event]] = {}
        for event, done in zip(taken, ready, strict=True):
            for sink in event.route.sinks:
                plan.setdefault(sink, []).append(done)
        self._plan_events(plan)
        return True

    def _plan_events(self, plan: dict[Sink, list[Event]]) -> None:
        taken = self._taken
        lanes: list[Lane] = []
        with self._lock:
            if self._taken is not taken:  # a shutdown gave them up
                return
            self._moves += 1
            for sink, events in plan.items():
                lane = sink.lane
                if lane is None:
                    sink.expect(events)
                    self._plan.append((sink, events))
                else:
                    lane.extend(events)
                    lanes.append(lane)
            self._taken, self._heads, self._ready, barrier, self._barrier = (), [], [], self._barrier, None
            self._moves += 1
        for lane in lanes:
            lane.serve()
            if lane.pressed:
                self.press(lane)
        if barrier is not None:
            for sink in self._known():
                barrier.expect()
                self._plan.append((sink, barrier))
            self._plan.append((None, barrier))

    def _watch(self) -> None:
        """Give the queue to a new worker when a subscriber holds the present one for too long."""
        me = threading.current_thread()
        with self._lock:  # see _run
            pass
        last: tuple[float, tuple[int, int]] | None = None
        while self._watcher is me:
            since, sink = self._since, self._calling
            if not since and not self._preparing.since:
                self._working.clear()
                if not self._since and not self._preparing.since and self._watcher is me:
                    self._working.wait()
            now = (since, sink.tally()) if since and sink is not None else None
            if now is not None and now == last:  # not one event further
                self._replace(since)
            last = now
            if 0 < self._preparing.since < time.monotonic() - _HUNG:
                self._give_up_waiting(self._preparing)
            time.sleep(_STUCK)

    def _give_up_waiting(self, preparing: Preparation) -> None:
        """Leave a sanitizer or injector that does not come back; until it does, events go on without what it gives."""
        with self._lock:
            entry = preparing.entry
            if self._worker is None or preparing is not self._preparing or entry is None or not preparing.since:
                return
            self._hung.add(entry)
            self._preparing = Preparation(self.run_async, self._hung, self._fault)
            self._worker = self._start(self._run, "relay-dispatch")
        warn(entry, "does not come back", "until it does, events go out as if it had failed")

    def _replace(self, since: float) -> None:
        with self._lock:
            worker, sink = self._worker, self._calling
            if self._since != since or worker is None or sink is None or not sink.detach(worker, self.run_async):
                return
            self._since = 0.0
            self._worker = self._start(self._run, "relay-dispatch")

    # -- barriers and accounts -----------------------------------------------------------------------------------

    def flush(self, timeout: float) -> FlushReport:
        """Wait until everything emitted before is handed over, at most `timeout` seconds."""
        if self._waits_for_itself() or self.closed:
            return self.report(timed_out=self.pending() > 0)
        return self.report(timed_out=not self._settle(timeout, close=False))

    def _settle(self, timeout: float, *, close: bool) -> bool:
        if self._worker is None and not self.queue:
            return True
        barrier = Barrier(time.monotonic() + timeout, close=close)
        with self._lock:
            self._barriers += 1
        self.tail = None
        self.queue.append(barrier)
        self.rouse()
        if self._worker is None:  # at interpreter exit no thread can start
            self._worker = threading.current_thread()
            while self._work(self._worker):
                pass
        return barrier.wait()

    def shutdown(self, timeout: float) -> FlushReport:
        """Flush, close the subscribers, end the worker. Events after that are counted as dropped."""
        with self._lock:
            first, self.closed = not self.closed, True
            self.refusing = True
            self._close_doors()
        if not first:
            return self.report(timed_out=self.pending() > 0)
        if self._waits_for_itself():
            done = False
        elif self._worker is None and not self.queue:
            done = self._close_unused(timeout)
        else:
            done = self._settle(timeout, close=True)
        self._worker = self._watcher = None
        self._wake.set()
        self._working.set()
        self._give_up_rest()
        return self.report(timed_out=not done)

    def _close_unused(self, timeout: float) -> bool:
        """Close subscribers that never got an event; there is no worker to do it."""
        barrier = Barrier(time.monotonic() + timeout, close=True)
        for sink in self._known():
            barrier.expect()
            barrier.settle(sink)
        return True

    def _give_up_rest(self) -> None:
        while self.queue:
            self._drop((self.queue.popleft(),), "shutdown")
        self._drop_taken("shutdown")  # a sanitizer may hang
        for sink in self._known():
            if sink.lane is not None:
                sink.lane.stop()

    def _drop_taken(self, reason: str) -> None:
        with self._lock:
            self._moves += 1
            self._drop(self._taken, reason)
            self._taken, self._heads, self._ready = (), [], []
            self._moves += 1

    def _waits_for_itself(self) -> bool:
        return inside.get() == self.run_async or held(self._lock)
