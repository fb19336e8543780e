from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import time
import weakref

import pytest
from click.testing import CliRunner

import relay_core
from relay_core.cli import cli
from relay_core.errors import ConfigError
from relay_core.plugins import host_of
from relay_plugin_observability import plugin
from relay_plugin_observability.settings import AtofSettings, ObservabilitySettings
from tests.plugins.observability.runtimes import configured
from tests.waiting import wait_until_gone


def test_the_entry_point_names_the_plugin():
    (found,) = importlib.metadata.entry_points(group="relay.plugins", name="observability")
    assert found.load() is plugin
    assert plugin.relay_config_schema() is ObservabilitySettings


def test_a_table_turns_the_exporter_on(tmp_path):
    runtime = relay_core.Relay()
    settings = ObservabilitySettings(atof=AtofSettings(directory=str(tmp_path), filename="e.jsonl", durability="line"))
    plugin.relay_configure(runtime, settings)
    with runtime.scope("trip", "agent"):
        pass
    assert runtime.flush(timeout=10).pending == 0
    (row,) = plugin.relay_doctor(runtime)
    assert row["ok"] is True
    assert "state ok" in row["detail"] and "written 2" in row["detail"] and "dropped none" in row["detail"]
    plugin.relay_shutdown(runtime)
    assert plugin.relay_doctor(runtime) == []
    runtime.shutdown(timeout=10)
    lines = (tmp_path / "e.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["scope_category"] for line in lines] == ["start", "end"]


def test_no_table_or_a_disabled_one_turns_nothing_on(tmp_path):
    for settings in (
        ObservabilitySettings(),
        ObservabilitySettings(atof=AtofSettings(enabled=False, directory=str(tmp_path), mode="overwrite")),
    ):
        runtime = relay_core.Relay()
        plugin.relay_configure(runtime, settings)
        runtime.mark("ready")
        assert runtime.stats()["subscribers"] == {}
        assert plugin.relay_doctor(runtime) == []
        plugin.relay_shutdown(runtime)
    assert list(tmp_path.iterdir()) == []


def test_doctor_shows_what_keeps_the_file_from_being_written(tmp_path, caplog):
    (tmp_path / "a").write_bytes(b"in the way")
    runtime = relay_core.Relay()
    plugin.relay_configure(runtime, ObservabilitySettings(atof=AtofSettings(directory=str(tmp_path / "a"))))
    (row,) = plugin.relay_doctor(runtime)
    assert row["ok"] is False
    assert "not a directory" in row["detail"] and "state idle" in row["detail"]
    runtime.mark("lost")
    runtime.flush(timeout=10)
    (row,) = plugin.relay_doctor(runtime)
    assert row["ok"] is False
    assert "state degraded" in row["detail"] and "dropped 1 " in row["detail"]
    runtime.shutdown(timeout=10)


def test_runtimes_do_not_share_exporters_and_are_not_kept_alive(tmp_path):
    first, second = relay_core.Relay(), relay_core.Relay()
    for runtime, name in ((first, "1.jsonl"), (second, "2.jsonl")):
        settings = ObservabilitySettings(atof=AtofSettings(directory=str(tmp_path), filename=name))
        plugin.relay_configure(runtime, settings)
    first.mark("one")
    first.shutdown(timeout=10)
    plugin.relay_shutdown(first)
    second.mark("two")
    second.shutdown(timeout=10)
    names = [json.loads((tmp_path / name).read_bytes())["name"] for name in ("1.jsonl", "2.jsonl")]
    assert names == ["one", "two"]
    gone = weakref.ref(second)
    del first, second, runtime
    wait_until_gone(gone)


def test_a_configuration_file_turns_the_exporter_on(tmp_path):
    runtime = configured(
        tmp_path,
        f"""
        [plugins.observability.atof]
        directory = {json.dumps(str(tmp_path / "runs"))}
        filename = "e.jsonl"
        durability = "fsync"
        """,
    )
    (record,) = host_of(runtime).records()
    assert (record.name, record.state, record.distribution) == ("observability", "active", "relay-plugin-observability")
    with runtime.scope("trip", "agent"):
        pass
    runtime.flush(timeout=10)
    (row,) = host_of(runtime).doctor()
    assert (row["plugin"], row["ok"]) == ("observability", True)
    report = runtime.shutdown(timeout=10)
    assert report.pending == 0
    assert (tmp_path / "runs" / "e.jsonl").read_bytes().count(b"\n") == 2
    assert record.error is None


def test_every_mistake_in_the_file_is_told_with_its_line(tmp_path):
    with pytest.raises(ConfigError) as caught:
        configured(
            tmp_path,
            """
            [plugins.observability.atof]
            filename = "../escape.jsonl"
            """,
        )
    (problem,) = caught.value.problems
    assert "relay.toml:3" in problem and "plugins.observability.atof.filename" in problem and "'/'" in problem
    with pytest.raises(ConfigError) as caught:
        configured(
            tmp_path,
            """
            [plugins.observability.atof]
            durability = "fast"
            mod = "append"
            """,
        )
    text = str(caught.value)
    assert "relay.toml:3" in text and "fsync" in text
    assert "relay.toml:4" in text and "did you mean mode?" in text


def test_turning_the_plugin_off_closes_its_file_and_loses_nothing(tmp_path):
    runtime = configured(
        tmp_path,
        f"""
        [plugins.observability.atof]
        directory = {json.dumps(str(tmp_path))}
        filename = "e.jsonl"
        """,
    )
    for number in range(1000):
        runtime.mark(str(number))
    assert host_of(runtime).deactivate("observability") is True
    runtime.mark("unseen")
    runtime.shutdown(timeout=10)
    assert (tmp_path / "e.jsonl").read_bytes().count(b"\n") == 1000


def test_all_exporters_at_once_from_one_file(tmp_path):
    pytest.importorskip("opentelemetry.proto", reason="needs the extra otel")
    folder = json.dumps(str(tmp_path / "runs"))
    runtime = configured(
        tmp_path,
        f"""
        [plugins.observability.atof]
        directory = {folder}
        [plugins.observability.atof.rotation]
        max_age = 3600
        [plugins.observability.streams.gone]
        url = "http://127.0.0.1:9/"
        [plugins.observability.atif]
        directory = {folder}
        [plugins.observability.otel]
        protocol = "file"
        directory = {folder}
        [plugins.observability.otel_destinations.second]
        protocol = "file"
        directory = {folder}
        filename = "second-{{signal}}.jsonl"
        projection = "full"
        """,
    )
    names = {"atof", "stream:gone", "atif", "otel", "otel:second"}
    assert set(runtime.stats()["subscribers"]) == names
    with runtime.scope("trip", "agent"):
        runtime.call_tool("search", {"q": "fjords"}, lambda request: "three")
    runtime.flush(timeout=5)
    rows = {row["check"]: row for row in host_of(runtime).doctor()}
    assert [rows[check]["ok"] for check in ("atof file", "atif documents", "stream gone")] == [True, True, False]
    assert rows["otel traces"]["ok"] and rows["otel:second traces"]["ok"]
    began = time.monotonic()
    runtime.shutdown(timeout=20)
    assert time.monotonic() - began < 22
    kinds = sorted(path.name.partition("-")[0] for path in (tmp_path / "runs").iterdir())
    assert kinds == ["events", "otlp", "second", "trajectory"]


def test_the_packages_of_exporters_that_are_off_are_not_imported():
    code = """if True:
        import sys
        import relay_core
        from relay_plugin_observability import plugin
        from relay_plugin_observability.settings import ObservabilitySettings
        plugin.relay_configure(relay_core.Relay(), ObservabilitySettings())
        heavy = {"opentelemetry", "google", "grpc", "websockets", "boto3", "http", "ssl"}
        print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=40)
    assert done.stdout == "[]\n"


def test_doctor_reads_options_from_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("RELAY_PLUGINS__OBSERVABILITY__ATOF__DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RELAY_PLUGINS__OBSERVABILITY__ATOF__ROTATION__MAX_BYTES", "2000")
    monkeypatch.setenv("RELAY_ADAPTERS", "none")
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == 0, done.output
    assert f"{tmp_path}" in done.output
    monkeypatch.setenv("RELAY_PLUGINS__OBSERVABILITY__ATOF__MOD", "append")
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == 1
    assert (
        "RELAY_PLUGINS__OBSERVABILITY__ATOF__MOD: plugins.observability.atof.mod: unknown key; did you mean"
        in done.output
    )


def test_doctor_says_that_a_variable_turns_telemetry_off(monkeypatch, tmp_path):
    monkeypatch.setenv("RELAY_PLUGINS__OBSERVABILITY__OTEL__PROTOCOL", "file")
    monkeypatch.setenv("RELAY_PLUGINS__OBSERVABILITY__OTEL__DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RELAY_ADAPTERS", "none")
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == 0 and "otel traces" in done.output
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == 1
    assert "off, because OTEL_SDK_DISABLED is set" in done.output
    monkeypatch.setenv("RELAY_PLUGINS__OBSERVABILITY__OTEL__SDK_DISABLED", "false")
    assert CliRunner().invoke(cli, ["doctor"]).exit_code == 0
