"""Every hook: specified, documented, and doing what it says in a real plugin."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import click
import msgspec
import pytest

import relay_core as relay
from relay_core import hookimpl, hookspecs
from relay_core.hookspecs import CALL_PATH, HOOKS
from relay_core.middleware import KINDS
from relay_core.plugins import PluginHost

ROOT = Path(__file__).parents[2]


@pytest.fixture
def host(runtime):
    made = PluginHost(runtime)
    yield made
    made.close()


def plugin(**functions):
    """A plugin object with these functions as hooks."""

    class Holder:
        pass

    made = Holder()
    for name, function in functions.items():
        setattr(made, name, hookimpl(function))
    return made


# -- the map ----------------------------------------------------------------------------------------------------------


def test_every_hook_is_documented_with_its_arguments():
    text = (ROOT / "docs" / "hooks.md").read_text()
    headings = re.findall(r"^## (relay_\w+\(.*\))$", text, re.MULTILINE)
    assert sorted(headings) == sorted(f"{name}({', '.join(arguments)})" for name, arguments in HOOKS.items())


def test_every_hook_has_a_test():
    found = set()
    for path in (ROOT / "tests" / "core").rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        found |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert {f"test_hook_{name}" for name in HOOKS} <= found


def test_every_hook_has_a_docstring_with_an_example():
    for name in HOOKS:
        assert "Example:" in inspect.getdoc(getattr(hookspecs, name)), name


def test_every_kind_of_registration_has_a_hook():
    assert {place.kind for place in CALL_PATH.values()} == set(KINDS)
    assert set(CALL_PATH) < set(HOOKS)


# -- cold hooks -------------------------------------------------------------------------------------------------------


class Limits(msgspec.Struct):
    most: int = 3


def test_hook_relay_config_schema(host):
    seen = []
    found = plugin(relay_config_schema=lambda: Limits, relay_configure=lambda relay, config: seen.append(config))
    host.register(found, name="limits", config={"most": 7})
    assert seen == [Limits(most=7)]
    host.register(plugin(relay_configure=lambda config: seen.insert(1, config)), name="free", config={"any": 1})
    assert seen[1] == {"any": 1}


def test_hook_relay_configure(host, runtime):
    def relay_configure(relay, config=None):
        assert config == {"deny": "shell"}  # also an argument with a default is given
        relay.guardrail("tool", name="deny")(lambda call: stop if call.name == config["deny"] else None)

    stop = relay.Block("denied")
    with host.register(plugin(relay_configure=relay_configure), name="deny", config={"deny": "shell"}):
        with pytest.raises(relay.Blocked, match="denied"):
            runtime.call_tool("shell", {}, lambda args: 1)
    assert runtime.call_tool("shell", {}, lambda args: 1) == 1


def test_hook_relay_shutdown(host):
    seen = []

    def keep(relay):
        seen.append(relay)

    found = plugin(relay_configure=keep, relay_shutdown=keep)
    host.register(found, name="stops").remove()
    assert len(seen) == 2 and seen[0] is seen[1]


@pytest.mark.parametrize(("given", "least", "most"), [(30.0, 25.0, 30.0), (0.0, 1.0, 1.0)])
def test_hook_relay_shutdown_has_the_time_that_the_program_gave(runtime, given, least, most):
    seen = []

    def relay_shutdown(timeout):
        seen.append(timeout)

    runtime.register_plugin(plugin(relay_shutdown=relay_shutdown), name="stops")
    runtime.shutdown(timeout=given)
    assert least <= seen[0] <= most


def test_hook_relay_codecs(host, runtime):
    class Lens:
        name = "lens"
        native_types = (dict,)
        decode_request = encode_request = decode_response = encode_response = assembler = lambda self, *args: None

    with host.register(plugin(relay_codecs=lambda: [Lens()]), name="lenses"):
        assert runtime.codecs.names() == ["lens"]
    assert runtime.codecs.names() == []


def test_hook_relay_cli(host):
    host.register(plugin(relay_cli=lambda: [click.Command("hello")]), name="greeter")
    host.register(plugin(relay_cli=lambda: 1 / 0), name="broken")
    assert [command.name for command in host.commands()] == ["hello"]


def test_hook_relay_doctor(host):
    host.register(plugin(relay_doctor=lambda relay: [{"check": "disk", "ok": False, "detail": "full"}]), name="disk")
    host.register(plugin(relay_doctor=lambda: 1 / 0), name="sick")
    assert host.doctor() == [
        {"plugin": "disk", "check": "disk", "ok": False, "detail": "full"},
        {"plugin": "sick", "check": "relay_doctor", "ok": False, "detail": "ZeroDivisionError: division by zero"},
    ]


# -- hooks on the call path -------------------------------------------------------------------------------------------


def test_hook_relay_guard_tool(host, runtime):
    host.register(plugin(relay_guard_tool=lambda call: relay.Block(f"no {call.name}")), name="guard")
    with pytest.raises(relay.Blocked) as caught:
        runtime.call_tool("shell", {}, lambda args: 1)
    assert caught.value.reason == "no shell" and caught.value.guardrail == "guard.relay_guard_tool"
    assert runtime.call_llm("shell", {}, lambda request: 1) == 1


def test_hook_relay_guard_llm(host, runtime):
    async def relay_guard_llm(call):
        await asyncio.sleep(0)
        return relay.Block("no model")

    host.register(plugin(relay_guard_llm=relay_guard_llm), name="guard")
    with pytest.raises(relay.Blocked, match="no model"):
        asyncio.run(runtime.acall_llm("m", {}, lambda request: 1))
    assert runtime.call_tool("t", {}, lambda args: 1) == 1


def test_hook_relay_transform_tool_request(host, runtime):
    change = lambda call: call.replace(request={**call.request, "limit": 3})
    host.register(plugin(relay_transform_tool_request=change), name="limiter")
    assert runtime.call_tool("t", {"q": 1}, lambda args: args) == {"q": 1, "limit": 3}


def test_hook_relay_transform_llm_request(host, runtime):
    change = lambda call: call.replace(request={**call.request, "temperature": 0})
    host.register(plugin(relay_transform_llm_request=change), name="cool")
    assert runtime.call_llm("m", {}, lambda request: request) == {"temperature": 0}


def test_hook_relay_around_tool(host, runtime):
    def relay_around_tool(call):
        try:
            return (yield call)
        except TimeoutError:
            return (yield call)

    tries = []

    def flaky(args):
        tries.append(args)
        if len(tries) == 1:
            raise TimeoutError
        return "done"

    host.register(plugin(relay_around_tool=relay_around_tool), name="again")
    assert runtime.call_tool("t", {}, flaky) == "done" and len(tries) == 2


def test_hook_relay_around_llm(host, runtime):
    async def relay_around_llm(call, proceed):
        return [await proceed(call)]

    host.register(plugin(relay_around_llm=relay_around_llm), name="listed")
    assert asyncio.run(runtime.acall_llm("m", {}, lambda request: 1)) == [1]


def test_hook_relay_sanitize(host, runtime):
    events = []
    host.register(plugin(relay_sanitize=lambda event: event.replace(data="gone")), name="clean")
    runtime.subscriber(events.append, name="sink")
    runtime.mark("m", data="secret")
    runtime.flush(20.0)
    assert [event.data for event in events] == ["gone"]


def test_hook_relay_event_metadata(host, runtime):
    events = []
    host.register(plugin(relay_event_metadata=lambda event: {"region": "eu"}), name="region")
    runtime.subscriber(events.append, name="sink")
    runtime.mark("m", metadata={"k": 1})
    runtime.flush(20.0)
    assert dict(events[0].metadata) == {"k": 1, "region": "eu"}


def test_hook_relay_event(host, runtime):
    events = []

    def relay_event(event):
        events.append(event)

    with host.register(plugin(relay_event=relay_event), name="sink"):
        assert list(runtime.stats()["subscribers"]) == ["sink.relay_event"]
        runtime.mark("seen")
    runtime.mark("not seen")
    runtime.flush(20.0)
    assert [event.name for event in events] == ["seen"]  # what was emitted before is delivered before it goes


# -- order ------------------------------------------------------------------------------------------------------------


def test_order_is_by_hint_or_configured_priority_then_name(host, runtime):
    order = []

    def guard(name, **hint):
        made = plugin()
        made.relay_guard_tool = hookimpl(**hint)(lambda call: order.append(name))
        return made

    host.register(guard("last", trylast=True), name="last")
    host.register(guard("b"), name="b")
    host.register(guard("first", tryfirst=True), name="first")
    host.register(guard("a"), name="a")
    host.register(guard("middle", trylast=True), name="middle", priority=50)
    runtime.call_tool("t", {}, lambda args: None)
    assert order == ["first", "middle", "a", "b", "last"]


# -- what is refused, and how it is said ------------------------------------------------------------------------------


def two(call, proceed): ...
def generator(call):
    yield call


async def swapped(proceed, call): ...
async def cold(relay, config): ...


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (plugin(relay_gard_tool=lambda call: None), "there is no hook 'relay_gard_tool'; did you mean relay_guard_tool?"),
        (plugin(relay_guard_tool=lambda cal: None), r"has no argument 'cal', as in <lambda>\(cal\); write relay_guard_tool\(call\)"),
        (plugin(relay_guard_tool=lambda: None), "wrong shape"),
        (plugin(relay_guard_tool=generator), "wrong shape"),
        (plugin(relay_around_tool=two), "wrong shape"),
        (plugin(relay_around_llm=swapped), r"another order than swapped\(proceed, call\); write relay_around_llm\(call, proceed\)"),
        (plugin(relay_configure=cold), r"must be a plain function, not cold\(relay, config\)"),
        (plugin(), "has no hooks; mark functions such as"),
    ],
)  # fmt: skip
def test_a_wrong_hook_is_refused_with_its_definition_and_the_cure(host, runtime, found, text):
    with pytest.raises(relay.PluginError, match=text) as caught:
        host.register(found, name="culprit")
    assert str(caught.value).startswith("plugin 'culprit': ")
    assert host.records() == [] or host.records()[0].state != "active"
    assert runtime.call_tool("t", {}, lambda args: 1) == 1


def test_a_pluggy_wrapper_is_refused(host):
    @hookimpl(wrapper=True)
    def relay_around_tool(call):
        return (yield call)

    found = plugin()
    found.relay_around_tool = relay_around_tool
    with pytest.raises(relay.PluginError, match="takes no pluggy wrapper"):
        host.register(found, name="culprit")


def test_a_forgotten_mark_is_refused(host):
    class Forgot:
        @hookimpl
        def relay_shutdown(self): ...

        def relay_guard_tool(self, call): ...

    with pytest.raises(
        relay.PluginError, match=r"function relay_guard_tool is not marked; write @relay_core\.hookimpl"
    ):
        host.register(Forgot())


def test_an_unknown_optional_hook_is_passed_over(host):
    found = plugin(relay_shutdown=lambda: None)
    found.relay_of_tomorrow = hookimpl(optionalhook=True)(lambda whatever: None)
    assert host.register(found, name="ahead").record.hooks == ("relay_shutdown",)
