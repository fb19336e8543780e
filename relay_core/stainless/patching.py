"""Attaching to one client, or to every client of the process; and letting go again."""

from __future__ import annotations

import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any, Final, cast

from relay_core.errors import AdapterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.runtime import Relay
    from relay_core.stainless.provider import Provider
    from relay_core.stainless.requests import Wiring

__all__ = ["Patcher"]

_METHODS: Final = {
    "request": ("cast_to", "options"),
    "_process_response": ("response", "retries_taken"),
    "_sleep_for_retry": ("retries_taken", "response"),
}


class Patcher:
    """Wires clients of one SDK to a runtime.

    A client is attached by giving it a class of the same name, derived from its own; all clients by wrapping three
    methods of the two base classes. Both hold for derived clients (``with_options``), and together they count once.

    Args:
        load: gives the SDK: its provider, and the base classes of its sync and async clients.
    """

    def __init__(self, load: Callable[[], tuple[Provider, type[Any], type[Any]]]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._wiring: Wiring | None = None
        self._patches: list[tuple[type[Any], str, Any, Any]] = []

    # -- one client --------------------------------------------------------------------------------------------------

    def attach(self, client: Any, relay: Relay, *, include_usage: bool | str = "auto") -> Any:
        """Put the calls of one client under Relay.

        Args:
            client: of the SDK, sync or async; it stays the same object.
            relay: the runtime.
            include_usage: see `Wiring`.

        Returns:
            The client.

        Raises:
            UsageError: it is no client of this SDK.
            AdapterError: this version of the SDK is not known.
        """
        provider, sync, async_ = self._load()
        if not isinstance(client, (sync, async_)):
            raise UsageError(f"attach takes a client of {provider.name}, such as OpenAI(), not {type(client).__name__}")
        self.detach(client)
        base = cast("type[Any]", type(client))
        _check(provider, base)
        wiring = _wiring(relay, provider, include_usage)
        body = {
            name: _wrapped(wiring, getattr(base, name), name, is_async=isinstance(client, async_)) for name in _METHODS
        }
        body |= {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
        client.__class__ = type(base.__name__, (base,), {**body, "_relay_base": base})
        client.__dict__ = dict(client.__dict__)  # one that was made for another class takes longer to read
        return client

    def detach(self, client: Any) -> None:
        """Give a client its own class back; one that is not attached stays as it is."""
        base = type(client).__dict__.get("_relay_base")
        if base is not None:
            client.__class__ = base

    # -- every client ------------------------------------------------------------------------------------------------

    def install(self, relay: Relay, *, include_usage: bool | str = "auto") -> None:
        """Put the calls of all clients of the process under Relay; the last runtime given is the one.

        Raises:
            AdapterError: this version of the SDK is not known; nothing was changed.
        """
        provider, sync, async_ = self._load()
        made = _wiring(relay, provider, include_usage)
        for base in (sync, async_):
            _check(provider, base)
        with self._lock:
            wiring = self._wiring
            if wiring is None:
                wiring = self._wiring = made
            else:
                wiring.relay, wiring.include_usage, wiring.active = relay, made.include_usage, True
            for base in (sync, async_):
                for name in _METHODS:
                    if not self._is_patched(base, name):
                        self._patch(wiring, base, name, is_async=base is async_)

    def _is_patched(self, base: type[Any], name: str) -> bool:
        """Tell whether a call comes to us: another library may have patched above, or put back what it once found."""
        ours = [wrapper for kind, method, _, wrapper in self._patches if kind is base and method == name]
        return inspect.unwrap(base.__dict__[name], stop=ours.__contains__) in ours

    def _patch(self, wiring: Wiring, base: type[Any], name: str, *, is_async: bool) -> None:
        original = base.__dict__[name]
        wrapper = _wrapped(wiring, original, name, is_async=is_async)
        setattr(base, name, wrapper)
        self._patches.append((base, name, original, wrapper))

    def uninstall(self, relay: Relay | None = None) -> None:
        """Let go of all clients. Where another library has patched above, the wrapper stays and does nothing.

        Args:
            relay: only if this is the runtime; default any.
        """
        with self._lock:
            wiring = self._wiring
            if wiring is None or (relay is not None and wiring.relay is not relay):
                return
            wiring.active = False
            for patch in reversed(self._patches.copy()):
                base, name, original, wrapper = patch
                if base.__dict__[name] is wrapper:
                    setattr(base, name, original)
                    self._patches.remove(patch)
            if not self._patches:
                self._wiring = None


def _wiring(relay: Relay, provider: Provider, include_usage: bool | str) -> Wiring:
    from relay_core.stainless.requests import Wiring  # noqa: PLC0415  # not before the SDK is there

    if include_usage not in (True, False, "auto"):
        raise UsageError(f'include_usage is True, False or "auto", not {include_usage!r}')
    return Wiring(relay, provider, include_usage)


def _check(provider: Provider, base: type[Any]) -> None:
    """Refuse a client that is other than the ones known.

    Raises:
        AdapterError: names what is missing.
    """
    for name, needed in _METHODS.items():
        method = getattr(base, name, None)
        missing = _lacking(method, needed) if callable(method) else list(needed)
        if method is None or missing:
            what = f"{base.__name__}.{name}" + (f"({', '.join(missing)})" if method is not None else "")
            raise AdapterError(
                f"this version of {provider.name} is not known: it has no {what}; its calls are left alone. "
                f"Install a version that relay-adapter-{provider.name} declares, or a newer adapter."
            )


def _lacking(method: Callable[..., Any], needed: tuple[str, ...]) -> list[str]:
    """Tell which parameters a method does not take; another library's patch may take any and pass them on."""
    known = inspect.signature(method).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return [] if takes_any else [name for name in needed if name not in known]


def _wrapped(wiring: Wiring, original: Callable[..., Any], name: str, *, is_async: bool) -> Callable[..., Any]:
    make = {"_process_response": _processing, "_sleep_for_retry": _sleeping}.get(name)
    if make is None:
        make = _async_requesting if is_async else _requesting
    return functools.wraps(original)(make(wiring, original))


def _requesting(wiring: Wiring, original: Callable[..., Any]) -> Callable[..., Any]:
    from relay_core.stainless.quick import Quick  # noqa: PLC0415  # see _wiring
    from relay_core.stainless.requests import begin, manage  # noqa: PLC0415  # see _wiring

    def call(self: Any, cast_to: Any, options: Any, **others: Any) -> Any:
        begun = begin(wiring, self, options, others.get("stream"))
        if begun is None:
            return original(self, cast_to=cast_to, options=options, **others)
        if type(begun) is not Quick:
            return manage(wiring, begun, self, original, {"cast_to": cast_to, "options": options, **others})
        try:
            result = original(self, cast_to=cast_to, options=options, **others)
        except BaseException as error:
            begun.fail(error)
            raise
        return begun.finish(result)

    def exact(self: Any, cast_to: Any, options: Any, *, stream: Any = False, stream_cls: Any = None) -> Any:
        begun = begin(wiring, self, options, stream)
        if begun is None:
            return original(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        if type(begun) is not Quick:
            given = {"cast_to": cast_to, "options": options, "stream": stream, "stream_cls": stream_cls}
            return manage(wiring, begun, self, original, given)
        try:
            result = original(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        except BaseException as error:
            begun.fail(error)
            raise
        return begun.finish(result)

    return exact if _is_alike(original, exact) else call


def _async_requesting(wiring: Wiring, original: Callable[..., Any]) -> Callable[..., Any]:
    from relay_core.stainless.quick import Quick  # noqa: PLC0415  # see _wiring
    from relay_core.stainless.requests import amanage, begin  # noqa: PLC0415  # see _wiring

    async def call(self: Any, cast_to: Any, options: Any, **others: Any) -> Any:
        begun = begin(wiring, self, options, others.get("stream"))
        if begun is None:
            return await original(self, cast_to=cast_to, options=options, **others)
        if type(begun) is not Quick:
            return await amanage(wiring, begun, self, original, {"cast_to": cast_to, "options": options, **others})
        try:
            result = await original(self, cast_to=cast_to, options=options, **others)
        except BaseException as error:
            begun.fail(error)
            raise
        return begun.finish(result)

    async def exact(self: Any, cast_to: Any, options: Any, *, stream: Any = False, stream_cls: Any = None) -> Any:
        begun = begin(wiring, self, options, stream)
        if begun is None:
            return await original(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        if type(begun) is not Quick:
            given = {"cast_to": cast_to, "options": options, "stream": stream, "stream_cls": stream_cls}
            return await amanage(wiring, begun, self, original, given)
        try:
            result = await original(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        except BaseException as error:
            begun.fail(error)
            raise
        return begun.finish(result)

    return exact if _is_alike(original, exact) else call


def _is_alike(original: Callable[..., Any], exact: Callable[..., Any]) -> bool:
    """Tell whether an SDK's method takes what is known; naming that costs less than collecting it, on every call."""
    known, given = inspect.signature(exact).parameters, inspect.signature(original).parameters
    return [(p.name, p.kind) for p in known.values()] == [(p.name, p.kind) for p in given.values()]


def _processing(_: Wiring, original: Callable[..., Any]) -> Callable[..., Any]:
    from relay_core.stainless.exchange import active  # noqa: PLC0415  # see _wiring

    def call(self: Any, **given: Any) -> Any:
        exchange = active.get()
        if exchange is not None and exchange.client is self:
            exchange.note_response(given["response"], given.get("retries_taken", 0))
        return original(self, **given)

    def exact(
        self: Any, *, cast_to: Any, options: Any, response: Any, stream: Any, stream_cls: Any, retries_taken: int = 0
    ) -> Any:
        exchange = active.get()
        if exchange is not None and exchange.client is self:
            exchange.note_response(response, retries_taken)
        return original(
            self,
            cast_to=cast_to,
            options=options,
            response=response,
            stream=stream,
            stream_cls=stream_cls,
            retries_taken=retries_taken,
        )

    return exact if _is_alike(original, exact) else call


def _sleeping(wiring: Wiring, original: Callable[..., Any]) -> Callable[..., Any]:
    from relay_core.stainless.exchange import active  # noqa: PLC0415  # see _wiring

    def call(self: Any, **given: Any) -> Any:
        exchange = active.get()
        if exchange is not None and exchange.client is self and exchange.relay is wiring.relay:
            exchange.note_retry(given["retries_taken"] + 1, given.get("response"))
        return original(self, **given)

    return call
