"""Any Python object as plain values, without running code of that object.

Only what is known about a type is used: its place in the class hierarchy, read through the descriptors of ``type``
itself (a metaclass may lie), and the methods of the C base classes. A ``__repr__``, ``__str__``, ``__getattr__``,
``__iter__`` or ``__class__`` of user code is never called. What is not known becomes its type's name.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import gc
import pathlib
import re
import types
import uuid
from typing import TYPE_CHECKING, Any, Final, cast

from relay_core.payload_types import class_dict, find, instance_dict, mro_of, qualname, slot, type_name, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KEEP", "Note", "blob", "key_text", "reduce_object", "type_name"]

KEEP: Final[tuple[type, ...]] = (
    bytes,
    bytearray,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
    decimal.Decimal,
)
"""Types that a frozen payload may hold besides JSON's own; the worker renders them."""

# The C methods of the base classes, whatever a subclass overrides; one name for the type checker.
_dict: Any = dict
_tuple: Any = tuple
_set: Any = set
_frozenset: Any = frozenset
_deque: Any = collections.deque

_HEAD: Final = 256
_KEY_CHARS: Final = 1024
_INT_BITS: Final = 2000  # fewer digits than the lowest limit that sys.set_int_max_str_digits accepts
_UUID_INT: Final = uuid.UUID.__dict__["int"].__get__


class Note:
    """A value that says what Relay put in place of another one: ``{"$relay": fields, **rest}``.

    Args:
        fields: what was changed, plain values; ``bytes`` stand for the first bytes of binary data.
        rest: keys beside the marker, already frozen.

    Example:
        >>> Note({"cycle": True}).fields
        {'cycle': True}
    """

    __slots__ = ("fields", "rest")

    def __init__(self, fields: dict[str, Any], rest: dict[Any, Any] | None = None) -> None:
        self.fields = fields
        self.rest = rest


def key_text(key: Any) -> tuple[str, str]:
    """Spell a dictionary key that is no text.

    Args:
        key: any hashable object.

    Returns:
        The text, and the name of the key's type.

    Example:
        >>> key_text(3), key_text(None), key_text((1, "a"))
        (('3', 'int'), ('null', 'NoneType'), ("(1, 'a')", 'tuple'))
    """
    kind = type_of(key)
    name = type_name(kind)
    if key is None:
        return "null", name
    if kind is bool:
        return ("true" if key else "false"), name
    if kind is int:
        return (str(key) if key.bit_length() <= _INT_BITS else hex(key >> (key.bit_length() - 256))), name
    if kind is float:
        return float.__repr__(key), name
    if kind is bytes:
        return key[:_HEAD].decode("ascii", "backslashreplace"), name
    if kind in KEEP:
        return str(key), name
    if kind is tuple:
        items = cast("tuple[Any, ...]", key)
        parts = [repr(item[:_HEAD]) if type(item) is str else _atom_text(item) for item in items[:8]]
        return f"({', '.join(parts)}{', ...' if len(items) > 8 else ''})", name
    plain = reduce_object(key)
    if type(plain) is str:
        return plain[:_KEY_CHARS], name
    if plain is not key and type(plain) in {int, float, bool, bytes}:
        return key_text(plain)[0], name
    return f"<{name}>", name


def _atom_text(item: Any) -> str:
    return key_text(item)[0] if type(item) in {int, float, bool, bytes, type(None)} else f"<{type_name(type_of(item))}>"


# --- one step of reduction --------------------------------------------------------------------------------------


def reduce_object(obj: Any) -> Any:
    """Turn an object that JSON does not know into plain values, one level deep.

    Args:
        obj: any object.

    Returns:
        An atom, a new list or dictionary (its values are not reduced yet), or a `Note`.

    Example:
        >>> reduce_object(collections.deque([1, 2])), reduce_object(object()).fields
        ([1, 2], {'type': 'object'})
    """
    kind = type_of(obj)
    special = _EXACT.get(id(kind))
    if special is not None:
        return special(obj)
    mro = mro_of(kind)
    for base in mro:
        reducer = _BASES.get(id(base))
        if reducer is not None:
            return reducer(obj)
    return _instance(obj, mro)


def _instance(obj: object, mro: tuple[type, ...]) -> Any:
    for base in mro:
        members = class_dict(base)
        if "__pydantic_core_schema__" in members or "__pydantic_fields__" in members:
            return _model(obj, mro)
        if "__dataclass_fields__" in members:
            return _fields(obj, mro, members["__dataclass_fields__"])
        if "__attrs_attrs__" in members:
            return _fields(obj, mro, _attrs_names(members["__attrs_attrs__"]))
        module = members.get("__module__")
        if type(module) is not str:
            continue
        if module.startswith("pydantic") and qualname(base) in {"SecretStr", "SecretBytes", "_SecretBase", "Secret"}:
            return "[REDACTED]"
        if module.startswith("pydantic.v1") and qualname(base) == "BaseModel":
            return _model(obj, mro)
    return _numpy(obj, mro) if _numpy_base(mro, "generic", "ndarray") else Note({"type": type_name(type_of(obj))})


def _model(obj: object, mro: tuple[type, ...]) -> Any:
    values = instance_dict(obj, mro)
    if values is None:
        return Note({"type": type_name(type_of(obj))})
    extra = slot(obj, mro, "__pydantic_extra__")
    copied: dict[Any, Any] = _dict.copy(values)
    if type(extra) is dict:
        copied.update(cast("dict[Any, Any]", extra))
    return copied


def _attrs_names(attributes: Any) -> Any:
    if not isinstance(attributes, tuple):
        return None
    items = _tuple.__iter__(attributes)
    return [item.name for item in items if type_name(type_of(item)) in {"attr._make.Attribute", "attr.Attribute"}]


def _fields(obj: object, mro: tuple[type, ...], names: Any) -> Any:
    if type_of(names) is not dict and type_of(names) is not list:
        return Note({"type": type_name(type_of(obj))})
    values = instance_dict(obj, mro) or {}
    out: dict[str, Any] = {}
    for name in list(names):
        if type(name) is not str:
            continue
        if name in values:
            out[name] = values[name]
            continue
        found = find(mro, name)
        if type(found) is types.MemberDescriptorType:
            found = slot(obj, mro, name)
        out[name] = found
    return out


def _numpy_base(mro: tuple[type, ...], *names: str) -> type | None:
    for base in mro:
        module, _, name = type_name(base).rpartition(".")  # types made in C have no module in their dictionary
        if module.partition(".")[0] == "numpy" and name in names:
            return base
    return None


def _numpy(obj: Any, mro: tuple[type, ...]) -> Any:
    name = type_name(type_of(obj))
    try:
        scalar = _numpy_base(mro, "generic")
        if scalar is not None:
            value = class_dict(scalar)["item"](obj)
            return value if type(value) in {int, float, bool, str, bytes, complex, *KEEP} else Note({"type": name})
        array = class_dict(cast("type", _numpy_base(mro, "ndarray")))
        shape, dtype = array["shape"].__get__(obj), array["dtype"].__get__(obj)
        return Note({"type": name, "shape": list(shape), "dtype": str(_numpy_dtype(dtype))})
    except Exception:  # noqa: BLE001 - another library's internals
        return Note({"type": name})


def _numpy_dtype(dtype: Any) -> str:
    getter = find(mro_of(type_of(dtype)), "str")
    return getter.__get__(dtype) if type(getter) is types.GetSetDescriptorType else "?"


# --- reducers of single types -----------------------------------------------------------------------------------


def blob(name: str, size: int, head: bytes) -> Note:
    """Describe binary data by its size and first bytes."""
    return Note({"type": name, "size": size, "base64": head})


def _bytes(obj: bytes) -> Note:
    return blob(type_name(type_of(obj)), bytes.__len__(obj), bytes.__getitem__(obj, slice(0, _HEAD)))


def _bytearray(obj: bytearray) -> Note:
    return blob(type_name(type_of(obj)), bytearray.__len__(obj), bytes(bytearray.__getitem__(obj, slice(0, _HEAD))))


def _memoryview(obj: memoryview) -> Note:
    try:
        head = bytes(obj.cast("B")[:_HEAD]) if obj.c_contiguous else b""
        return blob("memoryview", obj.nbytes, head)
    except (ValueError, TypeError):
        return Note({"type": "memoryview"})  # released, or of a format without bytes


def _exception(obj: BaseException) -> Note:
    args = BaseException.__dict__["args"].__get__(obj)
    return Note({"type": type_name(type_of(obj))}, {"args": args})


def _enum(obj: Any) -> Any:
    values = instance_dict(obj, mro_of(type_of(obj)))
    return Note({"type": type_name(type_of(obj))}) if values is None or "_value_" not in values else values["_value_"]


def _held(name: str, base: type) -> Callable[[Any], Any]:
    def reducer(obj: Any) -> Any:
        values = instance_dict(obj, mro_of(type_of(obj)))
        data = values.get(name) if values else None
        return (
            data if isinstance(data, base) and type(data) is not type(obj) else Note({"type": type_name(type_of(obj))})
        )

    return reducer


def _proxy(obj: Any) -> Any:
    inner = gc.get_referents(obj)
    return (
        inner[0]
        if len(inner) == 1 and any(base is dict for base in mro_of(type_of(inner[0])))
        else Note({"type": "mappingproxy"})
    )


def _named(obj: Any) -> Note:
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    name = name if type(name) is str else "?"
    return Note({"type": type_name(type_of(obj)), "name": f"{module}.{name}" if type(module) is str else name})


def _moment(base: Any) -> Callable[[Any], Any]:
    def reducer(obj: Any) -> Any:
        zone = base.tzinfo.__get__(obj) if base is not dt.date else None
        if zone is None or type_name(type_of(zone)) in {"datetime.timezone", "zoneinfo.ZoneInfo"}:
            return base.isoformat(obj)
        return Note({"type": type_name(type_of(obj)), "tzinfo": type_name(type_of(zone))})

    return reducer


_BASES: Final[dict[int, Callable[[Any], Any]]] = {
    id(enum.Enum): _enum,
    id(str): str.__str__,
    id(int): int.__int__,
    id(float): float.__float__,
    id(bytes): _bytes,
    id(bytearray): _bytearray,
    id(set): lambda obj: list(_set.__iter__(obj)),
    id(frozenset): lambda obj: list(_frozenset.__iter__(obj)),
    id(collections.deque): lambda obj: list(_deque.__iter__(obj)),
    id(collections.UserDict): _held("data", dict),
    id(collections.UserList): _held("data", list),
    id(collections.UserString): _held("data", str),
    id(BaseException): _exception,
    id(type): lambda obj: Note({"type": "type", "name": type_name(obj)}),
    id(dt.datetime): _moment(dt.datetime),
    id(dt.date): _moment(dt.date),
    id(decimal.Decimal): decimal.Decimal.__str__,
    id(uuid.UUID): lambda obj: str(uuid.UUID(int=_UUID_INT(obj))),
}

_PATHS: Final = (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.WindowsPath)
_EMPTY: dict[str, str] = {}
_VIEWS: Final = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))
_EXACT: Final[dict[int, Callable[[Any], Any]]] = {
    id(memoryview): _memoryview,
    id(types.MappingProxyType): _proxy,
    id(range): lambda obj: Note({"type": "range"}, {"start": obj.start, "stop": obj.stop, "step": obj.step}),
    id(complex): lambda obj: Note({"type": "complex"}, {"real": obj.real, "imag": obj.imag}),
    id(re.Pattern): lambda obj: obj.pattern,
    id(types.SimpleNamespace): lambda obj: _dict.copy(obj.__dict__),
    id(types.FunctionType): _named,
    id(types.BuiltinFunctionType): _named,
    **dict.fromkeys(map(id, _VIEWS), list),
    **dict.fromkeys(map(id, _PATHS), str),
}
