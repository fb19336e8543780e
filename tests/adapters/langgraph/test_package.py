"""The package as `relay.autoload()` and newcomers meet it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import relay_adapter_langgraph
import relay_core
from relay_adapter_langchain.activation import is_instrumented
from relay_adapter_langgraph import adapter
from tests.adapters.packages import brought_by, check_public_names, entry_point_of

_PROGRAM = """
import json, sys
{first}
import relay_core
events = []
relay_core.subscriber(lambda event: events.append(event), name="recorder")
{autoload}
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import interrupt
@entrypoint(checkpointer=InMemorySaver())
def work(n):
    return n + interrupt("how much?")
work.invoke(1, {{"configurable": {{"thread_id": "t"}}}})
relay_core.flush(20.0)
print(json.dumps([[e.name, e.scope_category if e.kind == "scope" else "mark"] for e in events]))
"""


def test_importing_it_imports_no_langgraph():
    assert brought_by("relay_adapter_langgraph", "langchain", "langchain_core", "langgraph", "pydantic") == []


@pytest.mark.parametrize("names", ["['langgraph']", "['langchain', 'langgraph']"])
@pytest.mark.parametrize("first", ["", "import langgraph.graph, langchain_core.runnables"])
def test_the_very_first_run_of_an_unchanged_program_is_seen(first, names):
    program = _PROGRAM.format(first=first, autoload=f"relay_core.autoload(names={names})")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["LangGraph", "start"],
        ["work", "start"],
        ["work", "end"],
        ["relay.interrupt", "mark"],
        ["LangGraph", "end"],
    ]


def test_the_entry_point_names_the_adapter():
    assert entry_point_of("langgraph") is adapter
    assert adapter.name == "langgraph"


def test_all_public_names_exist():
    check_public_names(relay_adapter_langgraph)


def test_the_adapter_has_no_options():
    with pytest.raises(relay_core.AdapterError, match="speed"):
        adapter.install(relay_core.Relay(), speed=11)


@pytest.mark.parametrize("order", [("langchain", "langgraph"), ("langgraph", "langchain")])
def test_taking_one_adapter_off_leaves_the_other(order):
    runtime = relay_core.Relay()
    for name in order:
        runtime.adapters.install(name)
    runtime.adapters.uninstall("langgraph")
    assert is_instrumented(runtime)
    runtime.adapters.uninstall()
    assert not is_instrumented(runtime)


def test_what_it_brought_goes_with_it():
    runtime, other = relay_core.Relay(), relay_core.Relay()
    runtime.adapters.install("langgraph")
    assert is_instrumented(runtime)
    adapter.uninstall(other)
    assert is_instrumented(runtime)
    runtime.adapters.uninstall("langgraph")
    assert not is_instrumented(runtime)
