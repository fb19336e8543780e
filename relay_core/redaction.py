"""Credentials never leave the process: the scrubber that runs before any subscriber.

Two kinds of evidence are used. A *name* that announces a credential (``api_key``, ``Authorization``) hides the text
below it. A *shape* that only credentials have (``ghp_...``, a PEM block) hides that part of any text. Structure stays:
only text becomes ``"[REDACTED]"``; numbers, booleans, dictionaries and the other keys stay as they are.

Ordinary payloads are recognised as clean on their JSON bytes by `Redactor.suspicious`, without walking them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from relay_core.payload_types import type_of
from relay_core.redaction_hints import maybe_secret
from relay_core.redaction_rules import (
    BARE_TOKEN_KEY,
    HEADER_NAMES,
    OPAQUE,
    REDACTED,
    SECRET_KEY,
    own_name,
    plain_name,
    scrub_pairs,
    scrub_shapes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["REDACTED", "Redactor"]

_CACHE_ENTRIES: Final = 4096
_CACHED_CHARS: Final = 256
_MARKER: Final = "$relay"
_MARKER_TEXTS: Final = frozenset({"head", "tail", "base64", "surrogates", "int"})


class Redactor:
    """Hides credentials in text and in JSON trees.

    Args:
        enabled: with False every method hands back what it was given.
        extra_keys: more names whose text is hidden, in any spelling: ``"bank_pin"`` also finds ``bankPin``.
        extra_patterns: more regular expressions; what they match is hidden. They are applied to every text, so each
            payload is walked.

    Raises:
        re.error: an extra pattern is no regular expression.

    Attributes:
        has_own_keys: there are `extra_keys`.

    Example:
        >>> redactor = Redactor()
        >>> redactor.scrub_tree({"api_key": "abc", "max_tokens": 5})
        {'api_key': '[REDACTED]', 'max_tokens': 5}
        >>> redactor.scrub_text("git clone https://me:pass@example.org/x")
        'git clone https://me:[REDACTED]@example.org/x'
    """

    def __init__(
        self,
        enabled: bool = True,
        extra_keys: Iterable[str] = (),
        extra_patterns: Iterable[str | re.Pattern[str]] = (),
    ) -> None:
        self.enabled = enabled
        self._names: dict[str, str] = {}
        self._keys: dict[str, int] = {}
        self._patterns = tuple(re.compile(pattern) for pattern in extra_patterns)
        names = [own_name(key).split("_") for key in extra_keys]
        parts = ["[-_. ]?".join(map(re.escape, name)) for name in names if any(name)]
        self._extra_key = re.compile(f"(?:^|_)(?:{'|'.join(parts)})$") if parts else None
        self.has_own_keys: bool = self._extra_key is not None
        self._extra_bytes = re.compile("|".join(parts).encode()) if parts else None
        # Letters beyond ASCII have no lower case as bytes.
        self._walks = bool(self._patterns) or not all(map(str.isascii, parts))

    def suspicious(self, json_bytes: bytes | bytearray) -> bool:
        """Tell whether a payload has to be walked: False means that `scrub_tree` would change nothing.

        Args:
            json_bytes: the payload as JSON or MessagePack, or a text as UTF-8.

        Returns:
            True also for some harmless payloads.

        Example:
            >>> Redactor().suspicious(b'{"max_tokens": 5}'), Redactor().suspicious(b'{"password": "x"}')
            (False, True)
        """
        if not self.enabled:
            return False
        if self._walks:
            return True
        if self._extra_bytes is not None and self._extra_bytes.search(json_bytes.lower()):
            return True
        return maybe_secret(json_bytes)

    def test(self) -> Callable[[bytes | bytearray], bool]:
        """Give what `suspicious` comes down to with these rules, for those who ask often.

        Example:
            >>> Redactor().test()(b'{"password": "x"}')
            True
        """
        is_usual = type(self) is Redactor and self.enabled and not self._patterns and self._extra_bytes is None
        return maybe_secret if is_usual else self.suspicious

    def scrub_text(self, text: str) -> str:
        """Hide credentials inside one text.

        Args:
            text: any text, also one that holds JSON, code or a header.

        Returns:
            The same object if nothing was found.

        Example:
            >>> Redactor().scrub_text("password=hunter2 user=ann")
            'password=[REDACTED] user=ann'
        """
        if not self.enabled:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        if maybe_secret(raw):
            text = scrub_pairs(scrub_shapes(text))
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        return text

    def scrub_name(self, name: str) -> str:
        """Hide credentials in a short text that comes again and again, such as the name of a scope.

        Args:
            name: the text; up to 256 characters the answer is remembered.

        Returns:
            The name, usually the same object.

        Example:
            >>> Redactor().scrub_name("search")
            'search'
        """
        known = self._names.get(name)
        if known is not None:
            return known
        clean = self.scrub_text(name)
        if len(name) <= _CACHED_CHARS:
            if len(self._names) >= _CACHE_ENTRIES:
                self._names.clear()
            self._names[name] = clean
        return clean

    def scrub_tree(self, tree: Any) -> Any:
        """Hide credentials in a tree of plain JSON values.

        Args:
            tree: dictionaries, lists and atoms, as `json.loads` gives them. It is not changed.

        Returns:
            The same object if nothing was found, else a copy of the changed parts. A tree that is too deep to walk is
            hidden as a whole.

        Example:
            >>> Redactor().scrub_tree([["authorization", "Bearer abc"]])
            [['authorization', '[REDACTED]']]
        """
        if not self.enabled:
            return tree
        try:
            return self._value(tree)
        except RecursionError:
            return REDACTED

    def _value(self, value: Any) -> Any:
        kind = type_of(value)
        if kind is str:
            return self.scrub_text(value)
        if kind is dict:
            return self._dict(value)
        if kind is list:
            return self._list(value)
        return value

    def _dict(self, tree: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        changed = False
        for key, value in tree.items():
            clean_key = self._clean_key(key)
            clean = self._below(key, value)
            changed = changed or clean is not value or clean_key is not key
            while clean_key in out or (clean_key is not key and clean_key in tree):
                clean_key += "#"
            out[clean_key] = clean
        changed = self._named_value(out) or changed
        return out if changed else tree

    def _clean_key(self, key: str) -> str:
        if len(key) > _CACHED_CHARS:
            return scrub_pairs(scrub_shapes(key))
        return key if self._key_rank(key) & 4 == 0 else scrub_pairs(scrub_shapes(key))

    def _below(self, key: str, value: Any) -> Any:
        rank = self._key_rank(key)
        if rank & 1:
            return self._hide(value)
        if rank & 2 and type(value) is str and OPAQUE.fullmatch(value):
            return REDACTED
        return self._value(value)

    def _named_value(self, tree: dict[str, Any]) -> bool:
        """Hide ``value`` in ``{"name": "authorization", "value": "..."}``."""
        value = tree.get("value")
        if type(value) is not str or not value or value == REDACTED:
            return False
        for label in ("name", "key", "header"):
            name = tree.get(label)
            if type(name) is str and self._key_rank(name) & 1:
                tree["value"] = REDACTED
                return True
        return False

    def _list(self, tree: list[Any]) -> list[Any]:
        out = [self._value(item) for item in tree]
        hide_next = False
        for index, item in enumerate(tree):
            if type(item) is not str:
                hide_next = False
                continue
            if hide_next and item:
                out[index] = REDACTED
            header = len(tree) == 2 and index == 0 and ("-" in item or item.lower() in HEADER_NAMES)
            hide_next = (header or item.startswith("--")) and bool(self._key_rank(item) & 1)
        return out if any(new is not old for new, old in zip(out, tree, strict=True)) else tree

    def _hide(self, value: Any) -> Any:
        """Hide the text right below a credential's name; look for more in what stays."""
        kind = type_of(value)
        if kind is str:
            return REDACTED if value and value != REDACTED else value
        if kind is list:
            out = [self._hide(item) for item in cast("list[Any]", value)]
            return out if any(new is not old for new, old in zip(out, value, strict=True)) else value
        if kind is dict and type(value.get(_MARKER)) is dict:
            marker = cast("dict[str, Any]", value[_MARKER])
            texts = [key for key in marker if key in _MARKER_TEXTS and marker[key] != REDACTED]
            if texts:
                value = {**value, _MARKER: {**marker, **dict.fromkeys(texts, REDACTED)}}
        return self._value(value)

    def _key_rank(self, key: str) -> int:
        """Bits: 1 a credential's name, 2 ``token`` alone, 4 holds a credential itself."""
        rank = self._keys.get(key)
        if rank is not None:
            return rank
        if len(key) > _CACHED_CHARS:
            return 0
        name = plain_name(key)
        secret = SECRET_KEY.search(name) or (self._extra_key is not None and self._extra_key.search(own_name(key)))
        rank = (
            (1 if secret else 0)
            | (2 if name in BARE_TOKEN_KEY else 0)
            | (4 if scrub_pairs(scrub_shapes(key)) != key else 0)
        )
        if len(self._keys) >= _CACHE_ENTRIES:
            self._keys.clear()
        self._keys[key] = rank
        return rank
