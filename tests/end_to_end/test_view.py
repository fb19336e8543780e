"""`relay view` on what a real run wrote: whole, growing, torn."""

from __future__ import annotations

import json


def _nodes(scopes):
    for scope in scopes:
        yield scope
        yield from _nodes(scope["children"])


def _view(relay_command, target):
    done = relay_command("view", "--json", target, cwd=target.parent)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_tree_is_that_of_the_demo(relay_command, demo):
    found = _view(relay_command, demo.file)
    assert [root["name"] for root in found["roots"]] == ["trip_agent"]
    assert found["summary"] == demo.report["summary"]
    nodes = list(_nodes(found["roots"]))
    assert sum(node["category"] == "llm" for node in nodes) == 3
    assert all(node["tokens"] for node in nodes if node["category"] == "llm")
    assert _view(relay_command, demo.folder)["roots"] == found["roots"]


def test_text_is_plain_in_a_pipe_and_coloured_on_demand(relay_command, demo):
    plain = relay_command("view", demo.file, cwd=demo.folder).stdout.decode()
    assert "! delete_booking blocked" in plain
    assert "\x1b" not in plain
    coloured = relay_command("view", demo.file, cwd=demo.folder, FORCE_COLOR="1").stdout.decode()
    assert "\x1b[" in coloured


def test_a_torn_file_shows_what_is_whole(relay_command, demo, tmp_path):
    whole = demo.file.read_bytes()
    lines = whole.splitlines(keepends=True)
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    found = _view(relay_command, torn)
    assert found["summary"]["events"] == len(lines) - 1
    assert [root["status"] for root in found["roots"]] == ["open"]  # its end is the torn line
    assert found["notes"]


def test_a_growing_file_shows_more_each_time(relay_command, demo, tmp_path):
    lines = demo.file.read_bytes().splitlines(keepends=True)
    growing = tmp_path / "growing.jsonl"
    counts = []
    with growing.open("ab") as stream:
        for part in (lines[:10], lines[10:25], lines[25:]):
            stream.write(b"".join(part))
            stream.flush()
            counts.append(_view(relay_command, growing)["summary"])
    assert [count["events"] for count in counts] == [10, 25, len(lines)]
    assert counts[0]["open"] > 0
    assert counts[-1]["open"] == 0
