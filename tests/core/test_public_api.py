"""The names that programs use: which they are, that each is explained by an example that runs, and how misuse is told."""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import pickle
import pkgutil
from pathlib import Path

import pytest

import relay_core
from relay_core import (
    Block,
    Blocked,
    ConfigError,
    DuplicateName,
    GuardrailFailed,
    Relay,
    RelayError,
    ToolCall,
    UsageError,
)

ROOT = Path(relay_core.__file__).parent

FUNCTIONS = """
    acall_llm acall_tool astream_llm autoload bind call_llm call_tool claim configure current current_claim
    execution_intercept extract extract_env flush guardrail inject inject_env mark metadata_injector metric open_scope
    register register_plugin request_intercept sanitizer scope shutdown stats stream_llm subscriber wrap_executor
""".split()
CLASSES = """
    AdapterError Block Blocked Claim CodecError ConfigError DuplicateName FlushReport GuardrailFailed Handle LlmCall
    MarkEvent Measurement PluginError Relay RelayError RemoteScope Scope ScopeEvent Settings ToolCall UsageError
""".split()
OTHERS = ["CURRENT", "default", "hookimpl", "parse_event"]


def test_the_public_names_are_these():
    modules = {module.name for module in pkgutil.iter_modules(relay_core.__path__)}
    found = {name for name in vars(relay_core) if name.isidentifier() and name[0] != "_"} | set(relay_core._LAZY)
    found -= modules | {"annotations", "TYPE_CHECKING", "Any"}
    assert sorted(found) == sorted([*FUNCTIONS, *CLASSES, *OTHERS])
    for name in found:
        assert getattr(relay_core, name) is not None


def test_an_unknown_name_is_told():
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = relay_core.no_such_name


def test_the_front_module_is_short_and_the_package_typed():
    assert len((ROOT / "__init__.py").read_text().splitlines()) <= 80
    typed = list((ROOT.parent / "adapters").glob("*/relay_*"))
    typed += list((ROOT.parent / "plugins").glob("*/relay_*"))
    assert typed
    for package in (ROOT, *typed):
        assert (package / "py.typed").is_file(), package


def documented(name):
    """Give the docstring that explains a public name: its own, or of a small error its base's."""
    found = getattr(relay_core, name)
    return found, inspect.getdoc(found) or ""


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES, "parse_event"])  # register_plugin's shows hookimpl
def test_each_public_name_has_a_docstring_with_an_example(name):
    found, text = documented(name)
    assert text
    if not (inspect.isclass(found) and issubclass(found, RelayError)):  # the errors share the base's example
        assert ">>>" in text, f"{name} has no example"


def examples():
    parser = doctest.DocTestFinder(exclude_empty=True)
    names = ["relay_core", *(f"relay_core.{m.name}" for m in pkgutil.iter_modules(relay_core.__path__))]
    for name in names:
        if name in ("relay_core.__main__", "relay_core.cli", "relay_core.testing"):
            continue
        module = importlib.import_module(name)
        for test in parser.find(module, name):
            if test.examples:
                yield pytest.param(test, id=test.name)


@pytest.mark.parametrize("test", list(examples()))
def test_the_examples_run(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=out.append, clear_globs=False)
    assert runner.failures == 0, "".join(out)


def called():
    return ToolCall("shell", {"command": "ls"}, tool_call_id="c1")


ERRORS = [
    RelayError("text"),
    UsageError("text"),
    DuplicateName("text"),
    ConfigError(["relay.toml:1: one", "relay.toml:2: two"]),
    relay_core.PluginError("text"),
    relay_core.AdapterError("text"),
    relay_core.CodecError("text"),
    Blocked("why", guardrail="no_shell"),
    Blocked("why", guardrail="no_shell", call=called()),
    GuardrailFailed("why", guardrail="no_shell", call=called()),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("duplicate", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_errors_survive_pickling_and_copying(error, duplicate):
    made = duplicate(error)
    assert type(made) is type(error)
    assert str(made) == str(error)
    for field in ("reason", "guardrail", "problems"):
        assert getattr(made, field, None) == getattr(error, field, None)
    if getattr(error, "call", None) is not None:
        assert (made.call.name, made.call.request) == ("shell", {"command": "ls"})


def test_a_block_that_was_really_raised_can_cross_a_process_border():
    relay = Relay()
    relay.guardrail("tool")(lambda call: Block("no shell here"))
    with relay.scope("s"), pytest.raises(Blocked) as caught:
        relay.call_tool("shell", {}, lambda args: "ran")
    made = pickle.loads(pickle.dumps(caught.value))
    assert (str(made), made.reason) == (str(caught.value), "no shell here")


def test_which_errors_are_also_builtin_ones():
    assert issubclass(UsageError, TypeError)
    for kind in (DuplicateName, ConfigError, relay_core.CodecError):
        assert issubclass(kind, ValueError)
    assert issubclass(GuardrailFailed, Blocked)
    assert not issubclass(Blocked, TypeError | ValueError)


def check(call):
    return None


def check_twice(call, more):
    return None


async def gen(event):
    yield event


class NoMethods:
    pass


MISTAKES = {
    "unknown kind": (lambda r: r.register("guard", check), ["'guard'", "guardrail", "subscriber"]),
    "no target": (lambda r: r.register("guardrail", check), ["'check'", 'target="tool"', 'target="llm"']),
    "wrong target": (lambda r: r.register("guardrail", check, target="tools"), ["'check'", "'tools'", 'target="tool"']),
    "needless target": (lambda r: r.register("sanitizer", check, target="tool"), ["'check'", "no target"]),
    "bare decorator": (lambda r: r.guardrail(check)(check), ["guardrail", '@relay.guardrail("tool")']),
    "not callable": (lambda r: r.register("guardrail", 5, target="tool"), ["int", "not callable", "def check(call)"]),
    "no on_event": (lambda r: r.subscriber(NoMethods()), ["NoMethods", "on_event(event)"]),
    "two parameters": (
        lambda r: r.guardrail("tool")(check_twice),
        ["'check_twice'", "(call, more)", "def check(call)"],
    ),
    "no parameter": (lambda r: r.subscriber(lambda: None), ["'<lambda>'", "def on_event(event)"]),
    "a generator": (lambda r: r.subscriber(gen), ["'gen'", "wrong shape", "def on_event(event)"]),
    "no generator": (lambda r: r.execution_intercept("tool")(check), ["'check'", "yield call", "proceed"]),
    "async without proceed": (lambda r: r.execution_intercept("tool")(gen), ["'gen'", "proceed"]),
    "text as priority": (
        lambda r: r.guardrail("tool", priority="high")(check),
        ["'check'", "priority", "int", "'high'"],
    ),
    "bool as priority": (lambda r: r.sanitizer(check, priority=True), ["'check'", "priority", "int", "True"]),
    "bad on_error": (
        lambda r: r.guardrail("tool", on_error="warn")(check),
        ["'check'", '"block"', '"allow"', "'warn'"],
    ),
    "bad category": (lambda r: r.scope("s", "tools"), ["'s'", "'tools'", "tool", "agent"]),
    "name is no text": (lambda r: r.scope(5), ["name", "text", "int"]),
    "bad severity": (lambda r: r.mark("m", severity="loud"), ["'m'", "'loud'", "info"]),
    "bad schema": (lambda r: r.mark("m", data_schema={"name": "x"}), ["'m'", "name and version"]),
    "naive time": (
        lambda r: r.open_scope("s", timestamp=__import__("datetime").datetime(2026, 1, 1)),
        ["time zone", "utc"],
    ),
    "block without text": (lambda r: Block(5), ["Block", "reason", "int"]),
    "sync call of async tool": (lambda r: r.call_tool("t", {}, gen_tool), ["gen_tool", "acall_tool"]),
}


async def gen_tool(args):
    return args


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_where_it_is_made_with_culprit_and_cure(mistake):
    make, words = MISTAKES[mistake]
    relay = Relay()
    with pytest.raises(UsageError) as caught:
        make(relay)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert relay.call_tool("t", {}, lambda args: "ran") == "ran", "nothing was registered"


def test_a_taken_name_is_told():
    relay = Relay()
    relay.guardrail("tool", name="one")(check)
    with pytest.raises(DuplicateName) as caught:
        relay.guardrail("tool", name="one")(check)
    assert "'one'" in str(caught.value)
    assert "remove" in str(caught.value)
    relay.guardrail("llm", name="one")(check)  # another target
    with relay.scope("s") as scope:
        scope.guardrail("tool", name="one")(check)  # another level
    assert relay.guardrail("tool")(check).name == "check"
    assert relay.guardrail("tool")(check).name == "check#2", "names that nobody chose never clash"
