"""Rails that crash, take too long or are cancelled, in both ways to handle that; and decisions kept apart."""

from __future__ import annotations

import asyncio
import time

import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

import relay_core as relay
from relay_plugin_guardrails import RailBlocked, RailFailed
from tests.plugins.guardrails.rails import COLANG, REGEX, SECRET, flows

SURFACES = ["llm_input", "llm_output", "tool_args", "tool_result"]
VARIABLE = {"input": "user_message", "output": "bot_message"}


def crash(text):
    raise ValueError(f"cannot read {text}")


async def slow(text):
    await asyncio.sleep(30)
    return text


def stuck(text):
    time.sleep(1.0)
    return text


def rails_for(surface, what):
    kind = "output" if surface in ("llm_output", "tool_result") else "input"
    colang = COLANG.replace("slow(text=$user_message)", f"slow(text=${VARIABLE[kind]})").replace(
        "slow input", f"slow {kind}"
    )
    return {"yaml": flows(**{kind: f"{what} {kind}"}), "colang": colang}


class Codec:
    """Reads ``{"messages": [...]}`` and ``{"text": ...}``."""

    name = "toy"
    native_types = (dict,)

    def decode_request(self, native):
        from relay_core.llm import LlmRequest, Message

        return LlmRequest(messages=[Message(m["role"], m["content"]) for m in native["messages"]])

    def encode_request(self, view, native):
        return {**native, "messages": [{"role": m.role, "content": m.text} for m in view.messages]}

    def decode_response(self, native):
        from relay_core.llm import Choice, LlmResponse

        return LlmResponse(choices=[Choice(parts=native["text"])])

    def encode_response(self, view, native):
        return {**native, "text": view.text}

    def assembler(self):
        raise AssertionError("nothing streams here")


REQUEST = {"messages": [{"role": "user", "content": f"my {SECRET}"}]}
ANSWER = {"text": f"your {SECRET}"}


async def run(watch, surface):
    """Make a call that says the secret only where the surface looks."""
    if surface.startswith("llm"):
        is_input = surface == "llm_input"
        request = REQUEST if is_input else {"messages": [{"role": "user", "content": "hi"}]}
        answer = {"text": "to whom?"} if is_input else ANSWER
        result = await watch.relay.acall_llm("toy", request, lambda given: {**answer, "given": given}, codec=Codec())
        return result["given" if is_input else "text"]
    is_input = surface == "tool_args"
    return await watch.relay.acall_tool(
        "toy", {"a": SECRET if is_input else "b"}, lambda given: given if is_input else f"a {SECRET}"
    )


@pytest.mark.parametrize("surface", SURFACES)
class TestCrash:
    async def test_blocks(self, watched, surface):
        watch = watched(**rails_for(surface, "crash"), actions={"crash": crash}, **{surface: {}})
        with pytest.raises(RailFailed) as caught:
            await run(watch, surface)
        assert not isinstance(caught.value, RailBlocked)
        assert caught.value.surface == surface
        (check,) = watch.checks()
        assert (check["decision"], check["enforced"]) == ("error", True)
        assert watch.leaked() == []

    async def test_allows(self, watched, surface):
        watch = watched(**rails_for(surface, "crash"), actions={"crash": crash}, **{surface: {"on_error": "allow"}})
        assert SECRET in str(await run(watch, surface))
        (check,) = watch.checks()
        assert (check["decision"], check["enforced"]) == ("error", False)

    async def test_an_action_that_is_not_there_is_an_error_as_well(self, watched, surface):
        watch = watched(**rails_for(surface, "crash"), **{surface: {}})
        with pytest.raises(RailFailed):
            await run(watch, surface)


@pytest.mark.parametrize("surface", SURFACES)
class TestTimeout:
    @pytest.mark.parametrize("action", [slow, stuck])
    async def test_blocks(self, watched, surface, action):
        watch = watched(**rails_for(surface, "slow"), actions={"slow": action}, **{surface: {"timeout": 0.2}})
        start = time.perf_counter()
        with pytest.raises(RailFailed, match=r"no answer within 0\.2 s"):
            await run(watch, surface)
        assert time.perf_counter() - start < 0.9
        assert watch.decisions() == ["error"]

    async def test_allows(self, watched, surface):
        settings = {"timeout": 0.2, "on_error": "allow"}
        watch = watched(**rails_for(surface, "slow"), actions={"slow": slow}, **{surface: settings})
        assert SECRET in str(await run(watch, surface))
        assert watch.decisions() == ["error"]

    async def test_sync_callers_wait_no_longer(self, watched, surface):
        watch = watched(**rails_for(surface, "slow"), actions={"slow": slow}, **{surface: {"timeout": 0.2}})

        def main():
            if surface.startswith("llm"):
                return watch.relay.call_llm("toy", REQUEST, lambda _: dict(ANSWER), codec=Codec())
            return watch.relay.call_tool("toy", {"a": SECRET}, lambda _: f"a {SECRET}")

        with pytest.raises(RailFailed, match=r"no answer within 0\.2 s"):
            await asyncio.to_thread(main)


@pytest.mark.parametrize("on_error", ["block", "allow"])
@pytest.mark.parametrize("surface", SURFACES)
async def test_cancelling_a_call_cancels_its_check(watched, surface, on_error):
    cancelled = []

    async def noting(text):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(text)
            raise

    watch = watched(**rails_for(surface, "slow"), actions={"slow": noting}, **{surface: {"on_error": on_error}})
    task = asyncio.create_task(run(watch, surface))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if cancelled:
            break
        await asyncio.sleep(0.01)
    assert cancelled
    ends = [e for e in watch.flush() if e.kind == "scope" and e.scope_category == "end" and e.category == "guardrail"]
    assert [e.metadata["relay.status"] for e in ends] == ["cancelled"]


async def test_the_event_loop_goes_on_while_rails_compute(watched):
    watch = watched(**rails_for("tool_args", "slow"), actions={"slow": stuck}, tool_args={})
    longest, last = 0.0, time.perf_counter()
    task = asyncio.create_task(run(watch, "tool_args"))
    while not task.done():
        await asyncio.sleep(0.01)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await task
    assert longest < 0.5


@pytest.mark.parametrize("surface", SURFACES)
async def test_shadow_only_records(watched, surface):
    watch = watched(yaml=REGEX, **{surface: {"shadow": True}})
    assert SECRET in str(await run(watch, surface))
    (check,) = watch.checks()
    assert (check["decision"], check["enforced"]) == ("block", False)


async def test_a_message_of_one_s_own(watched):
    watch = watched(yaml=REGEX, tool_args={"message": "ask the desk"})
    with pytest.raises(RailBlocked) as caught:
        await run(watch, "tool_args")
    assert caught.value.message == "ask the desk"


@pytest.mark.parametrize("on_error", ["block", "allow"])
@pytest.mark.parametrize("surface", ["llm_input", "llm_output"])
async def test_a_model_call_that_nobody_can_read_counts_as_failed(watched, surface, on_error):
    watch = watched(yaml=REGEX, **{surface: {"on_error": on_error}})
    answer = watch.relay.acall_llm("raw", b"what", lambda _: b"ever")
    if on_error == "allow":
        assert await answer == b"ever"
    else:
        with pytest.raises(RailFailed, match="cannot be read"):
            await answer
    assert watch.decisions() == ["error"]


async def test_a_crash_shows_nothing_of_the_configuration_in_logs(watched):
    async def failing(text, config):
        raise ValueError(f"{text} {config}")

    rails = rails_for("tool_args", "crash")
    rails["yaml"] += "custom_data: {service_key: the-key-of-the-service}\n"
    watch = watched(**rails, actions={"crash": failing}, tool_args={})
    with pytest.raises(RailFailed):
        await run(watch, "tool_args")
    assert any("said something during a check" in line for line in watch.logged)
    assert watch.leaked(SECRET, "the-key-of-the-service") == []


async def test_other_guardrails_and_blocks_of_relay_are_left_alone(watched):
    watch = watched(yaml=REGEX, tool_args={})
    watch.relay.register("guardrail", lambda call: relay.Block("not today"), target="tool", name="shut")
    with pytest.raises(relay.Blocked, match="not today") as caught:
        await run(watch, "tool_args")
    assert not isinstance(caught.value, RailBlocked)
