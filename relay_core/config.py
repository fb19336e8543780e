"""Layered configuration: code over environment over file over default, and one error that lists every problem.

Files, lowest first: ``relay.toml`` in the user's configuration folder, then in the working directory. The second may
come with somebody else's repository: it sets harmless keys only. A file that is named is trusted and replaces both.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import msgspec

from relay_core.errors import ConfigError
from relay_core.settings import (
    MAX_DEPTH,
    Adapters,
    Check,
    Origin,
    PluginEntry,
    Settings,
    did_you_mean,
    find_origin,
    join_key,
    mask,
    nested_too_deep,
    validate_section,
)

__all__ = ["Config", "Row", "environment_names", "key_lines", "load", "validate_section"]

FILE_NAME = "relay.toml"
MAX_FILE_BYTES = 1_000_000
DEFAULT = Origin("default", "built in")
TRUST = "to trust the file, name it: RELAY_CONFIG=./relay.toml or relay run --config ./relay.toml"

# Variables that other parts of Relay read.
_OTHER_VARIABLES = {"RELAY_CONFIG", "RELAY_AUTOLOAD", "RELAY_CORPUS", "RELAY_CONTEXT", "RELAY_DEBUG"}
_OTHER_PREFIX = "RELAY_BENCH_"
_ON, _OFF = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


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
) -> Config:
    """Read all layers and check them.

    Args:
        path: a configuration file to use instead of those found; stronger than ``RELAY_CONFIG``.
        env: the environment.
        overrides: values from code, nested as in the file or with dotted keys (``{"queue.max_events": 10}``).
        plugin_schemas: the struct of each plugin's configuration; asked only for plugins that are configured.

    Returns:
        The settings, and where each value comes from.

    Raises:
        ConfigError: there are problems; the error lists all of them.

    Example:
        >>> config = load(env={}, overrides={"queue.max_events": 10})
        >>> config.settings.queue.max_events, config.origins["queue.max_events"].layer
        (10, 'code')
    """
    layers = _Layers()
    layers.add_files(path or env.get("RELAY_CONFIG"), env)
    layers.add_environment(env)
    layers.add(_nested(overrides or {}), lambda _key: Origin("code", "code"))
    return layers.result(plugin_schemas or {})


def environment_names() -> dict[str, str]:
    """Give the environment variables that set a value, with the dotted key each one sets.

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
            data, lines = _parse(_read(path, shown), shown)
        except (FileNotFoundError, NotADirectoryError):
            if kind == "named":
                self.problems.append(f"{shown}: no such file, though it was named as the configuration file")
            return
        except ConfigError as error:
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
            if not name.startswith("RELAY_") or name in _OTHER_VARIABLES or name.startswith(_OTHER_PREFIX):
                continue
            if name not in known:
                shown = join_key("", name)
                self.warnings.append(f"{shown}: unknown variable, ignored{did_you_mean(name, known)}")
            elif text.strip():
                places[known[name]] = Origin("environment", name)
                _overlay(data, _nested({known[name]: self._from_text(known[name], text.strip())}))
        self.add(data, lambda key: find_origin(places, key) or Origin("environment", "environment"))
        if "plugins" in data:
            self.values["plugins"] = {name: self.values["plugins"][name] for name in data["plugins"]}

    def _from_text(self, key: str, text: str) -> Any:
        """Read a variable as the type of its key; text that does not fit stays text and is reported as such."""
        names = [part.strip() for part in text.split(",") if part.strip()] if text.lower() != "none" else []
        if key == "plugins":
            return {name: {"enabled": name in names} for name in [*names, *self.values["plugins"]]}
        if key == "adapters.enable":
            return None if text.lower() == "all" else names
        default = dict(_leaves(_default_values()))[key]
        if isinstance(default, list):
            return names
        if isinstance(default, bool):
            word = text.lower()
            return word in _ON if word in _ON | _OFF else text
        try:
            return type(default)(text)
        except ValueError:
            return text

    def add(
        self,
        data: dict[str, Any],
        place: Callable[[str], Origin],
        inside_lists: Mapping[str, Origin] | None = None,
        project: bool = False,
    ) -> None:
        """Check one layer and lay what is right in it over the layers below."""
        if nested_too_deep(data):
            self.problems.append(f"{place('').detail}: nested deeper than {MAX_DEPTH} levels")
            return
        local = {key: place(key) for key, _ in _nodes(data)} | dict(inside_lists or {})
        check = Check(local)
        data = _checked(data, check)
        self.problems += check.problems
        if project:
            data = self._harmless(data, local)
        self._merge(self.values, data, "", local)

    def _harmless(self, data: dict[str, Any], local: Mapping[str, Origin]) -> dict[str, Any]:
        """Keep what a file may set that nobody named, and warn about the rest."""
        allowed: dict[str, Any] = {}
        for key, value in _nodes(data, depth=2):
            section, _, name = key.partition(".")
            if isinstance(value, dict) and not name:
                continue
            rule = _HARMLESS.get(key)
            used = rule(self.values[section][name], value) if rule else None
            if used is None:
                reason = "may not lower it" if rule else "may not set it"
                reason = f"ignored: a {FILE_NAME} that is only found in the working directory {reason}; {TRUST}"
                self.warnings.append(f"{local[key].detail}: {key}: {reason}")
            else:
                _overlay(allowed, {section: {name: used}})
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

    def result(self, schemas: Mapping[str, type[msgspec.Struct]]) -> Config:
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
        if self.problems:
            raise ConfigError(self.problems)
        choice = {key: adapters.pop(key) for key in ("enable", "block")}
        core = {key: value for key, value in self.values.items() if key not in {"adapters", "plugins"}}
        settings = msgspec.structs.replace(
            msgspec.convert(core, Settings),
            adapters=msgspec.convert(choice | {"options": adapters}, Adapters),
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
            ours = section == "plugins" and "enabled" in good[name]
            if ours and check.value(bool, good[name]["enabled"], f"{key}.enabled") is None:
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


def _overlay(target: dict[str, Any], data: Mapping[str, Any], room: int = MAX_DEPTH) -> None:
    """Copy nested mappings over others; what is too deep stays as it is, for the check to find."""
    for name, value in data.items():
        if isinstance(value, Mapping) and room:
            inner = target.get(name)
            target[name] = inner if isinstance(inner, dict) else {}
            _overlay(target[name], cast("Mapping[str, Any]", value), room - 1)
        else:
            target[name] = value


def _read(path: Path, shown: str) -> bytes:
    """Read a file that may be anything: no waiting on a pipe, no endless device, no more than the limit."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode) and str(path) != os.devnull:
                raise ConfigError([f"{shown}: not a regular file"])
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError, ConfigError):
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([f"{shown}: cannot be read: {reason}"]) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([f"{shown}: larger than {MAX_FILE_BYTES} bytes; a configuration file is small"])
    return data


_PART = r"""(?:"(?:\\.|[^"\\\n])*+"|'[^'\n]*+'|[A-Za-z0-9_-]++)"""
# tomllib needs seconds to minutes for a key with thousands of parts.
_ENDLESS_KEY = re.compile(rf"(?<![\w-])(?:{_PART}[ \t]*+\.[ \t]*+){{100}}")


def _parse(raw: bytes, shown: str) -> tuple[dict[str, Any], dict[str, int]]:
    line: int | None = None
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        endless = _ENDLESS_KEY.search(text)
        if endless is None:
            return tomllib.loads(text), key_lines(text)
        line, what = text.count("\n", 0, endless.start()) + 1, "a key with more than 100 parts"
    except UnicodeDecodeError as error:
        line, what = raw.count(b"\n", 0, error.start) + 1, "not UTF-8; save the file as UTF-8"
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else raw.rstrip().count(b"\n") + 1
        what = "not valid TOML: " + what[:1].lower() + re.sub(r"\('(.*)',\)", r"[\1]", what)[1:200]
    except RecursionError:
        what = f"nested deeper than {MAX_DEPTH} levels"
    except ValueError:
        what = "a number or a date is out of range"
    raise ConfigError([f"{shown}: {what}" if line is None else f"{shown}:{line}: {what}"])


_KEY = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+")
_BLANK = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*+")
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*+"|'[^'\n]*+'|#[^\n]*+|[\[{\]}\n]|[^"'#\[\]{}\n]++''',
    re.DOTALL,
)


def key_lines(text: str) -> dict[str, int]:
    r"""Find the line of every table and key; ``tomllib`` gives no places and ``tomlkit`` none either.

    Keys inside an inline table or an array have no line of their own: the line is that of the key before it.

    Args:
        text: a valid TOML document with ``\n`` line ends.

    Returns:
        The line of each dotted key; elements of an array of tables are ``key[0]``, ``key[1]``, ...

    Example:
        >>> key_lines("[queue]\n# many\nmax_events = 5\n")
        {'queue': 1, 'queue.max_events': 3}
    """
    lines: dict[str, int] = {}
    arrays: dict[str, int] = {}
    table, position, line = "", 0, 1
    while (start := cast("re.Match[str]", _BLANK.match(text, position)).end()) < len(text):
        line += text.count("\n", position, start)
        brackets = 2 if text.startswith("[[", start) else int(text[start] == "[")
        position = start + brackets
        key = _KEY.match(text, cast("re.Match[str]", _BLANK.match(text, position)).end())
        if key is None:
            break
        parts = [
            tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part for part in re.findall(_PART, key[0])
        ]
        position = _end_of_statement(text, key.end())
        path = "" if brackets else table
        for index, part in enumerate(parts):
            path = join_key(path, part)
            last = index == len(parts) - 1
            if brackets == 2 and last:
                lines.setdefault(path, line)
                arrays[path] = arrays.get(path, -1) + 1
            if path in arrays:
                path = f"{path}[{arrays[path]}]"
            if last or path not in lines:
                lines[path] = line
        table = path if brackets else table
        line += text.count("\n", start, position)
    return lines


def _end_of_statement(text: str, position: int) -> int:
    depth = 0
    while token := _TOKEN.match(text, position):
        if token[0] == "\n" and depth <= 0:
            break
        depth += (token[0] in "[{") - (token[0] in "]}")
        position = token.end()
    return position
