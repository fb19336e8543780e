"""A checkpointer in a file, so that another process can resume. Run as a script it is that process."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver


class DiskSaver(InMemorySaver):
    """LangGraph's saver in memory, whose memory is in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.lock = threading.Lock()
        if path.exists():
            storage, self.writes, self.blobs = pickle.loads(path.read_bytes())
            for thread, spaces in storage.items():
                for space, known in spaces.items():
                    self.storage[thread][space].update(known)

    def put(self, *args: Any, **kwargs: Any) -> Any:
        with self.lock:  # LangGraph saves from several threads
            found = super().put(*args, **kwargs)
            self._save()
        return found

    def put_writes(self, *args: Any, **kwargs: Any) -> None:
        with self.lock:
            super().put_writes(*args, **kwargs)
            self._save()

    def _save(self) -> None:
        storage = {
            thread: {space: dict(known) for space, known in spaces.items()} for thread, spaces in self.storage.items()
        }
        self.path.write_bytes(pickle.dumps((storage, self.writes, self.blobs)))


def make(path: Path):
    """The graph of both processes."""
    from tests.adapters.langgraph.graphs import ask, line

    return line("first", ask, "last", checkpointer=DiskSaver(path), name="order")


def resume(path: str, answer: str) -> None:
    """Resume in this process, with nothing but one line for Relay, and print its events."""
    import relay_core

    events: list[dict[str, Any]] = []
    relay_core.subscriber(lambda event: events.append(event.to_dict()), name="recorder")
    relay_core.autoload(names=["langgraph"])
    from langgraph.types import Command

    result = make(Path(path)).invoke(Command(resume=answer), {"configurable": {"thread_id": "t"}})
    relay_core.flush(20.0)
    sys.stdout.write(json.dumps({"result": result, "events": events}))


if __name__ == "__main__":
    resume(*sys.argv[1:])
