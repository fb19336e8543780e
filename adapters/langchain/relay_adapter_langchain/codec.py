"""The lens between LangChain's model requests and responses and the neutral view.

It reads the objects themselves, for policy, and their observed shape (see `shapes`), for annotated events. Edits are
written back as the smallest change of a copy: untouched messages and tools stay the same objects.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from relay_adapter_langchain import views
from relay_adapter_langchain.messages import build, rewritten
from relay_adapter_langchain.shapes import llm_request, llm_result, message_fields, reply, shown_tool, tool_definition
from relay_core.errors import CodecError
from relay_core.llm import LlmRequest, LlmResponse, Message, Node, StreamInfo, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CODEC", "LangChainCodec"]

_SETTINGS: Final = (
    "temperature",
    "max_tokens",
    "top_p",
    "top_k",
    "seed",
    "n",
    "presence_penalty",
    "frequency_penalty",
)
_EDITABLE: Final = frozenset({"messages", "params", "tools", "tool_choice", "model"})


class LangChainCodec:
    """Reads and edits the ``ModelRequest`` of an agent's model call.

    Edits that can be written: text of messages, messages added and removed, sampling parameters and limits, the model's
    name, tools removed, the tool choice. Others raise `CodecError`.

    Example:
        >>> from langchain.agents.middleware import ModelRequest
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_core.messages import HumanMessage
        >>> request = ModelRequest(model=FakeListChatModel(responses=[]), messages=[HumanMessage("hi")])
        >>> view = CODEC.decode_request(request)
        >>> CODEC.encode_request(view.replace(max_output_tokens=9), request).model_settings
        {'max_tokens': 9}
    """

    name = "langchain"
    native_types: tuple[type, ...] = (dict,)

    # -- requests ------------------------------------------------------------------------------------------------

    def shape(self, request: Any) -> dict[str, Any]:
        """Give a ``ModelRequest`` as observers see it."""
        messages = [request.system_message, *request.messages] if request.system_message else request.messages
        return llm_request(messages, _settings(request), **_beside(request, shown_tool))

    def decode_request(self, native: Any) -> LlmRequest:
        """Read a ``ModelRequest``, or the observed shape of a model request."""
        if isinstance(native, dict):
            return views.request_view(native)
        if not hasattr(native, "model_settings"):
            raise CodecError(f"the codec {self.name!r} reads a ModelRequest, not {type(native).__name__}")
        fields = {name: value for name, value in _beside(native).items() if value}
        messages = [message_fields(message) for message in _messages(native)]
        return views.request_view({**fields, **_settings(native), "messages": messages})

    def encode_request(self, view: LlmRequest, native: Any) -> Any:
        """Write the edits of `view` into a copy of a ``ModelRequest``; without edits it is `native` itself.

        Raises:
            CodecError: an edit has no place in LangChain's request.
        """
        if not hasattr(native, "override"):
            raise CodecError(f"only a ModelRequest can be edited, not {type(native).__name__}")
        decoded = self.decode_request(native)
        changed = {name for name in view.compared_fields() if not same(getattr(view, name), getattr(decoded, name))}
        refused = changed - _EDITABLE
        if refused:
            raise CodecError(f"LangChain's model request has no place for an edit of {', '.join(sorted(refused))}")
        if not changed:
            return native
        overrides = _overrides(view, decoded, native, changed)
        result = native.override(**overrides)
        written = self.decode_request(result)
        wrong = [name for name in changed if not same(getattr(view, name), getattr(written, name))]
        if wrong:
            raise CodecError(f"the edit of {', '.join(sorted(wrong))} cannot be written to LangChain's model request")
        return result

    # -- responses -----------------------------------------------------------------------------------------------

    def decode_response(self, native: Any) -> LlmResponse:
        """Read a response: a message, a ``ModelResponse``, an ``LLMResult``, or the observed shape of one."""
        if isinstance(native, LLMResult):
            native = llm_result(native, message_fields)
        elif not isinstance(native, dict):
            native = reply(native, message_fields)
        if not isinstance(native, dict):
            raise CodecError(f"the codec {self.name!r} reads model responses, not {type(native).__name__}")
        return views.response_view(native)

    def encode_response(self, view: LlmResponse, native: Any) -> Any:
        """Write an edit of the answer's text into a copy; other edits raise `CodecError`."""
        decoded = self.decode_response(native)
        if same(view, decoded):
            return native
        answers: list[Any] = [native] if isinstance(native, BaseMessage) else getattr(native, "result", [])
        rest = {name for name in view.compared_fields() if name != "choices"}
        if not answers or len(view.choices) != 1 or any(not same(getattr(view, n), getattr(decoded, n)) for n in rest):
            raise CodecError("only the text of a LangChain message or ModelResponse can be edited")
        old, new = decoded.choices[0], view.choices[0]
        first = rewritten(answers[0], Message("assistant", old.parts), Message("assistant", new.parts))
        return first if answers[0] is native else dataclasses.replace(native, result=[first, *answers[1:]])

    def assembler(self) -> ChunkAssembler:
        """Make an assembler for one stream of message chunks."""
        return ChunkAssembler()


class ChunkAssembler:
    """Adds up the message chunks of one stream."""

    def __init__(self) -> None:
        self._sum: Any = None
        self._events = 0
        self._complete = False

    @property
    def facts(self) -> StreamInfo:
        """How the stream went so far."""
        return StreamInfo(events=self._events, complete=self._complete)

    def feed(self, chunk: Any) -> None:
        """Take the next chunk, a message chunk or a generation chunk."""
        message = getattr(chunk, "message", chunk)
        self._events += 1
        if not isinstance(message, BaseMessage):
            return
        self._complete = self._complete or getattr(message, "chunk_position", None) == "last"
        self._sum = message if self._sum is None else self._sum + message

    def result(self) -> Any:
        """Give the whole message so far."""
        return self._sum


CODEC: Final = LangChainCodec()


def _messages(request: Any) -> list[BaseMessage]:
    system = request.system_message
    return [system, *request.messages] if system is not None else list(request.messages)


def _beside(request: Any, part: Callable[[Any], Any] = tool_definition) -> dict[str, Any]:
    """The fields of a request beside messages and settings."""
    model = request.model
    name = request.model_settings.get("model") or getattr(model, "model_name", None) or getattr(model, "model", None)
    tools = [part(tool) for tool in request.tools]
    return {"model": name if isinstance(name, str) else None, "tools": tools, "tool_choice": request.tool_choice}


def _settings(request: Any) -> dict[str, Any]:
    """Parameters in force: the model object's own, and those of this request over them."""
    own = {name: getattr(request.model, name, None) for name in _SETTINGS}
    stop = getattr(request.model, "stop", None)
    found: dict[str, Any] = {name: value for name, value in own.items() if isinstance(value, int | float)}
    if isinstance(stop, list | str) and stop:
        found["stop"] = stop
    return {**found, **request.model_settings}


def _overrides(view: LlmRequest, decoded: LlmRequest, native: Any, changed: set[str]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if "messages" in changed:
        system, messages = _edited_messages(view, decoded, native)
        overrides |= {"system_message": system, "messages": messages}
    if "tools" in changed:
        overrides["tools"] = _kept_tools(view, decoded, native)
    if "tool_choice" in changed:
        overrides["tool_choice"] = views.native_tool_choice(view.tool_choice)
    if changed & {"params", "model"}:
        overrides["model_settings"] = _edited_settings(view, decoded, native)
    return overrides


def _edited_messages(view: LlmRequest, decoded: LlmRequest, native: Any) -> tuple[Any, list[BaseMessage]]:
    originals = _messages(native)
    result: list[BaseMessage] = []
    for message in view.messages:
        index = _index(message, decoded.messages)
        if index is None:
            result.append(build(message))
        elif same(message, decoded.messages[index]):
            result.append(originals[index])
        else:
            result.append(rewritten(originals[index], decoded.messages[index], message))
    if result and result[0].type == "system":
        return result[0], result[1:]
    return None, result


def _index(node: Node, nodes: Sequence[Node]) -> int | None:
    return next((i for i, old in enumerate(nodes) if node.path is not None and node.path == old.path), None)


def _kept_tools(view: LlmRequest, decoded: LlmRequest, native: Any) -> list[Any]:
    tools: list[Any] = []
    for tool in view.tools:
        index = _index(tool, decoded.tools)
        if index is None or not same(tool, decoded.tools[index]):
            raise CodecError(f"tool {tool.name!r} cannot be added or changed here; tools can be left out")
        tools.append(native.tools[index])
    return tools


def _edited_settings(view: LlmRequest, decoded: LlmRequest, native: Any) -> dict[str, Any]:
    settings = dict(native.model_settings)
    edits = {
        name: getattr(view.params, name)
        for name in view.params.compared_fields()
        if not same(getattr(view.params, name), getattr(decoded.params, name))
    }
    if view.model != decoded.model:
        edits["model"] = view.model
    for name, value in edits.items():
        spelled = views.spelling(name, settings)
        if value is None:
            settings.pop(spelled, None)
        else:
            settings[spelled] = list(value) if name == "stop" else value
    return settings
