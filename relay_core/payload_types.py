"""Facts about types that no class can forge: read through the descriptors of ``type`` itself, since a metaclass may lie."""

from __future__ import annotations

import enum
import types
import uuid
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "class_dict",
    "expands",
    "find",
    "instance_dict",
    "mro_of",
    "qualname",
    "sizer",
    "slot",
    "type_name",
    "type_of",
]

_NAME_CHARS: Final = 256
type_of: Callable[[Any], type[Any]] = type
"""The builtin, for the type checker."""

mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
class_dict: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module: Callable[[type], Any] = type.__dict__["__module__"].__get__


def type_name(kind: type) -> str:
    """Name a type, for example ``"decimal.Decimal"``, even if its metaclass lies.

    Args:
        kind: any class.

    Returns:
        Module and qualified name; only the latter for builtins.

    Example:
        >>> type_name(ValueError), type_name(uuid.UUID)
        ('ValueError', 'uuid.UUID')
    """
    try:
        module, name = _module(kind), qualname(kind)
    except Exception:  # noqa: BLE001 - a class dict without a module
        module, name = None, "?"
    name = name[:_NAME_CHARS] if type(name) is str else "?"
    return name if type(module) is not str or module == "builtins" else f"{module[:_NAME_CHARS]}.{name}"


def find(mro: tuple[type, ...], name: str) -> Any:
    for base in mro:
        members = class_dict(base)
        if name in members:
            return members[name]
    return None


def instance_dict(obj: object, mro: tuple[type, ...]) -> dict[Any, Any] | None:
    """Read the attributes of an instance, unless its class replaced ``__dict__``."""
    getter = find(mro, "__dict__")
    if type(getter) is not types.GetSetDescriptorType:
        return None
    found = getter.__get__(obj)
    return cast("dict[Any, Any]", found) if type(found) is dict else None


def slots(obj: object, mro: tuple[type, ...]) -> list[Any]:
    """Read all slots of an instance, whatever its classes say of them."""
    names = {name for base in mro for name, own in class_dict(base).items() if type(own) is types.MemberDescriptorType}
    return [slot(obj, mro, name) for name in names]


def slot(obj: object, mro: tuple[type, ...], name: str) -> Any:
    getter = find(mro, name)
    if type(getter) is not types.MemberDescriptorType:
        return None
    try:
        return getter.__get__(obj)
    except AttributeError:
        return None


_known: dict[int, tuple[type, Callable[[Any], int]]] = {}
_expanding: dict[int, tuple[type, bool]] = {}
_KNOWN_LIMIT: Final = 2048
_FIELD_LISTS: Final = ("__dataclass_fields__", "__attrs_attrs__")
_NO_LIMIT: Final = 1 << 62


def _never(_obj: Any) -> int:
    return _NO_LIMIT


def _always(_obj: Any) -> int:
    return 0


def sizer(kind: type) -> Callable[[Any], int]:
    """Give the function that tells how much `msgspec.to_builtins` would do for an instance of a type.

    Args:
        kind: the type of a value.

    Returns:
        A function of the value: its length; or 0 for one that is reduced by `reduce_object`; or a huge number where
        user code would run or memory would be copied: subclasses of sets and UUIDs, dataclasses and enums that replace
        attribute access, buffers.

    Example:
        >>> sizer(type("Mine", (dict,), {}))({"a": 1}), sizer(object)(object()), sizer(memoryview)(b"") > 10**9
        (1, 0, True)
    """
    known = _known.get(id(kind))  # by id: a metaclass may define __hash__
    if known is not None:
        return known[1]
    try:
        answer = _sizer(kind, mro_of(kind))
    except Exception:  # noqa: BLE001  # whatever a class can be, it is not trusted then
        answer = _never
    if len(_known) >= _KNOWN_LIMIT:
        _known.clear()
    _known[id(kind)] = (kind, answer)
    return answer


_BOUNDED: Final[tuple[Any, ...]] = (dict, list, tuple, set, frozenset)
_CONTAINERS: Final = frozenset(map(id, _BOUNDED))
_LENGTHS: Final[dict[Any, Callable[[Any], int]]] = {base: base.__len__ for base in _BOUNDED}


def _sizer(kind: type, mro: tuple[type, ...]) -> Callable[[Any], int]:
    if kind is bytearray or kind is memoryview:
        return _never
    for base in mro:
        if base is set or base is frozenset or base is uuid.UUID:
            return _never if kind is not base else _LENGTHS.get(base, _always)
        if base is dict or base is list or base is tuple:
            return _LENGTHS[base]
    members = [class_dict(base) for base in mro if base is not object and class_dict(base).get("__module__") != "enum"]
    if any(base is enum.Enum for base in mro):
        return _never if any("__getattribute__" in own for own in members) else _always
    fields = next((own[name] for own in members for name in _FIELD_LISTS if name in own), None)
    if fields is None:
        return _always
    if any("__getattribute__" in own or "__getattr__" in own for own in members):
        return _never
    names: list[Any] = list(cast("dict[Any, Any]", fields)) if type(fields) is dict else []
    found = [own[name] for own in members for name in names if type(name) is str and name in own]
    return (
        _always
        if all(type(one) is types.MemberDescriptorType or not _is_computed(type_of(one)) for one in found)
        else _never
    )


def expands(kind: type) -> bool:
    """Tell whether `msgspec.to_builtins` goes on into what an instance holds, without asking a hook about it."""
    known = _expanding.get(id(kind))
    if known is None:
        if len(_expanding) >= _KNOWN_LIMIT:
            _expanding.clear()
        mro = mro_of(kind)
        own = any(base is msgspec.Struct or name in class_dict(base) for base in mro for name in _FIELD_LISTS)
        known = _expanding[id(kind)] = (kind, own or any(id(base) in _CONTAINERS for base in mro))
    return known[1]


def _is_computed(kind: type) -> bool:
    return any("__get__" in class_dict(base) and base is not types.FunctionType for base in mro_of(kind))
