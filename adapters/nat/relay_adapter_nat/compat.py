"""Everything that the adapter takes from NAT, in one place.

Importing this module imports NAT and refuses a version that the adapter was not made for. What is not part of NAT's stable
plugin API may move with any release; tests hold each such name to what the adapter needs.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "SUPPORTED",
    "BaseExporter",
    "ExporterManager",
    "FunctionGroup",
    "FunctionMiddleware",
    "FunctionMiddlewareBaseConfig",
    "FunctionMiddlewareContext",
    "TelemetryExporterBaseConfig",
    "UnsupportedNatError",
    "active_steps",
    "check_version",
    "has_profiler",
    "llm_names",
    "now",
    "register_middleware",
    "register_telemetry_exporter",
    "runtime_type",
]

DISTRIBUTION: Final = "nvidia-nat-core"
SUPPORTED: Final = (1, 9)


class UnsupportedNatError(AdapterError, ImportError):
    """The installed NAT is not one that the adapter was made for. It is an `ImportError`, which NAT's loader reports."""


def check_version(found: str | None = None) -> str:
    """Give the version of NAT.

    Args:
        found: the version; default that of the installed distribution.

    Raises:
        UnsupportedNatError: it is not supported, or NAT is not installed.
    """
    wanted = ".".join(map(str, SUPPORTED))
    cure = f'pip install "{DISTRIBUTION}>={wanted},<{SUPPORTED[0]}.{SUPPORTED[1] + 1}"'
    if found is None:
        try:
            found = version(DISTRIBUTION)
        except PackageNotFoundError:
            raise UnsupportedNatError(
                f"relay-adapter-nat needs {DISTRIBUTION}, which is not installed: {cure}"
            ) from None
    if found.split(".")[:2] != wanted.split("."):
        raise UnsupportedNatError(f"relay-adapter-nat works with {DISTRIBUTION} {wanted}, found {found}: {cure}")
    return found


check_version()

# Only after the check: with another version these may be elsewhere.
from nat.builder.context import ContextState  # noqa: E402  # see above
from nat.observability.exporter.base_exporter import BaseExporter  # noqa: E402  # see above
from nat.observability.exporter_manager import ExporterManager  # noqa: E402  # see above
from nat.plugin_api import (  # noqa: E402  # see above
    FunctionGroup,
    FunctionMiddleware,
    FunctionMiddlewareBaseConfig,
    FunctionMiddlewareContext,
    TelemetryExporterBaseConfig,
    register_middleware,
    register_telemetry_exporter,
)
from nat.utils.providers import get_time_provider  # noqa: E402  # see above

_state: Any = ContextState.get()  # NAT has one per process


def active_steps() -> Sequence[str]:
    """Give the ids of the steps that this code runs in, the innermost last."""
    return _state._active_span_id_stack.get() or ()  # the public property sets the variable


def runtime_type() -> str:
    """Give what the workflow runs for: ``run_or_serve``, ``evaluate`` or ``other``."""
    kind = _state.runtime_type.get()
    return str(getattr(kind, "value", kind))


def now() -> int:
    """Give NAT's time in nanoseconds since the epoch, to the microsecond."""
    current: Callable[[], float] = get_time_provider()
    return round(current() * 1e6) * 1_000


def has_profiler() -> bool:
    """Tell whether the package is there without which NAT reports no steps of models and tools."""
    try:
        return find_spec("nat.plugins.profiler") is not None
    except ModuleNotFoundError:  # NAT without any plugin package
        return False


def llm_names(builder: Any) -> list[str]:
    """Give the names of the models that a builder knows so far."""
    known: Any = getattr(getattr(builder, "_workflow_builder", builder), "_llms", None)
    return sorted(map(str, known)) if isinstance(known, dict) else []
