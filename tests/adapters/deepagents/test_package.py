"""The package as `relay.autoload()` and newcomers meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import relay_adapter_deepagents
import relay_core
from relay_adapter_deepagents import adapter
from relay_adapter_langgraph.activation import is_instrumented
from tests.adapters.packages import brought_by, check_public_names, entry_point_of

ROOT = Path(__file__).parents[3]
_PROGRAM = """
import json
{first}
import relay_core
events, asked = [], []
relay_core.subscriber(lambda event: events.append(event), name="recorder")
relay_core.register("guardrail", lambda call: asked.append(call.name), target="tool")
relay_core.autoload(names=["deepagents"])
from deepagents import create_deep_agent
from tests.adapters.deepagents.agents import Scripted, RESEARCHER, ask, call, delegate
class Model(Scripted):
    def _get_ls_params(self, stop=None, **kwargs):
        return dict(super()._get_ls_params(stop=stop, **kwargs), ls_provider="openai")
script = dict(go=[delegate("researcher", "dig")], dig=[call("search", query="cats")])
print(ask(create_deep_agent(Model(script=script), subagents=[RESEARCHER], name="boss"))[-1].text)
relay_core.flush(20.0)
starts = [e for e in events if e.kind == "scope" and e.scope_category == "start"]
print(json.dumps(asked), json.dumps([e.name for e in starts if e.category == "agent"]), sep="\\n")
"""


def test_importing_it_imports_no_framework():
    frameworks = ("deepagents", "langchain", "langchain_core", "langgraph", "pydantic")
    assert brought_by("relay_adapter_deepagents", *frameworks) == []


@pytest.mark.parametrize("first", ["", "import langgraph.graph", "import deepagents"])
def test_the_very_first_agent_of_an_unchanged_program_is_seen_and_governed(first):
    program = _PROGRAM.format(first=first)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, asked, agents = done.stdout.splitlines()
    assert answer == "go: dig: found cats"
    assert json.loads(asked) == ["task", "search"]
    assert json.loads(agents) == ["boss", "researcher"]


def test_the_entry_point_names_the_adapter():
    assert entry_point_of("deepagents") is adapter
    assert (adapter.name, adapter.requires) == ("deepagents", "deepagents")


def test_all_public_names_exist():
    check_public_names(relay_adapter_deepagents)


def test_a_wrong_option_says_what_is_right():
    with pytest.raises(relay_core.AdapterError, match="speed; it takes control, providers and on_block"):
        adapter.install(relay_core.Relay(), speed=11)


def test_it_takes_its_options_from_the_configuration():
    runtime = relay_core.Relay()
    runtime.adapters.install("deepagents", control=False)
    try:
        assert is_instrumented(runtime)
    finally:
        runtime.adapters.uninstall()
    assert not is_instrumented(runtime)


def test_taking_it_off_leaves_the_others():
    runtime, other = relay_core.Relay(), relay_core.Relay()
    for name in ("langgraph", "deepagents"):
        runtime.adapters.install(name)
    adapter.uninstall(other)
    runtime.adapters.uninstall("deepagents")
    assert is_instrumented(runtime)
    runtime.adapters.uninstall()
    assert not is_instrumented(runtime)
