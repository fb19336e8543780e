"""What is read for many events at once is what each event makes by itself, and so are their lines."""

import math

import msgspec
import pytest

from relay_core import Relay
from relay_core.event_batches import write_lines
from relay_core.event_reading import read_ahead
from relay_core.llm import LlmRequest, LlmResponse, Message
from relay_core.payload_pieces import whole
from relay_core.payloads import Frozen, freeze
from relay_core.settings import Payload, Settings
from tests.plugins.observability.scenarios import SCENARIOS, play

VALUES = ("data", "metadata", "category_profile")
GIVEN = [
    None,
    0,
    "text",
    {},
    [],
    {"q": "Zürich \U0001f600", "n": [1, -1, 2**40, 1.25, True, None]},
    {"many": ["x" * 9] * 90},
    {"x": "y" * 20_000},
    {"\x1frelay part": 1, "text": Frozen("\x1frelay part", shared=True)},
    math.nan,
    b"bytes",
    {1: "a", "1": "b"},
    {"$relay": 1},
    {"a": object},
    "\ud800",
    {"password": "hunter2"},
    {"k": "ghp_abcdefghijklmnopqrstuvwxyz0123456789"},
]


class Spelling:
    """A codec whose views hold a credential that the payload has only in pieces, and things that are no JSON."""

    name = "spelling"
    native_types = (dict,)

    def decode_request(self, native):
        return LlmRequest(api=self.name, model="m", messages=[Message.user("".join(native["said"]))], extra=native)

    def decode_response(self, native):
        return LlmResponse(api=self.name, id=native["id"], extra={"tuple": (1,), "odd": math.inf, "text": native["id"]})

    encode_request = encode_response = assembler = None


def unread(event):
    """The same event as if nobody had read it."""
    return msgspec.structs.replace(event, cache=None)


def alone(events):
    return [{name: getattr(event, name) for name in VALUES} for event in map(unread, events)]


def together(events):
    copies = list(map(unread, events))
    read_ahead(copies)
    return copies, [{name: getattr(event, name) for name in VALUES} for event in copies]


@pytest.fixture
def runtime():
    runtime = Relay()
    yield runtime
    runtime.shutdown(timeout=20.0)


@pytest.fixture
def seen(runtime):
    events = []
    runtime.subscriber(events.append)
    return events


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_whole_run_is_read_as_event_by_event(name):
    events = play(name)
    copies, found = together(events)
    assert found == alone(events)
    assert [event.to_json() for event in copies] == [unread(event).to_json() for event in events]


@pytest.mark.parametrize("among", [(), ({"a": 1},) * 3, ({"password": "x"}, {"b": 2})], ids=repr)
@pytest.mark.parametrize("given", GIVEN, ids=lambda value: repr(value)[:30])
def test_anything_odd_is_read_as_by_itself(runtime, seen, given, among):
    for value in (*among, given, *among):
        runtime.open_scope("work", input=value, metadata={"it": value}, profile={"it": value}).close(output=value)
    assert not runtime.flush(timeout=20.0).timed_out
    _, found = together(seen)
    assert found == alone(seen)


def test_views_are_searched_although_the_payload_has_nothing_to_hide(runtime, seen):
    token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
    for parts in (["hello"], [token[:20], token[20:]], ["bye"]):
        runtime.call_llm("model", {"said": parts}, lambda asked: {"id": "".join(asked["said"])[:9]}, codec=Spelling())
    assert not runtime.flush(timeout=20.0).timed_out
    _, found = together(seen)
    assert found == alone(seen)
    assert token not in repr(found)
    assert "bye" in repr(found)


def test_small_plain_events_are_read_and_each_has_values_of_its_own(runtime, seen):
    for number in range(40):
        runtime.call_tool("search", {"n": number}, lambda args: args)
    assert not runtime.flush(timeout=20.0).timed_out
    read_ahead(seen)
    assert all({*VALUES} <= event.cache.keys() for event in seen)
    seen[1].metadata["mine"] = 1
    assert "mine" not in seen[3].metadata


def test_what_was_read_or_replaced_stays(runtime, seen):
    runtime.call_tool("search", {"n": 1}, lambda args: args)
    assert not runtime.flush(timeout=20.0).timed_out
    start, end = seen
    replaced, known = start.replace(data={"n": 2}), end.data
    read_ahead([replaced, end])
    assert replaced.data == {"n": 2}
    assert end.data is known


def test_limits_hold():
    runtime, events = Relay(Settings(payload=Payload(max_string=100, max_depth=16))), []
    runtime.subscriber(events.append)
    for value in ("x" * 99, "x" * 101, "x" * 5_000):
        runtime.open_scope("work", input={"x": value}).close()
    assert not runtime.flush(timeout=20.0).timed_out
    _, found = together(events)
    assert found == alone(events)
    runtime.shutdown(timeout=20.0)


def test_a_codec_that_reads_what_is_frozen_keeps_the_payload_unread(runtime, seen):
    class Quick(Spelling):
        def annotated(self, phase, frozen, encoder):
            return {"annotated_request": {"n": 1}} if phase == "start" else {}

    runtime.call_llm("model", {"said": ["hi"]}, lambda _: {"id": "a"}, codec=Quick())
    assert not runtime.flush(timeout=20.0).timed_out
    read_ahead(seen)
    assert seen[0].cache is None


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_who_writes_lines_leaves_what_was_read_to_others(name):
    """The second subscriber sees the same as if it were alone."""
    mine = []

    class Lines:
        name = "lines"

        def on_event(self, event):
            self.on_batch((event,))

        def on_batch(self, events):
            mine.extend(whole(line) for line in write_lines(events))

    events = play(name, Lines())
    copies = list(map(unread, events))
    for event in copies:
        event.route = event.route.with_sinks((*event.route.sinks, None))
    lines = [whole(line) for line in write_lines(copies)]
    assert lines == [unread(event).to_json() for event in events]
    read_ahead(copies)
    assert [{name: getattr(event, name) for name in VALUES} for event in copies] == alone(events)
    assert any("data" in event.cache for event in copies if event.kind == "scope")


def test_frozen_payloads_are_left_to_their_event(runtime, seen):
    shared = Frozen(freeze({"a": 1}), shared=True)
    runtime.open_scope("work", input={"it": shared}).close()
    assert not runtime.flush(timeout=20.0).timed_out
    _, found = together(seen)
    assert found == alone(seen)
    assert found[0]["data"] == {"it": {"a": 1}}
