"""Carrying the current scope onto other threads, and the loop that sync callers' async policy runs on."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from relay_core.errors import UsageError
from relay_core.scopes import Activation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay_core.runtime import Relay

__all__ = ["BoundExecutor", "HelperLoop", "bind"]


def bind(relay: Relay, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `fn` so that it runs under the scope that is current now."""
    scope = relay.current()

    @functools.wraps(fn)
    def bound(*args: Any, **kwargs: Any) -> Any:
        with Activation(relay, scope):
            return fn(*args, **kwargs)

    return bound


class BoundExecutor:
    """A thread executor whose work runs under the submitter's scope; everything else is the executor's own."""

    def __init__(self, relay: Relay, executor: Any) -> None:
        processes: Any = sys.modules.get("concurrent.futures.process")
        if processes is not None and isinstance(executor, processes.ProcessPoolExecutor):
            raise UsageError(
                "wrap_executor takes an executor of threads; to a process, pass relay.inject() as an argument of the "
                "work, which begins with relay.extract(carrier)"
            )
        self._relay = relay
        self._executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Submit work that runs under the scope that is current now."""
        return self._executor.submit(bind(self._relay, fn), *args, **kwargs)

    def map(self, fn: Callable[..., Any], *iterables: Any, **options: Any) -> Iterator[Any]:
        """Map a function over iterables under the scope that is current now."""
        return self._executor.map(bind(self._relay, fn), *iterables, **options)

    def __enter__(self) -> Self:
        self._executor.__enter__()
        return self

    def __exit__(self, *details: object) -> Any:
        return self._executor.__exit__(*details)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


class HelperLoop:
    """A daemon thread with an event loop. Only policy callbacks that must await run here, never a tool or model call."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.RLock()  # a signal handler may make calls too
        self._awaited = 0  # what callers wait for, or soon will
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="relay-helper-loop", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def expect(self) -> Self:
        """Go on at least until the next `run` is done; each `run` needs this before, so that closing cannot come between."""
        with self._lock:
            self._awaited += 1
        return self

    def _done(self) -> None:
        with self._lock:
            self._awaited -= 1
            if self._closed and not self._awaited:
                self._loop.call_soon_threadsafe(self._loop.stop)

    def run(self, awaitable: Any) -> Any:
        """Run an awaitable with the caller's context variables and wait for its result.

        Raises:
            UsageError: called from the helper loop itself, where waiting would never end.
        """
        if threading.current_thread() is self._thread:
            self._done()
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
            raise UsageError(
                "an async policy callback made a sync Relay call that needs async policy; await it instead"
            )
        done = threading.Event()
        outcome: list[Any] = []
        context = contextvars.copy_context()

        async def main() -> None:
            try:
                outcome.extend((await awaitable, None))
            except BaseException as error:  # noqa: BLE001  # it belongs to the waiting caller
                outcome.extend((None, error))
            finally:
                done.set()
                self._done()

        self._loop.call_soon_threadsafe(lambda: context.run(self._spawn, main()))
        done.wait()
        value, error = outcome
        if error is not None:
            raise error
        return value

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks = {task, *(t for t in getattr(self, "_tasks", ()) if not t.done())}

    def close(self) -> None:
        """End the thread and its loop; where callers still wait for something, that is finished first, in the background."""
        with self._lock:
            self._closed = True
            if self._awaited:
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)
