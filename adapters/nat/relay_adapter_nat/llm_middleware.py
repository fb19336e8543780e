"""Experimental: every model client that NAT's builder hands out is put under policy.

NAT has no hook around model calls. This replaces the ``get_llm`` of one builder, so it stands and falls with NAT's builder;
where the workflow is your own code, ``relay_adapter_langchain.wrap_model`` does the same in the open.
"""

from __future__ import annotations

import inspect
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import relay_core
from relay_adapter_nat.compat import FunctionMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.runtime import Relay

__all__ = ["ExperimentalRelayLlmMiddleware", "control_client"]

_METHODS: Final = (
    "invoke", "ainvoke", "stream", "astream", "generate", "agenerate", "complete", "acomplete", "stream_complete",
    "astream_complete", "chat", "achat", "stream_chat", "astream_chat", "call", "acall", "create", "run", "arun",
)  # fmt: skip
_MODEL_NAMES: Final = ("model_name", "model")


class ExperimentalRelayLlmMiddleware(FunctionMiddleware):
    """Puts every model client of a builder under policy: the first and the following, sync, async and streamed.

    A YAML file has it in its ``middleware`` section; no function needs to name it. Clients of LangChain are wrapped by the
    adapter for LangChain and keep their class; of others the usual methods are wrapped, and ``call.request`` holds their
    ``args`` and ``kwargs``.

    Args:
        builder: NAT's workflow builder.
        relay: the runtime; default the process-wide one.

    Example:
        >>> import asyncio, relay_core as relay
        >>> class Model:
        ...     def complete(self, prompt):
        ...         return prompt.upper()
        >>> class Builder:
        ...     async def get_llm(self, name, wrapper_type):
        ...         return Model()
        >>> builder, runtime = Builder(), relay.Relay()
        >>> @runtime.guardrail("llm")
        ... def no_shouting(call):
        ...     return relay.Block("be quiet") if "!" in call.request["args"][0] else None
        >>> middleware = ExperimentalRelayLlmMiddleware(builder, runtime)
        >>> model = asyncio.run(builder.get_llm("m", "raw"))
        >>> model.complete("hi"), isinstance(model, Model)
        ('HI', True)
    """

    def __init__(self, builder: Any, relay: Relay | None = None) -> None:
        super().__init__()
        self.relay = relay if relay is not None else relay_core.default
        self._builder = builder
        self._bare = builder.get_llm
        builder.get_llm = self._get_llm

    async def _get_llm(self, llm_name: Any, wrapper_type: Any, *args: Any, **kwargs: Any) -> Any:
        client = await self._bare(llm_name, wrapper_type, *args, **kwargs)
        return control_client(client, str(llm_name), self.relay)

    def take_off(self) -> None:
        """Let the builder hand out clients as they are; those that it has handed out stay under policy."""
        if vars(self._builder).get("get_llm") == self._get_llm:
            del self._builder.get_llm


def control_client(client: Any, name: str, relay: Relay) -> Any:
    """Put one model client under policy.

    Args:
        client: of any framework.
        name: of the model in NAT's configuration.
        relay: the runtime.

    Returns:
        A copy where the client is LangChain's; else the client itself, with another class below its own.
    """
    models: Any = sys.modules.get("langchain_core.language_models")
    if models is not None and isinstance(client, models.BaseLanguageModel) and find_spec("relay_adapter_langchain"):
        from relay_adapter_langchain import wrap_model  # noqa: PLC0415  # an extra

        return wrap_model(client, relay)
    bare = type(client)
    namespace: dict[str, Any] = {
        "__module__": bare.__module__,
        "__qualname__": bare.__qualname__,
        "__doc__": bare.__doc__,
    }
    for method in _METHODS:
        function = getattr(bare, method, None)
        if inspect.isfunction(function):
            namespace[method] = _controlled(function, name, relay)
    metaclass: Any = type(bare)
    object.__setattr__(client, "__class__", metaclass(bare.__name__, (bare,), namespace))
    return client


def _controlled(function: Callable[..., Any], name: str, relay: Relay) -> Callable[..., Any]:
    """Wrap one method by what it gives: a value, an awaitable, an iterator, or an async iterator."""
    streams = "stream" in function.__name__
    if inspect.isasyncgenfunction(function):
        made = _async_generator(function, name, relay)
    elif inspect.iscoroutinefunction(function):
        made = _coroutine(function, name, relay, streams=streams)
    else:
        manage = relay.stream_llm if streams or inspect.isgeneratorfunction(function) else relay.call_llm

        def made(self: Any, *args: Any, **kwargs: Any) -> Any:
            return _managed(manage, name, function, self, args, kwargs)

    made.__name__, made.__doc__ = function.__name__, function.__doc__
    return made


def _async_generator(function: Callable[..., Any], name: str, relay: Relay) -> Callable[..., Any]:
    async def made(self: Any, *args: Any, **kwargs: Any) -> Any:
        async with _managed(relay.astream_llm, name, function, self, args, kwargs) as stream:
            async for chunk in stream:
                yield chunk

    return made


def _coroutine(function: Callable[..., Any], name: str, relay: Relay, *, streams: bool) -> Callable[..., Any]:
    async def made(self: Any, *args: Any, **kwargs: Any) -> Any:
        if streams:
            return await _managed(relay.astream_llm, name, function, self, args, kwargs).open()
        return await _managed(relay.acall_llm, name, function, self, args, kwargs)

    return made


def _managed(manage: Any, name: str, function: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
    model = next((found for found in (getattr(client, n, None) for n in _MODEL_NAMES) if isinstance(found, str)), None)

    def real(request: Any) -> Any:
        return function(client, *request["args"], **request["kwargs"])

    return manage(name, {"args": list(args), "kwargs": kwargs}, real, model=model, claim=True)
