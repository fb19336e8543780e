"""Outlines of calls: whatever comes in, they are what the long way gives, or None."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given

import relay_core
from relay_core.annotations import annotate
from relay_core.payloads import Encoder
from relay_core.settings import Payload, Redaction, Settings
from tests.adapters.codec_laws import damaged, recorded

encoder = Encoder()
SETTINGS = {
    "usual": None,
    "own keys": Settings(redaction=Redaction(extra_keys=["message", "prompt_tokens"])),
    "shallow": Settings(payload=Payload(max_depth=5)),
    "short": Settings(payload=Payload(max_string=3)),
    "few": Settings(payload=Payload(max_items=2)),
    "small": Settings(payload=Payload(max_bytes=900)),
}
"""Settings under which observers see payloads in different ways."""


def nested(depth):
    """Containers in each other."""
    return {"a": nested(depth - 1)} if depth else 1


def same_as_the_long_way(codec, side, native):
    """Outline one payload as observers see it; True if there is an outline."""
    phase = "start" if side == "request" else "end"
    data = encoder.tree(encoder.freeze({"headers": {}, "content": native} if side == "request" else native))
    before = msgspec.json.encode(data)
    made = codec.outline(phase, data)
    assert msgspec.json.encode(data) == before
    if made is None:
        return False
    found = annotate(codec, phase, data, replaced=False)
    assert {f"annotated_{side}": made.view} == found
    assert msgspec.json.encode(made.view) == msgspec.json.encode(found[f"annotated_{side}"])  # keys in the same order
    return True


def seen_of(codec, request, response, settings=None):
    """What observers see of one call: profiles, and the lines of another one, whose values nobody has read before."""
    runtime, events = relay_core.Relay(settings), []
    runtime.subscriber(events.append, name="events")
    for _ in range(2):
        runtime.call_llm("llm", request, lambda _request: response, codec=codec)
    assert not runtime.shutdown(timeout=20.0).timed_out
    lines = [msgspec.json.decode(event.to_json())["category_profile"] for event in events[2:]]
    return [event.category_profile for event in events[:2]], lines, dict(runtime.counters)


def long_way(codec):
    """The same codec without outlines."""
    kind = type(codec)
    return type(kind.__name__, (kind,), {"outline": None})()


def usual_pairs(asked, answer, called, hidden, secret, marked, deep, long):
    """What `OutlineRows.observed` has for a format whose calls need no more than these."""
    return {
        "plain": (asked, answer),
        "called": (asked, called),
        "secret text": (hidden, secret),
        "markers": (marked, answer),
        "deep": (deep, answer),
        "deep and long": (long, answer),
    }


class OutlineRows:
    """What holds of each format, as tests to inherit.

    Attributes:
        codec: of the format.
        asked: usual requests, which have outlines.
        answers: usual responses, which have outlines.
        requests: others, by name.
        responses: others, by name.
        observed: pairs of a request and a response, by name; no text of theirs that observers see may say "hunter2".
    """

    codec = None
    asked = answers = ()
    requests = responses = observed = {}

    def __init_subclass__(cls):  # what pytest and hypothesis write on a test must not be shared between formats
        codec = cls.codec

        @pytest.mark.parametrize("native", cls.requests.values(), ids=cls.requests)
        def requests(self, native):
            same_as_the_long_way(codec, "request", native)

        @pytest.mark.parametrize("native", cls.responses.values(), ids=cls.responses)
        def responses(self, native):
            same_as_the_long_way(codec, "response", native)

        @given(native=damaged([*cls.asked, *cls.requests.values()]))
        def damaged_requests(self, native):
            same_as_the_long_way(codec, "request", native)

        @given(native=damaged([*cls.answers, *cls.responses.values()]))
        def damaged_responses(self, native):
            same_as_the_long_way(codec, "response", native)

        @pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
        @pytest.mark.parametrize(("request_body", "response"), cls.observed.values(), ids=cls.observed)
        def observers_see_the_same_with_and_without_outlines(self, settings, request_body, response):
            short = seen_of(codec, request_body, response, settings)
            assert short == seen_of(long_way(codec), request_body, response, settings)
            assert "hunter2" not in json.dumps(short)

        found = (requests, responses, damaged_requests, damaged_responses)
        for test in (*found, observers_see_the_same_with_and_without_outlines):
            setattr(cls, f"test_{test.__name__}", test)

    def test_usual_calls_have_outlines(self):
        assert all(same_as_the_long_way(self.codec, "request", native) for native in self.asked)
        assert all(same_as_the_long_way(self.codec, "response", native) for native in self.answers)


def assert_recorded_traffic_has_outlines(codec, form, share=0.0):
    """More than this share of the recorded requests, and of the responses, has an outline."""
    records = recorded(form)
    asked = [same_as_the_long_way(codec, "request", record["request"]) for record in records]
    natives = [record["response"] for record in records if isinstance(record.get("response"), dict)]
    told = [same_as_the_long_way(codec, "response", native) for native in natives]
    assert sum(asked) > len(asked) * share
    assert sum(told) > len(told) * share
