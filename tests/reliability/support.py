"""What the tests of faults share: accounts that must add up, and programs in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap


def assert_account(relay, name, emitted, *, dropped=None):
    """Every event that the test emitted is accounted for: delivered, dropped for a reason, or pending. Gives the account.

    `emitted` is what the test counted itself, so that the account is compared with something it did not make.
    """
    found = relay.stats()["subscribers"][name]
    told = found["delivered"] + sum(found["dropped"].values()) + found["pending"]
    assert found["accepted"] == told == emitted, (emitted, found)
    if dropped is not None:
        assert found["dropped"] == dropped, found
    return found


PRELUDE = """
import json, os, sys, threading, time
import relay_core as relay
from relay_core.settings import Queue, Settings
"""


def program(tmp_path, text, *arguments, name="program.py"):
    """Write a program; gives the command that runs it."""
    script = tmp_path / name
    script.write_text(PRELUDE + textwrap.dedent(text))
    return [sys.executable, "-W", "error", str(script), *map(str, arguments)]


def run(tmp_path, text, *arguments, seconds=50.0, code=0, env=None):
    """Run a program to its end; gives what it printed last, read as JSON if it can be."""
    done = subprocess.run(
        program(tmp_path, text, *arguments),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Exception ignored" not in done.stderr, done.stderr
    last = done.stdout.strip().splitlines()[-1:] or [""]
    try:
        return json.loads(last[0])
    except ValueError:
        return last[0]


def whole_lines(path):
    """Read a file of events whose every line must be whole."""
    data = path.read_bytes()
    assert not data or data.endswith(b"\n"), data[-200:]
    return [json.loads(line) for line in data.splitlines()]
