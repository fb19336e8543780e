"""Every option of every table: set in the file or by a variable, and every mistake in it told with its place."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec import inspect

from relay_core.config import load
from relay_core.errors import ConfigError
from relay_plugin_observability.atif import HttpStorage, S3Storage
from relay_plugin_observability.atif.settings import AtifSettings
from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.otel import OtelSettings
from relay_plugin_observability.rotation import Rotation
from relay_plugin_observability.settings import AtofSettings, ObservabilitySettings
from relay_plugin_observability.streams import StreamSettings

URL = "http://127.0.0.1:9/x"
# By header of the table: its type, and what must stand in it in any case.
TABLES = {
    "[plugins.observability.atof]": (AtofSettings, {}),
    "[plugins.observability.atof.rotation]": (Rotation, {"max_age": 60.0}),
    "[plugins.observability.streams.main]": (StreamSettings, {"url": URL}),
    "[plugins.observability.streams.main.retry]": (Backoff, {}),
    "[plugins.observability.atif]": (AtifSettings, {}),
    "[[plugins.observability.atif.storage]]": (HttpStorage, {"type": "http", "url": URL}),
    "[[plugins.observability.atif.storage]] # s3": (S3Storage, {"type": "s3", "bucket": "runs"}),
    "[plugins.observability.otel]": (OtelSettings, {}),
    "[plugins.observability.otel_destinations.main]": (OtelSettings, {}),
}
SAMPLES = {
    "endpoint": URL,
    "traces_endpoint": URL,
    "logs_endpoint": URL,
    "metrics_endpoint": URL,
    "url": "http://127.0.0.1:8/y",
    "endpoint_url": URL,
    "filename": "{pid}-{trajectory_id}.json",
    "headers": {"X-Tenant": "acme"},
    "signals": ["logs", "metrics"],
    "storage": [{"type": "http", "url": URL}],
    "extra": {"team": "a"},
    "rotation": {"max_bytes": 5000},
    "retry": {"first": 0.1},
    "directory": "runs",
    "transport": "ndjson",
    "jitter": 0.25,
    "factor": 1.5,
    "ca_file": "certificates.pem",
}
FILENAMES = {AtofSettings: "{pid}.jsonl", OtelSettings: "{pid}-{signal}.jsonl"}
TOGETHER = {  # options that another one needs
    "client_certificate": {"client_key": "k"},
    "client_key": {"client_certificate": "c"},
    "longest_asked": {},
}
OPTIONS = [(table, field) for table, (kind, _) in TABLES.items() for field in kind.__struct_fields__]
NAMED = [pytest.param(*one, id=f"{one[0].partition('observability.')[2]} {one[1]}") for one in OPTIONS]


def sample(kind, field):
    """A value that is not the default, of the right type."""
    if field == "filename" and kind in FILENAMES:
        return FILENAMES[kind]
    if field in SAMPLES:
        return SAMPLES[field]
    (found,) = [one for one in inspect.type_info(kind).fields if one.name == field]
    types = found.type.types if isinstance(found.type, inspect.UnionType) else (found.type,)
    (told,) = [one for one in types if not isinstance(one, inspect.NoneType)]
    match told:
        case inspect.BoolType():
            return found.default is not True
        case inspect.IntType():
            return 5_000 if told.le is None or told.le > 5_000 else told.le
        case inspect.FloatType():
            return 2.5 if told.le is None or told.le > 2.5 else told.le / 2
        case inspect.LiteralType():
            return next(value for value in told.values if value != found.default)
        case inspect.StrType():
            return "acme"
        case inspect.DictType():
            return {"a": "x"}
        case inspect.VarTupleType():
            return ["acme"]
    raise AssertionError(f"no sample for {field}: {told}")


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def read(folder, text, env=None):
    path = folder / "relay.toml"
    path.write_text(text)
    return load(path, env=env or {}, plugin_schemas={"observability": ObservabilitySettings})


def settings_in(config, table):
    """The settings of a table."""
    found = config.plugin_configs["observability"]
    for key in table.partition(" #")[0].strip("[]").split(".")[2:]:
        found = found[key] if isinstance(found, dict) else getattr(found, key)
    return found[0] if isinstance(found, list | tuple) else found


def written(table, options):
    """The text of a configuration, and the line on which each option stands."""
    first = table.partition(".retry]")[0]
    lines = [f"{first}]", f"url = {json.dumps(URL)}"] if first != table else []
    lines.append(table)
    places = {}
    for key, value in options.items():
        lines.append(f"{key} = {toml(value)}")
        places[key] = len(lines)
    return "\n".join(lines) + "\n", places


@pytest.mark.parametrize(("table", "field"), NAMED)
def test_an_option_in_the_file_is_taken(table, field, tmp_path):
    kind, needed = TABLES[table]
    value = sample(kind, field)
    text, _ = written(table, {**needed, **TOGETHER.get(field, {}), field: value})
    taken = json.loads(msgspec.json.encode(getattr(settings_in(read(tmp_path, text), table), field)))
    if isinstance(value, dict):
        taken = {key: taken[key] for key in value}
    elif field == "storage":
        taken = [{key: one[key] for key in value[0]} for one in taken]
    assert taken == value


@pytest.mark.parametrize(("table", "field"), NAMED)
def test_a_misspelt_option_is_told_with_its_line_and_the_right_name(table, field, tmp_path):
    kind, needed = TABLES[table]
    wrong = field[:-2] + field[-1] + field[-2] if len(field) > 3 else field[:-1]
    wrong = wrong if wrong != field else f"{field}s"
    value = sample(kind, field)
    text, places = written(table, {**{key: one for key, one in needed.items() if key != field}, wrong: value})
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    (told,) = [one for one in caught.value.problems if f"{wrong}:" in one]
    assert f"relay.toml:{places[wrong]}:" in told
    assert f"did you mean {field}?" in told


@pytest.mark.parametrize(("table", "field"), NAMED)
def test_a_value_of_the_wrong_type_is_told_with_its_line(table, field, tmp_path):
    _, needed = TABLES[table]
    text, places = written(table, {**needed, **TOGETHER.get(field, {}), field: [[True]]})
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert any(f"relay.toml:{places[field]}:" in told and field in told for told in caught.value.problems), (
        caught.value.problems
    )


BY_VARIABLE = [one for one in NAMED if not one.values[0].startswith("[[")]


@pytest.mark.parametrize(("table", "field"), BY_VARIABLE)
def test_an_option_can_be_set_by_a_variable(table, field, tmp_path):
    kind, needed = TABLES[table]
    prefix = "RELAY_" + table.strip("[]").replace(".", "__").upper()
    value = sample(kind, field)
    text, _ = written(table, {**needed, **TOGETHER.get(field, {})})
    told = value if isinstance(value, str) else json.dumps(value)
    taken = getattr(settings_in(read(tmp_path, text, {f"{prefix}__{field.upper()}": told}), table), field)
    expected = getattr(
        settings_in(read(tmp_path, written(table, {**needed, **TOGETHER.get(field, {}), field: value})[0]), table),
        field,
    )
    assert msgspec.to_builtins(taken) == msgspec.to_builtins(expected)


@pytest.mark.parametrize("field", ObservabilitySettings.__struct_fields__)
def test_a_misspelt_table_is_told_with_its_line_and_the_right_name(field, tmp_path):
    wrong = field[:-1]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[plugins.observability]\n\n[plugins.observability.{wrong}.x]\nurl = 'x'\n")
    (told,) = caught.value.problems
    assert "relay.toml:3:" in told
    assert f"did you mean {field}?" in told
