from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from relay_core.cli import COMMANDS, cli

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "command-line.md"

BAD_PLUGIN = """
raise RuntimeError("broken at import")
"""
GOOD_PLUGIN = """
import click
from relay_core import hookimpl

@hookimpl
def relay_guard_tool(call):
    return None

@hookimpl
def relay_cli():
    return [click.Command("hello", callback=lambda: click.echo("hello from a plugin"))]

@hookimpl
def relay_doctor(relay):
    return [{"check": "disk", "ok": False, "detail": "full\\x1b[2J"}]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with one entry point on the path."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def make(name, text, group="relay.plugins"):
        module = f"relay_test_{name}_{abs(hash(str(tmp_path))):x}"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(text)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        importlib.invalidate_caches()

    return make


def run_json(relay, *args, code=0):
    return json.loads(relay(*args, "--json", code=code).stdout)


# -- help and errors -------------------------------------------------------------------------------------------------


def test_help_of_the_group_agrees_with_the_commands():
    for name, text in COMMANDS.items():
        command = importlib.import_module(f"relay_core.cli.{name}").command
        assert command.name == name
        assert command.help.splitlines()[0] == text


def test_help_is_quick():
    code = "import sys\nfrom relay_core.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(re.findall(r"'([^']+)'", done.stdout.splitlines()[-1]))
    for heavy in ("rich", "pluggy", "asyncio", "http", "importlib.metadata", "msgspec", "relay_core.cli.view"):
        assert heavy not in modules


def test_each_command_has_json():
    for name in COMMANDS:
        command = importlib.import_module(f"relay_core.cli.{name}").command
        assert any("--json" in option.opts for option in command.params), name


def test_version_and_module(relay, relay_process):
    assert relay("--version").output == "relay 0.1.0\n"
    assert relay_process("--version").stdout == b"relay 0.1.0\n"


def test_wrong_usage(relay):
    assert "No such command 'vew'" in relay("vew", code=2).stderr
    assert "No such option" in relay("view", "--nope", "x", code=2).stderr


def help_texts():
    import click

    group = click.Context(cli, info_name="relay", terminal_width=100, **cli.context_settings)
    yield "relay", cli.get_help(group)
    for name in COMMANDS:
        command = cli.get_command(group, name)
        yield f"relay {name}", command.get_help(click.Context(command, info_name=name, parent=group))


def test_the_page_shows_every_help_text():
    page = PAGE.read_text()
    for title, text in help_texts():
        assert f"## {title}\n" in page, title
        assert f"```text\n{text}\n```" in page, f"write the help of {title} into {PAGE.name}:\n{text}"


# -- plugins ---------------------------------------------------------------------------------------------------------


def test_plugins_that_are_not_configured_are_named_and_not_imported(relay, install):
    install("bad", BAD_PLUGIN)
    rows = {row["name"]: row for row in run_json(relay, "plugins")["plugins"]}
    assert rows["bad"]["state"] == "installed"
    assert "[plugins.bad]" in rows["bad"]["why_off"]
    assert rows["bad"]["version"] == "1.0"


def test_plugins_that_are_configured_are_checked(relay, install, monkeypatch):
    install("bad", BAD_PLUGIN)
    install("good", GOOD_PLUGIN)
    monkeypatch.setenv("RELAY_PLUGINS", "good,bad,missing")
    found = run_json(relay, "plugins")
    rows = {row["name"]: row for row in found["plugins"]}
    assert rows["good"]["state"] == "enabled"
    assert "relay_guard_tool" in rows["good"]["hooks"]
    assert rows["good"]["why_off"] is None
    assert "broken at import" in rows["bad"]["error"]
    assert "not installed" in rows["missing"]["error"]
    assert found["commands"] == ["hello"]
    text = relay("plugins").output
    assert "bad: importing it failed: RuntimeError: broken at import" in text
    assert "command: relay hello" in text


def test_plugins_add_commands(relay, install, monkeypatch):
    install("good", GOOD_PLUGIN)
    relay("hello", code=2)
    monkeypatch.setenv("RELAY_PLUGINS", "good")
    assert relay("hello").output == "hello from a plugin\n"


# -- adapters --------------------------------------------------------------------------------------------------------

ADAPTER = """
class Toy:
    name = "toy"
    requires = ("colorsys",)
    control = "everything"
    def install(self, relay, **options):
        {install}
    def uninstall(self, relay):
        pass
    def version(self):
        return "9.9"
"""


def adapter_module(body="pass"):
    return (
        ADAPTER.format(install=body) + "\nimport sys\nsys.modules[__name__].__class__ = type('M', (type(sys),), {})\n"
    )


@pytest.fixture
def install_adapter(install, tmp_path):
    def make(name, text, attribute="Toy"):
        install(name, text, group="relay.adapters")
        (info,) = (tmp_path / "site").glob(f"relay_test_{name}_*.dist-info")
        points = info / "entry_points.txt"
        points.write_text(points.read_text().strip() + f":{attribute}\n")

    return make


def test_adapters(relay, install_adapter, monkeypatch):
    install_adapter("toy", adapter_module())
    install_adapter("lost", adapter_module().replace("colorsys", "no_such_framework"))
    install_adapter("broken", BAD_PLUGIN)
    rows = {row["name"]: row for row in run_json(relay, "adapters")["adapters"]}
    assert (rows["toy"]["state"], rows["toy"]["why_off"]) in (("waiting", None), ("active", None))
    assert "no module no_such_framework" in rows["lost"]["why_off"]
    assert "broken at import" in rows["broken"]["why_off"]
    monkeypatch.setenv("RELAY_BLOCK", "toy")
    rows = {row["name"]: row for row in run_json(relay, "adapters")["adapters"]}
    assert "RELAY_BLOCK" in rows["toy"]["why_off"]
    assert "toy: turned off" in relay("adapters").output


@pytest.mark.parametrize("command", ["adapters", "doctor"])
def test_looking_at_adapters_leaves_none_on(relay, install_adapter, monkeypatch, command):
    importlib.import_module("colorsys")  # so that the adapter goes in at once
    trace = []
    monkeypatch.setattr(sys, "relay_trace", trace, raising=False)
    text = adapter_module("sys.relay_trace.append('on')")
    install_adapter("toy", text.replace("        pass\n", "        sys.relay_trace.append('off')\n"))
    relay(command)
    assert trace
    assert trace == ["on", "off"] * (len(trace) // 2)


# -- config ----------------------------------------------------------------------------------------------------------


def test_config_tells_where_values_come_from(relay, monkeypatch, tmp_path):
    (tmp_path / "mine.toml").write_text("# mine\n[queue]\nmax_events = 5\n[plugins.x]\napi_key = 'hunter2'\n")
    monkeypatch.setenv("RELAY_QUEUE_POLICY", "drop_oldest")
    rows = {row["key"]: row for row in run_json(relay, "config", "--config", "mine.toml")["settings"]}
    assert rows["queue.max_events"] == {"key": "queue.max_events", "value": 5, "layer": "file", "origin": "mine.toml:3"}
    assert rows["queue.policy"]["origin"] == "RELAY_QUEUE_POLICY"
    assert rows["queue.max_bytes"]["layer"] == "default"
    text = relay("config", "show", "--changed", "--config", "mine.toml").output
    assert "hunter2" not in text
    assert "mine.toml:3" in text
    assert "queue.max_bytes" not in text


def test_config_explains_one_key(relay, monkeypatch):
    monkeypatch.setenv("RELAY_QUEUE_POLICY", "drop_oldest")
    text = relay("config", "explain", "queue.policy").output
    assert text.splitlines() == [
        'queue.policy = "drop_oldest"',
        "  from the environment layer: RELAY_QUEUE_POLICY",
        '  default: "block"',
        "  variable: RELAY_QUEUE_POLICY",
    ]
    assert relay("config", "explain", "queue").output.count("variable: ") == 4
    assert "did you mean queue.policy" in relay("config", "explain", "queue.polcy", code=2).stderr
    relay("config", "explain", code=2)


def test_config_explains_the_option_of_a_plugin(relay, tmp_path):
    (tmp_path / "my.toml").write_text("[plugins.demo.atof]\ndirectory = 'runs'\n[adapters.toy]\nmode = 1\n")
    for key, variable in (
        ("plugins.demo.atof.directory", "RELAY_PLUGINS__DEMO__ATOF__DIRECTORY"),
        ("adapters.toy.mode", "RELAY_ADAPTERS__TOY__MODE"),
        ("adapters.enable", "RELAY_ADAPTERS"),
    ):
        text = relay("config", "explain", key, "--config", "my.toml").output
        assert text.splitlines()[-1] == f"  variable: {variable}"


def test_a_wrong_configuration_lists_all_problems(relay, tmp_path):
    (tmp_path / "bad.toml").write_text("[queue]\nmax_event = 5\npolicy = 'x'\n")
    for command in ("config", "plugins", "adapters"):
        error = relay(command, "--config", "bad.toml", code=2).stderr
        assert "bad.toml:2: queue.max_event: unknown key" in error
        assert "bad.toml:3: queue.policy" in error
        assert "Traceback" not in error


# -- doctor ----------------------------------------------------------------------------------------------------------


def rows_of(found):
    return {(row["section"], row["check"]): row for row in found["rows"]}


def test_doctor_of_a_sound_installation(relay, install_adapter, monkeypatch):
    install_adapter("toy", adapter_module())
    monkeypatch.setenv("RELAY_ADAPTERS", "toy")
    found = run_json(relay, "doctor")
    rows = rows_of(found)
    assert found["ok"] is True
    assert rows["versions", "relay-core"]["detail"] == "0.1.0"
    assert "framework 9.9" in rows["adapters", "toy"]["detail"]
    assert "policy: everything" in rows["adapters", "toy"]["detail"]
    assert relay("doctor").output.endswith("\n0 problems\n")


def test_doctor_finds_what_is_wrong(relay, install, install_adapter, monkeypatch):
    install("good", GOOD_PLUGIN)
    install("bad", BAD_PLUGIN)
    install_adapter("toy", adapter_module("raise RuntimeError('hook point is gone')"))
    monkeypatch.setenv("RELAY_ADAPTERS", "toy")
    monkeypatch.setenv("RELAY_PLUGINS", "good,bad")
    monkeypatch.setenv("RELAY_TYPO", "1")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    found = run_json(relay, "doctor", code=1)
    rows = rows_of(found)
    assert found["ok"] is False
    assert rows["sinks", "good disk"]["state"] == "problem"
    assert "broken at import" in rows["plugins", "bad"]["detail"]
    assert "hook point is gone" in rows["adapters", "toy"]["detail"]
    assert "RELAY_TYPO" in rows["configuration", "warning"]["detail"]
    assert rows["double instrumentation", "LANGSMITH_TRACING"]["state"] == "note"
    text = relay("doctor", code=1).output
    assert "PROBLEM good disk: full\\x1b[2J" in text
    assert "\x1b" not in text


def test_doctor_of_a_wrong_configuration(relay, tmp_path):
    (tmp_path / "bad.toml").write_text("[queue]\nmax_event = 5\n")
    rows = rows_of(run_json(relay, "doctor", "--config", "bad.toml", code=1))
    assert "max_event" in rows["configuration", "load"]["detail"]


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_doctor_checks_event_files_and_never_empties_them(relay, tmp_path, mode, monkeypatch):
    pytest.importorskip("relay_plugin_observability")
    monkeypatch.setenv("RELAY_ADAPTERS", "none")
    (tmp_path / "e.jsonl").write_text("kept\n")
    (tmp_path / "e.jsonl").chmod(0o600)
    (tmp_path / "c.toml").write_text(
        f"[plugins.observability.atof]\ndirectory = '{tmp_path}'\nfilename = 'e.jsonl'\nmode = '{mode}'\n"
    )
    rows = rows_of(run_json(relay, "doctor", "--config", "c.toml"))
    assert "writable" in rows["sinks", "observability atof file"]["detail"]
    assert (tmp_path / "e.jsonl").read_text() == "kept\n"


def test_doctor_of_a_file(relay, trip):
    assert run_json(relay, "doctor", trip.path)["ok"] is True
    trip.add(
        trip.start("x", "lonely", parent="nowhere"), trip.end("b", "chat"), b"junk\n",
        trip.mark("relay.events_dropped", data={"dropped": {"ENOSPC": 2}}),
    )  # fmt: skip
    rows = rows_of(run_json(relay, "doctor", trip.path, code=1))
    bad = {check for (_, check), row in rows.items() if row["state"] == "problem"}
    assert bad == {"lines", "ends", "one end", "parents", "drops"}
    assert "'lonely'" in rows["file", "ends"]["detail"]
    relay("doctor", "missing.jsonl", code=2)


# -- demo ------------------------------------------------------------------------------------------------------------


def test_the_demo_shows_what_it_promises(relay_process, tmp_path):
    for module in ("langchain_openai", "relay_adapter_langchain", "relay_plugin_observability"):
        pytest.importorskip(module)
    from relay_core.trajectory import load

    done = relay_process("demo", "--out", "first")
    text = done.stdout.decode()
    assert done.returncode == 0, text + done.stderr.decode()
    assert done.stderr == b""
    assert "\x1b" not in text
    for words in ("blocked:", "rewritten:", "scrubbed:", "relay view first", "OPENAI_API_KEY", "trip_agent.py"):
        assert words in text
    found = load(tmp_path / "first" / "events.jsonl")
    assert found.notes == []
    assert {"llm", "tool", "guardrail"} <= {node.category for node in found.walk()}
    assert found.tokens.total > 0
    again = json.loads(relay_process("demo", "--out", "first", "--json").stdout)
    assert again["complete"] is True
    assert again["leaked"] is False
    assert again["blocked"][0]["name"] in text
    assert (tmp_path / "first" / "events.jsonl.previous").exists()


def test_the_demo_says_what_to_install(tmp_path, environ):
    code = (
        "import sys\n"
        "for name in ('langchain_openai', 'relay_adapter_langchain'): sys.modules[name] = None\n"
        "from relay_core.cli import main\nmain(['demo'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environ, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr == (
        "relay: relay demo needs more packages: pip install langchain-openai 'relay-adapter-langchain[agents]'\n"
    )


def test_the_wheel_carries_the_example():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"docs/examples/trip_agent.py": "relay_core/cli/_trip_agent.py"}
