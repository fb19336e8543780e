"""Every hook that a plugin may implement, one function each: the map of all extension points.

Cold hooks run when a plugin is turned on, off or examined. Hooks on the call path are never called through pluggy: when
a plugin is turned on, its implementations go into the same chains that the decorators fill (`CALL_PATH`).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pluggy

from relay_core.middleware import Registration
from relay_core.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping

    import click
    import msgspec

    from relay_core.call_types import LlmCall, ToolCall
    from relay_core.codecs import Codec
    from relay_core.events import MarkEvent, ScopeEvent
    from relay_core.middleware import Block
    from relay_core.runtime import Relay

__all__ = ["CALL_PATH", "HOOKS", "Place", "find_plugin_problems", "find_problems", "hookimpl", "hookspec"]

PROJECT: Final = "relay"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# -- cold ----------------------------------------------------------------------------------------------------------


@hookspec
def relay_config_schema() -> type[msgspec.Struct]:  # pyright: ignore[reportReturnType]  # a specification has no body
    """Name the msgspec struct that describes the plugin's section of the configuration.

    Returns:
        The struct; `relay_configure` gets an instance of it. Without this hook it gets a plain dict.

    Example:
        >>> import msgspec
        >>> class Limits(msgspec.Struct):
        ...     most: int = 10
        >>> @hookimpl
        ... def relay_config_schema():
        ...     return Limits
    """


@hookspec
def relay_configure(relay: Relay, config: Any) -> None:
    """Start the plugin; the other hooks take effect when this has returned.

    Args:
        relay: the runtime, as this plugin sees it: what is registered here goes when the plugin is turned off.
        config: the checked section ``[plugins.NAME]``.

    Raises:
        Exception: the plugin stays off, and everything that it has registered is taken back.

    Example:
        >>> @hookimpl
        ... def relay_configure(relay, config):
        ...     relay.register("metadata_injector", lambda event: {"team": "search"}, name="team")
    """


@hookspec
def relay_shutdown(relay: Relay, timeout: float) -> None:
    """Stop the plugin: close files, connections and threads. Its registrations are gone by now.

    Args:
        relay: the same object that `relay_configure` got.
        timeout: seconds that it may take; at a shutdown what is left of the time for that, and a second at least.

    Example:
        >>> @hookimpl
        ... def relay_shutdown(relay):
        ...     pass
    """


@hookspec
def relay_codecs() -> Iterable[Codec]:  # pyright: ignore[reportReturnType]  # a specification has no body
    """Give the codecs that the plugin brings.

    Example:
        >>> @hookimpl
        ... def relay_codecs():
        ...     return []
    """


@hookspec
def relay_cli() -> Iterable[click.Command]:  # pyright: ignore[reportReturnType]  # a specification has no body
    """Give the click commands that the plugin adds to the ``relay`` command. Runs without `relay_configure`.

    Example:
        >>> import click
        >>> @hookimpl
        ... def relay_cli():
        ...     return [click.Command("hello", callback=lambda: click.echo("hello"))]
    """


@hookspec
def relay_doctor(relay: Relay) -> Iterable[Mapping[str, Any]]:  # pyright: ignore[reportReturnType]  # no body
    """Examine the plugin.

    Args:
        relay: the same object that `relay_configure` got.

    Returns:
        Rows with ``check`` (what was examined), ``ok`` (bool) and ``detail`` (text without secrets).

    Example:
        >>> @hookimpl
        ... def relay_doctor(relay):
        ...     return [{"check": "disk", "ok": True, "detail": "7 GB free"}]
    """


# -- on the call path ------------------------------------------------------------------------------------------------


@hookspec
def relay_guard_tool(call: ToolCall) -> Block | None:
    """Allow a tool call (None) or block it (``relay.Block(reason)``); sync or async.

    Example:
        >>> import relay_core as relay
        >>> @hookimpl
        ... def relay_guard_tool(call):
        ...     return relay.Block("no shell here") if call.name == "shell" else None
    """


@hookspec
def relay_guard_llm(call: LlmCall) -> Block | None:
    """Allow a model call (None) or block it (``relay.Block(reason)``); sync or async.

    Example:
        >>> import relay_core as relay
        >>> @hookimpl
        ... def relay_guard_llm(call):
        ...     return relay.Block("not this model") if call.model == "huge" else None
    """


@hookspec
def relay_transform_tool_request(call: ToolCall) -> ToolCall:  # pyright: ignore[reportReturnType]  # no body
    """Return the tool call to use instead: ``call``, or ``call.replace(request=...)``; sync or async.

    Example:
        >>> @hookimpl
        ... def relay_transform_tool_request(call):
        ...     return call.replace(request={**call.request, "limit": 3})
    """


@hookspec
def relay_transform_llm_request(call: LlmCall) -> LlmCall:  # pyright: ignore[reportReturnType]  # no body
    """Return the model call to use instead: ``call``, or ``call.replace(request=...)``; sync or async.

    Example:
        >>> @hookimpl
        ... def relay_transform_llm_request(call):
        ...     return call.replace(request={**call.request, "temperature": 0})
    """


@hookspec
def relay_around_tool(call: ToolCall, proceed: Callable[[ToolCall], Awaitable[Any]]) -> Generator[ToolCall, Any, Any]:  # pyright: ignore[reportReturnType]  # no body
    """Wrap the real tool call: retry, cache, replace.

    Two forms. A generator takes ``(call)`` and says ``result = yield call``: it serves sync and async callers. One that
    must await is ``async def (call, proceed)`` and says ``result = await proceed(call)``.

    Example:
        >>> @hookimpl
        ... def relay_around_tool(call):
        ...     try:
        ...         return (yield call)
        ...     except TimeoutError:
        ...         return (yield call)
    """


@hookspec
def relay_around_llm(call: LlmCall, proceed: Callable[[LlmCall], Awaitable[Any]]) -> Generator[LlmCall, Any, Any]:  # pyright: ignore[reportReturnType]  # no body
    """Wrap the real model call; forms as for `relay_around_tool`.

    Example:
        >>> @hookimpl
        ... async def relay_around_llm(call, proceed):
        ...     return await proceed(call)
    """


@hookspec
def relay_sanitize(event: ScopeEvent | MarkEvent) -> ScopeEvent | MarkEvent:  # pyright: ignore[reportReturnType]  # no body
    """Rewrite what observers see: return the event, or ``event.replace(...)``. If it fails, the event loses its payload.

    Example:
        >>> @hookimpl
        ... def relay_sanitize(event):
        ...     return event.replace(data=None)
    """


@hookspec
def relay_event_metadata(event: ScopeEvent | MarkEvent) -> Mapping[str, Any]:  # pyright: ignore[reportReturnType]  # no body
    """Give metadata to add to the event; keys that are there already stay.

    Example:
        >>> @hookimpl
        ... def relay_event_metadata(event):
        ...     return {"region": "eu"}
    """


@hookspec
def relay_event(event: ScopeEvent | MarkEvent) -> None:
    """Consume an event, on the runtime's background thread.

    Example:
        >>> @hookimpl
        ... def relay_event(event):
        ...     print(event.name)
    """


class Place(NamedTuple):
    """Where implementations of a hook on the call path are registered."""

    kind: str
    target: str | None


CALL_PATH: Final = {
    "relay_guard_tool": Place("guardrail", "tool"),
    "relay_guard_llm": Place("guardrail", "llm"),
    "relay_transform_tool_request": Place("request_intercept", "tool"),
    "relay_transform_llm_request": Place("request_intercept", "llm"),
    "relay_around_tool": Place("execution_intercept", "tool"),
    "relay_around_llm": Place("execution_intercept", "llm"),
    "relay_sanitize": Place("sanitizer", None),
    "relay_event_metadata": Place("metadata_injector", None),
    "relay_event": Place("subscriber", None),
}
HOOKS: Final[dict[str, tuple[str, ...]]] = {
    name: tuple(inspect.signature(value).parameters)
    for name, value in list(globals().items())
    if getattr(value, f"{PROJECT}_spec", None) is not None
}


def find_problems(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> list[str]:
    """Check one implementation of a known hook against its specification.

    Args:
        name: of the hook.
        function: the implementation, bound if it is a method.
        options: what `hookimpl` was given.

    Returns:
        What is wrong, each with the definition and the cure.

    Example:
        >>> def relay_event(evnt): ...
        >>> find_problems("relay_event", relay_event, {})
        ["hook relay_event has no argument 'evnt', as in relay_event(evnt); write relay_event(event)"]
    """
    signature = inspect.signature(function)
    wanted = f"{name}({', '.join(HOOKS[name])})"
    shown = f"{getattr(function, '__name__', name)}{signature}"
    if options.get("wrapper") or options.get("hookwrapper"):
        return [f"hook {name} takes no pluggy wrapper, as in {shown}; to wrap calls write relay_around_tool(call)"]
    named = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [p.name for p in named if p.name not in HOOKS[name] and p.default is p.empty]
    if unknown:
        return [f"hook {name} has no argument {', '.join(map(repr, unknown))}, as in {shown}; write {wanted}"]
    place = CALL_PATH.get(name)
    if place is None:
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            return [f"hook {name} must be a plain function, not {shown} with async or yield"]
        return []
    required = tuple(p.name for p in named if p.default is p.empty)
    if required != HOOKS[name][: len(required)]:
        return [f"hook {name} takes its arguments in another order than {shown}; write {wanted}"]
    return _misshapen(name, function, place)


def _misshapen(name: str, function: Callable[..., Any], place: Place) -> list[str]:
    try:
        Registration(
            place.kind,
            function,
            target=place.target,
            name=name,
            priority=100,
            on_error="block",
            break_chain=False,
            owner=None,
        )
    except TypeError as error:  # a UsageError with the cure
        return [f"hook {name}: {error}"]
    return []


def find_plugin_problems(manager: pluggy.PluginManager, plugin: object) -> list[str]:
    """Check an object as a plugin: are its hooks known, marked, and of the right shape?

    Args:
        manager: pluggy's, for reading the marks.
        plugin: a module or an object.

    Returns:
        What is wrong, each with the cure.

    Example:
        >>> find_plugin_problems(pluggy.PluginManager(PROJECT), object())
        ['object has no hooks; mark functions such as relay_guard_tool(call) with @relay_core.hookimpl']
    """
    problems: list[str] = []
    marked = False
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            if attribute in HOOKS and _is_own_function(plugin, attribute):
                problems.append(f"function {attribute} is not marked; write @relay_core.hookimpl above it")
            continue
        marked = True
        hook = options.get("specname") or attribute
        if hook in HOOKS:
            problems += find_problems(hook, getattr(plugin, attribute), options)
        elif not options.get("optionalhook"):
            problems.append(f"there is no hook {hook!r}{did_you_mean(hook, HOOKS)}")
    if not marked and not problems:
        who = type(plugin).__name__
        problems.append(f"{who} has no hooks; mark functions such as relay_guard_tool(call) with @relay_core.hookimpl")
    return problems


def _is_own_function(plugin: object, attribute: str) -> bool:
    """Tell whether this function was defined for the plugin, not imported into its module."""
    value = inspect.getattr_static(plugin, attribute, None)
    own = not inspect.ismodule(plugin) or getattr(value, "__module__", "") == plugin.__name__
    return own and inspect.isfunction(value)
