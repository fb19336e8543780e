"""Guardrails, intercepts, sanitizers and injectors: their order, what they can do, and what happens when they fail."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading

import pytest

import relay_core as relay
from relay_core import Block
from tests.core.chat_codec import REQUESTS
from tests.core.golden_scenario import Codec, Recording


@pytest.fixture
def rec():
    with Recording() as recording:
        yield recording


modes = pytest.mark.parametrize("mode", ["sync", "async"])


async def call(rec, mode, request=None, fn=lambda request: "done", name="t", **options):
    if mode == "sync":
        return rec.relay.call_tool(name, request, fn, **options)
    return await rec.relay.acall_tool(name, request, fn, **options)


def noting(log, word, answer=None):
    """A guardrail or request intercept that notes that it ran; by default it lets pass."""

    def note(call):
        log.append(f"{word}:{call.request}")
        return answer(call) if answer is not None else None

    return note


def around(log, word):
    def intercept(call):
        log.append(f"{word} in")
        result = yield call
        log.append(f"{word} out")
        return result

    return intercept


# -- order -----------------------------------------------------------------------------------------------------------------


@modes
async def test_the_order_of_all_stages(rec, mode):
    log = []
    edit = lambda word: lambda call: call.replace(request=f"{call.request}>{word}")
    register = rec.relay.register
    register("guardrail", noting(log, "c1"), target="tool", name="c1", priority=10)
    register("guardrail", noting(log, "c2"), target="tool", name="c2", priority=5)
    for word, priority, last in (("ri3", 30, False), ("ri1", 10, False), ("ri2", 20, True)):
        register(
            "request_intercept",
            noting(log, word, edit(word)),
            target="tool",
            name=word,
            priority=priority,
            break_chain=last,
        )
    register("execution_intercept", around(log, "ex2"), target="tool", name="ex2", priority=20)
    register("execution_intercept", around(log, "ex1"), target="tool", name="ex1", priority=10)
    rec.relay.sanitizer(lambda event: event.replace(data=f"clean {event.data}"), name="clean")
    await call(rec, mode, "a", lambda request: log.append(f"tool:{request}") or "r")
    assert log == [
        "c2:a",
        "c1:a",
        "ri1:a",
        "ri2:a>ri1",
        "ex1 in",
        "ex2 in",
        "tool:a>ri1>ri2",
        "ex2 out",
        "ex1 out",
    ]
    assert rec.shape() == [
        "+guardrail c2",
        "-guardrail c2 ok",
        "+guardrail c1",
        "-guardrail c1 ok",
        "+tool t",
        "-tool t ok",
    ]
    assert (rec.start("t").data, rec.end("t").data) == ("clean a>ri1>ri2", "clean r")


def test_levels_merge_by_priority_and_name(rec):
    log = []
    register = rec.relay.register

    def intercept(word):
        return noting(log, word, lambda call: call)

    with rec.relay.scope("outer") as outer:
        register("request_intercept", intercept("g10"), target="tool", name="global", priority=10)
        register("request_intercept", intercept("g20"), target="tool", name="global20", priority=20)
        outer.register("request_intercept", intercept("o10"), target="tool", name="outer", priority=10)
        outer.register("request_intercept", intercept("o10a"), target="tool", name="a-outer", priority=10)
        with rec.relay.scope("inner") as inner:
            inner.register("request_intercept", intercept("i5"), target="tool", name="inner", priority=5)
            inner.register(
                "request_intercept", intercept("i15"), target="tool", name="inner15", priority=15, break_chain=True
            )
            rec.relay.call_tool("t", "x", lambda request: log.append("|"))
        rec.relay.call_tool("t", "x", lambda request: log.append("|"))
    rec.relay.call_tool("t", "x", lambda request: log.append("|"))
    words = " ".join(word.partition(":")[0] for word in log)
    assert words == "i5 o10a g10 o10 i15 | o10a g10 o10 g20 | g10 g20 |"


def test_local_registrations_hold_below_their_scope_only(rec):
    with rec.relay.scope("a") as a, rec.relay.scope("b"):

        @a.guardrail("tool")
        def no(call):
            return Block("not below a")

        with pytest.raises(relay.Blocked):
            rec.relay.call_tool("t", {}, lambda args: 1)
        assert rec.relay.call_llm("m", {}, lambda args: 1) == 1
        assert rec.relay.call_tool("t", {}, lambda args: 1, parent=None) == 1
        with rec.relay.scope("root", parent=None):
            assert rec.relay.call_tool("t", {}, lambda args: 1) == 1
        with pytest.raises(relay.Blocked):
            rec.relay.call_tool("t", {}, lambda args: rec.relay.call_tool("deep", {}, lambda args: 1), parent=a)
    assert rec.relay.call_tool("t", {}, lambda args: 1) == 1


def test_names_are_unique_per_kind_target_and_level(rec):
    def check(call):
        return None

    handles = [rec.relay.guardrail("tool")(check) for _ in range(3)]
    assert [handle.name for handle in handles] == ["check", "check#2", "check#3"]
    rec.relay.register("guardrail", check, target="llm", name="check")
    rec.relay.open_scope("s").register("guardrail", check, target="tool", name="check")
    with pytest.raises(relay.DuplicateName, match=r"guardrail 'check' for tool calls.*taken") as caught:
        rec.relay.register("guardrail", check, target="tool", name="check")
    assert isinstance(caught.value, ValueError)
    handles[0].remove()
    rec.relay.register("guardrail", check, target="tool", name="check")


def test_handles(rec):
    @rec.relay.guardrail("tool")
    def no(call):
        """Doc."""
        return Block(f"no {call}")

    assert (no.name, no.kind, no("x").reason, no.__wrapped__.__doc__) == ("no", "guardrail", "no x", "Doc.")
    assert (no.remove(), no.remove()) == (True, False)
    assert rec.relay.call_tool("t", {}, lambda args: 1) == 1
    with rec.relay.register("guardrail", no.__wrapped__, target="tool"):
        with pytest.raises(relay.Blocked):
            rec.relay.call_tool("t", {}, lambda args: 1)
    assert rec.relay.call_tool("t", {}, lambda args: 1) == 1


@modes
async def test_a_running_call_keeps_the_middleware_it_began_with(rec, mode):
    log, handles = [], []

    def first(call):
        handles.append(rec.relay.register("guardrail", noting(log, "late guardrail"), target="tool"))
        handles.append(rec.relay.register("execution_intercept", around(log, "late"), target="tool"))
        later.remove()

    rec.relay.register("guardrail", first, target="tool", priority=1)
    later = rec.relay.register("execution_intercept", around(log, "removed"), target="tool", name="removed")
    await call(rec, mode)
    assert log == ["removed in", "removed out"]
    handles.pop(0).remove()
    log.clear()
    first_handle = rec.relay.register("guardrail", lambda call: None, target="tool")
    first_handle.remove()
    await call(rec, mode)
    assert log == ["late in", "late out"]


def test_a_subscriber_gets_pairs(rec):
    late, early = [], []
    handle = rec.relay.subscriber(lambda e: early.append(e.name))
    with rec.relay.scope("s"):
        handle.remove()
        rec.relay.subscriber(lambda e: late.append(e.name))
        rec.relay.mark("m")
    rec.relay.flush(timeout=20.0)
    assert (early, late) == (["s", "s"], ["m"])


def test_a_local_subscriber_sees_below_its_scope_and_its_end(rec):
    seen = []
    with rec.relay.scope("s") as scope:
        scope.subscriber(lambda e: seen.append(e.name))
        rec.relay.mark("in")
    rec.relay.mark("out")
    rec.relay.flush(timeout=20.0)
    assert seen == ["in", "s"]


WRONG = [
    ("guardrail", 5, {"target": "tool"}, "int object is not callable; write def check"),
    ("guardrail", lambda: None, {"target": "tool"}, "wrong shape"),
    ("guardrail", lambda a, b: None, {"target": "tool"}, "wrong shape"),
    ("guardrail", lambda call: None, {}, "needs target"),
    ("guardrail", lambda call: None, {"target": "tools"}, "needs target"),
    ("guardrail", lambda call: (yield), {"target": "tool"}, "wrong shape"),
    ("guardrail", lambda call: None, {"target": "tool", "priority": "1"}, "priority must be an int"),
    ("guardrail", lambda call: None, {"target": "tool", "name": 3}, "name must be text, got 3"),
    ("guardrail", lambda call: None, {"target": "tool", "on_error": "open"}, "on_error"),
    ("request_intercept", lambda: None, {"target": "llm"}, "wrong shape"),
    ("execution_intercept", lambda call: call, {"target": "llm"}, "return \\(yield call\\)"),
    ("sanitizer", lambda event: event, {"target": "llm"}, "takes no target"),
    ("sanitizer", "text", {}, "not callable"),
    ("metadata_injector", lambda: {"a": 1}, {}, "wrong shape"),
    ("subscriber", object(), {}, "object object is not callable"),
    ("watcher", print, {}, "no kind 'watcher'"),
]


@pytest.mark.parametrize(("kind", "fn", "options", "why"), WRONG)
def test_what_cannot_work_is_refused_at_registration(rec, kind, fn, options, why):
    with pytest.raises(relay.UsageError, match=why):
        rec.relay.register(kind, fn, **options)
    with pytest.raises(relay.UsageError, match="needs a target"):
        rec.relay.guardrail("tools")


# -- guardrails ------------------------------------------------------------------------------------------------------------


@modes
async def test_a_block_stops_the_call(rec, mode):
    ran = []
    rec.relay.register("guardrail", lambda call: None, target="tool", name="a")
    rec.relay.register("guardrail", lambda call: Block("not this"), target="tool", name="b")
    rec.relay.register("guardrail", noting(ran, "c"), target="tool", name="c")
    rec.relay.register("request_intercept", noting(ran, "r"), target="tool", name="r")
    with pytest.raises(relay.Blocked) as caught, rec.relay.scope("outer"):
        await call(rec, mode, {"x": 1}, ran.append, metadata={"m": 1})
    error = caught.value
    assert (error.reason, error.guardrail, error.call.request, error.call.kind) == ("not this", "b", {"x": 1}, "tool")
    assert str(error) == "tool call 't' blocked by guardrail 'b': not this"
    assert ran == []
    assert rec.shape()[1:-1] == ["+guardrail a", "-guardrail a ok", "+guardrail b", "-guardrail b ok", "*t"]
    assert rec.end("outer").status == "blocked"
    assert rec.start("b").data == {"kind": "tool_conditional_execution", "target_name": "t"}
    assert rec.end("a").data == {"allowed": True, "rejected": False}
    assert rec.end("b").data == {"allowed": False, "rejected": True, "rejection_reason": "not this"}
    assert rec.find("t").data == {
        "rejected": True,
        "rejection_reason": "not this",
        "guardrail": "b",
        "call": "tool",
    }
    assert rec.find("t").metadata == rec.start("b").metadata == {"m": 1}
    assert rec.parents()["b"] == rec.parents()["t"] == "outer"


def test_a_block_needs_a_reason_in_words():
    with pytest.raises(relay.UsageError, match="reason as text, got int"):
        Block(3)
    assert Block("").reason == ""


@modes
@pytest.mark.parametrize("bad", [False, True, "no", 1, {"allowed": True}])
async def test_a_wrong_answer_fails_closed(rec, mode, bad):
    rec.relay.register("guardrail", lambda call: bad, target="tool", name="odd")
    with pytest.raises(relay.GuardrailFailed, match=r"'odd'.*relay.Block") as caught:
        await call(rec, mode)
    assert isinstance(caught.value.__cause__, TypeError)
    assert rec.end("odd").data == {"allowed": False, "error": "TypeError"}


@modes
@pytest.mark.parametrize("shape", ["def", "async def"])
async def test_a_crash_fails_closed_or_open(rec, mode, shape):
    crash = ZeroDivisionError("in guardrail")

    def plain(call):
        raise crash

    async def waiting(call):
        await asyncio.sleep(0)
        raise crash

    fn = plain if shape == "def" else waiting
    handle = rec.relay.register("guardrail", fn, target="tool", name="g")
    with pytest.raises(relay.GuardrailFailed, match="ZeroDivisionError") as caught:
        await call(rec, mode)
    assert (caught.value.__cause__, caught.value.guardrail) == (crash, "g")
    assert rec.shape() == ["+guardrail g", "-guardrail g ok"]
    assert rec.end("g").data == {"allowed": False, "error": "ZeroDivisionError"}
    handle.remove()
    rec.clear()
    rec.relay.register("guardrail", fn, target="tool", name="g", on_error="allow")
    assert await call(rec, mode) == "done"
    assert rec.end("g").data == {"allowed": True, "error": "ZeroDivisionError"}


async def test_an_async_guardrail_runs_where_it_can(rec):
    var, seen = contextvars.ContextVar("var"), []

    @rec.relay.guardrail("tool")
    async def check(call):
        await asyncio.sleep(0)
        seen.append((threading.current_thread(), var.get()))
        return Block("no") if call.request == "bad" else None

    var.set("mine")
    tools = []
    work = lambda request: tools.append(threading.current_thread())
    await rec.relay.acall_tool("t", "good", work)
    rec.relay.call_tool("t", "good", work)  # inside a running loop, which must not be blocked for ever
    with pytest.raises(relay.Blocked):
        rec.relay.call_tool("t", "bad", work)
    me = threading.current_thread()
    assert tools == [me, me]
    assert seen[0] == (me, "mine")
    assert [(thread is me, value) for thread, value in seen[1:]] == [(False, "mine")] * 2


async def test_a_cancelled_guardrail_says_so(rec):
    @rec.relay.guardrail("tool")
    async def slow(call):
        await asyncio.sleep(60)

    task = asyncio.create_task(call(rec, "async"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rec.end("slow").data["cancelled"] is True
    assert rec.shape() == ["+guardrail slow", "-guardrail slow cancelled"]


# -- request intercepts ----------------------------------------------------------------------------------------------------


@modes
async def test_intercepts_edit_the_request(rec, mode):
    seen = []

    @rec.relay.request_intercept("tool")
    async def edit(call):
        call.mark("edited", {"by": "edit"})
        return call.replace(request={**call.request, "limit": 3}, metadata={"m": 1})

    given = {"q": 1}
    await call(rec, mode, given, seen.append)
    assert (given, seen) == ({"q": 1}, [{"q": 1, "limit": 3}])
    assert rec.start("t").data == {"q": 1, "limit": 3}
    assert rec.end("t").metadata["m"] == 1
    assert rec.shape() == ["+tool t", "*edited", "-tool t ok"]
    assert (rec.parents()["edited"], rec.find("edited").data) == ("t", {"by": "edit"})


def test_intercepts_edit_the_view(rec):
    @rec.relay.request_intercept("llm")
    def shorter(call):
        return call.replace(request=call.view.replace(max_output_tokens=512))

    seen = []
    rec.relay.call_llm("openai", REQUESTS["limits"], seen.append, codec=Codec())
    assert seen == [{**REQUESTS["limits"], "max_tokens": 512}]
    assert list(seen[0]) == list(REQUESTS["limits"])
    assert rec.start("openai").category_profile["annotated_request"]["params"]["max_tokens"] == 512
    with pytest.raises(relay.CodecError, match="no codec") as caught:
        rec.relay.call_llm("openai", {}, seen.append)
    assert caught.value.__notes__ == ["raised by relay request intercept 'shorter' for llm calls"]


@modes
@pytest.mark.parametrize("bad", [None, {"q": 1}, "text", relay.LlmCall("m", {})])
async def test_an_intercept_must_return_the_call(rec, mode, bad):
    rec.relay.register("request_intercept", lambda call: bad, target="tool", name="odd")
    with pytest.raises(relay.UsageError, match=f"'odd' for tool calls returned {type(bad).__name__}.*call.replace"):
        await call(rec, mode)
    assert rec.shape() == []


@modes
async def test_a_failing_intercept_stops_the_call_with_its_own_error(rec, mode):
    error = OSError("no")

    def fails(call):
        call.mark("never seen")
        raise error

    rec.relay.register("request_intercept", fails, target="tool")
    with pytest.raises(OSError, match="no") as caught:
        await call(rec, mode)
    assert caught.value is error
    assert rec.shape() == []


# -- execution intercepts --------------------------------------------------------------------------------------------------


@modes
async def test_retry(rec, mode):
    tries = []

    @rec.relay.execution_intercept("tool")
    def retry(call):
        for _ in range(3):
            try:
                return (yield call)
            except TimeoutError:
                call.mark("retry")
        return "gave up"

    def flaky(request):
        tries.append(request)
        if len(tries) < 3:
            raise TimeoutError
        return "third"

    assert await call(rec, mode, "r", flaky) == "third"
    assert tries == ["r", "r", "r"]
    assert rec.shape() == ["+tool t", "*retry", "*retry", "-tool t ok"]


@modes
async def test_replacing_a_call_is_cached(rec, mode):
    @rec.relay.execution_intercept("tool")
    def replay(call):
        if call.request == "known":
            return "from memory"
        return (yield call)

    assert await call(rec, mode, "known") == "from memory"
    assert await call(rec, mode, "new") == "done"
    assert [e.status for e in rec.events if e.name == "t" and e.scope_category == "end"] == ["cached", "ok"]
    assert rec.events[1].metadata["otel.status_code"] == "OK"


@modes
async def test_nested_intercepts_see_each_others_edits_and_errors(rec, mode):
    log = []

    def outer(call):
        try:
            result = yield call.replace(request=[*call.request, "outer"])
        except KeyError as error:
            log.append(type(error.__cause__))
            result = yield call.replace(request=["second"])
        return f"<{result}>"

    def inner(call):
        log.append(call.request)
        try:
            return (yield call)
        except ValueError as error:
            raise KeyError("mapped") from error

    rec.relay.register("execution_intercept", outer, target="tool", priority=1)
    rec.relay.register("execution_intercept", inner, target="tool", priority=2)

    def work(request):
        if request != ["second"]:
            raise ValueError
        return "ok"

    assert await call(rec, mode, [], work) == "<ok>"
    assert log == [["outer"], ValueError, ["second"]]


@modes
async def test_generators_are_always_closed(rec, mode):
    log = []

    def tidy(call):
        try:
            yield call
            yield "no call"
        finally:
            log.append("tidied")

    handle = rec.relay.register("execution_intercept", tidy, target="tool")
    with pytest.raises(relay.UsageError, match="'tidy' for tool calls passed on str"):
        await call(rec, mode)
    assert log == ["tidied"]
    with pytest.raises(SystemExit):
        await call(rec, mode, fn=lambda request: exit(1))
    assert log == ["tidied", "tidied"]
    handle.remove()


async def test_async_intercepts(rec):
    log, kept = [], []

    @rec.relay.execution_intercept("tool", priority=1)
    def outer(call):
        log.append("outer in")
        result = yield call
        log.append("outer out")
        return result

    @rec.relay.execution_intercept("tool", priority=2)
    async def hedge(call, proceed):
        kept.append(proceed)
        await asyncio.sleep(0)
        first = await proceed(call.replace(request="one"))
        return [first, *await asyncio.gather(proceed(call.replace(request="two")), proceed(call))]

    @rec.relay.execution_intercept("tool", priority=3)
    def inner(call):
        log.append(f"inner {call.request}")
        return (yield call)

    assert await call(rec, "async", "given", lambda request: request.upper()) == ["ONE", "TWO", "GIVEN"]
    assert log == ["outer in", "inner one", "inner two", "inner given", "outer out"]
    assert rec.shape() == ["+tool t", "-tool t ok"]
    with pytest.raises(relay.UsageError, match="'hedge' for tool calls called proceed after it had returned"):
        await kept[0](relay.ToolCall("t", {}))


async def test_a_sync_call_cannot_meet_an_intercept_that_must_await(rec):
    @rec.relay.execution_intercept("tool")
    async def waits(call, proceed):
        return await proceed(call)

    with pytest.raises(relay.UsageError, match=r"tool call 't' meets execution intercept 'waits'.*acall_tool"):
        rec.relay.call_tool("t", {}, lambda args: 1)
    assert await call(rec, "async") == "done"
    assert rec.shape() == ["+tool t", "-tool t ok"]
    with pytest.raises(relay.UsageError, match="passed on NoneType"):
        rec.relay.execution_intercept("tool", priority=1)(lambda_generator)
        await call(rec, "async")


def lambda_generator(call):
    yield None


async def test_cancelling_goes_through_the_intercepts(rec):
    log = []

    @rec.relay.execution_intercept("tool")
    def watch(call):
        try:
            return (yield call)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def slow(request):
        await asyncio.sleep(60)

    task = asyncio.create_task(call(rec, "async", fn=slow))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (log, rec.end("t").status) == (["cancelled"], "cancelled")


def test_no_cycle_keeps_what_a_failed_call_held(rec):
    import weakref

    class Held:
        pass

    rec.relay.register("execution_intercept", around([], "w"), target="tool")

    def fails(request):
        raise ValueError

    held = Held()
    gone = weakref.ref(held)
    gc.disable()
    try:
        try:
            rec.relay.call_tool("t", held, fails)
        except ValueError:
            pass
        rec.relay.flush(timeout=20.0)
        rec.events.clear()
        del held
        assert gone() is None
    finally:
        gc.enable()


# -- what observers see ----------------------------------------------------------------------------------------------------


def test_sanitizers_rewrite_what_observers_see_in_order(rec):
    rec.relay.sanitizer(lambda e: e.replace(data=f"{e.data}2"), name="b", priority=1)
    rec.relay.sanitizer(lambda e: e.replace(data=f"{e.data}1"), name="a", priority=1)

    @rec.relay.sanitizer(priority=2)
    async def last(event):
        await asyncio.sleep(0)
        return event.replace(data=f"{event.data}3", metadata={"by": "last"}, name="renamed")

    assert rec.relay.call_tool("t", "x", lambda request: request) == "x"
    assert [(e.data, e.name, e.metadata["by"], e.status) for e in rec.events] == [
        ("x123", "renamed", "last", None),
        ("x123", "renamed", "last", "ok"),
    ]


@pytest.mark.parametrize("how", ["crash", "none", "text", "another event"])
def test_sanitizers_fail_closed(rec, caplog, how):
    other = []

    @rec.relay.sanitizer(name=f"broken {how}")
    def broken(event):
        other.append(event)
        if how == "crash":
            raise ValueError("secret text")
        return {"none": None, "text": "x", "another event": other[0].replace(name="y")}[how]

    rec.relay.sanitizer(lambda e: e.replace(data="rewritten"), name="zz later")
    with caplog.at_level(logging.WARNING, logger="relay"):
        rec.relay.mark("first", "secret", metadata={"k": "secret"})
        rec.relay.mark("second", "secret", metadata={"k": "secret"}, profile={"p": "secret"})
        seen = rec.find("second")
    assert (seen.data, seen.metadata, seen.category_profile) == (None, None, None)
    assert b"secret" not in seen.to_json()
    assert "broken" in caplog.text
    assert "secret" not in caplog.text


def test_the_outcome_outlives_sanitizers(rec):
    handle = rec.relay.sanitizer(lambda e: e.replace(metadata={"mine": 1}, category_profile=None))
    with pytest.raises(ValueError), rec.relay.scope("s", "custom", metadata={"k": 1}, profile={"subtype": "x", "p": 1}):
        raise ValueError("hidden")
    assert rec.start("s").metadata == {"mine": 1}
    assert rec.end("s").metadata == {"mine": 1, "otel.status_code": "ERROR", "relay.status": "error"}
    assert rec.end("s").category_profile == {"subtype": "x"}
    handle.remove()
    rec.clear()
    rec.relay.sanitizer(lambda e: None)
    with rec.relay.scope("s", metadata={"k": 1}):
        rec.relay.mark("m", category="custom")
    assert (rec.start("s").metadata, rec.end("s").status) == (None, "ok")
    assert rec.find("m").category_profile == {"subtype": "m"}


def test_views_are_read_from_what_sanitizers_leave(rec):
    @rec.relay.sanitizer(priority=1)
    def note(event):
        profile = {**(event.category_profile or {}), "noted": True}
        event.to_json()  # reading must not fix anything
        return event.replace(category_profile=profile)

    @rec.relay.sanitizer(priority=2)
    def hide(event):
        return event.replace(data={"hidden": True})

    rec.relay.call_llm("openai", REQUESTS["plain"], lambda request: None, codec=Codec(), model="m")
    start = rec.start("openai")
    assert (start.data, start.category_profile) == ({"hidden": True}, {"model_name": "m", "noted": True})
    assert b'"hi"' not in start.to_json()


def test_injectors_add_metadata_and_fail_open(rec, caplog):
    rec.relay.metadata_injector(lambda e: {"a": 1, "kept": "injected"}, name="a")
    rec.relay.metadata_injector(lambda e: {"a": 2, "b": 2}, name="b")

    @rec.relay.metadata_injector
    async def late(event):
        await asyncio.sleep(0)
        return {"name": event.name}

    rec.relay.metadata_injector(lambda e: {}[e], name="broken injector")
    rec.relay.metadata_injector(lambda e: 5, name="odd injector")
    with caplog.at_level(logging.WARNING, logger="relay"), rec.relay.scope("s", metadata={"kept": "own"}):
        pass
    assert rec.start("s").metadata == {"a": 1, "b": 2, "kept": "own", "name": "s"}
    assert rec.end("s").status == "ok"
    assert "broken injector" in caplog.text
    assert "odd injector" in caplog.text


def test_without_a_subscriber_no_observer_runs():
    runtime, ran = relay.Relay(), []
    runtime.sanitizer(lambda e: ran.append(e) or e)
    runtime.metadata_injector(lambda e: ran.append(e) or {})
    runtime.call_tool("t", {}, lambda args: None)
    runtime.mark("m")
    assert runtime.flush(timeout=20.0).pending == 0
    assert ran == []


def test_local_sanitizers_hold_below_their_scope_and_for_its_end(rec):
    with rec.relay.scope("s", input="x") as scope:
        scope.sanitizer(lambda e: e.replace(data="hidden"))
        rec.relay.mark("in", "x")
        scope.output = "x"
    rec.relay.mark("out", "x")
    assert [(e.name, e.data) for e in rec.events] == [("s", "x"), ("in", "hidden"), ("s", "hidden"), ("out", "x")]
