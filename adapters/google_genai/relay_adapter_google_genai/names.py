"""The two spellings of Gemini's JSON: the API takes ``maxOutputTokens`` and ``max_output_tokens`` alike.

Fields are read in either spelling. Operations are made in camel case and then follow the spelling of what is there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from relay_core.codec_parts import table_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay_core.lens import Op
    from relay_core.llm import Path

__all__ = ["camel", "get", "respelled", "snake", "spelled"]

_OWN: Final = frozenset({"args", "response", "parameters", "parametersJsonSchema", "responseSchema"})
_CALLERS: Final = _OWN | {"responseJsonSchema", "labels", "partialArgs"}  # below these, names are the caller's


@lru_cache(maxsize=1024)
def snake(name: str) -> str:
    """The name in snake case.

    Example:
        >>> snake("maxOutputTokens")
        'max_output_tokens'
    """
    return re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)


@lru_cache(maxsize=1024)
def camel(name: str) -> str:
    """The name in camel case.

    Example:
        >>> camel("max_output_tokens")
        'maxOutputTokens'
    """
    return re.sub(r"(?<=[a-z0-9])_([a-z])", lambda match: match[1].upper(), name)


def spelled(table: Any, name: str) -> str:
    """The name as an object spells it; in camel case where the object lacks it."""
    fields = table_of(table)
    other = snake(name)
    return other if name not in fields and other in fields else name


def get(table: Any, name: str) -> Any:
    """The value under a name in either spelling; ``None`` if there is none.

    Example:
        >>> get({"file_uri": "a"}, "fileUri"), get({"fileUri": "b"}, "fileUri")
        ('a', 'b')
    """
    fields = table_of(table)
    return fields[name] if name in fields else fields.get(snake(name))


def respelled(ops: Iterable[Op], native: Any) -> Iterable[Op]:
    """Operations with their paths in the spelling of the native object."""
    for op in ops:
        yield msgspec.structs.replace(op, path=_path(op.path, native))


def _path(path: Path, native: Any) -> Path:
    result: list[str | int] = []
    for index, key in enumerate(path):
        if isinstance(key, str):
            if camel(key) in _CALLERS:
                return (*result, spelled(native, key), *path[index + 1 :])
            own = spelled(native, key)
            native = table_of(native).get(own)
        else:
            own = key
            native = native[key] if isinstance(native, list) and 0 <= key < len(native) else None
        result.append(own)
    return tuple(result)
