"""Parts of payloads that come again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.payload_pieces import Piece
    from relay_core.payloads import Encoder

__all__ = ["Frozen"]

_UNMADE: Final = (None, b"", False)


class Frozen:
    """A part of payloads that was frozen before, for instance one message of a growing chat.

    It is kept by identity wherever it appears, and its JSON is made once for each `Encoder`.

    Args:
        value: what `freeze` gave.

    Attributes:
        made: the encoder that has made its JSON, the JSON, and whether nothing was to be changed.
        base: of a list of such parts, a list that it begins with, and with how many of it; until its JSON is made.
        shared: whether it is worth having JSON of its own, because it comes in several payloads.
        joined: the encoder that has put the JSON of such a list together.
        reading: what a codec has read of it, if it keeps that here.
        heard: what a codec has read of the list that it is in, if it keeps that here.

    Example:
        >>> from relay_core.payloads import Encoder, freeze
        >>> message = Frozen(freeze({"role": "user", "content": "hi"}))
        >>> Encoder().json({"messages": [message, message]})
        b'{"messages":[{"role":"user","content":"hi"},{"role":"user","content":"hi"}]}'
    """

    __slots__ = ("_make", "_value", "base", "heard", "joined", "made", "reading", "shared")

    def __init__(self, value: Any, *, shared: bool = False) -> None:
        self._value = value
        self.shared = shared
        self._make: Callable[[], Any] | None = None
        self.made: tuple[Encoder | None, Piece, bool] = _UNMADE
        self.base: tuple[Frozen, int] | None = None
        self.joined: Encoder | None = None
        self.reading: Any = None
        self.heard: Any = None

    @classmethod
    def late(cls, make: Callable[[], Any]) -> Frozen:
        """Hold a part that is made when it is first read, by whichever thread that is.

        Args:
            make: gives something frozen, or plain values that nobody else holds. It must not raise.

        Example:
            >>> from relay_core.payloads import Encoder
            >>> Encoder().json({"who": Frozen.late(lambda: {"name": "Ann"})})
            b'{"who":{"name":"Ann"}}'
        """
        part = cls(None)
        part._make = make
        return part

    @property
    def known(self) -> Any:
        """What is frozen; None if it is still to be made."""
        return self._value

    @property
    def value(self) -> Any:
        """What is frozen."""
        make = self._make
        if make is not None:
            self._value = make()
            self._make = None  # after: another thread may read meanwhile
        return self._value
