"""The ``OTEL_*`` variables, read when an exporter is made. What the configuration says goes before them."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from relay_plugin_observability.otel.transport import Signal

__all__ = ["Environment"]

_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_TRUE: Final = frozenset({"true", "1", "yes"})
_CAPTURING: Final = frozenset({"true", "1", "span_only", "span_and_event"})
_SAMPLERS: Final = {
    "always_on": (1.0, False),
    "always_off": (0.0, False),
    "traceidratio": (None, False),
    "parentbased_always_on": (1.0, True),
    "parentbased_always_off": (0.0, True),
    "parentbased_traceidratio": (None, True),
}


class Environment:
    """Reads the variables; what makes no sense is as good as not set, and listed in `problems`.

    Args:
        variables: default ``os.environ``.

    Example:
        >>> found = Environment({"OTEL_EXPORTER_OTLP_TIMEOUT": "2500", "OTEL_SDK_DISABLED": "true"})
        >>> found.timeout("traces"), found.disabled
        (2.5, True)
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables
        self.problems: list[str] = []

    def get(self, name: str) -> str | None:
        """Give a variable; one that is empty is not set."""
        value = self._variables.get(name, "").strip()
        return value or None

    def exporter(self, signal: Signal, name: str) -> str | None:
        """Give an option of the OTLP exporter: that of the signal goes before that of all signals."""
        return self.get(f"{_PREFIX}{signal.upper()}_{name}") or self.get(_PREFIX + name)

    def endpoint(self, signal: Signal) -> tuple[str, bool] | None:
        """Give the endpoint, and whether it is of this signal alone, so that no path is added to it."""
        own = self.get(f"{_PREFIX}{signal.upper()}_ENDPOINT")
        if own is not None:
            return own, True
        shared = self.get(f"{_PREFIX}ENDPOINT")
        return None if shared is None else (shared, False)

    @property
    def disabled(self) -> bool:
        """Whether the user has turned OpenTelemetry off."""
        return (self.get("OTEL_SDK_DISABLED") or "").lower() == "true"

    @property
    def insecure(self) -> bool:
        """Whether a gRPC endpoint without a scheme is spoken to without TLS."""
        return (self.get(f"{_PREFIX}INSECURE") or "").lower() in _TRUE

    @property
    def captures_content(self) -> bool:
        """Whether content of messages may be shown in spans."""
        return (self.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT") or "").lower() in _CAPTURING

    def wants(self, signal: Signal) -> bool:
        """Whether the signal is exported; ``OTEL_TRACES_EXPORTER=none`` turns it off."""
        return (self.get(f"OTEL_{signal.upper()}_EXPORTER") or "").lower() != "none"

    def headers(self, signal: Signal) -> dict[str, str]:
        """Read the headers, with percent signs decoded."""
        return self._pairs(self.exporter(signal, "HEADERS"), "headers")

    def resource(self) -> dict[str, str]:
        """Read what the variables say of the program, the service's name included."""
        found = self._pairs(self.get("OTEL_RESOURCE_ATTRIBUTES"), "OTEL_RESOURCE_ATTRIBUTES")
        name = self.get("OTEL_SERVICE_NAME")
        executable = PurePath(sys.executable or "python").name
        found["service.name"] = name or found.get("service.name") or f"unknown_service:{executable}"
        return found

    def sampler(self) -> tuple[float, bool] | None:
        """Read the sampler: the part of the traces, and whether the caller's decision goes before it."""
        name = self.get("OTEL_TRACES_SAMPLER")
        if name is None:
            return None
        if name.lower() not in _SAMPLERS:
            self.problems.append(f"OTEL_TRACES_SAMPLER: {name[:80]!r} is none of {', '.join(_SAMPLERS)}")
            return None
        ratio, follows = _SAMPLERS[name.lower()]
        if ratio is None:
            told = self.number("OTEL_TRACES_SAMPLER_ARG")
            ratio = 1.0 if told is None else min(1.0, max(0.0, told))
        return ratio, follows

    def number(self, name: str) -> float | None:
        """Read a number that is not negative."""
        text = self.get(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e15:
            self.problems.append(f"{name}: {text[:80]!r} is no usable number")
            return None
        return value

    def whole(self, name: str) -> int | None:
        """Read a whole number above zero."""
        value = self.number(name)
        return None if value is None or value < 1 else int(value)

    def timeout(self, signal: Signal) -> float | None:
        """Read the seconds of one attempt; the variables have milliseconds."""
        text = self.exporter(signal, "TIMEOUT")
        if text is None:
            return None
        try:
            value = float(text) / 1000
        except ValueError:
            value = 0.0
        return value if 0 < value < 1e6 else self._odd(f"{_PREFIX}TIMEOUT", text)

    def choice(self, name: str, text: str | None, known: Collection[str]) -> str | None:
        """Give a word if it is one of those known."""
        if text is None:
            return None
        return text.lower() if text.lower() in known else self._odd(name, text)

    def _odd(self, name: str, text: str) -> None:
        self.problems.append(f"{name}: {text[:80]!r} cannot be used")

    def _pairs(self, text: str | None, what: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for pair in (text or "").split(","):
            key, equals, value = pair.partition("=")
            if equals and key.strip():
                found[unquote(key.strip())] = unquote(value.strip())
            elif pair.strip():
                self.problems.append(f"{what}: an entry without '=' is left out")  # it may be a secret
        return found
