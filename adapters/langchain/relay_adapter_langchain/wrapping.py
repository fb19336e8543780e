"""`wrap`: put whatever a program has under policy."""

from __future__ import annotations

import copy
import types
from typing import TYPE_CHECKING, Any, Final

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import (
    RouterRunnable,
    RunnableBranch,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase, RunnableEachBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.passthrough import RunnableAssign
from langchain_core.tools import BaseTool

from relay_adapter_langchain.functions import is_function, with_held
from relay_adapter_langchain.gaps import gaps_of
from relay_adapter_langchain.graphs import is_callable_node, is_graph, is_sequence, with_parts, wrap_graph
from relay_adapter_langchain.models import wrap_model
from relay_adapter_langchain.policy import Controlled
from relay_adapter_langchain.tools import wrap_tool
from relay_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from relay_core.runtime import Relay

__all__ = ["wrap"]

_CONTAINERS: Final = (
    RunnableSequence,
    RunnableParallel,
    RunnableBindingBase,
    RunnableWithFallbacks,
    RunnableBranch,
    RunnableAssign,
    RunnablePassthrough,
    RouterRunnable,
    RunnableEachBase,
    DynamicRunnable,
)
_FUNCTIONS: Final = ("func", "afunc", "_transform", "_atransform")  # of a RunnableLambda and a RunnableGenerator


def wrap(found: Any, relay: Relay | None = None, *, leave: Collection[str] = (), **options: Any) -> Any:
    """Copy a model, a tool, a chain, a compiled graph, or a list or mapping of them, with models and tools under policy.

    A graph keeps its nodes, steps, retries and checkpoints; what its nodes run are copies of the same classes. Either all
    models and tools that a chain or the nodes of a graph can be seen to reach are under policy, or it is refused.

    Args:
        found: what to wrap: a model, also with bound tools, retries or fallbacks; a tool; a chain of them; a tool node; a
            compiled graph, such as an agent; a list, tuple or dict of these.
        relay: the runtime; default the process-wide one.
        leave: names of a graph's nodes that stay as they are, without policy; those of a subgraph as "node.inner".
        **options: as for `wrap_model` and `wrap_tool`.

    Returns:
        The copy. Parts without a model or a tool, such as prompts and functions, stay the same objects.

    Raises:
        UsageError: there is no model and no tool in it; or a chain or a node of a graph reaches one where no copy can be
            put, for instance in a global variable: it names the node, the model and the place.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_core.output_parsers import StrOutputParser
        >>> chain = wrap(FakeListChatModel(responses=["hi"]) | StrOutputParser())
        >>> chain.invoke("hello")
        'hi'
    """
    wrapping = _Wrapping(relay, leave, options)
    made = wrapping.of(found)
    gaps = wrapping.gaps(made)
    if gaps:
        raise UsageError(
            f"wrap cannot put all of it under policy: {'; '.join(gaps)}. Wrap it there first, by wrap_model(model), "
            f"wrap_tool(tool) or wrap(graph); or make the chain of wrapped parts and of such as shall be without policy"
        )
    if made is found and not isinstance(found, list | tuple | dict):
        raise UsageError(
            f"wrap finds no model and no tool in {type(found).__name__}. Wrap the parts before the whole is made, use "
            f"RelayMiddleware for an agent, and relay_adapter_langgraph.tool_node for a tool node"
        )
    return made


class _Wrapping:
    """One call of `wrap`: what occurs twice in it is copied once."""

    def __init__(self, relay: Relay | None, leave: Collection[str], options: dict[str, Any]) -> None:
        self._relay = relay
        self._leave = leave
        self._options = options
        self._at = ""  # the node of the graph around, as "node.inner."
        self._done: set[int] = set()  # graphs that are, and chains whose own methods are among their parts
        self._around: list[int] = []  # the chains that the part is in
        self._made: dict[int, tuple[Any, Any]] = {}  # with the original, so that no id comes twice

    def of(self, found: Any) -> Any:
        """Give the copy of something, or itself where nothing in it is wrapped."""
        if type(found) in (list, tuple):
            return type(found)(self.of(item) for item in found)
        if type(found) is dict:
            return {key: self.of(item) for key, item in found.items()}
        return self._part(found)

    def gaps(self, made: Any) -> list[str]:
        """Tell what the chains among what was made still reach without policy; graphs were looked into by themselves."""
        if type(made) in (list, tuple, dict):
            return [gap for item in (made.values() if type(made) is dict else made) for gap in self.gaps(item)]
        return [] if isinstance(made, Controlled) else gaps_of([made], self._done)

    def _part(self, found: Any) -> Any:
        known = self._made.get(id(found))
        if known is None:
            self._made[id(found)] = (found, found)  # for a function that holds itself
            known = self._made[id(found)] = (found, self._copy(found))
        return known[1]

    def _copy(self, found: Any) -> Any:
        if isinstance(found, BaseLanguageModel):
            return wrap_model(found, self._relay, **self._options)
        if isinstance(found, BaseTool):
            return wrap_tool(found, self._relay, **self._options)
        if isinstance(found, _CONTAINERS):
            return self._container(found)
        if isinstance(found, RunnableLambda | RunnableGenerator):
            return self._functions(found)
        if is_function(found):
            return with_held(found, self._part)
        if isinstance(found, types.MethodType) and id(found.__self__) in self._around:
            self._done.add(id(found.__self__))  # it goes on where the copy has its parts
            return found
        if is_graph(found):
            return self._graph(found)
        if is_callable_node(found) or is_sequence(found):
            return with_parts(found, self._part)
        return found

    def _graph(self, found: Any) -> Any:
        at, names = self._at, found.nodes
        here = [name.removeprefix(at) for name in self._leave if name.startswith(at)]
        unknown = [name for name in here if name.partition(".")[0] not in names]
        if unknown:
            raise UsageError(
                f"wrap: the graph {found.get_name()!r} has no node {unknown[0]!r} to leave; it has {', '.join(names)}"
            )

        def change(name: str, part: Any) -> Any:
            self._at = f"{at}{name}."
            try:
                return self._part(part)
            finally:
                self._at = at

        made = wrap_graph(found, change, here, self._done)
        self._done.add(id(made))
        return made

    def _container(self, found: Any) -> Any:
        updates: dict[str, Any] = {}
        self._around.append(id(found))
        for name, value in found.__dict__.items():
            made = self.of(value)
            if _differs(made, value):
                updates[name] = made
        self._around.pop()
        return found.model_copy(update=updates) if updates else found

    def _functions(self, found: Any) -> Any:
        held = {name: found.__dict__[name] for name in _FUNCTIONS if name in found.__dict__}
        made = {name: self._part(value) for name, value in held.items()}
        if all(made[name] is held[name] for name in held):
            return found
        other = copy.copy(found)
        other.__dict__.pop("deps", None)  # found once, and kept
        other.__dict__.update(made)
        return other


def _differs(made: Any, value: Any) -> bool:
    """Tell whether something in it was wrapped; a list or mapping is always a new object."""
    if type(value) in (list, tuple):
        return any(_differs(a, b) for a, b in zip(made, value, strict=True))
    if type(value) is dict:
        return any(_differs(made[key], value[key]) for key in value)
    return made is not value
