"""Bringing what an intercept gives in the place of an answer into the form that the caller of a model or tool expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_answer", "as_chunk", "as_result", "as_tool_output", "merged"]


def as_answer(model: Any, result: Any) -> Any:
    """Give the result of ``invoke``: a message of a chat model, text of a text model. What is one stays the same object.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> as_answer(FakeListChatModel(responses=[]), "hi").content
        'hi'
    """
    is_text = isinstance(model, BaseLLM)
    kind = type(result)
    if issubclass(kind, str) if is_text else issubclass(kind, BaseMessage):
        return result
    if issubclass(kind, LLMResult):
        first = result.generations[0][0]
        result = getattr(first, "message", first.text)
    elif not issubclass(kind, str | BaseMessage):
        answers = getattr(result, "result", None)  # of an agent's ModelResponse
        result = answers[0] if isinstance(answers, list) and answers else result
    if is_text:
        return str(result.text) if isinstance(result, BaseMessage) else result
    return AIMessage(result) if isinstance(result, str) else result


def as_chunk(model: Any, chunk: Any) -> Any:
    """Give a chunk of a stream."""
    if isinstance(model, BaseLLM):
        return str(chunk.text) if isinstance(chunk, BaseMessage) else chunk
    return AIMessageChunk(chunk) if type(chunk) is str else chunk


def as_result(model: Any, result: Any) -> Any:
    """Give the result of ``generate`` for one prompt."""
    if isinstance(result, LLMResult):
        return result
    answer = as_answer(model, result)
    if isinstance(answer, BaseMessage):
        return LLMResult(generations=[[ChatGeneration(message=answer)]])
    return LLMResult(generations=[[Generation(text=str(answer))]])


def merged(model: Any, results: Sequence[LLMResult]) -> LLMResult:
    """Put the results for single prompts together, as the model does for several."""
    if len(results) == 1:
        return results[0]
    outputs = [result.llm_output for result in results]
    combine = getattr(model, "_combine_llm_outputs", _combined)
    generations = [item for result in results for item in result.generations]
    output = LLMResult(generations=generations, llm_output=combine(outputs))
    runs = [run for result in results for run in result.run or ()]
    output.run = runs or None
    return output


def _combined(outputs: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Add up the token counts of a text model; the rest is the same for all prompts."""
    known = [output for output in outputs if output]
    if not known:
        return None
    usage: dict[str, int] = {}
    for output in known:
        for name, count in (output.get("token_usage") or {}).items():
            if isinstance(count, int):
                usage[name] = usage.get(name, 0) + count
    return {**known[0], **({"token_usage": usage} if usage else {})}


def as_tool_output(name: str, call_id: str | None, result: Any) -> Any:
    """Give what a tool returns to a model that has called it: a message, unless it is more than plain content."""
    if call_id is None or isinstance(result, ToolOutputMixin | list):
        return result
    return ToolMessage(result if isinstance(result, str) else str(result), tool_call_id=call_id, name=name)
