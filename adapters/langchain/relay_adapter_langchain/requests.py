"""What a model is asked outside of agents: the request that guardrails and intercepts get for a wrapped model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Self

from langchain_core.language_models import BaseLLM
from langchain_core.messages import HumanMessage

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["ModelCall"]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a wrapped model. It has the fields that LangChain's ``ModelRequest`` has in agents.

    Attributes:
        model: the model that is asked; another one may be put in its place.
        messages: what it is asked, system messages among them. For a text model one user message with the prompt.
        model_settings: what else the call was made with, such as ``stop`` or ``temperature``.
        tools: the tools that are bound to the model, in its provider's format.
        tool_choice: the choice that is bound to it.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> call = ModelCall.of(FakeListChatModel(responses=[]), [HumanMessage("hi")], {"stop": ["END"]})
        >>> call.override(model_settings={}).messages is call.messages
        True
    """

    system_message: ClassVar[None] = None  # it stands among the messages

    model: Any
    messages: list[BaseMessage]
    model_settings: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    tools: list[Any] = dataclasses.field(default_factory=list[Any])
    tool_choice: Any = None

    @classmethod
    def of(cls, model: Any, given: Any, options: dict[str, Any]) -> Self:
        """Read the arguments of a call, given as LangChain takes them.

        Raises:
            ValueError: the input is none that a model takes; LangChain's own error.
        """
        messages = (
            given if _is_messages(given) else model._convert_input(given).to_messages()
        )  # the rules are LangChain's
        settings = {name: value for name, value in options.items() if value is not None}
        tools = settings.pop("tools", None)
        return cls(model, messages, settings, list(tools) if tools else [], settings.pop("tool_choice", None))

    def override(self, **changes: Any) -> Self:
        """Make a copy with other fields, as ``ModelRequest.override`` does; a system message goes before the others."""
        system = changes.pop("system_message", None)
        if system is not None:
            changes["messages"] = [system, *changes.get("messages", self.messages)]
        return dataclasses.replace(self, **changes)

    def options(self, original: ModelCall, given: dict[str, Any]) -> dict[str, Any]:
        """Give the arguments to call the model with: `given` itself where nothing was changed."""
        if (
            self.model_settings is original.model_settings
            and self.tools is original.tools
            and self.tool_choice is original.tool_choice
        ):
            return given
        options = dict(self.model_settings)
        if self.tools:
            options["tools"] = self.tools
        if self.tool_choice is not None and self.tools:
            options["tool_choice"] = self.tool_choice
        return options

    def input(self, original: ModelCall, given: Any) -> Any:
        """Give the input to call the model with: `given` itself where nothing was changed."""
        if self.messages is original.messages:
            return given
        only = self.messages[0] if len(self.messages) == 1 else None
        if isinstance(self.model, BaseLLM) and type(only) is HumanMessage:
            return str(only.text)  # as it is, without "Human: " before it
        return self.messages


def _is_messages(given: Any) -> bool:
    return type(given) is list and bool(given) and all(hasattr(item, "response_metadata") for item in given)
