"""The worker's careful encoder: any frozen payload as a tree of plain JSON values that says what was changed."""

from __future__ import annotations

import base64
import datetime as dt
import math
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.payload_hooks import KEEP, Note, blob, key_text, reduce_object
from relay_core.payload_scan import KEY_CHARS
from relay_core.payload_types import type_name, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from relay_core.payload_limits import Bounds
    from relay_core.redaction import Redactor

__all__ = ["MARKER", "Normaliser"]

MARKER: Final = "$relay"
_NODES: Final = 200_000
_HEAD: Final = 4096
_TAIL: Final = 1024
_MARGIN: Final = 8192  # text beside a cut that is scrubbed with it, so that no half of a credential is left
_BLOB_HEAD: Final = 64
_INT_BITS: Final = 2000
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_ZONES: Final = frozenset({"NoneType", "datetime.timezone", "zoneinfo.ZoneInfo"})
_SETS: Final = (list, tuple, set, frozenset)


class Normaliser:
    """Makes one tree.

    Args:
        limits: how large the tree may get.
        redactor: scrubs the text around a cut.
        opaque: finds the frozen value inside a holder such as `relay_core.payloads.Frozen`.
        markers: the value comes from an earlier tree, so its ``$relay`` keys are markers, not user data.

    Example:
        >>> from relay_core.payloads import Limits
        >>> from relay_core.redaction import Redactor
        >>> Normaliser(Limits(), Redactor(), lambda value: value).value({1: float("nan")})
        {'1': {'$relay': {'nonfinite': 'NaN'}}, '$relay': {'keys': ['int']}}
    """

    __slots__ = ("_chars", "_limits", "_markers", "_nodes", "_opaque", "_path", "_redactor")

    def __init__(
        self, limits: Bounds, redactor: Redactor, opaque: Callable[[Any], Any], *, markers: bool = False
    ) -> None:
        self._limits = limits
        self._redactor = redactor
        self._opaque = opaque
        self._markers = markers
        self._nodes = _NODES
        self._chars = limits.max_bytes * 3 // 4
        self._path: set[int] = set()

    def value(self, obj: Any, depth: int = 0) -> Any:
        """Normalise one value.

        Args:
            obj: what `relay_core.payloads.freeze` gave, or any other object.
            depth: its level in the tree.

        Returns:
            Dictionaries with text keys, lists and JSON atoms.

        Example:
            See `Normaliser`.
        """
        self._nodes -= 1
        kind = type_of(obj)
        if kind is str:
            return self._text(obj)
        if obj is None or kind is bool:
            return obj
        if kind is int:
            return obj if _INT_MIN <= obj <= _INT_MAX else {MARKER: _big(obj)}
        if kind is float:
            return obj if math.isfinite(obj) else {MARKER: {"nonfinite": _nonfinite(obj)}}
        if kind in KEEP:
            return self._kept(obj)
        if depth >= self._limits.max_depth:
            return {MARKER: {"depth": depth}}
        if id(obj) in self._path:
            return {MARKER: {"cycle": True}}
        self._path.add(id(obj))
        try:
            return self._container(obj, depth)
        except RecursionError:
            return {MARKER: {"depth": depth}}
        finally:
            self._path.discard(id(obj))

    def _container(self, obj: Any, depth: int) -> Any:
        kind = type_of(obj)
        if kind is dict:
            return self._dict(cast("dict[Any, Any]", obj), depth)
        if kind in _SETS:
            return self._list(obj, len(obj), depth)
        if kind is Note:
            rest = self._dict(obj.rest, depth) if obj.rest else {}
            given, more = self._fields(obj.fields), rest.get(MARKER, {})
            if "keys" in given and "keys" in more:
                more["keys"] = list(dict.fromkeys([*given["keys"], *more["keys"]]))
            return {**rest, MARKER: {**given, **more}}
        inner = self._opaque(obj)
        if inner is not obj:
            return self.value(inner, depth)
        plain = reduce_object(obj)
        return self.value(plain, depth + 1)

    def _fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in fields.items():
            if type(value) is bytes:
                clean = self._redactor.scrub_text(text := value.decode("latin-1")) == text
                out[name] = base64.b64encode(value[:_BLOB_HEAD]).decode() if clean else "[REDACTED]"
            elif type(value) is str:
                out[name] = value[:KEY_CHARS].encode("utf-8", "backslashreplace").decode()
            else:
                out[name] = value
        return out

    def _kept(self, obj: Any) -> Any:
        if type(obj) is bytes or type(obj) is bytearray:
            note = blob(type(obj).__name__, len(obj), bytes(obj[:256]))
            return {MARKER: self._fields(note.fields)}
        zone = type_name(type_of(obj.tzinfo)) if type(obj) is dt.datetime or type(obj) is dt.time else None
        if zone is not None and zone not in _ZONES:
            return {MARKER: {"type": type_name(type_of(obj)), "tzinfo": zone}}  # it may run any code
        return msgspec.to_builtins(obj)

    def _list(self, items: Iterable[Any], size: int, depth: int) -> list[Any]:
        out: list[Any] = []
        for item in islice(items, self._limits.max_items):
            if self._nodes <= 0:
                break
            out.append(self.value(item, depth + 1))
        if len(out) < size:
            out.append({MARKER: {"items": size, "kept": len(out)}})
        return out

    def _dict(self, obj: dict[Any, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        fields: dict[str, Any] = {}
        kinds: dict[str, None] = {}
        same: dict[str, int] = {}
        given = None
        for key, value in islice(obj.items(), self._limits.max_items):
            if self._nodes <= 0:
                break
            if self._markers and type(key) is str and key == MARKER and type(value) is dict:
                given = self.value(value, depth + 1)
                continue
            name, kind = self._key(key)
            if kind:
                kinds[kind] = None
            while name in out or (kind and name in obj):
                same[name] = same.get(name, 1) + 1
                name = f"{name}#{same[name]}"
            out[name] = self.value(value, depth + 1)
        kept = len(out) + (given is not None)
        if kept < len(obj):
            fields.update({"items": len(obj), "kept": kept})
        if kinds:
            fields["keys"] = list(kinds)
        if given is not None or fields:
            out[MARKER] = {**(given or {}), **fields}
        return out

    def _key(self, key: Any) -> tuple[str, str]:
        """Give the key's text, and what was changed about it."""
        name, kind = (key, "") if type(key) is str else key_text(key)
        if name.startswith("$") and (kind or not self._markers) and name.lstrip("$") == MARKER[1:]:
            return f"${name}", kind  # user data stays apart from markers: one more dollar sign, always
        if len(name) > KEY_CHARS:
            name, kind = (
                f"{self._redactor.scrub_text(name[:_MARGIN])[:KEY_CHARS]}...({len(name)})",
                kind or "truncated",
            )
        if not name.isascii() and (encoded := name.encode("utf-8", "backslashreplace").decode()) != name:
            name, kind = encoded, kind or "surrogates"
        return name, kind

    def _text(self, text: str) -> Any:
        if len(text) > self._limits.max_string or len(text) > self._chars:
            return {MARKER: self._cut(text)}
        self._chars -= len(text)
        if text.isascii():
            return text
        clean = text.encode("utf-8", "backslashreplace").decode()
        return text if clean == text else {MARKER: {"surrogates": clean}}

    def _cut(self, text: str) -> dict[str, Any]:
        head, tail = min(_HEAD, self._limits.max_string), min(_TAIL, self._limits.max_string)
        if self._chars <= 0:
            head, tail = 128, 0
        scrub = self._redactor.scrub_text
        first = scrub(text[: head + _MARGIN])[:head]
        last = scrub(text[-tail - _MARGIN :])[-tail:] if tail else ""
        self._chars -= len(first) + len(last)
        whole = {"truncated": True, "length": len(text), "head": first, "tail": last}
        return {k: v.encode("utf-8", "backslashreplace").decode() if type(v) is str else v for k, v in whole.items()}


def _nonfinite(number: float) -> str:
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


def _big(number: int) -> dict[str, Any]:
    bits = number.bit_length()
    if bits <= _INT_BITS:
        return {"int": str(number)}
    return {"int": hex(number >> (bits - 256)), "bits": bits, "truncated": True}
