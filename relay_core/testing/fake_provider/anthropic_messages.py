"""The Anthropic Messages API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from relay_core.testing.fake_provider.api import InvalidRequest
from relay_core.testing.fake_provider.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_core.testing.fake_provider.replies import Tokens, ToolCall
    from relay_core.testing.fake_provider.requests import RecordedRequest
    from relay_core.testing.fake_provider.turn import Turn

Json = dict[str, Any]

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_SIGNATURE = "RmFrZVByb3ZpZGVyU2lnbmF0dXJl"


class AnthropicMessages:
    """Messages, JSON and SSE.

    Example:
        >>> AnthropicMessages().error(529, "Overloaded", "req_fake_1")["error"]["type"]
        'overloaded_error'
    """

    name = "anthropic_messages"
    request_id_header = "request-id"

    def check(self, request: RecordedRequest) -> None:
        """Refuse a request without a model, a token limit or messages."""
        for name in ("model", "max_tokens", "messages"):
            if request.fields.get(name) is None:
                raise InvalidRequest(f"{name}: Field required", param=name)
        messages: Any = request.fields["messages"]
        if not isinstance(messages, list):
            raise InvalidRequest("messages: Input should be a valid list", param="messages")
        if not messages:
            raise InvalidRequest("messages: at least one message is required", param="messages")

    def render(self, turn: Turn) -> Json:
        """Render a `message`."""
        usage = {**_start_usage(turn.usage()), **_final_usage(turn)}
        return _message(turn, [block for block, _ in _blocks(turn)], _stop_reason(turn), usage)

    def events(self, turn: Turn) -> Iterator[ServerSentEvent]:
        """Render the events of a message; a ping follows the first block's start, as it does in real traffic."""
        started = _message(turn, [], None, {**_start_usage(turn.usage()), "output_tokens": 1})
        yield _event("message_start", {"message": started})
        blocks = _blocks(turn, lenient=True)
        for index, (block, deltas) in enumerate(blocks):
            yield _event("content_block_start", {"index": index, "content_block": _empty(block)})
            if index == 0:
                yield _event("ping", {})
            for delta in deltas:
                yield _event("content_block_delta", {"index": index, "delta": delta})
            yield _event("content_block_stop", {"index": index})
        if not blocks:
            yield _event("ping", {})
        stop = {"stop_reason": _stop_reason(turn), "stop_sequence": None}
        yield _event("message_delta", {"delta": stop, "usage": _final_usage(turn)})
        yield _event("message_stop", {})

    def error_events(self, turn: Turn, sent: int) -> Iterator[ServerSentEvent]:
        """Render the `error` event."""
        del sent
        error = {"type": "overloaded_error", "message": turn.reply.error_message}
        yield _event("error", {"error": error, "request_id": f"req_fake_{turn.request.number}"})

    def error(self, status: int, message: str, request_id: str, problem: InvalidRequest | None = None) -> Json:
        """Render an error body."""
        del problem
        kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def _event(kind: str, fields: Json) -> ServerSentEvent:
    return ServerSentEvent.of({"type": kind, **fields}, kind)


def _stop_reason(turn: Turn) -> str:
    if turn.reply.refusal and turn.reply.finish is None:
        return "refusal"
    return _STOP_REASONS.get(turn.finish, turn.finish)


def _message(turn: Turn, content: list[Json], stop_reason: str | None, usage: Json) -> Json:
    return {
        "model": turn.model,
        "id": f"msg_fake_{turn.number}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _input_usage(tokens: Tokens) -> Json:
    """Anthropic's input tokens leave out what was read from or written to the cache."""
    return {
        "input_tokens": max(0, tokens.input - tokens.cached - tokens.cache_write),
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached,
    }


def _start_usage(tokens: Tokens) -> Json:
    written = {"ephemeral_5m_input_tokens": tokens.cache_write, "ephemeral_1h_input_tokens": 0}
    return {**_input_usage(tokens), "cache_creation": written, "output_tokens": 0, "service_tier": "standard"}


def _final_usage(turn: Turn) -> Json:
    tokens = turn.usage()
    usage = {**_input_usage(tokens), "output_tokens": tokens.output}
    if tokens.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage


def _blocks(turn: Turn, *, lenient: bool = False) -> list[tuple[Json, list[Json]]]:
    """The content blocks, each with the deltas that stream it."""
    reply = turn.reply
    blocks: list[tuple[Json, list[Json]]] = []
    if reply.reasoning:
        deltas: list[Json] = [{"type": "thinking_delta", "thinking": piece} for piece in reply.split(reply.reasoning)]
        deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        blocks.append(({"type": "thinking", "thinking": reply.reasoning, "signature": _SIGNATURE}, deltas))
    for text, pieces in ((turn.text, turn.text_pieces), (reply.refusal or "", reply.split(reply.refusal or ""))):
        if text:
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
            blocks.append(({"type": "text", "text": text}, deltas))
    for call in turn.tools():
        pieces = ["", *reply.split_arguments(call.arguments_json)]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        given = {} if lenient else _input(call)
        blocks.append(({"type": "tool_use", "id": call.id, "name": call.name, "input": given}, deltas))
    return blocks


def _input(call: ToolCall) -> Json:
    """A JSON answer holds the arguments as an object, so text that does not parse has no place in it."""
    try:
        given = json.loads(call.arguments_json)
    except ValueError:
        given = None
    if isinstance(given, dict):
        return cast("Json", given)
    raise ValueError(
        f"ToolCall({call.name!r}): its arguments are no JSON object, and a Messages answer that is not streamed can "
        "hold nothing else; stream it, or give a mapping"
    )


def _empty(block: Json) -> Json:
    """The form in which a stream announces a block."""
    blank: Json = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {name: blank.get(name, value) for name, value in block.items() if name != "type"} | {"type": block["type"]}
