"""`nat run` on a YAML file, unchanged but for the lines that name Relay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")
pytest.importorskip("relay_plugin_observability", reason="the events are written by the observability plugin")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # NAT's command loads all of its packages
ROOT = Path(__file__).parents[3]
OBSERVED = """
general:
  use_uvloop: false
  telemetry:
    tracing:
      relay:
        _type: relay
        config: {config}
middleware:
  relay:
    _type: relay
"""
WORKFLOW = f"""{OBSERVED}
functions:
  weather:
    _type: t_tool
    middleware: [relay]
llms:
  model:
    _type: t_scripted
    script: cli
workflow:
  _type: tool_calling_agent
  tool_names: [weather]
  llm_name: model
"""


@pytest.fixture
def site(tmp_path):
    """A folder on the path with a distribution whose entry point brings the parts of these tests."""
    info = tmp_path / "site" / "relay_nat_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: relay-nat-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nat.components]\nparts = tests.adapters.nat.parts\n")
    return info.parent


EVALUATION = f"""{OBSERVED}
workflow:
  _type: t_echo
  middleware: [relay]
eval:
  general:
    output_dir: {{folder}}/out
    dataset:
      _type: json
      file_path: {{folder}}/data.json
  evaluators: {{{{}}}}
"""


@pytest.fixture
def nat(tmp_path, site):
    """Runs a command of NAT's with a YAML file, and gives what it printed and the events that were written."""

    def run(command, text, *arguments):
        events = tmp_path / "events.jsonl"
        config = tmp_path / "relay.toml"
        config.write_text(f'[plugins.observability.atof]\ndirectory = "{tmp_path}"\nfilename = "events.jsonl"\n')
        workflow = tmp_path / "workflow.yml"
        workflow.write_text(text.format(config=config, folder=tmp_path))
        path = os.pathsep.join([str(ROOT), str(site)])
        done = subprocess.run(
            [Path(sys.executable).with_name("nat"), command, "--config_file", workflow, *arguments],
            env={**os.environ, "PYTHONPATH": path, "NAT_TELEMETRY_ENABLED": "false"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        lines = [json.loads(line) for line in events.read_text().splitlines()]
        ends = [line for line in lines if line["kind"] == "scope" and line["scope_category"] == "end"]
        assert {end["metadata"]["relay.status"] for end in ends} == {"ok"}
        return done.stdout + done.stderr, ends

    return run


def test_nat_run(nat):
    printed, ends = nat("run", WORKFLOW, "--input", "Rain?")
    assert "It rains." in printed
    assert ends[-1]["name"] == "tool_calling_agent"
    assert next(end["data"] for end in ends if end["name"] == "weather") == "2 days of rain in Oslo"
    models = [end for end in ends if end["category"] == "llm"]
    assert [m["category_profile"]["annotated_response"]["usage"]["prompt_tokens"] for m in models] == [11, 11]


def test_nat_eval(nat, tmp_path):
    """Every item of the data set is a tree of its own."""
    pytest.importorskip("nat.plugins.eval", reason="evaluation is a package of NAT's of its own")
    items = [{"id": str(n), "question": f"q{n}", "answer": f"echo q{n}"} for n in range(3)]
    (tmp_path / "data.json").write_text(json.dumps(items))
    _printed, ends = nat("eval", EVALUATION)
    roots = [end for end in ends if end["parent_uuid"] is None]
    assert sorted(root["data"] for root in roots) == ["echo q0", "echo q1", "echo q2"]
    assert len(ends) == 6
