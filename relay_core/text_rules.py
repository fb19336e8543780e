"""Rules on the text of a model's answer, also where a stream cuts it into chunks.

A rule is a function from text to text, such as one that masks names. What it looks for may lie across several chunks, so
the last characters of each text are held back until the rule can be sure of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast, overload

from relay_core.errors import CodecError, UsageError
from relay_core.lens import Path, apply_patch, delete, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Hashable, Iterator

    from relay_core.call_types import LlmCall
    from relay_core.lens import Op

__all__ = ["ChunkText", "ChunkTexts", "hold_back", "is_stream", "text_rule"]

_WINDOW: Final = 64


class ChunkText(NamedTuple):
    """A text in a chunk of a stream.

    Attributes:
        path: where it is.
        text: what it says.
        key: which text of the answer it continues; its first item is what `ChunkTexts.ends` names. None for a text that
            is whole in itself.
        echoes: other places of the chunk that repeat it, such as log probabilities; they go when the text changes.
    """

    path: Path
    text: str
    key: tuple[Hashable, Hashable] | None = None
    echoes: tuple[Path, ...] = ()


class ChunkTexts(NamedTuple):
    """What a codec's ``chunk_texts(chunk)`` gives.

    Attributes:
        texts: in order.
        ends: the first items of the keys of texts that are whole with this chunk.
        last: whether the chunk ends all texts.
        counter: where the chunk has its number within the stream, if it has one.
    """

    texts: tuple[ChunkText, ...] = ()
    ends: tuple[Hashable, ...] = ()
    last: bool = False
    counter: str | None = None


class _Held:
    """What has come of one text and was not let go yet."""

    __slots__ = ("chunk", "path", "raw")

    def __init__(self) -> None:
        self.raw = ""
        self.chunk: Any = None  # the last one that carried it, as a pattern for one more
        self.path: Path = ()

    def let_go(self, rule: Callable[[str], str], window: int) -> str:
        """Give what no later text can change: the rule says the same of the two parts as of the whole."""
        raw = self.raw
        at = len(raw) - window
        if at <= 0:
            return ""
        whole = rule(raw)
        for cut in range(at, max(at - window, 0), -1):
            first = rule(raw[:cut])
            if whole.startswith(first) and first + rule(raw[cut:]) == whole:
                self.raw = raw[cut:]
                return first
        return ""

    def rest(self, rule: Callable[[str], str]) -> str:
        """Give all of it."""
        raw, self.raw = self.raw, ""
        return rule(raw) if raw else ""


class _Rewriter:
    """Rewrites the chunks of one stream, one by one."""

    def __init__(self, rule: Callable[[str], str], codec: Any, window: int) -> None:
        if window < 1:
            raise UsageError(f"window is the number of characters to hold back, 1 or more, not {window!r}")
        self._rule = rule
        self._read: Callable[[Any], ChunkTexts] = _reader(codec)
        self._window = window
        self._held: dict[tuple[Hashable, Hashable], _Held] = {}
        self._counter: str | None = None
        self._added = 0

    def take(self, chunk: Any) -> list[Any]:
        """Give what goes on in place of one chunk."""
        if isinstance(chunk, bytes | str):
            raise CodecError(
                "a text rule cannot read this stream: its chunks are bytes, since it is binary, as Bedrock's are, or its "
                "content encoding is none that is read; ask the server for gzip or none, with the header accept-encoding"
            )
        found = self._read(chunk)
        if found.counter is not None:
            self._counter = found.counter
        given = {item.key for item in found.texts if item.key is not None}
        ended = [key for key in self._held if (found.last or key[0] in found.ends) and key not in given]
        made = [more for key in ended for more in self._flush(key)]
        ops = [op for item in found.texts for op in self._rewrite(item, chunk, found)]
        if self._added and self._counter is not None:
            number = chunk.get(self._counter)
            ops += [put((self._counter,), number + self._added)] if isinstance(number, int) else []
        return [*made, apply_patch(chunk, ops) if ops else chunk]

    def end(self) -> list[Any]:
        """Give what is left when the stream has ended."""
        return [more for key in list(self._held) for more in self._flush(key)]

    def _rewrite(self, item: ChunkText, chunk: Any, found: ChunkTexts) -> list[Op]:
        if item.key is None:
            text = self._rule(item.text)
        else:
            held = self._held.setdefault(item.key, _Held())
            held.raw += item.text
            held.chunk, held.path = chunk, item.path
            if found.last or item.key[0] in found.ends:
                text = held.rest(self._rule)
                del self._held[item.key]
            else:
                text = held.let_go(self._rule, self._window)
        return [] if text == item.text else [put(item.path, text), *map(delete, item.echoes)]

    def _flush(self, key: tuple[Hashable, Hashable]) -> list[Any]:
        held = self._held.pop(key)
        text = held.rest(self._rule)
        if not text:
            return []
        chunk = held.chunk
        texts = self._read(chunk).texts
        ops = [put(item.path, text if item.path == held.path else "") for item in texts]
        ops += [delete(path) for item in texts for path in item.echoes]
        self._added += 1
        if self._counter is not None and isinstance(chunk.get(self._counter), int):
            ops.append(put((self._counter,), chunk[self._counter] + self._added))
        return [apply_patch(chunk, ops)]


def _reader(codec: Any) -> Callable[[Any], ChunkTexts]:
    read = getattr(codec, "chunk_texts", None)
    if read is None:
        name = getattr(codec, "name", None) or type(codec).__name__
        raise CodecError(f"the codec {name!r} does not tell where the text of a chunk is: it has no chunk_texts()")
    return read


@overload
def hold_back(
    chunks: AsyncIterable[Any], rule: Callable[[str], str], codec: Any, *, window: int = ...
) -> AsyncIterator[Any]: ...
@overload
def hold_back(chunks: Iterable[Any], rule: Callable[[str], str], codec: Any, *, window: int = ...) -> Iterator[Any]: ...
def hold_back(chunks: Any, rule: Callable[[str], str], codec: Any, *, window: int = _WINDOW) -> Any:
    """Put the text of a stream under a rule that may match across chunks.

    What the rule may still change is held back, at least `window` characters of each text until that text ends. Chunks
    without text pass as they are. One chunk may be added at the end of a text, for what was held back last.

    Args:
        chunks: native chunks, sync or async.
        rule: from text to text. It is asked several times for the same text and must not depend on anything else.
        codec: of the format; has ``chunk_texts``.
        window: at least the length of the longest text that the rule replaces, with what it looks at around it.

    Returns:
        The chunks; an async iterator for an async one.

    Raises:
        CodecError: the codec does not tell where text is, or the chunks are bytes.
        UsageError: the window is no positive number.

    Example:
        >>> class Lines:
        ...     name = "lines"
        ...
        ...     def chunk_texts(self, chunk):
        ...         return ChunkTexts((ChunkText(("text",), chunk["text"], ("line", 0)),))
        >>> chunks = [{"text": "I am A"}, {"text": "n"}, {"text": "n, and you?"}]
        >>> given = list(hold_back(chunks, lambda text: text.replace("Ann", "***"), Lines(), window=3))
        >>> given, "".join(chunk["text"] for chunk in given)
        ([{'text': 'I a'}, {'text': 'm'}, {'text': ' ***, and y'}, {'text': 'ou?'}], 'I am ***, and you?')
    """
    rewriter = _Rewriter(rule, codec, window)
    if isinstance(chunks, AsyncIterable):
        return _aheld(cast("AsyncIterable[Any]", chunks), rewriter)
    return _held(chunks, rewriter)


def _held(chunks: Iterable[Any], rewriter: _Rewriter) -> Iterator[Any]:
    try:
        for chunk in chunks:
            yield from rewriter.take(chunk)
    finally:
        close = getattr(chunks, "close", None)
        if callable(close):
            close()
    yield from rewriter.end()


async def _aheld(chunks: AsyncIterable[Any], rewriter: _Rewriter) -> AsyncIterator[Any]:
    try:
        async for chunk in chunks:
            for given in rewriter.take(chunk):
                yield given
    finally:
        close = getattr(chunks, "aclose", None)
        if callable(close):
            await cast("Any", close())
    for given in rewriter.end():
        yield given


def text_rule(rule: Callable[[str], str], *, window: int = _WINDOW) -> Callable[[LlmCall], Generator[Any, Any, Any]]:
    """Make an execution intercept that puts every answer's text under a rule, streamed or not.

    Args:
        rule: from text to text; see `hold_back`.
        window: see `hold_back`.

    Returns:
        The intercept, for ``relay.register("execution_intercept", ..., target="llm")``.

    Example:
        >>> import relay_core as relay
        >>> masked = text_rule(lambda text: text.replace("Ann", "***"), window=3)
        >>> runtime = relay.Relay()
        >>> handle = runtime.register("execution_intercept", masked, target="llm", name="names")
        >>> handle.name
        'names'
    """

    def text_rule_intercept(call: LlmCall) -> Generator[Any, Any, Any]:
        answer = yield call
        if is_stream(answer):
            return cast("object", hold_back(answer, rule, call.codec, window=window))
        view = call.response_view(answer)
        return call.edit_response(answer, view.map_text(rule))

    return text_rule_intercept


def is_stream(answer: Any) -> bool:
    """Tell a stream, sync or async, from a response: that is data, or an SDK's object, which may iterate over its fields.

    Example:
        >>> is_stream(iter("ab")), is_stream({"text": "ab"}), is_stream("ab")
        (True, False, False)
    """
    kind = cast("type[object]", type(answer))
    if hasattr(kind, "__aiter__") or hasattr(kind, "__next__"):
        return True
    return (
        hasattr(kind, "__iter__")
        and not isinstance(answer, dict | list | str | bytes | bytearray | tuple)
        and not hasattr(kind, "model_fields")
    )
