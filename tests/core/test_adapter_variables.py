"""Options of adapters from environment variables, and the variable that each option has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay_core import Relay
from relay_core.config import Config, load
from relay_core.config.variables import variable_of
from relay_core.errors import ConfigError
from relay_core.settings import Adapters, Settings


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))


class Toy:
    name = "toy"
    requires = "json"
    control = "none: for tests"

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def install(self, relay: Relay, **options: Any) -> None:
        del relay
        self.given = options

    def uninstall(self, relay: Relay) -> None:
        del relay


def read(file: str = "", **variables: str) -> Config:
    Path("my.toml").write_text(file)
    return load("my.toml", env={f"RELAY_ADAPTERS__{name}": text for name, text in variables.items()})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("5", 5),
        ("0.5", 0.5),
        ("full", "full"),
        ("'5'", "5"),
        ("[1, 2]", [1, 2]),
        ("{a = 1}", {"a": 1}),
        ('{"a": null}', {"a": None}),
        ("2026-01-01", "2026-01-01"),
        ("a\nb = 1", "a\nb = 1"),
    ],
)
def test_a_text_is_what_toml_or_json_takes_it_for(text, value):
    assert read(TOY__CONTROL=text).settings.adapters.options == {"toy": {"control": value}}


def test_a_variable_is_stronger_than_the_file_and_leaves_the_rest():
    config = read('[adapters.toy]\nOne-Thing = 1\ntwo = "x"\n', TOY__ONE_THING="3")
    assert config.settings.adapters.options == {"toy": {"One-Thing": 3, "two": "x"}}
    rows = {row.key: (row.value, row.layer, row.origin) for row in config.describe()}
    assert rows["adapters.toy.One-Thing"] == ("3", "environment", "RELAY_ADAPTERS__TOY__ONE_THING")
    assert rows["adapters.toy.two"][1] == "file"


def test_a_variable_switches_no_adapter_on_or_off():
    adapters = read('[adapters]\nenable = ["a"]\n', TOY__X="1").settings.adapters
    assert (adapters.enable, adapters.block) == (("a",), ())


@pytest.mark.parametrize("variables", [{"TOY": "1"}, {"TOY__": "1"}, {"ENABLE__X": "1"}])
def test_what_names_no_option_is_a_problem(variables):
    with pytest.raises(ConfigError, match="RELAY_ADAPTERS__") as caught:
        read(**variables)
    assert len(caught.value.problems) == 1


def test_an_adapter_gets_them_without_a_configuration(monkeypatch):
    monkeypatch.setenv("RELAY_ADAPTERS__TOY__PAYLOADS", "false")
    monkeypatch.setenv("RELAY_ADAPTERS__TOY__MODE", "fast")
    toy, other = Toy(), Toy()
    Relay().adapters.install(toy)
    assert toy.given == {"payloads": False, "mode": "fast"}
    settings = Settings(adapters=Adapters(options={"toy": {"mode": "said in code"}}))
    Relay(settings).adapters.install(other)
    assert other.given == {"payloads": False, "mode": "said in code"}


def test_a_variable_that_names_no_option_stops_no_adapter(monkeypatch, caplog):
    monkeypatch.setenv("RELAY_ADAPTERS__TOY", "1")
    monkeypatch.setenv("RELAY_BLOCK", "other")
    runtime, toy = Relay(), Toy()
    assert runtime.adapters.install(toy).state == "active"
    assert "RELAY_ADAPTERS__TOY: names no option of an adapter" in caplog.text


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("adapters.toy.one-thing", "RELAY_ADAPTERS__TOY__ONE_THING"),
        ('plugins.demo.headers."X.Api-Key"', "RELAY_PLUGINS__DEMO__HEADERS__X_API_KEY"),
        ("plugins.demo.enabled", "RELAY_PLUGINS__DEMO__ENABLED"),
        ("plugins.demo.sinks[1].url", "RELAY_PLUGINS__DEMO__SINKS"),
        ('plugins.demo."a b"', None),
        ("plugins.demo.a__b", None),
        ("plugins.demo", None),
        ("adapters.enable", None),
    ],
)
def test_an_option_has_one_variable(key, variable):
    assert variable_of(key) == variable


def test_the_variable_of_an_option_sets_it():
    file = '[plugins.demo]\na-b = 1\n[plugins.demo.t]\n"X.y" = 1\n[adapters.toy]\nz = 1\n'
    Path("my.toml").write_text(file)
    keys = [row.key for row in load("my.toml", env={}).describe() if row.layer == "file" and "enabled" not in row.key]
    config = load("my.toml", env={variable_of(key): "7" for key in keys})
    assert {row.key: (str(row.value), row.layer) for row in config.describe() if row.key in keys} == dict.fromkeys(
        keys, ("7", "environment")
    )
    assert len(keys) == 3
