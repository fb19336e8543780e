"""What frameworks on top of LangChain can add to runs."""

from __future__ import annotations

import pytest
from langchain_core.runnables import RunnableLambda

import relay_core
from relay_adapter_langchain import RelayCallbackHandler
from relay_adapter_langchain.runs import table_of


class Note:
    def ending(self, run, outcome):
        run.status = "cached"
        run.scope.metadata["outcome"] = outcome


class Extension:
    def starting(self, start):
        if start.name == "broken":
            raise ZeroDivisionError
        start.category, start.subtype, start.note = "agent", "mine", Note()
        start.extra["kind"] = start.kind


@pytest.fixture
def runtime():
    found = relay_core.Relay()
    yield found
    found.shutdown(timeout=20.0)


def run(runtime, name):
    ends = []
    with runtime.subscriber(lambda event: ends.append(event) if event.scope_category == "end" else None):
        inner = RunnableLambda(lambda n: n + 1, name=name)
        outer = RunnableLambda(inner.invoke, name="outer")
        assert outer.invoke(1, {"callbacks": [RelayCallbackHandler(runtime)]}) == 2
        runtime.flush(20.0)
    return ends[0]


def test_an_extension_can_name_and_judge_a_run(runtime):
    table, extension = table_of(runtime), Extension()
    table.extend(extension)
    table.extend(extension)
    assert table.extensions == (extension,)
    end = run(runtime, "inner")
    assert (end.name, end.category, end.category_profile["subtype"], end.status) == ("inner", "agent", "mine", "cached")
    assert (end.metadata["kind"], end.metadata["outcome"]) == ("chain", 2)
    table.retract(extension)
    assert run(runtime, "inner").category == "function"


def test_one_that_raises_loses_nothing(runtime):
    table_of(runtime).extend(Extension())
    assert run(runtime, "broken").status == "ok"
    assert runtime.stats()["counters"]["faults"] == 1
