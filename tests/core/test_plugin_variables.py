"""Options of plugins from environment variables: typed by the plugin's schema, with an origin, and never shown in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core import Relay, hookimpl
from relay_core.cli import cli
from relay_core.config import Config, load
from relay_core.errors import ConfigError
from relay_core.plugins import PluginHost
from relay_core.settings import Origin, PluginEntry, Text, read_texts

PREFIX = "RELAY_PLUGINS__DEMO__"


class Sink(msgspec.Struct, tag_field="type", tag="web"):
    url: str
    retries: int = 3


class Paper(msgspec.Struct, tag_field="type", tag="paper"):
    tray: int


class Source(msgspec.Struct, frozen=True):
    env: str


class Inner(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=10)] = 10
    names: list[str] = []


class Demo(msgspec.Struct):
    text: str = ""
    number: int = 0
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    switch: bool | None = None
    mode: Literal["fast", "safe", 3] = "safe"
    sizes: tuple[int, ...] = ()
    inner: Inner | None = None
    headers: dict[str, str | Source] = {}
    sinks: list[Sink | Paper] = []
    anything: Any = None


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))


def read(*, file: str = "", overrides: dict[str, Any] | None = None, **variables: str) -> Config:
    Path("my.toml").write_text(file)
    env = {name if name.startswith("RELAY_") else PREFIX + name: text for name, text in variables.items()}
    return load("my.toml", env=env, overrides=overrides, plugin_schemas={"demo": Demo})


def demo(**variables: str) -> Any:
    return read(**variables).plugin_configs["demo"]


def problems(**variables: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(**variables)
    return caught.value.problems


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("TEXT", "5", Demo(text="5")),
        ("TEXT", "  {timestamp}.jsonl ", Demo(text="{timestamp}.jsonl")),
        ("TEXT", '{"a": 1}', Demo(text='{"a": 1}')),
        ("NUMBER", "5", Demo(number=5)),
        ("RATIO", "0.5", Demo(ratio=0.5)),
        ("RATIO", "1", Demo(ratio=1.0)),
        ("SWITCH", "Yes", Demo(switch=True)),
        ("SWITCH", "0", Demo(switch=False)),
        ("MODE", "fast", Demo(mode="fast")),
        ("MODE", "3", Demo(mode=3)),
        ("SIZES", "1, 2,3", Demo(sizes=(1, 2, 3))),
        ("SIZES", "[1, 2]", Demo(sizes=(1, 2))),
        ("SIZES", "none", Demo(sizes=())),
        ("INNER__SIZE", "11", Demo(inner=Inner(11))),
        ("INNER__NAMES", "a,b", Demo(inner=Inner(names=["a", "b"]))),
        ("INNER", "{size = 11, names = ['a']}", Demo(inner=Inner(11, ["a"]))),
        ("INNER", '{"size": 11}', Demo(inner=Inner(11))),
        ("HEADERS__TENANT", "acme", Demo(headers={"tenant": "acme"})),
        ("HEADERS__TENANT__ENV", "NAME", Demo(headers={"tenant": Source("NAME")})),
        ("HEADERS", '{"X-Tenant": "acme"}', Demo(headers={"X-Tenant": "acme"})),
        ("SINKS", "[{type = 'web', url = 'u'}]", Demo(sinks=[Sink("u")])),
        ("ANYTHING", "5", Demo(anything="5")),
    ],
)
def test_a_variable_is_read_as_the_type_that_the_plugin_declares(name, text, wanted):
    assert demo(**{name: text}) == wanted


def test_it_is_stronger_than_the_file_and_weaker_than_code():
    file = "[plugins.demo]\ntext = 'file'\nnumber = 1\n[plugins.demo.inner]\nsize = 50\nnames = ['kept']\n"
    config = read(
        file=file, TEXT="variable", NUMBER="2", INNER__SIZE="60", overrides={"plugins": {"demo": {"number": 3}}}
    )
    assert config.plugin_configs["demo"] == Demo(text="variable", number=3, inner=Inner(60, ["kept"]))
    assert config.origins["plugins.demo.text"] == Origin("environment", f"{PREFIX}TEXT")
    assert config.origins["plugins.demo.inner.size"] == Origin("environment", f"{PREFIX}INNER__SIZE")
    assert config.origins["plugins.demo.inner.names"] == Origin("file", "my.toml:6")
    assert config.origins["plugins.demo.number"].layer == "code"
    assert config.warnings == ()


def test_names_are_found_as_the_file_spells_them():
    file = "[plugins.demo.headers]\nX-Api-Key = 'old'\n[plugins.my-plugin]\nSize = 1\n"
    config = read(file=file, HEADERS__X_API_KEY="new", RELAY_PLUGINS__MY_PLUGIN__SIZE="2")
    assert config.plugin_configs["demo"] == Demo(headers={"X-Api-Key": "new"})
    assert config.settings.plugins[1] == PluginEntry("my-plugin", True, {"Size": "2"})


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({"TEXT": "x"}, True),
        ({"ENABLED": "false"}, False),
        ({"TEXT": "x", "RELAY_PLUGINS": "other"}, False),
        ({"TEXT": "x", "RELAY_PLUGINS": "none"}, False),
        ({"TEXT": "x", "RELAY_PLUGINS": "other,demo"}, True),
        ({"ENABLED": "1", "RELAY_PLUGINS": "other"}, True),
        ({"TEXT": "x", "file": "[plugins.demo]\nenabled = false\n"}, False),
        ({"ENABLED": "on", "file": "[plugins.demo]\nenabled = false\n"}, True),
        ({"TEXT": "  ", "file": "[plugins.demo]\nenabled = false\n"}, False),
    ],
)
def test_a_variable_switches_its_plugin_on_unless_something_says_no(variables, on):
    assert {entry.name: entry.enabled for entry in read(**variables).settings.plugins}["demo"] is on


def test_a_wrong_value_or_an_unknown_option_names_the_variable():
    assert problems(
        NUMBR="1", NUMBER="many", RATIO="2", SWITCH="maybe", MODE="fats", SIZES="1,x", INNER__SIZE="1", INNER__X="1",
        ENABLED="perhaps", SINKS="[{type = 'web'}]", RELAY_PLUGINS__DEMO="x", RELAY_PLUGINS__DEMO____A="x",
    ) == (
        "RELAY_PLUGINS__DEMO: names no option of a plugin; write RELAY_PLUGINS__NAME__OPTION",
        "RELAY_PLUGINS__DEMO____A: names no option of a plugin; write RELAY_PLUGINS__NAME__OPTION",
        f'{PREFIX}ENABLED: plugins.demo.enabled: expected true or false, got "perhaps"',
        f"{PREFIX}INNER__SIZE: plugins.demo.inner.size: expected an integer (at least 10), got 1",
        f"{PREFIX}INNER__X: plugins.demo.inner.x: unknown key",
        f'{PREFIX}MODE: plugins.demo.mode: expected one of 3, "fast", "safe", got "fats"',
        f'{PREFIX}NUMBER: plugins.demo.number: expected an integer, got "many"',
        f"{PREFIX}NUMBR: plugins.demo.numbr: unknown key; did you mean number?",
        f"{PREFIX}RATIO: plugins.demo.ratio: expected a number (at least 0, at most 1), got 2.0",
        f"{PREFIX}SINKS: plugins.demo.sinks[0].url: missing; expected a string",
        f'{PREFIX}SIZES: plugins.demo.sizes[1]: expected an integer, got "x"',
        f'{PREFIX}SWITCH: plugins.demo.switch: expected true or false, got "maybe"',
    )  # fmt: skip


def test_two_variables_for_one_option_are_a_problem():
    assert problems(INNER="{size = 20}", INNER__SIZE="30") == (
        f"{PREFIX}INNER__SIZE: plugins.demo.inner.size: {PREFIX}INNER sets it already; keep one of the two",
    )
    assert problems(RELAY_PLUGINS__demo__text="a", TEXT="b")[0].endswith("sets it already; keep one of the two")


@pytest.mark.parametrize(
    "variables",
    [
        {"HEADERS__AUTHORIZATION": "hunter2"},
        {"HEADERS": '{"a": "hunter2"}'},
        {"HEADERS": '{"a": "hunter2"'},
        {"ANYTHING": '{"headers": {"a": "hunter2"}}'},
        {"ANYTHING": '{"headers": {"a": "hunter2"}'},
        {"INNER": '{"password": "hunter2"'},
        {"TEXT": "https://me:hunter2@host/"},
    ],
    ids=str,
)
def test_secrets_are_shown_nowhere(variables):
    env = {PREFIX + name: text for name, text in variables.items()}
    config = load("/dev/null", env=env)
    shown = json.dumps(config.describe())
    assert next(iter(env)) in shown
    assert "hunter2" not in shown
    try:
        read(**variables)
    except ConfigError as error:
        assert "hunter2" not in str(error)


def test_the_command_shows_the_value_and_the_variable(monkeypatch):
    monkeypatch.setenv(f"{PREFIX}NUMBER", "5")
    monkeypatch.setenv(f"{PREFIX}HEADERS__TOKEN", "hunter2")
    shown = CliRunner().invoke(cli, ["config", "--changed"]).output
    assert "hunter2" not in shown
    rows = json.loads(CliRunner().invoke(cli, ["config", "--changed", "--json"]).output)["settings"]
    assert {row["key"]: (row["value"], row["origin"]) for row in rows if row["key"] != "plugins.demo.enabled"} == {
        "plugins.demo.number": ("5", f"{PREFIX}NUMBER"),
        "plugins.demo.headers.token": ("***", f"{PREFIX}HEADERS__TOKEN"),
    }


class Plugin:
    name = "demo"

    def __init__(self, schema: type[msgspec.Struct] | None) -> None:
        self.schema = schema
        self.got: Any = None

    @hookimpl
    def relay_config_schema(self) -> type[msgspec.Struct] | None:
        return self.schema

    @hookimpl
    def relay_configure(self, config: Any) -> None:
        self.got = config


def test_a_plugin_gets_its_own_type_or_the_text(monkeypatch):
    config = load("/dev/null", env={f"{PREFIX}NUMBER": "5", f"{PREFIX}PRIORITY": "7", f"{PREFIX}REQUIRED": "yes"})
    for schema, wanted in ((Demo, Demo(number=5)), (None, {"number": "5"})):
        plugin = Plugin(schema)
        runtime = Relay()
        host = PluginHost(runtime)
        assert host.prepare(config.settings.plugins, config.origins) == []
        host.register(plugin)
        assert plugin.got == wanted
        assert not isinstance(plugin.got, dict) or type(plugin.got["number"]) is str
        host.close()


TYPES = [field.type for field in msgspec.structs.fields(Demo)]
HARD = st.text(st.sampled_from('{}[]"=,:1a\n none'), max_size=20) | st.text(max_size=20)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TYPES), HARD)
def test_any_text_is_read_or_stays_text(tp, text):
    found = read_texts(tp, Text(text))
    if not isinstance(found, Text):
        json.dumps(found)
