"""Every scenario gives the documents that are on file, and they keep the format's rules."""

from __future__ import annotations

import pytest

from relay_plugin_observability.atif import AtifExporter, AtifSettings, read_atif
from tests.plugins.observability.atif.goldens import FOLDER, documents_of, every_trajectory, rendered
from tests.plugins.observability.scenarios import SCENARIOS, play


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_documents_are_those_on_file(name):
    assert rendered(name) == (FOLDER / f"{name}.json").read_text(), "run the module goldens to write them anew"


def test_no_golden_file_is_left_over():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_toolkits_models_accept_the_documents(name):
    oracle = pytest.importorskip("nat.atif.trajectory", reason="nvidia-nat-atif is not installed")
    documents = documents_of(name)
    assert documents
    for document in documents:
        model = oracle.Trajectory.model_validate(document)
        assert len(model.steps) == document["final_metrics"]["total_steps"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_our_reader_accepts_the_documents(name):
    for document in documents_of(name):
        assert read_atif(document).agent.name == document["agent"]["name"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_trajectory_is_empty_and_every_reference_leads_somewhere(name):
    for trajectory in every_trajectory(documents_of(name)):
        assert trajectory["steps"]
        children = {child["trajectory_id"] for child in trajectory.get("subagent_trajectories", ())}
        results = [row for step in trajectory["steps"] for row in step.get("observation", {}).get("results", ())]
        refs = [ref["trajectory_id"] for row in results for ref in row.get("subagent_trajectory_ref", ())]
        assert sorted(refs) == sorted(children)


@pytest.mark.parametrize("name", SCENARIOS)
def test_steps_are_in_order_of_time(name):
    for trajectory in every_trajectory(documents_of(name)):
        times = [step["timestamp"] for step in trajectory["steps"]]
        assert times == sorted(times)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_tool_execution_is_one_call_with_one_result(name):
    ran = [e.uuid for e in play(name) if e.kind == "scope" and e.scope_category == "end" and e.category == "tool"]
    shown = []
    for trajectory in every_trajectory(documents_of(name)):
        for step in trajectory["steps"]:
            ids = [row.get("source_call_id") for row in step.get("observation", {}).get("results", ())]
            for call in step.get("tool_calls", ()):
                uuid = call.get("extra", {}).get("invocation", {}).get("invocation_id")
                if uuid is not None:
                    shown.append(uuid)
                    assert ids.count(call["tool_call_id"]) == 1
    assert sorted(shown) == sorted(ran)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_formats_own_validator_accepts_the_documents(name):
    oracle = pytest.importorskip("harbor.utils.trajectory_validator", reason="harbor needs Python 3.12")
    for document in documents_of(name):
        validator = oracle.TrajectoryValidator()
        assert validator.validate(document, validate_images=False), validator.errors


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_formats_own_validator_accepts_the_files_and_finds_their_pictures(name, tmp_path):
    oracle = pytest.importorskip("harbor.utils.trajectory_validator", reason="harbor needs Python 3.12")
    play(name, AtifExporter(AtifSettings(directory=str(tmp_path))))
    paths = list(tmp_path.glob("*.json"))
    assert len(paths) == len(documents_of(name))
    for path in paths:
        validator = oracle.TrajectoryValidator()
        assert validator.validate(path, validate_images=True), validator.errors
