from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import msgspec
import pytest

from relay_core.errors import ConfigError
from relay_core.events import parse_event
from relay_plugin_observability import AtofExporter
from relay_plugin_observability.exporter import GAP
from relay_plugin_observability.settings import AtofSettings, ObservabilitySettings
from tests.waiting import told


def event(number, **fields):
    """A real event, read from its line."""
    return parse_event(
        {
            "kind": "mark",
            "uuid": f"00000000-0000-7000-8000-{number:012d}",
            "timestamp": "2026-01-01T10:00:00+00:00",
            "name": f"e{number}",
            **fields,
        }
    )


def names(path):
    return [json.loads(line)["name"] for line in path.read_bytes().splitlines()]


def test_events_become_lines(tmp_path):
    exporter = AtofExporter(tmp_path / "e.jsonl")
    exporter.on_event(event(0, data={"text": "two\nlines \u2028 and a ünïcode"}))
    exporter.on_batch([event(n) for n in range(1, 1000)])
    assert exporter.flush(20.0) is True
    lines = exporter.path.read_bytes().split(b"\n")
    assert len(lines) == 1001 and lines[-1] == b""
    assert [parse_event(line).name for line in lines[:-1]] == [f"e{n}" for n in range(1000)]
    assert parse_event(lines[0]).data == {"text": "two\nlines \u2028 and a ünïcode"}
    assert exporter.name == "atof"
    exporter.close(1.0)
    exporter.on_event(event(7))
    assert exporter.stats().dropped == {"closed": 1}


def test_an_event_without_json_costs_only_itself(tmp_path, caplog):
    class Odd:
        def to_json(self):
            raise RuntimeError("a secret")

    exporter = AtofExporter(tmp_path / "e.jsonl")
    exporter.on_batch([event(0), Odd(), event(1)])
    exporter.on_batch([Odd()])
    exporter.on_batch([event(2)])
    assert names(exporter.path) == ["e0", "e1", GAP, "e2"]
    stats = exporter.stats()
    assert (stats.accepted, stats.written, stats.dropped) == (5, 3, {"not_encoded": 2})
    assert len(told(caplog)) == 1
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_nothing_escapes_from_the_exporter(tmp_path, caplog):
    exporter = AtofExporter(tmp_path / "e.jsonl")
    exporter.on_batch(None)
    exporter.on_event(object())
    assert exporter.stats().written == 0
    assert len(told(caplog)) == 1


def test_a_gap_is_told_to_the_reader_of_the_file(tmp_path, caplog):
    exporter = AtofExporter(tmp_path / "a" / "e.jsonl")
    exporter.on_event(event(0))
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"in the way")
    with caplog.at_level(logging.WARNING, logger="relay.observability"):
        exporter.on_batch([event(1), event(2)])
        exporter.on_batch([event(3)])
        (tmp_path / "a").unlink()
        exporter.sink._retry_at = 0.0
        exporter.on_batch([event(4)])
    first, second = [parse_event(line) for line in exporter.path.read_bytes().splitlines()]
    assert first.name == GAP
    (reason,) = first.data["dropped"]
    assert first.data == {"dropped": {reason: 3}}
    assert first.parent_uuid is None
    assert uuid.UUID(first.uuid).version == 7
    assert second.name == "e4"
    stats = exporter.stats()
    assert (stats.accepted, stats.written, stats.dropped) == (5, 2, {reason: 3})


def test_path_and_directory_exclude_each_other(tmp_path):
    for options in ({"directory": tmp_path}, {"filename": "e.jsonl"}):
        with pytest.raises(ConfigError, match="not both"):
            AtofExporter(tmp_path / "e.jsonl", **options)


def test_the_directory_is_fixed_when_the_exporter_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exporter = AtofExporter(directory="runs", filename="e.jsonl")
    plain = AtofExporter("plain.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    exporter.on_event(event(0))
    plain.on_event(event(0))
    assert names(tmp_path / "runs" / "e.jsonl") == names(tmp_path / "plain.jsonl") == ["e0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("filename", "files"), [("e-{pid}.jsonl", 3), ("e.jsonl", 1), ("e-{{pid}}.jsonl", 1)])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_forked_children_have_files_of_their_own_only_with_pid(tmp_path, filename, files, mode):
    code = """if True:
        import os, sys
        from relay_core.events import parse_event
        from relay_plugin_observability import AtofExporter

        def event(name):
            when = "2026-01-01T10:00:00+00:00"
            return parse_event({"kind": "mark", "uuid": "u", "timestamp": when, "name": name})

        exporter = AtofExporter(directory=sys.argv[1], filename=sys.argv[2], mode=sys.argv[3])
        os.chdir("/")
        for child in range(2):
            pid = os.fork()
            if pid == 0:
                exporter.on_batch([event(f"child{child}")] * 5)
                assert "{pid}" in sys.argv[2].replace("{{pid}}", "") or exporter.stats().written == 5
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        exporter.on_batch([event("parent")] * 5)
    """
    subprocess.run([sys.executable, "-c", code, tmp_path, filename, mode], check=True, timeout=40)
    found = sorted(tmp_path.iterdir())
    assert len(found) == files
    written = [name for path in found for name in names(path)]
    assert sorted(written) == ["child0"] * 5 + ["child1"] * 5 + ["parent"] * 5


def test_settings_refuse_what_the_exporter_would_refuse():
    msgspec.convert({"atof": {"directory": "runs", "durability": "fsync"}}, ObservabilitySettings)
    for bad in (
        {"filename": "../x"},
        {"durability": "fast"},
        {"mode": "w"},
        {"directory": ""},
        {"enabled": "yes"},
        {"file": "x"},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"atof": bad}, ObservabilitySettings)
    with pytest.raises(ValueError, match=r"^filename: "):
        AtofSettings(filename="{nobody}")


def test_names_are_exported_lazily():
    import relay_plugin_observability as package

    for name in set(package.__all__) - {"plugin"}:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = package.nothing_like_it
    assert Path(package.__file__).with_name("py.typed").exists()
