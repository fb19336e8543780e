"""Documents of all versions are read, and each breach of a rule is named with its place."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_plugin_observability.atif import AtifError, read_atif
from relay_plugin_observability.atif.model import AudioContent, ImageContent
from relay_plugin_observability.atif.reader import READABLE
from tests.plugins.observability.atif.goldens import documents_of

PICTURE = {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}}
SOUND = {"type": "audio", "source": {"media_type": "audio/wav", "path": "a.wav", "duration_sec": 1.5}}


def small(**changes):
    return {
        "schema_version": "ATIF-v1.7",
        "session_id": "s",
        "agent": {"name": "a", "version": "1"},
        "steps": [
            {"step_id": 1, "source": "user", "message": "hi", "timestamp": "2026-01-01T00:00:00Z"},
            {
                "step_id": 2,
                "source": "agent",
                "message": "",
                "tool_calls": [{"tool_call_id": "c", "function_name": "f", "arguments": {}}],
                "observation": {"results": [{"source_call_id": "c", "content": [PICTURE]}]},
            },
        ],
        **changes,
    }


def step(number, **changes):
    made = small()
    made["steps"][number] |= changes
    return made


@pytest.mark.parametrize("version", READABLE)
def test_every_version_is_read(version):
    assert read_atif(small(schema_version=version)).schema_version == version


def test_all_ways_in_give_the_same(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(small()))
    assert read_atif(path) == read_atif(str(path)) == read_atif(path.read_bytes()) == read_atif(small())
    part = read_atif(path).steps[1].observation.results[0].content[0]
    assert isinstance(part, ImageContent)
    assert part.source.path == "a.png"


def test_audio_is_read_since_version_8():
    newer = step(0, message=[SOUND]) | {"schema_version": "ATIF-v1.8"}
    part = read_atif(newer).steps[0].message[0]
    assert isinstance(part, AudioContent)
    assert part.source.duration_sec == 1.5


def test_a_subagent_was_named_by_its_session_before_version_7():
    ref = {"observation": {"results": [{"subagent_trajectory_ref": [{"session_id": "sub"}]}]}}
    assert read_atif(step(1, **ref) | {"schema_version": "ATIF-v1.6"})
    with pytest.raises(AtifError, match="needs trajectory_id or trajectory_path"):
        read_atif(step(1, **ref))


def embedded(*children):
    return small(subagent_trajectories=list(children))


BREACHES = {
    "no object": ([1], r"\$: expected an object, got list"),
    "no version": ({}, r"\$.schema_version: there is none; ATIF-v1.0 to ATIF-v1.8 can"),
    "future": (small(schema_version="ATIF-v2.0"), r"'ATIF-v2.0' cannot be read"),
    "other format": (small(schema_version=["x"]), r"\['x'\] cannot be read"),
    "unknown key": (small(surprise=1), r"\$: Object contains unknown field `surprise`"),
    "no agent": ({k: v for k, v in small().items() if k != "agent"}, r"missing required field `agent`"),
    "no message": (small(steps=[{"step_id": 1, "source": "user"}]), r"\$.steps\[0\]: Object missing required field"),
    "wrong type": (step(0, step_id="1"), r"\$.steps\[0\].step_id: Expected `int`, got `str`"),
    "empty": (small(steps=[]), r"\$.steps: empty"),
    "numbering": (step(1, step_id=5), r"\$.steps\[1\].step_id: expected 2, got 5"),
    "agent only": (step(0, model_name="m"), r"\$.steps\[0\].model_name: only steps of the agent"),
    "tools of users": (step(0, tool_calls=[]), r"\$.steps\[0\].tool_calls: only steps of the agent"),
    "no model": (step(1, llm_call_count=0, reasoning_content="x"), r"reasoning_content: llm_call_count is 0"),
    "negative": (step(1, llm_call_count=-1), r"llm_call_count: -1 is negative"),
    "time": (step(0, timestamp="yesterday"), r"\$.steps\[0\].timestamp: 'yesterday' is no ISO 8601 time"),
    "loose result": (step(1, tool_calls=[]), r"results\[0\].source_call_id: 'c' is no tool_call_id of this step"),
    "audio too early": (step(0, message=[SOUND]), r"message\[0\]: audio came with ATIF-v1.8"),
    "odd picture": (
        step(0, message=[{"type": "image", "source": {"media_type": "image/bmp", "path": "a"}}]),
        r"message\[0\].source.media_type: 'image/bmp' is none of image/gif, image/jpeg",
    ),
    "no session before 7": (
        {k: v for k, v in small(schema_version="ATIF-v1.6").items() if k != "session_id"},
        r"\$.session_id: missing; ATIF-v1.6 requires it",
    ),
    "nameless child": (embedded(small()), r"\$.subagent_trajectories\[0\].trajectory_id: missing"),
    "twins": (
        embedded(small(trajectory_id="t"), small(trajectory_id="t")),
        r"\$.subagent_trajectories\[1\].trajectory_id: 't' is used twice",
    ),
    "broken child": (
        embedded(step(1, step_id=9) | {"trajectory_id": "t"}),
        r"\$.subagent_trajectories\[0\].steps\[1\].step_id: expected 2, got 9",
    ),
    "old child": (
        embedded(small(trajectory_id="t", schema_version="ATIF-v0.1")),
        r"\$.subagent_trajectories\[0\].schema_version: 'ATIF-v0.1' cannot be read",
    ),
}


@pytest.mark.parametrize("name", BREACHES)
def test_breaches_are_named(name):
    document, words = BREACHES[name]
    with pytest.raises(AtifError, match=words):
        read_atif(json.dumps(document).encode())


def test_all_breaches_are_listed_at_once_and_a_flood_is_cut():
    broken = step(0, model_name="m", timestamp="?")
    broken["steps"][1]["step_id"] = 7
    with pytest.raises(AtifError) as caught:
        read_atif(broken)
    assert len(caught.value.problems) == 3
    flood = small(steps=[{"step_id": 0, "source": "user", "message": ""} for _ in range(50)])
    with pytest.raises(AtifError, match="and 30 more"):
        read_atif(flood)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000])
def test_what_is_no_json_is_said_to_be_none(text):
    with pytest.raises(AtifError, match="no JSON"):
        read_atif(text)


def test_the_file_is_named(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("[]")
    with pytest.raises(AtifError, match=r"broken\.json' is no valid ATIF document"):
        read_atif(path)
    with pytest.raises(FileNotFoundError):
        read_atif(tmp_path / "missing.json")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
def test_a_changed_document_is_read_or_refused_and_nothing_else(data):
    document = copy.deepcopy(documents_of("subagents")[0])
    place = document
    for _ in range(data.draw(st.integers(0, 6))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
        if not inner:
            break
        place = place[data.draw(st.sampled_from(inner))]
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = data.draw(ANY)
    try:
        assert read_atif(document).steps
    except AtifError as error:
        assert error.problems
