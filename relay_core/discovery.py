"""Installed plugins and adapters: found by entry point, imported one by one, failures put in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from relay_core.outcomes import describe
from relay_core.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

__all__ = ["Found", "explain", "find", "import_one"]

_TEXT_LIMIT = 500


class Found(NamedTuple):
    """One name in an entry point group, and what provides it; more than one distribution is a conflict."""

    name: str
    points: tuple[EntryPoint, ...]

    @property
    def homes(self) -> list[tuple[str, str]]:
        """Name and version of each distribution that has this entry point."""
        return sorted({(point.dist.name, point.dist.version) for point in self.points if point.dist is not None})


def find(group: str) -> dict[str, Found]:
    """Find the entry points of a group, importing none of them.

    Example:
        >>> find("relay.no_such_group")
        {}
    """
    from importlib.metadata import entry_points  # noqa: PLC0415  # costs 130 modules; only discovery needs it

    found: dict[str, Found] = {}
    for point in entry_points(group=group):
        earlier = found.get(point.name)
        found[point.name] = Found(point.name, (*(earlier.points if earlier else ()), point))
    return found


def import_one(what: str, group: str, name: str, found: Found | None, known: Iterable[str]) -> Any:
    """Import what an entry point names.

    Args:
        what: "plugin" or "adapter", for the text.
        group: of the entry points.
        name: of the plugin or adapter.
        found: what `find` has for the name.
        known: the names that there are, to suggest one.

    Raises:
        LookupError: nothing provides it, or several distributions do; the text says what to do.
        Exception: whatever importing it raises.
    """
    if found is None:
        raise LookupError(
            f"it is not installed{did_you_mean(name, known)}; install the distribution that has {name!r} as an entry "
            f"point in {group!r}, or take the {what} out of the configuration"
        )
    homes = [home for home, _version in found.homes]
    if len(homes) > 1:
        raise LookupError(f"{' and '.join(homes)} both provide it; uninstall all but one of them")
    return found.points[0].load()


def explain(error: BaseException) -> str:
    """Say what an exception of foreign code was: type and message, shortened, credentials hidden.

    Example:
        >>> explain(ValueError("no access with https://me:pass@example.org/"))
        'ValueError: no access with https://me:[REDACTED]@example.org/'
    """
    from relay_core.redaction import Redactor  # noqa: PLC0415  # only failures need it

    name, message = describe(error)
    return Redactor().scrub_text(f"{name}: {' '.join(message.split())}" if message else name)[:_TEXT_LIMIT]
