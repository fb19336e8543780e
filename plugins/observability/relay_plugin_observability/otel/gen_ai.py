"""The projection ``gen_ai``: the words of OpenTelemetry's semantic conventions for generative AI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_plugin_observability.otel import words
from relay_plugin_observability.otel.facts import failure, llm_facts, mapping, pick, provider_of, said
from relay_plugin_observability.otel.full import exception_event, mark_attributes, mark_identity, rejection
from relay_plugin_observability.otel.messages import input_messages, instructions, output_messages, tool_definitions
from relay_plugin_observability.otel.values import attribute, text_of
from relay_plugin_observability.projection import Projected, SpanEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay_plugin_observability.otel.facts import LlmFacts, Tokens
    from relay_plugin_observability.projection import Attribute, ScopeRecord, SpanKind

__all__ = ["GenAiProjection"]

_TURN: Final = "turn"
_CONVERSATION: Final = ("gen_ai.conversation.id", "conversation_id", "session_id", "session.id", "thread_id")


class _Draft(msgspec.Struct):
    """A span under construction."""

    name: str
    kind: SpanKind
    attributes: dict[str, Attribute]
    said: Mapping[str, Any]

    def told(self, *keys: str) -> Any:
        """Look a fact up in the metadata and the profile."""
        return pick(self.said, keys)

    def put(self, key: str, value: Any) -> None:
        """Set an attribute if there is a value."""
        made = attribute(value)
        if made is not None:
            self.attributes[key] = made


class GenAiProjection:
    """Spans as the GenAI conventions name them. Scopes without a GenAI meaning keep their place as plain spans.

    Args:
        capture_content: show messages, instructions, tool definitions, arguments, results, queries and documents.

    Example:
        >>> GenAiProjection().name, GenAiProjection().capture_content
        ('gen_ai', False)
    """

    name = "gen_ai"
    version = 1
    schema_url = words.SCHEMA_URL

    def __init__(self, *, capture_content: bool = False) -> None:
        self.capture_content = capture_content

    def project(self, record: ScopeRecord) -> Projected:
        """Say what the scope looks like."""
        category = record.start.category
        draft = _Draft(record.start.name, "internal", {}, {})
        if category == "llm":
            self._model_call(draft, record)
        elif category == "tool":
            self._tool(draft, record)
        elif category == "agent" or mapping(record.start.metadata).get("nemo_relay_scope_role") == _TURN:
            self._agent(draft, record)
        elif category == "embedder":
            self._embedding(draft, record)
        elif category == "retriever":
            self._retrieval(draft, record)
        elif category == "guardrail":
            draft.put(words.GUARDRAIL_ALLOWED, mapping(record.end.data if record.end else None).get("allowed"))
        return _finished(draft, record, self._events(record))

    def _events(self, record: ScopeRecord) -> list[SpanEvent]:
        """Show marks by name; what they carry is content."""
        raised = exception_event(record)
        events = [] if raised is None else [raised]
        for mark in record.marks:
            said = mark_attributes(mark) if self.capture_content else mark_identity(mark)
            events.append(SpanEvent(mark.name, mark.timestamp_ns, said))
        return sorted(events, key=lambda event: event.timestamp_ns)

    def _model_call(self, draft: _Draft, record: ScopeRecord) -> None:
        facts = llm_facts(record)
        draft.said = facts.said
        _operation(draft, facts.operation, facts.request_model, "client")
        _whom(draft, facts)
        draft.put(words.CONVERSATION_ID, _conversation(draft, record))
        _put_request(draft, facts.request, stream="streaming" in record.start.attributes)
        _put_response(draft, facts)
        draft.put(words.TIME_TO_FIRST_CHUNK, facts.first_chunk)
        if facts.owns_usage:
            _put_tokens(draft, facts.tokens)
        if self.capture_content:
            request = facts.request
            draft.put(words.SYSTEM_INSTRUCTIONS, instructions(request.get("instructions")))
            draft.put(words.INPUT_MESSAGES, input_messages(request.get("messages")))
            draft.put(words.TOOL_DEFINITIONS, tool_definitions(request.get("tools")))
            draft.put(words.OUTPUT_MESSAGES, output_messages(facts.response, facts.finish_reasons))

    def _tool(self, draft: _Draft, record: ScopeRecord) -> None:
        start, end = record.start, record.end
        draft.said = said(record)
        name = draft.told(words.TOOL_NAME) or start.name
        _operation(draft, words.EXECUTE_TOOL, str(name), "internal")
        draft.put(words.TOOL_NAME, name)
        draft.put(words.TOOL_CALL_ID, draft.told("tool_call_id"))
        draft.put(words.TOOL_TYPE, draft.told(words.TOOL_TYPE, "tool_type") or "function")
        draft.put(words.TOOL_DESCRIPTION, draft.told(words.TOOL_DESCRIPTION, "tool_description", "description"))
        if self.capture_content:
            draft.put(words.TOOL_ARGUMENTS, None if start.data is None else text_of(start.data))
            draft.put(words.TOOL_RESULT, None if end is None or end.data is None else text_of(end.data))

    def _agent(self, draft: _Draft, record: ScopeRecord) -> None:
        draft.said = said(record)
        name = draft.told(words.AGENT_NAME) or (record.start.name if record.start.category == "agent" else None)
        _operation(draft, words.INVOKE_AGENT, None if name is None else str(name), "internal")
        draft.put(words.AGENT_NAME, name)
        draft.put(words.AGENT_ID, draft.told(words.AGENT_ID, "agent_id"))
        draft.put(words.AGENT_DESCRIPTION, draft.told(words.AGENT_DESCRIPTION, "agent_description"))
        draft.put(words.AGENT_VERSION, draft.told(words.AGENT_VERSION, "agent_version"))
        draft.put(words.CONVERSATION_ID, _conversation(draft, record))
        draft.put(words.REQUEST_MODEL, draft.told(words.REQUEST_MODEL, "model_name", "model"))

    def _embedding(self, draft: _Draft, record: ScopeRecord) -> None:
        facts = llm_facts(record)
        request = {**mapping(record.start.data), **mapping(mapping(record.start.data).get("content"))}
        draft.said = facts.said
        model = facts.request_model or draft.told(words.REQUEST_MODEL, "model") or request.get("model")
        _operation(draft, words.EMBEDDINGS, None if model is None else str(model), "client")
        _whom(draft, facts)
        draft.put(words.REQUEST_MODEL, model)
        draft.put(words.RESPONSE_MODEL, facts.response_model)
        draft.put(words.EMBEDDING_DIMENSIONS, _whole(facts.request.get("dimensions", request.get("dimensions"))))
        encoding = facts.request.get("encoding_format", request.get("encoding_format"))
        draft.put(words.ENCODING_FORMATS, [encoding] if isinstance(encoding, str) else None)
        if facts.owns_usage:
            told = draft.told(words.INPUT_TOKENS, "input_tokens", "prompt_tokens")
            draft.put(words.INPUT_TOKENS, _whole(told) if facts.tokens.input is None else facts.tokens.input)

    def _retrieval(self, draft: _Draft, record: ScopeRecord) -> None:
        draft.said = {**mapping(record.start.data), **said(record)}
        source = draft.told(words.DATA_SOURCE_ID, "data_source_id", "index_name", "collection_name")
        _operation(draft, words.RETRIEVAL, None if source is None else str(source), "client")
        _whom(draft, None)
        draft.put(words.DATA_SOURCE_ID, source)
        draft.put(words.REQUEST_MODEL, draft.told(words.REQUEST_MODEL, "model_name"))
        draft.put(words.RETRIEVAL_TOP_K, _whole(draft.told(words.RETRIEVAL_TOP_K, "top_k", "k")))
        if self.capture_content:
            asked, end = record.start.data, record.end
            query = asked if isinstance(asked, str) else draft.told("query", "query_text", "question")
            draft.put(words.RETRIEVAL_QUERY, query)
            draft.put(words.RETRIEVAL_DOCUMENTS, None if end is None or end.data is None else text_of(end.data))


def _finished(draft: _Draft, record: ScopeRecord, events: list[SpanEvent]) -> Projected:
    """Add what every span carries: the run's facts, and how it ended."""
    for key, value in record.inherited.items():
        draft.attributes.setdefault(key, value)
    failed = failure(record)
    error: str | None = None
    if failed is not None:
        draft.attributes[words.ERROR_TYPE], error = failed
    elif (reason := rejection(record)) is not None:
        draft.attributes[words.ERROR_TYPE], error = "guardrail_rejected", reason
    status = mapping(record.end.metadata).get("relay.status") if record.end is not None else "open"
    if isinstance(status, str) and status not in ("ok", "error"):
        draft.attributes[words.STATUS] = status
    return Projected(draft.name, draft.kind, draft.attributes, events, error)


def _operation(draft: _Draft, operation: str, qualifier: str | None, kind: SpanKind) -> None:
    draft.name = operation if not qualifier else f"{operation} {qualifier}"
    draft.kind = kind
    draft.attributes[words.OPERATION] = operation


def _conversation(draft: _Draft, record: ScopeRecord) -> Any:
    return draft.told(*_CONVERSATION) or record.inherited.get("session.id")


def _whom(draft: _Draft, facts: LlmFacts | None) -> None:
    """Say which provider was called, and where."""
    draft.put(words.PROVIDER, facts.provider if facts is not None else provider_of(draft.said))
    draft.put(words.SERVER_ADDRESS, draft.told(words.SERVER_ADDRESS, "server_address"))
    draft.put(words.SERVER_PORT, _whole(draft.told(words.SERVER_PORT, "server_port")))
    if facts is not None:
        draft.put(words.REQUEST_MODEL, facts.request_model)


def _put_request(draft: _Draft, request: Mapping[str, Any], *, stream: bool) -> None:
    params, specific = mapping(request.get("params")), mapping(request.get("api_specific"))
    for key, name in words.PARAMS.items():
        draft.put(name, params.get(key))
    for key, name in words.API_PARAMS.items():
        draft.put(name, specific.get(key))
    choices = specific.get("n")
    draft.put(words.CHOICE_COUNT, choices if choices != 1 else None)
    draft.put(words.STREAM, True if stream or request.get("stream") is True else None)
    reasoning = mapping(request.get("reasoning")).get("effort") or specific.get("reasoning_effort")
    draft.put(words.REASONING_LEVEL, reasoning)
    draft.put(words.PREVIOUS_RESPONSE, request.get("previous_response_id"))
    form = mapping(specific.get("response_format")).get("type")
    draft.put(words.OUTPUT_TYPE, words.OUTPUT_TYPES.get(form) if isinstance(form, str) else None)


def _put_response(draft: _Draft, facts: LlmFacts) -> None:
    draft.put(words.RESPONSE_ID, facts.response_id)
    draft.put(words.RESPONSE_MODEL, facts.response_model)
    draft.put(words.FINISH_REASONS, facts.finish_reasons or None)


def _put_tokens(draft: _Draft, tokens: Tokens) -> None:
    draft.put(words.INPUT_TOKENS, tokens.input)
    draft.put(words.OUTPUT_TOKENS, tokens.output)
    draft.put(words.CACHE_READ_TOKENS, tokens.cache_read)
    draft.put(words.CACHE_WRITE_TOKENS, tokens.cache_write)
    draft.put(words.REASONING_TOKENS, tokens.reasoning)


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if type(value) is int else None
