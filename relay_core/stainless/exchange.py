"""One logical call of an SDK: what is sent, what came back, and what observers see of both."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.events import Deferred
from relay_core.observation import Observation, Outcome
from relay_core.scopes import UNSET
from relay_core.sse import SseReader
from relay_core.stainless.blocks import WireChunk, assembled, cut, encoded, error_of, read_chunks
from relay_core.stainless.provider import RAW_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from relay_core.call_types import Call
    from relay_core.claims import Claim
    from relay_core.llm import LlmResponse
    from relay_core.runtime import Relay
    from relay_core.sse import SseEvent
    from relay_core.stainless.provider import Operation, Provider

__all__ = ["Exchange", "StreamCut", "StreamFailed", "active"]

_RECENT: Final = 4  # blocks; the mark of the last event may lie across two of them
_EMPTY: Final = (b'"choices":[]', b'"choices": []')


class StreamCut(Exception):  # noqa: N818  # the name that events show
    """The stream ended before its last event."""


class StreamFailed(Exception):  # noqa: N818  # see StreamCut
    """The provider reported an error within the stream."""


class Exchange(Observation):
    """One logical call.

    Args:
        relay: the runtime.
        provider: the SDK.
        operation: the kind of request.
        client: the SDK's client.
        original: the client's own ``request``, bound.
        arguments: what it was called with: cast_to, options, stream, stream_cls.
        include_usage: whether a stream is asked for its usage where the program did not say.
    """

    __slots__ = (
        "arguments",
        "body",
        "client",
        "content",
        "decodes",
        "encoding",
        "events",
        "hides",
        "include_usage",
        "last",
        "operation",
        "options",
        "original",
        "outer",
        "pending",
        "provider",
        "reader",
        "recent",
        "relay",
        "response",
        "result_object",
        "retried",
        "sent",
        "streams",
        "whole",
    )

    def __init__(
        self,
        relay: Relay,
        provider: Provider,
        operation: Operation,
        client: Any,
        original: Callable[..., Any],
        arguments: dict[str, Any],
        body: dict[str, Any],
        *,
        include_usage: bool,
        decodes: bool,
    ) -> None:
        self.relay = relay
        self.provider = provider
        self.operation = operation
        self.client = client
        self.original = original
        self.arguments = arguments
        self.options: Any = arguments["options"]
        self.body = body
        self.outer: Claim | None = relay.current_claim("llm")
        self.streams = bool(arguments.get("stream")) or _raw_mode(self.options) == "stream"
        self.include_usage = include_usage and self.streams and operation.asks_usage
        self.decodes = decodes
        self.sent: Any = None
        self.retried = 0
        self.response: Any = None
        self.result_object: Any = UNSET
        self.content: bytes | None = None
        self.encoding = ""
        self.events = False
        self.hides = False
        self.whole = False
        self.last = b""
        self.recent: deque[bytes] = deque(maxlen=_RECENT)
        self.pending: list[SseEvent] = []
        self.reader = SseReader()

    # -- the call --------------------------------------------------------------------------------------------------

    def call_options(self) -> dict[str, Any]:
        """What the managed call is told."""
        model = self.body.get("model")
        headers = getattr(self.options, "headers", None)
        return {
            "codec": self.operation.codec,
            "model": model if isinstance(model, str) else None,
            "headers": _shown(cast("dict[str, Any]", headers)) if isinstance(headers, dict) else None,
            "claim": True,
            "observation": self,
            "category": self.operation.category,
        }

    @contextmanager
    def sending(self, body: Any) -> Generator[dict[str, Any]]:
        """Be what the client's own methods find while the request is sent; gives the arguments to send it with."""
        options = self.options
        if body is not self.body or self._asks_usage(body):
            options = self.provider.with_body(options, self._asking(body))
        self.sent = options
        token = active.set(self)
        try:
            yield {**self.arguments, "options": options}
        finally:
            active.reset(token)

    def _asks_usage(self, body: Any) -> bool:
        given = cast("dict[str, Any]", body).get("stream_options") if isinstance(body, dict) else None
        self.hides = (
            self.include_usage
            and bool(self.arguments.get("stream"))
            and (given is None or (isinstance(given, dict) and "include_usage" not in given))
        )
        return self.hides

    def _asking(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.hides:
            return body
        given: dict[str, Any] = body.get("stream_options") or {}
        asked = {**given, "include_usage": True}
        return {**body, "stream_options": asked}

    def note_retry(self, attempt: int, response: Any) -> None:
        """Note that an attempt failed and that another follows."""
        if attempt <= self.retried:
            return  # another layer of this adapter
        self.retried = attempt
        claim = self._claim()
        if claim is not None:
            claim.mark("llm.attempt", {"attempt": attempt, **self._facts(response)}, severity="warn")

    def note_response(self, response: Any, retries: int) -> None:
        """Note the response of the attempt that counts."""
        if self.response is response:
            return  # another layer of this adapter
        self.response = response
        claim = self._claim()
        if claim is None:
            return
        facts = self._facts(response)
        if retries:
            claim.mark("llm.attempt", {"attempt": retries + 1, **facts})
            facts["attempts"] = retries + 1
        claim.enrich(metadata={f"provider.{name}": value for name, value in facts.items()})

    def _claim(self) -> Claim | None:
        return self.relay.current_claim("llm") if self.relay.observed else None

    def _facts(self, response: Any) -> dict[str, Any]:
        if response is None:
            return {"error": "no response"}
        facts: dict[str, Any] = {"status_code": response.status_code}
        request_id = response.headers.get(self.provider.request_id)
        if request_id:
            facts["request_id"] = request_id
        return facts

    def returned(self, result: Any) -> Any:
        """Note what the SDK made of a response that was not streamed."""
        self.result_object = result
        if self.response is not None and self.response.is_closed:
            self.content = self.response.content
        self.tell_outer()
        return result

    def tell_outer(self, chunks: list[Any] | None = None) -> None:
        """Give the layer around this one, if there is one, the usage and ids of the wire."""
        if self.outer is None or (chunks is None and self.content is None):
            return
        given = [self.content] if chunks is None else chunks

        def facts() -> LlmResponse:
            native = assembled(self.operation.codec, given, events=chunks is not None and self.events, encoding="")
            return self.operation.codec.decode_response(native)

        self.outer.enrich(facts=facts)

    # -- what observers and middleware see -----------------------------------------------------------------------------

    def result(self, call: Call, result: Any) -> Any:  # noqa: ARG002  # the base class's
        """Show the JSON that came over the wire; it is read on the dispatcher's thread."""
        content = self.content
        if result is self.result_object and content is not None:
            return Deferred(lambda: _json_or_text(content))
        return _plain(result)

    def native(self, result: Any) -> Any:
        """Give the JSON of a response."""
        content = self.content
        return msgspec.json.decode(content) if result is self.result_object and content is not None else _plain(result)

    def outcome(self, call: Call, result: Any, error: BaseException | None) -> Outcome | None:  # noqa: ARG002  # see result
        """Show the provider's own words with an error; a response that came with it is kept."""
        if error is None:
            return None
        if call.scope is not None:
            status = getattr(error, "status_code", None)
            if isinstance(status, int):
                call.scope.metadata["provider.status_code"] = status
            request_id = getattr(error, "request_id", None)
            if isinstance(request_id, str):
                call.scope.metadata["provider.request_id"] = request_id
        response = self.response
        if response is not None and not self.streams and response.is_closed:
            content = response.content
            return Outcome(None, error, Deferred(lambda: _json_or_text(content)))
        body = getattr(error, "body", None)
        return Outcome(None, error, {"error": body}) if body is not None else None

    # -- streams ---------------------------------------------------------------------------------------------------

    def opened(self, result: Any) -> Any:
        """Take over the body of a streamed response; gives the stream of its bytes."""
        self.result_object = result
        response: Any = self.response
        self.encoding = response.headers.get("content-encoding", "").strip().lower()
        self.events = "text/event-stream" in response.headers.get("content-type", "")
        self.decodes = self.decodes and self.events and self.encoding in ("", "identity")
        return response.stream

    def chunks_of(self, piece: bytes | None) -> list[Any]:
        """Cut bytes that came, or the end of the stream (``None``), into chunks."""
        if piece is None and not self.decodes:
            return []
        if not self.decodes:
            blocks = cut(cast("bytes", piece))
            for block in blocks:
                self._note(block)
            return blocks
        found: list[Any] = []
        if piece is not None:
            self._note(piece)
        for item in read_chunks(self.reader, piece):
            if isinstance(item, WireChunk):
                item.hidden = self.hides and _is_usage_only(item)
                found.append(item)
            else:
                self.pending.append(item)
        return found

    def _note(self, block: bytes) -> None:
        self.recent.append(block)
        self.last = block
        for ending in self.operation.endings:
            if ending in block:
                self.whole = True

    def finish(self) -> None:
        """Say how the stream ended, once its bytes have.

        Raises:
            StreamFailed: it told of an error.
            StreamCut: its last event is missing.
        """
        cause, error = self.ending()
        if error is not None:
            raise error
        if cause != "complete":
            raise StreamCut("the stream ended before its last event")

    def ending(self) -> tuple[str, Exception | None]:
        """Tell how the stream ended if it ends here: complete, closed or error."""
        if not self.events or self.encoding or not self.operation.endings:
            return "complete", None
        message = error_of(self.last) or error_of(b"".join(self.recent))
        if message is not None:
            return "error", StreamFailed(message)
        recent = b"".join(self.recent)
        whole = self.whole or any(ending in recent for ending in self.operation.endings)
        return ("complete" if whole else "closed"), None

    def is_json_body(self) -> bool:
        """Tell whether the body is a document, which is whole only when all of it came."""
        return not self.events

    def out(self, chunk: Any) -> bytes:
        """Write one chunk for the program; nothing for one that it did not ask for."""
        if type(chunk) is bytes:
            return b"" if self.hides and _is_hidden(chunk) else chunk
        data = b"" if getattr(chunk, "hidden", False) else encoded(chunk)
        return self.rest() + data if self.pending else data

    def rest(self) -> bytes:
        """Write the events that are no JSON and came before this point."""
        held, self.pending = self.pending, []
        return b"".join(map(encoded, held))

    def assemble(self, chunks: list[Any]) -> Any:
        """Put the chunks together to a response."""
        return assembled(self.operation.codec, chunks, events=self.events or self.decodes, encoding=self.encoding)

    def forget(self) -> None:
        """Let go of the SDK's objects, which lead back here."""
        self.response = None
        self.result_object = UNSET


active: Final[ContextVar[Exchange | None]] = ContextVar("relay_stainless_exchange", default=None)


def _shown(headers: dict[str, Any]) -> dict[str, Any]:
    """Without the SDK's notes to itself."""
    return {name: value for name, value in headers.items() if not name.lower().startswith("x-stainless-")}


def _raw_mode(options: Any) -> str:
    headers = getattr(options, "headers", None)
    if not isinstance(headers, dict):
        return ""
    found = cast("dict[str, Any]", headers)
    return next((str(value) for name, value in found.items() if name.lower() == RAW_HEADER), "")


def _plain(result: Any) -> Any:
    """Give the JSON of an SDK's object; anything else stays as it is."""
    if isinstance(result, dict | list | str | bytes):
        return cast("Any", result)
    raw = getattr(result, "http_response", None)
    if raw is not None:
        return msgspec.json.decode(raw.content)
    dump = getattr(result, "to_dict", None)
    return dump() if callable(dump) else result


def _json_or_text(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return content.decode("utf-8", "replace")


def _is_hidden(block: bytes) -> bool:
    return any(mark in block for mark in _EMPTY) and any(
        isinstance(item, WireChunk) and _is_usage_only(item) for item in read_chunks(SseReader(), block)
    )


def _is_usage_only(chunk: dict[str, Any]) -> bool:
    return chunk.get("choices") == [] and chunk.get("usage") is not None
