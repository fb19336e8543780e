"""What rails have blocked or masked, so that it shows up nowhere afterwards. Bounded; the oldest is forgotten first."""

from __future__ import annotations

import difflib
import json
import threading
from collections import OrderedDict
from typing import Any, Final

__all__ = ["WITHHELD", "Memory"]

WITHHELD: Final = "[withheld]"
_SHORTEST: Final = 4  # characters: what is shorter is only recognised when it stands alone
_LONGEST: Final = 65_536
_MOST: Final = 256
_TOKENS: Final = 4_000


class Memory:
    """Texts that must not show, and what stands in their place.

    Example:
        >>> memory = Memory()
        >>> memory.remember("call me at 555-1234", "call me at <PHONE>")
        >>> memory.clean({"said": "call me at 555-1234", "also": "it was 555-1234."})
        {'said': 'call me at <PHONE>', 'also': 'it was [withheld].'}
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._rewrites: OrderedDict[str, str] = OrderedDict()
        self._needles: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self._texts)

    def __len__(self) -> int:
        return len(self._texts) + len(self._rewrites)

    def remember(self, text: str, replacement: str | None = None) -> None:
        """Remember a text that a rail has blocked, or has rewritten to `replacement`."""
        given = {text: WITHHELD if replacement is None else replacement}
        if replacement is not None:
            given.update(dict.fromkeys(_removed(text, replacement), WITHHELD))
        with self._lock:
            for one, instead in given.items():
                _put(self._texts, one[:_LONGEST], instead)
            if replacement is not None:
                _put(self._rewrites, text[:_LONGEST], replacement)
            # Longest first: a part must not hide the whole.
            ordered = sorted(self._texts.items(), key=lambda item: -len(item[0]))
            self._needles = tuple(pair for item in ordered for pair in _spellings(*item))

    def remember_tree(self, tree: Any) -> None:
        """Remember every text and every long number in a blocked tree of plain values."""
        if isinstance(tree, dict):
            for value in tree.values():
                self.remember_tree(value)
        elif isinstance(tree, list | tuple):
            for value in tree:
                self.remember_tree(value)
        elif isinstance(tree, str) and len(tree) >= _SHORTEST:
            self.remember(tree)
        elif type(tree) is int and len(str(tree)) > _SHORTEST:
            self.remember(str(tree))

    def remember_changes(self, before: Any, after: Any) -> None:
        """Remember what differs between a tree of plain values and its rewritten copy."""
        if isinstance(before, dict) and isinstance(after, dict):
            for key, value in before.items():
                self.remember_changes(value, after.get(key))
        elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
            for one, other in zip(before, after, strict=True):
                self.remember_changes(one, other)
        elif isinstance(before, str) and isinstance(after, str):
            if before != after:
                self.remember(before, after)
        elif before != after:
            self.remember_tree(before)

    def seen(self, text: str) -> str:
        """Give what a rail has put in the place of exactly this text before, or the text."""
        return self._rewrites.get(text, text)

    def clean(self, tree: Any) -> Any:
        """Copy a tree of plain values without what must not show; what holds nothing stays the same object."""
        if isinstance(tree, str):
            return self._cleaned(tree)
        if isinstance(tree, dict):
            made = {self._cleaned(k) if isinstance(k, str) else k: self.clean(v) for k, v in tree.items()}
            return (
                tree
                if all(a is b for a, b in zip(made.values(), tree.values(), strict=False))
                and (made.keys() == tree.keys())
                else made
            )
        if isinstance(tree, list):
            items = [self.clean(item) for item in tree]
            return tree if all(a is b for a, b in zip(items, tree, strict=True)) else items
        if type(tree) is int and str(tree) in self._texts:
            return WITHHELD
        return tree

    def _cleaned(self, text: str) -> str:
        for needle, instead in self._needles:
            if len(needle) < _SHORTEST:
                if text == needle:
                    return instead
            elif needle in text:
                text = text.replace(needle, instead)
        return text


def _put(table: OrderedDict[str, str], key: str, value: str) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > _MOST:
        table.popitem(last=False)


def _spellings(text: str, instead: str) -> dict[tuple[str, str], None]:
    """A text also stands in events as JSON inside of a string."""
    made = {(text, instead): None}
    for ascii_only in (False, True):
        made[json.dumps(text, ensure_ascii=ascii_only)[1:-1], json.dumps(instead, ensure_ascii=ascii_only)[1:-1]] = None
    return made


def _removed(before: str, after: str) -> list[str]:
    """Give the pieces of `before` that are not in `after`, each a run of whole words."""
    old, new = before.split(), after.split()
    if len(old) > _TOKENS or len(new) > _TOKENS:
        return []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    pieces: list[str] = []
    for tag, low, high, first, last in matcher.get_opcodes():
        if tag in ("replace", "delete"):
            pieces += _bare(" ".join(old[low:high]), " ".join(new[first:last]))
            pieces += [piece for word in old[low:high] for piece in _bare(word, " ".join(new[first:last]))]
    return [piece for piece in pieces if len(piece) >= _SHORTEST and piece not in after]


def _bare(old: str, new: str) -> list[str]:
    """Drop what both begin and end with."""
    low, most = 0, min(len(old), len(new))
    while low < most and old[low] == new[low]:
        low += 1
    high = 0
    while high < most - low and old[-1 - high] == new[-1 - high]:
        high += 1
    return [old[low : len(old) - high]]
