"""Every scenario gives the event file that is on disk here, line by line, and other tools read it.

``python -m tests.plugins.observability.test_goldens_atof`` writes the files anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from relay_plugin_observability import AtofExporter
from tests.plugins.observability.scenarios import SCENARIOS, play

FOLDER = Path(__file__).parent / "golden"
SCHEMA = Path(__file__).parents[2] / "core" / "golden" / "atof.schema.json"


def written(name, **options):
    """The bytes of a scenario's event file."""
    with tempfile.TemporaryDirectory() as folder:
        exporter = AtofExporter(Path(folder, "events.jsonl"), **options)
        play(name, exporter)
        return exporter.path.read_bytes()


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_events_are_those_on_file(name):
    made, known = written(name).splitlines(), (FOLDER / f"{name}.jsonl").read_bytes().splitlines()
    assert made == known, "run this module to write them anew"


def test_no_golden_file_is_left_over():
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_line_keeps_the_schema(name):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for line in (FOLDER / f"{name}.jsonl").read_bytes().splitlines():
        validator.validate(json.loads(line))


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_toolkits_reader_takes_every_line(name):
    io = pytest.importorskip("nat.atof.io", reason="needs nvidia-nat-atif")
    path = FOLDER / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [event.name for event in io.read_jsonl(path)] == [row["name"] for row in rows]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_toolkits_converter_takes_the_dialect_made_for_it(name, tmp_path):
    converter = pytest.importorskip("nat.atof.scripts.atof_to_atif_converter", reason="needs nvidia-nat-atif")
    pytest.importorskip("jsonschema", reason="the converter validates with jsonschema")
    path = tmp_path / "events.jsonl"
    path.write_bytes(written(name, dialect="nat"))
    made = converter.convert_file(path)
    assert bool(made.steps) == (name != "empty_agents")  # it knows of nothing but calls


def write_all():
    FOLDER.mkdir(exist_ok=True)
    for name in SCENARIOS:
        (FOLDER / f"{name}.jsonl").write_bytes(written(name))


if __name__ == "__main__":
    write_all()
