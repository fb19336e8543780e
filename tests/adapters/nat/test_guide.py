"""The examples of the guide, and those in the docstrings, run as they stand."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "nat.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL) if GUIDE.exists() else []
MODULES = sorted(
    path.stem for path in (ROOT / "adapters/nat/relay_adapter_nat").glob("*.py") if path.stem != "__init__"
)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_guide(number, tmp_path):
    (tmp_path / "program.py").write_text(BLOCKS[number])
    environment = {**os.environ, "NAT_TELEMETRY_ENABLED": "false"}
    command = [sys.executable, "-W", "ignore", "program.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name):
    module = import_module(f"relay_adapter_nat.{name}")
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
