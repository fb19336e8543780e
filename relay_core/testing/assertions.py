"""Assertions over recorded events: form, tools, outcomes, secrets, accounts.

Each takes events as an `EventRecorder` gives them, or as plain dicts read from a file, and raises `AssertionError` with
all that it found.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from relay_core.events import MarkEvent, ScopeEvent
    from relay_core.runtime import Relay

__all__ = [
    "assert_accounts_settled",
    "assert_no_error",
    "assert_no_secret",
    "assert_status",
    "assert_tools",
    "assert_well_formed",
]

Events: TypeAlias = "Iterable[ScopeEvent | MarkEvent | dict[str, Any]]"
Order: TypeAlias = Literal["exact", "subset", "any"]
_IDENTITY = ("name", "category", "parent_uuid", "propagation_root_uuid", "attributes")
_SHOWN = 20


def assert_well_formed(events: Events, *, known: Iterable[str] = (), complete: bool = True) -> None:
    """Check that the events are a tree whose every scope started once and ended once.

    Args:
        events: in the order of emission.
        known: UUIDs of parents that are elsewhere: remote ones, or opened before the recording.
        complete: also demand an end for each start.

    Raises:
        AssertionError: lists what is wrong.

    Example:
        >>> start = {"kind": "scope", "scope_category": "start", "uuid": "a", "name": "job"}
        >>> assert_well_formed([start])
        Traceback (most recent call last):
        AssertionError: 1 thing is wrong with the events:
          scope 'job' (a) has no end
    """
    form = _Form(known)
    for event in _plain(events):
        form.take(event)
    if complete:
        form.problems += [f"{_label(row)} has no end" for row in form.open.values()]
    _report(form.problems, "with the events")


class _Form:
    """What is known of the tree while events go by."""

    def __init__(self, known: Iterable[str]) -> None:
        self.problems: list[str] = []
        self.open: dict[str, dict[str, Any]] = {}
        self._known = set(known)
        self._roots: dict[str, str | None] = {}  # of each scope seen
        self._marks: set[str] = set()

    def take(self, row: dict[str, Any]) -> None:
        if row["kind"] == "mark":
            self._mark(row)
        elif row.get("scope_category") == "start":
            self._start(row)
        else:
            self._end(row)

    def _mark(self, row: dict[str, Any]) -> None:
        if row["uuid"] in self._marks or row["uuid"] in self._roots:
            self._wrong(row, "has a UUID that another event has")
        self._marks.add(row["uuid"])
        self._under(row)

    def _start(self, row: dict[str, Any]) -> None:
        uuid = row["uuid"]
        if uuid in self._roots:
            self._wrong(row, "started twice")
            return
        if uuid in self._marks:
            self._wrong(row, "has a UUID that a mark has")
        self._under(row)
        self._roots[uuid] = row.get("propagation_root_uuid")
        self.open[uuid] = row

    def _end(self, row: dict[str, Any]) -> None:
        start = self.open.pop(row["uuid"], None)
        if start is None:
            self._wrong(row, "ended twice" if row["uuid"] in self._roots else "ended without a start")
            return
        for field in _IDENTITY:
            if start.get(field) != row.get(field):
                self._wrong(row, f"has {field} {start.get(field)!r} on its start, {row.get(field)!r} on its end")
        if _time(row) < _time(start):
            self._wrong(row, "ended before it started")
        if "relay.status" not in _metadata(row):
            self._wrong(row, "has no relay.status on its end")

    def _under(self, row: dict[str, Any]) -> None:
        parent, root = row.get("parent_uuid"), row.get("propagation_root_uuid")
        if parent is None:
            if row["kind"] == "scope" and root not in (None, row["uuid"]):
                self._wrong(row, f"is a root, but names {root} as its root")
        elif parent in self._roots:
            expected = self._roots[parent]
            if root != expected:
                self._wrong(row, f"has the root {root}; its parent has {expected}")
        elif parent not in self._known:
            self._wrong(row, f"has a parent that was not seen before: {parent}")

    def _wrong(self, row: dict[str, Any], what: str) -> None:
        self.problems.append(f"{_label(row)} {what}")


def assert_tools(events: Events, expected: Sequence[str], *, order: Order = "exact") -> None:
    """Check which tools were called.

    Args:
        events: what was recorded.
        expected: names of tools.
        order: "exact" (these calls in this order and no others), "subset" (these in this order; others may come between)
            or "any" (these calls and no others, in any order).

    Raises:
        AssertionError: other tools were called.

    Example:
        >>> import relay_core as relay
        >>> from relay_core.testing import record
        >>> with record(relay.Relay()) as recorder:
        ...     for name in ("search", "read"):
        ...         _ = recorder.runtime.call_tool(name, {}, lambda args: None)
        >>> assert_tools(recorder, ["search", "read"])
        >>> assert_tools(recorder, ["read"], order="subset")
        >>> assert_tools(recorder, ["read", "search"], order="any")
    """
    called = [e["name"] for e in _scopes(events, "start") if e["category"] == "tool"]
    if order == "exact":
        right = called == list(expected)
    elif order == "any":
        right = Counter(called) == Counter(expected)
    else:
        rest = iter(called)
        right = all(name in rest for name in expected)
    if not right:
        raise AssertionError(f"tools called: {called}; expected ({order}): {list(expected)}")


def assert_no_error(events: Events) -> None:
    """Check that no scope ended in an error; blocked and cancelled ones are no errors.

    Raises:
        AssertionError: lists the scopes.

    Example:
        >>> assert_no_error([])
    """
    failed = [
        f"{_label(e)} ended in {_metadata(e).get('error.type', 'an error')}: "
        f"{_metadata(e).get('otel.status_description', 'no text')}"
        for e in _scopes(events, "end")
        if _metadata(e).get("relay.status") == "error"
    ]
    _report(failed, "")


def assert_status(events: Events, name: str, status: str) -> None:
    """Check that all scopes of one name, at least one, ended with this status.

    Args:
        events: what was recorded.
        name: of the scopes.
        status: ok, error, cancelled, interrupted, handoff, blocked or cached.

    Raises:
        AssertionError: there is none, or one ended otherwise.

    Example:
        >>> end = {
        ...     "kind": "scope",
        ...     "scope_category": "end",
        ...     "uuid": "a",
        ...     "name": "job",
        ...     "metadata": {"relay.status": "ok"},
        ... }
        >>> assert_status([end], "job", "ok")
    """
    rows = list(_scopes(events, "end"))
    found = [_metadata(e).get("relay.status") for e in rows if e["name"] == name]
    if not found:
        raise AssertionError(f"no scope {name!r} ended; these did: {sorted({e['name'] for e in rows})}")
    if any(one != status for one in found):
        raise AssertionError(f"scopes {name!r} ended with {found}, expected {status!r}")


def assert_no_secret(events: Events, secrets: Iterable[str]) -> None:
    """Check that none of the secrets is anywhere in the JSON of the events; the failure does not show them.

    Args:
        events: what was recorded.
        secrets: texts that must not appear, as they are or escaped as JSON does it.

    Raises:
        ValueError: a secret is empty, so that it is everywhere.
        AssertionError: names the events, and the secrets by their position.

    Example:
        >>> assert_no_secret(
        ...     [{"kind": "mark", "uuid": "a", "name": "login", "data": "pa55word"}], ["other", "pa55word"]
        ... )
        Traceback (most recent call last):
        AssertionError: 1 thing is wrong with the events:
          mark 'login' (a) shows secret number 2 (8 characters)
    """
    wanted = list(secrets)
    if not all(wanted):
        raise ValueError("an empty secret is in every text; leave it out")
    found: list[str] = []
    for event in events:
        line, row = _line(event)
        for number, secret in enumerate(wanted, 1):
            if any(form in line for form in _forms(secret)):
                # The name of the event may hold the secret itself.
                label = _label(row) if secret not in _label(row) else f"{row['kind']} ({row['uuid']})"
                found.append(f"{label} shows secret number {number} ({len(secret)} characters)")
    _report(found, "with the events")


def assert_accounts_settled(runtime: Relay) -> None:
    """Check that no subscriber raised, no event is pending, every account adds up, and Relay itself had no fault.

    Args:
        runtime: flushed or shut down.

    Raises:
        AssertionError: lists what is wrong.

    Example:
        >>> import relay_core as relay
        >>> assert_accounts_settled(relay.Relay())
    """
    stats = runtime.stats()
    wrong: list[str] = []
    for name, account in stats["subscribers"].items():
        dropped = account["dropped"]
        if dropped.get("error"):
            wrong.append(f"subscriber {name!r} failed on {dropped['error']} events")
        if account["pending"]:
            wrong.append(f"subscriber {name!r} has {account['pending']} events pending; it hangs or is too slow")
        if account["accepted"] != account["delivered"] + account["pending"] + sum(dropped.values()):
            wrong.append(f"the account of subscriber {name!r} does not add up: {account}")
    if stats["counters"].get("faults"):
        wrong.append(f"Relay had {stats['counters']['faults']} internal faults; see the log of logger 'relay'")
    _report(wrong, "with the runtime")


def _plain(events: Events) -> Iterator[dict[str, Any]]:
    for event in events:
        yield event if isinstance(event, dict) else event.to_dict()


def _scopes(events: Events, phase: str) -> Iterator[dict[str, Any]]:
    return (e for e in _plain(events) if e["kind"] == "scope" and e.get("scope_category") == phase)


def _line(event: ScopeEvent | MarkEvent | dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    if isinstance(event, dict):
        return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass"), event
    return event.to_json(), event.to_dict()


def _forms(secret: str) -> set[bytes]:
    escaped = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    return {text.encode("utf-8", "surrogatepass") for text in (secret, *escaped)}


def _metadata(row: dict[str, Any]) -> dict[str, Any]:
    return row.get("metadata") or {}


def _label(row: dict[str, Any]) -> str:
    return f"{row['kind']} {row['name']!r} ({row['uuid']})"


def _time(row: dict[str, Any]) -> int:
    from relay_core.timestamps import parse_time  # noqa: PLC0415  # only scopes with both ends need it

    return parse_time(row["timestamp"]) if "timestamp" in row else 0


def _report(problems: list[str], where: str) -> None:
    if not problems:
        return
    count = len(problems)
    shown = problems[:_SHOWN] + ([f"and {count - _SHOWN} more"] if count > _SHOWN else [])
    head = f"{count} thing{' is' if count == 1 else 's are'} wrong {where}".rstrip()
    raise AssertionError("\n  ".join([f"{head}:", *shown]))
