"""Carrying the current scope onto other threads, and the loop that sync callers' async policy runs on."""

from __future__ import annotations

import asyncio
import contextvars
import functools
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
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay-helper-loop", daemon=True)
        self._thread.start()

    def run(self, awaitable: Any) -> Any:
        """Run an awaitable with the caller's context variables and wait for its result.

        Raises:
            UsageError: called from the helper loop itself, where waiting would never end.
        """
        if threading.current_thread() is self._thread:
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
        """End the thread and its loop."""
        if threading.current_thread() is self._thread:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._loop.close()
