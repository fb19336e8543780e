"""The quick way and the careful way to write a line give the same bytes, and only the careful way meets secrets."""

import json
import math

import msgspec
import pytest

from relay_core import Relay
from relay_core.event_batches import write_lines
from relay_core.event_lines import quick_lines, scope_line, usual
from relay_core.payload_pieces import whole
from relay_core.payloads import Encoder, Frozen, freeze
from relay_core.settings import Payload, Redaction, Settings

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


def quick_line(event):
    [line] = quick_lines(usual([event])) or [None]
    return line and whole(line)


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


def copied(events):
    return [msgspec.structs.replace(event) for event in events]


def careful_lines(events):
    return [scope_line(event, event._data_json(), event._profile_json(), event._metadata_json()) for event in events]


def messages(count, size=40):
    return [Frozen(freeze({"role": "user", "content": f"{n} " + "x" * size}), shared=True) for n in range(count)]


def test_events_that_are_read_together_have_the_lines_they_have_alone(seen):
    shared = messages(9)
    events = []
    for data in [*PLAIN, Frozen({"messages": Frozen(list(shared))}), Frozen({"messages": Frozen(shared[:3])})]:
        events += seen(data, metadata={"team": "a", "n": [1]}, profile={"model_name": "m"})
    together = copied(events)
    assert list(map(whole, write_lines(together))) == careful_lines(copied(events))
    assert [event.to_json() for event in together] == [event.to_json() for event in copied(events)]


@pytest.mark.parametrize("odd", ODD, ids=lambda value: repr(value)[:30])
def test_one_odd_event_changes_no_other(seen, odd):
    events = []
    for data in ({"a": 1}, {"it": odd}, Frozen({"part": Frozen({"it": odd}, shared=True)}), {"b": 2}):
        events += seen(data, metadata={"team": "a"})
    lines = write_lines(copied(events))
    assert lines == careful_lines(events)
    assert b"hunter2" not in b"".join(lines)
    assert b"ghp_abc" not in b"".join(lines)


def test_nothing_unsearched_is_kept_with_parts(seen):
    secret, clean = Frozen({"password": "hunter2"}, shared=True), Frozen({"role": "user"}, shared=True)
    for line in write_lines(seen(Frozen({"messages": [clean, secret]}))):
        assert b"hunter2" not in line
        assert b'"role":"user"' in line
    assert b"hunter2" not in secret.made[1]
    assert (clean.made[2], secret.made[2]) == (True, False)


def test_own_rules_of_redaction_hold_for_events_that_are_read_together():
    runtime, events = Relay(Settings(redaction=Redaction(extra_keys=("badge",)))), []
    runtime.subscriber(events.append)
    for badge in ("first", "second"):
        runtime.open_scope("work", input={"badge": badge}).close(output={"n": 1})
    runtime.shutdown(timeout=20.0)
    assert [json.loads(line)["data"] for line in write_lines(events)] == [{"badge": "[REDACTED]"}, {"n": 1}] * 2


def test_a_batch_of_any_events_is_written_in_order(seen):
    class Foreign:
        def to_json(self):
            return b"foreign"

    def fail():
        raise ValueError

    read = seen({"a": 1})
    assert read[0].data == {"a": 1}
    failing = seen(Frozen.late(fail))
    lines = write_lines([*read, Foreign(), *failing, object(), *seen({"b": 2})])
    assert [b'"a":1' in line for line in lines[:2]] == [True, True]
    assert lines[2] == b"foreign"
    assert [type(line) for line in lines[3:6]] == [ValueError, ValueError, AttributeError]
    assert [b'"b":2' in line for line in lines[6:]] == [True, True]
    assert write_lines([]) == []


def test_events_of_two_runtimes_keep_their_own_rules():
    events = []
    for settings in (Settings(redaction=Redaction(enabled=False)), Settings()):
        runtime = Relay(settings)
        runtime.subscriber(events.append)
        runtime.open_scope("work", input={"password": "hunter2"}).close()
        runtime.shutdown(timeout=20.0)
    assert [b"hunter2" in line for line in write_lines(events)] == [True, False, False, False]


def test_a_changed_name_shows_and_identities_stay(seen):
    start, end = seen({"a": 1})
    first = write_lines([start])[0]
    start.source.name = "later"
    lines = [json.loads(line) for line in (first, *write_lines([end]))]
    assert [line["name"] for line in lines] == ["work", "later"]
    assert lines[0]["uuid"] == lines[1]["uuid"] == start.uuid


@pytest.mark.parametrize("cut", [300, 250, 1])
def test_long_lists_are_not_copied_and_read_as_they_are(seen, cut):
    parts = messages(300, 2_000)
    begun = Frozen(list(parts))
    grown = Frozen([*parts[:cut], *messages(4)])
    grown.base = (begun, cut)
    changed = Frozen([*grown.value, Frozen({"password": "hunter2"}, shared=True), *messages(1)])
    changed.base = (grown, len(grown.value))
    for row in (begun, grown, changed, changed):
        events = seen(Frozen({"messages": row, "n": 1}), metadata={"team": "a"})
        lines = write_lines(copied(events))
        assert [type(line) for line in lines] == [tuple if len(row.value) > 100 else bytes] * 2
        assert list(map(whole, lines)) == [event.to_json() for event in events]
        data = json.loads(whole(lines[0]))["data"]
        assert data["messages"] == [
            {"password": "[REDACTED]"} if type(part.value) is dict else msgspec.msgpack.decode(part.value.data)
            for part in row.value
        ]
    if cut > 100:
        assert sum(map(len, grown.made[1])) > 400_000
        assert max(map(len, begun.made[1])) > 600_000
        assert any(type(piece) is memoryview for piece in grown.made[1])


def test_lists_that_grow_by_many_keep_few_pieces():
    encoder, parts = Encoder(), messages(300, 2_000)
    row = Frozen(list(parts))
    for _ in range(200):
        parts = [*parts, *messages(1, 2_000)]
        row, before = Frozen(parts), row
        row.base = (before, len(before.value))
        encoder.piece(row)
    assert json.loads(encoder.json(row)) == [msgspec.msgpack.decode(part.value.data) for part in parts]
    assert len(row.made[1]) <= 66


def test_more_than_limits_allow_is_written_carefully(seen):
    runtime, events = Relay(Settings(payload=Payload(max_bytes=200_000))), []
    runtime.subscriber(events.append)
    row = Frozen(messages(150, 2_000))
    runtime.open_scope("work", input=Frozen({"messages": row})).close(output={"n": 1})
    runtime.shutdown(timeout=20.0)
    lines = list(map(whole, write_lines(copied(events))))
    assert lines == [event.to_json() for event in events]
    assert b'"$relay"' in lines[0]
    assert len(lines[0]) < 200_000
