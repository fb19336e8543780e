"""Environment variables that set options of plugins and adapters: ``RELAY_PLUGINS__NAME__OPTION`` and the like."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

from relay_core.settings import MAX_DEPTH, Text, join_key

__all__ = ["PREFIXES", "Option", "guessed", "table_options", "variable_of"]

PREFIXES: Final = {"plugins": "RELAY_PLUGINS__", "adapters": "RELAY_ADAPTERS__"}
"""What the variables begin with, by the section of the file whose tables have options."""
_PARTS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^.]+')


class Option(NamedTuple):
    """What one variable sets: the parts of the key, section first, and the text, whose type the schema knows."""

    variable: str
    path: tuple[str, ...]
    text: Text


def table_options(section: str, env: Mapping[str, str], known: Mapping[str, Any]) -> tuple[list[Option], list[str]]:
    """Find the options of a section's tables in the environment.

    Args:
        section: "plugins" or "adapters".
        env: the environment.
        known: the section's tables so far. A key that is in them keeps its spelling; names are lower case else.

    Returns:
        The options, a table before what is in it; and the problems, one line each.

    Example:
        >>> found, problems = table_options(
        ...     "plugins", {"RELAY_PLUGINS__MINE__URLS__MAIN": "x"}, {"mine": {"urls": {"Main": "y"}}}
        ... )
        >>> found[0].path, problems
        (('plugins', 'mine', 'urls', 'Main'), [])
    """
    prefix = PREFIXES[section]
    options: list[Option] = []
    problems: list[str] = []
    whole: dict[tuple[str, ...], str] = {}
    for name in sorted(name for name in env if name.startswith(prefix) and env[name].strip()):
        shown = join_key("", name)
        parts = name.removeprefix(prefix).split("__")
        if not (2 <= len(parts) < MAX_DEPTH and all(parts)):
            problems.append(f"{shown}: names no option of {_ONE[section]}; write {prefix}NAME__OPTION")
            continue
        path = (section, *_spelled(parts, known))
        other = next((whole[path[:end]] for end in range(3, len(path) + 1) if path[:end] in whole), None)
        if other is not None:
            problems.append(f"{shown}: {'.'.join(path)}: {join_key('', other)} sets it already; keep one of the two")
            continue
        whole[path] = name
        options.append(Option(name, path, Text(env[name].strip())))
    return options, problems


_ONE: Final = {"plugins": "a plugin", "adapters": "an adapter"}


def variable_of(key: str) -> str | None:
    """Name the variable that sets an option of a plugin or adapter.

    Args:
        key: dotted, as `relay_core.config.Config.describe` has it.

    Returns:
        None if no variable can say it. An item of a list is set by the variable of the whole list.

    Example:
        >>> variable_of("plugins.observability.atof.directory"), variable_of("plugins.demo.sinks[0].url")
        ('RELAY_PLUGINS__OBSERVABILITY__ATOF__DIRECTORY', 'RELAY_PLUGINS__DEMO__SINKS')
        >>> variable_of("queue.policy") is variable_of("plugins.demo") is None
        True
    """
    section, *quoted = _PARTS.findall(re.sub(r"\[\d+\].*", "", key))
    if section not in PREFIXES or len(quoted) < 2:
        return None
    parts = [msgspec.json.decode(part) if part.startswith('"') else part for part in quoted]
    folded = [_folded(part).upper() for part in parts]
    # A variable that is not spelled with these characters cannot be set in a shell, and two underscores divide parts.
    if not all(re.fullmatch(r"[A-Z0-9]+(?:_[A-Z0-9]+)*_?", part) for part in folded):
        return None
    return PREFIXES[section] + "__".join(folded)


def guessed(value: Any) -> Any:
    """Read the texts of options that nobody has declared a type for: what TOML takes for a value is one.

    Example:
        >>> guessed({"payloads": Text("false"), "control": Text("full"), "sizes": Text("[1, 2]"), "id": Text("'7'")})
        {'payloads': False, 'control': 'full', 'sizes': [1, 2], 'id': '7'}
    """
    if isinstance(value, Text):
        return _value(value)
    if isinstance(value, dict):
        return {name: guessed(item) for name, item in cast("dict[str, Any]", value).items()}
    return value


def _value(text: Text) -> Any:
    for read in (lambda: tomllib.loads(f"value = {text}"), lambda: {"value": msgspec.json.decode(str(text))}):
        try:
            found: dict[str, Any] = read()
        except (ValueError, RecursionError):
            continue
        value: Any = found.get("value")
        if len(found) == 1 and isinstance(value, str | bool | int | float | list | dict):
            return cast("Any", value)
    return str(text)


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
