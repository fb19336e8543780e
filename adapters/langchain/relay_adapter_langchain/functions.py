"""Functions that hold models and tools: in variables of the function around them, in defaults, in a `partial`."""

from __future__ import annotations

import dis
import functools
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["is_function", "names_in", "with_held"]


def is_function(found: Any) -> bool:
    """Tell whether `with_held` can copy it."""
    return isinstance(found, types.FunctionType | functools.partial)


def with_held(found: Any, change: Callable[[Any], Any]) -> Any:
    """Copy a function with what it holds changed: itself if nothing is.

    The copy shares the code and every variable that is not changed with the original. A variable that the function
    itself sets stays shared too, since a copy would part from the original's.

    Args:
        found: a function, or a `partial` of one.
        change: gives what to hold instead.
    """
    if isinstance(found, functools.partial):
        return _partial(found, change)
    stored = {name for kind, name in names_in(found.__code__) if kind == "stored"}
    cells = [
        cell if name in stored else _cell(cell, change)
        for name, cell in zip(found.__code__.co_freevars, found.__closure__ or (), strict=True)
    ]
    defaults = [change(value) for value in found.__defaults__ or ()]
    named = {name: change(value) for name, value in (found.__kwdefaults__ or {}).items()}
    pairs = [*zip(cells, found.__closure__ or (), strict=True), *zip(defaults, found.__defaults__ or (), strict=True)]
    pairs += [(value, found.__kwdefaults__[name]) for name, value in named.items()]
    if all(made is given for made, given in pairs):
        return found
    made = types.FunctionType(found.__code__, found.__globals__, found.__name__, tuple(defaults) or None, tuple(cells))
    made.__kwdefaults__ = named or None
    for name in functools.WRAPPER_ASSIGNMENTS:
        if hasattr(found, name):
            setattr(made, name, getattr(found, name))
    vars(made).update(_followed(found, change))
    return made


def _partial(found: functools.partial[Any], change: Callable[[Any], Any]) -> Any:
    func, args = change(found.func), [change(value) for value in found.args]
    named = {name: change(value) for name, value in found.keywords.items()}
    pairs = [(func, found.func), *zip(args, found.args, strict=True)]
    pairs += [(value, found.keywords[name]) for name, value in named.items()]
    if all(made is given for made, given in pairs):
        return found
    made = type(found)(func, *args, **named)
    vars(made).update(_followed(found, change))
    return made


def _followed(found: Any, change: Callable[[Any], Any]) -> dict[str, Any]:
    """Give the attributes of a function; what it stands for is the copy of what the original stands for."""
    return {name: change(value) if name == "__wrapped__" else value for name, value in vars(found).items()}


def _cell(cell: types.CellType, change: Callable[[Any], Any]) -> types.CellType:
    try:
        given = cell.cell_contents
    except ValueError:  # not set yet
        return cell
    made = change(given)
    return cell if made is given else types.CellType(made)


def names_in(code: types.CodeType) -> Iterator[tuple[str, str]]:
    """Give what code names, with that of the functions in it.

    Yields:
        ("global" or "free", a name, also with the attribute that is taken of it, as "app.model"), and ("stored", a name of
        a variable of a function around it that it sets).
    """
    base: tuple[str, str] | None = None
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_DEREF", "DELETE_DEREF"):
            yield "stored", step.argval
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and base is not None:
            base = (base[0], f"{base[1]}.{step.argval}")
            continue
        if base is not None:
            yield base
            base = None
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            base = ("global", step.argval)
        elif step.opname in ("LOAD_DEREF", "LOAD_CLASSDEREF"):
            base = ("free", step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)
