"""The OpenAI Responses API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from relay_core.testing.fake_provider.api import InvalidRequest
from relay_core.testing.fake_provider.openai_errors import openai_error
from relay_core.testing.fake_provider.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay_core.testing.fake_provider.replies import Tokens
    from relay_core.testing.fake_provider.requests import RecordedRequest
    from relay_core.testing.fake_provider.turn import Turn

Json = dict[str, Any]

_ECHOED: Json = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}
"""Request fields that a response repeats, with the value they have when the request leaves them out."""

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class OpenAIResponses:
    """Responses, JSON and SSE.

    Example:
        >>> OpenAIResponses().error(400, "No.", "req_fake_1")["error"]["type"]
        'invalid_request_error'
    """

    name = "openai_responses"
    request_id_header = "x-request-id"

    def check(self, request: RecordedRequest) -> None:
        """Refuse a request without a model or an input."""
        for name in ("model", "input"):
            if not request.fields.get(name) and not (name == "model" and request.model):
                raise InvalidRequest(
                    f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
                )
        if not isinstance(request.fields["input"], str | list):
            raise InvalidRequest(
                "Invalid type for 'input': expected a string or an array.", param="input", code="invalid_type"
            )

    def render(self, turn: Turn) -> Json:
        """Render a `response`."""
        return _finished(turn)

    def events(self, turn: Turn) -> Iterator[ServerSentEvent]:
        """Render the events of a response, numbered."""
        for number, (kind, fields) in enumerate(_lifecycle(turn)):
            yield _event(kind, number, fields)

    def error_events(self, turn: Turn, sent: int) -> Iterator[ServerSentEvent]:
        """Render `error` and `response.failed`."""
        message = turn.reply.error_message
        yield _event("error", sent, {"code": "server_error", "message": message, "param": None})
        failed = _response(turn, "failed", [])
        failed["error"] = {"code": "server_error", "message": message}
        yield _event("response.failed", sent + 1, {"response": failed})

    def error(self, status: int, message: str, request_id: str, problem: InvalidRequest | None = None) -> Json:
        """Render an error body."""
        del request_id
        return openai_error(status, message, problem)


def _event(kind: str, number: int, fields: Json) -> ServerSentEvent:
    return ServerSentEvent.of({"type": kind, "sequence_number": number, **fields}, kind)


def _response(turn: Turn, status: str, output: list[Json], usage: Json | None = None) -> Json:
    asked = turn.request.fields
    echoed = {name: default if asked.get(name) is None else asked[name] for name, default in _ECHOED.items()}
    return {
        "id": f"resp_fake_{turn.number}",
        "object": "response",
        "created_at": turn.reply.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": turn.model,
        "output": output,
        **echoed,
        "usage": usage,
    }


def _finished(turn: Turn) -> Json:
    reason = _INCOMPLETE.get(turn.finish)
    status = "incomplete" if reason else "completed"
    done = _response(turn, status, [item for item, _ in _items(turn, status)], _usage(turn.usage()))
    if reason:
        done["incomplete_details"] = {"reason": reason}
    return done


def _usage(tokens: Tokens) -> Json:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cache_write_tokens": tokens.cache_write, "cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.total,
    }


def _lifecycle(turn: Turn) -> Iterator[tuple[str, Json]]:
    started = _response(turn, "in_progress", [])
    yield "response.created", {"response": started}
    yield "response.in_progress", {"response": started}
    final = _finished(turn)
    for index, (item, empty) in enumerate(_items(turn, final["status"])):
        yield "response.output_item.added", {"output_index": index, "item": empty}
        for kind, fields in _item_events(turn, item):
            yield kind, {"item_id": item["id"], "output_index": index, **fields, **_padding(turn, fields)}
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield f"response.{final['status']}", {"response": final}


def _padding(turn: Turn, fields: Json) -> Json:
    """Deltas are padded to hide their length from an onlooker, unless the request opts out."""
    options: Any = turn.request.fields.get("stream_options")
    wanted = not isinstance(options, dict) or cast("Json", options).get("include_obfuscation") is not False
    return {"obfuscation": "x" * (16 - len(fields["delta"]) % 16)} if wanted and "delta" in fields else {}


def _items(turn: Turn, status: str) -> Iterator[tuple[Json, Json]]:
    """The output items, each with the empty form in which a stream announces it."""
    reply, number = turn.reply, turn.number
    if reply.reasoning:
        item: Json = {"id": f"rs_fake_{number}", "type": "reasoning"}
        yield {**item, "summary": [{"type": "summary_text", "text": reply.reasoning}]}, {**item, "summary": []}
    parts = _parts(turn)
    if parts:
        item = {"id": f"msg_fake_{number}", "type": "message", "role": "assistant"}
        yield {**item, "status": status, "content": parts}, {**item, "status": "in_progress", "content": []}
    for position, call in enumerate(turn.tools()):
        item = {"id": f"fc_fake_{number}_{position}", "type": "function_call", "call_id": call.id, "name": call.name}
        yield (
            {**item, "status": "completed", "arguments": call.arguments_json},
            {**item, "status": "in_progress", "arguments": ""},
        )


def _parts(turn: Turn) -> list[Json]:
    parts: list[Json] = []
    if turn.text or not (turn.reply.tool_calls or turn.reply.refusal):
        parts.append({"type": "output_text", "annotations": [], "logprobs": [], "text": turn.text})
    if turn.reply.refusal:
        parts.append({"type": "refusal", "refusal": turn.reply.refusal})
    return parts


def _item_events(turn: Turn, item: Json) -> Iterator[tuple[str, Json]]:
    if item["type"] == "reasoning":
        yield from _summary_events(turn, item["summary"][0])
    elif item["type"] == "message":
        for index, part in enumerate(item["content"]):
            for kind, fields in _part_events(turn, part):
                yield kind, {"content_index": index, **fields}
    else:
        for piece in turn.reply.split_arguments(item["arguments"]):
            yield "response.function_call_arguments.delta", {"delta": piece}
        yield "response.function_call_arguments.done", {"arguments": item["arguments"]}


def _summary_events(turn: Turn, part: Json) -> Iterator[tuple[str, Json]]:
    at = {"summary_index": 0}
    yield "response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}
    for piece in turn.reply.split(part["text"]):
        yield "response.reasoning_summary_text.delta", {**at, "delta": piece}
    yield "response.reasoning_summary_text.done", {**at, "text": part["text"]}
    yield "response.reasoning_summary_part.done", {**at, "part": part}


def _part_events(turn: Turn, part: Json) -> Iterator[tuple[str, Json]]:
    if part["type"] == "refusal":
        yield "response.content_part.added", {"part": {**part, "refusal": ""}}
        for piece in turn.reply.split(part["refusal"]):
            yield "response.refusal.delta", {"delta": piece}
        yield "response.refusal.done", {"refusal": part["refusal"]}
    else:
        yield "response.content_part.added", {"part": {**part, "text": ""}}
        for piece in turn.text_pieces:
            yield "response.output_text.delta", {"delta": piece, "logprobs": []}
        yield "response.output_text.done", {"text": part["text"], "logprobs": []}
    yield "response.content_part.done", {"part": part}
