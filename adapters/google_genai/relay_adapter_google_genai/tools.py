"""Gemini's tools: groups of function declarations and of tools that run elsewhere, as a flat list of definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from relay_adapter_google_genai.names import camel, get, spelled
from relay_core.codec_parts import known, list_of, moved, table_of, text_of
from relay_core.lens import Edit, Item, Op, copy_json, delete, insert, json_diff, value_at
from relay_core.llm import Path, ToolChoice, ToolDefinition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["choice_edits", "read_choice", "read_tools", "tool_ops", "tools_ops"]

_DECLARED: Final = "functionDeclarations"
_RUN_BY_CALLER: Final = frozenset({"computerUse"})
_MODES: Final = {"AUTO": "auto", "ANY": "required", "NONE": "none"}
_WORDS: Final = {mode: word for word, mode in _MODES.items()}
_CHOICE: Final[Path] = ("toolConfig", "functionCallingConfig")
_SCHEMAS: Final = ("parametersJsonSchema", "parameters")


def read_tools(native: Any) -> tuple[ToolDefinition, ...]:
    """Read all tools of a request."""
    return tuple(_read(list_of(native.get("tools"))))


def _read(groups: list[Any]) -> Iterator[ToolDefinition]:
    for index, group in enumerate(groups):
        if not isinstance(group, dict):
            yield ToolDefinition("", kind="native", native=copy_json(group), path=("tools", index))
        for key, value in table_of(group).items():
            path: Path = ("tools", index, key)
            if camel(key) == _DECLARED and isinstance(value, list):
                yield from (_function(item, (*path, spot)) for spot, item in enumerate(value))
            else:
                kind = "native" if camel(key) in _RUN_BY_CALLER else "server"
                yield ToolDefinition(camel(key), kind=kind, native={key: copy_json(value)}, path=path)


def _function(item: Any, path: Path) -> ToolDefinition:
    name = text_of(table_of(item).get("name"))
    if name is None:
        return ToolDefinition("", kind="native", native=copy_json(item), path=path)
    schema = next((given for key in _SCHEMAS if (given := get(item, key)) is not None), None)
    return ToolDefinition(name, text_of(item.get("description")), copy_json(schema), path=path)


def tool_ops(edit: Edit, native: Any) -> list[Op]:
    """Write the changed fields of one tool."""
    old, new = edit.old, edit.new
    if old.kind != "function" or new.kind != "function":
        if len(old.path) == 3 and old.kind == new.kind:
            return json_diff(old.native, new.native, old.path[:-1])
        raise edit.refused("a tool keeps its kind")
    item = value_at(native, old.path)
    schema = next((key for key in _SCHEMAS if get(item, key) is not None), _SCHEMAS[0])
    return json_diff(_build(old, schema), _build(new, schema), old.path)


def _build(tool: ToolDefinition, schema: str = _SCHEMAS[0]) -> dict[str, Any]:
    fields = known(description=tool.description, **{schema: tool.schema}, strict=tool.strict)
    return {"name": tool.name, **fields}


def tools_ops(edit: Edit, native: Any, write: Callable[[Sequence[Edit], Any], Any]) -> list[Op]:
    """Write another list of tools: functions join the group of their neighbours, other tools get one of their own."""
    if not edit.items:
        return [delete(("tools",))]
    ops = _deletions(edit, native)
    items = list(edit.items)
    for start, stop in _runs(items):
        before = items[start - 1].old.path if start else None
        after = items[stop].old.path if stop < len(items) else None
        fresh = [_placed(native, item, write) for item in items[start:stop]]
        spot = _spot(before, after)
        if spot is not None and all(item.new.kind == "function" for item in items[start:stop]):
            ops += [insert(spot, value) for value in fresh]
            continue
        index = cast("int", before[1]) + 1 if before is not None else 0
        ops += [insert(("tools", index), group) for group in _groups(items[start:stop], fresh)]
    return ops


def _runs(items: list[Item]) -> Iterator[tuple[int, int]]:
    """The ranges of items that are not in their place."""
    start = 0
    for index, item in enumerate(items):
        if item.kept:
            if start < index:
                yield start, index
            start = index + 1
    if start < len(items):
        yield start, len(items)


def _spot(before: Path | None, after: Path | None) -> Path | None:
    """The place in a group of functions beside which new ones go."""
    if before is not None and len(before) == 4:
        return (*before[:3], cast("int", before[3]) + 1)
    return after if after is not None and len(after) == 4 else None


def _placed(native: Any, item: Item, write: Callable[[Sequence[Edit], Any], Any]) -> Any:
    tool: ToolDefinition = item.new
    return moved(native, item, _build, write) if tool.kind == "function" else tool.native


def _groups(items: list[Item], fresh: list[Any]) -> Iterator[Any]:
    functions: list[Any] = []
    for item, value in zip(items, fresh, strict=True):
        if item.new.kind == "function":
            functions.append(value)
            continue
        if functions:
            yield {_DECLARED: functions}
            functions = []
        yield value
    if functions:
        yield {_DECLARED: functions}


def _deletions(edit: Edit, native: Any) -> list[Op]:
    """Delete the tools that left, and the groups that nothing is left of."""
    gone = {node.path for node in edit.removed}
    ops = [delete(path) for path in gone]
    for index, group in enumerate(list_of(native.get("tools"))):
        table = table_of(group)
        key = spelled(table, _DECLARED)
        listed = list_of(table.get(key))
        emptied = {key} if listed and all(("tools", index, key, spot) in gone for spot in range(len(listed))) else set()
        emptied |= {name for name in table if ("tools", index, name) in gone}
        if table and emptied == table.keys():
            ops.append(delete(("tools", index)))
        elif key in emptied:
            ops.append(delete(("tools", index, key)))
    return ops


def read_choice(native: Any) -> ToolChoice | None:
    """Read which tool the model must call."""
    given = get(get(native, "toolConfig"), "functionCallingConfig")
    if not isinstance(given, dict):
        return None
    mode = (text_of(given.get("mode")) or "").upper()
    names = get(given, "allowedFunctionNames")
    if mode == "ANY" and isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
        return ToolChoice("tool", names[0])
    if not given.keys() - {"streamFunctionCallArguments", "stream_function_call_arguments"}:
        return None
    return ToolChoice("native", value=copy_json(given)) if mode not in _MODES or names else ToolChoice(_MODES[mode])


def choice_edits(old: ToolChoice | None, new: ToolChoice | None, native: Any) -> list[Op]:
    """Write another choice; what else is configured beside it stays."""
    config = get(native, "toolConfig")
    there = get(config, _CHOICE[1])
    before, after = _build_choice(old), _build_choice(new)
    if new is None and {camel(key) for key in table_of(there)} <= before.keys():
        return [delete(_CHOICE if len(table_of(config)) > 1 else _CHOICE[:1])]
    return json_diff(before, after, _CHOICE)


def _build_choice(choice: ToolChoice | None) -> dict[str, Any]:
    if choice is None:
        return {}
    if choice.mode == "tool":
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    mode = _WORDS.get(choice.mode, choice.mode)
    return table_of(copy_json(choice.value)) if choice.mode == "native" else {"mode": mode}
