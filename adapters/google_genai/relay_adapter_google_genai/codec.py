"""The lens between Gemini's generateContent and the neutral view."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from relay_adapter_google_genai.assembler import ContentAssembler
from relay_adapter_google_genai.names import camel, get, respelled, spelled
from relay_adapter_google_genai.outline import ROLES, SPECIFIC, request_outline, response_outline
from relay_adapter_google_genai.parts import API, build_bare, build_part, read_parts, result_ops
from relay_adapter_google_genai.tools import choice_edits, read_choice, read_tools, tool_ops, tools_ops
from relay_adapter_google_genai.usage import read_usage
from relay_core.codec_parts import (
    JsonCodec,
    choice_ops,
    content_splice,
    copy_fields,
    edited_in_place,
    field_ops,
    finish_of,
    finish_ops,
    known,
    list_of,
    moved,
    number_of,
    table_of,
    text_of,
    texts_of,
    truth_of,
    without,
)
from relay_core.errors import CodecError
from relay_core.lens import Edit, Item, Op, copy_json, delete, insert, json_diff, put, splice, value_at
from relay_core.llm import (
    Choice,
    CitationPart,
    Conversation,
    Finish,
    FinishReason,
    LlmRequest,
    LlmResponse,
    Message,
    Params,
    Part,
    Path,
    Reasoning,
    ResponseFormat,
    ToolChoice,
    ToolDefinition,
    ToolResultPart,
)
from relay_core.outlines import request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from relay_core.outlines import Outline

__all__ = ["CODEC", "GeminiGenerateContentCodec"]

_CONFIG: Final = "generationConfig"
_THINKING: Final[Path] = (_CONFIG, "thinkingConfig")
_PARAMS: Final = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "seed": "seed",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_PLACES: Final[dict[str, Path]] = {
    **{name: (_CONFIG, key) for name, key in _PARAMS.items()},
    "cached_content": ("cachedContent",),
    "model": ("model",),
}
_FORMATS: Final = ("responseJsonSchema", "responseSchema")
_CONFIG_SEEN: Final = frozenset({*_PARAMS.values(), "thinkingConfig", "responseMimeType", *_FORMATS})
_SEEN: Final = frozenset({"model", "contents", "systemInstruction", "tools", "cachedContent", _CONFIG})
_TYPES: Final = {"application/json": "json", "text/plain": "text"}
_MIMES: Final = {"json": "application/json", "json_schema": "application/json", "text": "text/plain"}
_SOURCES: Final = ("web", "retrievedContext", "maps")
_WORDS: Final = {"assistant": "model", "tool": "function", "user": "user"}
_ANSWER_SEEN: Final = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
_ANSWER_SPECIFIC: Final = frozenset({"promptFeedback", "modelStatus", "automaticFunctionCallingHistory", "error"})
_REASONS: Final[dict[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        [
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "LANGUAGE",
            "MODEL_ARMOR",
            "JAILBREAK",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
        ],
        "content_filter",
    ),
    **dict.fromkeys(
        [
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
            "MISSING_THOUGHT_SIGNATURE",
            "MALFORMED_RESPONSE",
            "NO_IMAGE",
            "IMAGE_OTHER",
        ],
        "error",
    ),
    "CONTINUATION": "pause",
    # As numbers, of which the first eight mean the same in all versions.
    "1": "stop",
    "2": "length",
    **dict.fromkeys(("3", "4", "6", "7", "8"), "content_filter"),
}


class GeminiGenerateContentCodec(JsonCodec):
    """Gemini's generateContent and streamGenerateContent, of the Gemini API and of Vertex AI, in both spellings.

    A response may also be the list of chunks that a stream without SSE gives.

    Example:
        >>> native = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        >>> view = CODEC.decode_request(native)
        >>> CODEC.encode_request(view.replace(temperature=0.5), native)["generationConfig"]
        {'temperature': 0.5}
    """

    name = API
    native_types: tuple[type, ...] = (dict, list)

    def read_request(self, native: Any) -> LlmRequest:
        """Read the body of a request."""
        contents = table_of(native).get("contents")
        if not isinstance(contents, list):
            raise CodecError("a Gemini request is an object with a list of contents; this one has none")
        config = get(native, _CONFIG)
        cached = text_of(get(native, "cachedContent"))
        return LlmRequest(
            api=API,
            model=text_of(native.get("model")),
            instructions=_instructions(native),
            messages=tuple(_message(item, index) for index, item in enumerate(contents)),
            tools=read_tools(native),
            tool_choice=read_choice(native),
            params=_params(config),
            reasoning=_reasoning(get(config, "thinkingConfig")),
            response_format=_response_format(config),
            conversation=None if cached is None else Conversation(cached_content=cached),
            api_specific=_specific(native, config),
            extra={key: copy_json(value) for key, value in native.items() if _unknown(key)},
        )

    def read_response(self, native: Any) -> LlmResponse:
        """Read a response, or the list of chunks of one."""
        chunks: list[tuple[Path, Any]] = [((), native)]
        if isinstance(native, list):
            chunks = [((index,), chunk) for index, chunk in enumerate(native)]
        if not chunks or not all(_is_answer(chunk) for _, chunk in chunks):
            raise CodecError(
                "a Gemini response has candidates, a prompt feedback, usage or an error; this one has none"
            )
        last = {camel(key): value for _, chunk in chunks for key, value in chunk.items() if value is not None}
        usage = last.get("usageMetadata")
        return LlmResponse(
            api=API,
            id=text_of(last.get("responseId")),
            model=text_of(last.get("modelVersion")),
            created=_seconds(last.get("createTime")),
            choices=_choices(chunks) or _blocked(chunks),
            usage=read_usage(usage) if isinstance(usage, dict) else None,
            service_tier=text_of(get(usage, "serviceTier")),
            api_specific=copy_fields(last, keep=_ANSWER_SPECIFIC),
            extra=copy_fields(last, drop=_ANSWER_SEEN | _ANSWER_SPECIFIC),
        )

    def write(self, edits: Sequence[Edit], native: Any) -> Iterable[Op]:
        """Turn edits of a view into operations on the body."""
        ops = (op for edit in edits for op in self._ops(edit, native))
        return respelled(ops, native)

    def outline(self, phase: str, data: Any) -> Outline | None:
        """Put the annotated view of a usual call together from the payload that observers see; None for others."""
        return request_outline(request_of(data)) if phase == "start" else response_outline(data)

    def assembler(self) -> ContentAssembler:
        """Make an assembler for the chunks of one stream."""
        return ContentAssembler()

    def _ops(self, edit: Edit, native: Any) -> list[Op]:
        if edit.kind == "set":
            return _SETTERS.get(type(edit.new), _set_part)(edit, native)
        field, node = edit.fields[0], edit.old
        if field == "messages":
            return splice(("contents",), edit, lambda item: moved(native, item, _build_message, self.write))
        if field == "tools":
            return tools_ops(edit, native, self.write)
        if field == "instructions":
            return self._instruct(edit, native)
        if field == "parts" and isinstance(node, ToolResultPart):
            return result_ops(edit, native)
        if field == "parts" and isinstance(node, Message) and node.path is not None:
            return splice((*node.path, "parts"), edit, lambda item: moved(native, item, build_part, self.write))
        if (
            field == "parts"
            and isinstance(node, Choice)
            and node.path is not None
            and node.path[-1] != "promptFeedback"
        ):
            return _splice_choice(edit, lambda item: moved(native, item, build_part, self.write))
        raise edit.refused("Gemini's format has no place for it")

    def _instruct(self, edit: Edit, native: Any) -> list[Op]:
        if not edit.items:
            return [delete(("systemInstruction",))]
        where: Path = (spelled(native, "systemInstruction"),)
        given = value_at(native, where)
        return (
            content_splice(where if isinstance(given, str) else (*where, "parts"), edit, native, build_part, self.write)
            if isinstance(given, str | dict)
            and isinstance(given if isinstance(given, str) else given.get("parts"), str | list)
            else [put(where, {"parts": [build_part(item.new) for item in edit.items]})]
        )


CODEC: Final = GeminiGenerateContentCodec()


# --- reading ----------------------------------------------------------------------------------------------------------


def _instructions(native: Any) -> tuple[Part, ...]:
    key = spelled(native, "systemInstruction")
    given = native.get(key)
    return (
        read_parts(given, (key,))
        if isinstance(given, str)
        else read_parts(table_of(given).get("parts"), (key, "parts"))
    )


def _message(item: Any, index: int) -> Message:
    if not isinstance(item, dict):
        raise CodecError(f"contents[{index}] is no Gemini content: it is no object")
    role = text_of(item.get("role")) or "user"
    path: Path = ("contents", index)
    return Message(ROLES.get(role, role), read_parts(item.get("parts"), (*path, "parts")), path=path)


def _params(config: Any) -> Params:
    values = {name: get(config, key) for name, key in _PARAMS.items()}
    stop = texts_of(values.pop("stop"))
    return Params(stop=stop, **{name: number_of(value) for name, value in values.items()})


def _reasoning(thinking: Any) -> Reasoning | None:
    level, shown = text_of(get(thinking, "thinkingLevel")), truth_of(get(thinking, "includeThoughts"))
    summary = None if shown is None else "auto" if shown else "none"
    budget = number_of(get(thinking, "thinkingBudget"))
    found = known(effort=level and level.lower(), budget_tokens=budget, summary=summary)
    return Reasoning(**found) if found else None


def _response_format(config: Any) -> ResponseFormat | None:
    mime = text_of(get(config, "responseMimeType"))
    schema = copy_json(next((given for key in _FORMATS if (given := get(config, key)) is not None), None))
    if schema is not None and mime in {None, "application/json"}:
        return ResponseFormat("json_schema", schema)
    return None if mime is None else ResponseFormat(_TYPES.get(mime, mime), schema)


def _specific(native: Any, config: Any) -> dict[str, Any]:
    fields = {camel(key): copy_json(value) for key, value in native.items() if camel(key) in SPECIFIC}
    rest = {key: copy_json(value) for key, value in table_of(config).items() if camel(key) not in _CONFIG_SEEN}
    return {**fields, _CONFIG: rest} if rest else fields


def _unknown(key: str) -> bool:
    return camel(key) not in _SEEN and camel(key) not in SPECIFIC and camel(key) != "toolConfig"


def _is_answer(chunk: Any) -> bool:
    fields = {camel(key): value for key, value in table_of(chunk).items()}
    blocked = any(isinstance(fields.get(key), dict) for key in ("promptFeedback", "usageMetadata", "error"))
    return blocked or isinstance(fields.get("candidates"), list)


def _choices(chunks: list[tuple[Path, Any]]) -> tuple[Choice, ...]:
    """The candidates; those of several chunks are put together by index."""
    made: dict[Any, Choice] = {}
    for where, chunk in chunks:
        for spot, item in enumerate(list_of(chunk.get("candidates"))):
            choice = _choice(item, spot, (*where, "candidates", spot))
            first = made.get(choice.index if where else spot)
            if first is not None:
                finish = choice.finish or first.finish
                choice = first.replace(parts=(*first.parts, *choice.parts), finish=finish)
            made[choice.index if where else spot] = choice
    return tuple(made.values())


def _choice(item: Any, spot: int, path: Path) -> Choice:
    content = table_of(table_of(item).get("content"))
    index = number_of(table_of(item).get("index"))
    role = text_of(content.get("role")) or "model"
    key = spelled(item, "finishReason")
    return Choice(
        index=index if isinstance(index, int) else spot,
        role=ROLES.get(role, role),
        parts=(*read_parts(content.get("parts"), (*path, "content", "parts")), *_citations(item, path)),
        finish=finish_of(table_of(item).get(key), _REASONS, (*path, key)),
        path=path,
    )


def _citations(item: Any, path: Path) -> Iterator[CitationPart]:
    for holder, names in (
        ("citationMetadata", ("citations", "citationSources")),
        ("groundingMetadata", ("groundingChunks",)),
    ):
        outer = spelled(item, holder)
        table = table_of(table_of(item).get(outer))
        for name in names:
            key = spelled(table, name)
            for spot, source in enumerate(list_of(table.get(key))):
                told = next((value for kind in _SOURCES if (value := get(source, kind))), source)
                url, title = text_of(get(told, "uri")), text_of(get(told, "title"))
                yield CitationPart(url=url, title=title, value=copy_json(source), path=(*path, outer, key, spot))


def _blocked(chunks: list[tuple[Path, Any]]) -> tuple[Choice, ...]:
    """An empty choice where there is no candidate, but a reason for it."""
    for where, chunk in chunks:
        key = spelled(chunk, "promptFeedback")
        word = get(chunk.get(key), "blockReason")
        if word is not None:
            return (Choice(finish=Finish("content_filter", str(word)), path=(*where, key)),)
        error = chunk.get("error")
        if isinstance(error, dict):
            status = error.get("status") or error.get("code")
            return (
                Choice(
                    finish=Finish("error", None if status is None else str(status)), path=(*where, "promptFeedback")
                ),
            )
    return ()


def _seconds(stamp: Any) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) else None
    except (ValueError, OverflowError):
        return None


# --- writing ----------------------------------------------------------------------------------------------------------


def _set_part(edit: Edit, native: Any) -> list[Op]:
    node, path = edit.new, edit.old.path
    if edit.fields == ("text",) and path is not None and isinstance(value_at(native, path), str):
        return [put(path, node.text)]
    return edited_in_place(edit, build_bare)


def _set_request(edit: Edit, native: Any) -> list[Op]:
    view: LlmRequest = edit.new
    special = {"tool_choice", "reasoning", "response_format", "conversation"}.intersection(edit.fields)
    if "model" in edit.fields and "model" not in native:
        raise edit.refused("the model stands in the address of a Gemini call, not in its body")
    ops = field_ops(without(edit, special), _PLACES, native, shared=(_CONFIG,))
    if "tool_choice" in special:
        ops += choice_edits(edit.old.tool_choice, view.tool_choice, native)
    if "reasoning" in special:
        ops += _reason(edit.old.reasoning, view.reasoning, native)
    if "response_format" in special:
        ops += _format_ops(edit.old.response_format, view.response_format, native)
    if "conversation" in special:
        ops.append(put(("cachedContent",), view.conversation and view.conversation.cached_content))
    return ops


def _reason(old: Reasoning | None, new: Reasoning | None, native: Any) -> list[Op]:
    there = {camel(key) for key in table_of(get(get(native, _CONFIG), "thinkingConfig"))}
    if new is None and there <= {"thinkingBudget", "thinkingLevel", "includeThoughts"}:
        return [delete(_THINKING)]
    return json_diff(_build_reasoning(old), _build_reasoning(new), _THINKING)


def _build_reasoning(reasoning: Reasoning | None) -> dict[str, Any]:
    if reasoning is None:
        return {}
    shown = None if reasoning.summary is None else reasoning.summary != "none"
    level = reasoning.effort and reasoning.effort.upper()
    return known(thinkingBudget=reasoning.budget_tokens, thinkingLevel=level, includeThoughts=shown)


def _format_ops(old: ResponseFormat | None, new: ResponseFormat | None, native: Any) -> list[Op]:
    config = get(native, _CONFIG)
    schema = next((key for key in _FORMATS if get(config, key) is not None), _FORMATS[0])
    return json_diff(_build_format(old, schema), _build_format(new, schema), (_CONFIG,))


def _build_format(form: ResponseFormat | None, schema: str) -> dict[str, Any]:
    if form is None:
        return {}
    return known(responseMimeType=_MIMES.get(form.type, form.type), **{schema: form.schema})


def _set_message(edit: Edit, native: Any) -> list[Op]:
    if edit.fields != ("role",):
        raise edit.refused("a Gemini content has a role and parts, no more")
    del native
    return [put((*edit.old.path, "role"), _word(edit.new.role))]


def _word(role: str) -> str:
    if role not in _WORDS:
        hint = "; put it into the instructions" if role in {"system", "developer"} else ""
        raise CodecError(f"Gemini has no role {role!r}{hint}")
    return _WORDS[role]


def _build_message(message: Message) -> dict[str, Any]:
    return {"role": _word(message.role), "parts": [build_part(part) for part in message.parts]}


def _set_choice(edit: Edit, native: Any) -> list[Op]:
    blocked = edit.old.path[-1] == "promptFeedback"
    return choice_ops(edit, {} if blocked else {"finish": (*edit.old.path, "finishReason")}, _REASONS, native)


def _splice_choice(edit: Edit, build: Callable[[Item], Any]) -> list[Op]:
    """Splice the parts of a candidate, which may come from several chunks, with its citations after them."""
    ops = [delete(node.path) for node in edit.removed]
    kept = [item.old.path for item in edit.items if item.kept and item.old.path[-2] == "parts"]
    left = [node.path for node in edit.removed if node.path[-2] == "parts"]
    spot: Path = (*kept, *left, (*edit.old.path, "content", "parts", 0))[0]
    for item in edit.items:
        if not item.kept:
            ops.append(insert(spot, build(item)))
        elif item.old.path[-2] == "parts":
            spot = (*item.old.path[:-1], item.old.path[-1] + 1)
    return ops


_ANSWER: Final[dict[str, Path]] = {"id": ("responseId",), "model": ("modelVersion",)}
_SETTERS: Final[dict[type, Callable[[Edit, Any], list[Op]]]] = {
    LlmRequest: _set_request,
    LlmResponse: lambda edit, native: field_ops(edit, _ANSWER, native),
    Params: lambda edit, native: field_ops(edit, _PLACES, native),
    Conversation: lambda edit, native: field_ops(edit, _PLACES, native),
    Reasoning: lambda edit, native: _reason(edit.old, edit.new, native),
    ResponseFormat: lambda edit, native: _format_ops(edit.old, edit.new, native),
    ToolChoice: lambda edit, native: choice_edits(edit.old, edit.new, native),
    ToolDefinition: tool_ops,
    Message: _set_message,
    Choice: _set_choice,
    Finish: lambda edit, _native: finish_ops(edit, _REASONS),
}
