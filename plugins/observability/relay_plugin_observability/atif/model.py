"""The Agent Trajectory Interchange Format as types: one JSON document for each trajectory.

Absent is ``None`` everywhere: a count that nobody reported is not zero. `Trajectory` is what `read_atif` gives; the
exporter encodes `Step` after `Step` and never holds a whole document.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

__all__ = [
    "IMAGE_TYPES",
    "SCHEMA_VERSION",
    "Agent",
    "AudioContent",
    "Content",
    "ContentPart",
    "FinalMetrics",
    "ImageContent",
    "MediaSource",
    "Metrics",
    "Observation",
    "ObservationResult",
    "Step",
    "SubagentRef",
    "TextContent",
    "ToolCall",
    "Trajectory",
]

SCHEMA_VERSION = "ATIF-v1.7"
"""The version that is written."""

IMAGE_TYPES = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}
"""The pictures that the format knows, and the endings of their files."""


class _Base(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Keys without a value are left out; a key that the format does not have is an error."""


class MediaSource(_Base, kw_only=True):
    """Where the bytes are: a path relative to the document, an absolute one, or a URL."""

    media_type: str
    path: str
    duration_sec: float | None = None


class TextContent(_Base, kw_only=True, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class ImageContent(_Base, kw_only=True, tag_field="type", tag="image"):
    """A picture, in a file of its own."""

    source: MediaSource


class AudioContent(_Base, kw_only=True, tag_field="type", tag="audio"):
    """A sound, in a file of its own; since version 1.8."""

    source: MediaSource


ContentPart: TypeAlias = TextContent | ImageContent | AudioContent
Content: TypeAlias = str | list[ContentPart]


class SubagentRef(_Base, kw_only=True):
    """Points from an observation to the trajectory of the agent that did the work."""

    trajectory_id: str | None = None
    trajectory_path: str | None = None
    session_id: str | None = None
    extra: dict[str, Any] | None = None


class ObservationResult(_Base, kw_only=True):
    """What came back from one call, or from the environment."""

    source_call_id: str | None = None
    content: Content | None = None
    subagent_trajectory_ref: list[SubagentRef] | None = None
    extra: dict[str, Any] | None = None


class Observation(_Base, kw_only=True):
    """What came back, in the order in which it came."""

    results: list[ObservationResult]


class ToolCall(_Base, kw_only=True):
    """One execution of a tool, or the wish for one."""

    tool_call_id: str
    function_name: str
    arguments: dict[str, Any]
    extra: dict[str, Any] | None = None


class Metrics(_Base, kw_only=True):
    """What one step took. `prompt_tokens` includes `cached_tokens`, which are cache hits only."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    prompt_token_ids: list[int] | None = None
    completion_token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    extra: dict[str, Any] | None = None


class Step(_Base, kw_only=True):
    """One turn of the user, the system or the agent.

    Example:
        >>> msgspec.json.encode(Step(step_id=1, source="user", message="hi"))
        b'{"step_id":1,"source":"user","message":"hi"}'
    """

    step_id: int
    source: Literal["system", "user", "agent"]
    message: Content
    timestamp: str | None = None
    model_name: str | None = None
    reasoning_effort: str | float | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    observation: Observation | None = None
    metrics: Metrics | None = None
    is_copied_context: bool | None = None
    llm_call_count: int | None = None
    extra: dict[str, Any] | None = None


class Agent(_Base, kw_only=True):
    """Who acted."""

    name: str
    version: str
    model_name: str | None = None
    tool_definitions: list[dict[str, Any]] | None = None
    extra: dict[str, Any] | None = None


class FinalMetrics(_Base, kw_only=True):
    """Sums over the trajectory and its subagents; `total_steps` counts the trajectory's own steps."""

    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None
    total_cost_usd: float | None = None
    total_steps: int | None = None
    extra: dict[str, Any] | None = None


class Trajectory(_Base, kw_only=True):
    """A document, or one embedded in it."""

    schema_version: str
    session_id: str | None = None
    trajectory_id: str | None = None
    agent: Agent
    steps: list[Step]
    notes: str | None = None
    final_metrics: FinalMetrics | None = None
    continued_trajectory_ref: str | None = None
    subagent_trajectories: list[Trajectory] | None = None
    extra: dict[str, Any] | None = None
