"""Tools, the choice among them and the form of the answer in the Responses API."""

from __future__ import annotations

from typing import Any, Final

from relay_adapter_openai.codecs.wire import kind_of, tables_in
from relay_core.codec_parts import known, table_of, text_of, truth_of
from relay_core.lens import copy_json
from relay_core.llm import Path, ResponseFormat, ToolChoice, ToolDefinition

__all__ = ["build_choice", "build_format", "build_tool", "read_choice", "read_format", "read_tools"]

_CLIENT: Final = ("custom", "computer", "local_shell", "shell", "apply_patch", "namespace")
"""Beginnings of the kinds of tools that are no functions, and that the caller runs."""


def read_tools(value: Any) -> tuple[ToolDefinition, ...]:
    """Read the tools of a request."""
    return tuple(_tool(item, ("tools", index)) for index, item in enumerate(tables_in(value, ("tools",))))


def _tool(item: dict[str, Any], path: Path) -> ToolDefinition:
    kind = kind_of(item)
    name, description = text_of(item.get("name")), text_of(item.get("description"))
    if kind == "function" and name is not None:
        schema, strict = copy_json(item.get("parameters")), truth_of(item.get("strict"))
        return ToolDefinition(name, description=description, schema=schema, strict=strict, path=path)
    who = "native" if kind.startswith(_CLIENT) or kind in {"", "function"} else "server"
    return ToolDefinition(name or kind, description=description, kind=who, native=copy_json(item), path=path)


def build_tool(tool: ToolDefinition) -> Any:
    """Build the JSON of a tool."""
    if tool.kind != "function":
        return tool.native
    known_fields = known(description=tool.description, parameters=tool.schema, strict=tool.strict)
    return {"type": "function", "name": tool.name, **known_fields}


def read_choice(value: Any) -> ToolChoice | None:
    """Read which tool must be used."""
    if isinstance(value, str):
        return ToolChoice(value)
    table = table_of(value)
    name = table.get("name")
    if table.get("type") == "function" and isinstance(name, str):
        return ToolChoice("tool", name)
    return ToolChoice("native", value=copy_json(value)) if isinstance(value, dict) else None


def build_choice(choice: ToolChoice) -> Any:
    """Build the JSON of a tool choice."""
    if choice.mode == "tool":
        return {"type": "function", "name": choice.name}
    return choice.value if choice.mode == "native" else choice.mode


def read_format(value: Any) -> ResponseFormat | None:
    """Read the form that the answer must have, from the ``text`` field."""
    table = table_of(table_of(value).get("format"))
    kind = text_of(table.get("type"))
    if kind is None:
        return None
    schema, strict = copy_json(table.get("schema")), truth_of(table.get("strict"))
    kind = {"json_object": "json"}.get(kind, kind)
    return ResponseFormat(kind, schema=schema, name=text_of(table.get("name")), strict=strict)


def build_format(form: ResponseFormat) -> dict[str, Any]:
    """Build the JSON of a response format."""
    kind = {"json": "json_object"}.get(form.type, form.type)
    return {"type": kind, **known(name=form.name, schema=form.schema, strict=form.strict)}
