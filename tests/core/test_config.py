"""Layered configuration: precedence, origins, trust, every kind of problem and its text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections import UserDict
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import relay_core as relay
from relay_core.config import Config, Row, environment_names, key_lines, load
from relay_core.errors import ConfigError
from relay_core.settings import Origin, PluginEntry, Queue, Settings, validate_section

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def user_env(tmp_path):
    folder = tmp_path / "home" / ".config" / "relay"
    folder.mkdir(parents=True)
    return {"HOME": str(tmp_path / "home")}, folder / "relay.toml"


def read(text: str, **options: Any) -> Config:
    Path("my.toml").write_text(text, encoding="utf-8")
    return load("my.toml", env=options.pop("env", {}), **options)


def problems(text: str, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **options)
    return list(caught.value.problems)


# Layers


def test_defaults_come_from_nowhere():
    config = load(env={})
    assert config.settings == Settings()
    assert config.files == config.warnings == ()
    assert config.origins["queue.max_events"] == Origin("default", "built in")
    assert (config.settings.queue.max_events, config.settings.queue.max_bytes) == (65_536, 134_217_728)
    assert config.settings.adapters.enable is None


def test_each_layer_wins_over_the_ones_below(user_env):
    env, user_file = user_env
    user_file.write_text("[queue]\nmax_events = 70000\nblock_timeout = 1\nmax_bytes = 1\npolicy = 'drop_newest'\n")
    Path("relay.toml").write_text("[queue]\nmax_events = 80000\nmax_bytes = 200\n")
    env |= {"RELAY_QUEUE_BLOCK_TIMEOUT": "3", "RELAY_QUEUE_MAX_BYTES": "300"}
    config = load(env=env, overrides={"queue": {"max_bytes": 400}})
    assert config.settings.queue == Queue(max_events=80_000, block_timeout=3.0, max_bytes=400, policy="drop_newest")
    assert config.origins["queue.policy"] == Origin("file", f"{user_file}:5")
    assert config.origins["queue.max_events"] == Origin("file", "relay.toml:2")
    assert config.origins["queue.block_timeout"] == Origin("environment", "RELAY_QUEUE_BLOCK_TIMEOUT")
    assert config.origins["queue.max_bytes"] == Origin("code", "code")
    assert config.origins["payload.max_depth"].layer == "default"
    assert config.files == (user_file, Path("relay.toml"))
    assert config.warnings == ()


def test_a_named_file_replaces_the_discovered_ones(user_env):
    env, user_file = user_env
    user_file.write_text("[queue]\nmax_events = 70000\n")
    Path("relay.toml").write_text("[queue]\nmax_events = 80000\n")
    Path("other.toml").write_text("[payload]\nmax_depth = 3\n")
    for config in (load("other.toml", env=env), load(env=env | {"RELAY_CONFIG": "other.toml"})):
        assert config.settings.queue.max_events == 65_536
        assert config.settings.payload.max_depth == 3
        assert config.files == (Path("other.toml"),)
    assert load(Path("relay.toml"), env={"RELAY_CONFIG": "other.toml"}).settings.queue.max_events == 80_000
    assert load(env=env | {"RELAY_CONFIG": os.devnull}).settings == Settings()


def test_xdg_folder_wins_over_home_and_a_relative_one_is_ignored(tmp_path, user_env):
    env, user_file = user_env
    user_file.write_text("breaker_limit = 5\n")
    (tmp_path / "xdg" / "relay").mkdir(parents=True)
    (tmp_path / "xdg" / "relay" / "relay.toml").write_text("breaker_limit = 6\n")
    assert load(env=env | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}).settings.breaker_limit == 6
    (Path("relay")).mkdir()
    Path("relay/relay.toml").write_text("disabled = true\n")
    assert load(env=env | {"XDG_CONFIG_HOME": "."}).settings.breaker_limit == 5
    assert load(env={"XDG_CONFIG_HOME": ".", "HOME": "."}).settings.disabled is False


def test_the_user_file_stays_trusted_when_it_is_in_the_working_directory(user_env, monkeypatch):
    env, user_file = user_env
    user_file.write_text("disabled = true\n")
    monkeypatch.chdir(user_file.parent)
    config = load(env=env)
    assert config.settings.disabled is True
    assert config.files == (user_file,)


def test_tables_merge_and_lists_replace(user_env):
    env, user_file = user_env
    user_file.write_text(
        "[adapters]\nenable = ['a', 'b']\n[adapters.langchain]\nx = 1\ny = [1]\n[plugins.p]\nlist = [1, 2]\nkeep = 1\n"
    )
    config = load(
        env=env, overrides={"adapters": {"enable": ["c"], "langchain": {"y": []}}, "plugins": {"p": {"list": [3]}}}
    )
    assert config.settings.adapters.enable == ("c",)
    assert config.settings.adapters.options == {"langchain": {"x": 1, "y": []}}
    assert config.settings.plugins == (PluginEntry("p", True, {"list": [3], "keep": 1}),)
    assert config.origins["adapters.langchain.x"] == Origin("file", f"{user_file}:4")
    assert config.origins["adapters.langchain.y"].layer == "code"


def test_plugins_keep_the_order_of_the_file_and_can_be_switched_off_above(user_env):
    env, user_file = user_env
    user_file.write_text("[plugins.z]\npath = 'x'\n[plugins.a]\n")
    config = load(env=env, overrides={"plugins": {"a": {"enabled": False}, "new": {}}})
    assert [(p.name, p.enabled) for p in config.settings.plugins] == [("z", True), ("a", False), ("new", True)]
    assert config.origins["plugins.a.enabled"].layer == "code"


def test_overrides_take_dotted_keys_mappings_and_live_objects():
    live = object()
    config = load(
        env={},
        overrides={"queue.max_events": 7, "queue": UserDict(max_bytes=8), "plugins": {"p": {"callback": live}}},
    )
    assert (config.settings.queue.max_events, config.settings.queue.max_bytes) == (7, 8)
    assert config.settings.plugins[0].config["callback"] is live
    assert Row("plugins.p.callback", "<object>", "code", "code") in config.describe()


def test_a_table_replaced_by_a_value_leaves_no_origin_behind(user_env):
    env, user_file = user_env
    user_file.write_text("[plugins.p]\nsinks = [{path = 1}]\n[[plugins.p.more]]\nx = 1\n[plugins.p.t]\ny = 1\n")
    assert load(env=env).origins["plugins.p.more[0].x"] == Origin("file", f"{user_file}:4")
    config = load(env=env, overrides={"plugins": {"p": {"more": 1, "t": 2}}})
    assert not [key for key in config.origins if key.startswith(("plugins.p.more[", "plugins.p.t."))]


# Environment


@pytest.mark.parametrize("name", sorted(environment_names()))
def test_every_variable_sets_its_key(name):
    key = environment_names()[name]
    samples = {"queue.policy": "drop_oldest", "adapters.enable": "a, b", "plugins": "a,b"}
    default = {row.key: row.value for row in load(env={}).describe()}.get(key)
    text = samples.get(key) or ("x,y" if isinstance(default, list) else "1")
    config = load(env={name: text})
    assert config.origins[key] == Origin("environment", name)
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("TRUE", True), ("on", True), ("no", False), ("0", False), ("", False)]
)
def test_switches_in_the_environment(text, value):
    assert load(env={"RELAY_DISABLED": text}).settings.disabled is value


def test_lists_in_the_environment(user_env):
    env, user_file = user_env
    user_file.write_text("[adapters]\nenable = ['a']\n[plugins.b]\nx = 1\n[plugins.c]\n")
    config = load(env=env | {"RELAY_ADAPTERS": "a, b,", "RELAY_BLOCK": "c", "RELAY_PLUGINS": "d,b"})
    assert config.settings.adapters.enable == ("a", "b")
    assert config.settings.adapters.block == ("c",)
    entries = [PluginEntry("d"), PluginEntry("b", True, {"x": 1}), PluginEntry("c", False)]
    assert list(config.settings.plugins) == entries
    assert config.origins["plugins.c.enabled"] == Origin("environment", "RELAY_PLUGINS")
    off = load(env=env | {"RELAY_ADAPTERS": "none", "RELAY_PLUGINS": "none"}).settings
    assert off.adapters.enable == ()
    assert [plugin.enabled for plugin in off.plugins] == [False, False]
    assert load(env=env | {"RELAY_ADAPTERS": "all"}).settings.adapters.enable is None


def test_unknown_variables_are_warnings_and_others_are_left_alone():
    quiet = ["RELAY_BENCH_PEERS", "RELAY_AUTOLOAD", "RELAY_CORPUS", "RELAY_CONTEXT", "RELAY_DEBUG", "PATH", "RELAYS"]
    config = load(env=dict.fromkeys(quiet, "x") | {"RELAY_QUEUE_POLICI": "hunter2", "RELAY_DISABLE": "1"})
    assert config.warnings == (
        "RELAY_QUEUE_POLICI: unknown variable, ignored; did you mean RELAY_QUEUE_POLICY?",
        "RELAY_DISABLE: unknown variable, ignored; did you mean RELAY_DISABLED?",
    )


def test_wrong_values_in_the_environment():
    env = {"RELAY_QUEUE_MAX_EVENTS": "many", "RELAY_QUEUE_BLOCK_TIMEOUT": "nan", "RELAY_DISABLED": "maybe"}
    env |= {"RELAY_PAYLOAD_MAX_DEPTH": "9" * 5000, "RELAY_QUEUE_POLICY": "\udc80"}
    with pytest.raises(ConfigError) as caught:
        load(env=env)
    shown = dict(problem.split(": ", 1) for problem in caught.value.problems)
    assert shown["RELAY_QUEUE_MAX_EVENTS"] == 'queue.max_events: expected an integer, got "many"'
    assert shown["RELAY_DISABLED"] == 'disabled: expected true or false, got "maybe"'
    assert "queue.block_timeout: expected a number" in shown["RELAY_QUEUE_BLOCK_TIMEOUT"]
    assert "payload.max_depth: expected an integer" in shown["RELAY_PAYLOAD_MAX_DEPTH"]
    assert 'expected one of "block", "drop_newest", "drop_oldest"' in shown["RELAY_QUEUE_POLICY"]
    assert max(map(len, caught.value.problems)) < 250


# Trust


def test_a_file_in_the_working_directory_sets_harmless_keys_only(user_env):
    env, user_file = user_env
    user_file.write_text("[redaction]\nextra_keys = ['mine']\n[plugins.p]\nurl = 'safe'\n")
    Path("relay.toml").write_text(
        "disabled = true\n"
        "[queue]\nmax_events = 1\nmax_bytes = 999999999\npolicy = 'drop_newest'\n"
        "[stream]\nchunk_marks = false\n"
        "[redaction]\nenabled = false\nextra_keys = ['theirs']\nextra_patterns = ['x']\n"
        "[adapters]\nblock = ['langchain']\n[adapters.langchain]\nx = 1\n"
        "[plugins.p]\nurl = 'http://evil'\n[plugins.q]\n"
    )
    config = load(env=env)
    got = config.settings
    assert (got.disabled, got.queue.max_events, got.queue.policy) == (False, 65_536, "block")
    assert (got.queue.max_bytes, got.stream.chunk_marks) == (999_999_999, False)
    assert got.redaction.enabled is True
    assert got.redaction.extra_keys == ("mine", "theirs")
    assert got.redaction.extra_patterns == got.adapters.block == ()
    assert got.adapters.options == {}
    assert got.plugins == (PluginEntry("p", True, {"url": "safe"}),)
    ignored = [warning.split(": ")[1] for warning in config.warnings]
    assert ignored == [
        "disabled", "queue.max_events", "queue.policy", "redaction.enabled", "redaction.extra_patterns",
        "adapters.block", "adapters.langchain", "plugins.p", "plugins.q",
    ]  # fmt: skip
    assert config.warnings[1] == (
        "relay.toml:3: queue.max_events: ignored: a relay.toml that is only found in the working directory may not "
        "lower it; to trust the file, name it: RELAY_CONFIG=./relay.toml or relay run --config ./relay.toml"
    )


def test_naming_the_file_in_the_working_directory_trusts_it():
    Path("relay.toml").write_text("disabled = true\n[plugins.q]\n")
    config = load(env={"RELAY_CONFIG": "./relay.toml"})
    assert config.settings.disabled is True
    assert config.settings.plugins == (PluginEntry("q"),)
    assert config.warnings == ()


def test_what_is_wrong_in_an_untrusted_file_is_left_out_and_told(user_env):
    env, user_file = user_env
    user_file.write_text("[plugins.guardrails]\nrule = 'no shell'\n")
    Path("relay.toml").write_text(
        "[queue]\nmax_event = 1\nmax_events = 70000\nmax_bytes = 'x'\npolicy = 'drop_oldest'\n"
        "[redaction]\nextra_keys = ['pin']\nextra_patterns = [')']\n[plugins]\nguardrails = 5\n"
    )
    config = load(env=env)
    assert config.settings.queue == Queue(max_events=70_000)
    assert config.settings.redaction.extra_keys == ("pin",)
    assert config.settings.plugins == (PluginEntry("guardrails", True, {"rule": "no shell"}),)
    assert config.warnings == (
        "relay.toml:2: queue.max_event: unknown key; did you mean max_events? (left out)",
        'relay.toml:4: queue.max_bytes: expected an integer, got "x" (left out)',
        "relay.toml:8: redaction.extra_patterns[0]: not a regular expression: unbalanced parenthesis at position 0 (left out)",
        "relay.toml:10: plugins.guardrails: expected a table [plugins.guardrails] (left out)",
    )


@pytest.mark.parametrize(
    ("raw", "warning"),
    [
        (b"disabled = [", "relay.toml:1: not valid TOML: invalid value (left out)"),
        (b"\xff", "relay.toml:1: not UTF-8; save the file as UTF-8 (left out)"),
        (b"x = " + b"[" * 40 + b"]" * 40, "relay.toml: nested deeper than 32 levels (left out)"),
        (b"#" * 1_000_001, "relay.toml: larger than 1000000 bytes; a configuration file is small (left out)"),
    ],
    ids=["toml", "utf8", "deep", "large"],
)
def test_an_untrusted_file_that_cannot_be_read_takes_nothing_away(user_env, raw, warning):
    env, user_file = user_env
    user_file.write_text("[plugins.guardrails]\n")
    Path("relay.toml").write_bytes(raw)
    config = load(env=env)
    assert config.settings.plugins == (PluginEntry("guardrails"),)
    assert config.warnings == (warning,)
    with pytest.raises(ConfigError, match=re.escape(warning.removesuffix(" (left out)"))):
        load(env=env | {"RELAY_CONFIG": "relay.toml"})
    with pytest.raises(ConfigError):
        load("relay.toml", env=env)


def test_a_mistake_in_a_trusted_file_stays_an_error(user_env):
    env, user_file = user_env
    user_file.write_text("[queue]\nmax_event = 1\n")
    Path("relay.toml").write_text("[")
    with pytest.raises(ConfigError) as caught:
        load(env=env)
    assert caught.value.problems == (f"{user_file}:2: queue.max_event: unknown key; did you mean max_events?",)


def test_a_child_of_relay_run_keeps_the_users_configuration_in_a_broken_repository(user_env):
    env, user_file = user_env
    user_file.write_text("breaker_limit = 5\n")
    Path("relay.toml").write_text("breaker_limit = [")
    program = "import relay_core; print(relay_core.default.settings.breaker_limit)"
    command = [sys.executable, "-m", "relay_core", "run", "--", sys.executable, "-c", program]
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("RELAY_", "XDG_"))}
    done = subprocess.run(command, env=kept | env, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (0, "5\n")
    assert "relay.toml:1: not valid TOML: invalid value (left out)" in done.stderr
    assert "running without Relay" not in done.stderr


def test_an_untrusted_file_cannot_flood_the_log():
    Path("relay.toml").write_text("".join(f"key{n} = 1\n" for n in range(500)))
    warnings = load(env={}).warnings
    assert len(warnings) == 11
    assert warnings[-1] == "relay.toml: 490 more problems (left out)"
    Path("relay.toml").write_text("".join(f"[plugins.p{n}]\n" for n in range(500)))
    assert load(env={}).warnings[-1] == "relay.toml: 490 more keys, ignored"


# Problems


def test_all_problems_of_all_layers_come_in_one_error():
    text = '[queue]\nmax_events = "many"\nmax_event = 1\n\n[payload]\nmax_depth = 0\n\n[quueue]\n'
    with pytest.raises(ConfigError) as caught:
        read(text, env={"RELAY_BREAKER_LIMIT": "0"}, overrides={"stream": {"chunk_marks": 1}})
    assert caught.value.problems == (
        'my.toml:2: queue.max_events: expected an integer, got "many"',
        "my.toml:3: queue.max_event: unknown key; did you mean max_events?",
        "my.toml:6: payload.max_depth: expected an integer (at least 1, at most 200), got 0",
        "my.toml:8: quueue: unknown key; did you mean queue?",
        "RELAY_BREAKER_LIMIT: breaker_limit: expected an integer (at least 1, at most 1000000), got 0",
        "code: stream.chunk_marks: expected true or false, got 1",
    )
    assert str(caught.value).startswith("6 configuration problems:\n  my.toml:2: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("queue = 1", "my.toml:1: queue: expected a table, got 1"),
        ("adapters = 1", "my.toml:1: adapters: expected tables such as [adapters.NAME]"),
        ("[[plugins]]", "my.toml:1: plugins: expected tables such as [plugins.NAME]"),
        ("[plugins]\np = 1", "my.toml:2: plugins.p: expected a table [plugins.p]"),
        ("[plugins.p]\nenabled = 1", "my.toml:2: plugins.p.enabled: expected true or false, got 1"),
        ("[adapters]\nenabel = ['a']", "my.toml:2: adapters.enabel: expected a table [adapters.enabel]; did you mean enable?"),
        ("[adapters]\nblock = ['a', 3]", "my.toml:2: adapters.block[1]: expected a string, got 3"),
        ("[adapters]\nblock = 'a'", 'my.toml:2: adapters.block: expected a list of strings, got "a"'),
        ("[queue]\nblock_timeout = nan", "my.toml:2: queue.block_timeout: expected a number (at least 0, at most 60), got NaN"),
        ("[queue]\nmax_events = true", "my.toml:2: queue.max_events: expected an integer, got true"),
        ("[queue]\nmax_events = 1.5", "my.toml:2: queue.max_events: expected an integer, got 1.5"),
        ("disabled = 2020-01-01", 'my.toml:1: disabled: expected true or false, got "<date>"'),
        ("[redaction]\nextra_patterns = ['ok', '(']", "my.toml:2: redaction.extra_patterns[1]: not a regular expression: missing ), unterminated subpattern at position 0"),
        ("[redaction]\nextra_keys = ['']", 'my.toml:2: redaction.extra_keys[0]: expected a string (length at least 1), got ""'),
        ("x = 1\nx = 2\n", "my.toml:2: not valid TOML: cannot overwrite a value"),
        ("[queue]\n[stream]\n[queue]\n", "my.toml:3: not valid TOML: cannot declare [queue] twice"),
        ("a = 1\n\nb = [1, 2", "my.toml:3: not valid TOML: unclosed array"),
        ("a = " + "[" * 20_000, "my.toml: nested deeper than 32 levels"),
        ("[plugins.p]\na = " + "[" * 40 + "]" * 40, "my.toml: nested deeper than 32 levels"),
        ("a = " + "1" * 5000, "my.toml: a number or a date is out of range"),
        ("'\\u001b[31m' = 1", 'my.toml:1: "\\\\u001b[31m": unknown key'),
        ('"\\u001b[31m" = 1', 'my.toml:1: "\\u001b[31m": unknown key'),
    ],
)  # fmt: skip
def test_each_problem_has_its_text(text, problem):
    assert problems(text) == [problem]


def test_files_that_cannot_be_read(tmp_path):
    def one(path):
        with pytest.raises(ConfigError) as caught:
            load(path, env={})
        (problem,) = caught.value.problems
        return problem

    assert one("gone.toml") == "gone.toml: no such file, though it was named as the configuration file"
    assert one(".") == ".: not a regular file"
    os.mkfifo("pipe")
    assert one("pipe") == "pipe: not a regular file"
    assert one("/dev/zero") == "/dev/zero: not a regular file"
    assert one("nul\0byte") == r"'nul\x00byte': cannot be read: embedded null byte"
    assert one("x" * 300).endswith("cannot be read: File name too long")
    Path("big.toml").write_text("#" * 1_000_001)
    assert one("big.toml") == "big.toml: larger than 1000000 bytes; a configuration file is small"
    Path("latin.toml").write_bytes(b"# fine\n# caf\xe9\n")
    assert one("latin.toml") == "latin.toml:2: not UTF-8; save the file as UTF-8"
    Path("red\x1b[31m.toml").write_text("x")
    assert one("red\x1b[31m.toml").startswith(r"'red\x1b[31m.toml':1: not valid TOML")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_problem(user_env):
    env, user_file = user_env
    user_file.write_text("")
    user_file.chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        load(env=env)


def test_windows_line_ends_and_a_byte_order_mark_are_fine():
    Path("win.toml").write_bytes(b"\xef\xbb\xbf[queue]\r\n\r\nmax_events = 5\r\n")
    config = load("win.toml", env={})
    assert config.origins["queue.max_events"].detail == "win.toml:3"


def test_a_key_with_endless_parts_is_refused_quickly():
    start = time.perf_counter()
    assert problems("x = 1\n" + "a." * 400_000 + "b = 1") == ["my.toml:2: a key with more than 100 parts"]
    assert problems("x = {" + "'a' . " * 100_000 + "b = 1}") == ["my.toml:1: a key with more than 100 parts"]
    assert time.perf_counter() - start < 5


def test_a_large_file_is_read_in_reasonable_time():
    lines = "".join(f"key{i} = [{{path = 'x'}}, 'y']\n" for i in range(20_000))
    start = time.perf_counter()
    config = read(f"[plugins.p]\n{lines}")
    assert config.origins["plugins.p.key19999"].detail == "my.toml:20001"
    assert time.perf_counter() - start < 20


def test_overrides_with_cycles_and_odd_keys_are_problems():
    loop: dict[str, Any] = {}
    loop["again"] = loop
    for bad in ({"plugins": {"p": loop}}, {3: 4}, {"queue": {3: 4}}, {"queue": 10**5000}, {"plugins": {"p": [loop]}}):
        with pytest.raises(ConfigError):
            load(env={}, overrides=bad)


# Sections of plugins


class Disk(msgspec.Struct, tag="disk", tag_field="kind"):
    path: str


class Web(msgspec.Struct, tag="web", tag_field="kind"):
    url: str
    retries: Annotated[int, msgspec.Meta(ge=0)] = 3


class Rotation(msgspec.Struct):
    size: int
    keep: int = 5


class Demo(msgspec.Struct, rename={"class_": "class"}):
    path: str
    mode: Literal["fast", "safe"] = "safe"
    rotation: Rotation | None = None
    sinks: list[Disk | Web] = []
    by_name: dict[str, Rotation] = {}
    class_: str = ""
    pair: tuple[int, str] = (1, "a")
    password: str | None = None
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.path == "/":
            raise ValueError(f"path: the root is no file\nno luck with {self.password}")


def test_a_plugin_gets_its_section_as_its_struct():
    config = read(
        '[plugins.demo]\npath = "x"\nclass = "c"\nsinks = [{kind="disk", path="p"}]\n', plugin_schemas={"demo": Demo}
    )
    assert config.plugin_configs == {"demo": Demo(path="x", class_="c", sinks=[Disk("p")])}
    assert config.settings.plugins[0].config["class"] == "c"


def test_every_problem_of_a_plugin_section_is_found():
    text = """\
[plugins.demo]
mod = "fast"
mode = "fats"
pair = ["x", "y"]
[plugins.demo.rotation]
size = "big"
keeep = 1
[[plugins.demo.sinks]]
kind = "disk"
[[plugins.demo.sinks]]
kind = "web"
url = 5
retries = -1
[[plugins.demo.sinks]]
kind = "paper"
[plugins.demo.by_name."a.b"]
size = 1.5
"""
    assert problems(text, plugin_schemas={"demo": Demo}) == [
        "my.toml:2: plugins.demo.mod: unknown key; did you mean mode?",
        'my.toml:3: plugins.demo.mode: expected one of "fast", "safe", got "fats"',
        "my.toml:4: plugins.demo.pair: expected a tuple, got a list",
        'my.toml:6: plugins.demo.rotation.size: expected an integer, got "big"',
        "my.toml:7: plugins.demo.rotation.keeep: unknown key; did you mean keep?",
        "my.toml:8: plugins.demo.sinks[0].path: missing; expected a string",
        "my.toml:12: plugins.demo.sinks[1].url: expected a string, got 5",
        "my.toml:13: plugins.demo.sinks[1].retries: expected an integer (at least 0), got -1",
        'my.toml:15: plugins.demo.sinks[2].kind: expected one of "disk", "web"',
        'my.toml:17: plugins.demo.by_name."a.b".size: expected an integer, got 1.5',
        "my.toml:1: plugins.demo.path: missing; expected a string",
    ]


def test_a_plugin_that_is_off_may_lack_keys_but_not_have_wrong_ones():
    schemas = {"demo": Demo}
    assert read("[plugins.demo]\nenabled = false\n", plugin_schemas=schemas).plugin_configs == {}
    assert problems("[plugins.demo]\nenabled = false\nmod = 1\n", plugin_schemas=schemas) == [
        "my.toml:3: plugins.demo.mod: unknown key; did you mean mode?"
    ]


def test_what_a_schema_itself_refuses_is_reported_without_secrets():
    found = problems('[plugins.demo]\npath = "/"\npassword = "hunter2"\n', plugin_schemas={"demo": Demo})
    assert found == [
        "my.toml:2: plugins.demo.path: the root is no file",
        "my.toml:1: plugins.demo: no luck with ***",
    ]


def test_validate_section_stands_alone():
    value, found = validate_section(Rotation, {"size": 3}, "any.where", {})
    assert (value, found) == (Rotation(3), [])
    assert validate_section(Rotation, 7, "", {}) == (None, ["expected a table, got 7"])
    assert validate_section(Rotation, {}, "x", {}, partial=True) == (None, [])


class Window(msgspec.Struct):
    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low: above high")


class Optional(msgspec.Struct):
    window: Window | None = None
    windows: list[Window | None] = []


def test_what_an_optional_table_refuses_is_reported_like_any_other():
    wrong = {"low": 3, "high": 2}
    assert validate_section(Optional, {"window": wrong}, "x", {}) == (None, ["x.window.low: above high"])
    assert validate_section(Optional, {"windows": [wrong]}, "x", {}) == (None, ["x.windows[0].low: above high"])
    assert validate_section(Optional, {"window": 5}, "x", {})[1] == ["x.window: expected a table, got 5"]


# Secrets


SECRETS = """\
[plugins.demo]
password = 12345678
apiKey = "hunter2"
max_tokens = 5
url = "https://me:hunter2@host/x?api_key=hunter2&y=1"
[plugins.demo.headers]
X-Anything = "hunter2"
[[plugins.demo.sinks]]
kind = "web"
auth_token = "hunter2"
"""


def test_describe_lists_every_value_and_masks_secrets():
    config = read(SECRETS)
    rows = {row.key: row for row in config.describe()}
    assert "hunter2" not in json.dumps(config.describe())
    assert rows["plugins.demo.password"] == ("plugins.demo.password", "***", "file", "my.toml:2")
    assert rows["plugins.demo.headers.X-Anything"].value == "***"
    assert rows["plugins.demo.max_tokens"].value == 5
    assert rows["plugins.demo.url"].value == "https://***@host/x?api_key=***&y=1"
    assert rows["plugins.demo.sinks"].value == [{"kind": "web", "auth_token": "***"}]
    assert rows["plugins.demo.enabled"].value is True
    assert rows["queue.max_events"] == ("queue.max_events", 65_536, "default", "built in")
    assert rows["adapters.enable"].value is None


def test_problems_never_show_secrets():
    found = problems(SECRETS, plugin_schemas={"demo": Demo})
    assert "my.toml:2: plugins.demo.password: expected a string, got a hidden value" in found
    assert not [problem for problem in found if "hunter2" in problem or "12345678" in problem]
    for name in environment_names():
        if name not in {"RELAY_ADAPTERS", "RELAY_BLOCK", "RELAY_PLUGINS"}:
            continue
        assert "hunter2" not in "".join(load(env={f"{name}_PASSWORD": "hunter2"}).warnings)


# Lines


def test_lines_of_tricky_toml():
    text = '''\
# [not.a.table]
top = """
[fake]
key = 1
a quote "" and \\""" inside"""
"quoted.key" = 'x # y' # comment ["
'lit"eral'."b\\u00e9" = 1
array = [
  "]", # ]
  [1, 2,
  ], { a = "}" },
]
after = 1
lit = \'\'\'
[fake2]'\'\'\'\'
inline = { x = 1, y = [1, 2] }
a . b = 2
empty = ""
tail = """x"""""

[ t . "u v" ]
k = 1

[[t.list]]
n = 1
[[t.list]]
n = 2
  [[t.list.deep]]
  m = 1
  [t.list.plain]
  o = 1
[t2] # comment
last=1'''
    assert key_lines(text) == {
        "top": 2, '"quoted.key"': 6, '"lit\\"eral"': 7, '"lit\\"eral"."bé"': 7, "array": 8, "after": 13, "lit": 14,
        "inline": 16, "a": 17, "a.b": 17, "empty": 18, "tail": 19, "t": 21, 't."u v"': 21, 't."u v".k': 22,
        "t.list": 24, "t.list[0]": 24, "t.list[0].n": 25, "t.list[1]": 26, "t.list[1].n": 27, "t.list[1].deep": 28,
        "t.list[1].deep[0]": 28, "t.list[1].deep[0].m": 29, "t.list[1].plain": 30, "t.list[1].plain.o": 31,
        "t2": 32, "t2.last": 33,
    }  # fmt: skip
    assert tomllib.loads(text)["t2"] == {"last": 1}


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_value(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",\n ".join(map(toml_value, value)) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text if isinstance(value, str) else text.replace("NaN", "nan").replace("Infinity", "inf")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda text: text.isprintable())
names = st.sampled_from([*Settings.__struct_fields__, *Queue.__struct_fields__, "enable", "block", "x"]) | texts
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
documents = st.dictionaries(names, st.dictionaries(names, values, max_size=4) | values, max_size=5)


def check_never_crashes(**options):
    try:
        config = load(**options)
    except ConfigError as error:
        assert error.problems
    else:
        assert isinstance(config.settings, Settings)
        assert all(row.origin for row in config.describe())


@settings(max_examples=120, deadline=None)
@given(documents)
def test_any_document_gives_settings_or_a_config_error(document):
    blocks = [f"{toml_value(key)} = {toml_value(value)}\n" for key, value in document.items()]
    text = "".join(blocks)
    Path("any.toml").write_text(text, encoding="utf-8")
    tomllib.loads(text)
    check_never_crashes(path="any.toml", env={})
    check_never_crashes(env={}, overrides=document)
    line = 1
    for key, block in zip(document, blocks, strict=True):
        shown = key if re.fullmatch("[A-Za-z0-9_-]+", key) else toml_value(key)
        assert key_lines(text)[shown] == line
        line += block.count("\n")


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=60) | st.text(st.sampled_from("a1.[]{}=\"'#\n ,\\"), max_size=60).map(str.encode))
def test_any_bytes_give_settings_or_a_config_error(raw):
    Path("any.toml").write_bytes(raw)
    check_never_crashes(path="any.toml", env={})


# Reference


def fields_of(struct: type[msgspec.Struct], where: str = "") -> list[str]:
    found = []
    for field in msgspec.structs.fields(struct):
        key = f"{where}{field.encode_name}"
        nested = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        found += fields_of(field.type, f"{key}.") if nested else [key]
    return found


def test_the_reference_documents_every_key_with_its_default_and_variable():
    text = DOCS.read_text(encoding="utf-8")
    variables = {key: name for name, key in environment_names().items()}
    defaults = {row.key: row.value for row in load(env={}).describe()}
    for key in fields_of(Settings):
        if key in {"adapters.options", "plugins"}:
            continue
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{key}` |")]
        assert f"`{variables[key]}`" in row
        default = json.dumps(defaults[key])
        assert f"| `{'unset' if default == 'null' else default}` |" in row
    assert "[adapters.NAME]" in text
    assert "[plugins.NAME]" in text


def test_the_examples_of_the_reference_are_valid():
    blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        assert read(block).warnings == ()


@pytest.mark.parametrize("path", [{"queue": {}}, 3, b"relay.toml"])
def test_a_path_that_is_none_is_told_with_the_way_to_give_settings(path):
    with pytest.raises(relay.UsageError, match=r"section: relay\.configure\(queue="):
        relay.Relay().configure(path)


@pytest.mark.parametrize("given_settings", [{"queue": {}}, 3])
def test_settings_of_another_type_are_told(given_settings):
    with pytest.raises(relay.UsageError, match=r"Relay takes relay_core\.Settings, got"):
        relay.Relay(given_settings)
