"""The client's ``request`` under Relay: sync and async, streamed or not."""

# The SDK's objects are of any type:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from relay_core.calls import place
from relay_core.payloads import Frozen, freeze, pack
from relay_core.scopes import CURRENT
from relay_core.stainless.exchange import Exchange, active, read_headers
from relay_core.stainless.quick import Quick
from relay_core.stainless.taps import AsyncPassing, AsyncSource, Passing, Source, async_tap, http_of, tap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from relay_core.runtime import Relay
    from relay_core.stainless.provider import Operation, Provider

__all__ = ["Wanted", "Wiring", "amanage", "begin", "manage"]


class Wiring(msgspec.Struct, eq=False):
    """How one client, or all clients of a process, are wired to a runtime.

    Args:
        relay: the runtime.
        provider: the SDK.
        include_usage: whether streams are asked for their usage: always, never, or ("auto") where the server is known
            to understand it.
        active: whether it is in force.
        profiles: frozen profiles of calls, by model.
    """

    relay: Relay
    provider: Provider
    include_usage: bool | str = "auto"
    active: bool = True
    profiles: dict[str, Frozen] = msgspec.field(default_factory=dict[str, Frozen])


class Wanted(NamedTuple):
    """A request that is to go under Relay with all that belongs to it, before its body is read."""

    operation: Operation
    decodes: bool


def begin(  # noqa: C901, PLR0912  # on every call's path
    wiring: Wiring, client: Any, options: Any, streams: object
) -> Quick | Wanted | None:
    """Begin a call that can go the short way; say what else is to be done; None for a request that passes as it is.

    Args:
        wiring: what the client is wired to.
        client: the SDK's client.
        options: the SDK's description of the request.
        streams: whether the response is asked for as a stream.
    """
    # Much of what follows is written out: a call of a function costs as much as ten steps.
    relay, provider = wiring.relay, wiring.provider
    try:
        if relay._resolvers or relay._scoped:
            parent, chains = place(relay, CURRENT)
        else:
            parent, chains = relay._current.get(), relay._chains
        chain = chains.llm
        if (chain is None and not relay.observed) or not wiring.active or relay.disabled:
            return None
        known = active.get()
        if known is not None and known.sent is options:
            return None
        fields: dict[str, Any] = options.__dict__  # of a model whose attributes take ten times as long
        url, kinds = fields["url"], provider.kinds
        operation = kinds[url] if fields["method"] == "post" and url in kinds else provider.operation(options)
        if operation is None:
            return None
        claim = relay._claim.get()
        if chain is not None or streams or (claim is not None and relay.current_claim("llm") is not None):
            return Wanted(operation, chain is not None and bool(chain.executions))
        headers, shown = fields["headers"], None
        if type(headers) is dict and str in map(type, headers.values()):  # else marks that take headers away
            shown, raw_mode = read_headers(headers)
            if raw_mode == "stream":
                return Wanted(operation, decodes=False)
        body = fields["json_data"]
        if type(body) is not dict or fields.get("extra_json"):
            body = provider.body(options)
            if body is None:
                return None
        kind = type(client)
        if provider.prepares[kind] if kind in provider.prepares else provider.is_preparing(kind):
            mark = provider.mark
            frozen = pack(body := {name: value for name, value in body.items() if value is not mark})
            if frozen is None and (frozen := pack(body := provider.given(body))) is None:
                return Wanted(operation, decodes=False)  # large, or the SDK makes more of it plain
        else:
            frozen = pack(body) or freeze(body)
        return Quick(wiring, operation, client, options, body, frozen, shown, parent, claim, known)
    except Exception as error:  # noqa: BLE001  # an SDK that is other than expected must still do its work
        relay.fault(f"reading a request of {provider.name}", error)
        return None


def _begin(
    wiring: Wiring, wanted: Wanted, client: Any, original: Callable[..., Any], arguments: dict[str, Any], options: Any
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


def manage(wiring: Wiring, wanted: Wanted, client: Any, original: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Send a request of a sync client under Relay, with all that belongs to it.

    Args:
        wiring: what the client is wired to.
        wanted: what `begin` gave.
        client: the SDK's client.
        original: its own ``request``.
        arguments: cast_to, options and the keywords it was called with.
    """
    try:
        options = wiring.provider.prepared(client, arguments["options"])
        exchange = _begin(wiring, wanted, client, original, arguments, options)
    except Exception as error:  # noqa: BLE001  # see begin
        wiring.relay.fault(f"reading a request of {wiring.provider.name}", error)
        exchange = None
    return original(client, **arguments) if exchange is None else _managed(wiring, exchange)


def _managed(wiring: Wiring, exchange: Exchange) -> Any:
    client, original = exchange.client, exchange.original
    source: Source | None = None

    def send(body: Any) -> Any:
        nonlocal source
        given = exchange.arguments_for(body)
        token = active.set(exchange)
        try:
            result = original(client, **given)
            if exchange.reads and exchange.response is not None:
                exchange.response.read()
        finally:
            active.reset(token)
        if not exchange.streams:
            return exchange.returned(result)
        if exchange.response is None:
            return ()
        source = Source(exchange.wire, exchange.opened(result))
        return source

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
        exchange.tell_watched(stream.kept)
    byte_stream = tap(http_of(client), exchange.wire, stream, source)
    is_given, result = _attached(exchange, byte_stream)
    return _respond(exchange, byte_stream) if is_given else result


def _attached(exchange: Exchange, byte_stream: Any) -> tuple[bool, Any]:
    """Put a byte stream in place of the connection's; tell whether middleware gave it, so that nothing was sent."""
    result, response = exchange.result_object, exchange.response
    if response is not None:
        response.stream = byte_stream
    exchange.forget()
    return response is None and exchange.sent is None, result


async def amanage(
    wiring: Wiring, wanted: Wanted, client: Any, original: Callable[..., Any], arguments: dict[str, Any]
) -> Any:
    """Send a request of an async client under Relay; arguments as for `manage`."""
    try:
        options = wiring.provider.prepared(client, arguments["options"])
        if hasattr(options, "__await__"):
            options = await options
        exchange = _begin(wiring, wanted, client, original, arguments, options)
    except Exception as error:  # noqa: BLE001  # see begin
        wiring.relay.fault(f"reading a request of {wiring.provider.name}", error)
        exchange = None
    return await (original(client, **arguments) if exchange is None else _amanaged(wiring, exchange))


async def _amanaged(wiring: Wiring, exchange: Exchange) -> Any:
    client, original = exchange.client, exchange.original
    source: AsyncSource | None = None

    async def send(body: Any) -> Any:
        nonlocal source
        given = exchange.arguments_for(body)
        token = active.set(exchange)
        try:
            result = await original(client, **given)
            if exchange.reads and exchange.response is not None:
                await exchange.response.aread()
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
        exchange.tell_watched(stream.kept)
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
