"""Every error that Relay raises.

RelayError
├── Blocked                 a guardrail said no; raised to the caller of the blocked call
│   └── GuardrailFailed     a guardrail crashed and its policy is to block
├── UsageError              the program used Relay wrongly (also a TypeError)
├── DuplicateName           a name is taken at this level (also a ValueError)
├── ConfigError             the configuration has problems; all of them are listed (also a ValueError)
├── PluginError             a plugin cannot be loaded or activated
├── AdapterError            an adapter cannot be loaded or installed
└── CodecError              an edit of a neutral view cannot be written back (also a ValueError)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.call_types import Call

__all__ = [
    "AdapterError",
    "Blocked",
    "CodecError",
    "ConfigError",
    "DuplicateName",
    "GuardrailFailed",
    "PluginError",
    "RelayError",
    "UsageError",
]


class RelayError(Exception):
    """Base of all errors raised by Relay.

    Example:
        >>> import relay_core as relay
        >>> issubclass(relay.Blocked, relay.RelayError)
        True
    """


class Blocked(RelayError):  # noqa: N818  # a decision, not a defect
    """A guardrail stopped a tool or LLM call before it ran.

    It is no subclass of any SDK's error, so that retry rules of SDKs and frameworks leave it alone.

    Args:
        reason: why, in words that may be shown to the model or the user.
        guardrail: name of the guardrail that decided.
        call: the call that did not run; its request is the one the guardrail saw.

    Example:
        >>> import relay_core as relay
        >>> error = relay.Blocked("no shell here", guardrail="no_shell")
        >>> error.reason, error.guardrail
        ('no shell here', 'no_shell')

    Attributes:
        message: what to say to the user, where that is other than the reason.
    """

    message: str | None = None

    def __init__(self, reason: str, *, guardrail: str | None = None, call: Call | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.guardrail = guardrail
        self.call = call
        self._text: str | None = None

    @property
    def words(self) -> str:
        """What the user is told: the message if there is one, else the reason. A model is told the reason."""
        return self.message or self.reason

    def __reduce__(self) -> tuple[Any, ...]:
        return _blocked_again, (type(self), self.reason, self.guardrail, self.call, str(self))

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        target = f"{self.call.kind} call {self.call.name!r} " if self.call is not None else ""
        by = f" by guardrail {self.guardrail!r}" if self.guardrail else ""
        return f"{target}blocked{by}: {self.reason}"


def _blocked_again(kind: type[Blocked], reason: str, guardrail: str | None, call: Call | None, text: str) -> Blocked:
    made = kind(reason, guardrail=guardrail, call=call)
    made._text = text
    return made


class GuardrailFailed(Blocked):
    """A guardrail crashed or gave a wrong answer, and its ``on_error`` policy is ``"block"``.

    The guardrail's own exception is the ``__cause__``. Catching `Blocked` catches this too.
    """


class UsageError(RelayError, TypeError):
    """The program used Relay's API wrongly; the text says what to write instead."""


class DuplicateName(RelayError, ValueError):  # noqa: N818  # says what is wrong
    """A registration has a name that is taken at the same level."""


class ConfigError(RelayError, ValueError):
    """The configuration has one or more problems.

    Args:
        problems: one line each: where (file, line, key), what is wrong, what to write.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 configuration problem" if count == 1 else f"{count} configuration problems"
        super().__init__("\n".join([f"{head}:", *(f"  {problem}" for problem in self.problems)]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class PluginError(RelayError):
    """A plugin cannot be loaded or activated; the text names the plugin and the cure."""


class AdapterError(RelayError):
    """An adapter cannot be loaded or installed; the text names the adapter and the cure."""


class CodecError(RelayError, ValueError):
    """A request or response cannot be read by its codec, or an edit cannot be written back to it."""
