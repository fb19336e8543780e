"""Root runs end with the asyncio task that they began in, if it is cancelled.

LangChain reports a cancelled chain, but nothing of a cancelled model or tool. Below a chain the table sees to it; a root
has only its task. One callback per task, however many runs it makes; nothing here keeps a task, a run or a table alive.
"""

from __future__ import annotations

import sys
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Iterable

__all__ = ["TaskWatch", "TaskWatches"]


class TaskWatch:
    """What waits for the end of one task.

    Args:
        cancel: told the open runs of a cancelled task; a method, held weakly.

    Attributes:
        runs: keys of the open root runs that began in the task, in order.
    """

    __slots__ = ("_cancel", "runs")

    def __init__(self, cancel: weakref.WeakMethod[Callable[[Iterable[Any]], None]]) -> None:
        self._cancel = cancel
        self.runs: dict[Any, None] = {}

    def __call__(self, task: Task[Any]) -> None:
        """Take note that the task is done. What it left open without being cancelled may go on in another one."""
        runs, self.runs = tuple(self.runs), {}
        cancel = self._cancel()
        if runs and cancel is not None and task.cancelled():
            cancel(runs)


class TaskWatches:
    """The watches of one table.

    Args:
        cancel: a method that ends the runs with the given keys; held weakly.
    """

    def __init__(self, cancel: Callable[[Iterable[Any]], None]) -> None:
        self._cancel = weakref.WeakMethod(cancel)
        self._watches: weakref.WeakKeyDictionary[Task[Any], TaskWatch] = weakref.WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._watches)

    def watch(self, key: Any) -> TaskWatch | None:
        """Let a run end with the current task; None where there is none."""
        asyncio = sys.modules.get("asyncio")
        if asyncio is None:
            return None
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs on this thread
            return None
        if task is None:
            return None
        watch = self._watches.get(task)
        if watch is None:
            watch = self._watches[task] = TaskWatch(self._cancel)
            task.add_done_callback(watch, context=Context())  # empty: a copy would keep the caller's context alive
        watch.runs[key] = None
        return watch

    def look(self) -> None:
        """Act on tasks that are done and whose loop has not told so yet."""
        for reference in self._watches.keyrefs():
            task = reference()
            if task is not None and task.done():
                watch = self._watches.pop(task, None)
                if watch is not None:
                    watch(task)
