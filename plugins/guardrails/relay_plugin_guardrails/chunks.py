"""The text in the chunks of a stream, whatever provider they come from: where it stands, and how to replace it.

`relay_core.text_rules` does something else: there a codec says where text is, and a rule that costs nothing is asked again
for every chunk. Here chunks may be a framework's own objects, no codec reads those, and each question is a model call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Key", "edited", "is_whole", "pieces", "without_echoes"]

Key: TypeAlias = tuple[Any, ...]
"""Which of the texts of an answer a piece belongs to: answers and parts of answers may be interleaved."""

_TEXTS: Final = frozenset({"content", "text", "delta", "thinking", "reasoning", "reasoning_content", "refusal"})
_INDEXES: Final = ("index", "output_index", "content_index", "summary_index", "contentBlockIndex")
_NOT_SAID: Final = ("arguments", "input_json", "tool", "mcp", "code", "audio", "image", "signature")
_ECHOES: Final = frozenset({"logprobs", "logprobsResult"})
_WHOLE: Final = (".done", ".completed", ".incomplete", ".failed", "message_stop")


def is_whole(chunk: Any) -> bool:
    """Tell whether a chunk repeats text that came before, as the last events of some APIs do.

    Example:
        >>> is_whole({"type": "response.output_text.done", "text": "hi"}), is_whole({"type": "content_block_delta"})
        (True, False)
    """
    return str(_field(chunk, "type") or "").endswith(_WHOLE)


def pieces(chunk: Any) -> Iterator[tuple[Key, str]]:
    """Give the pieces of text in a chunk.

    Example:
        >>> list(pieces({"choices": [{"index": 0, "delta": {"content": "Hi"}}]}))
        [(('choices', 0, 'delta', 'content'), 'Hi')]
    """
    found: list[tuple[Key, str]] = []

    def note(key: Key, text: str) -> str:
        found.append((key, text))
        return text

    edited(chunk, note)
    yield from found


def edited(chunk: Any, change: Callable[[Key, str], str]) -> Any:
    """Copy a chunk with `change` applied to its pieces of text; if that changes nothing, it is the chunk itself."""
    if isinstance(chunk, str):
        return change((), chunk)
    if not isinstance(chunk, dict | list):
        return _edited_object(chunk, change)
    made = _walked(chunk, _place(chunk), change)
    return chunk if made is chunk else without_echoes(made)


def without_echoes(tree: Any) -> Any:
    """Copy a tree without the tokens of its text: where a text was rewritten, they would still tell it.

    Example:
        >>> without_echoes({"text": "***", "logprobs": {"content": [{"token": "secret"}]}})
        {'text': '***', 'logprobs': None}
    """
    if isinstance(tree, list):
        return [without_echoes(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        name: [] if name in _ECHOES and isinstance(value, list) else None if name in _ECHOES else without_echoes(value)
        for name, value in tree.items()
    }


def _place(chunk: Any) -> Key:
    if not isinstance(chunk, dict):
        return ()
    return tuple((name, chunk[name]) for name in _INDEXES if isinstance(chunk.get(name), int))


def _walked(tree: Any, key: Key, change: Callable[[Key, str], str]) -> Any:
    if isinstance(tree, list):
        items = [_walked(item, (*key, _index(item, place)), change) for place, item in enumerate(tree)]
        return tree if all(a is b for a, b in zip(items, tree, strict=True)) else items
    if not isinstance(tree, dict):
        return tree
    kind = str(tree.get("type") or "")
    if any(word in kind for word in _NOT_SAID):
        return tree
    made: dict[Any, Any] = {}
    for name, value in tree.items():
        if isinstance(value, str):
            made[name] = change((*key, name), value) if name in _TEXTS and value else value
        else:
            made[name] = value if name in ("tool_calls", "function_call") else _walked(value, (*key, name), change)
    return tree if all(made[name] is tree[name] for name in tree) else made


def _index(item: Any, place: int) -> int:
    found = item.get("index") if isinstance(item, dict) else None
    return found if isinstance(found, int) else place


def _edited_object(chunk: Any, change: Callable[[Key, str], str]) -> Any:
    """Edit a framework's chunk: a message with ``content``, or one that holds such a message."""
    copy = getattr(chunk, "model_copy", None)
    if copy is None:
        return chunk
    inner = getattr(chunk, "message", None)
    if inner is not None and getattr(inner, "content", None) is not None:
        made = _edited_object(inner, change)
        text = made.content if isinstance(made.content, str) else getattr(chunk, "text", "")
        return chunk if made is inner else copy(update={"message": made, "text": text})
    content = getattr(chunk, "content", None)
    if isinstance(content, str):
        made = change(("content",), content) if content else content
    elif isinstance(content, list):
        made = _walked(content, ("content",), change)
    else:
        return chunk
    return chunk if made is content else copy(update={"content": made})


def _field(chunk: Any, name: str) -> Any:
    return chunk.get(name) if isinstance(chunk, dict) else getattr(chunk, name, None)
