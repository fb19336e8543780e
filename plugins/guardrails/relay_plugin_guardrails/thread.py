"""The plugin's own thread with an event loop: rails that compute for long, or hold connections, run there."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from concurrent.futures import Future

__all__ = ["EngineThread"]

_PATIENCE = 2.0  # seconds for connections to close


class EngineThread:
    """Starts when it is first needed. A coroutine given to it runs with the context variables of whoever gave it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():  # threads do not survive a fork
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="relay-guardrails", daemon=True)
                self._thread.start()
                self._pid = os.getpid()
            return self._loop

    def close(self, last: Iterable[Coroutine[Any, Any, Any]]) -> None:
        """Run these coroutines, if the thread has ever run, cancel what is left, and end the thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None or self._pid != os.getpid():
            for coroutine in last:
                coroutine.close()
            return
        done = asyncio.run_coroutine_threadsafe(_finish(list(last)), loop)
        try:
            done.result(_PATIENCE)
        except TimeoutError:
            done.cancel()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE)
        if not thread.is_alive():
            loop.close()


async def _finish(last: list[Coroutine[Any, Any, Any]]) -> None:
    mine = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not mine]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, *last, return_exceptions=True)
