"""What observers see of calls whose objects are a framework's own."""

from __future__ import annotations

import asyncio

import pytest

import relay_core as relay
from relay_core.events import Deferred
from relay_core.observation import Observation, Outcome


class Money:
    """A framework's object."""

    def __init__(self, amount):
        self.amount = amount


class Plain(Observation):
    """Shows amounts; a result of zero is a failure, a LookupError is a pause."""

    def request(self, call):
        return {"amount": call.request.amount}

    def result(self, call, result):
        return {"paid": [item.amount for item in result] if isinstance(result, list) else result.amount}

    def outcome(self, call, result, error):
        if isinstance(error, LookupError):
            return Outcome("interrupted", None, {"waiting": True})
        if error is None and getattr(result, "amount", None) == 0:
            return Outcome("error", ValueError("nothing was paid"))
        return None


class Broken(Observation):
    """Raises whatever it is asked."""

    def request(self, call):
        raise RuntimeError("request")

    def result(self, call, result):
        raise RuntimeError("result")

    def outcome(self, call, result, error):
        raise RuntimeError("outcome")


def _sync(runtime, kind, fn, observation):
    call = runtime.call_tool if kind == "tool" else runtime.call_llm
    return call("pay", Money(5), fn, observation=observation)


def _async(runtime, kind, fn, observation):
    async def run():
        call = runtime.acall_tool if kind == "tool" else runtime.acall_llm
        return await call("pay", Money(5), fn, observation=observation)

    return asyncio.run(run())


ways = pytest.mark.parametrize("way", [_sync, _async], ids=["sync", "async"])
kinds = pytest.mark.parametrize("kind", ["tool", "llm"])


@ways
@kinds
def test_observers_see_what_the_observation_says_and_the_program_its_own_objects(rec, way, kind):
    paid = Money(7)
    given = []

    def fn(request):
        given.append(request)
        return paid

    assert way(rec.relay, kind, fn, Plain()) is paid
    assert isinstance(given[0], Money)
    start = rec.start("pay").data
    assert (start["content"] if kind == "llm" else start) == {"amount": 5}
    assert rec.end("pay").data == {"paid": 7}


@ways
@kinds
def test_a_result_may_be_a_failure_and_an_exception_a_pause(rec, way, kind):
    way(rec.relay, kind, lambda request: Money(0), Plain())
    failed = rec.end("pay")
    assert failed.metadata["relay.status"] == "error"
    assert failed.metadata["otel.status_description"] == "nothing was paid"
    assert failed.data == {"paid": 0}
    rec.events.clear()

    def pause(request):
        raise KeyError("approval")

    with pytest.raises(KeyError):
        way(rec.relay, kind, pause, Plain())
    paused = rec.end("pay")
    assert paused.metadata["relay.status"] == "interrupted"
    assert paused.data == {"waiting": True}
    assert "error.type" not in paused.metadata


@ways
@kinds
def test_an_observation_that_raises_never_reaches_the_program(rec, way, kind):
    paid = Money(7)
    assert way(rec.relay, kind, lambda request: paid, Broken()) is paid
    marker = {"$relay": {"unreadable": "RuntimeError"}}
    start = rec.start("pay").data
    assert (start["content"] if kind == "llm" else start) == marker
    assert rec.end("pay").data == marker
    assert rec.end("pay").metadata["relay.status"] == "ok"


def test_nobody_observes_so_nothing_is_shown():
    runtime = relay.Relay()
    assert runtime.call_tool("pay", Money(1), lambda request: request.amount, observation=Broken()) == 1


def test_an_edited_call_keeps_its_observation(rec):
    rec.relay.register("request_intercept", lambda call: call.replace(request=Money(9)), target="tool", name="nine")
    rec.relay.call_tool("pay", Money(5), lambda request: request, observation=Plain())
    assert rec.start("pay").data == {"amount": 9}
    assert rec.end("pay").data == {"paid": 9}


def test_a_streams_result_is_shown_when_it_is_put_together(rec):
    chunks = [Money(1), Money(2)]
    with rec.relay.stream_llm("pay", Money(5), lambda request: iter(chunks), observation=Plain()) as stream:
        assert [chunk is given for chunk, given in zip(stream, chunks, strict=True)] == [True, True]
    assert rec.start("pay").data["content"] == {"amount": 5}
    assert rec.end("pay").data == {"paid": [1, 2]}


def test_a_streams_exception_may_be_a_pause(rec):
    def chunks(request):
        yield Money(1)
        raise KeyError("approval")

    with pytest.raises(KeyError):
        list(rec.relay.stream_llm("pay", Money(5), chunks, observation=Plain()))
    assert rec.end("pay").metadata["relay.status"] == "interrupted"
    assert rec.end("pay").data == {"waiting": True}


def test_what_is_shown_late_of_a_stream_is_still_shown(rec):
    class Late(Plain):
        def result(self, call, result):
            return Deferred(lambda: {"paid": [item.amount for item in result]})

    list(rec.relay.stream_llm("pay", Money(5), lambda request: iter([Money(1)]), observation=Late()))
    assert rec.end("pay").data == {"paid": [1]}
