"""Any object, anywhere a payload may stand: the work proceeds, the line parses, and the caller hardly waits."""

from __future__ import annotations

import json
import math
import threading
import time

import pytest

from relay_core import Relay, delivery
from relay_core.settings import Queue, Settings

CALLER_SECONDS = 0.05


class Raises:
    """Every way of looking at it raises."""

    def _no(self, *args, **kwargs):
        raise RuntimeError("look away")

    __repr__ = __str__ = __getattr__ = __len__ = __iter__ = __bool__ = __eq__ = __dir__ = __format__ = _no
    __hash__ = None


class RaisesExit(Raises):
    """Looking at it would even end the program."""

    def _exit(self, *args, **kwargs):
        raise SystemExit(1)

    __repr__ = __str__ = __getattr__ = __len__ = __iter__ = __bool__ = _exit


class Hangs:
    """Looking at it takes far too long."""

    def _wait(self, *args, **kwargs):
        threading.Event().wait(1)

    __repr__ = __str__ = __getattr__ = __len__ = __iter__ = __bool__ = _wait


class Lies:
    """It pretends to be what it is not, and its text is no text."""

    __class__ = dict

    def __repr__(self):
        return 5

    __str__ = __repr__

    def __len__(self):
        return -1  # noqa: PLE0303  # it lies

    def __getattr__(self, name):
        return lambda *args: {"keys": ["a"], "__dict__": 3}


class LyingMeta(type):
    def __getattribute__(cls, name):
        raise AttributeError(name)


class OfLyingClass(metaclass=LyingMeta):
    pass


class LyingDict(dict):
    """A dictionary whose own methods are of no use."""

    def _no(self, *args):
        raise RuntimeError

    items = keys = values = __iter__ = __getitem__ = __len__ = get = _no


class Endless:
    def __iter__(self):
        while True:
            yield 1


def cycle():
    ring = {"name": "ring"}
    ring["self"] = [ring]
    return ring


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


# What it is, how it is made, and whether the event has to say that something was changed.
PAYLOADS = {
    "bytes": (lambda: b"\x00\xff" * 50, True),
    "bytearray": (lambda: bytearray(b"ab"), True),
    "memoryview": (lambda: memoryview(b"ab"), True),
    "cycle": (cycle, True),
    "lone surrogates": (lambda: "a\ud800b", True),
    "lone surrogates inside": (lambda: {"text": ["a\udfff"]}, True),
    "surrogate key": (lambda: {"\ud800": 1}, True),
    "10**400": (lambda: 10**400, True),
    "-10**5000": (lambda: [-(10**5000)], True),
    "NaN": (lambda: math.nan, True),
    "infinities": (lambda: {"a": math.inf, "b": [-math.inf]}, True),
    "non-string keys": (lambda: {1: "a", None: "b", (1, 2): "c", 1.5: "d", b"x": "e"}, True),
    "colliding keys": (lambda: {1: "a", "1": "b"}, True),
    "user's own marker": (lambda: {"$relay": {"truncated": True}}, False),
    "100 MB text": (lambda: "x" * 100_000_000, True),
    "100 MB text inside": (lambda: {"a": ["y" * 100_000_000]}, True),
    "100 MB bytes": (lambda: bytes(100_000_000), True),
    "a million items": (lambda: list(range(1_000_000)), True),
    "wide and nested": (lambda: {"rows": [{"n": n} for n in range(100_000)]}, True),
    "deep": (deep, True),
    "raises": (Raises, True),
    "raises inside": (lambda: {"a": [Raises()]}, True),
    "ends the program": (RaisesExit, True),
    "hangs": (Hangs, True),
    "hangs inside": (lambda: [{"a": Hangs()}], True),
    "lies": (Lies, True),
    "of a lying class": (OfLyingClass, True),
    "lying dictionary": (lambda: LyingDict(a=1), False),
    "endless": (Endless, True),
    "generator": (lambda: (n for n in range(3)), True),
    "lock": (threading.Lock, True),
    "exception": (lambda: ValueError("x"), True),
    "type": (lambda: LyingMeta, True),
    "function": (lambda: print, True),
    "sets": (lambda: {1, 2}, False),
}


@pytest.fixture(scope="module")
def relay():
    # Nothing is lost on a machine that is busy: callers wait, and a subscriber that passes for a slow one gets all.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "_LANE_BYTES", 2**40)
        runtime = Relay(Settings(queue=Queue(block_timeout=60.0)))
        runtime.lines = []
        runtime.subscriber(lambda event: runtime.lines.append(event.to_json()))
        runtime.scope("warm", input={"a": object()}).open().close(output=[b""])
        runtime.flush(timeout=20.0)
        yield runtime
        runtime.shutdown(timeout=20.0)


@pytest.fixture(autouse=True)
def _fresh(relay):
    relay.flush(timeout=20.0)
    relay.lines.clear()
    relay.counters.clear()


class Case:
    """Holds a payload, so that a report of a failing test does not look at it."""

    def __init__(self, payload, changed):
        self._both = payload, changed

    def __iter__(self):
        return iter(self._both)


@pytest.fixture(params=PAYLOADS)
def hostile(request):
    make, changed = PAYLOADS[request.param]
    return Case(make(), changed)


def quick(relay, act, payloads=2):
    """Run it and look at the time it takes the caller: the best of a few, since the machine does other work."""
    took = []
    for _ in range(4):
        relay.flush(timeout=20.0)
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
        if took[-1] <= CALLER_SECONDS * payloads:
            return
    raise AssertionError(f"the caller waited {took}")


def lines_of(relay, count=None):
    """Give the events since the last call, parsed by the standard library, strictly."""
    report = relay.flush(timeout=20.0)
    assert not report.timed_out
    assert report.dropped == 0
    lines, relay.lines[:] = list(relay.lines), []

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    parsed = [json.loads(line, parse_constant=refuse) for line in lines]
    assert all(b"\n" not in line and len(line) < 20_000_000 for line in lines)
    assert parsed
    assert relay.stats()["counters"] == {}
    return parsed


def says_changed(value):
    return '"$relay"' in json.dumps(value)


def test_input_and_output(relay, hostile):
    payload, changed = hostile

    def act():
        with relay.scope("s", input=payload) as scope:
            scope.output = payload

    quick(relay, act)
    for event in lines_of(relay):
        assert says_changed(event["data"]) is changed, str(event["data"])[:200]


def test_mark_data_and_metadata_and_profile(relay, hostile):
    payload, changed = hostile
    quick(relay, lambda: relay.mark("m", payload, metadata={"value": payload}))
    both = {"metadata": {"value": payload}, "profile": {"value": payload}}
    quick(relay, lambda: relay.scope("s", **both).open().close(), payloads=4)  # both, at the start and at the end
    for event in lines_of(relay):
        if event["kind"] == "mark":
            assert says_changed(event["data"]) is changed
        else:
            assert says_changed(event["category_profile"]) is changed
        assert says_changed(event["metadata"]) is changed


def test_tool_arguments_and_results_pass_by_identity(relay, hostile):
    payload, changed = hostile
    results = []

    def act():
        results.append(relay.call_tool("t", payload, lambda args: args))

    quick(relay, act)
    same = all(result is payload for result in results)
    assert same
    for event in lines_of(relay):
        assert says_changed(event["data"]) is changed


def test_model_requests_and_responses_pass_by_identity(relay, hostile):
    payload, changed = hostile
    results = []
    quick(relay, lambda: results.append(relay.call_llm("m", payload, lambda request: request)))
    same = all(result is payload for result in results)
    assert same
    for event in lines_of(relay):
        assert says_changed(event["data"]) is changed


async def test_async_calls(relay, hostile):
    payload, _ = hostile

    async def same(args):
        return args

    assert await relay.acall_tool("t", payload, same) is payload
    assert len(lines_of(relay)) == 2


def test_arguments_of_exceptions(relay, hostile):
    payload, _ = hostile
    error = ValueError(payload)

    def act():
        try:
            with relay.scope("s"):
                raise error
        except ValueError as caught:
            assert caught is error
        except SystemExit:
            pytest.fail("reading the message ended the program")

    quick(relay, act, payloads=1)
    ends = [event for event in lines_of(relay) if event.get("scope_category") == "end"]
    assert all(event["metadata"]["relay.status"] == "error" for event in ends)
    assert all(len(event["metadata"]["otel.status_description"]) < 3_000 for event in ends)


@pytest.mark.parametrize(
    "text",
    ["", "\ud800", "a\nb", '"quoted" \\', "\x00", "x" * 5_000_000, "a" * 300 + "\udfff", "password=hunter2hunter2"],
    ids=["empty", "surrogate", "newline", "quotes", "nul", "long", "long surrogate", "secret"],
)
def test_names(relay, text):
    def act():
        with relay.scope(text):
            relay.mark(text)
        assert relay.call_tool(text, {}, lambda args: 1) == 1

    quick(relay, act)
    for event in lines_of(relay):
        assert isinstance(event["name"], str)
        assert len(event["name"]) < 2_000
        assert "hunter2" not in event["name"]


class StrRaises(Exception):
    def __str__(self):
        raise RuntimeError


class StrLies(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307  # it lies


class StrExits(Exception):
    def __str__(self):
        raise SystemExit


@pytest.mark.parametrize("kind", [StrRaises, StrLies, StrExits])
def test_exceptions_that_cannot_be_read_reach_the_caller(relay, kind):
    error = kind()
    with pytest.raises(kind) as caught:
        relay.call_tool("t", {}, lambda args: (_ for _ in ()).throw(error))
    assert caught.value is error
    end = lines_of(relay)[-1]
    assert end["metadata"]["error.type"] == kind.__name__


def test_a_payload_that_another_thread_changes(relay):
    shared = {str(n): [n] for n in range(1_000)}
    stop = threading.Event()

    def change():
        n = 0
        while not stop.is_set():
            shared[f"x{n % 500}"] = [n]
            shared.pop(f"x{(n + 250) % 500}", None)
            n += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            relay.mark("m", shared)
    finally:
        stop.set()
        thread.join()
    assert len(lines_of(relay)) == 100
