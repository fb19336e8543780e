"""Documents as files: names, modes, atomicity, checkpoints, forks, and disks that do not play along."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time

import msgspec
import pytest

import relay_core
from relay_core import Relay
from relay_core.errors import ConfigError
from relay_plugin_observability.atif import AtifExporter, AtifSettings, HttpStorage, build, read_atif
from relay_plugin_observability.atif.files import NewFile, publish, write_atomic
from relay_plugin_observability.atif.settings import S3Storage
from tests.plugins.observability.scenarios import give, play
from tests.waiting import told


def exporter_in(folder, **settings):
    return AtifExporter(AtifSettings(directory=str(folder), **settings))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def python(program):
    """Run a program in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def balanced(stats):
    return stats.documents == stats.written + sum(stats.failed.values())


def test_each_run_has_a_file(tmp_path):
    exporter = exporter_in(tmp_path / "new" / "runs")
    play("several_roots", exporter)
    files = sorted((tmp_path / "new" / "runs").iterdir())
    assert [read_atif(path).agent.name for path in files] == ["alpha", "beta", "gamma"]
    stats = exporter.stats()
    assert (stats.documents, stats.written, stats.open_runs, stats.skipped_events) == (3, 3, 0, 0)
    assert stats.bytes == sum(path.stat().st_size for path in files)


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_files_and_folders_are_private(tmp_path):
    before = os.umask(0)
    try:
        play("multimodal", exporter_in(tmp_path / "runs"))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "runs").rglob("*")}
    folders = {name for name in modes if name.endswith(".media")}
    assert {modes[name] for name in folders} == {0o700}
    assert {mode for name, mode in modes.items() if name not in folders} == {0o600}
    assert stat.S_IMODE((tmp_path / "runs").stat().st_mode) == 0o700


def test_pictures_stand_where_the_document_says(tmp_path):
    exporter = exporter_in(tmp_path)
    play("multimodal", exporter)
    (document,) = tmp_path.glob("*.json")
    parts = json.loads(document.read_text())["steps"][0]["message"]
    assert (document.parent / parts[2]["source"]["path"]).read_bytes().startswith(b"\x89PNG")
    assert exporter.stats().media == 1


def test_pictures_can_be_left_out(tmp_path):
    play("multimodal", exporter_in(tmp_path, media=False))
    (document,) = tmp_path.iterdir()
    assert "not kept" in json.loads(document.read_text())["steps"][0]["message"][2]["text"]


def test_names_are_made_of_the_run(tmp_path):
    template = "{agent}-{session_id}-{metadata.user_id}-{metadata.none.at.all}-{trajectory_id}.json"
    play("turns", exporter_in(tmp_path, filename=template))
    assert [name[:-42] for name in names(tmp_path)] == ["chat-sess-chat-u-7-none", "turn-1-sess-chat-u-7-none"]


HOSTILE = ["../../up", "/etc/passwd", "a\0b", "..", "~root", "con", "x" * 5_000, "\N{FULLWIDTH SOLIDUS}..", ""]


@pytest.mark.parametrize("word", HOSTILE)
def test_names_cannot_leave_the_folder(word, tmp_path):
    def scenario(relay):
        with relay.scope(word or "empty", "agent", metadata={"session_id": word, "team": word}):
            relay.call_tool("t", {}, give("x"))

    runs = tmp_path / "inner" / "runs"
    exporter = exporter_in(runs, filename="{metadata.team}-{agent}-{session_id}-{trajectory_id}.json")
    play(scenario, exporter)
    assert exporter.stats().written == 1
    assert names(tmp_path) == ["inner"]
    assert names(tmp_path / "inner") == ["runs"]
    assert len(names(runs)) == 1


@pytest.mark.parametrize(
    ("filename", "words"),
    [
        ("run.json", r"no \{trajectory_id\}, so runs would share a file"),
        ("../{trajectory_id}.json", "contains '/'"),
        ("{trajectory_id}-{nobody}.json", "unknown placeholder"),
        ("{trajectory_id", "is no template"),
        ("{trajectory_id!r}.json", "unknown placeholder"),
    ],
)
def test_bad_templates_are_refused_at_once(filename, words):
    with pytest.raises(ValueError, match=words):
        AtifSettings(filename=filename)
    assert AtifSettings(filename=filename, enabled=False).enabled is False


def test_settings_are_read_from_tables_and_checked():
    table = {
        "directory": "runs",
        "checkpoint": 5,
        "storage": [
            {"type": "http", "url": "https://archive.example/runs", "headers": {"Authorization": {"env": "TOKEN"}}},
            {"type": "s3", "bucket": "acme", "prefix": "runs/"},
        ],
    }
    settings = msgspec.convert(table, AtifSettings)
    assert isinstance(settings.storage[0], HttpStorage)
    assert isinstance(settings.storage[1], S3Storage)
    assert build(msgspec.structs.replace(settings, storage=[])).directory.name == "runs"
    for wrong, words in [
        ({"filenmae": "x"}, "unknown field"),
        ({"storage": [{"type": "ftp"}]}, "Invalid value 'ftp'"),
        ({"storage": [{"type": "http", "url": "ftp://x"}]}, "starts with http:// or https://"),
        ({"storage": [{"type": "http", "url": "https://u:p@x/"}]}, "do not belong into a URL"),
        ({"storage": [{"type": "http", "url": "https://x/", "headers": {"Host": "y"}}]}, "set by the exporter"),
        ({"storage": [{"type": "s3", "bucket": "a b"}]}, "no bucket name"),
        ({"storage": [{"type": "s3", "bucket": "abc", "prefix": "../x"}]}, "no key prefix"),
        ({"checkpoint": -1}, ">= 0"),
    ]:
        with pytest.raises(msgspec.ValidationError, match=words):
            msgspec.convert(wrong, AtifSettings)


def test_a_crash_leaves_the_last_checkpoint(tmp_path):
    now = [0.0]
    exporter = AtifExporter(AtifSettings(directory=str(tmp_path), checkpoint=10.0), clock=lambda: now[0])
    relay = relay_core.Relay()
    relay.register("subscriber", exporter)
    with relay.scope("agent", "agent"):
        relay.call_tool("one", {}, give("1"))
        relay.flush(timeout=20.0)
        assert names(tmp_path) == []  # too early
        now[0] = 11.0
        relay.call_tool("two", {}, give("2"))
        relay.flush(timeout=20.0)
        (path,) = tmp_path.iterdir()
        half = read_atif(path)
        assert half.notes.startswith("The run has not ended")
        assert half.extra["relay"]["status"] == "unfinished"
        written = exporter.stats().checkpoints
        now[0] = 22.0
        relay.mark("nothing new")
        relay.flush(timeout=20.0)
        assert exporter.stats().checkpoints == written  # nothing has changed
    relay.shutdown(timeout=20.0)
    assert len(names(tmp_path)) == 1
    assert read_atif(path).notes is None
    assert [step.tool_calls[0].function_name for step in read_atif(path).steps] == ["one", "two"]


def test_flushing_writes_no_run_that_goes_on(tmp_path):
    exporter = exporter_in(tmp_path)
    relay = relay_core.Relay()
    relay.register("subscriber", exporter)
    with relay.scope("agent", "agent"):
        relay.call_tool("one", {}, give("1"))
        relay.flush(timeout=20.0)
        assert names(tmp_path) == []
        assert exporter.stats().open_runs == 1
    relay.flush(timeout=20.0)
    assert len(names(tmp_path)) == 1


def test_flushing_does_not_wait_for_scopes_below_a_run_that_has_ended(tmp_path):
    relay = relay_core.Relay()
    relay.register("subscriber", exporter_in(tmp_path))
    with relay.scope("agent", "agent"):
        relay.open_scope("abandoned", "llm", input="q")
    relay.flush(timeout=20.0)
    (path,) = tmp_path.iterdir()
    assert read_atif(path).steps[-1].extra["status"] == "unfinished"


def test_closing_twice_and_events_afterwards_do_nothing(tmp_path):
    exporter = exporter_in(tmp_path)
    events = play("crash", exporter)
    exporter.close()
    exporter.on_batch(events)
    assert exporter.stats().documents == 1
    assert len(names(tmp_path)) == 1


def test_a_write_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def pieces():
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomic(path, pieces())
    assert names(tmp_path) == ["a.json"]
    assert path.read_text() == "old"
    assert write_atomic(path, [b"ne", b"w"]) == 3
    assert path.read_text() == "new"


def lone_calls(count, exporter):
    relay = Relay()
    relay.register("subscriber", exporter)
    for number in range(count):
        relay.call_tool("add", {"n": number}, lambda args: "one")
    return relay


def test_calls_outside_of_any_run_lose_nothing_and_share_the_disk(tmp_path, monkeypatch):
    real, most, now, lock = os.fsync, 0, 0, threading.Lock()

    def fsync(descriptor):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)  # as a disk takes
        real(descriptor)
        with lock:
            now -= 1

    monkeypatch.setattr(os, "fsync", fsync)
    exporter = exporter_in(tmp_path)
    report = lone_calls(2_000, exporter).shutdown(timeout=60.0)
    assert (report.delivered, report.pending, report.dropped, report.timed_out) == (4_000, 0, 0, False)
    assert most > 1
    stats = exporter.stats()
    assert (stats.documents, stats.written, stats.failed, len(names(tmp_path))) == (2_000, 2_000, {}, 2_000)


def test_files_that_go_to_the_disk_together_appear_after_that_and_fail_alone(tmp_path, monkeypatch):
    files = [NewFile(tmp_path / f"{number}.json", [b"text"]) for number in range(6)]
    broken, real = files[2]._descriptor, os.fsync

    def fsync(descriptor):
        assert not list(tmp_path.glob("*.json"))  # none before all are on the disk
        if descriptor == broken:
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    publish(files)
    assert [file.error is None for file in files] == [True, True, False, True, True, True]
    assert names(tmp_path) == ["0.json", "1.json", "3.json", "4.json", "5.json"]


def test_a_disk_that_fails_costs_the_documents_that_it_cannot_keep(tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    exporter = exporter_in(tmp_path)
    lone_calls(100, exporter).shutdown(timeout=20.0)
    stats = exporter.stats()
    assert (stats.documents, stats.written, stats.failed) == (100, 0, {"EIO": 100})
    assert balanced(stats)
    assert names(tmp_path) == []


def test_closing_comes_back_in_time_from_a_disk_that_hangs(tmp_path, monkeypatch):
    release, entered, real = threading.Event(), threading.Event(), os.fsync

    def fsync(descriptor):
        entered.set()
        release.wait(30.0)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    exporter = exporter_in(tmp_path)
    writer = threading.Thread(target=exporter.on_batch, args=(play("simple"),))
    writer.start()
    assert entered.wait(10.0)
    began = time.monotonic()
    assert not exporter.flush(timeout=0.1)
    exporter.close(timeout=0.1)
    assert time.monotonic() - began < 10.0
    release.set()
    writer.join()
    assert exporter.stats().written == 1


def test_a_link_at_the_place_of_a_document_is_replaced_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    runs = tmp_path / "runs"
    runs.mkdir()
    play("simple", exporter_in(runs))
    (path,) = runs.iterdir()
    path.unlink()
    path.symlink_to(victim)
    play("simple", exporter_in(runs))
    assert victim.read_text() == "precious"
    assert not path.is_symlink()


def test_a_folder_that_cannot_be_made_costs_documents_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    exporter = exporter_in(tmp_path / "file" / "runs")
    play("several_roots", exporter)
    stats = exporter.stats()
    assert (stats.documents, stats.written, stats.failed) == (3, 0, {"EEXIST": 3})
    assert balanced(stats)
    assert len(told(caplog, about="cannot write")) == 1
    assert not exporter.flush(timeout=1.0)
    assert exporter.check() == [f"{str(tmp_path / 'file')!r} is not a directory in which files can be created"]


def test_an_event_that_cannot_be_read_costs_only_itself(tmp_path):
    class Broken:
        kind = "mark"

        @property
        def name(self):
            raise LookupError("broken")

    exporter = exporter_in(tmp_path)
    events = play("tool_loop")
    exporter.on_batch([*events[:3], Broken(), *events[3:]])
    assert exporter.stats().skipped_events == 1
    (path,) = tmp_path.iterdir()
    assert len(read_atif(path).steps) == 4


def test_a_folder_without_a_home_is_refused():
    with pytest.raises(ValueError, match="home or current directory"):
        AtifSettings(directory="~nobody-of-this-name/runs")
    with pytest.raises(ConfigError, match="is no directory"):
        AtifExporter(msgspec.structs.replace(AtifSettings(enabled=False), directory=""))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_its_own_runs_only(tmp_path):
    program = f"""
        import os, relay_core as relay
        from relay_plugin_observability.atif import AtifExporter, AtifSettings
        exporter = AtifExporter(AtifSettings(directory={str(tmp_path)!r}))
        relay.register("subscriber", exporter)
        with relay.scope("parent", "agent"):
            relay.call_tool("before", {{}}, lambda args: "x")
            relay.flush(timeout=20.0)
            child = os.fork()
            if child == 0:
                with relay.scope("child", "agent", parent=None):
                    relay.call_tool("inside", {{}}, lambda args: "y")
                relay.shutdown(timeout=20.0)
                os._exit(0 if exporter.stats().documents == 1 else 1)
            status = os.waitpid(child, 0)[1]
        relay.shutdown(timeout=20.0)
        print(status, exporter.stats().documents)
    """
    done = python(textwrap.dedent(program))
    assert done.stdout.split() == ["0", "1"], done.stderr
    made = sorted((read_atif(path) for path in tmp_path.iterdir()), key=lambda document: document.agent.name)
    assert [document.agent.name for document in made] == ["child", "parent"]
    assert [len(document.steps) for document in made] == [1, 1]


def test_importing_the_package_imports_none_of_its_parts():
    program = "import relay_plugin_observability.atif, sys; print([m for m in sys.modules if '.atif.' in m])"
    done = python(program)
    assert done.stdout.strip() == "[]", done.stderr
