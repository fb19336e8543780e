"""The main job, run once as a newcomer runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import NamedTuple

import pytest


class Demo(NamedTuple):
    """What one `relay demo` has left behind."""

    folder: object
    report: dict

    @property
    def file(self):
        return self.folder / "events.jsonl"

    @property
    def events(self):
        return [json.loads(line) for line in self.file.read_bytes().splitlines()]


def run_relay(*arguments, cwd, **variables):
    """Run the command in a process of its own, away from the checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "OPENAI_", "LANG"))}
    return subprocess.run(
        [sys.executable, "-m", "relay_core", *map(str, arguments)],
        cwd=cwd,
        env=env | variables,
        capture_output=True,
        timeout=50,
        check=False,
    )


@pytest.fixture(scope="session")
def relay_command():
    return run_relay


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    pytest.importorskip("langchain_openai")
    folder = tmp_path_factory.mktemp("demo")
    done = run_relay("demo", "--json", "--out", folder, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return Demo(folder, json.loads(done.stdout))
