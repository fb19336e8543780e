"""A scope as a decorator: for sync, async, generator and async generator functions."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from relay_core.scopes import Scope

__all__ = ["decorate"]


def decorate(template: Scope, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `fn` so that each call runs in a scope of its own; arguments are its input, the result its output."""
    if inspect.isasyncgenfunction(fn):
        return _async_generator(template, fn)
    if inspect.iscoroutinefunction(fn):
        return _coroutine(template, fn)
    if inspect.isgeneratorfunction(fn):
        return _generator(template, fn)
    return _function(template, fn)


def _fresh(template: Scope, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope:
    return template.again(_Arguments(fn, args, kwargs).named() if template._relay.observed else None)


class _Arguments:
    """The arguments of one call, by name where the signature tells."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._fn, self._args, self._kwargs = fn, args, kwargs

    def named(self) -> dict[str, Any]:
        try:
            bound = inspect.signature(self._fn).bind(*self._args, **self._kwargs)
        except (TypeError, ValueError):
            return {"args": self._args, "kwargs": self._kwargs}
        return {name: value for name, value in bound.arguments.items() if name not in ("self", "cls")}


def _function(template: Scope, fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _fresh(template, fn, args, kwargs) as scope:
            result = fn(*args, **kwargs)
            scope.output = result
            return result

    return wrapper


def _coroutine(template: Scope, fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _fresh(template, fn, args, kwargs) as scope:
            result = await fn(*args, **kwargs)
            scope.output = result
            return result

    return wrapper


def _generator(template: Scope, fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        scope = _fresh(template, fn, args, kwargs).open()
        try:
            inner = fn(*args, **kwargs)  # raises where the arguments do not fit
            resume, given = inner.send, None
            while True:
                with scope.activate():  # between two steps the caller's scope is current again
                    item = resume(given)
                try:
                    given = yield item
                    resume = inner.send
                except GeneratorExit:
                    with scope.activate():  # the body's cleanup belongs to the scope
                        inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001  # thrown in by the caller: the body decides
                    resume, given = inner.throw, error
        except StopIteration as stop:
            scope.close(output=stop.value)
            return stop.value
        except BaseException as error:
            scope.close(error=error)
            raise

    return wrapper


def _async_generator(template: Scope, fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        scope = _fresh(template, fn, args, kwargs).open()
        try:
            inner = fn(*args, **kwargs)  # as in _generator
            resume, given = functools.partial(_begin, inner), None
            while True:
                with scope.activate():
                    item = await resume(given)
                try:
                    given = yield item
                    resume = inner.asend
                except GeneratorExit:
                    with scope.activate():  # as in _generator
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  # thrown in by the caller: the body decides
                    resume, given = inner.athrow, error
        except StopAsyncIteration:
            scope.close()
        except BaseException as error:
            scope.close(error=error)
            raise

    return wrapper


def _begin(inner: AsyncGenerator[Any, Any], given: Any) -> Any:
    """Make the first step of a generator that the one around it closes: an event loop that ends must not do it too."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_left_to_its_owner)
    try:
        return inner.asend(given)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _left_to_its_owner(inner: AsyncGenerator[Any, Any]) -> None:
    """Take the place of the event loop's hook."""
