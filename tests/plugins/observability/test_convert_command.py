"""`relay convert`: a recording becomes trajectory documents."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from relay_core.cli import cli
from relay_plugin_observability import read_atif
from relay_plugin_observability.prices import Rates, prices
from tests.plugins.observability.scenarios import play


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(event.to_json() + b"\n" for event in play("tool_loop")))
    return path


def test_documents_are_written_and_read_back(recording, tmp_path):
    done = CliRunner().invoke(cli, ["convert", str(recording), "--out", str(tmp_path / "out")])
    assert (done.exit_code, done.stderr) == (0, "")
    (path,) = (tmp_path / "out").glob("*.json")
    assert done.stdout.split() == [str(path)]
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_atif(path).steps


def test_it_tells_as_json_and_counts_what_is_no_event(recording, tmp_path):
    recording.write_bytes(b"nonsense\n" + recording.read_bytes())
    done = CliRunner().invoke(cli, ["convert", str(recording), "--out", str(tmp_path), "--json"])
    said = json.loads(done.stdout)
    assert (said["format"], len(said["written"]), said["skipped_lines"]) == ("atif", 1, 1)


@pytest.mark.parametrize("content", [None, b"nonsense\n"])
def test_what_cannot_be_converted_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "there.jsonl"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(cli, ["convert", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "there.jsonl" in done.stderr
    assert not (tmp_path / "out").exists()


def test_registered_prices_are_used_where_the_provider_names_none(recording, tmp_path):
    def rates(provider, model, usage):
        return Rates(input="1", output="2", cache_read="0.5").cost(usage)

    handle = prices.register(rates, name="test")
    try:
        CliRunner().invoke(cli, ["convert", str(recording), "--out", str(tmp_path / "out")])
    finally:
        handle.remove()
    (path,) = (tmp_path / "out").glob("*.json")
    spent = [step.metrics for step in read_atif(path).steps if step.metrics is not None]
    assert spent
    assert all(metrics.cost_usd > 0 for metrics in spent)
