"""Environment variables that set options of plugins: ``RELAY_PLUGINS__NAME__OPTION``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from relay_core.settings import MAX_DEPTH, Text, join_key

__all__ = ["PLUGIN_PREFIX", "Option", "plugin_options"]

PLUGIN_PREFIX: Final = "RELAY_PLUGINS__"


class Option(NamedTuple):
    """What one variable sets: the parts of the key below ``plugins``, and the text, whose type the schema knows."""

    variable: str
    path: tuple[str, ...]
    text: Text


def plugin_options(env: Mapping[str, str], known: Mapping[str, Any]) -> tuple[list[Option], list[str]]:
    """Find the options of plugins in the environment.

    Args:
        env: the environment.
        known: the plugins' tables so far. A key that is in them keeps its spelling; names are lower case else.

    Returns:
        The options, a table before what is in it; and the problems, one line each.

    Example:
        >>> found, problems = plugin_options(
        ...     {"RELAY_PLUGINS__MINE__URLS__MAIN": "x"}, {"mine": {"urls": {"Main": "y"}}}
        ... )
        >>> found[0].path, problems
        (('mine', 'urls', 'Main'), [])
    """
    options: list[Option] = []
    problems: list[str] = []
    whole: dict[tuple[str, ...], str] = {}
    for name in sorted(name for name in env if name.startswith(PLUGIN_PREFIX) and env[name].strip()):
        shown = join_key("", name)
        parts = name.removeprefix(PLUGIN_PREFIX).split("__")
        if not (2 <= len(parts) < MAX_DEPTH and all(parts)):
            problems.append(f"{shown}: names no option of a plugin; write {PLUGIN_PREFIX}NAME__OPTION")
            continue
        path = _spelled(parts, known)
        other = next((whole[path[:end]] for end in range(2, len(path) + 1) if path[:end] in whole), None)
        if other is not None:
            key = ".".join(("plugins", *path))
            problems.append(f"{shown}: {key}: {join_key('', other)} sets it already; keep one of the two")
            continue
        whole[path] = name
        options.append(Option(name, path, Text(env[name].strip())))
    return options, problems


def _spelled(parts: list[str], known: Any) -> tuple[str, ...]:
    """Spell the parts of a key as the layers below do: variables know neither lower case nor ``-`` nor ``.``."""
    path: list[str] = []
    for part in parts:
        names = cast("Mapping[str, Any]", known if isinstance(known, Mapping) else {})
        same = [name for name in names if _folded(name) == _folded(part)]
        path.append(same[0] if same else part.lower())
        known = names.get(path[-1])
    return tuple(path)


def _folded(name: object) -> str:
    return str(name).lower().replace("-", "_").replace(".", "_")
