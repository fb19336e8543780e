"""Managed tool and model calls without middleware: identity, outcomes, context, and what their events show."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

import relay_core as relay
from tests.core.chat_codec import REQUESTS, RESPONSES
from tests.core.golden_scenario import Codec


@pytest.fixture(params=["plain", "observed", "with middleware"])
def runtime(request):
    """A runtime on each of the paths a call can take."""
    made = relay.Relay()
    if request.param != "plain":
        made.subscriber(lambda event: None)
    if request.param == "with middleware":
        for target in ("tool", "llm"):
            made.register("guardrail", lambda call: None, target=target, name="allow")

            def around(call):
                return (yield call)

            made.register("execution_intercept", around, target=target)
    yield made
    made.shutdown(timeout=20.0)


class Opaque:
    """Nothing may look into it."""

    def __getattr__(self, name):
        raise AssertionError(f"looked at {name}")


async def tool(runtime, mode, fn, args=None):
    if mode == "sync":
        return runtime.call_tool("t", args, fn)
    if mode == "async":
        return await runtime.acall_tool("t", args, fn)

    async def inner(args):
        await asyncio.sleep(0)
        return fn(args)

    return await runtime.acall_tool("t", args, inner)


modes = pytest.mark.parametrize("mode", ["sync", "async", "coroutine"])


@modes
async def test_objects_pass_by_identity(runtime, mode):
    args, result, seen = Opaque(), Opaque(), []
    assert await tool(runtime, mode, lambda given: (seen.append(given), result)[1], args) is result
    assert seen[0] is args


@modes
@pytest.mark.parametrize("value", [None, False, 0, "", (), float("nan"), {1, 2}, range(3), NotImplemented, type])
async def test_any_result_is_handed_back(runtime, mode, value):
    assert await tool(runtime, mode, lambda args: value) is value


@modes
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
async def test_exceptions_are_the_same_object_with_their_traceback(runtime, mode, kind):
    error = kind("x")

    def fails(args):
        raise error

    with pytest.raises(kind) as caught:
        await tool(runtime, "sync" if kind in (KeyboardInterrupt, SystemExit) else mode, fails)
    assert caught.value is error
    assert error.__cause__ is None
    assert any(entry.name == "fails" for entry in caught.traceback)


@modes
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_signals_reach_the_caller_of_a_loop(runtime, mode, kind):
    def fails(args):
        raise kind(3)

    with pytest.raises(kind):
        asyncio.run(tool(runtime, mode, fails))


def test_a_stop_iteration_of_a_sync_tool_reaches_the_caller(runtime):
    stop = StopIteration("tool")

    def fails(args):
        raise stop

    with pytest.raises(StopIteration) as caught:
        runtime.call_tool("t", {}, fails)
    assert caught.value is stop


async def test_a_stop_iteration_in_async_is_what_python_makes_of_it(runtime):
    def fails(args):
        raise StopIteration("tool")

    with pytest.raises(RuntimeError) as caught:
        await runtime.acall_tool("t", {}, fails)
    assert isinstance(caught.value.__cause__, StopIteration)


@modes
async def test_a_call_is_the_current_scope_of_its_work_only(runtime, mode):
    seen = []
    with runtime.scope("outer") as outer:
        await tool(runtime, mode, lambda args: seen.append(runtime.current()))
        assert runtime.current() is outer
        with pytest.raises(ValueError):
            await tool(runtime, mode, lambda args: int("x"))
        assert runtime.current() is outer
    assert (seen[0].name, seen[0].category, seen[0].parent) == ("t", "tool", outer)


@modes
async def test_context_variables_that_a_tool_sets_stay_set(runtime, mode):
    var = contextvars.ContextVar("var", default="unset")
    await tool(runtime, mode, lambda args: var.set("by tool") and None)
    assert var.get() == "by tool"


async def test_the_work_runs_in_the_callers_task_and_thread(runtime):
    import threading

    seen = []

    async def work(args):
        seen.append((asyncio.current_task(), threading.current_thread()))

    await runtime.acall_tool("t", {}, work)
    assert seen == [(asyncio.current_task(), threading.current_thread())]


def test_a_sync_call_needs_no_loop_and_starts_none(runtime):
    def work(args):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return 1

    assert runtime.call_tool("t", {}, work) == runtime.call_llm("m", {}, work) == 1
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_sync_call_of_an_async_function_is_misuse(runtime):
    async def late(args):
        raise AssertionError("must not run")

    for call in (runtime.call_tool, runtime.call_llm):
        with pytest.raises(relay.UsageError, match=r"async function.*late.*acall_tool"):
            call("t", {}, late)


async def test_awaitables_of_other_kinds(runtime):
    class Later:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "later"

    assert await runtime.acall_tool("t", {}, lambda args: Later()) == "later"
    future = asyncio.get_running_loop().create_future()
    future.set_result("now")
    assert await runtime.acall_llm("m", {}, lambda args: future) == "now"
    assert runtime.call_tool("t", {}, lambda args: future) is future  # a result like any other


async def test_cancelling_a_call_cancels_the_work(rec):
    cleaned = []

    async def work(args):
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(rec.relay.current().name)

    task = asyncio.create_task(rec.relay.acall_tool("t", {}, work))
    await asyncio.sleep(0.01)
    task.cancel("stop it")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["t"]
    assert (rec.end("t").status, rec.end("t").metadata["otel.status_code"]) == ("cancelled", "UNSET")


# -- events ----------------------------------------------------------------------------------------------------------------


@modes
async def test_a_call_gives_a_pair_and_parents_what_happens_in_it(rec, mode):
    def work(args):
        rec.relay.mark("inside")
        with rec.relay.scope("step"):
            rec.relay.call_tool("nested", {}, lambda a: None)
        return {"r": 1}

    with rec.relay.scope("outer", "agent"):
        await tool(rec.relay, mode, work, {"a": 1})
    assert rec.parents() == {"outer": None, "t": "outer", "inside": "t", "step": "t", "nested": "step"}
    assert (rec.start("t").data, rec.end("t").data, rec.end("t").status) == ({"a": 1}, {"r": 1}, "ok")


@modes
async def test_a_failed_call_has_no_output_but_an_outcome(rec, mode):
    def fails(args):
        raise LookupError("nothing there")

    with pytest.raises(LookupError):
        await tool(rec.relay, mode, fails)
    assert (rec.end("t").data, rec.end("t").category_profile) == (None, {})
    assert rec.end("t").metadata == {
        "otel.status_code": "ERROR",
        "otel.status_description": "nothing there",
        "relay.status": "error",
        "error.type": "LookupError",
    }


def test_a_nested_block_is_not_an_error_of_the_outer_call(rec):
    with pytest.raises(relay.Blocked):
        rec.relay.call_tool("outer", {}, lambda args: (_ for _ in ()).throw(relay.Blocked("no")))
    assert rec.end("outer").status == "blocked"


def test_all_options_of_a_tool_call_are_shown(rec):
    parent = rec.relay.open_scope("elsewhere")
    with rec.relay.scope("current"):
        rec.relay.call_tool(
            "t",
            {},
            lambda args: 1,
            parent=parent,
            metadata={"m": 1},
            tool_call_id="call_1",
            attributes=["remote"],
            profile={"x": 1},
        )
    parent.close()
    for event in (rec.start("t"), rec.end("t")):
        assert event.category_profile == {"x": 1, "tool_call_id": "call_1"}
        assert event.attributes == ["remote"]
        assert event.metadata["m"] == 1
        assert event.parent_uuid == parent.uuid


def test_credential_headers_are_not_shown_and_reach_nobody_else(rec):
    secret = dict.fromkeys(
        ("Authorization", "PROXY-authorization", "cookie", "x-api-key", "API-Key", "Anthropic-Api-Key"), "s3cr3t-value"
    )
    headers = {**secret, "x-goog-api-key": "s3cr3t-value", "X-Request-Id": "r1"}
    rec.relay.call_llm("openai", {}, lambda request: None, headers=headers)
    assert rec.start("openai").data["headers"] == {"X-Request-Id": "r1"}
    assert b"s3cr3t" not in b"".join(event.to_json() for event in rec.events)
    assert headers["Authorization"] == "s3cr3t-value"


def test_a_parent_of_none_makes_a_root(rec):
    with rec.relay.scope("outer"):
        rec.relay.call_tool("t", {}, lambda args: None, parent=None)
    assert rec.start("t").parent_uuid is None


def test_a_disabled_runtime_only_calls():
    from relay_core.settings import Settings

    runtime, seen = relay.Relay(Settings(disabled=True)), []
    runtime.subscriber(seen.append)
    runtime.register("guardrail", lambda call: relay.Block("no"), target="tool")
    with runtime.scope("s") as scope:
        assert runtime.call_tool("t", {"a": 1}, lambda args: args) == {"a": 1}
        runtime.mark("m")
        assert runtime.current() is None
    assert asyncio.run(runtime.acall_llm("m", {}, lambda request: 5)) == 5
    assert runtime.flush(timeout=20.0).pending == 0
    assert (seen, scope.closed) == ([], False)


# -- codecs ----------------------------------------------------------------------------------------------------------------


def test_views_of_a_call_with_a_codec_are_shown(rec):
    rec.relay.call_llm("openai", REQUESTS["limits"], lambda request: RESPONSES["text"], codec=Codec())
    view = rec.start("openai").category_profile["annotated_request"]
    assert (view["model"], view["params"]["max_tokens"], view["messages"]) == (
        "m",
        5,
        [{"role": "user", "content": "hi"}],
    )
    answer = rec.end("openai").category_profile["annotated_response"]
    assert (answer["message"], answer["finish_reason"], answer["usage"]["total_tokens"]) == ("4", "complete", 11)


def test_codecs_by_name(rec):
    rec.relay.codecs.register(Codec())
    rec.relay.call_llm("openai", REQUESTS["plain"], lambda request: None, codec="openai_chat")
    assert rec.start("openai").category_profile["annotated_request"]["model"] == "m"
    with pytest.raises(relay.CodecError, match="nope"):
        rec.relay.call_llm("openai", {}, lambda request: None, codec="nope")


def test_what_a_codec_cannot_read_is_shown_as_it_is(rec):
    assert rec.relay.call_llm("openai", {"prompt": "x"}, lambda request: "text", codec=Codec()) == "text"
    assert rec.start("openai").data["content"] == {"prompt": "x"}
    assert rec.start("openai").category_profile == {"relay.view_failed": "CodecError"}
    assert rec.end("openai").data == "text"


def test_a_call_has_a_view_when_asked_for():
    call = relay.LlmCall("openai", REQUESTS["plain"], codec=Codec())
    assert call.view is call.view
    assert call.view.messages[0].text == "hi"
    edited = call.replace(request=call.view.replace(model="other"))
    assert edited.request == {**REQUESTS["plain"], "model": "other"}
    assert (edited.view.model, call.view.model, REQUESTS["plain"]["model"]) == ("other", "m", "m")
    assert call.replace(model="x")._view is call.view


def test_what_cannot_be_viewed_or_written_back_is_told():
    bare = relay.LlmCall("openai", REQUESTS["plain"])
    with pytest.raises(relay.CodecError, match=r"no codec.*call_llm"):
        _ = bare.view
    view = relay.LlmCall("openai", REQUESTS["plain"], codec=Codec()).view
    with pytest.raises(relay.CodecError, match="no codec"):
        bare.replace(request=view)
    with pytest.raises(relay.CodecError, match="messages"):
        _ = relay.LlmCall("openai", {"prompt": 1}, codec=Codec()).view


def test_replace_names_what_it_can():
    call = relay.ToolCall("t", {"a": 1}, tool_call_id="c")
    changed = call.replace(request={"b": 2}, metadata={"m": 1}, name="u", tool_call_id="d")
    assert (changed.request, changed.metadata, changed.name, changed.tool_call_id) == ({"b": 2}, {"m": 1}, "u", "d")
    assert (call.request, call.name, call.tool_call_id, type(changed)) == ({"a": 1}, "t", "c", relay.ToolCall)
    with pytest.raises(relay.UsageError, match=r"tool call has no model.*request"):
        call.replace(model="m")
    with pytest.raises(relay.UsageError, match="no scope"):
        call.replace(scope=None)


def test_what_drives_a_coroutine_may_give_each_step_a_context_of_its_own(rec):
    class Pause:
        def __await__(self):
            yield

    async def work(_args):
        await Pause()
        return rec.relay.current().name

    with rec.relay.scope("outer") as outer:
        calling = rec.relay.acall_tool("t", {}, work)
        contextvars.copy_context().run(calling.send, None)
        later = contextvars.copy_context()
        later.run(rec.relay.swap, rec.relay.open_scope("t2"))
        with pytest.raises(StopIteration, match="t2"):
            later.run(calling.send, None)
        assert later.run(rec.relay.current) is outer
        assert rec.relay.current() is outer


def test_a_scope_that_is_left_in_a_copy_of_its_context(rec):
    with rec.relay.scope("outer") as outer:
        inner = rec.relay.scope("inner")
        inner.__enter__()
        elsewhere = contextvars.copy_context()
        elsewhere.run(inner.__exit__, None, None, None)
        assert elsewhere.run(rec.relay.current) is outer
        assert (inner.status, rec.relay.current()) == ("ok", inner)
        inner.__exit__(None, None, None)
        assert rec.relay.current() is outer
