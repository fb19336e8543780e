"""The codec of embeddings, of OpenAI and of servers with the same format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_adapter_openai.codecs.counts import cost_of, usage_of
from relay_adapter_openai.codecs.wire import WireCodec, tables_in
from relay_core.codec_parts import JsonAssembler, copy_fields, field_ops, number_of, text_of
from relay_core.errors import CodecError
from relay_core.lens import Edit, Op, copy_json, json_diff, put, splice
from relay_core.llm import Choice, LlmRequest, LlmResponse, Message, NativePart, Path, TextPart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay_core.llm import Part

__all__ = ["EmbeddingsCodec"]

_API: Final = "openai_embeddings"
_INPUTS: Final = ("input", "prompt")  # Ollama says prompt
_SPECIFIC: Final = frozenset({"dimensions", "encoding_format", "user"})
_REPLY: Final = ("id", "model", "created")
_VECTORS: Final = ("data", "embedding", "embeddings")
_BASE64: Final = 3 / 4 / 4  # characters to bytes, four bytes a number


class EmbeddingsCodec(WireCodec):
    """Reads and edits what is embedded, one message per text; of the vectors it tells the size.

    Example:
        >>> codec, native = EmbeddingsCodec(), {"model": "m", "input": ["a", "b"]}
        >>> view = codec.decode_request(native)
        >>> codec.encode_request(view.map_text(lambda text: text * 2), native)
        {'model': 'm', 'input': ['aa', 'bb']}
        >>> codec.decode_response({"data": [{"index": 0, "embedding": [0.1, 0.2]}]}).choices[0].parts[0].value
        {'dimensions': 2, 'encoding': 'float'}
    """

    name = _API

    def read_request(self, native: Any) -> LlmRequest:
        """Read a request."""
        if not any(name in native for name in _INPUTS):
            raise CodecError("a request for embeddings must be a dict with an input")
        return LlmRequest(
            api=self.name,
            operation="embeddings",
            model=text_of(native.get("model")),
            messages=_read_input(native.get(_input(native)), (_input(native),)),
            api_specific=copy_fields(native, keep=_SPECIFIC),
            extra=copy_fields(native, drop={*_SPECIFIC, _input(native), "model"}),
        )

    def read_response(self, native: Any) -> LlmResponse:
        """Read a response; that of a refused request has an error and no choices."""
        if not any(isinstance(native.get(name), list) for name in _VECTORS) and native.get("error") is None:
            raise CodecError("a response with embeddings must be a dict with a list of data, or with an error")
        usage = native.get("usage")
        return LlmResponse(
            api=self.name,
            id=text_of(native.get("id")),
            model=text_of(native.get("model")),
            created=number_of(native.get("created")),
            choices=_read_vectors(native),
            usage=usage_of(usage),
            cost=cost_of(usage),
            api_specific=copy_fields(native, keep={"error"}),
            extra=copy_fields(native, drop={*_REPLY, *_VECTORS, "error", "object", "usage"}),
        )

    def assembler(self) -> WholeAssembler:
        """Make an assembler; embeddings come in one piece."""
        return WholeAssembler()

    def changed(self, edit: Edit, native: Any) -> Iterable[Op]:
        """Write changed fields of a node."""
        path = edit.old.path
        if isinstance(edit.old, LlmRequest):
            return field_ops(edit, {"model": ("model",)}, native)
        if isinstance(edit.old, LlmResponse):
            return field_ops(edit, {name: (name,) for name in _REPLY}, native)
        if isinstance(edit.old, TextPart) and path is not None and edit.fields == ("text",):
            return [put(path, edit.new.text)]
        if isinstance(edit.old, NativePart) and path is not None and path[0] in _INPUTS and edit.fields == ("value",):
            return json_diff(edit.old.value, edit.new.value, path)
        raise edit.refused("a request or response with embeddings has no place for it")

    def spliced(self, edit: Edit, native: Any) -> Iterable[Op]:
        """Write texts that were put into the input, or taken from it."""
        name = _input(native)
        if edit.fields != ("messages",):
            raise edit.refused("of embeddings only whole texts can be put in or taken out")
        if isinstance(native.get(name), list) and not _is_tokens(native.get(name)):
            return splice((name,), edit, lambda item: _build(item.new))
        texts = [_build(item.new) for item in edit.items]
        if not all(isinstance(text, str) for text in texts):
            raise edit.refused("an input of token numbers takes no text beside it")
        return [Op("set", (name,), texts)]


class WholeAssembler(JsonAssembler):
    """Keeps the one object that comes."""

    def __init__(self) -> None:
        super().__init__()
        self._whole: dict[str, Any] = {}

    def take(self, chunk: dict[str, Any]) -> None:
        """Take the response; it is a copy."""
        self._whole, self.complete = chunk, True

    def build(self) -> dict[str, Any]:
        """Give the response."""
        return copy_json(self._whole)


def _input(native: dict[str, Any]) -> str:
    return next((name for name in _INPUTS if name in native), _INPUTS[0])


def _is_tokens(value: Any) -> bool:
    """Whether the input is one text as token numbers."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, int) for item in value)


def _read_input(value: Any, path: Path) -> tuple[Message, ...]:
    if isinstance(value, list) and not _is_tokens(value):
        return tuple(_message(item, (*path, index)) for index, item in enumerate(value))
    return () if value is None else (_message(value, path),)


def _message(value: Any, path: Path) -> Message:
    part: Part
    if isinstance(value, str):
        part = TextPart(value, path=path)
    else:
        part = NativePart(_API, "tokens" if isinstance(value, list) else "input", copy_json(value), path=path)
    return Message("user", (part,), path=path)


def _build(message: Message) -> Any:
    part = message.parts[0] if len(message.parts) == 1 else None
    if message.role == "user" and isinstance(part, TextPart):
        return part.text
    if message.role == "user" and isinstance(part, NativePart) and part.provider == _API:
        return part.value
    raise CodecError("what is embedded is one text of a user's; a message of another kind has no place")


def _read_vectors(native: dict[str, Any]) -> tuple[Choice, ...]:
    if isinstance(native.get("embedding"), list):  # Ollama: one vector, or a list of them
        return (_vector(0, native["embedding"], ("embedding",)),)
    several = native.get("embeddings")
    if isinstance(several, list):
        return tuple(_vector(index, value, ("embeddings", index)) for index, value in enumerate(several))
    items = tables_in(native.get("data"), ("data",))
    return tuple(
        _vector(item.get("index", place), item.get("embedding"), ("data", place)) for place, item in enumerate(items)
    )


def _vector(index: Any, value: Any, path: Path) -> Choice:
    """One vector by its size: the numbers themselves tell a reader nothing."""
    told: dict[str, Any] = {}
    if isinstance(value, str):
        told = {"dimensions": int(len(value.rstrip("=")) * _BASE64), "encoding": "base64"}
    elif isinstance(value, list):
        told = {"dimensions": len(value), "encoding": "float"}
    part = NativePart(_API, "embedding", told, path=path)
    number = index if isinstance(index, int) and not isinstance(index, bool) else 0
    return Choice(index=number, parts=(part,), path=path)
