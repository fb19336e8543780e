"""Small payloads, encoded together: one check and one search for credentials for all of them.

Parts that were frozen before are opened in passing. Those that come again have JSON of their own: it is left out and put
in at the end. Where it is still to be made, that is done for all such parts together.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from relay_core.payload_pieces import LONG, joined, size_of
from relay_core.payload_plain import LARGEST
from relay_core.payload_types import type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay_core.payload_pieces import Piece
    from relay_core.payloads import Encoder

__all__ = ["Joint", "Reading"]

_MOST: Final = 8  # parts that are made together
_FEW: Final = 4  # parts
_KEY_ROOM: Final = 2_000  # bytes of MessagePack that are worth being remembered by
_REACH: Final = 16  # events
_HOLE: Final = "\x1frelay part"
_HOLE_JSON: Final = msgspec.json.encode(_HOLE)
_made_of: Final = attrgetter("made")
_text: Final = itemgetter(1)
_clean: Final = itemgetter(2)
_write: Final = msgspec.json.Encoder().encode


class Reading(NamedTuple):
    """Payloads that may be shown as they are.

    Attributes:
        trees: the payloads; what stands for parts in them is known to `Joint.lines`.
        holes: the JSON of these parts, in their order.
        clean: nothing was to be changed in the parts either.
    """

    trees: list[Any]
    holes: list[Piece]
    clean: bool


class Joint:
    """Encodes small payloads together.

    Args:
        encoder: whose it is.
        frozen: the type that holds a part frozen before.
        packed: the type of a part that is MessagePack already.

    Attributes:
        reach: the payloads of so many events are worth a try together.

    Example:
        >>> from relay_core.payloads import Encoder, Frozen
        >>> joint = Encoder().joint
        >>> joint.json({"a": 1, "b": Frozen([Frozen({"c": "x"})])})
        b'{"a":1,"b":[{"c":"x"}]}'
        >>> joint.read([{"a": 1}, "x"]).trees, joint.read([{"password": "hunter2"}])
        ([{'a': 1}, 'x'], None)
    """

    __slots__ = ("_spare", "encoder", "frozen", "packed", "reach")

    def __init__(self, encoder: Encoder, frozen: type, packed: type) -> None:
        self.encoder = encoder
        self.frozen = frozen
        self.packed = packed
        self.reach = _REACH
        self._spare: list[tuple[Callable[[Any, bytearray], None], list[Any]]] = []

    def reached(self, count: int, *, done: bool) -> None:
        """Note whether the payloads of so many events could be read together."""
        if not done:
            self.reach = max(1, count // 2)
        elif count >= self.reach:
            self.reach = min(_REACH, count + 1)

    def json(self, value: Any, *, clean: bool = False) -> Piece | None:
        """Encode a frozen payload.

        Args:
            value: the payload.
            clean: only if nothing in it had to be changed, in no part either.

        Returns:
            None where something is large, has to be changed, or is not plain: `Encoder.json` can deal with that.
        """
        found = self.read([value])
        if found is None or (clean and not found.clean):
            return None
        made = self.lines(found.trees, found.holes)
        return None if made is None else made[0]

    def read(self, values: list[Any]) -> Reading | None:
        """Read some frozen payloads; None where one is large, has to be changed, or is not plain."""
        try:
            trees, parts = self._opened(values)
            if not parts or trees is None:
                return None if trees is None else Reading(trees, parts, clean=True)
            encoder = self.encoder
            fresh = [part for part in parts if part.made[0] is not encoder]
            if fresh:
                self.make(fresh)
            made = list(map(_made_of, parts))
            return Reading(trees, list(map(_text, made)), all(map(_clean, made)))
        except Exception:  # noqa: BLE001  # too large, or not plain
            return None

    def _opened(self, values: list[Any]) -> tuple[list[Any] | None, list[Any]]:
        """Give trees that need no change, and the parts that were left out of them."""
        tools = self._spare.pop() if self._spare else self._opening()
        pack, left_out = tools
        packed, raw = self.packed, msgspec.Raw
        buffer = bytearray(LARGEST)
        view = memoryview(buffer)  # while it is there, the buffer cannot grow
        try:
            pack([raw(value.data) if type(value) is packed else value for value in values], buffer)
            return self.encoder.plain.trees(buffer), left_out.copy()
        finally:
            view.release()
            left_out.clear()
            self._spare.append(tools)

    def make(self, parts: Sequence[Any]) -> None:
        """Make the JSON of parts that have none, of small ones together."""
        small: list[Any] = []
        others: list[Any] = []
        for part in dict.fromkeys(parts):
            value = part.value
            is_large = type(value) is list or (type(value) is self.packed and _MOST * len(value.data) > LARGEST)
            (others if is_large else small).append(part)
        for at in range(0, len(small), _MOST):
            some = small[at : at + _MOST]
            found = self.read([part.value for part in some]) if len(some) > 1 else None
            made = None if found is None or not found.clean else self.lines(found.trees, found.holes)
            if made is None:
                others += some
            else:
                for part, json in zip(some, made, strict=True):
                    part.made = (self.encoder, json, True)
        for part in others:
            self.encoder.piece(part)

    def lines(self, trees: Sequence[Any], holes: list[Piece]) -> list[Piece] | None:
        """Write objects that hold trees of one reading, each by itself; None where that cannot be told apart.

        Args:
            trees: they, or what they are put into, in their order.
            holes: of the reading.
        """
        made: list[Any] = [_write(tree) for tree in trees]
        if not holes:
            return made
        is_long = max(map(len, holes)) >= LONG or tuple in set(map(type, holes))
        size = sum(map(size_of, holes) if is_long else map(len, holes))
        if sum(map(len, made)) + size > self.encoder.limits.max_bytes:
            return None
        join: Callable[[list[Any]], Piece] = joined if is_long else b"".join
        rest = iter(holes)
        for index, text in enumerate(made):
            around: list[Any] = text.split(_HOLE_JSON)
            count = len(around) - 1
            if count:
                parts: list[Any] = [b""] * (2 * count + 1)
                parts[::2] = around
                try:
                    parts[1::2] = islice(rest, count)
                except ValueError:  # there are not as many: somebody else writes what stands for a part
                    return None
                made[index] = join(parts)
        return made if next(rest, None) is None else None

    def packed_bytes(self, value: Any) -> bytes | None:
        """Give small plain values as MessagePack, with all parts opened; None if they are not that."""
        buffer = bytearray(_KEY_ROOM)
        view = memoryview(buffer)  # see `read`
        try:
            msgspec.msgpack.Encoder(enc_hook=self._open).encode_into(value, buffer)
        except Exception:  # noqa: BLE001  # see `read`
            return None
        finally:
            view.release()
        return bytes(buffer)

    def _open(self, part: Any) -> Any:
        if type(part) is not self.frozen:
            raise TypeError
        value = part.value
        return msgspec.Raw(value.data) if type(value) is self.packed else value

    def _opening(self) -> tuple[Callable[[Any, bytearray], None], list[Any]]:
        """Make what one thread needs to pack payloads; it is used again for the next ones."""
        frozen, packed, raw, piece = self.frozen, self.packed, msgspec.Raw, self.encoder.piece
        holes: list[Any] = []

        def opened(part: Any) -> Any:
            """Give what is in a part, or what stands for its JSON."""
            if type(part) is not frozen:
                raise TypeError
            if not part.shared:
                value: Any = part._value if part._make is None else part.value  # a property takes long
                kind = type_of(value)
                if kind is packed:
                    return raw(value.data)
                if kind is not list or len(value) <= _FEW or type(value[0]) is not frozen:
                    return value
                piece(part)  # a row of parts, put together of theirs: now, as the next may have grown from it
            holes.append(part)
            return _HOLE

        return msgspec.msgpack.Encoder(enc_hook=opened).encode_into, holes
