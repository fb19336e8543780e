"""An unchanged program under `relay run`, with two processes writing one file."""

from __future__ import annotations

import json

import pytest

PROGRAM = """
import subprocess, sys
from langchain_core.runnables import RunnableLambda

double = RunnableLambda(lambda n: 2 * n).with_config(run_name="double")
print(double.invoke(int(sys.argv[1])))
if int(sys.argv[1]) < 10:
    subprocess.run([sys.executable, __file__, "21"], check=True)
"""


@pytest.fixture
def program(tmp_path):
    pytest.importorskip("langchain_core")
    path = tmp_path / "app.py"
    path.write_text(PROGRAM)
    return path


def test_an_unchanged_program_is_recorded(relay_command, program, tmp_path):
    done = relay_command("run", "--out", "runs", "--", program, "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(done.stdout.split()) == [b"42", b"8"]
    seen = relay_command("view", "--json", "runs", cwd=tmp_path)
    roots = json.loads(seen.stdout)["roots"]
    assert [(root["name"], root["status"]) for root in roots] == [("double", "ok")] * 2
    assert sorted(json.dumps(root["output"]) for root in roots) == ["42", "8"]


def test_disabled_means_nothing_is_written(relay_command, program, tmp_path):
    done = relay_command("run", "--out", "runs", "--", program, "21", cwd=tmp_path, RELAY_DISABLED="1")
    assert (done.returncode, done.stdout.strip()) == (0, b"42")
    assert list(tmp_path.glob("runs/*.jsonl")) == []
