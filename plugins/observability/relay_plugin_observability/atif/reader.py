"""Reading trajectory documents of versions 1.0 to 1.8 back, with errors that name the place."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.errors import RelayError
from relay_plugin_observability.atif.model import IMAGE_TYPES, AudioContent, ImageContent, Step, Trajectory

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from relay_plugin_observability.atif.model import Content, ObservationResult

__all__ = ["READABLE", "AtifError", "read_atif"]

READABLE: Final = tuple(f"ATIF-v1.{minor}" for minor in range(9))
"""The versions that can be read."""

_AGENT_ONLY: Final = ("model_name", "reasoning_effort", "reasoning_content", "tool_calls", "metrics")
_SOUNDS: Final = frozenset(f"audio/{kind}" for kind in ("wav", "mpeg", "mp4", "aac", "ogg", "flac", "webm", "aiff"))
_REF_BY_ID: Final = 7  # the minor version since which a subagent is named by its trajectory_id
_AUDIO: Final = 8
_MOST_PROBLEMS: Final = 20


class AtifError(RelayError, ValueError):
    """A document is not valid; the text names every place that is wrong.

    Args:
        name: of the document, such as its path.
        problems: one text for each, beginning with the place.
    """

    def __init__(self, name: str, problems: list[str]) -> None:
        self.problems = problems
        listed = problems[:_MOST_PROBLEMS]
        if len(problems) > len(listed):
            listed.append(f"and {len(problems) - len(listed)} more")
        super().__init__(f"{name} is no valid ATIF document:\n  " + "\n  ".join(listed))


def read_atif(source: str | os.PathLike[str] | bytes | dict[str, Any]) -> Trajectory:
    """Read a trajectory document and check it.

    Args:
        source: the path of a file, the JSON text as bytes, or the decoded object.

    Returns:
        The document; subagents are in ``subagent_trajectories``.

    Raises:
        AtifError: it breaks a rule of its version; the text lists all breaches, or the one that hides the others.
        OSError: the file cannot be read.

    Example:
        >>> text = b'''{"schema_version": "ATIF-v1.4", "session_id": "s", "agent": {"name": "a", "version": "1"},
        ...   "steps": [{"step_id": 1, "source": "user", "message": "hi"}]}'''
        >>> read_atif(text).steps[0].message
        'hi'
        >>> read_atif(text.replace(b'"step_id": 1', b'"step_id": 3'))
        Traceback (most recent call last):
            ...
        relay_plugin_observability.atif.reader.AtifError: the document is no valid ATIF document:
          $.steps[0].step_id: expected 1, got 3; steps are numbered from 1 without gaps
    """
    name, found = _load(source)
    if not isinstance(found, dict):
        raise AtifError(name, [f"$: expected an object, got {type(found).__name__}"])
    version: Any = found.get("schema_version")
    if version not in READABLE:
        what = "there is none" if version is None else f"{version!r} cannot be read"
        raise AtifError(name, [f"$.schema_version: {what}; {READABLE[0]} to {READABLE[-1]} can"])
    try:
        document = msgspec.convert(found, Trajectory)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at ")
        raise AtifError(name, [f"{place.strip('`') or '$'}: {text}"]) from None
    except RecursionError:
        raise AtifError(name, ["$: nested too deeply"]) from None
    problems = list(_problems(document, "$", embedded=False))
    if problems:
        raise AtifError(name, problems)
    return document


def _load(source: str | os.PathLike[str] | bytes | dict[str, Any]) -> tuple[str, Any]:
    if isinstance(source, dict):
        return "the document", source
    name = "the document" if isinstance(source, bytes) else repr(str(source))
    text = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        return name, msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AtifError(name, [f"$: no JSON ({error})"]) from None


def _problems(document: Trajectory, place: str, *, embedded: bool) -> Iterator[str]:
    version = document.schema_version
    if version not in READABLE:
        yield f"{place}.schema_version: {version!r} cannot be read; {READABLE[0]} to {READABLE[-1]} can"
        return
    minor = int(version.rpartition(".")[2])
    if embedded and document.trajectory_id is None:
        yield f"{place}.trajectory_id: missing; an embedded trajectory needs one"
    if not embedded and minor < _REF_BY_ID and document.session_id is None:
        yield f"{place}.session_id: missing; {version} requires it"
    if not document.steps:
        yield f"{place}.steps: empty; a trajectory has at least one step"
    for index, step in enumerate(document.steps):
        yield from _step_problems(step, index, f"{place}.steps[{index}]", minor)
    seen: set[str] = set()
    for index, child in enumerate(document.subagent_trajectories or ()):
        where = f"{place}.subagent_trajectories[{index}]"
        if child.trajectory_id in seen:
            yield f"{where}.trajectory_id: {child.trajectory_id!r} is used twice"
        seen.add(child.trajectory_id or "")
        yield from _problems(child, where, embedded=True)


def _step_problems(step: Step, index: int, place: str, minor: int) -> Iterator[str]:
    if step.step_id != index + 1:
        yield f"{place}.step_id: expected {index + 1}, got {step.step_id}; steps are numbered from 1 without gaps"
    if step.source != "agent":
        for field in _AGENT_ONLY:
            if getattr(step, field) is not None:
                yield f"{place}.{field}: only steps of the agent have it, this one is from the {step.source}"
    yield from _count_problems(step, place)
    if step.timestamp is not None and not _is_time(step.timestamp):
        yield f"{place}.timestamp: {step.timestamp!r} is no ISO 8601 time"
    yield from _content_problems(step.message, f"{place}.message", minor)
    known = {call.tool_call_id for call in step.tool_calls or ()}
    for number, result in enumerate(step.observation.results if step.observation else ()):
        yield from _result_problems(result, known, f"{place}.observation.results[{number}]", minor)


def _count_problems(step: Step, place: str) -> Iterator[str]:
    count = step.llm_call_count
    if count is None:
        return
    if count < 0:
        yield f"{place}.llm_call_count: {count} is negative"
    if count == 0 and step.source == "agent":
        for field in ("metrics", "reasoning_content"):
            if getattr(step, field) is not None:
                yield f"{place}.{field}: llm_call_count is 0, so no model can have made it"


def _result_problems(result: ObservationResult, known: set[str], place: str, minor: int) -> Iterator[str]:
    if result.source_call_id is not None and result.source_call_id not in known:
        yield f"{place}.source_call_id: {result.source_call_id!r} is no tool_call_id of this step"
    if result.content is not None:
        yield from _content_problems(result.content, f"{place}.content", minor)
    for number, ref in enumerate(result.subagent_trajectory_ref or ()):
        old = minor < _REF_BY_ID and ref.session_id is not None
        if ref.trajectory_id is None and ref.trajectory_path is None and not old:
            yield f"{place}.subagent_trajectory_ref[{number}]: needs trajectory_id or trajectory_path"


def _content_problems(content: Content, place: str, minor: int) -> Iterator[str]:
    for index, part in enumerate(content if isinstance(content, list) else ()):
        where = f"{place}[{index}]"
        if isinstance(part, AudioContent) and minor < _AUDIO:
            yield f"{where}: audio came with ATIF-v1.{_AUDIO}"
        allowed = IMAGE_TYPES if isinstance(part, ImageContent) else _SOUNDS
        if isinstance(part, ImageContent | AudioContent) and part.source.media_type not in allowed:
            yield f"{where}.source.media_type: {part.source.media_type!r} is none of {', '.join(sorted(allowed))}"


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
