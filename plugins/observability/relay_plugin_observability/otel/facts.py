"""What a record says about a model call: read once, for the projection and for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay_plugin_observability.projection import ScopeRecord

__all__ = ["LlmFacts", "Tokens", "failure", "llm_facts", "mapping", "pick", "provider_of", "said"]

_PROVIDERS: Final = {
    "anthropic": "anthropic",
    "anthropic_messages": "anthropic",
    "azure_ai_inference": "azure.ai.inference",
    "azure_ai_openai": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "aws_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "bedrock_invoke": "aws.bedrock",
    "claude": "anthropic",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gcp_gemini": "gcp.gemini",
    "gcp_gen_ai": "gcp.gen_ai",
    "gcp_vertex_ai": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "gemini_generate_content": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "groq": "groq",
    "ibm_watsonx_ai": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "mistral_ai": "mistral_ai",
    "mistralai": "mistral_ai",
    "openai": "openai",
    "openai_chat": "openai",
    "openai_embeddings": "openai",
    "openai_responses": "openai",
    "perplexity": "perplexity",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "x_ai": "x_ai",
    "xai": "x_ai",
}
_PROVIDER_KEYS: Final = ("gen_ai.provider.name", "provider_name", "provider", "ls_provider", "gen_ai.system")
_OPERATIONS: Final = {"gemini_generate_content": "generate_content"}
_FINISH: Final = {"complete": "stop", "tool_use": "tool_call"}  # the other words are the same
_NOTHING: Final[Mapping[str, Any]] = {}


class Tokens(msgspec.Struct, frozen=True):
    """Token counts as OpenTelemetry counts them: input includes cached, output includes reasoning; None is unknown."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    def usage(self) -> Usage:
        """Give the counts in buckets that do not overlap, as prices need them."""
        return Usage.from_inclusive(
            input_tokens=self.input,
            output_tokens=self.output,
            cache_read=self.cache_read,
            cache_write=self.cache_write,
            reasoning=self.reasoning,
        )


class LlmFacts(msgspec.Struct, frozen=True):
    """A model call in a few words.

    Args:
        owns_usage: False where another scope reports the same response, so that nothing is counted twice.
        said: metadata and profile together.
    """

    operation: str
    provider: str | None
    request_model: str | None
    response_model: str | None
    response_id: str | None
    finish_reasons: list[str]
    tokens: Tokens
    first_chunk: float | None
    cost: float | None
    currency: str | None
    owns_usage: bool
    said: Mapping[str, Any]
    request: Mapping[str, Any]
    response: Mapping[str, Any]


def mapping(value: Any) -> Mapping[str, Any]:
    """Give the value if it is an object, else an empty one."""
    return value if type(value) is dict else _NOTHING  # pyright: ignore[reportUnknownVariableType]  # JSON; a cast costs


def said(record: ScopeRecord) -> dict[str, Any]:
    """Put metadata and profile of start and end together; the profile goes before the metadata, the end before the start."""
    start, end = record.start, record.end
    found: dict[str, Any] = {}
    if end is None:
        places = (start.metadata, start.category_profile)
    else:
        places = (start.metadata, end.metadata, start.category_profile, end.category_profile)
    for place in places:
        if type(place) is dict and place:
            found.update(place)
    return found


def pick(found: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """Give the first value under one of these keys."""
    for key in keys:
        value = found.get(key)
        if value is not None and value != "":
            return value
    return None


def failure(record: ScopeRecord) -> tuple[str, str] | None:
    """Give type and message of the error that ended the scope; None if it did not fail."""
    end = record.end
    metadata = mapping(end.metadata) if end is not None else _NOTHING
    if metadata.get("otel.status_code") != "ERROR":
        return None
    kind, message = metadata.get("error.type"), metadata.get("otel.status_description")
    return (kind if isinstance(kind, str) and kind else "_OTHER"), (message if isinstance(message, str) else "")


def llm_facts(record: ScopeRecord) -> LlmFacts:
    """Read what the start and end of a model call say."""
    start, end = record.start, record.end
    everything = said(record)
    asked = mapping(start.category_profile)
    told = mapping(end.category_profile) if end is not None else _NOTHING
    request, response = mapping(asked.get("annotated_request")), mapping(told.get("annotated_response"))
    # Payloads are read where the views leave something open: making one costs more than all of this.
    raw_request = _NOTHING if request else mapping(mapping(start.data).get("content"))
    raw_response = mapping(end.data) if end is not None and not _is_told(response) else _NOTHING
    usage = mapping(response.get("usage"))
    metadata = mapping(end.metadata) if end is not None else _NOTHING
    cost = mapping(usage.get("cost"))
    api = _api(request) or _api(response)
    model = _text(asked.get("model_name")) or _text(request.get("model")) or _text(raw_request.get("model"))
    return LlmFacts(
        operation=_operation(record, everything, api, raw_request),
        provider=provider_of(everything) or _known(start.name) or _known(api or ""),
        request_model=model,
        response_model=_text(response.get("model")) or _text(raw_response.get("model")),
        response_id=_text(response.get("id")) or _text(raw_response.get("id")),
        finish_reasons=_finish_reasons(response),
        tokens=_tokens(usage) if usage else _raw_tokens(mapping(raw_response.get("usage"))),
        first_chunk=_number(told.get("time_to_first_chunk")),
        cost=_number(cost.get("total")),
        currency=_text(cost.get("currency")),
        owns_usage=metadata.get("relay.usage_owner") is not False,
        said=everything,
        request=request,
        response=response,
    )


def _is_told(response: Mapping[str, Any]) -> bool:
    return (
        bool(response.get("usage")) and isinstance(response.get("model"), str) and isinstance(response.get("id"), str)
    )


def _api(view: Mapping[str, Any]) -> str | None:
    return _text(mapping(view.get("api_specific")).get("api"))


def _operation(record: ScopeRecord, everything: Mapping[str, Any], api: str | None, request: Mapping[str, Any]) -> str:
    told = everything.get("gen_ai.operation.name")
    if isinstance(told, str) and told:
        return told
    if record.start.category == "embedder":
        return "embeddings"
    if "prompt" in request and "messages" not in request:
        return "text_completion"
    return _OPERATIONS.get(api or record.start.name, "chat")


def provider_of(everything: Mapping[str, Any]) -> str | None:
    """Name the provider if the metadata or the profile do; a name is never searched for words."""
    told = pick(everything, _PROVIDER_KEYS)
    return (_known(told) or told) if isinstance(told, str) else None


def _known(name: str) -> str | None:
    return _PROVIDERS.get(name.lower().replace("-", "_").replace(".", "_").replace(" ", "_"))


def _finish_reasons(response: Mapping[str, Any]) -> list[str]:
    choices = response.get("choices")
    told = cast("list[Any]", choices) if type(choices) is list else [response]
    return [reason for choice in told if (reason := _finish(mapping(choice).get("finish_reason"))) is not None]


def _finish(reason: Any) -> str | None:
    if isinstance(reason, str):
        return _FINISH.get(reason, reason)
    return _text(mapping(reason).get("unknown"))


def _tokens(usage: Mapping[str, Any]) -> Tokens:
    return Tokens(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _count(usage.get("cache_read_tokens")),
        _count(usage.get("cache_write_tokens")),
        _count(usage.get("reasoning_tokens")),
    )


def _raw_tokens(usage: Mapping[str, Any]) -> Tokens:
    """Read the usage of a call without a codec, where it has the shape of OpenAI or Anthropic."""
    read, written = _count(usage.get("cache_read_input_tokens")), _count(usage.get("cache_creation_input_tokens"))
    asked = _first_count(usage, "prompt_tokens", "input_tokens")
    if asked is not None:
        asked += (read or 0) + (written or 0)
    details = mapping(usage.get("prompt_tokens_details")) or mapping(usage.get("input_tokens_details"))
    thought = mapping(usage.get("completion_tokens_details")) or mapping(usage.get("output_tokens_details"))
    return Tokens(
        asked,
        _first_count(usage, "completion_tokens", "output_tokens"),
        read if read is not None else _count(details.get("cached_tokens")),
        written,
        _count(thought.get("reasoning_tokens")),
    )


def _first_count(usage: Mapping[str, Any], *keys: str) -> int | None:
    return next((found for key in keys if (found := _count(usage.get(key))) is not None), None)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
