"""Reading NAT's intermediate steps: what kind each is, and what it tells.

Steps are read by attribute and never changed. Nothing here imports NAT, so the reading works on any object of that form.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay_core.events import Deferred

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "KINDS",
    "Kind",
    "correlation",
    "given",
    "is_copied",
    "is_from_relay",
    "plain",
    "produced",
    "run_facts",
    "tool_call_id",
    "usage_of",
]

_RELAY: Final = "nemo_relay"  # the key under which NAT's own bridge keeps what came from Relay
_LANGCHAIN: Final = "langchain"
_COPIED: Final = frozenset({"LLM_START", "FUNCTION_START", "FUNCTION_END"})
_FACTS: Final = {
    "workflow_run_id": "nat.run_id",
    "workflow_trace_id": "nat.trace_id",
    "conversation_id": "conversation_id",
    "display_name": "nat.display_name",
}


class Kind(NamedTuple):
    """What a type of step is.

    Attributes:
        name: NAT's category in lower case.
        phase: start, chunk or end.
        category: of the scope.
        subtype: of a custom scope.
    """

    name: str
    phase: str
    category: str
    subtype: str | None = None


def _kinds() -> dict[str, Kind]:
    categories = {"WORKFLOW": "agent", "TASK": "agent", "FUNCTION": "function", "TOOL": "tool", "LLM": "llm"}
    found: dict[str, Kind] = {}
    for name in (*categories, "TTC", "CUSTOM", "SPAN"):
        category = categories.get(name, "custom")
        subtype = f"nat.{name.lower()}" if category == "custom" else None
        for phase in ("START", "END"):
            found[f"{name}_{phase}"] = Kind(name.lower(), phase.lower(), category, subtype)
    found["LLM_NEW_TOKEN"] = found["LLM_START"]._replace(phase="chunk")
    found["SPAN_CHUNK"] = found["SPAN_START"]._replace(phase="chunk")
    return found


KINDS: Final = _kinds()
"""What each type of step is, by NAT's name of the type."""


def is_from_relay(payload: Any) -> bool:
    """Tell whether a step tells what Relay told NAT: reporting it back would go round in circles."""
    metadata = payload.metadata
    if metadata is None:
        return False
    told = metadata.get("provided_metadata") if isinstance(metadata, dict) else metadata.provided_metadata
    return isinstance(told, dict) and _RELAY in told


def run_facts(payload: Any, runtime: str) -> dict[str, Any]:
    """Give the ids of a run, from the start of its workflow.

    Args:
        payload: of the step.
        runtime: what the workflow runs for.
    """
    told: Any = getattr(payload.metadata, "provided_metadata", None)
    facts = {"nat.runtime": runtime}
    if isinstance(told, dict):
        facts.update((ours, told[name]) for name, ours in _FACTS.items() if told.get(name))
        if told.get("conversation_id"):
            facts["session_id"] = told["conversation_id"]  # what exporters call it
    return facts


def correlation(event: Any) -> dict[str, Any]:
    """Give the metadata of a step: where it is among NAT's functions, its framework and tags, what its author added."""
    node, payload = event.function_ancestry, event.payload
    found: dict[str, Any] = {}
    if node.function_id not in (payload.UUID, "root"):
        found["nat.function"] = node.function_name
        found["nat.function_id"] = node.function_id
    if node.parent_id is not None and node.parent_id != "root":
        found["nat.parent_function"] = node.parent_name
        found["nat.parent_function_id"] = node.parent_id
    if payload.framework is not None:
        found["nat.framework"] = payload.framework.value
    if payload.tags:
        found["nat.tags"] = payload.tags
    metadata = payload.metadata
    if metadata is not None:
        told = metadata if isinstance(metadata, dict) else metadata.provided_metadata
        if isinstance(told, dict) and told and payload.event_type != "WORKFLOW_START":
            found["nat.metadata"] = told
    return found


def given(payload: Any, kind: Kind) -> Any:
    """Give the input of a step that is no model call."""
    data = payload.data
    if kind.name == "tool":  # the arguments; the data hold only their text
        inputs = getattr(payload.metadata, "tool_inputs", None)
        if inputs is not None:
            return plain(payload, inputs)
    if data is None:
        return None
    value = data.input if data.input is not None or kind.category != "custom" else data.payload
    return plain(payload, value)


def produced(payload: Any, kind: Kind) -> Any:
    """Give the output of a step that is no model call."""
    data = payload.data
    if data is None:
        return None
    value = data.output if data.output is not None or kind.category != "custom" else data.payload
    return plain(payload, value)


def plain(payload: Any, value: Any) -> Any:
    """Give a value of LangChain's as observers see such values; any other as it is."""
    if type(value) is str or not _is_langchain(payload):
        return value
    shapes = sys.modules.get("relay_adapter_langchain.shapes")
    if shapes is None:
        return value
    return Deferred(partial(shapes.shown, value)) if is_copied(payload) else shapes.shown(value)


def is_copied(payload: Any) -> bool:
    """Tell whether the values of a step are copies that NAT has made of LangChain's, so that nobody changes them.

    Its callbacks copy what models are asked, and what chains get and give: whole conversations, to be shaped elsewhere.
    """
    return _is_langchain(payload) and payload.event_type in _COPIED


def _is_langchain(payload: Any) -> bool:
    return payload.framework is not None and payload.framework.value == _LANGCHAIN


def tool_call_id(payload: Any) -> str | None:
    """Give the model's id of a tool call, where the result tells it."""
    found = getattr(payload.data.output, "tool_call_id", None) if payload.data is not None else None
    return found if isinstance(found, str) and found else None


def usage_of(payload: Any) -> Mapping[str, Any] | None:
    """Give the tokens of a model call; None where nobody counted them."""
    counted = payload.usage_info.token_usage if payload.usage_info is not None else None
    if counted is None or not (counted.prompt_tokens or counted.completion_tokens or counted.total_tokens):
        return None
    usage: dict[str, Any] = {
        "input_tokens": counted.prompt_tokens,
        "output_tokens": counted.completion_tokens,
        "total_tokens": counted.total_tokens or counted.prompt_tokens + counted.completion_tokens,
    }
    if counted.cached_tokens:
        usage["input_token_details"] = {"cache_read": counted.cached_tokens}
    if counted.reasoning_tokens:
        usage["output_token_details"] = {"reasoning": counted.reasoning_tokens}
    return usage
