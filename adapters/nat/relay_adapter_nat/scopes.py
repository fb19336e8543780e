"""The scope of a step of NAT: it has the step's id, and ends when NAT says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import NAMESPACE_URL, uuid5

from relay_core.ids import parse_uuid
from relay_core.scopes import UNSET, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from relay_core.llm import LlmResponse
    from relay_core.runtime import Relay
    from relay_core.scopes import Node

__all__ = ["StepScope", "Verdict", "identity"]


class Verdict(NamedTuple):
    """How a managed call inside a step ended.

    Attributes:
        error: what ended it, if an exception did.
        status: one of the statuses of a scope; None leaves it to the runtime.
    """

    error: BaseException | None
    status: str | None


def identity(step_id: str) -> str:
    """Give the UUID of a scope for the id of a step: the id itself, where it is a UUID.

    Example:
        >>> identity("9B1DEB4D-3B7D-4BAD-9BDD-2B0D7B3DCB6D"), identity("step 1") == identity("step 1")
        ('9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d', True)
    """
    return parse_uuid(step_id) or str(uuid5(NAMESPACE_URL, f"nat:step:{step_id}"))


class StepScope(Scope):
    """A scope that NAT opens and closes, and that a managed call may use in between.

    Args:
        step_uuid: its UUID.
        relay: the runtime.
        name: a label for people.
        category: as for `relay_core.scope`.
        parent: the scope around it; None at a root.
        data: its input.
        metadata: correlation data.
        profile: fields of the category.
        timestamp: its start in nanoseconds since the epoch; default now.
        codec: the lens for the annotated views.

    Attributes:
        managed: whether policy has been, or is being, applied to the step.
        verdict: how the managed call inside ended.
    """

    __slots__ = ("managed", "step_uuid", "verdict")

    def __init__(
        self,
        step_uuid: str,
        relay: Relay,
        name: str,
        category: str,
        parent: Node | None,
        data: Any,
        metadata: Mapping[str, Any] | None,
        profile: Mapping[str, Any] | None,
        timestamp: int | None = None,
        codec: Any = None,
    ) -> None:
        self.prepare(relay, name, category, parent, data, metadata, profile, (), timestamp, codec)
        self.step_uuid = step_uuid
        self.managed = False
        self.verdict: Verdict | None = None

    @property
    def uuid(self) -> str:
        """The id of the step."""
        return self.step_uuid

    @property
    def opened(self) -> bool:
        """Whether it has started."""
        return bool(self._id)

    def open(self) -> Self:
        """Start, unless NAT has started it."""
        return self if self._id else super().open()

    def ask(self, request: Any) -> None:
        """Take what policy has made of the input, before the start."""
        self._input = request

    def end(
        self,
        error: BaseException | None = None,
        status: str | None = None,
        timestamp: datetime | int | None = None,
        view: LlmResponse | None = None,
    ) -> bool:
        """Note how the managed call inside ended; without one, end."""
        if self.managed:
            self.verdict = Verdict(error, status)
            return True
        return super().end(error, status, timestamp, view)

    def settle(self, output: Any = UNSET, error: BaseException | None = None, **details: Any) -> None:
        """End for good, with what a managed call has left.

        Args:
            output: what the work produced.
            error: the exception that ended it.
            **details: as for `close`.
        """
        self.managed = False
        verdict, self.verdict = self.verdict, None
        if verdict is not None and error is None and verdict.error is None and details.get("status") is None:
            details["status"] = verdict.status  # what raised inside may have been dealt with since: the step knows
        self.close(output=output, error=error, **details)
