from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

HOSTILE = "a\x1b[31mb\x07c\rd\ne\u202ef\u200bg\x00h\x1b]8;;http://x\x1b\\i\x9b31m\ufeff\u2028[bold]:smile:\u3164"
PLAIN = """\
trip agent ok 11ms
|-- chat llm ok 3ms 1,200 in + 34 out tokens (gpt-x, 2 chunks)
|-- no_shell guardrail rejected 1ms: not here
|-- ! shell blocked: not here
|-- search tool error 1ms: ValueError: no such city
`-- * ranked {"n": 3}
4 scopes, 1 model call, 1 tool call, 1 blocked, 1 error, 1,200 in + 34 out tokens
"""


def test_piped_output_is_a_plain_tree(relay, trip):
    assert relay("view", trip.path).output == PLAIN


def test_standard_input(relay, trip):
    assert relay("view", "-", input=trip.path.read_bytes()).output == PLAIN


def test_directory(relay, trip):
    assert relay("view", trip.path.parent).output == PLAIN


def test_marks_and_chunks(relay, trip):
    assert "ranked" not in relay("view", trip.path, "--no-marks").output
    assert "! shell blocked" in relay("view", trip.path, "--no-marks").output
    assert relay("view", trip.path, "--marks").output.count("llm.chunk") == 2


def test_depth(relay, trip):
    assert relay("view", trip.path, "--depth", 1).output.splitlines()[:2] == [
        "trip agent ok 11ms",
        "`-- (3 scopes below)",
    ]
    assert relay("view", trip.path, "--depth", 2).output == PLAIN
    relay("view", trip.path, "--depth", 0, code=2)


def test_errors_show_what_failed_and_the_scopes_around(relay, trip):
    text = relay("view", trip.path, "--errors").output
    assert [word in text for word in ("trip", "no_shell", "! shell", "search", "chat", "ranked")] == [True] * 4 + [
        False
    ] * 2


def test_grep(relay, trip):
    text = relay("view", trip.path, "--grep", "CITY").output
    assert text.splitlines()[:2] == ["trip agent ok 11ms", "`-- search tool error 1ms: ValueError: no such city"]
    assert "ranked" in relay("view", trip.path, "--grep", "ranked").output
    assert relay("view", trip.path, "--grep", "zebra").output.startswith("nothing matches\n")


def test_json(relay, trip):
    found = json.loads(relay("view", trip.path, "--json").output)
    (root,) = found["roots"]
    assert root["duration_ms"] == 11
    assert root["input"] == {"q": "Lisbon"}
    assert root["start"].endswith("+00:00")
    assert root["children"][0]["tokens"] == {"prompt": 1200, "completion": 34}
    assert root["marks"][0]["reason"] == "not here"
    assert found["summary"] == {
        "events": 12, "files": 1, "scopes": 4, "model_calls": 1, "tool_calls": 1, "errors": 1, "blocked": 1,
        "open": 0, "prompt_tokens": 1200, "completion_tokens": 34,
    }  # fmt: skip


def test_open_torn_and_orphaned_things_are_told(relay, lines):
    lines.add(lines.start("a", "job", parent="gone"), b"junk\n", b'{"torn')
    text = relay("view", lines.path).output
    assert "job function open\n" in text
    assert text.count("note: ") == 4


@pytest.mark.parametrize("extra", [(), ("--json",), ("--marks", "--grep", "x")])
def test_hostile_text_is_escaped(relay, lines, extra):
    bad = {"data": {"rejected": True, "rejection_reason": f"x{HOSTILE}"}}
    lines.add(
        lines.start("a", f"x{HOSTILE}", category=f"x{HOSTILE}", metadata={}, data=HOSTILE),
        lines.end("a", status=f"x{HOSTILE}", metadata={"error.type": f"x{HOSTILE}"},
                  category_profile={"model_name": f"x{HOSTILE}"}),
        lines.mark(f"x{HOSTILE}", "a", {HOSTILE: HOSTILE}),
        lines.mark(f"x{HOSTILE}", "a", **bad),
        b'{"kind": "x\\u001b[2Jx"}\n',
    )  # fmt: skip
    text = relay("view", lines.path, *extra).output
    assert [c for c in text if not (c.isprintable() or c == "\n") or c == "\u3164"] == []
    assert "\\u202e" in text
    assert "[bold]:smile:" in text


def test_hostile_file_names_in_errors(relay):
    text = relay("view", "no\x1b[31mfile\u202e", code=2).output
    assert text == "relay: 'no\\x1b[31mfile\\u202e': No such file or directory\n"


def test_errors_are_one_line_and_code_2(relay, tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"\x1f\x8b\x00")
    assert relay("view", tmp_path / "f", code=2).stderr.count("\n") == 1
    assert relay("view", tmp_path, code=2).stderr.count("\n") == 1
    monkeypatch.setenv("RELAY_DEBUG", "1")
    with pytest.raises(Exception, match="gzip"):
        relay("view", tmp_path / "f")


def test_a_very_deep_tree_ends_somewhere(relay, lines):
    lines.add(lines.start("0"), *(lines.start(str(i), parent=str(i - 1)) for i in range(1, 3_000)))
    text = relay("view", lines.path).output
    assert "(2,900 scopes below)" in text
    found = json.loads(relay("view", lines.path, "--json").output)
    depth, node = 0, found["roots"][0]
    while node["children"]:
        depth, node = depth + 1, node["children"][0]
    assert (depth, node["children_not_shown"]) == (99, 1)


def test_deeply_nested_payloads_in_json(relay, lines):
    deep = ("[" * 500 + "]" * 500).encode()
    lines.add(json.dumps(lines.start("a"))[:-1].encode() + b', "data": ' + deep + b"}\n")
    found = json.loads(relay("view", lines.path, "--json").output)
    assert found["roots"][0]["input"] == {"$relay": {"omitted": "nested too deeply"}}


def on_terminal(environ, *args):
    """Run the command with a pseudo-terminal as its output."""
    outer, inner = pty.openpty()
    words = [sys.executable, "-m", "relay_core", *map(str, args)]
    process = subprocess.Popen(words, stdout=inner, stderr=inner, env=environ, stdin=subprocess.DEVNULL)
    os.close(inner)
    text = b""
    while True:
        try:
            block = os.read(outer, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        text += block
    os.close(outer)
    assert process.wait() == 0, text
    return text.decode()


def test_terminal_has_colour_and_lines(environ, trip):
    environ = {k: v for k, v in environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm-256color"}
    environ |= {"PYTHONIOENCODING": "utf-8"}
    text = on_terminal(environ, "view", trip.path)
    assert "\x1b[" in text
    assert "├── " in text
    assert "└── " in text
    for extra in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b[" not in on_terminal(environ | extra, "view", trip.path)


def test_terminal_gets_no_foreign_escapes(environ, lines):
    environ = environ | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    lines.add(lines.start("a", HOSTILE))
    text = on_terminal(environ, "view", lines.path)
    for evil in ("\x1b[31m", "\x07", "\u202e", "\u200b", "\x1b]8", "\x00", "\x9b"):
        assert evil not in text


def test_a_pipe_gets_no_colour_and_any_encoding_works(relay_process, trip):
    trip.add(trip.start("ü", "Zürich 東京"))
    done = relay_process("view", trip.path, env={"PYTHONIOENCODING": "latin-1", "TERM": "xterm-256color"})
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout
    assert b"Z\xfcrich \\u6771\\u4eac" in done.stdout


def test_a_reader_that_goes_away_is_no_crash(environ, lines):
    lines.add(*(lines.start(str(i), "n" * 100) for i in range(5_000)))
    command = f"'{sys.executable}' -m relay_core view '{lines.path}' | head -n 1"
    done = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, check=False)
    assert done.stdout.startswith(b"n" * 100)
    assert b"Traceback" not in done.stderr
