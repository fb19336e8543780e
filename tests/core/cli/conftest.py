from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay_core.cli import cli


class Lines:
    """Writes event files by hand."""

    def __init__(self, path: Path):
        self.path = path
        self.clock = 1_800_000_000_000_000  # microseconds

    def add(self, *rows):
        with self.path.open("ab") as stream:
            for row in rows:
                stream.write(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n")
        return self

    def _event(self, kind, uuid, name, parent, fields):
        self.clock += 1_000
        return {"atof_version": "0.1", "kind": kind, "uuid": uuid, "parent_uuid": parent, "name": name} | {
            "timestamp": self.clock,
            **fields,
        }

    def start(self, uuid, name="scope", parent=None, category="function", **fields):
        return self._event("scope", uuid, name, parent, {"scope_category": "start", "category": category, **fields})

    def end(self, uuid, name="scope", parent=None, category="function", status="ok", **fields):
        metadata = {"relay.status": status, **fields.pop("metadata", {})}
        rest = {"scope_category": "end", "category": category, "metadata": metadata, **fields}
        return self._event("scope", uuid, name, parent, rest)

    def mark(self, name, parent=None, data=None, **fields):
        return self._event("mark", f"mark-{self.clock}", name, parent, {"data": data, **fields})


@pytest.fixture
def lines(tmp_path):
    return Lines(tmp_path / "events.jsonl")


@pytest.fixture
def trip(lines):
    """A small run with everything that the viewer shows."""
    usage = {"annotated_response": {"usage": {"prompt_tokens": 1200, "completion_tokens": 34}}, "model_name": "gpt-x"}
    lines.add(
        lines.start("a", "trip", category="agent", data={"q": "Lisbon"}),
        lines.start("b", "chat", "a", "llm", data={"content": {"messages": []}}),
        lines.mark("llm.chunk", "b", {"chunk_index": 0}),
        lines.mark("llm.chunk", "b", {"chunk_index": 1}),
        lines.end("b", "chat", "a", "llm", category_profile=usage),
        lines.start("g", "no_shell", "a", "guardrail"),
        lines.end("g", "no_shell", "a", "guardrail", data={"rejected": True, "rejection_reason": "not here"}),
        lines.mark("shell", "a", {"rejected": True, "rejection_reason": "not here"}),
        lines.start("t", "search", "a", "tool"),
        lines.end(
            "t", "search", "a", "tool", "error",
            metadata={"error.type": "ValueError", "otel.status_description": "no such city"},
        ),
        lines.mark("ranked", "a", {"n": 3}),
        lines.end("a", "trip", category="agent", data={"done": True}),
    )  # fmt: skip
    return lines


@pytest.fixture
def relay(monkeypatch, tmp_path):
    """Run the command in this process, away from the user's own configuration."""
    for name in [name for name in os.environ if name.startswith("RELAY_") or name in ("NO_COLOR", "FORCE_COLOR")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("relay")  # commands keep it off the screen
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    monkeypatch.setattr(logger, "handlers", logger.handlers.copy())

    def run(*args, code=0, **options):
        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="relay", **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def environ(tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "PYTEST"))}
    return env | {"XDG_CONFIG_HOME": str(tmp_path / "no-config")}


@pytest.fixture
def relay_process(environ, tmp_path):
    """Run the command in a process of its own."""

    def run(*args, env=None, **options):
        words = [sys.executable, "-m", "relay_core", *(str(arg) for arg in args)]
        options = {"capture_output": True, "timeout": 50, "cwd": tmp_path, **options}
        return subprocess.run(words, check=False, env=environ | (env or {}), **options)

    return run
