"""Codecs: lenses between a provider's JSON and the neutral view, and their registry.

A codec decodes a native request or response (JSON-like: dicts, lists, scalars) into `relay_core.llm` types and writes
edits of such a view back into a patched copy. The laws, checked by `relay_core.testing.lens`:

1. Writing an unedited view back gives the same native object, byte for byte.
2. Decoding what was written gives the edited view.
3. What the edit does not reach is untouched: the same objects, in the same order.
4. An edit that cannot be written is an error that names the place.
5. Decoding neither changes the native object nor shares its containers.

`write_back` keeps 1, 2, 4 for every codec; it and its pieces are in `relay_core.lens` and can be had from here too.
"""

from __future__ import annotations

import difflib
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self, cast, runtime_checkable

from relay_core.errors import CodecError, DuplicateName, UsageError
from relay_core.lens import (
    Edit,
    Item,
    Op,
    apply_patch,
    carry,
    copy_json,
    delete,
    diff,
    insert,
    json_diff,
    put,
    show,
    splice,
    value_at,
    write_back,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from relay_core.llm import LlmRequest, LlmResponse, StreamInfo

__all__ = [
    "Codec",
    "CodecHandle",
    "CodecPromise",
    "CodecRegistry",
    "Edit",
    "Item",
    "Op",
    "StreamAssembler",
    "apply_patch",
    "carry",
    "copy_json",
    "delete",
    "diff",
    "insert",
    "json_diff",
    "put",
    "show",
    "splice",
    "value_at",
    "write_back",
]


@runtime_checkable
class StreamAssembler(Protocol):
    """Builds the whole native response from the chunks of a stream."""

    @property
    def facts(self) -> StreamInfo:
        """How the stream went so far."""
        ...

    def feed(self, chunk: Any) -> None:
        """Take the next native chunk; an unknown one is skipped, never an error."""
        ...

    def result(self) -> Any:
        """The native response as if it had not been streamed, as far as it came; ``None`` before the first chunk."""
        ...


@runtime_checkable
class Codec(Protocol):
    """A lens between one provider API's JSON and the neutral view."""

    @property
    def name(self) -> str:
        """The API, such as ``"openai_chat"``; views carry it in `api`."""
        ...

    @property
    def native_types(self) -> tuple[type, ...]:
        """The types of native requests and responses this codec reads, usually ``(dict,)``."""
        ...

    def decode_request(self, native: Any) -> LlmRequest:
        """Read a native request; raises `CodecError` if it is none."""
        ...

    def encode_request(self, view: LlmRequest, native: Any) -> Any:
        """Return `native` with the edits of `view` in it, a copy where it changed; raises `CodecError`."""
        ...

    def decode_response(self, native: Any) -> LlmResponse:
        """Read a native response; raises `CodecError` if it is none."""
        ...

    def encode_response(self, view: LlmResponse, native: Any) -> Any:
        """Return `native` with the edits of `view` in it, a copy where it changed; raises `CodecError`."""
        ...

    def assembler(self) -> StreamAssembler:
        """A fresh assembler for one stream."""
        ...


_METHODS = ("decode_request", "encode_request", "decode_response", "encode_response", "assembler")


class CodecHandle:
    """A registered codec; `remove()` or leaving a ``with`` block takes it away again."""

    def __init__(self, codec: Codec, remove: Callable[[CodecHandle], None]) -> None:
        self.name = codec.name
        self.codec = codec
        self._remove = remove

    def remove(self) -> None:
        """Take the codec out of its registry; a second call does nothing."""
        self._remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"CodecHandle({self.name!r})"


class CodecPromise:
    """Codecs that are not loaded yet; `remove()` takes them out of their registry, loaded or not."""

    def __init__(
        self, names: tuple[str, ...], load: Callable[[], Iterable[Codec]], remove: Callable[[CodecPromise], None]
    ) -> None:
        self.names = names
        self.load = load
        self.handles: list[CodecHandle] = []
        self._remove = remove

    def remove(self) -> None:
        """Take the codecs out; a second call does nothing."""
        self._remove(self)


class CodecRegistry:
    """The codecs of one runtime, by name.

    Example:
        >>> registry = CodecRegistry()
        >>> registry.get("openai_chat")
        Traceback (most recent call last):
        relay_core.errors.CodecError: no codec is named 'openai_chat'; none is registered. ...
    """

    def __init__(self) -> None:
        self._handles: dict[str, CodecHandle] = {}
        self._promised: dict[str, CodecPromise] = {}
        self._lock = threading.Lock()

    def register(self, codec: Codec) -> CodecHandle:
        """Add a codec under its name.

        Args:
            codec: an object with everything that `Codec` asks for.

        Returns:
            A handle that removes it; also a context manager.

        Raises:
            UsageError: something is missing; the text names it.
            DuplicateName: the name is taken.
        """
        _check(codec)
        handle = CodecHandle(codec, self._remove)
        with self._lock:
            holder = self._handles.get(codec.name)
            if holder is not None:
                raise DuplicateName(
                    f"codec {codec.name!r} is registered already, by {type(holder.codec).__name__};"
                    " remove() that handle first"
                )
            self._handles = {**self._handles, codec.name: handle}  # readers take no lock
        return handle

    def promise(self, names: Iterable[str], load: Callable[[], Iterable[Codec]]) -> CodecPromise:
        """Make codecs known that are loaded when the first of them is asked for.

        Args:
            names: of all that `load` gives; a name that is taken already stays what it is.
            load: makes the codecs.

        Returns:
            What takes them out again.
        """
        made = CodecPromise(tuple(names), load, self._withdraw)
        with self._lock:
            self._promised = {**dict.fromkeys(made.names, made), **self._promised}
        return made

    def get(self, name: str) -> Codec:
        """The codec with this name.

        Raises:
            CodecError: there is none; the text lists those that are known.
        """
        handle = self._handles.get(name)
        if handle is not None:
            return handle.codec
        promise = self._promised.get(name)
        if promise is not None:
            self._keep(promise)
            if name in self._handles:
                return self._handles[name].codec
        known = self.names()
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        listed = f"registered are {', '.join(map(repr, known))}" if known else "none is registered"
        raise CodecError(
            f"no codec is named {name!r}; {listed}.{hint} A codec comes with the adapter of its provider:"
            " install that adapter and enable it (relay.autoload()), or register a codec of your own."
        )

    def names(self) -> list[str]:
        """The known names, sorted."""
        return sorted({*self._handles, *self._promised})

    def __contains__(self, name: object) -> bool:
        return name in self._handles or name in self._promised

    def _keep(self, promise: CodecPromise) -> None:
        """Load what was promised; of two threads the first one's codecs count."""
        codecs = [codec for codec in promise.load() if codec.name not in self._handles]
        with self._lock:
            self._promised = {name: kept for name, kept in self._promised.items() if kept is not promise}
        for codec in codecs:
            with suppress(DuplicateName):
                promise.handles.append(self.register(codec))

    def _withdraw(self, promise: CodecPromise) -> None:
        with self._lock:
            self._promised = {name: kept for name, kept in self._promised.items() if kept is not promise}
        for handle in promise.handles:
            handle.remove()

    def _remove(self, handle: CodecHandle) -> None:
        with self._lock:
            if self._handles.get(handle.name) is handle:
                self._handles = {name: kept for name, kept in self._handles.items() if kept is not handle}


def _check(codec: object) -> None:
    """Refuse what is no codec, in words that name the missing piece."""
    who = codec.__name__ if isinstance(codec, type) else type(codec).__name__
    if isinstance(codec, type):
        raise UsageError(f"register an instance, {who}(), not the class {who}")
    name = getattr(codec, "name", None)
    if not isinstance(name, str) or not name:
        raise UsageError(f"{who} is no codec: its attribute `name` must be a non-empty string, not {name!r}")
    types = getattr(codec, "native_types", None)
    if not isinstance(types, tuple) or not all(isinstance(item, type) for item in cast("tuple[object, ...]", types)):
        raise UsageError(f"codec {name!r} ({who}): `native_types` must be a tuple of types, such as (dict,)")
    missing = [method for method in _METHODS if not callable(getattr(codec, method, None))]
    if missing:
        raise UsageError(f"codec {name!r} ({who}) lacks {', '.join(f'{method}()' for method in missing)}")
