"""The service of the documentation, asked as its callers ask it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import relay_core
from relay_adapter_langchain import uninstrument
from tests.adapters.langchain.models import Scripted
from tests.adapters.traces import Trace

pytest.importorskip("fastapi", reason="a service needs it: pip install fastapi")
from fastapi.testclient import TestClient  # after the check

PAGE = Path(__file__).parents[3] / "docs" / "langchain.md"
SECTION = re.compile(r"^## A FastAPI service$.*?^```python$(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def service(monkeypatch, tmp_path):
    """The program of the page, with the process-wide runtime put aside."""
    monkeypatch.chdir(tmp_path)
    trace = Trace(relay_core.Relay())
    monkeypatch.setattr(relay_core, "default", trace.relay)
    for name in ("configure", "scope", "extract", "shutdown"):
        monkeypatch.setattr(relay_core, name, getattr(trace.relay, name), raising=False)
    found = SECTION.search(PAGE.read_text())
    assert found is not None
    names: dict[str, Any] = {"__name__": "service", "tools": [], "model": Scripted(body=str.upper)}
    exec(compile(found[1], "service", "exec"), names)
    yield names["app"], trace
    uninstrument()


def test_each_request_is_a_tree_and_a_block_is_an_answer(service):
    app, trace = service

    @trace.relay.guardrail("llm")
    def no_secrets(call):
        return relay_core.Block("not for you") if "secret" in call.view.last_user_text() else None

    outer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def said(question, **headers):
        return client.post("/ask", json={"question": question}, headers=headers).json()

    with TestClient(app) as client:
        assert said("hi") == {"answer": "HI"}
        assert said("a secret") == {"refused": "not for you"}
        assert said("ho", traceparent=outer) == {"answer": "HO"}
        asks = trace.scopes("agent", "ask")
        assert asks[2].start["propagation_root_uuid"].replace("-", "") == outer.split("-")[1]
        trace.remote.add(asks[2].parent)
        trace.check_form()
        assert [found.start["data"] for found in asks] == ["hi", "a secret", "ho"]
        assert [trace.path(found) for found in trace.scopes("llm")] == [["ask", "LangGraph", "model", "Scripted"]] * 2
