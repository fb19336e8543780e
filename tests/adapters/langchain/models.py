"""Models whose answers tests make."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Scripted(BaseChatModel):
    """A model whose answers are made by `body` from the last message; it does not stream."""

    body: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        names = [getattr(found, "name", None) or found.__name__ for found in tools if not isinstance(found, type)]
        names += [found.__name__ for found in tools if isinstance(found, type)]
        return self.bind(tools=[{"type": "function", "function": {"name": name}} for name in names], **kwargs)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        answer = self.body(messages[-1].content)
        message = answer if isinstance(answer, AIMessage) else AIMessage(answer)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Hanging(Scripted):
    """A model that never answers."""

    body: Any = None

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")
