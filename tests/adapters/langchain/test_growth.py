"""Nothing is left in the run table, however many runs there were and however they ended."""

from __future__ import annotations

import asyncio
import gc

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

import relay_core
from relay_adapter_langchain import RelayCallbackHandler
from relay_adapter_langchain.conversations import frozen_messages
from relay_adapter_langchain.runs import table_of
from relay_core.payloads import Encoder, Frozen
from tests.adapters.langchain.models import Hanging


@pytest.mark.parametrize("observed", [pytest.param(True, marks=pytest.mark.slow), False])
async def test_nothing_is_left_after_ten_thousand_runs_of_which_a_tenth_are_cancelled(observed):
    """Five thousand trees of a chain with a model below it; one in ten is cancelled while the model works."""
    runtime = relay_core.Relay()
    ends: list[str] = []
    if observed:
        runtime.subscriber(lambda event: ends.append(event.status) if event.scope_category == "end" else None)
    config = {"callbacks": [RelayCallbackHandler(runtime)]}
    model = GenericFakeChatModel(messages=iter(lambda: AIMessage("hi"), None))
    quick = RunnableLambda(model.invoke, name="quick")
    endless = RunnableLambda(Hanging().ainvoke, name="endless")
    for _ in range(50):
        cancelled = [asyncio.create_task(endless.ainvoke("x", config)) for _ in range(10)]
        for _ in range(90):
            quick.invoke("x", config)
        for _ in range(10):
            await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        results = await asyncio.gather(*cancelled, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
    del task, cancelled
    await asyncio.sleep(0)  # the loop itself keeps a task for one more step
    table = table_of(runtime)
    assert len(table) == 0
    assert not table._late
    assert len(table._watches) <= 1  # that of this task
    assert runtime.flush(timeout=20.0).pending == 0
    assert runtime.stats()["counters"] == {}
    if observed:
        assert (ends.count("ok"), ends.count("cancelled"), len(ends)) == (9_000, 1_000, 10_000)
    runtime.shutdown(timeout=20.0)


def test_a_long_conversation_keeps_few_of_its_earlier_states():
    """Whether or not somebody writes them; each holds as many references as there were messages."""
    for encoder in (None, Encoder()):
        history = [HumanMessage(f"m{i}") for i in range(10)]
        for turn in range(50):
            history.append(AIMessage(f"a{turn}"))
            whole = frozen_messages(history)
            assert encoder is None or encoder.json(whole).count(b'"role"') == len(history)
        states = [
            o for o in gc.get_objects() if type(o) is Frozen and type(o.known) is list and whole.value[0] in o.known
        ]
        assert len(states) <= 3
