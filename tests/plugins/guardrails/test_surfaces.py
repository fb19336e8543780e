"""What surfaces read: parts, images, empty content, objects; and where rewritten text goes."""

from __future__ import annotations

import datetime as dt

import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

from relay_adapter_openai.codecs import ChatCodec
from relay_plugin_guardrails import RailBlocked
from tests.plugins.guardrails.rails import MASK, REGEX, SECRET, mask

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def text(said):
    return {"type": "text", "text": said}


async def send(watch, content, answer="ok"):
    """Send a message with this content; gives what reached the provider."""
    sent = []
    reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}
    request = {"model": "m", "messages": [{"role": "user", "content": content}]}
    await watch.relay.acall_llm("openai", request, lambda given: sent.append(given) or reply, codec=ChatCodec())
    return sent[0]["messages"][0]["content"]


class TestContent:
    async def test_parts_are_read(self, watched):
        watch = watched(yaml=REGEX, llm_input={})
        with pytest.raises(RailBlocked):
            await send(watch, [text("look:"), IMAGE, text(f"a {SECRET}")])
        assert watch.leaked() == []

    async def test_parts_are_rewritten_each_in_its_place(self, watched):
        watch = watched(**MASK, actions={"mask": mask}, llm_input={})
        sent = await send(watch, [text("look:"), IMAGE, text(f"a {SECRET}")])
        assert sent == [text("look:"), IMAGE, text("a <MASKED>")]
        assert watch.leaked() == []

    async def test_a_secret_across_parts_is_blocked(self, watched):
        async def joining(text):
            return text.replace("hunter\n2", "***")

        watch = watched(**MASK, actions={"mask": joining}, llm_input={})
        with pytest.raises(RailBlocked, match="across its parts"):
            await send(watch, [text("hunter"), text("2")])

    @pytest.mark.parametrize("unscannable", ["allow", "block"])
    async def test_images(self, watched, unscannable):
        watch = watched(yaml=REGEX, llm_input={"unscannable": unscannable})
        if unscannable == "allow":
            assert await send(watch, [text("look:"), IMAGE]) == [text("look:"), IMAGE]
        else:
            with pytest.raises(RailBlocked, match="image cannot be checked"):
                await send(watch, [text("look:"), IMAGE])
        start = next(e for e in watch.flush() if e.kind == "scope" and e.category == "guardrail")
        assert start.data["unscanned"] == ["image"]

    @pytest.mark.parametrize("content", ["", [], "  "])
    async def test_empty_content_passes(self, watched, content):
        watch = watched(yaml=REGEX, llm_input={}, llm_output={})
        assert await send(watch, content, answer="") == content

    @pytest.mark.parametrize("engine", ["iorails", "llmrails"])
    async def test_a_long_text(self, watched, engine):
        watch = watched(yaml=REGEX, llm_input={"engine": engine})
        with pytest.raises(RailBlocked):
            await send(watch, "blue " * 20_000 + SECRET)


class Result:
    """An object that a tool gives back."""

    def __init__(self, said):
        self.said = said

    def __str__(self):
        return f"Result({self.said})"


class TestTools:
    def call(self, watch, args, result=None):
        return watch.relay.call_tool("note", args, lambda given: given if result is None else result)

    def test_arguments_keep_their_objects_where_nothing_changes(self, watched):
        watch = watched(**MASK, actions={"mask": mask}, tool_args={})
        when = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        args = {"when": when, "said": [f"a {SECRET}", "b"], "n": 1, "none": None, "sub": {"x": 1.5}}
        given = self.call(watch, args)
        assert given == {**args, "said": ["a <MASKED>", "b"]}
        assert given["when"] is when
        assert args["said"][0] == f"a {SECRET}"
        assert watch.leaked() == []

    def test_what_passes_is_the_same_object(self, watched):
        watch = watched(yaml=REGEX, tool_args={}, tool_result={})
        args = {"a": Result("x")}
        assert self.call(watch, args) is args

    @pytest.mark.parametrize("broken", ["no JSON", "{}", "[1]"])
    def test_a_rewrite_that_is_no_json_blocks(self, watched, broken):
        async def breaking(text):
            return broken

        watch = watched(**MASK, actions={"mask": breaking}, tool_args={})
        with pytest.raises(RailBlocked, match="no JSON with arguments"):
            self.call(watch, {"a": SECRET})
        assert watch.leaked() == []

    @pytest.mark.parametrize("result", [SECRET, {"a": [SECRET]}, Result(SECRET), [f"x {SECRET}"], (SECRET,)])
    def test_results_of_every_kind_are_read(self, watched, result):
        watch = watched(yaml=REGEX, tool_result={})
        with pytest.raises(RailBlocked):
            self.call(watch, {}, result)
        assert watch.leaked() == []

    def test_an_object_cannot_be_rewritten(self, watched):
        watch = watched(**MASK, actions={"mask": mask}, tool_result={})
        with pytest.raises(RailBlocked, match="Result cannot be rewritten"):
            self.call(watch, {}, Result(SECRET))
        assert watch.leaked() == []

    def test_results_are_rewritten(self, watched):
        watch = watched(**MASK, actions={"mask": mask}, tool_result={})
        assert self.call(watch, {}, {"a": [f"x {SECRET}", 2], "b": True}) == {"a": ["x <MASKED>", 2], "b": True}
        assert self.call(watch, {}, f"x {SECRET}") == "x <MASKED>"
        assert watch.leaked() == []

    @pytest.mark.parametrize("unscannable", ["allow", "block"])
    def test_a_result_that_streams_cannot_be_read(self, watched, unscannable):
        watch = watched(yaml=REGEX, tool_result={"unscannable": unscannable})
        given = iter([SECRET])
        if unscannable == "allow":
            assert self.call(watch, {}, given) is given
        else:
            with pytest.raises(RailBlocked, match="stream cannot be checked"):
                self.call(watch, {}, given)

    def test_umlauts_reach_the_rails_as_they_are(self, watched):
        watch = watched(yaml=REGEX.replace(SECRET, "Köln"), tool_args={})
        with pytest.raises(RailBlocked):
            self.call(watch, {"city": "Köln"})
        assert watch.leaked("Köln", "K\\u00f6ln") == []


class TestEvents:
    def test_scopes_that_nobody_checks_show_no_payload(self, watched):
        for unchecked, shown in (("withhold", None), ("keep", {"q": "hi"})):
            watch = watched(yaml=REGEX, tool_args={}, unchecked_content=unchecked)
            with watch.relay.scope("trip", "agent", input={"q": "hi"}):
                watch.relay.call_tool("note", {"a": "b"}, lambda _: "noted")
            agent = next(e for e in watch.flush() if e.kind == "scope" and e.category == "agent")
            tool = next(e for e in watch.events if e.kind == "scope" and e.category == "tool")
            assert agent.data == shown
            assert tool.data == {"a": "b"}

    def test_what_was_blocked_shows_nowhere_afterwards(self, watched):
        watch = watched(yaml=REGEX, tool_args={}, unchecked_content="keep")
        with watch.relay.scope("trip", "agent") as trip:
            with pytest.raises(RailBlocked):
                watch.relay.call_tool("note", {"a": f"a {SECRET}"}, print)
            watch.relay.mark("told", {"said": f"a {SECRET}", "json": f'{{"a": "a {SECRET}"}}'})
            trip.output = {"said": [f"a {SECRET}"]}
        assert watch.leaked() == []
        assert next(e for e in watch.events if e.name == "told").data["said"] == "[withheld]"

    def test_checked_text_shows_where_it_is_wanted(self, watched):
        watch = watched(yaml=REGEX, tool_args={}, capture_content=True)
        with pytest.raises(RailBlocked):
            watch.relay.call_tool("note", {"a": SECRET}, print)
        start = next(e for e in watch.flush() if e.kind == "scope" and e.category == "guardrail")
        assert SECRET in start.data["text"]

    def test_a_check_tells_its_rails_decision_and_time_and_no_text(self, watched):
        watch = watched(yaml=REGEX, tool_args={})
        watch.relay.call_tool("note", {"a": "the sea"}, lambda _: "noted")
        start, end = [e for e in watch.flush() if e.kind == "scope" and e.category == "guardrail"]
        assert start.data == {"surface": "tool_args", "engine": "iorails", "rails": ["regex check input"]}
        assert end.data.keys() == {"decision", "duration_ms"}
        assert end.data["duration_ms"] > 0
        assert b"the sea" not in start.to_json() + end.to_json()
