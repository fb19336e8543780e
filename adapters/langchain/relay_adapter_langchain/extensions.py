"""What a framework on top of LangChain adds to the runs of its own, and how it learns of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from relay_adapter_langchain.observation import Start
    from relay_adapter_langchain.runs import Run

__all__ = ["RunExtension", "RunNote"]


class RunExtension(Protocol):
    """Told of every run that gets a scope of its own; entered with `RunTable.extend`."""

    def starting(self, start: Start) -> None:
        """Look at a run before its scope opens.

        It may set the ``category`` of the scope and its ``subtype``, add to the metadata in ``extra``, and leave a
        ``note`` that the run keeps. What it raises is counted, and the scope opens without it.
        """
        ...


class RunNote(Protocol):
    """What an extension keeps with a run."""

    def ending(self, run: Run, outcome: Any) -> None:
        """Look at how a run ends, before its scope does: `outcome` is what it returned or raised.

        It may set ``run.status``, for a run that ends without an exception, and add to the metadata of its scope.
        """
        ...
