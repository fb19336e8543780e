"""The guide's programs run, and do what their comments say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

from relay_plugin_guardrails.settings import (
    GuardrailsSettings,
    InputSettings,
    OutputSettings,
    RetrievalSettings,
    SurfaceSettings,
)

GUIDE = (Path(__file__).parents[3] / "docs" / "guardrails.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_do_what_they_say(program):
    if "injection_detection" in program:
        pytest.importorskip("yara", reason="needs yara-python")
    wanted = re.findall(r"print\(.*\)  # (.*)$", program, re.MULTILINE)
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # the guide's own code
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == wanted
    assert wanted


@pytest.mark.parametrize(
    "kind", [GuardrailsSettings, SurfaceSettings, InputSettings, OutputSettings, RetrievalSettings]
)
def test_every_setting_is_in_the_guide(kind):
    missing = [field.name for field in msgspec.structs.fields(kind) if f"`{field.name}`" not in GUIDE]
    assert missing == []
