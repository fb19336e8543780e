"""Tools, the choice among them and the form of the answer in chat completions."""

from __future__ import annotations

from typing import Any, Final

from relay_adapter_openai.codecs.wire import kind_of, tables_in
from relay_core.codec_parts import known, table_of, text_of, truth_of
from relay_core.lens import Edit, Op, copy_json, json_diff
from relay_core.llm import Path, ResponseFormat, ToolChoice, ToolDefinition

__all__ = [
    "build_choice",
    "build_format",
    "build_tool",
    "read_choice",
    "read_format",
    "read_tools",
    "tool_ops",
]

_WORDS: Final = {"json_object": "json"}
_MODES: Final = {"any": "required"}  # of Mistral


def read_tools(native: dict[str, Any]) -> tuple[ToolDefinition, ...]:
    """Read the tools of a request, old functions first."""
    old = [
        _function(item, ("functions", index))
        for index, item in enumerate(tables_in(native.get("functions"), ("functions",)))
    ]
    new = [_tool(item, ("tools", index)) for index, item in enumerate(tables_in(native.get("tools"), ("tools",)))]
    return (*old, *new)


def _tool(item: dict[str, Any], path: Path) -> ToolDefinition:
    kind = kind_of(item)
    function = item.get("function")
    if isinstance(function, dict) and isinstance(table_of(function).get("name"), str):
        return _function(table_of(function), path)
    inner = table_of(item.get(kind))
    name = text_of(inner.get("name")) or text_of(item.get("name")) or kind
    native = "native" if kind in {"custom", "function", ""} else "server"
    return ToolDefinition(
        name, description=text_of(inner.get("description")), kind=native, native=copy_json(item), path=path
    )


def _function(function: dict[str, Any], path: Path) -> ToolDefinition:
    return ToolDefinition(
        text_of(function.get("name")) or "",
        description=text_of(function.get("description")),
        schema=copy_json(function.get("parameters")),
        strict=truth_of(function.get("strict")),
        path=path,
    )


def build_tool(tool: ToolDefinition) -> Any:
    """Build the JSON of a tool."""
    if tool.kind != "function":
        return tool.native
    return {"type": "function", "function": _build_function(tool)}


def _build_function(tool: ToolDefinition) -> dict[str, Any]:
    return known(name=tool.name, description=tool.description, parameters=tool.schema, strict=tool.strict)


def tool_ops(edit: Edit) -> list[Op]:
    """Write a changed tool."""
    old, new = edit.old, edit.new
    path: Path = old.path or ()
    if old.kind != new.kind:
        raise edit.refused("a tool of another kind is another tool")
    if old.kind != "function":
        return json_diff(old.native, new.native, path)
    inner: Path = path if path[:1] == ("functions",) else (*path, "function")
    return json_diff(_build_function(old), _build_function(new), inner)


def read_choice(native: dict[str, Any]) -> ToolChoice | None:
    """Read which tool must be used, from the field of now or of old."""
    value = native.get("tool_choice")
    if value is None:
        value = native.get("function_call")
    if isinstance(value, str):
        return ToolChoice(_MODES.get(value, value))
    table = table_of(value)
    name = table_of(table.get("function")).get("name") or (table.get("name") if "type" not in table else None)
    if isinstance(name, str):
        return ToolChoice("tool", name)
    return ToolChoice("native", value=copy_json(value)) if isinstance(value, dict) else None


def build_choice(choice: ToolChoice, *, legacy: bool = False) -> Any:
    """Build the JSON of a tool choice."""
    if choice.mode == "tool":
        return {"name": choice.name} if legacy else {"type": "function", "function": {"name": choice.name}}
    return choice.value if choice.mode == "native" else choice.mode


def read_format(value: Any) -> ResponseFormat | None:
    """Read the form that the answer must have."""
    table = table_of(value)
    kind = text_of(table.get("type"))
    if kind is None:
        return None
    inner = table_of(table.get("json_schema"))
    return ResponseFormat(
        _WORDS.get(kind, kind),
        schema=copy_json(inner.get("schema")),
        name=text_of(inner.get("name")),
        strict=truth_of(inner.get("strict")),
    )


def build_format(form: ResponseFormat) -> dict[str, Any]:
    """Build the JSON of a response format."""
    kind = {"json": "json_object"}.get(form.type, form.type)
    inner = known(name=form.name, schema=form.schema, strict=form.strict)
    return {"type": kind, "json_schema": inner} if inner else {"type": kind}
