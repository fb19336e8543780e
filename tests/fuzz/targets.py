"""What is fuzzed: each target takes any bytes, and must neither raise nor say something else when they come cut."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from relay_adapter_anthropic.codec import CODEC as ANTHROPIC
from relay_adapter_bedrock import CODEC as BEDROCK
from relay_adapter_bedrock import EventStreamDecoder, read_events
from relay_adapter_google_genai import CODEC as GEMINI
from relay_adapter_openai.codecs import codecs as openai_codecs
from relay_core.codec_parts import sse_chunks
from relay_core.codecs import Codec
from relay_core.errors import CodecError
from relay_core.sse import SseEvent, SseReader
from relay_core.sse import read_events as read_sse
from relay_core.stainless.answers import json_or_text
from relay_core.stainless.blocks import counted, cut, encoded
from tests.adapters.anthropic import samples as anthropic
from tests.adapters.bedrock import samples as bedrock
from tests.adapters.google_genai import samples as gemini
from tests.adapters.openai import samples as openai

CODECS: list[Codec] = [ANTHROPIC, BEDROCK, GEMINI, *openai_codecs()]


def sse(data: bytes) -> None:
    """The reader gives the same events however the bytes are cut, and written events read back as they are."""
    whole = list(read_sse([data]))
    single = SseReader()
    found = [event for index in range(len(data)) for event in single.feed(data[index : index + 1])]
    assert [*found, *single.close()] == whole
    assert b"".join(cut(data)) == data
    assert counted([data]) == len(cut(data))
    events = [event for event in whole if event.event.strip() and "\r" not in event.data + event.event]
    again = list(read_sse([encoded(SseEvent(event.data, event.event)) for event in events]))
    assert [(event.data, event.event) for event in again] == [(event.data, event.event) for event in events]


def frames(data: bytes) -> None:
    """Amazon's frames read the same however they are cut; what is no frame is a `CodecError`."""
    assert _framed([data]) == _framed([data[index : index + 1] for index in range(len(data))])


def _framed(pieces: list[bytes]) -> list[object]:
    found: list[object] = []
    try:
        found.extend(read_events(pieces))
    except CodecError as error:
        assert str(error)
    decoder = EventStreamDecoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
    except CodecError as error:
        assert str(error)
    return found


def codec_target(codec: Codec) -> Callable[[bytes], None]:
    """Make the target of one codec: JSON is read as request and response, anything else as a stream."""

    def target(data: bytes) -> None:
        json_or_text(data)
        try:
            native = msgspec.json.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            streamed(codec, list(sse_chunks([data])))
            return
        for decode in (codec.decode_request, codec.decode_response):
            try:
                view = decode(native)
            except CodecError as error:
                assert str(error)
            else:
                msgspec.to_builtins(view)
        streamed(codec, native if isinstance(native, list) else [native])

    return target


def streamed(codec: Codec, chunks: list[object]) -> None:
    """Whatever comes in a stream, there is an answer of what came, or a `CodecError` when it is read."""
    assembler, describe = codec.assembler(), getattr(codec, "describe_chunk", None)
    for chunk in chunks:
        assembler.feed(chunk)
        if describe is not None:
            describe(chunk)
    native = assembler.result()
    try:
        codec.decode_response(native)
    except CodecError as error:
        assert str(error)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sse": sse,
    "frames": frames,
    **{codec.name: codec_target(codec) for codec in CODECS},
}


def seeds(name: str) -> list[bytes]:
    """Real shapes to start from."""
    natives = {
        "anthropic_messages": (anthropic.REQUESTS, anthropic.RESPONSES, anthropic.STREAM),
        "bedrock_converse": (bedrock.REQUESTS, bedrock.RESPONSES, bedrock.STREAM),
        "gemini_generate_content": (gemini.REQUESTS, gemini.RESPONSES, gemini.STREAM),
        "openai_chat": (openai.CHAT_REQUESTS, openai.CHAT_RESPONSES, []),
        "openai_responses": (openai.RESPONSES_REQUESTS, openai.RESPONSES_RESPONSES, []),
        "openai_embeddings": (openai.EMBEDDINGS_REQUESTS, openai.EMBEDDINGS_RESPONSES, []),
    }
    if name == "frames":
        return [b"".join(map(bedrock.framed, bedrock.STREAM))]
    if name == "sse":
        return [
            b'event: a\r\ndata: {"b":1}\r\n\r\n: c\nid: 1\nretry: 5\ndata:x\ndata\n\n',
            b"\xef\xbb\xbfdata: \xff\r\r",
        ]
    requests, responses, stream = natives[name]
    found = [json.dumps(native).encode() for native in (*requests.values(), *responses.values())]
    sent = [encoded(chunk) for chunk in stream]
    return [*found, json.dumps(stream).encode(), b"".join(sent)]
