"""Where a chain or a node of a graph still reaches a model or tool that is not under policy."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from typing import TYPE_CHECKING, Any, Final

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from relay_adapter_langchain.functions import names_in
from relay_adapter_langchain.policy import Controlled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = ["gaps_of"]

_DEEPEST: Final = 100
_AGENTS: Final = "langchain.agents.factory"  # where the nodes of create_agent are
_Place = tuple[str, Any]  # how it is reached, and what


def gaps_of(parts: Iterable[Any], checked: Collection[int] = ()) -> list[str]:
    """Tell which models and tools that are not under policy are reached from what a chain or a node runs.

    Args:
        parts: the chain, or what the node runs.
        checked: ids of graphs that need no look.

    Returns:
        One line for each, that says what and where.
    """
    search = _Search(checked)
    for part in parts:
        search.look(part, "", 0)
    return search.gaps


class _Search:
    def __init__(self, checked: Collection[int]) -> None:
        self._checked = checked
        self.gaps: list[str] = []
        self._seen: dict[tuple[int, bool], Any] = {}  # keeps what is made on the way, so that no id comes twice

    def look(self, found: Any, where: str, depth: int, *, in_tool: bool = False) -> None:
        key = (id(found), in_tool)
        if found is None or key in self._seen or id(found) in self._checked or depth > _DEEPEST:
            return
        self._seen[key] = found
        if isinstance(found, BaseLanguageModel | BaseTool) and not isinstance(found, Controlled):
            if not (in_tool and isinstance(found, BaseTool)):
                self.gaps.append(f"{type(found).__name__} {_called(found)}{where or 'as a part of it'}")
            return
        if isinstance(found, BaseTool):
            for name, value in _held_by_tool(found):
                self.look(value, f"in {name} of the tool {found.name!r}, {where}".rstrip(", "), depth + 1, in_tool=True)
        elif not isinstance(found, Controlled):
            for how, value in _reached(found):
                self.look(value, how or where, depth + 1, in_tool=in_tool)


def _called(found: Any) -> str:
    return f"{found.name!r} " if isinstance(found, BaseTool) else ""


def _is_middleware(found: Any) -> bool:
    home = sys.modules.get("relay_adapter_langchain.middleware")
    return home is not None and isinstance(found, home.RelayMiddleware)


def _has_middleware(found: types.FunctionType) -> bool:
    """Tell whether `RelayMiddleware` is around the calls that a node of `create_agent` makes of the agent's own model."""
    left, seen = [found], set[int]()
    while left:
        value: Any = left.pop()
        if id(value) in seen or value is None:
            continue
        seen.add(id(value))
        if _is_middleware(getattr(value, "__self__", None)):
            return True
        left += [_content(cell) for cell in getattr(value, "__closure__", None) or ()]
        left.append(getattr(value, "__wrapped__", None))  # a traced one
    return False


def _held_by_tool(found: BaseTool) -> Iterator[_Place]:
    yield from vars(found).items()
    for name in ("_run", "_arun"):
        yield name, getattr(type(found), name)


def _reached(found: Any) -> Iterator[_Place]:
    if isinstance(found, types.FunctionType):
        yield from _by_function(found)
    elif isinstance(found, types.MethodType):
        yield "", found.__func__
        yield from _by_object(found.__self__)
    elif isinstance(found, functools.partial):
        yield "", found.func
        yield from ((f"an argument of partial({_name_of(found.func)})", v) for v in found.args)
        yield from ((f"{n}= of partial({_name_of(found.func)})", v) for n, v in found.keywords.items())
    elif isinstance(found, dict):
        yield from (("", value) for value in found.values())
    elif isinstance(found, list | tuple | set | frozenset):
        # A list of tools is what a model is told of; who runs tools finds them by name.
        yield from (("", value) for value in found if not isinstance(value, BaseTool))
    elif hasattr(found, "nodes") and hasattr(found, "get_state") and isinstance(found.nodes, dict):
        yield from _by_graph(found)
    elif isinstance(found, Runnable):
        yield from _by_runnable(found)
    elif _is_task(found):
        yield "", found.func
    elif callable(found) and not isinstance(found, type) and hasattr(found, "__dict__"):
        yield from _by_object(found)
        yield "", type(found).__call__


def _name_of(found: Any) -> str:
    return getattr(found, "__qualname__", type(found).__name__)


def _is_task(found: Any) -> bool:
    home = sys.modules.get("langgraph.func")
    return home is not None and isinstance(found, home._TaskFunction)


def _by_graph(graph: Any) -> Iterator[_Place]:
    for name, node in graph.nodes.items():
        yield f"in the node {name!r} of the graph {graph.get_name()!r}", node.bound


def _by_runnable(found: Any) -> Iterator[_Place]:
    tools = vars(found).get("_tools_by_name")
    if isinstance(tools, dict):
        yield from (("as a tool of the tool node", tool) for tool in tools.values())
        return
    for name, value in vars(found).items():
        if isinstance(value, types.MethodType) and value.__self__ is found:
            yield "", value.__func__
        elif name != "deps":
            yield "", value


def _by_object(found: Any) -> Iterator[_Place]:
    """Give the attributes of an object that a node is a method of."""
    if not isinstance(found, Runnable | types.ModuleType | type) and hasattr(found, "__dict__"):
        yield from ((f"as attribute {name!r} of {type(found).__name__}", value) for name, value in vars(found).items())
    elif isinstance(found, Runnable):
        yield "", found


def _by_function(found: types.FunctionType) -> Iterator[_Place]:
    name = found.__qualname__
    cells = dict(zip(found.__code__.co_freevars, found.__closure__ or (), strict=True))
    governed = found.__module__ == _AGENTS and _has_middleware(found)
    for variable, cell in cells.items():
        value = _content(cell)
        if not (governed and isinstance(value, BaseLanguageModel)):
            yield f"as variable {variable!r} around {name}()", value
    defaults = [*(found.__defaults__ or ()), *(found.__kwdefaults__ or {}).values()]
    yield from ((f"as a default of {name}()", value) for value in defaults)
    for kind, path in dict.fromkeys(names_in(found.__code__)):
        first, *attributes = path.split(".")
        if kind == "global" and first in found.__globals__:
            how = f"as global {path!r} of {found.__module__}"
            yield from _by_name(found, how, found.__globals__[first], attributes)
        elif kind == "free" and attributes and first in cells:
            yield from _by_name(found, f"as {path!r} in {name}()", _content(cells[first]), attributes)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _by_name(found: types.FunctionType, how: str, value: Any, attributes: list[str]) -> Iterator[_Place]:
    """Follow a name and the attributes that are taken of it, without running a property."""
    for attribute in attributes:
        if isinstance(value, BaseLanguageModel | BaseTool | Runnable | type):
            break
        below = inspect.getattr_static(value, attribute, None)
        if isinstance(below, types.FunctionType) and not isinstance(value, types.ModuleType):
            below = types.MethodType(below, value)
        value = below
    if isinstance(value, types.FunctionType | types.MethodType) and not _is_near(found, value):
        return  # a library's: what it holds is not this program's
    if not isinstance(value, types.ModuleType):
        yield how, value


def _is_near(found: Any, other: Any) -> bool:
    """Tell whether two functions are of the same program or package."""
    here, there = (str(getattr(one, "__module__", "")).partition(".")[0] for one in (found, other))
    return here == there
