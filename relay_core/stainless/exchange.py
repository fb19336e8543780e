"""One logical call of an SDK: what is sent, what came back, and what observers see of both."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from relay_core.claims import same_answer, seen_around
from relay_core.events import Deferred
from relay_core.observation import Observation, Outcome
from relay_core.scopes import UNSET
from relay_core.stainless.answers import facts_of, failure_of, json_or_text, plain
from relay_core.stainless.blocks import assembled, counted
from relay_core.stainless.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.call_types import Call
    from relay_core.claims import Claim
    from relay_core.codecs import Codec
    from relay_core.llm import LlmResponse
    from relay_core.runtime import Relay
    from relay_core.stainless.provider import Operation, Provider
    from relay_core.stainless.quick import Quick

__all__ = ["Exchange", "active", "read_headers"]

_NO_WIRE: Final = Wire((), decodes=False)  # of calls that are not streamed
_NOTES: Final = "x-stainless-"  # how the names of headers begin that the SDK writes for itself
_RAW_MODE: Final = "x-stainless-raw-response"


class Exchange(Observation):
    """One logical call.

    Args:
        relay: the runtime.
        provider: the SDK.
        operation: the kind of request.
        client: the SDK's client.
        original: the client's own ``request``.
        arguments: what it was called with: cast_to, options, stream, stream_cls.
        body: the JSON of the request.
        include_usage: whether a stream is asked for its usage where the program did not say; "auto" where the server is
            known to understand it.
        decodes: whether middleware is there that may read the stream.

    Attributes:
        streams: whether the response is given to the program as it comes.
        reads: whether a whole answer that the program wants to read piece by piece is read before: middleware sees it
            as it sees every whole answer.
    """

    __slots__ = (
        "arguments",
        "body",
        "client",
        "content",
        "headers",
        "include_usage",
        "operation",
        "options",
        "original",
        "outer",
        "passes",
        "provider",
        "reads",
        "relay",
        "response",
        "result_object",
        "retried",
        "sent",
        "streams",
        "watched",
        "wire",
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
        include_usage: bool | str,
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
        headers: Any = getattr(self.options, "headers", None)
        self.headers, raw_mode = read_headers(cast("Any", headers)) if isinstance(headers, dict) else (None, "")
        asked = bool(arguments.get("stream"))
        self.reads = raw_mode == "stream" and not asked and decodes and self.outer is None
        self.streams = asked or (raw_mode == "stream" and not self.reads)
        watchable = self.streams and self.outer is None and operation.category == "llm"
        self.watched = seen_around(relay) if watchable else None
        self.include_usage = include_usage
        self.passes = not decodes
        self.wire = _NO_WIRE
        if self.streams:
            self.wire = Wire(operation.endings, decodes=decodes)
        self.sent: Any = None
        self.retried = 0
        self.response: Any = None
        self.result_object: Any = UNSET
        self.content: bytes | None = None

    # -- the call --------------------------------------------------------------------------------------------------

    def call_options(self) -> dict[str, Any]:
        """What the managed call is told."""
        model = self.body.get("model")
        return {
            "codec": self.operation.codec,
            "model": model if type(model) is str else None,
            "headers": self.headers,
            "claim": True,
            "observation": self,
            "category": self.operation.category,
        }

    def arguments_for(self, body: Any) -> dict[str, Any]:
        """Give the arguments to send a body with."""
        asked = self._asking(body) if self.streams and self.operation.asks_usage else body
        if asked is self.body:
            self.sent = self.options
            return self.arguments
        self.sent = self.provider.with_body(self.options, asked)
        return {**self.arguments, "options": self.sent}

    def _asking(self, body: Any) -> Any:
        """Ask for the usage of a stream where the program did not say, and the server is known to understand it."""
        if not self.include_usage or not self.arguments.get("stream") or not isinstance(body, dict):
            return body
        asked = cast("dict[str, Any]", body)
        given: Any = asked.get("stream_options")
        options: dict[str, Any] = {} if given is None else given
        if not isinstance(options, dict) or "include_usage" in options:  # pyright: ignore[reportUnnecessaryIsInstance]  # middleware may have written it
            return asked
        if self.include_usage == "auto" and not self.provider.knows_usage(self.client):
            return asked
        self.wire.hides = True
        return {**asked, "stream_options": {**options, "include_usage": True}}

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
        claim.scope.metadata.update(zip([f"provider.{name}" for name in facts], facts.values(), strict=True))

    def _claim(self) -> Claim | None:
        return self.relay.current_claim("llm") if self.relay.observed else None

    def _facts(self, response: Any) -> dict[str, Any]:
        return facts_of(response, self.provider.request_id)

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
        wire = self.wire
        encoding = "" if chunks is None else wire.encoding

        def facts() -> LlmResponse:
            native = assembled(
                self.operation.codec, given, events=chunks is not None and wire.events, encoding=encoding
            )
            return self.operation.codec.decode_response(native)

        self.outer.enrich(facts=facts)

    # -- what observers and middleware see -----------------------------------------------------------------------------

    def result(self, call: Call, result: Any) -> Any:  # noqa: ARG002  # the base class's
        """Show the JSON that came over the wire; it is read on the dispatcher's thread."""
        content = self.content
        if result is self.result_object and content is not None:
            return Deferred(lambda: json_or_text(content))
        return plain(result)

    def native(self, result: Any) -> Any:
        """Give the JSON of a response."""
        content = self.content
        return msgspec.json.decode(content) if result is self.result_object and content is not None else plain(result)

    def outcome(self, call: Call, result: Any, error: BaseException | None) -> Outcome | None:  # noqa: ARG002  # see result
        """Show the provider's own words with an error; a response that came with it is kept."""
        if error is None:
            return None
        facts, output = failure_of(error, None if self.streams else self.response)
        if call.scope is not None:
            call.scope.metadata.update(facts)
        return None if output is None else Outcome(None, error, output)

    # -- streams ---------------------------------------------------------------------------------------------------

    def opened(self, result: Any) -> Any:
        """Take over the body of a streamed response; gives the stream of its bytes."""
        self.result_object = result
        return self.wire.opened(self.response)

    def assemble(self, chunks: list[Any]) -> Any:
        """Put the chunks together to a response."""
        wire = self.wire
        return assembled(self.operation.codec, chunks, events=wire.events or wire.decodes, encoding=wire.encoding)

    def counted(self, chunks: list[Any]) -> int:
        """Count the events of a stream that nobody has cut."""
        return counted(chunks) if self.wire.whole else len(chunks)

    @property
    def parts(self) -> Callable[[Any], list[Any]]:
        """What finds them, for their marks."""
        return self.wire.parts

    def tell_watched(self, chunks: list[Any] | None) -> None:
        """Tell a layer above that only watches, if there is one, what the stream brings."""
        if self.watched is not None and chunks is not None:
            same_answer(self.watched, partial(_answer, self.operation.codec, self.wire, chunks))

    def forget(self) -> None:
        """Let go of the SDK's objects, which lead back here."""
        self.response = None
        self.result_object = UNSET


active: Final[ContextVar[Exchange | Quick | None]] = ContextVar("relay_stainless_exchange", default=None)


def _answer(codec: Codec, wire: Wire, chunks: list[Any]) -> LlmResponse:
    return codec.decode_response(assembled(codec, chunks, events=wire.events or wire.decodes, encoding=wire.encoding))


def read_headers(headers: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Give the headers without the SDK's notes to itself, and which kind of raw response they ask for."""
    shown: dict[str, Any] = {}
    raw_mode = ""
    for name, value in headers.items():
        if type(value) is str:  # else a mark that takes a header away
            lower = name.lower()
            if not lower.startswith(_NOTES):
                shown[name] = value
            elif lower == _RAW_MODE:
                raw_mode = value
    return shown, raw_mode
