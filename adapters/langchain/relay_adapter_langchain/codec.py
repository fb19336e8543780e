"""The lens between LangChain's model requests and responses and the neutral view.

It reads the objects themselves, for policy, and their observed shape (see `shapes`), for annotated events. Edits are
written back as the smallest change of a copy: untouched messages and tools stay the same objects.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation, LLMResult

from relay_adapter_langchain import views
from relay_adapter_langchain.annotating import annotated
from relay_adapter_langchain.conversations import fields_of, message_fields
from relay_adapter_langchain.edits import EDITABLE, messages_of, overrides
from relay_adapter_langchain.messages import rewritten
from relay_adapter_langchain.plain_views import plain_views
from relay_adapter_langchain.shapes import llm_request, llm_result, reply, shown_tool, tool_definition
from relay_adapter_langchain.snapshots import later_shape
from relay_core.errors import CodecError
from relay_core.llm import LlmRequest, LlmResponse, Message, StreamInfo, same

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.llm import Choice
    from relay_core.payloads import Encoder

__all__ = ["CODEC", "LangChainCodec", "named_model"]

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
_NUMBERS: Final = (int, float)
_HIDDEN: Final = frozenset({"ls_structured_output_format"})  # LangChain's note for its own tracers


class LangChainCodec:
    """Reads and edits the ``ModelRequest`` of an agent's model call, and the `ModelCall` of a wrapped model.

    Edits that can be written: text, media and tool calls of messages, messages added and removed, sampling parameters and
    limits, reasoning effort, the model's name, tools changed, added and removed, the tool choice; in a response text and
    tool calls. Others raise `CodecError`.

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

    def shape_late(self, request: Any) -> Any:
        """Give the same to observers who may never look: put together then, unless something in it may have changed."""
        messages = [request.system_message, *request.messages] if request.system_message else list(request.messages)
        settings, beside = _settings(request), _beside(request, shown_tool)
        late = later_shape(messages, settings, beside)
        return llm_request(messages, settings, **beside) if late is None else late

    def decode_request(self, native: Any) -> LlmRequest:
        """Read a ``ModelRequest``, a `ModelCall`, or the observed shape of a model request."""
        if isinstance(native, dict):
            return views.request_view(native)
        if not hasattr(native, "model_settings"):
            raise CodecError(f"the codec {self.name!r} reads a ModelRequest, not {type(native).__name__}")
        fields = {name: value for name, value in _beside(native).items() if value}
        messages = [message_fields(message) for message in messages_of(native)]
        return views.request_view({**fields, **_settings(native), "messages": messages})

    def encode_request(self, view: LlmRequest, native: Any) -> Any:
        """Write the edits of `view` into a copy of the request; without edits it is `native` itself.

        Raises:
            CodecError: an edit has no place in LangChain's request.
        """
        if not hasattr(native, "override"):
            raise CodecError(f"only a ModelRequest can be edited, not {type(native).__name__}")
        decoded = self.decode_request(native)
        changed = {name for name in view.compared_fields() if not same(getattr(view, name), getattr(decoded, name))}
        refused = changed - EDITABLE
        if refused:
            raise CodecError(f"LangChain's model request has no place for an edit of {', '.join(sorted(refused))}")
        if not changed:
            return native
        result = native.override(**overrides(view, decoded, native, changed))
        written = self.decode_request(result)
        wrong = [name for name in changed if not same(getattr(view, name), getattr(written, name))]
        if wrong:
            raise CodecError(f"the edit of {', '.join(sorted(wrong))} cannot be written to LangChain's model request")
        return result

    def annotated(self, phase: str, frozen: Any, encoder: Encoder) -> dict[str, Any] | None:
        """Give the views that events of model calls show, see `annotating`."""
        return annotated(phase, frozen, encoder)

    def plain_views(self, phase: str, frozen: Any, encoder: Encoder) -> dict[str, Any] | None:
        """Give the same where a payload has nothing to hide, see `plain_views`; None where that way cannot tell."""
        return plain_views(phase, frozen, encoder)

    # -- responses -----------------------------------------------------------------------------------------------

    def decode_response(self, native: Any) -> LlmResponse:
        """Read a response: a message, a ``ModelResponse``, an ``LLMResult``, text, or the observed shape of one."""
        if isinstance(native, LLMResult):
            native = llm_result(native, message_fields)
        elif not isinstance(native, dict):
            native = reply(native, message_fields)
        if not isinstance(native, dict):
            raise CodecError(f"the codec {self.name!r} reads model responses, not {type(native).__name__}")
        return views.response_view(native)

    def encode_response(self, view: LlmResponse, native: Any) -> Any:
        """Write edits of what the model says and of its tool calls into a copy; without edits it is `native` itself.

        Raises:
            CodecError: something else was edited.
        """
        decoded = self.decode_response(native)
        if same(view, decoded):
            return native
        rest = {name for name in view.compared_fields() if name != "choices"}
        if len(view.choices) != len(decoded.choices) or any(
            not same(getattr(view, n), getattr(decoded, n)) for n in rest
        ):
            raise CodecError("text and tool calls of a LangChain response can be edited, and nothing else of it")
        if isinstance(native, BaseMessage):
            return _rewritten(native, decoded.choices[0], view.choices[0])
        if isinstance(native, LLMResult):
            return _rewritten_result(native, decoded, view)
        answers: list[Any] = getattr(native, "result", [])
        if not answers:
            raise CodecError(
                f"only a message, a ModelResponse or an LLMResult can be edited, not {type(native).__name__}"
            )
        first = _rewritten(answers[0], decoded.choices[0], view.choices[0])
        return dataclasses.replace(native, result=[first, *answers[1:]])

    def describe_chunk(self, chunk: Any) -> dict[str, Any]:
        """Say what a chunk of a stream brings, without its text."""
        message = getattr(chunk, "message", chunk)
        said: dict[str, Any] = {"provider": "langchain", "event_type": type(message).__name__}
        if not isinstance(message, BaseMessage):
            return said
        facts = message.response_metadata or {}
        finish = facts.get("finish_reason") or facts.get("stop_reason")
        if finish is not None:
            said["finish_reasons"] = [{"choice_index": 0, "finish_reason": finish}]
        calls = getattr(message, "tool_call_chunks", None)
        if calls:
            said["tool_call_indices"] = [call.get("index") for call in calls]
        usage = getattr(message, "usage_metadata", None)
        if usage:
            said["usage"] = dict(usage)
        return said

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
        """Take the next chunk: a message chunk, a generation chunk, or the text of a text model."""
        message = getattr(chunk, "message", chunk)
        self._events += 1
        if isinstance(message, Generation):
            message = message.text
        if not isinstance(message, BaseMessage | str):
            return
        self._complete = self._complete or getattr(message, "chunk_position", None) == "last"
        self._sum = message if self._sum is None else self._sum + message

    def result(self) -> Any:
        """Give the whole message so far."""
        return self._sum


CODEC: Final = LangChainCodec()


def _rewritten(message: BaseMessage, old: Choice, new: Choice) -> BaseMessage:
    if not same(old.replace(parts=()), new.replace(parts=())):
        raise CodecError("text and tool calls of a LangChain response can be edited, and nothing else of it")
    return rewritten(message, Message("assistant", old.parts), Message("assistant", new.parts))


def _rewritten_result(native: LLMResult, decoded: LlmResponse, view: LlmResponse) -> LLMResult:
    """Edit the generations of a result, which the choices of the views are in order."""
    choices = iter(zip(decoded.choices, view.choices, strict=True))
    generations: list[list[Any]] = []
    for prompt in native.generations:
        generations.append([])
        for generation in prompt:
            old, new = next(choices)
            made: Any = generation
            message = getattr(generation, "message", None)
            if same(old, new):
                pass
            elif message is None:
                made = generation.model_copy(update={"text": new.text})
            else:
                edited = _rewritten(message, old, new)
                made = generation.model_copy(update={"message": edited, "text": str(edited.text)})
            generations[-1].append(made)
    return native.model_copy(update={"generations": generations})


def _beside(request: Any, part: Callable[[Any], Any] = tool_definition) -> dict[str, Any]:
    """The fields of a request beside messages and settings."""
    name = request.model_settings.get("model") or named_model(request.model)
    tools = [part(tool) for tool in request.tools]
    return {"model": name if isinstance(name, str) else None, "tools": tools, "tool_choice": request.tool_choice}


def named_model(model: Any) -> str | None:
    """Give the name under which a model object asks its provider."""
    own = fields_of(model)
    name = own.get("model_name") or own.get("model") or getattr(type(model), "model_name", None)
    if isinstance(name, property):
        name = getattr(model, "model_name", None)
    return name if isinstance(name, str) and name else None


def _settings(request: Any) -> dict[str, Any]:
    """Parameters in force: the model object's own, and those of this request over them."""
    own = fields_of(request.model)
    found: dict[str, Any] = {}
    for name in _SETTINGS:
        if name in own and isinstance(own[name], _NUMBERS):
            found[name] = own[name]
    stop = own.get("stop")
    if isinstance(stop, list | str) and stop:
        found["stop"] = stop
    if request.model_settings:
        found.update((name, value) for name, value in request.model_settings.items() if name not in _HIDDEN)
    return found
