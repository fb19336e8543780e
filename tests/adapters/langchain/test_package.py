"""The package as `relay.autoload()` and newcomers meet it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

import relay_adapter_langchain
import relay_core
from relay_adapter_langchain import adapter, uninstrument
from relay_adapter_langchain.activation import instrument
from tests.adapters.packages import brought_by, check_public_names, entry_point_of

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "trip_agent.py"


def test_importing_it_imports_no_langchain():
    assert brought_by("relay_adapter_langchain", "langchain", "langchain_core", "langgraph", "pydantic") == []


def test_the_entry_point_names_the_adapter():
    assert entry_point_of("langchain") is adapter
    assert (adapter.name, adapter.requires) == ("langchain", "langchain_core")


def test_all_public_names_exist():
    check_public_names(relay_adapter_langchain)


def test_the_adapter_installs_and_uninstalls():
    runtime, other = relay_core.Relay(), relay_core.Relay()
    adapter.install(runtime)
    handler = instrument(runtime)
    assert handler.enabled
    adapter.uninstall(other)
    assert handler.enabled
    adapter.uninstall(runtime)
    assert not handler.enabled
    assert handler.ignore_chain
    assert handler.ignore_llm
    with pytest.raises(relay_core.AdapterError, match="speed"):
        adapter.install(runtime, speed=11)


def test_the_example_runs_and_leaks_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    module = runpy.run_path(str(EXAMPLE), run_name="trip_agent")
    runtime = relay_core.Relay()
    try:
        report = module["run"](tmp_path, relay=runtime)
    finally:
        uninstrument()
    assert "TP 1350" in report["answer"]
    assert report["blocked"] == ["delete_booking"]
    assert len(report["rewritten"]) == 3
    text = report["events"].read_text()
    assert module["FAKE_KEY"] not in text
    events = [json.loads(line) for line in text.splitlines()]
    starts = [(e["category"], e["name"]) for e in events if e.get("scope_category") == "start"]
    assert {name for category, name in starts if category == "tool"} == {"search_flights", "weather", "book_hotel"}
    assert [name for category, name in starts if category == "llm"] == ["ChatOpenAI"] * 3
    assert module["HOUSE_RULE"] in text
    assert runtime.stats()["counters"] == {}
    runtime.shutdown(timeout=20.0)
