"""What observers see of a call whose objects are a framework's own, and what its outcome means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from relay_core.scopes import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.call_types import Call
    from relay_core.payload_hooks import Note
    from relay_core.scopes import Scope

__all__ = ["Observation", "Outcome", "read_outcome", "settled", "shown_by", "unreadable"]


class Outcome(NamedTuple):
    """How a call ended, in an adapter's words.

    Attributes:
        status: one of the statuses of a scope; None leaves it to the runtime.
        error: what ended the work; None for control flow, and for what is no failure.
        output: what observers see as the output; default what there is.
    """

    status: str | None = None
    error: BaseException | None = None
    output: Any = UNSET


class Observation:
    """How observers see one call. The default shows the objects as they are.

    An adapter gives one to `call_tool`, `call_llm` or `stream_llm` where the request or the response is an object that
    holds more than observers may see, or is not made of plain values. What it raises never reaches the program.

    Example:
        >>> import relay_core as relay
        >>> class Masked(Observation):
        ...     def request(self, call):
        ...         return {"city": call.request["city"]}
        >>> runtime, seen = relay.Relay(), []
        >>> handle = runtime.subscriber(lambda event: seen.append(event.data))
        >>> arguments = {"city": "Oslo", "client": object()}
        >>> runtime.call_tool("weather", arguments, lambda given: "rain", observation=Masked())
        'rain'
        >>> report = runtime.flush()
        >>> seen
        [{'city': 'Oslo'}, 'rain']
    """

    __slots__ = ()

    def request(self, call: Call) -> Any:
        """Give the request as observers see it; called when the call's scope opens, if anybody observes."""
        return call.request

    def result(self, call: Call, result: Any) -> Any:  # noqa: ARG002  # those who override it may need the call
        """Give the result as observers see it; a stream's is what its chunks were put together to."""
        return result

    def native(self, result: Any) -> Any:
        """Give a response in the form that the call's codec reads."""
        return result

    def outcome(self, call: Call, result: Any, error: BaseException | None) -> Outcome | None:  # noqa: ARG002  # see result
        """Say what a result or an exception means; None leaves it to the runtime."""
        return None


def settled(
    call: Call, scope: Scope, result: Any, error: BaseException | None, status: str | None
) -> tuple[BaseException | None, str | None]:
    """Let the call's observation read the end of the call; sets the scope's output, returns error and status."""
    observation: Any = call.observation
    observed = scope._route is not None
    if error is None and observed:
        scope.output = shown_by(observation.result, call, result)
    outcome = read_outcome(call, result, error)
    if outcome is None:
        return error, status
    if outcome.output is not UNSET:
        scope.output = outcome.output
    return outcome.error, outcome.status or status


def read_outcome(call: Call, result: Any, error: BaseException | None) -> Outcome | None:
    """Ask the call's observation what its end means; None if it does not say."""
    if call.observation is None:
        return None
    try:
        return call.observation.outcome(call, result, error)
    except Exception:  # noqa: BLE001  # whatever the program's objects raise when they are looked at
        return None


def shown_by(make: Callable[..., Any], *given: Any) -> Any:
    """Give ``make(*given)``, or a marker where the objects do not let themselves be read.

    Example:
        >>> shown_by(len, 5).fields
        {'unreadable': 'TypeError'}
    """
    try:
        return make(*given)
    except Exception as error:  # noqa: BLE001  # see read_outcome
        return unreadable(error)


def unreadable(error: BaseException) -> Note:
    """Give what stands for a payload that could not be read.

    Example:
        >>> unreadable(ValueError()).fields
        {'unreadable': 'ValueError'}
    """
    from relay_core.payload_hooks import Note  # noqa: PLC0415  # somebody observes, so it is loaded

    return Note({"unreadable": type(error).__name__})
