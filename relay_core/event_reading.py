"""Events whose values are read for many at once, for subscribers that are going to read nearly all of them.

Payloads that are small and plain are unpacked, checked and searched for credentials together, and so are the views that
codecs make of them. What has to be looked at closely is left as it is: the event makes it when somebody asks.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay_core.event_lines import UNEVENTFUL
from relay_core.events import ScopeEvent
from relay_core.payload_plain import LARGEST
from relay_core.payloads import Packed
from relay_core.profiles import Rearranged, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay_core.payloads import Encoder

__all__ = ["read_ahead"]

_VALUES: Final = ("data", "metadata", "category_profile")
_FIT: Final = frozenset({Packed, type(None)})
_TOGETHER: Final = 16  # model calls
_encoder_of: Final = attrgetter("route.encoder")


class _Viewed(NamedTuple):
    """A model call whose views are still to be searched for credentials."""

    event: ScopeEvent
    profile: dict[str, Any] | None
    views: dict[str, Any]


def read_ahead(events: Sequence[Any]) -> None:
    """Read the values of scope events together, which is less work than one by one.

    Args:
        events: of any kind; those that somebody has read, or that are not small and plain, are left as they are.

    Example:
        >>> import relay_core as relay
        >>> runtime, seen = relay.Relay(), []
        >>> with runtime.subscriber(seen.append), runtime.scope("trip", "agent", input={"q": "hi"}):
        ...     pass
        >>> runtime.flush(timeout=2.0).pending
        0
        >>> read_ahead(seen)
        >>> seen[0].cache["data"], seen[1].cache["metadata"]["relay.status"]
        ({'q': 'hi'}, 'ok')
    """
    try:
        fresh = [event for event in events if type(event) is ScopeEvent and _is_fit(event)]
        for encoder, some in groupby(fresh, _encoder_of):
            _read_all(list(some), encoder)
    except Exception:  # noqa: BLE001, S110  # of a codec, perhaps; who asks the event for its values meets it again
        pass


def _read_all(events: list[ScopeEvent], encoder: Encoder) -> None:
    """Read events of one runtime, as many together as is worth a try."""
    joint, at = encoder.joint, 0
    viewed: list[_Viewed] = []
    while group := events[at : at + joint.reach]:
        at += len(group)
        joint.reached(len(group), done=_read(group, encoder, viewed))
    for begin in range(0, len(viewed), _TOGETHER):
        _settle(viewed[begin : begin + _TOGETHER], encoder)


def _is_fit(event: ScopeEvent) -> bool:
    """Tell whether an event may be read with others."""
    data, profile, view, cache = event.raw, event.raw_profile, event.view, event.cache
    if cache and not cache.keys().isdisjoint(_VALUES):
        return False
    if event.route is None or type(data) not in _FIT or type(event.raw_metadata) not in _FIT:
        return False
    if (data is not None and len(data.data) > LARGEST) or (profile and type(profile) is not Packed):
        return False
    # A codec that makes views of what is frozen may do so to keep the payload unread.
    return view is None or getattr(view, "annotated", None) is None


def _read(events: list[ScopeEvent], encoder: Encoder, viewed: list[_Viewed]) -> bool:
    """Read the values of some events; tell whether that could be done for all of them together.

    Args:
        events: of one runtime.
        encoder: that runtime's.
        viewed: gets what `_settle` is to finish.
    """
    values: list[Any] = []
    for event in events:
        values += (event.raw_profile, event.raw, event.raw_metadata)
    found = encoder.joint.read(values)
    if found is None:
        half = len(events) // 2
        if half:
            _read(events[:half], encoder, viewed)
            _read(events[half:], encoder, viewed)
        return False
    rest = iter(found.trees)
    for event, profile, data, metadata in zip(events, rest, rest, rest, strict=True):
        view = event.view
        cache: dict[str, Any] = {"data": data, "is_plain": True} if data is not None else {"data": None}
        if event.detail == "start":
            cache["metadata"] = metadata
        elif event.source.status == "ok" and (view is None or event.source.category != "llm"):
            cache["metadata"] = {**metadata, **UNEVENTFUL} if metadata else UNEVENTFUL.copy()
        event.cache = {**event.cache, **cache} if event.cache else cache
        if view is None:
            _put(event, profile)
        elif type(views := event.views()) is Rearranged or not views:
            _put(event, shown(profile, views, encoder))
        else:
            viewed.append(_Viewed(event, profile, views))
    return True


def _settle(viewed: list[_Viewed], encoder: Encoder) -> None:
    """Search views for credentials together, and put them to the profiles."""
    plain = encoder.settled([one.views for one in viewed])
    if plain is not None:
        for (event, profile, _), views in zip(viewed, plain, strict=True):
            _put(event, {**(profile or {}), **views})
    elif len(viewed) > 1:
        half = len(viewed) // 2
        _settle(viewed[:half], encoder)
        _settle(viewed[half:], encoder)
    else:
        [(event, profile, views)] = viewed
        _put(event, shown(profile, views, encoder))


def _put(event: ScopeEvent, profile: dict[str, Any] | None) -> None:
    cache = event.cache
    if cache is not None and "category_profile" not in cache:  # somebody else may read it meanwhile
        cache["category_profile"] = profile
