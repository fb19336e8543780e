"""The OpenAI Chat Completions API."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, cast

from relay_core.testing.fake_provider.api import InvalidRequest, required_list
from relay_core.testing.fake_provider.openai_errors import openai_error
from relay_core.testing.fake_provider.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay_core.testing.fake_provider.replies import Tokens, ToolCall
    from relay_core.testing.fake_provider.requests import RecordedRequest
    from relay_core.testing.fake_provider.turn import Turn

Json = dict[str, Any]
_FINGERPRINT = "fp_fake"


class OpenAIChat:
    """Chat Completions, JSON and SSE.

    Example:
        >>> OpenAIChat().error(429, "Slow down.", "req_fake_1")["error"]["code"]
        'rate_limit_exceeded'
    """

    name = "openai_chat"
    request_id_header = "x-request-id"

    def check(self, request: RecordedRequest) -> None:
        """Refuse a request without a model or messages."""
        if not request.model:
            raise InvalidRequest("you must provide a model parameter")
        required_list(request, "messages")
        choices = request.fields.get("n")
        if choices is not None and (not isinstance(choices, int) or choices < 1):
            raise InvalidRequest("Invalid 'n': expected an integer of at least 1.", param="n", code="invalid_value")

    def render(self, turn: Turn) -> Json:
        """Render a `chat.completion`."""
        count = _choices(turn)
        return {
            "id": f"chatcmpl-fake-{turn.number}",
            "object": "chat.completion",
            "created": turn.reply.created,
            "model": turn.model,
            "choices": [
                {"index": index, "message": _message(turn, index), "logprobs": None, "finish_reason": turn.finish}
                for index in range(count)
            ],
            "usage": _usage(turn.usage(count)),
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }

    def events(self, turn: Turn) -> Iterator[ServerSentEvent]:
        """Render `chat.completion.chunk` events; the usage chunk comes only when it is asked for."""
        count = _choices(turn)
        usage = _wants_usage(turn)
        for choice in _take_turns([_choice_chunks(turn, index) for index in range(count)]):
            yield _chunk(turn, [choice], {"usage": None} if usage else {})
        if usage:
            yield _chunk(turn, [], {"usage": _usage(turn.usage(count))})
        yield ServerSentEvent("[DONE]")

    def error_events(self, turn: Turn, sent: int) -> Iterator[ServerSentEvent]:
        """Render the error that ends a stream; no `[DONE]` follows it."""
        del sent
        yield ServerSentEvent.of(openai_error(500, turn.reply.error_message))

    def error(self, status: int, message: str, request_id: str, problem: InvalidRequest | None = None) -> Json:
        """Render an error body."""
        del request_id
        return openai_error(status, message, problem)


def _choices(turn: Turn) -> int:
    count: Any = turn.request.fields.get("n")
    return count if isinstance(count, int) else 1


def _wants_usage(turn: Turn) -> bool:
    options: Any = turn.request.fields.get("stream_options")
    return isinstance(options, dict) and cast("Json", options).get("include_usage") is True


def _message(turn: Turn, choice: int) -> Json:
    reply = turn.reply
    message: Json = {"role": "assistant", "content": _content(turn)}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in turn.tools(choice)]
    message["refusal"] = reply.refusal
    message["annotations"] = []
    return message


def _content(turn: Turn) -> str | None:
    """Content is null, not empty, beside tool calls and refusals."""
    return turn.text or (None if turn.reply.tool_calls or turn.reply.refusal else "")


def _tool_call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}


def _usage(tokens: Tokens) -> Json:
    prompt = {"cached_tokens": tokens.cached, "audio_tokens": 0}
    if tokens.cache_write:
        prompt["cache_write_tokens"] = tokens.cache_write
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _chunk(turn: Turn, choices: list[Json], extra: Json) -> ServerSentEvent:
    return ServerSentEvent.of(
        {
            "id": f"chatcmpl-fake-{turn.number}",
            "object": "chat.completion.chunk",
            "created": turn.reply.created,
            "model": turn.model,
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
            "choices": choices,
            **extra,
        }
    )


def _choice_chunks(turn: Turn, index: int) -> Iterator[Json]:
    for delta in _deltas(turn, index):
        yield {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
    yield {"index": index, "delta": {}, "logprobs": None, "finish_reason": turn.finish}


def _deltas(turn: Turn, choice: int) -> Iterator[Json]:
    reply = turn.reply
    yield {"role": "assistant", "content": "" if turn.text else _content(turn), "refusal": None}
    for piece in reply.split(reply.reasoning or ""):
        yield {"reasoning_content": piece}
    for piece in turn.text_pieces:
        yield {"content": piece}
    for piece in reply.split(reply.refusal or ""):
        yield {"refusal": piece}
    calls = [_call_deltas(turn, position, call) for position, call in enumerate(turn.tools(choice))]
    for delta in _take_turns(calls) if reply.interleave else chain.from_iterable(calls):
        yield {"tool_calls": [delta]}


def _call_deltas(turn: Turn, position: int, call: ToolCall) -> Iterator[Json]:
    function = {"name": call.name, "arguments": ""}
    yield {"index": position, "id": call.id, "type": "function", "function": function}
    for piece in turn.reply.split_arguments(call.arguments_json):
        yield {"index": position, "function": {"arguments": piece}}


def _take_turns(sources: Iterable[Iterator[Json]]) -> Iterator[Json]:
    for row in zip_longest(*sources):
        yield from (item for item in row if item is not None)
