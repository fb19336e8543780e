"""Spans of LLM calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.openinference.messages import put_messages
from relay_plugin_observability.openinference.parts import Blobs, View
from relay_plugin_observability.openinference.payload import put_input, put_output, put_unless
from relay_plugin_observability.openinference.shapes import read_request, read_response
from relay_plugin_observability.openinference.tokens import put_cost, put_counts, put_usage, read_cost, read_usage
from relay_plugin_observability.openinference.values import as_dict, as_number, first_text, json_text
from relay_plugin_observability.openinference.words import CHOICE, PROMPT, PROVIDERS, SPAN, SYSTEMS, tool_keys
from relay_plugin_observability.prices import cost_of
from relay_plugin_observability.prices import prices as every_price
from relay_plugin_observability.projection import SpanEvent

if TYPE_CHECKING:
    from relay_plugin_observability.openinference.masking import Masking
    from relay_plugin_observability.openinference.shapes import Request, Response
    from relay_plugin_observability.openinference.values import Attributes
    from relay_plugin_observability.prices import Prices
    from relay_plugin_observability.projection import ScopeRecord

__all__ = ["first_token", "provider_of", "put_llm", "request_in"]

_FIRST_CHUNK: Final = "First Token Stream Event"  # the name that OpenInference's instrumentors use
_TELLS_PROVIDER: Final = (
    "llm.provider",
    "gen_ai.provider.name",
    "provider",
    "provider_name",
    "ls_provider",
    "gen_ai.system",
)
_NAMES_PROVIDER: Final = frozenset(_TELLS_PROVIDER)
_PROVIDERS: Final = {
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure_openai": "azure",
    "azure_ai": "azure",
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "amazon_bedrock": "aws",
    "bedrock_converse": "aws",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "vertexai": "google",
    "mistral": "mistralai",
    "mistral_ai": "mistralai",
    "x_ai": "xai",
}
_SYSTEM_OF_API: Final = {
    "openai_chat": "openai",
    "openai_responses": "openai",
    "anthropic_messages": "anthropic",
    "gemini_generate_content": "vertexai",
}
_MOST_SECONDS: Final = 1e9


def request_in(data: Any) -> Any:
    """Give the request within the data of a start event, without its headers.

    Example:
        >>> request_in({"headers": {}, "content": {"model": "m"}}), request_in({"model": "m"})
        ({'model': 'm'}, {'model': 'm'})
    """
    fields = as_dict(data)
    return fields["content"] if "content" in fields and fields.keys() <= {"content", "headers"} else data


def provider_of(profile: dict[str, Any], metadata: dict[str, Any]) -> str | None:
    """Give the provider that somebody has named; it is never guessed from names or shapes.

    Example:
        >>> provider_of({"provider": "AWS.Bedrock"}, {}), provider_of({"model_name": "gpt-4o"}, {})
        ('aws', None)
    """
    told: str | None = None
    for found in (profile, metadata):
        if told is None and not _NAMES_PROVIDER.isdisjoint(found):
            told = first_text(found, *_TELLS_PROVIDER)
    if told is None:
        return None
    word = told.strip().lower()
    return _PROVIDERS.get(word, word)


def put_llm(
    out: Attributes,
    record: ScopeRecord,
    profile: dict[str, Any],
    metadata: dict[str, Any],
    masking: Masking,
    prices: Prices | None,
) -> None:
    """Write everything about an LLM call."""
    start, end = record.start, record.end
    raw = request_in(start.data)
    answer = None if end is None else end.data
    request = read_request(profile.get("annotated_request"), raw)
    provider = provider_of(profile, metadata)
    _put_system(out, record, request, provider)
    put_input(out, raw, masking, hidden=_hides_request(request, masking))
    _put_request(out, request, raw, masking)
    asked = request.model or first_text(as_dict(start.category_profile), "model_name")
    served: str | None = None
    answered: str | None = None
    if end is not None:
        response = read_response(profile.get("annotated_response"), answer)
        put_output(out, answer, masking, hidden=_hides_response(response, masking))
        answered = response.model
        served = answered or first_text(as_dict(end.category_profile), "model_name")
        _put_response(out, response, masking)
        if metadata.get("relay.usage_owner") is not False:  # another span has reported this response
            _put_spent(
                out, response.usage, answer, provider, served or asked, every_price if prices is None else prices
            )
    for key, model in (
        (SPAN.LLM_MODEL_NAME, served or asked),
        (SPAN.LLM_REQUEST_MODEL_NAME, asked),
        (SPAN.LLM_RESPONSE_MODEL_NAME, answered),
    ):
        if model is not None:
            out[key] = model


def _put_spent(
    out: Attributes, view: dict[str, Any], answer: Any, provider: str | None, model: str | None, source: Prices
) -> None:
    """Write what the call took: tokens and money."""
    if not len(source) and put_counts(out, view, answer):  # nobody else asks for the counts
        put_cost(out, read_cost(view, answer))
        return
    usage = read_usage(view, answer)
    put_usage(out, usage)
    put_cost(out, cost_of(read_cost(view, answer), provider, model, usage, source=source))


def _put_system(out: Attributes, record: ScopeRecord, request: Request, provider: str | None) -> None:
    """Whose product answers is known from the API that was spoken; who runs it, only if somebody said so."""
    if provider is not None:
        out[SPAN.LLM_PROVIDER] = provider
    view = record.start.view
    api = request.api or getattr(view, "api", None) or getattr(view, "name", None)
    system = _SYSTEM_OF_API.get(api) if type(api) is str else None
    if system is None and provider in SYSTEMS and provider in PROVIDERS:
        system = provider
    if system is not None:
        out[SPAN.LLM_SYSTEM] = system


def _hides_request(request: Request, masking: Masking) -> bool:
    """Tell whether the raw request would show something that is hidden."""
    return (
        masking.hide_input_messages
        or masking.hide_input_text
        or masking.hide_input_images
        or (masking.hide_prompts and bool(request.prompts))
        or (masking.hide_llm_tools and bool(request.tools))
        or (masking.hide_llm_invocation_parameters and bool(request.parameters))
    )


def _hides_response(response: Response, masking: Masking) -> bool:
    """Tell whether the raw response would show something that is hidden."""
    if masking.hide_choices and response.choices:
        return True
    return masking.hide_output_messages or masking.hide_output_text


def _put_request(out: Attributes, request: Request, raw: Any, masking: Masking) -> None:
    if request.parameters and not masking.hide_llm_invocation_parameters:
        out[SPAN.LLM_INVOCATION_PARAMETERS] = json_text(request.parameters)
    if not masking.hide_input_messages:
        limit, mark = masking.base64_image_max_length, masking.mark
        view = View(masking.hide_input_text, masking.hide_input_images, limit, mark, Blobs(raw))
        put_messages(out, SPAN.LLM_INPUT_MESSAGES, request.messages, view)
    for index, prompt in enumerate(request.prompts):
        key = f"{SPAN.LLM_PROMPTS}.{index}.{PROMPT.PROMPT_TEXT}"
        put_unless(out, key, prompt, masking, hidden=masking.hide_prompts)
    if not masking.hide_llm_tools:
        _put_tools(out, request.tools)


def _put_tools(out: Attributes, tools: list[Any]) -> None:
    for index, tool in enumerate(tools):
        keys = tool_keys(SPAN.LLM_TOOLS, index)
        fields = as_dict(tool)
        function = as_dict(fields.get("function")) or fields
        name, description = first_text(function, "name", "kind"), first_text(function, "description")
        if name is not None:
            out[keys.name] = name
        if description is not None:
            out[keys.description] = description
        out[keys.json_schema] = json_text(tool)


def _put_response(out: Attributes, response: Response, masking: Masking) -> None:
    if response.finish is not None:
        out[SPAN.LLM_FINISH_REASON] = response.finish
    if not masking.hide_output_messages:
        limit, mark = masking.base64_image_max_length, masking.mark
        view = View(masking.hide_output_text, masking.hide_output_text, limit, mark)
        put_messages(out, SPAN.LLM_OUTPUT_MESSAGES, response.messages, view)
    for index, text in enumerate(response.choices):
        key = f"{SPAN.LLM_CHOICES}.{index}.{CHOICE.COMPLETION_TEXT}"
        put_unless(out, key, text, masking, hidden=masking.hide_choices)


def first_token(record: ScopeRecord, profile: dict[str, Any]) -> SpanEvent | None:
    """Give the event that marks the first chunk of a stream; None if there was none."""
    seconds = as_number(profile.get("time_to_first_chunk"))
    if seconds is None or not 0 <= seconds < _MOST_SECONDS:
        return None
    return SpanEvent(_FIRST_CHUNK, record.start.timestamp_ns + round(seconds * 1e9))
