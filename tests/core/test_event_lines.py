"""The quick way and the careful way to write a line give the same bytes, and only the careful way meets secrets."""

import math

import msgspec
import pytest

from relay_core import Relay
from relay_core.event_lines import quick_line, scope_line
from relay_core.payloads import Frozen, freeze

PLAIN = [
    None,
    0,
    1.5,
    "text",
    "",
    {},
    [],
    {"q": "Zürich \U0001f600", "n": [1, -1, 2**40, 1.25, True, None]},
    {"deep": [[[[{"a": [{}]}]]]]},
    {"many": ["x" * 9] * 90},
    {"\x1frelay part": "\x1frelay end", "list": ["a", "\x1frelay end", "b"]},
]
ODD = [
    math.nan,
    b"bytes",
    {1: "a", "1": "b"},
    {"$relay": 1},
    {"a": object()},
    {"x": "y" * 5_000},
    [2**70],
    "\ud800",
    {"password": "hunter2"},
    {"k": "ghp_abcdefghijklmnopqrstuvwxyz0123456789"},
    {"\x1frelay part": 1, "token": Frozen("\x1frelay part", shared=True)},
]


def both_ways(event):
    quick = quick_line(msgspec.structs.replace(event))
    careful = msgspec.structs.replace(event)
    return quick, scope_line(careful, careful._data_json(), careful._profile_json(), careful._metadata_json())


@pytest.fixture
def seen():
    """Give a function that runs a scope and gives its events, unread."""
    runtime = Relay()
    events = []
    runtime.subscriber(events.append)

    def run(data, **options):
        events.clear()
        runtime.open_scope("work", input=data, **options).close(output=data)
        assert not runtime.flush(timeout=20.0).timed_out
        return list(events)

    yield run
    runtime.shutdown(timeout=20.0)


@pytest.mark.parametrize("metadata", [None, {"team": "a"}, {"deep": {"n": [1]}}], ids=repr)
@pytest.mark.parametrize("profile", [None, {}, {"subtype": "prompt"}, {"model_name": "m" * 99}], ids=repr)
@pytest.mark.parametrize("data", PLAIN, ids=lambda value: repr(value)[:30])
def test_plain_payloads_are_written_quickly(seen, data, profile, metadata):
    for event in seen(data, profile=profile, metadata=metadata):
        quick, careful = both_ways(event)
        assert event.to_json() == careful
        if "\x1f" not in repr(data) and "\\x1f" not in repr(data):
            assert quick == careful
        assert quick in (None, careful)


@pytest.mark.parametrize("data", ODD, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("place", ["data", "metadata", "profile"])
def test_anything_odd_is_written_carefully(seen, data, place):
    data = {"it": data}
    given = {"data": None, place: data}
    for event in seen(given.pop("data"), **given):
        quick, careful = both_ways(event)
        assert event.to_json() == careful
        assert quick in (None, careful)
        assert b"hunter2" not in careful
        assert b"ghp_abc" not in careful


@pytest.mark.parametrize("count", [1, 3, 30])
def test_parts_that_come_again_are_put_in(seen, count):
    parts = [Frozen(freeze({"role": "user", "content": f"{n} " + "x" * 40}), shared=True) for n in range(count)]
    payload = Frozen({"messages": Frozen(parts), "first": parts[0], "text": "\x1frelay part"})
    for event in seen(payload) + seen(Frozen([Frozen({"all": Frozen(list(parts))}), *parts])):
        quick, careful = both_ways(event)
        assert quick in (None, careful)
        assert event.to_json() == careful


def test_a_secret_in_a_part_stays_hidden(seen):
    part = Frozen(freeze({"password": "hunter2"}), shared=True)
    for _ in range(2):
        for event in seen(Frozen({"messages": Frozen([part, Frozen({"a": 1}, shared=True)])})):
            quick, careful = both_ways(event)
            assert quick in (None, careful)
            assert event.data == {"messages": [{"password": "[REDACTED]"}, {"a": 1}]}
            assert b"hunter2" not in event.to_json()


def test_the_names_of_secrets_count_for_parts_below_them(seen):
    for event in seen(Frozen({"api_key": Frozen(["kept", "in mind"], shared=True)})):
        assert b"in mind" not in event.to_json()


@pytest.mark.parametrize("status", ["error", "cancelled", "blocked", "handoff"])
def test_what_is_not_uneventful_is_written_carefully(status):
    runtime, events = Relay(), []
    with runtime.subscriber(events.append):
        runtime.open_scope("work").close(status=status)
        runtime.flush(timeout=20.0)
    assert quick_line(msgspec.structs.replace(events[1])) is None
    assert events[1].to_dict()["metadata"]["relay.status"] == status
    runtime.shutdown(timeout=20.0)
