"""What every span says beside its payload: the run it belongs to, its place in the graph, metadata, tags.

A program may name any OpenInference attribute itself, in the profile or in the metadata of a scope; that wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.openinference.values import (
    as_attribute,
    as_dict,
    as_list,
    as_text,
    first_text,
    is_text,
    json_text,
    sendable,
)
from relay_plugin_observability.openinference.words import KINDS, RERANKER, SPAN

if TYPE_CHECKING:
    from relay_plugin_observability.openinference.masking import Masking
    from relay_plugin_observability.openinference.values import Attributes
    from relay_plugin_observability.projection import ScopeRecord

__all__ = ["kind_of", "merged", "put_told", "put_whereabouts"]

_KIND_OF: Final = {
    "agent": "AGENT",
    "tool": "TOOL",
    "llm": "LLM",
    "retriever": "RETRIEVER",
    "embedder": "EMBEDDING",
    "reranker": "RERANKER",
    "guardrail": "GUARDRAIL",
    "evaluator": "EVALUATOR",
    "function": "CHAIN",
    "custom": "CHAIN",
}
_SUBTYPES: Final = {"prompt": "PROMPT", "prompt_template": "PROMPT", "decision": "DECISION"}
_SESSION: Final = ("session.id", "session_id", "conversation_id", "thread_id")
_USER: Final = ("user.id", "user_id")
_TAGS: Final = ("tag.tags", "tags", "langchain.tags")

_OUTCOME: Final = frozenset(
    {
        "otel.status_code", "otel.status_description", "relay.status", "error.type", "relay.duplicate_of",
        "relay.usage_owner",
    }
)  # fmt: skip
_CONTENT: Final = {
    SPAN.LLM_PROMPT_TEMPLATE: "hide_prompts",
    SPAN.LLM_PROMPT_TEMPLATE_VARIABLES: "hide_prompts",
    RERANKER.RERANKER_QUERY: "hide_inputs",
}
_TELLABLE: Final = frozenset(
    {
        SPAN.LLM_PROMPT_TEMPLATE_VERSION, SPAN.PROMPT_ID, SPAN.PROMPT_URL, SPAN.PROMPT_VENDOR, SPAN.TOOL_DESCRIPTION,
        SPAN.AGENT_NAME, SPAN.LLM_PROVIDER, SPAN.LLM_SYSTEM, SPAN.GRAPH_NODE_ID, SPAN.GRAPH_NODE_NAME,
        SPAN.GRAPH_NODE_PARENT_ID, SPAN.EMBEDDING_MODEL_NAME, RERANKER.RERANKER_MODEL_NAME, *_CONTENT,
    }
)  # fmt: skip
_APART: Final = _OUTCOME | _TELLABLE | {SPAN.OPENINFERENCE_SPAN_KIND, SPAN.TAG_TAGS}
_TEMPLATE: Final = {
    "template": SPAN.LLM_PROMPT_TEMPLATE,
    "variables": SPAN.LLM_PROMPT_TEMPLATE_VARIABLES,
    "version": SPAN.LLM_PROMPT_TEMPLATE_VERSION,
}


def kind_of(category: Any, profile: dict[str, Any], metadata: dict[str, Any]) -> str:
    """Give the kind of a span.

    Example:
        >>> kind_of("embedder", {}, {}), kind_of("custom", {"subtype": "prompt"}, {}), kind_of("new one", {}, {})
        ('EMBEDDING', 'PROMPT', 'UNKNOWN')
    """
    for found in (profile, metadata):
        told = found.get(SPAN.OPENINFERENCE_SPAN_KIND)
        if type(told) is str and told in KINDS:
            return told
    subtype = profile.get("subtype")
    if category in ("function", "custom") and type(subtype) is str and subtype in _SUBTYPES:
        return _SUBTYPES[subtype]
    return _KIND_OF.get(category, "UNKNOWN") if type(category) is str else "UNKNOWN"


def merged(start: Any, end: Any) -> dict[str, Any]:
    """Give what start and end say together; the end has the last word."""
    if not start or type(start) is not dict:
        return as_dict(end)
    return {**start, **end} if end and type(end) is dict else start  # pyright: ignore[reportUnknownVariableType]  # see as_dict


def put_whereabouts(out: Attributes, record: ScopeRecord, metadata: dict[str, Any]) -> None:
    """Write session, user, the place in the graph, tags and metadata."""
    for key, value in record.inherited.items():
        shown = as_attribute(value)
        if shown is not None:
            out[sendable(as_text(key))] = shown
    is_usual = metadata.keys() <= _OUTCOME
    for key, names in () if is_usual else ((SPAN.SESSION_ID, _SESSION), (SPAN.USER_ID, _USER)):
        if key not in out:
            found = first_text(metadata, *names)
            if found is not None:
                out[key] = found
    start = record.start
    out[SPAN.GRAPH_NODE_ID] = str(start.uuid)
    if start.parent_uuid is not None:
        out[SPAN.GRAPH_NODE_PARENT_ID] = str(start.parent_uuid)
    if is_usual:
        return
    tags = [tag for name in _TAGS for tag in as_list(metadata.get(name)) if is_text(tag)]
    if tags:
        out[SPAN.TAG_TAGS] = list(dict.fromkeys(tags))
    rest = {name: value for name, value in metadata.items() if name not in _APART}
    if rest:
        out[SPAN.METADATA] = json_text(rest)


def put_told(out: Attributes, profile: dict[str, Any], metadata: dict[str, Any], masking: Masking) -> None:
    """Write what the program has said in OpenInference's own words, over what was found."""
    for found in (metadata, profile):
        if not found:
            continue
        for name, key in _TEMPLATE.items() if "prompt_template" in found else ():
            _put(out, key, as_dict(found["prompt_template"]).get(name), masking)
        if not _TELLABLE.isdisjoint(found):
            for key in _TELLABLE & found.keys():
                _put(out, key, found[key], masking)


def _put(out: Attributes, key: str, value: Any, masking: Masking) -> None:
    if value is None:
        return
    hides = _CONTENT.get(key)
    if hides is None or not getattr(masking, hides):
        shown = as_attribute(value if not isinstance(value, list | tuple) else json_text(value))
    else:
        shown = masking.mark
    if shown is not None:
        out[key] = shown
