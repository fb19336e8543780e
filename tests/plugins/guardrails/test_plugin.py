"""The plugin as Relay finds it: the contract, relay.toml, doctor, telemetry of the library, and three lines of code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

import relay_core
from relay_core.errors import UsageError
from relay_core.testing import PluginContract
from relay_plugin_guardrails import Guardrails, GuardrailsSettings, RailBlocked, plugin
from tests.plugins.guardrails.rails import REGEX, SECRET


class TestContract(PluginContract):
    name = "guardrails"

    def config(self, directory):
        return {"yaml": REGEX, "llm_input": {}, "llm_output": {}, "tool_args": {}, "tool_result": {}, "retrieval": {}}


def test_relay_toml_alone_is_enough(tmp_path, monkeypatch):
    (tmp_path / "rails").mkdir()
    (tmp_path / "rails" / "config.yml").write_text(REGEX)
    (tmp_path / "relay.toml").write_text(
        '[plugins.guardrails]\nconfig = "rails"\n\n[plugins.guardrails.tool_args]\ntimeout = 5.0\non_error = "allow"\n'
    )
    monkeypatch.chdir(tmp_path)
    runtime = relay_core.Relay()
    runtime.configure(str(tmp_path / "relay.toml"))
    try:
        with pytest.raises(RailBlocked):
            runtime.call_tool("note", {"a": SECRET}, print)
        (row,) = [row for row in runtime.plugins.doctor() if row["check"].startswith("surface")]
        assert row["ok"] is True
        assert "engine iorails: all rails are in the library's catalog" in row["detail"]
        assert "on_error allow" in row["detail"]
        assert "checks so far 1" in row["detail"]
    finally:
        runtime.shutdown(timeout=5.0)


def test_doctor_tells_of_a_server_that_is_gone():
    runtime = relay_core.Relay()
    settings = msgspec.convert(
        {"remote": {"url": "http://127.0.0.1:9"}, "tool_args": {"engine": "remote"}}, GuardrailsSettings
    )
    plugin.relay_configure(runtime, settings)
    (row,) = plugin.relay_doctor(runtime)
    plugin.relay_shutdown(runtime)
    assert row["ok"] is False
    assert "does not answer" in row["detail"]
    assert plugin.relay_doctor(runtime) == []
    runtime.shutdown(timeout=5.0)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "there is nothing to check"),
        ({"llm_input": {}}, "llm_input: there are no rails"),
        ({"config": "a", "yaml": "b", "tool_args": {}}, "give config or yaml, not both"),
        ({"config": "a", "tool_args": {"engine": "remote"}}, "there are no rails: give config, yaml or remote"),
        ({"config": "a", "tool_args": {"timeout": 0}}, "timeout"),
        ({"config": "a", "tool_arg": {}}, "tool_arg"),
        ({"config": "a", "remote": {"url": "ftp://x"}}, "url"),
    ],
)
def test_wrong_settings_are_refused(fields, text):
    with pytest.raises(UsageError, match=text):
        Guardrails(**fields)


def test_installed_twice_or_not_at_all():
    rails = Guardrails(yaml=REGEX, tool_args={})
    with pytest.raises(UsageError, match="not installed"):
        rails.check("tool_args", "hi")
    with rails.install(relay_core.Relay()), pytest.raises(UsageError, match="are installed"):
        rails.install()
    rails.uninstall()
    with pytest.raises(UsageError, match="settings or fields"):
        Guardrails(GuardrailsSettings(yaml=REGEX), yaml=REGEX)
    with rails.install(relay_core.Relay()), pytest.raises(UsageError, match="'llm_input' is off; on are tool_args"):
        rails.check("llm_input", "hi")


def run(code, **environment):
    kept = {
        k: v
        for k, v in os.environ.items()
        if k not in ("CI", "DO_NOT_TRACK", "NEMO_GUARDRAILS_NO_USAGE_STATS", "PYTEST_CURRENT_TEST")
    }
    return subprocess.run(  # our own code
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        env={**kept, "PYTHONPATH": os.pathsep.join(p for p in ("", *sys.path) if p), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout


def test_three_lines_of_code():
    out = run(f"""
        import relay_core as relay
        from relay_plugin_guardrails import Guardrails

        Guardrails(yaml={REGEX!r}, tool_args={{}}).install()
        try:
            relay.call_tool("note", {{"a": {SECRET!r}}}, print)
        except relay.Blocked as blocked:
            print(blocked.rail)
    """)
    assert out == "regex check input\n"


class Collector(BaseHTTPRequestHandler):
    """Where the library would report its usage."""

    def do_POST(self):
        self.server.seen.append(self.rfile.read(int(self.headers["content-length"] or 0)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.mark.timeout(120)
@pytest.mark.parametrize("wanted", [False, True])
def test_the_library_reports_its_usage_only_where_it_may(wanted, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        run(
            f"""
            import time
            from relay_plugin_guardrails import Guardrails

            Guardrails(yaml={REGEX!r}, tool_args={{}}, usage_telemetry={wanted}).install()
            time.sleep(2)
            """,
            NEMO_GUARDRAILS_USAGE_STATS_SERVER=url,
            HOME=str(tmp_path),
        )
        server.shutdown()
        thread.join()
    assert bool(server.seen) is wanted


def test_importing_the_plugin_does_not_import_the_library():
    out = run("import json, sys, relay_plugin_guardrails.plugin; print(json.dumps(sorted(sys.modules)))")
    assert not {"nemoguardrails", "httpx", "asyncio"} & set(json.loads(out))
