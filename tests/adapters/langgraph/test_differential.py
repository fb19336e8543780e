"""Programs run the same with and without Relay: results, exceptions, what is streamed in every mode, supersteps."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.prebuilt import ToolNode
from langgraph.types import Interrupt

from relay_adapter_langgraph import RelayGraphHandler, tool_node, uninstrument
from tests.adapters.langgraph.graphs import line
from tests.adapters.langgraph.programs import PROGRAMS

MODES = ["values", "updates", "messages", "custom", "tasks", "checkpoints", "debug"]
_MADE_UP = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)?")


class Normal:
    """Values without what differs between any two runs: ids by the order in which they come, no times."""

    def __init__(self, *, ordered: bool) -> None:
        self.ids: dict[str, str] = {}
        self.ordered = ordered

    def text(self, value: str) -> str:
        def known(found: re.Match[str]) -> str:
            return self.ids.setdefault(found[0], f"<{len(self.ids)}>") if self.ordered else "<id>"

        return _TIME.sub("<time>", _MADE_UP.sub(known, value))

    def of(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.of(item) for key, item in value.items() if key != "callbacks"}
        if isinstance(value, list | tuple):
            return [type(value).__name__, *(self.of(item) for item in value)]
        if isinstance(value, BaseMessage):
            return [type(value).__name__, self.of({**value.model_dump(), "type": value.type})]
        if isinstance(value, Interrupt):
            return ["Interrupt", self.of(value.value), self.text(value.id)]
        return self.text(repr(value))


class Transcript:
    """Everything that a program shows of itself."""

    def __init__(self, program, trace, mode, api):
        make_tools = ToolNode if trace is None else lambda tools: tool_node(tools, relay=trace.relay)
        self.graph, self.inputs = program(make_tools)
        self.config: dict[str, Any] = {"configurable": {"thread_id": "t"}}
        if trace is not None:
            self.config["callbacks"] = [RelayGraphHandler(trace.relay)]
        self.mode = mode
        # Nodes that run in threads at the same time end in any order, with and without Relay.
        self.ordered = program.__name__ not in ("parallel", "sends", "with_tools")
        self.normal = Normal(ordered=self.ordered)
        self.lines = self._sync() if api == "sync" else asyncio.run(self._async())

    def _sync(self):
        lines = []
        for given in self.inputs:
            try:
                if self.mode is None:
                    lines.append(self.graph.invoke(given, self.config))
                else:
                    stream = self.graph.stream(given, self.config, stream_mode=self.mode, subgraphs=True)
                    lines += list(stream)
            except Exception as error:
                lines.append(error)
        return self._read(lines)

    async def _async(self):
        lines = []
        for given in self.inputs:
            try:
                if self.mode is None:
                    lines.append(await self.graph.ainvoke(given, self.config))
                else:
                    stream = self.graph.astream(given, self.config, stream_mode=self.mode, subgraphs=True)
                    lines += [chunk async for chunk in stream]
            except Exception as error:
                lines.append(error)
        return self._read(lines)

    def _read(self, lines):
        found = [self.normal.of(chunk) for chunk in lines]
        if self.graph.checkpointer:  # one checkpoint per superstep
            config: Any = {"configurable": {"thread_id": "t"}}
            history = list(self.graph.get_state_history(config))
            found.append([len(history), [self.normal.of(state.next) for state in history]])
        return found if self.ordered else Counter(map(repr, found))


@pytest.mark.parametrize("api", ["sync", "async"])
@pytest.mark.parametrize("mode", [None, *MODES, MODES], ids=["invoke", *MODES, "all"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_does_the_same(observed, program, mode, api):
    before = len(observed.events)
    ours = Transcript(program, observed, mode, api)
    assert len(observed.events) > before
    uninstrument()
    bare = Transcript(program, None, mode, api)
    assert ours.lines == bare.lines


def test_objects_are_the_very_same(observed):
    made, given = object(), object()

    def keep(state):
        assert state["seen"][0] is given
        return {"seen": [made]}

    result = line(keep).invoke({"seen": [given]})
    assert result["seen"][0] is given
    assert result["seen"][1] is made


def test_exceptions_are_the_very_same(observed):
    failure = ZeroDivisionError("mine")

    def fails(state):
        raise failure

    with pytest.raises(ZeroDivisionError) as caught:
        line(fails).invoke({"seen": []})
    assert caught.value is failure
