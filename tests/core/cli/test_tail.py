from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest


@pytest.fixture
def tail(environ, tmp_path):
    """`relay tail` in a process of its own, and its output so far."""
    started = []
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts behind itself ignores it

    def run(*args):
        words = [sys.executable, "-m", "relay_core", "tail", *map(str, args)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, cwd=tmp_path)
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.extend(map(bytes.decode, iter(process.stdout.readline, b""))))
        # `extend` over an iterator adds line by line
        reader.start()
        started.append((process, reader))

        def wait_for(text):
            deadline = time.monotonic() + 20
            while not any(text in line for line in list(seen)):
                assert process.poll() is None, seen
                assert time.monotonic() < deadline, (text, seen)
                time.sleep(0.02)
            return seen

        return process, wait_for

    yield run
    for process, reader in started:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
    signal.signal(signal.SIGINT, outer)


def test_new_events_appear_and_ctrl_c_ends_with_0(tail, lines):
    lines.add(lines.start("a", "old"))
    process, wait_for = tail(lines.path)
    wait_for("> old function")
    whole = json.dumps(lines.end("a", "old")).encode()
    lines.add(whole[:30])
    time.sleep(0.3)
    lines.add(whole[30:] + b"\n", lines.mark("done", data={"n": 1}))
    seen = wait_for('* done {"n": 1}')
    assert "< old function ok 1ms\n" in "".join(seen)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_waits_for_the_file_and_survives_rotation_and_truncation(tail, lines):
    _, wait_for = tail(lines.path)
    wait_for("waiting for")
    lines.add(lines.mark("one"))
    wait_for("* one")
    lines.path.rename(lines.path.with_suffix(".1"))
    lines.add(lines.mark("two", data={"n": "x" * 1_000}))  # with less in it the file is seen to be another
    wait_for("* two")
    lines.path.write_bytes(b"")
    lines.add(lines.mark("three"))
    seen = wait_for("* three")
    assert [sum(f"* {name}" in line for line in seen) for name in ("one", "two", "three")] == [1, 1, 1]


def test_begins_a_few_events_back(relay, trip):
    def names(*options):
        return [line.split()[2] for line in relay("tail", trip.path, "--no-follow", *options).output.splitlines()]

    assert names("-n", 2) == ["ranked", "trip"]
    assert names("-n", 0) == []
    assert names("-n", 100, "--no-marks").count("shell") == 1
    assert names("-n", 100, "--marks").count("llm.chunk") == 2


def test_json_lines(relay, trip):
    rows = [
        json.loads(line) for line in relay("tail", trip.path, "-n", 100, "--no-follow", "--json").output.splitlines()
    ]
    assert [row["event"] for row in rows][:3] == ["start", "start", "end"]
    assert rows[2]["tokens"] == {"prompt": 1200, "completion": 34}


def test_hostile_and_broken_lines(relay, lines):
    lines.add(b"junk\x1b[2J\n", lines.mark("\x1b[31m\u202ex"))
    result = relay("tail", lines.path, "--no-follow")
    assert "\x1b" not in result.output
    assert "a line was skipped" in result.stderr
    assert "\\x1b[31m\\u202ex" in result.stdout


def test_of_a_large_file_only_the_end_is_read(relay, lines):
    row = json.dumps(lines.start("a", "x" * 900)).encode() + b"\n"
    lines.add(row * 12_000, lines.mark("last"))
    assert relay("tail", lines.path, "--no-follow", "-n", 1).output.split()[-1] == "last"


def test_what_cannot_be_followed(relay, tmp_path):
    assert "is a directory" in relay("tail", tmp_path, code=2).stderr
    assert "No such file" in relay("tail", tmp_path / "x", "--no-follow", code=2).stderr
