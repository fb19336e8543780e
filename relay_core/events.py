"""Lifecycle events in the shape of ATOF 0.1 (Agent Trajectory Observability Format, one JSON object per line).

An event is made on the caller's thread from a few references; text, JSON and merged metadata come into being on the
dispatcher's thread, and only when somebody reads them. Treat what an event gives as read-only: subscribers share it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast

import msgspec

from relay_core.errors import UsageError
from relay_core.event_identity import Identity
from relay_core.event_lines import ATOF_VERSION, UNEVENTFUL, mark_line, quick_lines, read_line, scope_line, usual
from relay_core.ids import uuid_of
from relay_core.late_payloads import Deferred
from relay_core.payload_pieces import whole
from relay_core.profiles import shown
from relay_core.timestamps import iso_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.payload_pieces import Piece
    from relay_core.payloads import Encoder
    from relay_core.scopes import Node

__all__ = ["ATOF_VERSION", "Deferred", "Event", "MarkEvent", "ScopeEvent", "parse_event"]

_OTEL_STATUS: Final = {"ok": "OK", "cached": "OK", "error": "ERROR"}
_REPLACEABLE: Final = frozenset({"name", "data", "metadata", "category_profile"})
_VIEWS: Final = frozenset({"annotated_request", "annotated_response"})
_encode = msgspec.json.Encoder().encode


class MarkDetail(msgspec.Struct, gc=False):
    """What a mark is, beside its payload."""

    name: str
    identity: str | tuple[int, int]
    category: str | None = None
    data_schema: dict[str, str] | None = None


@cache
def _maker_of_views() -> Callable[[Event], dict[str, Any]]:
    from relay_core.annotations import views_of  # noqa: PLC0415  # only LLM events with a codec need it

    return views_of


_UNEVENTFUL: Final = _encode(UNEVENTFUL)


class Event(msgspec.Struct, eq=False, gc=False):
    """What scope and mark events share. Attributes carry ATOF's names.

    Attributes:
        source: the scope the event belongs to (for a mark, its parent), or None.
        timestamp_ns: nanoseconds since the epoch.
        route: what was registered where the event was emitted.
    """

    source: Any
    timestamp_ns: int
    raw: Any
    route: Any
    detail: Any = None  # of a scope event, the phase; of a mark, what it is
    view: Any = None
    raw_metadata: Any = None
    raw_profile: Any = None
    weight: int = 0
    new_name: str | None = None
    cache: dict[str, Any] | None = None

    kind: ClassVar[str] = ""

    def __repr__(self) -> str:
        """Say which event it is; the payloads in the fields are not scrubbed yet, and programs print events."""
        return f"<{type(self).__name__} {cast('Any', self).name!r} at {self.timestamp}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Say the same to rich."""
        return [("name", cast("Any", self).name)]

    @property
    def atof_version(self) -> str:
        """Version of the format, "0.1"."""
        return ATOF_VERSION

    @property
    def timestamp(self) -> str:
        """RFC 3339 text in UTC with nanoseconds."""
        return iso_time(self.timestamp_ns)

    @property
    def data(self) -> Any:
        """The payload as plain JSON values: input on a start, output on an end; bounded and scrubbed."""
        cache = self.cache
        if cache is None:
            cache = self.cache = {}
        elif "data" in cache:
            return cache["data"]
        found = cache["data"] = self._make_data()
        return found

    @property
    def metadata(self) -> dict[str, Any] | None:
        """Correlation data; on an end event also the outcome."""
        cache = self.cache
        if cache is None:
            cache = self.cache = {}
        elif "metadata" in cache:
            return cache["metadata"]
        found = cache["metadata"] = self._make_metadata()
        return found

    @property
    def category_profile(self) -> dict[str, Any] | None:
        """Fields that belong to the category, such as ``model_name`` and ``tool_call_id``."""
        cache = self.cache
        if cache is None:
            cache = self.cache = {}
        elif "category_profile" in cache:
            return cache["category_profile"]
        found = cache["category_profile"] = self._make_profile()
        return found

    @property
    def propagation_root_uuid(self) -> str | None:
        """UUID of the root of the causal tree."""
        source = self.source
        return None if source is None else source.root_uuid

    @property
    def encoder(self) -> Encoder:
        """What turns payloads into JSON, with this runtime's limits and scrubbing rules."""
        if self.route is None:  # read back from a file
            from relay_core.payloads import Encoder  # noqa: PLC0415  # only who edits such an event needs one

            return Encoder()
        return self.route.encoder

    def replace(self, **changes: Any) -> Event:
        """Make a copy with other ``data``, ``metadata``, ``category_profile`` or ``name``.

        Identity, times, category, parents and the outcome stay as they are.

        Raises:
            UsageError: another field is named.
        """
        unknown = changes.keys() - _REPLACEABLE
        if unknown:
            raise UsageError(f"an event's {', '.join(sorted(unknown))} cannot be replaced; {sorted(_REPLACEABLE)} can")
        made: Event = msgspec.structs.replace(self)
        made.cache = {key: value for key, value in (self.cache or {}).items() if key not in ("json", "views")}
        encoder = self.encoder
        for field in changes.keys() & {"data", "metadata", "category_profile"}:
            value = encoder.tree(encoder.freeze(changes[field]), markers=True)
            made.cache[field] = value if field == "data" else self._with_needed(field, value)
        if "category_profile" in changes:
            made.cache["profile_replaced"] = True
        elif "data" in changes:
            made._drop_views(made.cache)
        if "name" in changes:
            made.new_name = encoder.name(changes["name"])
        return made

    def _drop_views(self, cache: dict[str, Any]) -> None:
        """Forget views of data that was replaced: they are read again from the data that observers see."""
        cache["data_replaced"] = True
        profile = cache.pop("category_profile", None)
        if "profile_replaced" in cache or self.route is None:
            cache["category_profile"] = profile and {k: v for k, v in profile.items() if k not in _VIEWS}

    def cleared(self) -> Event:
        """Make a copy without data, metadata and profile, but for the outcome: what is left when a sanitizer fails."""
        made: Event = msgspec.structs.replace(self)
        made.cache = {
            "data": None,
            "metadata": self._with_needed("metadata", None),
            "category_profile": self._with_needed("category_profile", None),
        }
        return made

    def _with_needed(self, field: str, given: Any) -> Any:
        """Add what an event cannot do without: the status of an end, the subtype of a custom category."""
        needed = self._status_facts() if field == "metadata" else self._subtype()
        if not needed:
            return given
        return {**needed, **given} if isinstance(given, dict) else needed  # pyright: ignore[reportUnknownVariableType]  # JSON

    def _status_facts(self) -> dict[str, Any]:
        return {}

    def _subtype(self) -> dict[str, Any]:
        if getattr(self, "category", None) != "custom":
            return {}
        profile = self.category_profile if self.route is None else self.encoder.tree(self.raw_profile)
        return {"subtype": profile["subtype"]} if isinstance(profile, dict) and profile.get("subtype") else {}  # pyright: ignore[reportUnknownMemberType]  # JSON

    def to_json(self) -> bytes:
        """Write one ATOF line, without the line end."""
        line = whole(self.line())
        cast("dict[str, Any]", self.cache)["json"] = line
        return line

    def line(self) -> Piece:
        """Write the same; where it is long, in pieces that need not be copied."""
        line: Piece | None = None if self.cache is None else self.cache.get("json")
        if line is None:
            line = self._make_json()
            self.cache = {**(self.cache or {}), "json": line}
        return line

    def to_dict(self) -> dict[str, Any]:
        """Give all fields of the line as plain values; the caller owns the result."""
        return msgspec.json.decode(self.to_json())

    def _make_data(self) -> Any:
        raw = self.frozen()
        if raw is None:
            return None
        tree, is_plain = self.route.encoder.tree_of(raw)  # what was read back from a file has nothing raw
        if is_plain and self.cache is not None:
            self.cache["is_plain"] = True
        return tree

    def is_plain(self) -> bool:
        """Tell whether `data` was read and is the payload as it was: small, and nothing was to be changed."""
        return self.cache is not None and "is_plain" in self.cache

    def frozen(self) -> Any:
        """The payload as `relay_core.payloads.freeze` gives it."""
        raw = self.raw
        if type(raw) is Deferred:
            while type(raw) is Deferred:  # what is put together late may be shown late too
                raw = raw.make()
            raw = self.raw = self.encoder.freeze(raw)
        return raw

    def _data_json(self) -> bytes:
        """The payload's JSON without a detour over Python values where nobody asked for those."""
        if self.cache is not None and "data" in self.cache:
            return _encode(self.data)
        raw = self.frozen()
        return b"null" if raw is None else self.encoder.json(raw)

    def _profile_json(self) -> bytes:
        if self.cache is None or "category_profile" not in self.cache:
            raw = self.raw_profile
            return self.encoder.json(raw) if raw else b"null" if raw is None else b"{}"
        return _encode(self.category_profile)

    def _make_metadata(self) -> dict[str, Any] | None:
        raw = self.raw_metadata
        return None if raw is None else self.encoder.tree(raw)

    def _make_profile(self) -> dict[str, Any] | None:
        raw = self.raw_profile
        return self.encoder.tree(raw) if raw else raw  # None, or the empty profile of most calls

    def _make_json(self) -> Piece:
        raise UsageError("only scope and mark events have a line")


class ScopeEvent(Event, eq=False, gc=False):
    """The start or end of a scope; both carry the same ``uuid``.

    Example:
        >>> import relay_core as relay
        >>> runtime, seen = relay.Relay(), []
        >>> with runtime.subscriber(seen.append), runtime.scope("trip", "agent"):
        ...     pass
        >>> runtime.flush(timeout=2.0).pending, [(e.name, e.scope_category, e.status) for e in seen]
        (0, [('trip', 'start', None), ('trip', 'end', 'ok')])
    """

    kind: ClassVar[str] = "scope"

    @property
    def scope_category(self) -> Literal["start", "end"]:
        """Which of the two."""
        return self.detail

    @property
    def uuid(self) -> str:
        """The scope's UUID, lower case."""
        return self.source.uuid

    @property
    def parent_uuid(self) -> str | None:
        """UUID of the scope around it; None at a root."""
        return self.source.parent_uuid

    @property
    def name(self) -> str:
        """The scope's name."""
        return self.new_name or (self.route.encoder.name(self.source.name) if self.route else self.source.name)

    @property
    def category(self) -> str:
        """The scope's category, such as "tool"."""
        return self.source.category

    @property
    def attributes(self) -> list[str]:
        """Behaviour flags, sorted, the same on start and end."""
        return list(self.source.attributes)

    @property
    def data_schema(self) -> dict[str, str] | None:
        """Always None on scope events."""
        return None

    @property
    def status(self) -> str | None:
        """The outcome on an end event (ok, error, cancelled, interrupted, handoff, blocked, cached); None on a start."""
        return (self.metadata or {}).get("relay.status") if self.scope_category == "end" else None

    def _make_metadata(self) -> dict[str, Any] | None:
        given: dict[str, Any] | None = None if self.raw_metadata is None else Event._make_metadata(self)
        if self.detail == "start":
            return given
        source = self.source
        outcome = self._status_facts()
        failure = None if outcome["otel.status_code"] == "OK" else getattr(source, "_failure", None)
        if failure is not None:  # leaving by SystemExit(0) is no error
            kind, message = failure
            outcome["otel.status_description"] = self.encoder.text(message)
            outcome["error.type"] = kind
        if self.view is not None and source.category == "llm":
            outcome.update(self.ownership())
        return {**given, **outcome} if given else outcome

    def _status_facts(self) -> dict[str, Any]:
        if self.detail == "start":
            return {}
        if self.route is None:  # read back
            return {k: v for k, v in (self.metadata or {}).items() if k in ("otel.status_code", "relay.status")}
        status = self.source.status
        return {"otel.status_code": _OTEL_STATUS.get(status, "UNSET"), "relay.status": status}

    def ownership(self) -> dict[str, Any]:
        """Tell if another scope has reported this response before: then its usage is not to be counted again.

        Of all that report one response, the first whose metadata is read owns its usage.
        """
        known = self.category_profile if self.cache and "category_profile" in self.cache else self.views()
        view: Any = (known or {}).get("annotated_response") or {}
        response_id = getattr(view, "value", view).get("id")  # it may be a part that is frozen
        if not isinstance(response_id, str) or not response_id:
            return {}
        uuid = self.uuid
        first = self.encoder.responses.first(response_id, uuid)
        return {} if first == uuid else {"relay.duplicate_of": first, "relay.usage_owner": False}

    def _make_profile(self) -> dict[str, Any] | None:
        raw, encoder = self.raw_profile, self.route.encoder
        profile = encoder.tree(raw) if raw else raw
        if self.view is None:
            return profile
        views = self.views()  # which asks for the data
        return shown(profile, views, encoder, is_small=self.is_plain())

    def views(self) -> dict[str, Any]:
        """Give the annotated views of a model call; parts of them may be frozen."""
        cache = self.cache
        if cache is None:
            cache = self.cache = {}
        elif "views" in cache:
            return cache["views"]
        found = cache["views"] = _maker_of_views()(self)
        return found

    def _profile_json(self) -> bytes:
        given = Event._profile_json(self)
        found = None if self.view is None or "category_profile" in (self.cache or ()) else self.views()
        if not found:
            return given
        if given.find(b'"annotated_re') >= 0 or given.find(b'"$relay"') >= 0:
            return _encode(self.category_profile)
        views = self.encoder.views(found)
        return b"%b,%b" % (given[:-1], views[1:]) if given not in (b"null", b"{}") else views

    def _metadata_json(self) -> bytes:
        """The metadata's JSON; what an uneventful end adds to it is known."""
        if self.cache is None or "metadata" not in self.cache:
            raw = self.raw_metadata
            if self.detail == "start":
                return b"null" if raw is None else self.encoder.json(raw)
            source = self.source
            if source.status == "ok" and (self.view is None or source.category != "llm" or not self.ownership()):
                given = b"{}" if raw is None else self.encoder.json(raw)
                if given == b"{}":
                    return _UNEVENTFUL
                if given.find(b'"otel.status_code"') < 0 and given.find(b'"relay.status"') < 0:
                    return b"%b,%b" % (given[:-1], _UNEVENTFUL[1:])
        return _encode(self.metadata)

    def _make_json(self) -> Piece:
        if {"data", "category_profile"}.issubset(self.cache or ()):
            return read_line(self)
        [line] = quick_lines(usual((self,))) or [None]
        return line or scope_line(self, self._data_json(), self._profile_json(), self._metadata_json())


class MarkEvent(Event, eq=False, gc=False):
    """A point in time under a scope, or under none.

    Example:
        >>> import relay_core as relay
        >>> runtime, seen = relay.Relay(), []
        >>> with runtime.subscriber(seen.append):
        ...     runtime.mark("ranked", data={"n": 3})
        >>> runtime.flush(timeout=2.0).pending, seen[0].name, seen[0].data
        (0, 'ranked', {'n': 3})
    """

    kind: ClassVar[str] = "mark"
    scope_category: ClassVar[None] = None  # so that a subscriber may ask any event for it

    @property
    def uuid(self) -> str:
        """The mark's own UUID."""
        detail: MarkDetail = self.detail
        identity = detail.identity
        if type(identity) is tuple:  # the number and the monotonic time at which it was drawn
            identity = detail.identity = uuid_of(*identity)
        return identity  # pyright: ignore[reportReturnType]  # narrowed above

    @property
    def category(self) -> str | None:
        """One of the scope categories, on marks that have one."""
        return self.detail.category

    @property
    def data_schema(self) -> dict[str, str] | None:
        """Name and version of the shape of `data`, if told."""
        return self.detail.data_schema

    @property
    def parent_uuid(self) -> str | None:
        """UUID of the scope that was current; None outside any scope."""
        source: Node | Identity | None = self.source
        if type(source) is Identity:
            return source.parent_uuid
        return None if source is None else source.uuid

    @property
    def name(self) -> str:
        """The mark's name."""
        return self.new_name or (self.route.encoder.name(self.detail.name) if self.route else self.detail.name)

    def _make_json(self) -> bytes:
        return mark_line(self, self._data_json())


def parse_event(line: bytes | str | dict[str, Any]) -> ScopeEvent | MarkEvent:
    """Read one ATOF line back; unknown keys are ignored, any 0.x version is accepted.

    Args:
        line: the JSON text or the decoded object.

    Raises:
        ValueError: it is no ATOF event; the text says what is missing.

    Example:
        >>> import relay_core as relay
        >>> line = '{"kind":"mark","uuid":"u","timestamp":"2026-01-01T00:00:00+00:00","name":"hello"}'
        >>> relay.parse_event(line).name
        'hello'
    """
    found: Any = line if isinstance(line, dict) else msgspec.json.decode(line)
    if not isinstance(found, dict):
        raise ValueError("not an ATOF event: no JSON object")  # noqa: TRY004  # bad data
    row: dict[str, Any] = found  # pyright: ignore[reportUnknownVariableType]  # JSON
    missing = [key for key in ("kind", "uuid", "timestamp", "name") if key not in row]
    if missing:
        raise ValueError(f"not an ATOF event: no {', '.join(missing)}")
    if not str(row.get("atof_version", ATOF_VERSION)).startswith("0."):
        raise ValueError(f"ATOF version {row['atof_version']!r} is not supported; 0.x is")
    shared: dict[str, Any] = {
        "source": Identity(row),
        "timestamp_ns": parse_time(row["timestamp"]),
        "raw": None,
        "raw_metadata": None,
        "raw_profile": None,
        "route": None,
        "cache": {key: row.get(key) for key in ("data", "metadata", "category_profile")},
    }
    if row["kind"] == "scope" and row.get("scope_category") in ("start", "end"):
        return ScopeEvent(**shared, detail=row["scope_category"])
    if row["kind"] == "mark":
        return MarkEvent(
            **shared, detail=MarkDetail(row["name"], row["uuid"], row.get("category"), row.get("data_schema"))
        )
    raise ValueError(f"not an ATOF event: kind {row['kind']!r}, scope_category {row.get('scope_category')!r}")
