"""The id that joins a run that was interrupted with the runs that resume it, in whatever process they are."""

from __future__ import annotations

from typing import Final
from uuid import NAMESPACE_URL, uuid5

__all__ = ["link_of"]

_NAMESPACE: Final = uuid5(NAMESPACE_URL, "relay:langgraph:checkpoint")


def link_of(checkpoint_id: str, checkpoint_ns: str = "") -> str:
    """Give the id of a checkpoint at which runs stop and go on; the same in every process.

    The thread is not part of it: no two threads have a checkpoint with the same id, but for copies of a thread, whose runs
    do resume those of the original.

    Args:
        checkpoint_id: at which the run stopped.
        checkpoint_ns: of the graph; empty for one that is not inside another.

    Returns:
        A UUID as text.

    Example:
        >>> link_of("1f1e696e-8b91-6ab1-8002-2d7c00946de8")
        '82484472-4921-585d-9301-c71847827ce1'
    """
    return str(uuid5(_NAMESPACE, f"{checkpoint_ns}\n{checkpoint_id}"))
