"""The typed settings of Relay, and the check that finds every problem of a section.

A section is a msgspec struct. msgspec stops at the first problem, so the check asks it about one value at a time.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
import tomllib
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeGuard, TypeVar

import msgspec
from msgspec import Meta, inspect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Adapters", "Origin", "Payload", "PluginEntry", "Queue", "Redaction", "Settings", "Stream"]
__all__ += ["Text", "read_texts", "validate_section"]

S = TypeVar("S", bound=msgspec.Struct)
MAX_DEPTH, HIDDEN = 32, "***"


class Origin(NamedTuple):
    """Where a value comes from: the layer, and in it the file and line, the variable, or ``built in``."""

    layer: Literal["code", "environment", "file", "default"]
    detail: str


class Text(str):
    """A value from an environment variable: text, until the schema of its section says what it means."""

    __slots__ = ()


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The queue between the program and the worker that delivers events.

    Args:
        max_events: most events that wait at once; marks of stream chunks may be up to a quarter more.
        max_bytes: most bytes of payload that wait at once.
        policy: when the queue is full, ``block`` (wait up to ``block_timeout``, then drop the new event),
            ``drop_newest`` or ``drop_oldest``.
        block_timeout: longest wait for room, in seconds.
    """

    max_events: Annotated[int, Meta(ge=1, le=10_000_000)] = 65_536
    max_bytes: Annotated[int, Meta(ge=1, le=2**40)] = 128 * 2**20
    policy: Literal["block", "drop_newest", "drop_oldest"] = "block"
    block_timeout: Annotated[float, Meta(ge=0, le=60)] = 0.25


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one recorded payload; what is over a limit is cut and marked as cut.

    Args:
        max_depth: deepest nesting, in levels.
        max_items: most items in all lists and mappings together.
        max_string: longest text, in characters.
        max_bytes: largest encoded payload, in bytes.
    """

    max_depth: Annotated[int, Meta(ge=1, le=200)] = 64
    max_items: Annotated[int, Meta(ge=1, le=10_000_000)] = 20_000
    max_string: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1_000_000
    max_bytes: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 16_000_000


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of streamed responses.

    Args:
        chunk_marks: record one mark for each chunk; the end event holds the whole response either way.
    """

    chunk_marks: bool = True


class Redaction(msgspec.Struct, frozen=True, kw_only=True):
    """Removal of secrets from recorded payloads.

    Args:
        enabled: scrub secrets before any subscriber sees an event.
        extra_keys: further names of mapping keys whose values are secret; case does not matter.
        extra_patterns: further regular expressions (Python syntax) of secret text.
    """

    enabled: bool = True
    extra_keys: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    extra_patterns: tuple[Annotated[str, Meta(min_length=1)], ...] = ()

    def __post_init__(self) -> None:
        problems: list[str] = []
        for index, pattern in enumerate(self.extra_patterns):
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                problems.append(f"extra_patterns[{index}]: not a regular expression: {error}")
        if problems:
            raise ValueError("\n".join(problems))


class Adapters(msgspec.Struct, frozen=True, kw_only=True):
    """Which adapters run, and their options.

    Args:
        enable: names of the adapters that may run; None means all that are installed.
        block: names of adapters that never run; stronger than ``enable``.
        options: options of each adapter by its name, from ``[adapters.NAME]``.
    """

    enable: tuple[str, ...] | None = None
    block: tuple[str, ...] = ()
    options: dict[str, dict[str, Any]] = {}


class PluginEntry(msgspec.Struct, frozen=True):
    """One plugin of the configuration, from ``[plugins.NAME]``.

    Args:
        name: the plugin's name.
        enabled: false keeps the plugin off, also when a lower layer turned it on.
        config: the plugin's own keys.
    """

    name: str
    enabled: bool = True
    config: dict[str, Any] = {}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one Relay runtime.

    Args:
        disabled: true turns every Relay function into a no-op.
        queue: the event queue.
        payload: limits of recorded payloads.
        stream: recording of streamed responses.
        redaction: removal of secrets.
        shutdown_timeout: longest wait for delivery at shutdown, in seconds.
        breaker_limit: internal faults after which Relay turns its own recording off, a count.
        adapters: which adapters run.
        plugins: the plugins, in order of activation.

    Example:
        >>> Settings(queue=Queue(policy="drop_oldest")).queue.max_events
        65536
    """

    disabled: bool = False
    queue: Queue = Queue()
    payload: Payload = Payload()
    stream: Stream = Stream()
    redaction: Redaction = Redaction()
    shutdown_timeout: Annotated[float, Meta(ge=0, le=600)] = 2.0
    breaker_limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    adapters: Adapters = Adapters()
    plugins: tuple[PluginEntry, ...] = ()


def validate_section(
    schema: type[S], data: object, where: str, origins: Mapping[str, Origin], *, partial: bool = False
) -> tuple[S | None, list[str]]:
    """Check one section against a struct and find every problem, not only the first.

    Unknown keys are problems whatever the struct says. A ``__post_init__`` of the struct may raise ``ValueError`` with
    one line ``field: what is wrong`` per problem.

    Args:
        schema: the msgspec struct that describes the section.
        data: the section as read.
        where: the dotted key of the section, e.g. ``plugins.observability``.
        origins: where each dotted key comes from, as in ``Config.origins``.
        partial: do not report missing keys; the value is None when one is missing.

    Returns:
        The struct, or None when there are problems; and the problems, each with its origin and full key.

    Example:
        >>> origins = {"queue.max_event": Origin("file", "relay.toml:3")}
        >>> validate_section(Queue, {"max_event": 5}, "queue", origins)
        (None, ['relay.toml:3: queue.max_event: unknown key; did you mean max_events?'])
    """
    check = Check(origins, partial=partial)
    return check.value(schema, data if nested_too_deep(data) else read_texts(schema, data), where), check.problems


def read_texts(tp: Any, value: Any) -> Any:
    """Read the texts of environment variables in a value as the types that a schema gives them.

    Args:
        tp: the type of the value.
        value: as the layers give it.

    Returns:
        The value with each text read; one that does not fit stays a `Text`, for the check to find.

    Example:
        >>> read_texts(Queue, {"max_events": Text("5"), "policy": Text("block")})
        {'max_events': 5, 'policy': 'block'}
    """
    if isinstance(value, Text):
        return _read_text(_bare(tp), value)
    if not _is_mapping(value):
        return value
    tp = _bare(tp)
    if typing.get_origin(tp) in (typing.Union, types.UnionType):
        tp = _bare(_member(typing.get_args(tp), value))
    if _is_struct(tp):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(tp)}
        return {name: read_texts(fields.get(name, Any), item) for name, item in value.items()}
    inner = typing.get_args(tp)[1] if typing.get_origin(tp) is dict else Any
    return {name: read_texts(inner, item) for name, item in value.items()}


_WORDS: dict[str, Any] = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def _read_text(tp: Any, text: Text) -> Any:
    args = tuple(_bare(arg) for arg in typing.get_args(tp))
    origin = typing.get_origin(tp)
    if tp is bool:
        return _WORDS.get(text.lower(), text)
    if tp is int or tp is float:
        try:
            return tp(text)
        except ValueError:
            return text
    if origin in (typing.Union, types.UnionType):  # a string takes anything, so it comes last
        readings = (_read_text(arg, text) for arg in sorted(args, key=lambda arg: arg is str))
        return next((found for found in readings if not isinstance(found, Text)), text)
    if origin is Literal:
        return next((arg for arg in args if str(arg) == text), text)
    is_list = origin in (list, tuple, set, frozenset)
    if is_list and not text.startswith("["):
        parts = [Text(part.strip()) for part in text.split(",") if part.strip()] if text.lower() != "none" else []
        return [_read_text(args[0], part) for part in parts]
    if is_list or origin is dict or _is_struct(tp):
        found: Any = _tables(text)
        return found if found is not None and is_list is not _is_mapping(found) else text
    return text if tp is types.NoneType else str(text)


def _tables(text: str) -> Any:
    """Read a table or a list that is written as JSON or as TOML; None if it is neither."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return msgspec.json.decode(str(text))
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return None
    return found["value"] if len(found) == 1 else None


class Check:
    """One walk over values and their types that collects the problems."""

    def __init__(self, origins: Mapping[str, Origin], *, partial: bool = False) -> None:
        self.problems: list[str] = []
        self._origins = origins
        self._partial = partial
        self._incomplete = False

    def report(self, key: str, text: str) -> None:
        """Note a problem of a key, at the place where the key or the table around it is written."""
        origin = find_origin(self._origins, key)
        place = "" if origin is None or origin.layer == "default" else f"{origin.detail}: "
        self.problems.append(f"{place}{key}: {text}" if key else f"{place}{text}")

    def unknown(self, key: str, name: object, known: Iterable[str]) -> None:
        """Note a key that nobody reads, with the nearest name that somebody does."""
        self.report(key, f"unknown key{did_you_mean(name, known)}")

    def value(self, tp: Any, value: object, key: str) -> Any:
        """Give the value as type ``tp``, or None after noting its problems."""
        before, outside, self._incomplete = len(self.problems), self._incomplete, False
        if nested_too_deep(value):
            self.report(key, f"nested deeper than {MAX_DEPTH} levels")
        else:
            self._inside(tp, value, key)
        incomplete, self._incomplete = self._incomplete, self._incomplete or outside
        if len(self.problems) > before or incomplete:
            return None
        try:
            result = msgspec.convert(value, type=tp)
        except Exception as error:  # noqa: BLE001  a schema's own code runs here
            self._refused(tp, value, key, error)
            return None
        if tp is not Any and isinstance(result, float) and not math.isfinite(result):
            self.report(key, f"expected a finite number, got {result}")
            return None
        return result

    def _inside(self, tp: Any, value: object, key: str) -> None:
        tp = _bare(tp)
        args = typing.get_args(tp)
        origin = typing.get_origin(tp)
        if _is_struct(tp):
            if _is_mapping(value):
                self._fields(tp, value, key)
        elif origin in (typing.Union, types.UnionType):
            member = _member(args, value)
            tags = _tagged(args)
            if member is not None:
                self._inside(member, value, key)
            elif tags and _is_mapping(value):
                choices = ", ".join(json.dumps(tag) for _, tag in tags)
                self.report(join_key(key, next(iter(tags))[0]), f"expected one of {choices}")
        elif origin in (list, tuple, set, frozenset) and _is_list(value):
            same = origin is not tuple or args[-1] is Ellipsis
            for index, item in enumerate(value if same else ()):
                self.value(args[0], item, f"{key}[{index}]")
        elif origin is dict and _is_mapping(value):
            for name, item in value.items():
                self.value(args[1], item, join_key(key, name))

    def _fields(self, schema: type[msgspec.Struct], data: Mapping[str, object], where: str) -> None:
        fields = {field.encode_name: field for field in msgspec.structs.fields(schema)}
        tag = schema.__struct_config__.tag_field
        for name, item in data.items():
            if name in fields:
                self.value(fields[name].type, item, join_key(where, name))
            elif name != tag:
                self.unknown(join_key(where, name), name, fields)
        missing = [field for name, field in fields.items() if field.required and name not in data]
        self._incomplete = self._incomplete or bool(missing)
        for field in () if self._partial else missing:
            expected = _in_words(inspect.type_info(field.type), None)
            self.report(join_key(where, field.encode_name), f"missing; expected {expected}")

    def _refused(self, tp: Any, value: object, key: str, error: Exception) -> None:
        schema = _bare(tp)
        if typing.get_origin(schema) in (typing.Union, types.UnionType):
            schema = _bare(_member(typing.get_args(schema), value))
        if not _is_struct(schema) or not _is_mapping(value):
            self.report(key, f"expected {_in_words(inspect.type_info(tp), value)}, got {_shown(value, key)}")
            return
        secrets = sorted(_secret_texts(value, key), key=len, reverse=True)
        fields = {field.encode_name for field in msgspec.structs.fields(schema)}
        for line in str(error.__cause__ or error).splitlines() or ["not accepted"]:
            text = functools.reduce(lambda text, secret: text.replace(secret, HIDDEN), secrets, line)
            name, colon, rest = text.partition(": ")
            named = colon and re.split(r"[.\[]", name)[0] in fields
            self.report(f"{key}.{name}" if named else key, rest if named else text)


def join_key(where: str, name: object) -> str:
    """Append a name to a dotted key, quoted when it is no bare TOML key."""
    text = name if isinstance(name, str) else repr(name)
    part = text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text, ensure_ascii=not text.isprintable())
    return f"{where}.{part}" if where else part


def find_origin(origins: Mapping[str, Origin], key: str) -> Origin | None:
    """Find the origin of a dotted key, or else of the nearest table around it."""
    while key and key not in origins:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return origins.get(key)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Give ``; did you mean NAME?`` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(str(name)[:100], sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def nested_too_deep(value: object, room: int = MAX_DEPTH) -> bool:
    """Tell whether mappings and lists are nested deeper than settings need; a cycle is endlessly deep."""
    branches = value.values() if _is_mapping(value) else value if _is_list(value) else ()
    return bool(branches) and (room <= 0 or any(nested_too_deep(item, room - 1) for item in branches))


_SECRET_KEY = re.compile(
    r"passw|passphrase|pwd|secret|(?<!max_)(?<!total_)token(?!iz)|(api|access|private|signing|account)[_-]?key"
    r"|credential|authori[sz]|cookie|header|bearer|dsn|webhook|connection[_-]?string|(?<![a-z])auth(?![a-z])",
    re.IGNORECASE,
)
_URL_LOGIN = re.compile(r"//[^/@\s]+@")
_URL_SECRET = re.compile(r"([?&][^=&\s]*(?:token|key|secret|sig|password)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def mask(value: object, key: str) -> Any:
    """Copy a value for display: secrets hidden, objects of a program named by their type only."""
    if _SECRET_KEY.search(key) and value is not None and not isinstance(value, bool):
        return HIDDEN
    if isinstance(value, Text) and value.startswith(("{", "[")):
        found = _tables(value)
        return mask(found if found is not None else HIDDEN if _SECRET_KEY.search(value) else str(value), key)
    if isinstance(value, str):
        return _URL_SECRET.sub(rf"\1{HIDDEN}", _URL_LOGIN.sub(f"//{HIDDEN}@", value))
    if _is_mapping(value):
        return {str(name): mask(item, join_key(key, name)) for name, item in value.items()}
    if _is_list(value):
        return [mask(item, key) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else f"<{type(value).__name__}>"


def _shown(value: object, key: str) -> str:
    if _SECRET_KEY.search(key):
        return "a hidden value"
    if isinstance(value, Text) and value.startswith(("{", "[")):
        return "text that is no table or list in JSON or TOML"
    if isinstance(value, dict | list | tuple):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > 10**40:
        return "a very large integer"
    masked = mask(value, key)
    text = json.dumps(masked, ensure_ascii=not str(masked).isprintable())
    return text if len(text) <= 80 else text[:80] + "..."


def _secret_texts(value: object, key: str) -> set[str]:
    if isinstance(value, str):
        return {value} if value and _SECRET_KEY.search(key) else set()
    if _is_mapping(value):
        return {text for name, item in value.items() for text in _secret_texts(item, join_key(key, name))}
    return {text for item in (value if _is_list(value) else ()) for text in _secret_texts(item, key)}


def _bare(tp: Any) -> Any:
    return typing.get_args(tp)[0] if typing.get_origin(tp) is Annotated else tp


def _is_struct(tp: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(tp, type) and issubclass(tp, msgspec.Struct)


def _is_mapping(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list | tuple)


def _tagged(args: tuple[Any, ...]) -> dict[tuple[str, Any], Any]:
    configs = [(arg, _bare(arg).__struct_config__) for arg in args if _is_struct(_bare(arg))]
    return {(config.tag_field, config.tag): arg for arg, config in configs if config.tag_field}


def _member(args: tuple[Any, ...], value: object) -> Any:
    """Pick the member of a union that the value is meant to be, when its shape tells."""
    if _is_mapping(value):
        tagged = [arg for (name, tag), arg in _tagged(args).items() if value.get(name) == tag]
        structs = tagged or [arg for arg in args if _is_struct(_bare(arg))]
        tables = structs or [arg for arg in args if typing.get_origin(_bare(arg)) is dict]
        return tables[0] if len(tables) == 1 else None
    lists = [arg for arg in args if typing.get_origin(_bare(arg)) in (list, tuple, set, frozenset)]
    return lists[0] if _is_list(value) and len(lists) == 1 else None


def _in_words(info: inspect.Type, value: object) -> str:
    """Say what a type accepts; its limits only to someone who has the kind of value right."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match info:
        case inspect.UnionType(types=members):
            return " or ".join(_in_words(item, value) for item in members if not isinstance(item, inspect.NoneType))
        case inspect.IntType():
            return "an integer" + _limits(info if number and isinstance(value, int) else None)
        case inspect.FloatType():
            return "a number" + _limits(info if number else None)
        case inspect.StrType():
            return "a string" + _limits(info if isinstance(value, str) else None)
        case inspect.LiteralType() | inspect.EnumType():
            choices = info.values if isinstance(info, inspect.LiteralType) else [item.value for item in info.cls]
            return "one of " + ", ".join(json.dumps(item, default=str) for item in choices)
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            of = " of strings" if isinstance(info.item_type, inspect.StrType) else ""
            return f"a list{of}" + _limits(info if _is_list(value) else None)
        case inspect.DictType() | inspect.StructType():
            return "a table"
        case inspect.BoolType():
            return "true or false"
        case _:
            return f"a {type(info).__name__.removesuffix('Type').lower()}"


def _limits(info: object) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "pattern": "matching"}
    words |= {"min_length": "length at least", "max_length": "length at most"}
    limits = [f"{text} {getattr(info, name)}" for name, text in words.items() if getattr(info, name, None) is not None]
    return f" ({', '.join(limits)})" if limits else ""
