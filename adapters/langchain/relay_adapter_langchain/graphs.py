"""Compiled graphs under policy: a copy whose nodes hold wrapped models and tools, and are otherwise the same.

The copy has the same nodes, channels, edges and policies for retries, caches and timeouts; only what a node runs is
another object, of the same class. What a node holds where no copy can reach it is refused, never passed over: see `gaps`.
"""

from __future__ import annotations

import copy
import functools
import sys
import types
from typing import TYPE_CHECKING, Any, Final

from relay_adapter_langchain.gaps import gaps_of
from relay_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Change = Callable[[str, Any], Any]
    PartChange = Callable[[Any], Any]

__all__ = ["is_callable_node", "is_graph", "is_sequence", "with_parts", "wrap_graph"]

_ADVICE: Final = (
    "Wrap it there before the graph is made: wrap_model(model), wrap_tool(tool) or wrap(graph); in create_agent, "
    "RelayMiddleware() does it. Or run those nodes without policy: wrap(graph, leave=[...])"
)


def wrap_graph(graph: Any, change: Change, leave: Collection[str], checked: Collection[int]) -> Any:
    """Copy a compiled graph with all models and tools in it under policy.

    Args:
        graph: the graph.
        change: puts one part of the named node under policy, or gives it back as it is.
        leave: names of nodes that stay as they are.
        checked: ids of the graphs inside for which this was done already.

    Raises:
        UsageError: a model or tool in it cannot be reached from outside.
    """
    nodes = {
        name: node if name in leave else _node(node, functools.partial(change, name))
        for name, node in graph.nodes.items()
    }
    gaps = [
        f"node {name!r}: {gap}"
        for name, node in nodes.items()
        if name not in leave
        for gap in gaps_of(_parts(node), checked)
    ]
    if gaps:
        raise UsageError(
            f"wrap cannot put all of the graph {graph.get_name()!r} under policy. {'; '.join(gaps)}. {_ADVICE}"
        )
    if all(node is graph.nodes[name] for name, node in nodes.items()):
        return graph
    return graph.copy({"nodes": nodes})


def is_graph(found: Any) -> bool:
    """Tell whether this is a compiled graph. LangGraph is not imported for it: who has a graph has done that."""
    pregel = sys.modules.get("langgraph.pregel")
    return pregel is not None and isinstance(found, pregel.Pregel)


def is_callable_node(found: Any) -> bool:
    """Tell whether this is how LangGraph holds a function; tool nodes and writers are that too."""
    home = sys.modules.get("langgraph._internal._runnable")
    return home is not None and isinstance(found, home.RunnableCallable)


def is_sequence(found: Any) -> bool:
    """Tell whether this is LangGraph's own kind of sequence."""
    home = sys.modules.get("langgraph._internal._runnable")
    return home is not None and isinstance(found, home.RunnableSeq)


def with_parts(found: Any, change: PartChange) -> Any:
    """Copy a sequence, a function or a tool node of LangGraph's with its parts changed: itself if none is."""
    if is_sequence(found):
        steps = [change(step) for step in found.steps]
        return found if _same(steps, found.steps) else _copied(found, {"steps": steps})
    tools = getattr(found, "_tools_by_name", None)
    if isinstance(tools, dict):
        made = {name: change(tool) for name, tool in tools.items()}
        return found if _same(made.values(), tools.values()) else _copied(found, {"_tools_by_name": made})
    func, afunc = change(found.func), change(found.afunc)
    return found if func is found.func and afunc is found.afunc else _copied(found, {"func": func, "afunc": afunc})


def _copied(found: Any, updates: dict[str, Any]) -> Any:
    """Copy an object; methods of it that it holds are then those of the copy."""
    made = copy.copy(found)
    for name, value in vars(found).items():
        if isinstance(value, types.MethodType) and value.__self__ is found:
            vars(made)[name] = types.MethodType(value.__func__, made)
    vars(made).update(updates)
    return made


def _same(made: Any, given: Any) -> bool:
    return all(one is other for one, other in zip(made, given, strict=True))


def _node(node: Any, change: PartChange) -> Any:
    """Copy a node with what it runs, and with what decides where to go after it."""
    bound = change(node.bound)
    writers = [_writer(writer, change) for writer in node.writers]
    if bound is node.bound and _same(writers, node.writers):
        return node
    return node.copy({"bound": bound, "writers": writers, "subgraphs": [change(graph) for graph in node.subgraphs]})


def _writer(writer: Any, change: PartChange) -> Any:
    """Copy the writer of a conditional edge, where a chain, such as a router with a model, decides."""
    branch = _branch(writer)
    if branch is None:
        return writer
    path = change(branch.path)
    if path is branch.path:
        return writer
    made = branch._replace(path=path)
    methods = {
        name: types.MethodType(value.__func__, made)
        for name, value in vars(writer).items()
        if isinstance(value, types.MethodType) and value.__self__ is branch
    }
    return _copied(writer, methods)


def _branch(writer: Any) -> Any:
    """Give the conditional edge that a writer is of, if it is of one."""
    owner = getattr(getattr(writer, "func", None), "__self__", None)
    return owner if isinstance(owner, tuple) and hasattr(owner, "path") and hasattr(owner, "_replace") else None


def _parts(node: Any) -> list[Any]:
    branches = [_branch(writer) for writer in node.writers]
    return [node.bound, *(branch.path for branch in branches if branch is not None)]
