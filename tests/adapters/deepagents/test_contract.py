"""The contract of adapters, over the models and tools of deep agents and of their subagents."""

from __future__ import annotations

from deepagents import create_deep_agent

from relay_adapter_deepagents import create_deep_agent as governed
from tests.adapters.langchain.test_contract import AgentContract


class TestDeepAgents(AgentContract):
    """The main agent."""

    entry = "relay_adapter_deepagents:adapter"
    frameworks = ("deepagents", "langchain", "langchain_core", "langgraph")
    growth_runs = 60  # of runs that take tens of milliseconds each

    def made(self, relay, model, tools):
        return create_deep_agent(model, tools) if relay is None else governed(model, tools, relay=relay)
