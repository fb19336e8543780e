"""Layered configuration: code over environment over file over default, and one error that lists every problem.

Files, lowest first: ``relay.toml`` in the user's configuration folder, then in the working directory. The second may
come with somebody else's repository: it sets harmless keys only, and what is wrong in it is left out, so that it never
turns off what the trusted layers turn on. A file that is named is trusted and replaces both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import msgspec

from relay_core.config.toml_file import key_lines, read_file
from relay_core.config.variables import PREFIXES, Option, guessed, table_options
from relay_core.errors import ConfigError, UsageError
from relay_core.settings import (
    MAX_DEPTH,
    Adapters,
    Check,
    Origin,
    PluginEntry,
    Settings,
    Text,
    did_you_mean,
    find_origin,
    join_key,
    mask,
    nested_too_deep,
    read_texts,
    validate_section,
)

__all__ = ["Config", "Row", "environment_names", "key_lines", "load", "validate_section"]

FILE_NAME = "relay.toml"
DEFAULT = Origin("default", "built in")
_MOST_WARNINGS = 10  # of each kind, about a file that nobody asked for
TRUST = "to trust the file, name it: RELAY_CONFIG=./relay.toml or relay run --config ./relay.toml"

# Variables that other parts of Relay read.
_OTHER_VARIABLES = {"RELAY_CONFIG", "RELAY_AUTOLOAD", "RELAY_CORPUS", "RELAY_CONTEXT", "RELAY_DEBUG"}
_OTHER_PREFIXES = ("RELAY_BENCH_", *PREFIXES.values())


def _more(old: Any, new: Any) -> Any:
    return new if new >= old else None


def _added(old: Any, new: Any) -> Any:
    return [*old, *(item for item in new if item not in old)]


# What a file in the working directory may set: (value so far, wanted value) to the value to use, or None to refuse.
# A smaller limit would lose records, so limits only grow.
_HARMLESS: dict[str, Callable[[Any, Any], Any]] = {
    "queue.max_events": _more,
    "queue.max_bytes": _more,
    "payload.max_depth": _more,
    "payload.max_items": _more,
    "payload.max_string": _more,
    "payload.max_bytes": _more,
    "stream.chunk_marks": lambda _old, new: new,
    "redaction.enabled": lambda _old, new: new or None,
    "redaction.extra_keys": _added,
}


class Row(NamedTuple):
    """One effective value, for display; secrets are masked."""

    key: str
    value: Any
    layer: str
    origin: str


class Config(msgspec.Struct, frozen=True):
    """What `load` found.

    Args:
        settings: the typed settings.
        origins: where each dotted key (``queue.max_events``) comes from; tables are keys too.
        files: the files that were read.
        warnings: what was ignored and why, one line each.
        values: the effective values in the form of the file, defaults included; not masked.
        plugin_configs: the checked configuration of each plugin that declares a schema.
    """

    settings: Settings
    origins: dict[str, Origin]
    files: tuple[Path, ...]
    warnings: tuple[str, ...]
    values: dict[str, Any]
    plugin_configs: dict[str, msgspec.Struct]

    def describe(self) -> list[Row]:
        """List every effective value with the layer and the place it comes from.

        Returns:
            Rows in the order of the reference; values of secret keys read ``***``.

        Example:
            >>> rows = load(env={"RELAY_QUEUE_POLICY": "drop_oldest"}).describe()
            >>> [row for row in rows if row.layer == "environment"]
            [Row(key='queue.policy', value='drop_oldest', layer='environment', origin='RELAY_QUEUE_POLICY')]
        """
        leaves = _leaves(self.values)
        return [Row(key, mask(value, key), *(find_origin(self.origins, key) or DEFAULT)) for key, value in leaves]


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    env: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
    plugin_schemas: Mapping[str, type[msgspec.Struct]] | None = None,
    check_plugins: Callable[[Sequence[PluginEntry], Mapping[str, Origin]], list[str]] | None = None,
) -> Config:
    """Read all layers and check them.

    Args:
        path: a configuration file to use instead of those found; stronger than ``RELAY_CONFIG``.
        env: the environment.
        overrides: values from code, nested as in the file or with dotted keys (``{"queue.max_events": 10}``).
        plugin_schemas: the struct of each plugin's configuration; asked only for plugins that are configured.
        check_plugins: tells the problems of the plugins' sections, given these and where each key comes from.

    Returns:
        The settings, and where each value comes from.

    Raises:
        ConfigError: there are problems; the error lists all of them.
        UsageError: `path` is none.

    Example:
        >>> config = load(env={}, overrides={"queue.max_events": 10})
        >>> config.settings.queue.max_events, config.origins["queue.max_events"].layer
        (10, 'code')
    """
    if path is not None and not isinstance(path, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass anything
        raise UsageError(
            f"a configuration file is named by its path, not by {type(path).__name__}; settings from code are given by "
            f"section: relay.configure(queue={{...}})"
        )
    layers = _Layers()
    layers.add_files(path or env.get("RELAY_CONFIG"), env)
    layers.add_environment(env)
    layers.add(_nested(overrides or {}), lambda _key: Origin("code", "code"))
    return layers.result(plugin_schemas or {}, check_plugins)


def environment_names() -> dict[str, str]:
    """Give the environment variables that set a value of Relay's own, with the dotted key each one sets.

    Options of plugins and adapters have variables too, by one rule: ``RELAY_PLUGINS__NAME__OPTION`` and
    ``RELAY_ADAPTERS__NAME__OPTION``; see `relay_core.config.variables.variable_of`.

    Example:
        >>> environment_names()["RELAY_QUEUE_MAX_EVENTS"]
        'queue.max_events'
    """
    leaves = [key for key, _ in _leaves(_default_values()) if not key.startswith(("adapters", "plugins"))]
    names = {f"RELAY_{key.upper().replace('.', '_')}": key for key in leaves}
    return names | {"RELAY_ADAPTERS": "adapters.enable", "RELAY_BLOCK": "adapters.block", "RELAY_PLUGINS": "plugins"}


class _Layers:
    """The layers so far: one tree in the form of the file, lowest layer first."""

    def __init__(self) -> None:
        self.values = _default_values()
        self.origins = dict.fromkeys((key for key, _ in _nodes(self.values, "")), DEFAULT)
        self.files: list[Path] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def add_files(self, named: str | os.PathLike[str] | None, env: Mapping[str, str]) -> None:
        if named:
            self._add_file(Path(os.path.expanduser(named)), os.fspath(named), "named")  # noqa: PTH111  Path's raises
            return
        # A relative folder would let the working directory pass for the user's own.
        home = Path(env.get("HOME") or env.get("USERPROFILE") or "", ".config")
        folder = next((one for one in (Path(env.get("XDG_CONFIG_HOME", "")), home) if one.is_absolute()), None)
        if folder is not None:
            self._add_file(folder / "relay" / FILE_NAME, str(folder / "relay" / FILE_NAME), "user")
        if os.path.realpath(FILE_NAME) not in map(os.path.realpath, self.files):
            self._add_file(Path(FILE_NAME), FILE_NAME, "project")

    def _add_file(self, path: Path, shown: str, kind: Literal["named", "user", "project"]) -> None:
        shown = shown if shown.isprintable() else ascii(shown)
        try:
            data, lines = read_file(path, shown)
        except (FileNotFoundError, NotADirectoryError):
            if kind == "named":
                self.problems.append(f"{shown}: no such file, though it was named as the configuration file")
            return
        except ConfigError as error:
            if kind == "project":
                self._leave_out(error.problems)
            else:
                self.problems += error.problems
            return
        self.files.append(path)
        lists = {key: Origin("file", f"{shown}:{line}") for key, line in lines.items()}
        self.add(data, lambda key: find_origin(lists, key) or Origin("file", shown), lists, kind == "project")

    def add_environment(self, env: Mapping[str, str]) -> None:
        known = environment_names()
        data: dict[str, Any] = {}
        places: dict[str, Origin] = {}
        for name, text in env.items():
            if not name.startswith("RELAY_") or name in _OTHER_VARIABLES or name.startswith(_OTHER_PREFIXES):
                continue
            if name not in known:
                shown = join_key("", name)
                self.warnings.append(f"{shown}: unknown variable, ignored{did_you_mean(name, known)}")
            elif text.strip():
                places[known[name]] = Origin("environment", name)
                _overlay(data, _nested({known[name]: self._from_text(known[name], text.strip())}))
        listed = "plugins" in data
        for section in PREFIXES:
            options, problems = table_options(section, env, self.values[section])
            self.problems += problems
            for option in options:
                _set_option(option, data, places, listed=listed and section == "plugins")
        self.add(data, lambda key: find_origin(places, key) or Origin("environment", "environment"))
        if listed:
            self.values["plugins"] = {name: self.values["plugins"][name] for name in data["plugins"]}

    def _from_text(self, key: str, text: str) -> Any:
        """Read a variable as the type of its key; text that does not fit stays text and is reported as such."""
        names = [part.strip() for part in text.split(",") if part.strip()] if text.lower() != "none" else []
        if key == "plugins":
            return {name: {"enabled": name in names} for name in [*names, *self.values["plugins"]]}
        if key == "adapters.enable":
            return None if text.lower() == "all" else names
        default = dict(_leaves(_default_values()))[key]
        return read_texts(list[str] if isinstance(default, list) else type(default), Text(text))

    def add(
        self,
        data: dict[str, Any],
        place: Callable[[str], Origin],
        inside_lists: Mapping[str, Origin] | None = None,
        project: bool = False,
    ) -> None:
        """Check one layer and lay what is right in it over the layers below."""
        if nested_too_deep(data):
            problems = [f"{place('').detail}: nested deeper than {MAX_DEPTH} levels"]
            if project:
                self._leave_out(problems)
            else:
                self.problems += problems
            return
        local = {key: place(key) for key, _ in _nodes(data)} | dict(inside_lists or {})
        check = Check(local)
        good = _checked(data, check)
        if project:
            self._leave_out(check.problems)
            good = _right_keys(data, local) | good
            good = self._harmless({name: good[name] for name in data if name in good}, local)
        else:
            self.problems += check.problems
        self._merge(self.values, good, "", local)

    def _leave_out(self, problems: Sequence[str]) -> None:
        """Tell what is wrong with a file that nobody named; it stops nothing that the trusted layers ask for."""
        self._warn([f"{problem} (left out)" for problem in problems], "problems (left out)")

    def _warn(self, found: list[str], what: str) -> None:
        self.warnings += found[:_MOST_WARNINGS]
        if len(found) > _MOST_WARNINGS:
            self.warnings.append(f"{FILE_NAME}: {len(found) - _MOST_WARNINGS} more {what}")

    def _harmless(self, data: dict[str, Any], local: Mapping[str, Origin]) -> dict[str, Any]:
        """Keep what a file may set that nobody named, and warn about the rest."""
        allowed: dict[str, Any] = {}
        refused: list[str] = []
        for key, value in _nodes(data, depth=2):
            section, _, name = key.partition(".")
            if isinstance(value, dict) and not name:
                continue
            rule = _HARMLESS.get(key)
            used = rule(self.values[section][name], value) if rule else None
            if used is None:
                reason = "may not lower it" if rule else "may not set it"
                reason = f"ignored: a {FILE_NAME} that is only found in the working directory {reason}; {TRUST}"
                refused.append(f"{local[key].detail}: {key}: {reason}")
            else:
                _overlay(allowed, {section: {name: used}})
        self._warn(refused, "keys, ignored")
        return allowed

    def _merge(self, target: dict[str, Any], data: dict[str, Any], where: str, local: Mapping[str, Origin]) -> None:
        """Lay a layer over the tree: tables are merged, everything else, lists included, replaces."""
        for name, value in data.items():
            key = join_key(where, name)
            old = target.get(name)
            if isinstance(old, dict | list) and not (isinstance(old, dict) and isinstance(value, dict)):
                inside = (f"{key}.", f"{key}[")
                self.origins = {path: place for path, place in self.origins.items() if not path.startswith(inside)}
            self.origins[key] = local[key]
            if isinstance(value, dict):
                target[name] = cast("dict[str, Any]", old) if isinstance(old, dict) else {}
                self._merge(target[name], cast("dict[str, Any]", value), key, local)
                continue
            target[name] = value
            if f"{key}[0]" in local:
                self.origins |= {path: place for path, place in local.items() if path.startswith(f"{key}[")}

    def result(
        self,
        schemas: Mapping[str, type[msgspec.Struct]],
        check_plugins: Callable[[Sequence[PluginEntry], Mapping[str, Origin]], list[str]] | None,
    ) -> Config:
        """Check the plugins' own configuration and give the settings, or raise all problems at once."""
        adapters: dict[str, Any] = dict(self.values["adapters"])
        plugins: list[PluginEntry] = []
        checked: dict[str, msgspec.Struct] = {}
        for name, table in self.values["plugins"].items():
            config = {key: value for key, value in table.items() if key != "enabled"}
            enabled = table.setdefault("enabled", True)
            plugins.append(PluginEntry(name, enabled, config))
            schema = schemas.get(name)
            if schema is not None:
                where = join_key("plugins", name)
                # A plugin that is off may lack keys, but what it has must be right.
                value, problems = validate_section(schema, config, where, self.origins, partial=not enabled)
                self.problems += problems
                checked |= {} if value is None else {name: value}
        if check_plugins is not None and plugins:
            self.problems += check_plugins(plugins, self.origins)
        if self.problems:
            raise ConfigError(self.problems)
        choice = {key: adapters.pop(key) for key in ("enable", "block")}
        core = {key: value for key, value in self.values.items() if key not in {"adapters", "plugins"}}
        settings = msgspec.structs.replace(
            msgspec.convert(core, Settings),
            adapters=msgspec.convert(choice | {"options": guessed(adapters)}, Adapters),
            plugins=tuple(plugins),
        )
        return Config(settings, self.origins, tuple(self.files), tuple(self.warnings), self.values, checked)


def _checked(data: dict[str, Any], check: Check) -> dict[str, Any]:
    """Check one layer in the form of the file; give the entries without problems."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(Settings)}
    good: dict[str, Any] = {}
    for name, value in data.items():
        before = len(check.problems)
        if name in {"adapters", "plugins"}:
            good[name] = _checked_tables(name, value, check)
        elif name in types:
            check.value(types[name], value, name)
        else:
            check.unknown(join_key("", name), name, types)
        if len(check.problems) == before:
            good.setdefault(name, value)
    return good


def _right_keys(data: dict[str, Any], local: Mapping[str, Origin]) -> dict[str, Any]:
    """Give the harmless keys that are right by themselves, whatever else is wrong in their tables."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(Settings)}
    found: dict[str, Any] = {}
    for key in _HARMLESS:
        section, _, name = key.partition(".")
        table = data.get(section)
        if not isinstance(table, dict) or name not in table:
            continue
        item = {name: cast("dict[str, Any]", table)[name]}
        if Check(local).value(types[section], item, section) is not None:
            _overlay(found, {section: item})
    return found


def _checked_tables(section: str, data: Any, check: Check) -> dict[str, Any]:
    """Check ``[adapters]`` or ``[plugins]``: one table per name, and few keys of our own."""
    types = {field.name: field.type for field in msgspec.structs.fields(Adapters) if field.name != "options"}
    types = types if section == "adapters" else {}
    good: dict[str, Any] = {}
    if not isinstance(data, dict):
        check.report(section, f"expected tables such as [{section}.NAME]")
        return good
    for name, value in cast("dict[str, Any]", data).items():
        key = join_key(section, name)
        if name in types:
            if check.value(types[name], value, key) is not None or value is None:
                good[name] = value
        elif not isinstance(value, dict):
            check.report(key, f"expected a table [{key}]{did_you_mean(name, types)}")
        else:
            good[name] = dict(cast("dict[str, Any]", value))
            if section == "plugins" and "enabled" in good[name]:
                good[name]["enabled"] = check.value(bool, read_texts(bool, good[name]["enabled"]), f"{key}.enabled")
                if good[name]["enabled"] is None:
                    del good[name]["enabled"]
    return good


def _default_values() -> dict[str, Any]:
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(Settings()))
    del values["adapters"]["options"]
    return values | {"plugins": {}}


def _nodes(data: dict[str, Any], where: str = "", depth: int = MAX_DEPTH + 1) -> Iterator[tuple[str, Any]]:
    """Give every table and value with its dotted key."""
    for name, value in data.items():
        key = join_key(where, name)
        yield key, value
        if isinstance(value, dict) and depth > 1:
            yield from _nodes(cast("dict[str, Any]", value), key, depth - 1)


def _leaves(data: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in _nodes(data) if not (isinstance(value, dict) and value)]


def _nested(overrides: Mapping[Any, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        branch: Any = value
        for part in reversed(key.split(".") if isinstance(key, str) else [repr(key)]):
            branch = {part: branch}
        _overlay(tree, branch)
    return tree


def _set_option(option: Option, data: dict[str, Any], places: dict[str, Origin], *, listed: bool) -> None:
    """Lay an option over the environment's other values; a list of plugins is stronger than the mention of one."""
    place = Origin("environment", option.variable)
    key, name, *_ = option.path
    if listed:
        data[key].setdefault(name, {"enabled": False})
    table, branch = join_key(key, name), data
    for part in option.path[:-1]:
        branch = branch.setdefault(part, {})
    branch[option.path[-1]] = option.text
    for part in option.path[1:]:
        key = join_key(key, part)
        if not listed or key != table:
            places.setdefault(key, place)


def _overlay(target: dict[str, Any], data: Mapping[str, Any], room: int = MAX_DEPTH) -> None:
    """Copy nested mappings over others; what is too deep stays as it is, for the check to find."""
    for name, value in data.items():
        if isinstance(value, Mapping) and room:
            inner = target.get(name)
            target[name] = inner if isinstance(inner, dict) else {}
            _overlay(target[name], cast("Mapping[str, Any]", value), room - 1)
        else:
            target[name] = value
