"""What an exception means for the scope that it ended."""

from __future__ import annotations

from typing import Final

from relay_core.errors import Blocked

__all__ = ["default_status", "describe"]

_CANCELLING: Final = frozenset({"CancelledError", "Cancelled", "GeneratorExit", "KeyboardInterrupt"})
_MESSAGE_LIMIT: Final = 2_000
_READABLE_ARGS: Final = 8
_READABLE_LENGTH: Final = 100_000


def default_status(error: BaseException) -> str:
    """Status of a scope that `error` ended: control flow is not failure."""
    if isinstance(error, Blocked):
        return "blocked"
    if isinstance(error, SystemExit) and not error.code:
        return "ok"
    if any(cls.__name__ in _CANCELLING for cls in type(error).__mro__):
        return "cancelled"
    return "error"


def describe(error: BaseException) -> tuple[str, str]:
    """Type name and message of an exception; never raises, and lets no payload inside it run or swell."""
    name = str(type.__getattribute__(type(error), "__qualname__"))
    try:
        message = str(error) if _is_readable(error) else f"({', '.join(type(a).__name__ for a in error.args[:8])})"
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001  # a broken __str__, even one that exits, must not hide the failure itself
        message = "(its message cannot be read)"
    if len(message) > _MESSAGE_LIMIT:
        message = message[:_MESSAGE_LIMIT] + " … (cut)"
    return name, message


def _is_readable(error: BaseException) -> bool:
    """Tell whether ``str`` of the exception is its class's own work, or only joins a few small plain arguments."""
    writer = next((vars(cls)["__str__"] for cls in type(error).__mro__ if "__str__" in vars(cls)), None)
    if type(writer) is not type(BaseException.__str__):
        return True  # written in Python, or in another language: its author's choice
    args = error.args
    return len(args) <= _READABLE_ARGS and all(
        type(a) in (int, float, bool, type(None)) or (type(a) in (str, bytes) and len(a) <= _READABLE_LENGTH)
        for a in args
    )
