"""Names and messages of any origin as text that is safe to record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_core.payload_hooks import reduce_object
from relay_core.payload_types import type_name, type_of

if TYPE_CHECKING:
    from relay_core.redaction import Redactor

__all__ = ["Names", "clean_text"]

_NAME_CHARS: Final = 1024


class Names:
    """Safe short names, remembered.

    Attributes:
        known: the names that were asked for, and how they are recorded.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.known: dict[str, str] = {}

    def get(self, name: Any) -> str:
        if type(name) is str:
            known = self.known.get(name)
            if known is not None:
                return known
        clean = clean_text(name, self._redactor, _NAME_CHARS)
        if type(name) is str and len(name) <= 256:  # long names are rare and not worth memory
            if len(self.known) >= 4096:  # names made from data must not pile up
                self.known.clear()
            self.known[name] = clean
        return clean


def clean_text(text: Any, redactor: Redactor, limit: int) -> str:
    """Give a text without credentials and lone surrogates, and bounded. Never raises."""
    try:
        if type(text) is not str:
            plain = reduce_object(text)
            text = plain if type(plain) is str else f"<{type_name(type_of(text))}>"
        size = len(text)
        text = redactor.scrub_text(text if size <= limit else text[: limit + 8192])
        if size > limit:
            text = f"{text[:limit]}... ({size} characters)"
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    except Exception as error:  # noqa: BLE001  # an event without its text is better than none
        return f"<{type_name(type_of(error))}>"
