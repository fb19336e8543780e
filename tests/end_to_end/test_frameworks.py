"""Unchanged programs of every framework: their very first run is recorded, also on a thread of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHAIN = """
def program():
    from langchain_core.runnables import RunnableLambda
    return RunnableLambda(lambda n: 2 * n).with_config(run_name="double").invoke(21)
"""
MODEL = """
def program():
    from langchain_core.language_models import FakeListChatModel
    return int(FakeListChatModel(responses=["42"]).invoke("six by nine?").content)
"""
GRAPH = """
def program():
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.func import entrypoint
    from langgraph.types import Command, interrupt
    @entrypoint(checkpointer=InMemorySaver())
    def work(n):
        return n + interrupt("how much?")
    thread = {"configurable": {"thread_id": "t"}}
    work.invoke(40, thread)
    return work.invoke(Command(resume=2), thread)
"""
DEEP = """
def program():
    from deepagents import create_deep_agent
    from tests.adapters.deepagents.agents import RESEARCHER, Scripted, ask, call, delegate
    script = {"go": [delegate("researcher", "dig")], "dig": [call("search", query="cats")]}
    agent = create_deep_agent(Scripted(script=script), subagents=[RESEARCHER], name="boss")
    return 42 if ask(agent)[-1].text == "go: dig: found cats" else 0
"""
ON_A_THREAD = """
import threading
thread = threading.Thread(target=lambda: print(program()))
thread.start()
thread.join()
"""


def tree(node):
    """Names and statuses of the agents, models, tools and retrievers in a tree, and of what has no one around it."""
    inner = [found for child in node.get("children", ()) for found in tree(child)]
    kinds = ("agent", "llm", "tool", "retriever")
    return [[node["name"], node["status"], inner]] if node["category"] in kinds else inner


EXPECTED = {
    "chain": [["double", "ok", []]],
    "model": [["FakeListChatModel", "ok", []]],
    "graph": [["LangGraph", "interrupted", []], ["LangGraph", "ok", []]],
    "deep agent": [
        [
            "boss",
            "ok",
            [
                ["Scripted", "ok", []],
                [
                    "task",
                    "ok",
                    [["researcher", "ok", [["Scripted", "ok", []], ["search", "ok", []], ["Scripted", "ok", []]]]],
                ],
                ["Scripted", "ok", []],
            ],
        ]
    ],
}
PROGRAMS = {"chain": CHAIN, "model": MODEL, "graph": GRAPH, "deep agent": DEEP}


@pytest.fixture(params=list(PROGRAMS))
def framework(request):
    needed = {"graph": "langgraph", "deep agent": "deepagents"}.get(request.param, "langchain_core")
    pytest.importorskip(needed)
    return request.param


def test_the_first_run_under_relay_run(relay_command, framework, tmp_path):
    path = tmp_path / "app.py"
    path.write_text(PROGRAMS[framework] + ON_A_THREAD)
    command = ["run", "--out", "runs", "--", sys.executable, path]
    done = relay_command(*command, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stdout.strip()) == (0, b"42"), done.stderr.decode()
    assert done.stderr == b""
    seen = json.loads(relay_command("view", "--json", "runs", cwd=tmp_path).stdout)["roots"]
    assert [found for root in seen for found in tree(root)] == EXPECTED[framework]


@pytest.mark.parametrize(("value", "expected"), [("1", "LangGraph work LangGraph work"), ("0", "")])
def test_the_first_run_where_the_environment_says_so(value, expected, tmp_path):
    """`RELAY_AUTOLOAD=1` makes ``import relay_core`` enough."""
    pytest.importorskip("langgraph")
    told = """
import relay_core
names = []
relay_core.subscriber(lambda event: names.append(event.name) if event.scope_category == "start" else None)
"""
    path = tmp_path / "app.py"
    path.write_text(told + GRAPH + ON_A_THREAD + "relay_core.flush(20.0)\nprint(*names)\n")
    env = {name: text for name, text in os.environ.items() if not name.startswith("RELAY_")}
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env={**env, "RELAY_AUTOLOAD": value},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["42", expected]
