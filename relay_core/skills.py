"""Recognising that a tool call loads a skill: a folder with a ``SKILL.md`` that an agent reads before it acts."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SkillLoad", "skills_in", "way_of"]

SkillLoad = tuple[str, str]
"""Name of the skill, and how it was loaded: ``skill_tool``, ``structured_read`` or ``shell_read``."""

_SKILL_TOOLS: Final = frozenset({"skill", "load_skill", "use_skill", "read_skill", "activate_skill", "invoke_skill"})
_SKILL_FIELDS: Final = ("skill", "skill_name", "name")
_READERS: Final = (
    "read_multiple_files",
    "read_file_content",
    "get_file_contents",
    "read_text_file",
    "read_resource",
    "file_read",
    "read_file",
    "read",
)
_PATH_FIELDS: Final = ("path", "file_path", "filepath", "filename", "file", "paths", "uri", "absolute_path")
_RANGE_FIELDS: Final = ("limit", "range", "start_line", "end_line", "view_range")
_SHELLS: Final = frozenset(
    {
        "bash",
        "sh",
        "zsh",
        "fish",
        "pwsh",
        "powershell",
        "shell",
        "execute",
        "terminal",
        "run_command",
        "run_shell_command",
    }
)
_COMMAND_FIELDS: Final = ("command", "cmd", "script")
_COMPOUND: Final = re.compile(r"[|&;<>`\n]|\$[({]")
_WRAPPERS: Final = frozenset({"sh", "bash", "zsh", "fish", "pwsh"})
_PLAIN: Final = {
    "cat": frozenset({"-u"}),
    "bat": frozenset({"-p", "--plain"}),
    "batcat": frozenset({"-p", "--plain"}),
    "get-content": frozenset({"-raw", "-path", "-literalpath", "-encoding", "utf8", "utf-8"}),
}
_LONGEST: Final = 10_000  # of a command that is looked at


def skills_in(name: str, arguments: Any) -> list[SkillLoad]:
    """Find the skills that a tool call loads. Only plain values are looked at, so no code of theirs runs.

    Args:
        name: of the tool.
        arguments: of the call.

    Returns:
        Each skill once, in order.

    Example:
        >>> skills_in("read_file", {"path": "skills/pdf/SKILL.md"})
        [('pdf', 'structured_read')]
        >>> skills_in("bash", {"command": "cat skills/pdf/SKILL.md | head"})
        []
    """
    way = way_of(name)
    if way is None or type(arguments) is not dict:
        return []
    fields = cast("dict[Any, Any]", arguments)
    if way == "skill_tool":
        found = [value.strip() for key in _SKILL_FIELDS if type(value := fields.get(key)) is str and value.strip()][:1]
    elif way == "structured_read":
        found = [] if _is_part(fields) else [skill for path in _paths(fields) if (skill := _skill_of(path))]
    else:
        commands = [value for key in _COMMAND_FIELDS if type(value := fields.get(key)) is str]
        found = [skill for command in commands[:1] for path in _read_by(command) if (skill := _skill_of(path))]
    return [(skill, way) for skill in dict.fromkeys(found)]


@lru_cache(maxsize=1024)
def way_of(name: str) -> str | None:
    """Tell how a tool of this name would load a skill; None if it does not.

    Example:
        >>> way_of("read_file"), way_of("search")
        ('structured_read', None)
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass anything
        return None
    last = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", re.split(r"[.:/]|__", name)[-1]).lower().replace("-", "_")
    if last in _SKILL_TOOLS:
        return "skill_tool"
    if last in _SHELLS:
        return "shell_read"
    if last in _READERS or any(last.endswith(f"_{reader}") for reader in _READERS):
        return "structured_read"
    return None


def _is_part(fields: dict[Any, Any]) -> bool:
    """Tell whether only a part of the file is read."""
    return any(fields.get(key) is not None for key in _RANGE_FIELDS) or fields.get("offset") not in (None, 0)


def _paths(fields: dict[Any, Any]) -> Iterator[str]:
    for key in _PATH_FIELDS:
        value: Any = fields.get(key)
        for path in cast("list[Any]", value) if type(value) is list else [value]:
            if type(path) is str:
                yield path


def _skill_of(path: str) -> str | None:
    """Name the skill that a file describes: the folder around its ``SKILL.md``."""
    parts = re.split(r"[/\\]+", path.strip())
    if len(parts) < 2 or parts[-1].lower() != "skill.md":
        return None
    folder = parts[-2]
    return folder if folder not in ("", ".", "..") and not folder.endswith(":") else None


def _read_by(command: str, depth: int = 0) -> list[str]:
    """Give the files that a lone reading command prints whole."""
    if len(command) > _LONGEST or _COMPOUND.search(command):
        return []
    import shlex  # noqa: PLC0415  # shell tools are rare

    try:
        words = shlex.split(command)
    except ValueError:
        return []
    program = words[0].rpartition("/")[2].lower() if words else ""
    if program in _WRAPPERS:
        return _read_by(words[2], depth + 1) if depth == 0 and len(words) == 3 and words[1].lower() in _DASH_C else []
    options = _PLAIN.get(program)
    if options is None:
        return []
    given = [word for word in words[1:] if word.lower() not in options]
    return [] if any(word.startswith("-") for word in given) else given


_DASH_C: Final = frozenset({"-c", "-lc", "-command"})
