from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys

import pytest

from relay_core.trajectory import TrajectoryError, load, read


def test_tree_has_names_times_tokens_and_outcomes(trip):
    found = load(trip.path)
    (root,) = found.roots
    assert [child.name for child in root.children] == ["chat", "no_shell", "search"]
    chat, guard, search = root.children
    assert (root.name, root.category, root.status) == ("trip", "agent", "ok")
    assert root.duration == pytest.approx(0.011)
    assert (chat.tokens.prompt, chat.tokens.completion, chat.model, chat.chunks) == (1200, 34, "gpt-x", 2)
    assert guard.rejected
    assert guard.reason == "not here"
    assert search.error == "ValueError: no such city"
    assert [mark.name for mark in root.marks] == ["shell", "ranked"]
    assert root.marks[0].rejected
    assert root.marks[1].data == {"n": 3}
    assert (root.input, root.output) == ({"q": "Lisbon"}, {"done": True})
    assert found.tokens.total == 1234
    assert found.notes == []


def test_order_of_events_does_not_matter(trip):
    expected = [(n.name, n.status, n.start_ns, n.end_ns, len(n.marks)) for n in load(trip.path).walk()]
    rows = trip.path.read_bytes().splitlines(keepends=True)
    random.Random(7).shuffle(rows)
    trip.path.write_bytes(b"".join(rows))
    assert [(n.name, n.status, n.start_ns, n.end_ns, len(n.marks)) for n in load(trip.path).walk()] == expected


def test_what_is_odd_is_noted_and_counted(lines):
    lines.add(
        lines.start("open"),
        lines.end("late"),
        lines.start("twice"), lines.start("twice"), lines.end("twice"), lines.end("twice"),
        lines.start("child", parent="nowhere"), lines.end("child"),
        lines.mark("lost", "nowhere"),
        b"not json\n", b"[1]\n", b'{"kind": "mark"}\n', b"\n", b"\x00\x00\n",
        b'{"kind": "mark", "uui',
    )  # fmt: skip
    found = load(lines.path)
    assert found.problems == {
        "bad_lines": 4, "torn_lines": 1, "open_scopes": 1, "ends_without_start": 1, "duplicate_starts": 1,
        "duplicate_ends": 1, "unseen_parents": 1, "orphan_marks": 1,
    }  # fmt: skip
    assert {root.uuid for root in found.roots} == {"open", "late", "twice", "child"}
    assert [mark.name for mark in found.marks] == ["lost"]
    assert any(note.startswith("4 lines are no ATOF events") and "line 10" in note for note in found.notes)
    assert len(found.notes) == 8


def test_copies_of_a_file_in_one_directory_change_nothing_but_the_notes(trip):
    alone = load(trip.path)
    (trip.path.parent / "copy.jsonl").write_bytes(trip.path.read_bytes())
    found = load(trip.path.parent)
    assert [mark.name for mark in found.roots[0].marks] == [mark.name for mark in alone.roots[0].marks]
    assert (len(list(found.walk())), found.tokens) == (len(list(alone.walk())), alone.tokens)
    assert found.problems == {"duplicate_starts": 4, "duplicate_ends": 4, "duplicate_marks": 2}


@pytest.mark.parametrize(
    "fields",
    [
        {"uuid": ["x"]}, {"name": {"a": 1}}, {"parent_uuid": 5}, {"timestamp": "yesterday"}, {"timestamp": -1},
        {"timestamp": 10**30}, {"timestamp": None}, {"kind": "metric"}, {"scope_category": "middle"},
        {"atof_version": "7"}, {"timestamp": "2026-01-01T00:00:00"},
    ],
)  # fmt: skip
def test_events_with_wrong_fields_are_skipped(lines, fields):
    lines.add(lines.start("good"), lines.start("bad") | fields)
    assert load(lines.path).problems["bad_lines"] == 1


@pytest.mark.parametrize(
    "profile",
    [
        {"annotated_response": 7},
        {"annotated_response": {"usage": [1]}},
        {"annotated_response": {"usage": {"prompt_tokens": "many", "completion_tokens": -5}}},
        {"annotated_response": {"usage": {"prompt_tokens": True}}},
        "text",
    ],
)
def test_wrong_usage_is_no_usage(lines, profile):
    lines.add(lines.start("a", category="llm"), lines.end("a", category="llm", category_profile=profile))
    assert load(lines.path).roots[0].tokens is None


def test_usage_of_a_duplicate_call_is_not_counted(lines):
    usage = {"annotated_response": {"usage": {"prompt_tokens": 5, "completion_tokens": 5}}}
    for uuid, metadata in (("a", {}), ("b", {"relay.duplicate_of": "a"})):
        lines.add(lines.start(uuid, category="llm"))
        lines.add(lines.end(uuid, category="llm", category_profile=usage, metadata=metadata))
    assert load(lines.path).tokens.total == 10


def test_circles_of_parents_are_cut(lines):
    lines.add(
        lines.start("self", parent="self"),
        lines.start("x", parent="y"), lines.start("y", parent="x"), lines.start("below", parent="y"),
    )  # fmt: skip
    found = load(lines.path)
    assert sorted(node.uuid for node in found.walk()) == ["below", "self", "x", "y"]
    assert found.problems["cycles"] == 2


def test_a_deep_tree_needs_no_recursion(lines):
    rows = [lines.start("0")] + [lines.start(str(i), parent=str(i - 1)) for i in range(1, 5_000)]
    lines.add(*rows)
    assert sum(1 for _ in load(lines.path).walk()) == 5_000


def test_a_directory_is_merged_and_sorted_by_time(trip, tmp_path):
    rows = trip.path.read_bytes().splitlines(keepends=True)
    trip.path.unlink()
    (tmp_path / "z.jsonl").write_bytes(b"".join(rows[:5]))
    (tmp_path / "a.jsonl").write_bytes(b"".join(rows[5:]))
    (tmp_path / "other.txt").write_text("no events")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "wrong.jsonl").write_bytes(b"no events\n")
    (tmp_path / "dangling.jsonl").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo.jsonl")
    found = load(tmp_path)
    assert [child.name for child in found.roots[0].children] == ["chat", "no_shell", "search"]
    assert found.files == 3
    assert found.problems == {"not_read": 1}


def test_a_growing_file_shows_more_each_time(lines):
    lines.add(lines.start("a"))
    assert load(lines.path).roots[0].status == "open"
    whole = json.dumps(lines.end("a")).encode()
    lines.add(whole[:50])
    assert load(lines.path).problems == {"torn_lines": 1, "open_scopes": 1}
    lines.add(whole[50:])  # whole, but for its line end
    assert load(lines.path).roots[0].status == "ok"
    lines.add(b"\n")
    assert load(lines.path).problems == {}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"\x1f\x8b\x08\x00garbage\n", "gunzip"),
        (b"PK\x03\x04garbage", "zip"),
        ("{}\n".encode("utf-16"), "UTF-16"),
        (b"hello\n", "holds no ATOF events"),
        (b"[]\n" * 1000, "line 1"),
        (b"\x00" * 1000 + b"\n", "holds no ATOF events"),
        (b'{"a":' * 50_000 + b"\n", "nested too deeply"),
        (b"\xff\xff\xff\n", "holds no ATOF events"),
    ],
)
def test_what_is_no_event_file_is_an_error_that_says_so(tmp_path, content, words):
    file = tmp_path / "f.jsonl"
    file.write_bytes(content)
    with pytest.raises(TrajectoryError, match=words) as caught:
        load(file)
    assert str(file) in str(caught.value)


def test_missing_files_and_empty_directories(tmp_path):
    for place in (tmp_path / "nothing", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(TrajectoryError):
            load(place)


def test_an_empty_file_has_no_events_yet(tmp_path):
    assert read(io.BytesIO(b"")).events == 0
    assert read(io.BytesIO(b"\xef\xbb\xbf")).roots == []


def test_large_payloads_are_left_out_and_say_so(lines):
    lines.add(lines.start("a", data="x" * 1000), lines.end("a", data={"small": 1}))
    (root,) = load(lines.path, keep=100).roots
    assert root.input == {"$relay": {"omitted_bytes": 1002}}
    assert root.output == {"small": 1}
    assert load(lines.path, keep=0).roots[0].output is None


def test_text_is_found_in_names_and_payloads_but_not_in_the_frame(lines):
    lines.add(lines.start("a", "Straße", data={"q": 'Köln "x"'}), lines.start("b", "other"))
    for text, expected in (("straße", 1), ("KÖLN", 1), ('"x"', 1), ("scope_category", 0), ("oth", 1), ("nowhere", 0)):
        assert sum(node.matched for node in load(lines.path, match=text).walk()) == expected, text


def test_dropped_events_are_counted(lines):
    lines.add(lines.mark("relay.events_dropped", data={"dropped": {"ENOSPC": 17, "x": 1}}))
    assert load(lines.path).problems == {"events_dropped": 18}


MEASURE = """
import sys
from relay_core.trajectory import load
found = load(sys.argv[1])
peak = next(int(row.split()[1]) for row in open("/proc/self/status") if row.startswith("VmHWM"))  # not the parent's
print(peak // 1024, [n.name for n in found.roots], found.notes)
"""


@pytest.mark.parametrize("size, seen", [(50_000_000, True), (80_000_000, False)])
def test_a_huge_line_costs_its_own_size_and_no_more(lines, size, seen):
    """The payload is a list of empty lists, which would take twenty times its size as objects."""
    lines.add(lines.start("small", "small"))
    head = json.dumps(lines.start("huge", "huge"))[:-1].encode() + b', "data": ['
    with lines.path.open("ab") as stream:
        stream.write(head)
        for _ in range(size // 3_000_000):
            stream.write(b"[]," * 1_000_000)
        stream.write(b"[]]}\n")
    lines.add(lines.start("after", "after"))
    done = subprocess.run([sys.executable, "-c", MEASURE, lines.path], capture_output=True, text=True, check=True)
    megabytes, _, rest = done.stdout.partition(" ")
    assert int(megabytes) < 256
    assert ("huge" in rest) is seen
    assert "small" in rest
    assert "after" in rest
    assert ("1 line over 64 MiB was skipped" in rest) is not seen


def test_rotated_and_compressed_files_of_a_directory_are_read_once(trip, tmp_path):
    rows = trip.path.read_bytes().splitlines(keepends=True)
    folder = tmp_path / "runs"
    folder.mkdir()
    first, second, third = (
        b"".join(rows[start : start + len(rows) // 3 + 1]) for start in range(0, len(rows), len(rows) // 3 + 1)
    )
    (folder / "e.20260131T104500.000000Z.jsonl.gz").write_bytes(gzip.compress(first))
    (folder / "e.20260131T104501.000000Z.jsonl").write_bytes(second)
    (folder / "e.20260131T104501.000000Z.jsonl.gz").write_bytes(gzip.compress(second))  # killed before the last step
    (folder / "e.20260131T104501.000000Z.jsonl.gz.tmp").write_bytes(b"half")
    (folder / "e.jsonl").write_bytes(third)
    found = load(folder)
    assert (found.events, found.notes) == (load(trip.path).events, [])
    assert [node.name for node in found.walk()] == [node.name for node in load(trip.path).walk()]


def test_a_compressed_file_is_recognised_by_its_content_and_may_be_cut_off(trip, tmp_path):
    packed = gzip.compress(trip.path.read_bytes() * 200)
    file = tmp_path / "e"
    file.write_bytes(packed)
    whole = load(file)
    assert whole.events == load(trip.path).events * 200
    file.write_bytes(packed[: len(packed) * 2 // 3])
    part = load(file)
    assert 0 < part.events < whole.events
    assert part.problems["torn_lines"] == 1
    file.write_bytes(packed[:100] + b"\xff" * 50 + packed[150:])
    with pytest.raises(TrajectoryError, match="gzip"):
        load(file)
