"""The payloads of one event, encoded together: one check and one search for credentials for all of them.

Parts that were frozen before are opened in passing. Those that come again have JSON of their own, which was checked when
it was made: it is left out here and put in at the end.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.payload_types import type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay_core.payloads import Encoder

__all__ = ["Joint"]

_ROOM: Final = 2_000  # bytes of MessagePack
_FEW: Final = 4  # parts
_HOLE: Final = "\x1frelay part"
_HOLE_JSON: Final = msgspec.json.encode(_HOLE)
_CHANGED: Final = "\x1frelay changed part"
_CHANGED_JSON: Final = msgspec.json.encode(_CHANGED)
_NO_HOLES: Final[list[bytes]] = []
_BETWEEN: Final = "\x1frelay end"
_BETWEEN_JSON: Final = b",%b," % msgspec.json.encode(_BETWEEN)


class Joint:
    """Encodes small payloads together.

    Args:
        encoder: whose it is.
        frozen: the type that holds a part frozen before.
        packed: the type of a part that is MessagePack already.
        plain: gives the JSON of a packed payload that needs no change, or None.
        whole: gives the JSON of a frozen part, kept with it.

    Example:
        >>> from relay_core.payloads import Encoder, Frozen
        >>> joint = Encoder().joint
        >>> joint.json({"a": 1, "b": Frozen([Frozen({"c": "x"})])})
        b'{"a":1,"b":[{"c":"x"}]}'
        >>> joint.pieces([{"a": 1}, "x"]), joint.json({"password": "hunter2"})
        ([b'{"a":1}', b'"x"'], None)
    """

    __slots__ = ("_plain", "_spare", "encoder", "frozen", "packed", "whole")

    def __init__(
        self,
        encoder: Encoder,
        frozen: type,
        packed: type,
        plain: Callable[[bytearray], bytes | None],
        whole: Callable[[Any], bytes],
    ) -> None:
        self.encoder = encoder
        self.frozen = frozen
        self.packed = packed
        self.whole = whole
        self._plain = plain
        self._spare: list[tuple[Callable[[Any, bytearray], None], list[bytes]]] = []

    def json(self, value: Any, *, clean: bool = False) -> bytes | None:
        """Encode a frozen payload.

        Args:
            value: the payload.
            clean: only if nothing in it had to be changed, in no part either.

        Returns:
            None where something is large, has to be changed, or is not plain: `Encoder.json` can deal with that.
        """
        found = self._checked(value, clean)
        if found is None:
            return None
        json, holes = found
        return _filled([json], holes, self.encoder.limits.max_bytes)[0] if holes else json

    def pieces(self, values: Sequence[Any], *, clean: bool = False) -> list[bytes] | None:
        """Encode some frozen payloads, see `json`; each by itself, as they are wanted."""
        if len(values) == 1:
            [value] = values
            json = self.json(msgspec.Raw(value.data) if type(value) is self.packed else value, clean=clean)
            return None if json is None else [json]
        mixed: list[Any] = [_BETWEEN] * (2 * len(values) - 1)
        mixed[::2] = map(self._raw, values)
        found = self._checked(mixed, clean)
        if found is None:
            return None
        json, holes = found
        texts = json[1:-1].split(_BETWEEN_JSON)
        if len(texts) != len(values):
            return None
        filled = _filled(texts, holes, self.encoder.limits.max_bytes) if holes else texts
        return None if None in filled else filled  # pyright: ignore[reportReturnType]  # no None is in it

    def _checked(self, value: Any, clean: bool) -> tuple[bytes, list[bytes]] | None:
        """Give JSON that needs no change, and what belongs into its holes."""
        pack, holes = self._spare.pop() if self._spare else self._opening()
        buffer = bytearray(_ROOM)
        view = memoryview(buffer)  # while it is there, the buffer cannot grow
        try:
            pack(value, buffer)
            json = self._plain(buffer)
            if json is None or not holes:
                return None if json is None else (json, _NO_HOLES)
            if json.find(_CHANGED_JSON) >= 0:
                if clean:
                    return None
                json = json.replace(_CHANGED_JSON, _HOLE_JSON)
            return json, holes.copy()
        except Exception:  # noqa: BLE001  # too large, or not plain
            return None
        finally:
            view.release()
            holes.clear()
            self._spare.append((pack, holes))

    def packed_bytes(self, value: Any) -> bytes | None:
        """Give small plain values as MessagePack, with all parts opened; None if they are not that."""
        buffer = bytearray(_ROOM)
        view = memoryview(buffer)  # see `json`
        try:
            msgspec.msgpack.Encoder(enc_hook=self._open).encode_into(value, buffer)
        except Exception:  # noqa: BLE001  # see `json`
            return None
        finally:
            view.release()
        return bytes(buffer)

    def _raw(self, value: Any) -> Any:
        return msgspec.Raw(value.data) if type(value) is self.packed else value

    def _open(self, part: Any) -> Any:
        if type(part) is not self.frozen:
            raise TypeError
        return self._raw(part.value)

    def _opening(self) -> tuple[Callable[[Any, bytearray], None], list[bytes]]:
        """Make what one thread needs to encode one payload; it is used again for the next one."""
        frozen, packed, encoder, whole = self.frozen, self.packed, self.encoder, self.whole
        holes: list[bytes] = []
        hole = holes.append
        raw = msgspec.Raw

        def opened(part: Any) -> Any:
            """Give what is in a part, or what stands for its JSON."""
            if type(part) is not frozen:
                raise TypeError
            if not part.shared:
                value: Any = part.value
                kind = type_of(value)
                if kind is packed:
                    return raw(value.data)
                if kind is not list or len(value) <= _FEW or type(value[0]) is not frozen:
                    return value  # else a row of parts, which is put together of theirs
            hole(whole(part))
            return _HOLE if part.clean is encoder else _CHANGED

        return msgspec.msgpack.Encoder(enc_hook=opened).encode_into, holes


def _filled(texts: list[bytes], holes: list[bytes], limit: int) -> list[bytes | None]:
    """Put JSON into the holes of some texts; None for what is too large, or has holes of its own."""
    rest = iter(holes)
    made: list[bytes | None] = []
    for text in texts:
        around = text.split(_HOLE_JSON)
        count = len(around) - 1
        if count:
            whole = [b""] * (2 * count + 1)
            whole[::2] = around
            try:
                whole[1::2] = islice(rest, count)
            except ValueError:  # there are not as many
                return [None]
            text = b"".join(whole)  # noqa: PLW2901  # what becomes of it
        made.append(text if len(text) <= limit else None)
    return made if next(rest, None) is None else [None]
