"""The total encoder: any Python object as bounded JSON, in two steps.

`freeze` takes a snapshot on the caller's thread. It copies containers in C, shares text, runs no code of a payload's
first values, and never raises. `Encoder.json` and `Encoder.tree` make the JSON later, on the worker: bounded, without credentials,
and with a marker ``{"$relay": {...}}`` wherever a value was changed. A ``$relay`` key of the user's own data gets one
more dollar sign.
"""

# objects of any type pass here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.payload_joint import Joint
from relay_core.payload_limits import DEFAULT_LIMITS, Bounds, Limits
from relay_core.payload_parts import Frozen
from relay_core.payload_pieces import size_of, whole
from relay_core.payload_plain import LARGEST, Plain
from relay_core.payload_rows import row_json
from relay_core.payload_scan import KEY_CHARS, Scan
from relay_core.payload_snapshots import Packed, freeze, pack
from relay_core.payload_texts import Names, clean_text
from relay_core.payload_tree import MARKER, Normaliser
from relay_core.payload_types import type_name, type_of
from relay_core.payload_unpacking import unpack
from relay_core.profiles import Rearranged
from relay_core.redaction import Redactor
from relay_core.response_index import ResponseIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.payload_pieces import Piece

__all__ = ["DEFAULT_LIMITS", "Encoder", "Frozen", "Limits", "Packed", "freeze", "pack"]

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode
_write: Final = msgspec.json.Encoder().encode
_read: Final = msgspec.json.Decoder().decode
_SHORT: Final = 64  # bytes; payloads like the name of a model come again and again
_SHORTS: Final = 1_024
_ALONE: Final = b"\x91"  # how MessagePack begins a list of one


class Encoder:
    """Turns frozen payloads into JSON: total, bounded, without credentials. Its methods never raise.

    Args:
        limits: how large a payload may get: `Limits`, or the settings ``payload``.
        redaction: which credentials are hidden: a `Redactor`, or the settings ``redaction``; None for the defaults.

    Example:
        >>> encoder = Encoder(Limits(max_string=10))
        >>> encoder.json(encoder.freeze({"password": "hunter2", "n": 1}))
        b'{"password":"[REDACTED]","n":1}'
        >>> encoder.tree(float("inf"))
        {'$relay': {'nonfinite': 'Infinity'}}
    """

    def __init__(self, limits: Bounds = DEFAULT_LIMITS, redaction: Any = None) -> None:
        self.limits = limits
        if redaction is None:
            redaction = Redactor()
        elif not isinstance(redaction, Redactor):
            redaction = Redactor(redaction.enabled, redaction.extra_keys, redaction.extra_patterns)
        self.redactor: Redactor = redaction
        self._suspicious = redaction.test()
        self.plain = Plain(limits, self._suspicious)
        self._short: dict[bytes, bytes | None] = {}  # what needs no change, and its JSON if somebody has asked for it
        self.names = Names(self.redactor)
        self.name: Callable[[Any], str] = self.names.get
        self.joint = Joint(self, Frozen, Packed)
        self.responses = ResponseIndex()  # here, because each runtime has one encoder

    def freeze(self, obj: Any) -> Any:
        """Take a snapshot, see `freeze`.

        Args:
            obj: any object.

        Returns:
            What the other methods read.

        Example:
            >>> encoder = Encoder()
            >>> encoder.tree(encoder.freeze({"a": 1}))
            {'a': 1}
        """
        return freeze(obj, self.limits)

    def json(self, frozen: Any, *, markers: bool = False) -> bytes:
        """Encode a frozen payload.

        Args:
            frozen: what `freeze` gave.
            markers: it was made from an earlier `tree`, so ``$relay`` keys are markers.

        Returns:
            One line of strict JSON in UTF-8.

        Example:
            >>> Encoder().json({"a": (1, 2)})
            b'{"a":[1,2]}'
        """
        kind = type(frozen)
        if kind is Packed:
            json = self._packed(frozen.data)
            if json is not None:
                return json
        elif kind is Frozen and not markers:
            return self._whole(frozen)
        elif not markers and (kind is dict or (kind is str and len(frozen) <= KEY_CHARS)):
            json = self.joint.json(frozen) if kind is dict else self._line(frozen)
            if json is not None:
                return whole(json)
        return self._encode(frozen, markers)[0]

    def _line(self, text: str) -> bytes | None:
        """Give the JSON of a short text that needs no change."""
        try:
            json = _write(text)
            return None if len(text) > self.limits.max_string or self._suspicious(json) else json
        except Exception:  # noqa: BLE001  # half a surrogate pair
            return None

    def _packed(self, data: bytes) -> bytes | None:
        """Give the JSON of a packed payload that needs no change; of a short one as it was known before."""
        if len(data) > _SHORT:
            return self._plain(data)
        json = self._short.get(data)
        if json is None and (json := self._plain(data)) is not None:
            self._keep(data, json)
        return json

    def _keep(self, data: bytes, json: bytes | None) -> None:
        if len(self._short) >= _SHORTS:
            self._short.clear()
        self._short[data] = json

    def _plain(self, data: bytes) -> bytes | None:
        tree = self._plain_tree(data)
        return None if tree is _NONE else _write(tree)

    def _plain_tree(self, data: bytes) -> Any:
        """Give the tree of a packed payload that needs no change and keeps all limits by its size; `_NONE` for others."""
        trees = self.plain.trees(_ALONE + data) if len(data) <= LARGEST else None
        return _NONE if trees is None else trees[0]

    def settled(self, values: list[Any]) -> list[Any] | None:
        """Give small values that are plain already and need no change; None to ask `freeze` and `tree` for them.

        Args:
            values: what nobody else holds.

        Example:
            >>> (
            ...     Encoder().settled([{"a": [1]}]),
            ...     Encoder().settled([{"a": (1,)}]),
            ...     Encoder().settled(["password=hunter2"]),
            ... )
            ([{'a': [1]}], None, None)
        """
        try:
            trees = self.plain.trees(_pack(values))
            return trees if trees == values else None
        except Exception:  # noqa: BLE001  # something that is not plain
            return None

    def views(self, found: dict[str, Any]) -> bytes:
        """Encode the annotated views of an event: an object of views, each perhaps a `Frozen` one.

        Args:
            found: the views by name.

        Example:
            >>> Encoder().views({"annotated_request": Frozen({"model": "m"})})
            b'{"annotated_request":{"model":"m"}}'
        """
        if type(found) is Rearranged:
            return found.json or _write(found)
        if len(found) == 1:
            [(name, view)] = found.items()
            if type(view) is Frozen:
                return b'{"%b":%b}' % (name.encode(), self._whole(view))
        return self.json(self.freeze(found))

    def tree(self, frozen: Any, *, markers: bool = False) -> Any:
        """Make the tree that `json` would decode to.

        Args:
            frozen: what `freeze` gave.
            markers: it was made from an earlier `tree`, so ``$relay`` keys are markers.

        Returns:
            New dictionaries, lists and atoms.

        Example:
            >>> Encoder().tree({1: b"ab"})
            {'1': {'$relay': {'type': 'bytes', 'size': 2, 'base64': 'YWI='}}, '$relay': {'keys': ['int']}}
        """
        if markers:
            return self._careful(frozen, markers=True)
        return self.tree_of(frozen)[0]

    def tree_of(self, frozen: Any) -> tuple[Any, bool]:
        """Make the tree, and tell whether it is that of a small packed payload in which nothing was to be changed.

        Args:
            frozen: what `freeze` gave.

        Example:
            >>> Encoder().tree_of(pack({"n": 1})), Encoder().tree_of(pack({"password": "hunter2"}))
            (({'n': 1}, True), ({'password': '[REDACTED]'}, False))
        """
        kind = type(frozen)
        if kind is Frozen:
            return _read(self._whole(frozen)), False
        if kind is Packed:
            data: bytes = frozen.data
            is_short = len(data) <= _SHORT
            if is_short and data in self._short:
                return _unpack(data), True
            tree = self._plain_tree(data)
            if tree is not _NONE:
                if is_short:
                    self._keep(data, None)
                return tree, True
        return self._careful(frozen), False

    def _careful(self, frozen: Any, *, markers: bool = False) -> Any:
        json, tree = self._encode(frozen, markers)
        return msgspec.json.decode(json) if tree is _NONE else tree

    def text(self, text: Any) -> str:
        """Make a message safe to record: no credentials, no lone surrogates, bounded.

        Args:
            text: the message.

        Returns:
            At most `max_string` characters, and a word about the rest.

        Example:
            >>> Encoder().text("login with password=hunter2 failed")
            'login with password=[REDACTED] failed'
        """
        return clean_text(text, self.redactor, self.limits.max_string)

    # Two results: the tree is given where it was made on the way.
    def _encode(self, frozen: Any, markers: bool) -> tuple[bytes, Any]:
        try:
            if type(frozen) is Packed:
                frozen = unpack(frozen.data)
            return self._quick(frozen) or self._slow(frozen, markers)
        except Exception as error:  # noqa: BLE001  # total, whatever happens
            tree = {MARKER: {"unreadable": type_name(type_of(error))}}
            return msgspec.json.encode(tree), tree

    def _quick(self, frozen: Any) -> tuple[bytes, Any] | None:
        scan = Scan(self.limits, Frozen)
        if not scan.clean(frozen, self.limits.max_depth):
            return None
        parts: list[Frozen] = scan.parts
        try:
            if parts:
                skeleton = msgspec.json.encode(frozen, enc_hook=lambda _part: None)
                if skeleton.find(b'$relay"') >= 0 or self.redactor.suspicious(skeleton):
                    return None
                raws = {id(part): msgspec.Raw(self._whole(part)) for part in parts}
                json = msgspec.json.encode(frozen, enc_hook=lambda part: raws[id(part)])
                return (json, _NONE) if len(json) <= self.limits.max_bytes else None
            json = msgspec.json.encode(frozen)
        except (ValueError, TypeError, OverflowError):  # lone surrogates, a time zone of user code
            return None
        if len(json) > self.limits.max_bytes:
            return None
        if json.find(b"$") >= 0 and json.find(b'$relay"') >= 0:
            return None
        if not self.redactor.suspicious(json):
            return json, _NONE
        tree = msgspec.json.decode(json)
        clean = self.redactor.scrub_tree(tree)
        return (json if clean is tree else msgspec.json.encode(clean)), clean

    def _whole(self, part: Frozen) -> bytes:
        return whole(self.piece(part)[0])

    def size(self, frozen: Any) -> int:
        """Count the bytes of a frozen payload's JSON.

        Args:
            frozen: what `freeze` gave.

        Example:
            >>> Encoder().size(Frozen([]))
            2
        """
        return size_of(self.piece(frozen)[0]) if type(frozen) is Frozen else len(self.json(frozen))

    def piece(self, part: Frozen) -> tuple[Piece, bool]:
        """Give the JSON of a part, kept with it, and whether nothing in it was to be changed.

        Example:
            >>> Encoder().piece(Frozen({"password": "hunter2"}))
            (b'{"password":"[REDACTED]"}', False)
        """
        maker, json, is_clean = part.made
        if maker is not self:
            value = part.value
            kind = type(value)
            found = row_json(part, value, self) if kind is list else None
            if found is None:
                made = self._packed(value.data) if kind is Packed else self.joint.json(value, clean=True)
                found = (self.json(value), False) if made is None else (made, True)
            json, is_clean = found
            part.made = (self, json, is_clean)  # at once: encoders may run in parallel
        return json, is_clean  # pyright: ignore[reportReturnType]  # made by now

    def _slow(self, frozen: Any, markers: bool) -> tuple[bytes, Any]:
        tree = Normaliser(self.limits, self.redactor, _open, markers=markers).value(frozen)
        json = msgspec.json.encode(tree)
        if self.redactor.suspicious(json):
            tree = self.redactor.scrub_tree(tree)
            json = msgspec.json.encode(tree)
        if len(json) > self.limits.max_bytes:
            head = json[: min(4096, self.limits.max_bytes)].decode("utf-8", "ignore")
            tree = {MARKER: {"truncated": True, "bytes": len(json), "head": head}}
            json = msgspec.json.encode(tree)
        return json, tree


_NONE: Final = object()


def _open(obj: Any) -> Any:
    value = obj.value if type(obj) is Frozen else obj
    return unpack(value.data) if type(value) is Packed else value
