"""The contract of adapters, over the functions of a workflow."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")

from nat.builder.context import ContextState
from nat.builder.function import LambdaFunction
from nat.observability.exporter_manager import ExporterManager
from nat.plugin_api import FunctionInfo
from nat.runtime.runner import Runner

from relay_adapter_nat import RelayFunctionMiddleware
from relay_core.testing import AdapterCapabilities, AdapterContract
from tests.adapters.nat import parts

BODY: ContextVar[Any] = ContextVar("body")


async def lookup(value: Any) -> Any:
    return await BODY.get()(value)


def _function(fn, name, config):
    return LambdaFunction.from_info(config=config, info=FunctionInfo.from_fn(fn), instance_name=name)


class TestFunctions(AdapterContract):
    """A workflow whose one function has Relay's middleware."""

    growth_runs = 150  # each is a run of a workflow, which takes NAT about a millisecond
    entry = "relay_adapter_nat:adapter"
    frameworks = ("nat",)
    capabilities = AdapterCapabilities(
        llm="NAT calls no model itself; the calls of its frameworks are in test_agents",
        sync="NAT has async functions only",
        streaming="as for llm; streaming functions are in test_policy",
        batch="NAT has no batches",
    )

    @pytest.fixture(autouse=True)
    def quiet(self, monkeypatch):
        """NAT logs every failure, and pytest keeps what is logged: memory that the tests of growth would find."""
        monkeypatch.setattr(logging.getLogger("nat"), "disabled", True)
        for name in ("nat.builder.function", "nat.runtime.runner"):
            monkeypatch.setattr(logging.getLogger(name), "disabled", True)

    def workflow(self, relay):
        """Made once per runtime; making one takes longer than running it."""
        known = self.__dict__.setdefault("workflows", {})
        if relay not in known:
            tool = _function(lookup, "lookup", parts.EchoConfig())
            if relay is not None:
                tool.configure_middleware([RelayFunctionMiddleware(relay)])

            async def work(value: Any) -> Any:
                return await tool.ainvoke(value)

            known[relay] = _function(work, "<workflow>", parts.CallerConfig(body=""))
        return known[relay]

    async def acall_tool(self, relay, text, body):
        BODY.set(body)
        async with Runner(text, self.workflow(relay), ContextState.get(), ExporterManager()) as runner:
            return await runner.result()
