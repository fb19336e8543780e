"""Putting deep agents under policy by what Deep Agents offers for it: harness profiles.

A profile adds middleware to every agent, main or sub, whose model is of one provider. Ours is asked when an agent is made
and adds nothing unless a policy applies.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from deepagents import HarnessProfile, register_harness_profile

from relay_adapter_langchain.middleware import RelayMiddleware
from relay_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable

    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ToolCallRequest

    from relay_core.runtime import Relay

__all__ = ["PROVIDERS", "GovernedMiddleware", "Policy", "applied", "apply_everywhere", "cover", "middleware_now"]

PROVIDERS: Final = (
    "anthropic",
    "anthropic-mantle",
    "anthropic_bedrock",
    "amazon_bedrock",
    "amazon_bedrock_converse",
    "azure",
    "azure_ai",
    "azure_openai",
    "baseten",
    "bedrock",
    "bedrock_converse",
    "bedrock_mantle_anthropic",
    "bedrock_mantle_openai",
    "cohere",
    "deepseek",
    "fireworks",
    "google_anthropic_vertex",
    "google_genai",
    "google_vertexai",
    "groq",
    "huggingface",
    "ibm",
    "langsmith",
    "litellm",
    "meta",
    "mistral",
    "mistralai",
    "nvidia",
    "NVIDIA",
    "ollama",
    "openai",
    "openai-mantle",
    "openrouter",
    "perplexity",
    "together",
    "upstage",
    "watsonx",
    "xai",
)
"""The names under which LangChain's integrations know their models, in specifications or in what models tell."""


class Policy(NamedTuple):
    """What new agents are under.

    Attributes:
        relay: the runtime.
        on_block: what a blocked call gives.
    """

    relay: Relay
    on_block: Literal["message", "raise"] = "message"


class GovernedMiddleware(RelayMiddleware):
    """A `RelayMiddleware` that Deep Agents has added; one that the program gives by itself takes its place.

    Args:
        policy: what it applies.
        everywhere: whether it stops when the policy for the whole process does.
    """

    def __init__(self, policy: Policy, *, everywhere: bool = True) -> None:
        super().__init__(policy.relay, on_block=policy.on_block)
        self._policy = policy
        self._everywhere = everywhere

    @property
    def name(self) -> str:
        """The name of the middleware whose place it holds."""
        return RelayMiddleware.__name__

    def _is_off(self) -> bool:
        return self._everywhere and (_everywhere is None or _everywhere.relay is not self._policy.relay)

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Any]) -> Any:
        """Run a model call under policy, while it applies."""
        return handler(request) if self._is_off() else super().wrap_model_call(request, handler)

    async def awrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[Any]]) -> Any:
        """Do the same for an async agent."""
        return await (handler(request) if self._is_off() else super().awrap_model_call(request, handler))

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Run a tool call under policy, while it applies."""
        return handler(request) if self._is_off() else super().wrap_tool_call(request, handler)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """Do the same for an async agent."""
        return await (handler(request) if self._is_off() else super().awrap_tool_call(request, handler))


_everywhere: Policy | None = None
_here: Final[ContextVar[Policy | None]] = ContextVar("relay_deepagents_policy", default=None)
_covered: set[str] = set()
_lock = threading.Lock()


def apply_everywhere(policy: Policy | None) -> None:
    """Set what agents made from now on are under; None for nothing."""
    global _everywhere
    if policy is not None and policy.on_block not in ("message", "raise"):
        raise UsageError(f'Deep Agents: on_block is "message" or "raise", not {policy.on_block!r}')
    _everywhere = policy


@contextmanager
def applied(policy: Policy) -> Generator[None]:
    """Let the agents that are made inside be under a policy of their own."""
    token = _here.set(policy)
    try:
        yield
    finally:
        _here.reset(token)


def middleware_now() -> list[AgentMiddleware[Any, Any, Any]]:
    """Give what is added to an agent that is made here and now.

    Example:
        >>> middleware_now()
        []
    """
    here = _here.get()
    if here is not None:
        return [GovernedMiddleware(here, everywhere=False)]
    return [GovernedMiddleware(_everywhere)] if _everywhere is not None else []


def cover(providers: Iterable[str]) -> None:
    """Let Deep Agents ask for our middleware when the model of an agent is of one of these providers."""
    for provider in providers:
        with _lock:
            if provider in _covered:
                continue
            _covered.add(provider)
        register_harness_profile(provider, HarnessProfile(extra_middleware=middleware_now))
