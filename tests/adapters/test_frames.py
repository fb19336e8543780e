"""Amazon's frames on the wire of the SDKs: however they are cut or damaged, bytes stay, counts agree, nothing raises."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_adapter_anthropic.codec import CODEC
from relay_core.aws_frames import read_events
from relay_core.stainless.blocks import WireChunk, assembled
from relay_core.stainless.frames import CONTENT_TYPE, Frames, framed
from relay_core.stainless.wire import Wire
from tests.adapters.anthropic import samples
from tests.adapters.anthropic.calls import BUSY, aws_event
from tests.adapters.bedrock.samples import frame
from tests.adapters.codec_laws import json_values
from tests.adapters.test_wires import passed, pieces_of

QUIET = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def inner(value):
    return {"bytes": base64.b64encode(json.dumps(value).encode()).decode()}


FRAMES = st.lists(
    st.sampled_from(samples.STREAM).map(aws_event)
    | json_values.map(aws_event)
    | st.binary(max_size=30).map(lambda data: frame(data, message_type="event", event_type="chunk"))
    | st.binary(max_size=30).map(lambda data: frame(data, message_type="exception"))
    | json_values.map(lambda value: frame(inner(value), message_type="exception", exception_type="chunk"))
    | st.sampled_from(
        [
            BUSY,
            aws_event({"type": 10**40}),
            aws_event({"n": 10**40}),
            frame(b"", message_type="event"),
            b"\0",
            b"no frame at all",
        ]
    ),
    max_size=6,
)


class Response:
    stream = None

    def __init__(self):
        self.headers = {"content-type": CONTENT_TYPE}


def opened(*, decodes=False, endings=(b"message_stop",)):
    wire = Wire(endings, decodes=decodes)
    wire.opened(Response())
    return wire


@QUIET
@given(frames=FRAMES, decodes=st.booleans(), data=st.data())
def test_bytes_that_nobody_changes_stay_as_they_are(frames, decodes, data):
    body = b"".join(frames)
    assert passed(pieces_of(data, body), decodes=decodes, response=Response) == body


@QUIET
@given(frames=FRAMES, data=st.data())
def test_counts_marks_and_the_end_do_not_depend_on_the_cuts(frames, data):
    body = b"".join(frames)
    pieces = pieces_of(data, body)
    wire, whole = opened(), opened()
    for piece in pieces[:2]:
        wire.recent.append(piece)
    wire.passed(pieces)
    whole.passed([body])
    parts = [part for piece in [*pieces, None] for part in wire.parts(piece)]
    assert len(parts) == wire.counted(pieces) == whole.counted([body])
    (cause, error), (other, same) = wire.ending(), whole.ending()
    assert (cause, str(error)) == (other, str(same))
    native = assembled(CODEC, pieces, reading=wire.reading, encoding="")
    assert native == assembled(CODEC, [body], reading=wire.reading, encoding="")


@QUIET
@given(table=st.dictionaries(st.text(), json_values).filter(lambda table: table.get("type") != "error"))
def test_an_event_that_middleware_made_reads_back(table):
    assert list(read_events([framed(table)])) == [msgspec.json.decode(msgspec.json.encode(table))]


def test_a_changed_error_stays_an_exception():
    (chunk,) = Frames().read(BUSY)
    assert isinstance(chunk, WireChunk)
    assert framed(chunk) == BUSY
    chunk["error"]["message"] = "later"
    assert list(read_events([framed(chunk)])) == [{"throttlingException": {"message": "later"}}]


@pytest.mark.parametrize("body", [frame(b"{", message_type="exception", exception_type="modelTimeoutException")])
def test_an_exception_that_says_nothing_is_told_by_its_name(body):
    wire = opened()
    wire.passed([body])
    cause, error = wire.ending()
    assert (cause, str(error)) == ("error", "modelTimeoutException")
