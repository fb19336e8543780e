"""Makes the calls of the rails' own models visible, as children of the check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.observation import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.runtime import Relay

__all__ = ["SeenModel", "show_engine_models", "show_rails_models"]


class SeenModel:
    """A model of the library whose calls Relay sees; everything else is the model's own.

    Args:
        relay: the runtime.
        model: the library's model.
    """

    def __init__(self, relay: Relay, model: Any) -> None:
        self._relay = relay
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def generate_async(self, prompt: Any, *, stop: list[str] | None = None, **kwargs: Any) -> Any:
        """Ask the model, in a scope of its own."""
        name = str(getattr(self._model, "provider_name", None) or "nemoguardrails")
        request = {"model": getattr(self._model, "model_name", None), "messages": prompt, **kwargs}

        async def ask(_: Any) -> Any:
            return await self._model.generate_async(prompt, stop=stop, **kwargs)

        return await self._relay.acall_llm(
            name, request, ask, model=request["model"], claim=True, observation=_Library()
        )


class _Library(Observation):
    """Reads the library's messages and answers."""

    __slots__ = ()

    def request(self, call: Any) -> Any:
        messages = call.request["messages"]
        if isinstance(messages, str):
            return {**call.request, "messages": [{"role": "user", "content": messages}]}
        shown = [one.to_dict() if hasattr(one, "to_dict") else one for one in messages]
        return {**call.request, "messages": shown}

    def result(self, call: Any, result: Any) -> Any:  # noqa: ARG002  # the base class names it
        usage = getattr(result, "usage", None)
        counts = {
            "prompt_tokens": getattr(usage, "input_tokens", None),
            "completion_tokens": getattr(usage, "output_tokens", None),
        }
        return {"content": getattr(result, "content", None), "usage": counts if usage is not None else None}


def show_rails_models(relay: Relay, rails: Any) -> None:
    """Put `SeenModel` around every model of an ``LLMRails``."""
    parameters: dict[str, Any] = rails.runtime.registered_action_params
    for name, value in list(parameters.items()):
        if name == "llms" and isinstance(value, dict):
            parameters[name] = {kind: SeenModel(relay, model) for kind, model in value.items()}
        elif value is not None and name.endswith("llm") and hasattr(value, "generate_async"):
            parameters[name] = SeenModel(relay, value)


def show_engine_models(relay: Relay, registry: Any) -> None:
    """Make the fast engine's models ask through Relay."""
    for engine in registry.llms.values():
        engine.call = _seen_call(relay, engine, engine.call)


def _seen_call(relay: Relay, engine: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    async def seen(messages: Any, **kwargs: Any) -> Any:
        request = {"model": engine.model_name, "messages": messages, **kwargs}

        async def ask(_: Any) -> Any:
            return await call(messages, **kwargs)

        codec = relay.codecs.get("openai_chat") if "openai_chat" in relay.codecs else None
        name = str(engine.provider_name or "nemoguardrails")
        return await relay.acall_llm(name, request, ask, model=engine.model_name, codec=codec, claim=True)

    return seen
