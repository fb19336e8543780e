"""The client's ``request`` under Relay: sync and async, streamed or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from relay_core.stainless.exchange import Exchange, active
from relay_core.stainless.taps import AsyncPassing, AsyncSource, Passing, Source, async_tap, http_of, tap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from relay_core.runtime import Relay
    from relay_core.stainless.provider import Operation, Provider

__all__ = ["Wiring", "arequest", "request"]


class Wiring(msgspec.Struct, eq=False):
    """How one client, or all clients of a process, are wired to a runtime.

    Args:
        relay: the runtime.
        provider: the SDK.
        include_usage: whether streams are asked for their usage: always, never, or ("auto") where the server is known
            to understand it.
        active: whether it is in force.
    """

    relay: Relay
    provider: Provider
    include_usage: bool | str = "auto"
    active: bool = True


class _Wanted(NamedTuple):
    """A request that is to go under Relay, before its body is read."""

    operation: Operation
    decodes: bool


def _wanted(wiring: Wiring, options: Any) -> _Wanted | None:
    """Tell whether a request goes under Relay; one that does not passes as it is."""
    relay = wiring.relay
    if relay.disabled or not wiring.active:
        return None
    chain = relay.chains_for(relay.current()).llm
    known = active.get()
    if (chain is None and not relay.observed) or (known is not None and known.sent is options):
        return None
    operation = wiring.provider.operation(options)
    return None if operation is None else _Wanted(operation, chain is not None and bool(chain.executions))


def _begin(
    wiring: Wiring, wanted: _Wanted, client: Any, original: Callable[..., Any], arguments: dict[str, Any], options: Any
) -> Exchange | None:
    """Begin an exchange; None for a body that is no JSON object."""
    provider = wiring.provider
    body = provider.body(options)
    if body is None:
        return None
    return Exchange(
        wiring.relay,
        provider,
        wanted.operation,
        client,
        original,
        arguments if options is arguments["options"] else {**arguments, "options": options},
        body,
        include_usage=wiring.include_usage,
        decodes=wanted.decodes,
    )


def _exchange(wiring: Wiring, client: Any, original: Callable[..., Any], arguments: dict[str, Any]) -> Exchange | None:
    """Begin an exchange of a sync client; None for a request that passes as it is. Never raises."""
    try:
        wanted = _wanted(wiring, arguments["options"])
        if wanted is None:
            return None
        options = wiring.provider.prepared(client, arguments["options"])
        return _begin(wiring, wanted, client, original, arguments, options)
    except Exception as error:  # noqa: BLE001  # an SDK that is other than expected must still do its work
        wiring.relay.fault(f"reading a request of {wiring.provider.name}", error)
        return None


async def _aexchange(
    wiring: Wiring, client: Any, original: Callable[..., Any], arguments: dict[str, Any]
) -> Exchange | None:
    """Begin an exchange of an async client; otherwise as `_exchange`."""
    try:
        wanted = _wanted(wiring, arguments["options"])
        if wanted is None:
            return None
        options = wiring.provider.prepared(client, arguments["options"])
        if hasattr(options, "__await__"):
            options = await options
        return _begin(wiring, wanted, client, original, arguments, options)
    except Exception as error:  # noqa: BLE001  # see _exchange
        wiring.relay.fault(f"reading a request of {wiring.provider.name}", error)
        return None


def request(wiring: Wiring, client: Any, original: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Send a request of a sync client under Relay.

    Args:
        wiring: what the client is wired to.
        client: the SDK's client.
        original: its own ``request``, bound.
        arguments: cast_to, options and the keywords it was called with.
    """
    exchange = _exchange(wiring, client, original, arguments)
    if exchange is None:
        return original(**arguments)

    def send(body: Any) -> Any:
        given = exchange.arguments_for(body)
        token = active.set(exchange)
        try:
            result = original(**given)
        finally:
            active.reset(token)
        if not exchange.streams:
            return exchange.returned(result)
        return () if exchange.response is None else Source(exchange.wire, exchange.opened(result))

    name, options = wiring.provider.name, exchange.call_options()
    if not exchange.streams:
        if exchange.outer is not None:
            result = send(exchange.body)
        else:
            result = wiring.relay.call_llm(name, exchange.body, send, **options)
        return _respond(exchange, msgspec.json.encode(result)) if _is_made(exchange, result) else result
    if exchange.outer is not None:
        stream: Any = Passing(exchange, send(exchange.body))
    else:
        stream = wiring.relay.stream_llm(name, exchange.body, send, assemble=exchange.assemble, **options).open()
    byte_stream = tap(http_of(client), exchange.wire, stream)
    is_given, result = _attached(exchange, byte_stream)
    return _respond(exchange, byte_stream) if is_given else result


def _attached(exchange: Exchange, byte_stream: Any) -> tuple[bool, Any]:
    """Put a byte stream in place of the connection's; tell whether middleware gave it, so that nothing was sent."""
    result, response = exchange.result_object, exchange.response
    if response is not None:
        response.stream = byte_stream
    exchange.forget()
    return response is None and exchange.sent is None, result


async def arequest(wiring: Wiring, client: Any, original: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Send a request of an async client under Relay; arguments as for `request`."""
    exchange = await _aexchange(wiring, client, original, arguments)
    if exchange is None:
        return await original(**arguments)

    source: AsyncSource | None = None

    async def send(body: Any) -> Any:
        nonlocal source
        given = exchange.arguments_for(body)
        token = active.set(exchange)
        try:
            result = await original(**given)
        finally:
            active.reset(token)
        if not exchange.streams:
            return exchange.returned(result)
        if exchange.response is None:
            return _nothing()
        source = AsyncSource(exchange.wire, exchange.opened(result))
        return source

    name, options = wiring.provider.name, exchange.call_options()
    if not exchange.streams:
        if exchange.outer is not None:
            result = await send(exchange.body)
        else:
            result = await wiring.relay.acall_llm(name, exchange.body, send, **options)
        return await _respond(exchange, msgspec.json.encode(result)) if _is_made(exchange, result) else result
    if exchange.outer is not None:
        stream: Any = AsyncPassing(exchange, await send(exchange.body))
    else:
        stream = wiring.relay.astream_llm(name, exchange.body, send, assemble=exchange.assemble, **options)
        await stream.open()
    byte_stream = async_tap(http_of(client), exchange.wire, stream, source)
    is_given, result = _attached(exchange, byte_stream)
    return (await _respond(exchange, byte_stream)) if is_given else result


async def _nothing() -> AsyncIterator[Any]:
    for nothing in ():
        yield nothing


def _is_made(exchange: Exchange, result: Any) -> bool:
    """Tell whether middleware made the response, as JSON."""
    return isinstance(result, dict) and result is not exchange.result_object


def _respond(exchange: Exchange, content: Any) -> Any:
    """Let the SDK read a response that middleware made, so that each surface gets its own type."""
    client, http = exchange.client, http_of(exchange.client)
    given = exchange.arguments
    options = exchange.options
    streamed = not isinstance(content, bytes)
    request = client._build_request(options)
    response = http.Response(
        200,
        headers={"content-type": "text/event-stream" if streamed else "application/json"},
        request=request,
        **({"stream": content} if streamed else {"content": content}),
    )
    cast_to = given["cast_to"]
    override = getattr(client, "_maybe_override_cast_to", None)
    return client._process_response(
        cast_to=cast_to if override is None else override(cast_to, options),
        options=options,
        response=response,
        stream=bool(given.get("stream")),
        stream_cls=given.get("stream_cls"),
        retries_taken=0,
    )
