"""Snapshots of payloads: what the caller's thread does for any object, cheap and bounded.

No code of a payload's first values runs. Further on, that of sets' subclasses and a few more may, in the C encoder.
"""

# objects of any type pass here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.late_payloads import Deferred
from relay_core.payload_census import FEW, SHORT, glance, look
from relay_core.payload_hooks import KEEP, Note, reduce_object
from relay_core.payload_limits import DEFAULT_LIMITS
from relay_core.payload_parts import Frozen
from relay_core.payload_walk import walk

if TYPE_CHECKING:
    from relay_core.payload_limits import Bounds

__all__ = ["Packed", "freeze", "pack"]


class Packed(msgspec.Struct, gc=False):
    """A plain payload as MessagePack: one allocation that the garbage collector need not follow."""

    data: bytes


def _hook(obj: Any) -> Any:
    plain = reduce_object(obj)
    if type(plain) is Note:
        return walk(obj, DEFAULT_LIMITS.max_depth, DEFAULT_LIMITS.max_items, (Frozen,)) if plain.rest else plain
    if not _may_copy(plain, DEFAULT_LIMITS):
        return walk(plain, DEFAULT_LIMITS.max_depth, DEFAULT_LIMITS.max_items, (Frozen,))
    return plain


_copy: Final = partial(msgspec.to_builtins, builtin_types=(*KEEP, Frozen, Note), enc_hook=_hook)
_pack: Final = msgspec.msgpack.Encoder().encode
_pack_into: Final = msgspec.msgpack.Encoder().encode_into
_OWN: Final = frozenset(map(id, (Frozen, Note)))  # a class may forge its hash
_KEPT: Final = frozenset(map(id, (str, int, float, bool, type(None), bytes, Deferred))) | _OWN
_ROOM: Final = bytearray(2_048)  # copying one costs less than making one
_LITTLE: Final = bytearray(480)  # the interpreter's own allocator has this at hand
_LARGER: Final = {480: 2_048, 2_048: 32_768, 32_768: 131_072, 131_072: 524_288, 524_288: 1_048_576}  # bytes
_SEVERAL: Final = 8  # entries
_LIST: Final = 64
_LONG_LIST: Final = 256
_fix: Final = Struct("c").iter_unpack  # the cheapest of what holds on to a buffer
_UNREADABLE: Final = Note({"unreadable": True})


def freeze(obj: Any, limits: Bounds = DEFAULT_LIMITS) -> Any:  # noqa: C901, PLR0912  # on every call's path
    """Take a snapshot of any object: cheap and bounded.

    Plain values of ordinary size are packed by a C encoder, unless short into a buffer that cannot grow: there it stops.
    Everything else is copied as a tree that shares text with the original.

    Args:
        obj: any object.
        limits: `max_depth` and `max_items` are kept here where the value is unusual; all of them by `Encoder`.

    Returns:
        Something that only `Encoder` is meant to read. Never raises.

    Example:
        >>> from relay_core.payloads import Encoder
        >>> request = {"messages": [("user", "hi")]}
        >>> snapshot = freeze(request)
        >>> request["messages"].clear()
        >>> Encoder().tree(snapshot)
        {'messages': [['user', 'hi']]}
    """
    kind = type(obj)
    if kind is not dict or (size := len(obj)) > FEW:
        return _freeze(obj, limits)
    try:  # a few values, and perhaps a few in one of them: to call `glance` would cost half as much again
        below, is_all = None, True
        for key in obj:
            if type(key) is not str:
                return copy_tree(obj, limits)
            value = obj[key]
            kind = type(value)
            if kind is str:
                if len(value) > SHORT:
                    return _freeze(obj, limits)
            elif kind is int:
                pass
            elif kind is dict or kind is list:
                if below is not None:
                    return _freeze(obj, limits)
                below = value
            elif not (kind is float or kind is bool or value is None):
                return _freeze(obj, limits)
        if below is not None:
            if (size := size + len(below)) > _SEVERAL:
                return _freeze(obj, limits)
            for value in below.values() if type(below) is dict else below:
                kind = type(value)
                if kind is str:
                    if len(value) > SHORT:
                        return _freeze(obj, limits)
                elif not (kind is int or kind is float or kind is bool or value is None):
                    if kind is not dict and kind is not list:
                        return _freeze(obj, limits)
                    is_all = False
            if not is_all:
                return (pack(obj, _LITTLE.copy()) if size >= FEW else None) or _freeze(obj, limits)
        return Packed(_pack(obj))
    except BaseException as error:  # noqa: BLE001  # another thread changes it; a key is no text
        _pass_on(error)
        return copy_tree(obj, limits)


def _freeze(obj: Any, limits: Bounds) -> Any:
    """Take a snapshot of what is no small dictionary."""
    kind = type(obj)
    if kind is not dict and kind is not list and kind is not tuple:
        return obj if id(kind) in _KEPT else copy_tree(obj, limits)
    try:
        # A few kinds of object that the C encoder knows may run code of their own; hence the glance.
        return (pack(obj) if glance(obj) else None) or copy_tree(obj, limits)
    except Exception:  # noqa: BLE001  # another thread changes it
        return copy_tree(obj, limits)


def pack(obj: Any, buffer: bytearray | None = None) -> Packed | None:
    """Take a snapshot of plain values that some C encoder reads anyway, such as the body of a request.

    Args:
        obj: a dictionary, list or tuple.
        buffer: a new one, as long as the snapshot will probably get; longer ones are tried.

    Returns:
        None for what is large, or not plain; `freeze` takes that.

    Example:
        >>> from relay_core.payloads import Encoder
        >>> Encoder().json(pack({"model": "m"})), pack([object()])
        (b'{"model":"m"}', None)
    """
    if buffer is None:
        if type(obj) is list and len(obj) > _LIST:  # whatever is in it, it needs more room
            buffer = bytearray(32_768 if len(obj) <= _LONG_LIST else 131_072)
        else:
            buffer = _ROOM.copy()
    fixed = _fix(buffer)  # while it is there, the encoder cannot let the buffer grow
    try:
        _pack_into(obj, buffer)
        return Packed(b"" + buffer)
    except BufferError:
        larger = _LARGER.get(len(buffer))
    except BaseException as error:  # noqa: BLE001  # something that is not plain; its code may raise anything
        _pass_on(error)
        return None
    del fixed, buffer
    return None if larger is None else pack(obj, bytearray(larger))


def _pass_on(error: BaseException) -> None:
    """Raise what is a signal of the program; everything else is about a payload."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error


def _may_copy(obj: Any, limits: Bounds) -> bool:
    return look(obj, limits.max_depth, limits.max_items, _OWN)


def copy_tree(obj: Any, limits: Bounds = DEFAULT_LIMITS) -> Any:
    """Take a snapshot as a tree that shares text with the original; for what is large, or not plain. Never raises."""
    try:
        if _may_copy(obj, limits):
            return _copy(obj)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the careful walk decides
        _pass_on(error)
    try:
        return walk(obj, limits.max_depth, limits.max_items, (Frozen,))
    except Exception:  # noqa: BLE001  # no memory or no stack left
        return _UNREADABLE
