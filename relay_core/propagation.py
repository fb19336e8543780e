"""Carrying the current scope to other processes: HTTP headers, MCP ``_meta``, environment variables, any string mapping.

Two contexts travel side by side. W3C ``traceparent`` and ``tracestate`` are for everybody; Relay's own ``relay-context``
says exactly which scope is the parent. What comes in is not trusted: anything odd is ignored, never an error.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.errors import UsageError
from relay_core.ids import parse_uuid, uuid_text
from relay_core.scopes import CURRENT, RemoteScope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

    from relay_core.runtime import Relay
    from relay_core.scopes import Node

__all__ = ["extract", "extract_env", "inject", "inject_env"]

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
CONTEXT: Final = "relay-context"
VERSION: Final = 1
_ENV: Final = {TRACEPARENT: "TRACEPARENT", TRACESTATE: "TRACESTATE", CONTEXT: "RELAY_CONTEXT"}
# As headers are spelled, and as WSGI spells them.
_SPELLINGS: Final = {n: n for n in _ENV} | {f"http_{n}".replace("-", "_"): n for n in _ENV}

_MAX_CHARS: Final = 8_192  # of one value; longer ones are not looked at
_MAX_ENTRIES: Final = 10_000  # of a carrier
_MAX_MEMBERS: Final = 32
_LOW_64: Final = (1 << 64) - 1
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class _Context(msgspec.Struct, frozen=True):
    """Relay's own context; unknown fields of later minor changes are skipped."""

    version: int
    parent_uuid: str
    root_uuid: str | None = None


class _Trace:
    """A valid ``traceparent``."""

    __slots__ = ("flags", "span", "text", "trace")

    def __init__(self, text: str, trace: int, span: int, flags: int) -> None:
        self.text = text
        self.trace = trace
        self.span = span
        self.flags = flags


def inject(relay: Relay, carrier: MutableMapping[str, str] | None = None, scope: Any = CURRENT) -> Any:
    """Write the current scope's identity into a carrier.

    Args:
        relay: the runtime.
        carrier: headers or any mapping of text; default a new dict. Earlier entries of these names, in any case, go.
        scope: default the current scope. Without a scope the carrier stays as it is.

    Returns:
        The carrier.

    Raises:
        UsageError: the carrier takes no entries.

    Example:
        >>> import relay_core as relay
        >>> with relay.scope("trip", "agent") as trip:
        ...     headers = inject(relay.default, {"accept": "text/plain"})
        >>> sorted(headers), extract(relay.default, headers).uuid == trip.uuid
        (['accept', 'relay-context', 'traceparent'], True)
    """
    found: Any = {} if carrier is None else carrier
    kind: type[Any] = found.__class__
    if not (hasattr(kind, "__setitem__") and hasattr(kind, "__delitem__")) or issubclass(kind, list | bytearray):
        raise UsageError(f"a carrier is a mutable mapping such as a dict of headers, got {kind.__name__}")
    entries = _entries(relay.current() if scope is CURRENT else scope)
    if entries:
        for key in [key for key in found.keys() if isinstance(key, str) and key.lower() in _ENV]:  # noqa: SIM118  # some iterate only by keys()
            with suppress(KeyError):  # spelled twice, and both went at once
                del found[key]
        for key, value in entries.items():
            found[key] = value
    return found


def inject_env(relay: Relay, scope: Any = CURRENT) -> dict[str, str]:
    """Give the environment variables that carry the current scope to a subprocess.

    Args:
        relay: the runtime.
        scope: default the current scope.

    Returns:
        ``TRACEPARENT``, ``TRACESTATE`` and ``RELAY_CONTEXT``, as far as there is something to say. Merge it over
        ``os.environ``; a trace state of another trace that is there is overwritten with empty text.

    Example:
        >>> import relay_core as relay
        >>> with relay.scope("trip", "agent"):
        ...     variables = inject_env(relay.default)
        >>> "RELAY_CONTEXT" in variables and "TRACEPARENT" in variables
        True
    """
    entries = _entries(relay.current() if scope is CURRENT else scope)
    if entries and TRACESTATE not in entries and os.environ.get(_ENV[TRACESTATE]):
        entries[TRACESTATE] = ""
    return {_ENV[key]: value for key, value in entries.items()}


def extract(relay: Relay, carrier: Any) -> RemoteScope | None:
    """Read the parent scope that a caller in another process has sent.

    With only a foreign ``traceparent`` the parent's identity is made from it: the root's UUID is the trace id, and the
    parent's UUID is the upper half of that with the span id as its lower half.

    Args:
        relay: the runtime that the parent will be used in.
        carrier: a mapping, headers with ``items()``, a WSGI environ, or pairs of text or bytes as ASGI has them.

    Returns:
        The parent, for ``parent=`` or for ``with``; None if there is none or what came in is invalid.

    Example:
        >>> import relay_core as relay
        >>> foreign = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
        >>> remote = extract(relay.default, foreign)
        >>> remote.root_uuid, remote.uuid
        ('4bf92f35-77b3-4da6-a3ce-929d0e0e4736', '4bf92f35-77b3-4da6-00f0-67aa0ba902b7')
        >>> extract(relay.default, {"traceparent": "nonsense"}) is None
        True
    """
    try:
        return _read(relay, _collect(carrier))
    except Exception:  # noqa: BLE001  # a carrier may be anything, and none of it may hurt the program
        relay.count("bad_carriers")
        return None


def extract_env(relay: Relay, env: Mapping[str, str] | None = None) -> RemoteScope | None:
    """Read the parent scope that a parent process has left in environment variables.

    Args:
        relay: the runtime that the parent will be used in.
        env: default ``os.environ``.

    Example:
        >>> import relay_core as relay
        >>> extract_env(relay.default, {}) is None
        True
    """
    source = os.environ if env is None else env
    return extract(relay, {key: source[name] for key, name in _ENV.items() if name in source})


def _entries(node: Node | None) -> dict[str, str]:
    """Put an identity in words; nothing for no scope, or one that was never opened."""
    parent = None if node is None else parse_uuid(node.uuid)
    if node is None or parent is None:
        return {}
    root = parse_uuid(node.root_uuid) or parent
    remote = node if isinstance(node, RemoteScope) else cast("Node | None", node._root)  # pyright: ignore[reportUnknownMemberType]  # set late
    came = _trace_of(remote.traceparent) if isinstance(remote, RemoteScope) else None
    trace = int(root.replace("-", ""), 16)
    span = int(parent.replace("-", ""), 16) & _LOW_64
    same = came is not None and came.trace == trace
    flags = came.flags & 1 if came is not None and same else 1  # what upstream does not sample stays unsampled
    found = {TRACEPARENT: f"00-{trace:032x}-{span:016x}-{flags:02x}"}
    state = _state_of([remote.tracestate or ""]) if same and isinstance(remote, RemoteScope) else None
    if state is not None:
        found[TRACESTATE] = state
    found[CONTEXT] = msgspec.json.encode(_Context(VERSION, parent, root)).decode()
    return found


def _collect(carrier: Any) -> dict[str, list[str]]:
    """Gather the values that concern us from whatever kind of carrier this is."""
    items = getattr(carrier, "items", None)
    pairs = cast("Iterable[Any]", items() if callable(items) else carrier)
    found: dict[str, list[str]] = {}
    for pair in islice(pairs, _MAX_ENTRIES):
        if not isinstance(pair, tuple | list) or len(cast("list[Any]", pair)) != 2:
            continue
        key, value = cast("tuple[Any, Any]", pair)
        name = _SPELLINGS.get(_text(key).lower())
        if name is not None:
            values = cast("list[Any]", value) if isinstance(value, list | tuple) else [value]
            found.setdefault(name, []).extend(_text(one) for one in values[:_MAX_MEMBERS])
    return found


def _text(value: object) -> str:
    """Give header text; empty for what is too long or no text."""
    if not isinstance(value, str | bytes) or len(value) > _MAX_CHARS:
        return ""
    return (value if isinstance(value, str) else value.decode("latin-1")).strip(" \t")


def _read(relay: Relay, found: dict[str, list[str]]) -> RemoteScope | None:
    trace = _trace_of(_only(found.get(TRACEPARENT)))
    state = _state_of(found.get(TRACESTATE)) if trace is not None else None
    header = trace.text if trace is not None else None
    context = _context_of(_only(found.get(CONTEXT)))
    if context is not None:
        parent, root = context
        return RemoteScope(parent, root_uuid=root, traceparent=header, tracestate=state, relay=relay)
    if trace is None:
        return None
    parent = uuid_text((trace.trace & ~_LOW_64) | trace.span)
    return RemoteScope(parent, root_uuid=uuid_text(trace.trace), traceparent=header, tracestate=state, relay=relay)


def _only(values: list[str] | None) -> str | None:
    """Give the value if there is exactly one; who sends two different ones is not to be believed."""
    return values[0] if values and len(set(values)) == 1 else None


def _trace_of(text: str | None) -> _Trace | None:
    match = _PARENT.fullmatch(text) if text else None
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return _Trace(match[0], int(trace, 16), int(span, 16), int(flags, 16))


def _state_of(values: list[str] | None) -> str | None:
    """Give the trace state as it came, several headers joined; None if any of it is invalid."""
    text = ",".join(values or ())
    if not text or len(text) > _MAX_CHARS:
        return None
    members = [member.strip(" \t") for member in text.split(",", _MAX_MEMBERS)]
    matches = [_MEMBER.fullmatch(member) for member in members if member]
    keys = {match[1] for match in matches if match is not None}
    valid = 0 < len(matches) <= _MAX_MEMBERS and len(keys) == len(matches)
    return text if valid else None


def _context_of(text: str | None) -> tuple[str, str] | None:
    """Read Relay's own context: parent and root."""
    if not text:
        return None
    try:
        context = msgspec.json.decode(text, type=_Context)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    parent = parse_uuid(context.parent_uuid)
    root = parent if context.root_uuid is None else parse_uuid(context.root_uuid)
    if context.version != VERSION or parent is None or root is None:
        return None
    return parent, root
