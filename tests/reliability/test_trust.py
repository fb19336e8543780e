"""Nothing that comes from outside - files, plugins, headers, answers - gets more than it was given."""

from __future__ import annotations

import ast
import gzip
import importlib
import json
import logging
import os
import stat
import sys
import zlib
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import relay_core
from relay_core import Relay, hookimpl
from relay_core.cli import cli
from relay_core.plugins import PluginHost, configure
from relay_core.settings import PluginEntry
from relay_core.stainless import blocks
from relay_core.testing import EventRecorder
from relay_core.trajectory import TrajectoryError, read
from tests.plugins.observability.scenarios import LLM
from tests.plugins.observability.streams.collectors import HttpCollector
from tests.reliability.support import run
from tests.waiting import told, wait_for

ROOT = Path(__file__).parents[2]
HOSTILE = "a\x1b[2J\x1b]8;;http://x\x1b\\b\x07c\rd\ne\u202ef\u200bg\x00h\x9b31m\u2028\ufeff"
PARENT = "01b77777-0000-7000-8000-000000000001"


def relay_command(*words, code=0):
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


def line(uuid, phase, name="agent", **fields):
    known = {
        "atof_version": "0.1",
        "kind": "scope",
        "uuid": uuid,
        "parent_uuid": None,
        "timestamp": "2026-01-01T00:00:00Z",
    }
    return json.dumps({**known, "name": name, "category": "agent", "scope_category": phase, **fields}) + "\n"


# -- terminals and logs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["view"], ["tail", "--no-follow"], ["doctor"], ["tail", "--no-follow", "--json"]], ids=" ".join
)
def test_S06_names_cannot_write_control_sequences(tmp_path, words):
    from relay_plugin_observability import AtofExporter

    path = tmp_path / f"events{HOSTILE.replace(chr(0), '').replace('/', '')}.jsonl"
    runtime = Relay()
    runtime.subscriber(AtofExporter(path))
    with runtime.scope(HOSTILE, "agent", metadata={HOSTILE: HOSTILE}), pytest.raises(KeyError):
        runtime.open_scope(f"open {HOSTILE}", "tool", input=HOSTILE)
        runtime.mark(HOSTILE, {HOSTILE: HOSTILE})
        with runtime.scope("fails"):
            raise KeyError(HOSTILE)
    runtime.shutdown(timeout=20.0)
    data = path.read_bytes()
    assert all(json.loads(row) for row in data.splitlines())
    assert data.count(b"\n") == 6
    shown = relay_command(*words, path, code=1 if words == ["doctor"] else 0).output
    assert len(shown) > 40
    assert [char for char in shown if not (char.isprintable() or char == "\n")] == []


def test_S06_a_name_cannot_forge_a_log_line(caplog):
    caplog.set_level(logging.DEBUG)
    runtime = Relay()

    def broken(_event):
        raise ValueError(HOSTILE)

    for register in (runtime.subscriber, runtime.sanitizer, runtime.metadata_injector):
        register(broken, name=f"x\nERROR root: forged by {register.__name__} {HOSTILE}")
    runtime.guardrail("tool", name=f"x\nforged {HOSTILE}", on_error="allow")(broken)
    runtime.call_tool(f"x\nforged {HOSTILE}", {}, lambda _args: None)
    runtime.flush(timeout=20.0)
    runtime.shutdown(timeout=20.0)
    records = told(caplog, "relay")
    assert len(records) >= 3
    for record in records:
        assert record.getMessage().isprintable(), record.getMessage()


def test_S07_S08_there_is_no_viewer_to_attack():
    """No HTML is written and nothing listens, except the fake provider for tests; a viewer would need tests of its own."""
    for path in sources():
        if "testing" not in path.parts:
            assert not imports(path) & {"http.server", "socketserver", "wsgiref"}, path
            assert "<script" not in path.read_text(), path


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../escaped", "/tmp/escaped", "a/../../b", "x\0y", "\u2215etc", "~root", "..", "", "C:\\x", "n" * 3000]
)
def test_S09_what_a_recording_says_of_itself_names_no_path(tmp_path, name):
    recording = tmp_path / "in" / "events.jsonl"
    recording.parent.mkdir()
    recording.write_text(
        line(PARENT, "start", metadata={"session_id": name}) + line(PARENT, "end", metadata={"session_id": name})
    )
    out = tmp_path / "deep" / "out"
    relay_command("convert", recording, "--out", out)
    made = [path for path in tmp_path.rglob("*") if path.is_file() and path != recording]
    assert len(made) == 1
    assert made[0].parent == out
    assert stat.S_IMODE(made[0].stat().st_mode) == 0o600


def test_S09_two_runs_of_one_session_do_not_overwrite_each_other(tmp_path):
    recording = tmp_path / "events.jsonl"
    other = PARENT[:-1] + "2"
    both = "".join(
        line(uuid, phase, metadata={"session_id": "s"}) for uuid in (PARENT, other) for phase in ("start", "end")
    )
    recording.write_text(both)
    relay_command("convert", recording, "--out", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_S09_a_planted_link_is_replaced_not_followed(tmp_path):
    recording, victim, out = tmp_path / "events.jsonl", tmp_path / "victim", tmp_path / "out"
    recording.write_text(line(PARENT, "start", metadata={"session_id": "s"}) + line(PARENT, "end"))
    victim.write_text("precious")
    out.mkdir()
    (out / "s.atif.json").symlink_to(victim)
    (out / f".s.atif.json.{os.getpid()}.tmp").symlink_to(victim)
    relay_command("convert", recording, "--out", out)
    assert victim.read_text() == "precious"
    assert not (out / "s.atif.json").is_symlink()


EVERY_FILE = """
[plugins.observability.atof]
directory = {folder}
[plugins.observability.atof.rotation]
max_bytes = 2000
[plugins.observability.atif]
directory = {folder}
[plugins.observability.otel]
protocol = "file"
directory = {folder}
"""


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_S10_whatever_the_umask_files_are_for_their_owner_only(tmp_path, mask):
    before = os.umask(mask)
    try:
        path = tmp_path / "mine.toml"
        path.write_text(EVERY_FILE.format(folder=json.dumps(str(tmp_path / "new" / "runs"))))
        path.chmod(0o600)
        runtime = Relay()
        configure(runtime, path)
        for _ in range(20):
            with runtime.scope("trip", "agent"):
                runtime.call_llm("m", {"messages": []}, lambda _request: {"choices": []}, **LLM)
        runtime.shutdown(timeout=20.0)
        events = sorted((tmp_path / "new" / "runs").glob("events*.jsonl"))
        relay_command("convert", events[0], "--out", tmp_path / "new" / "made")
    finally:
        os.umask(before)
    made = list((tmp_path / "new").rglob("*"))
    assert {path.name.partition("-")[0] for path in made if path.is_file()} >= {"events", "trajectory", "otlp"}
    for path in [tmp_path / "new", *made]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


# -- endpoints --------------------------------------------------------------------------------------------------------

EXPORTERS = {
    "stream": '[plugins.observability.streams.s]\nurl = "{url}"\n',
    "otel": '[plugins.observability.otel]\nendpoint = "{url}"\n',
    "atif": '[plugins.observability.atif]\n[[plugins.observability.atif.storage]]\ntype = "http"\nurl = "{url}"\n',
}


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://h:70/x",
        "ftp://h/x",
        "http://me:planted-pass@h/",
        "http://h:0/",
        "//h/x",
        "http://",
    ],
)
@pytest.mark.parametrize("kind", EXPORTERS)
def test_S11_only_plain_web_addresses_are_endpoints(tmp_path, kind, url):
    path = tmp_path / "mine.toml"
    path.write_text(EXPORTERS[kind].format(url=url))
    path.chmod(0o600)
    with pytest.raises(relay_core.ConfigError) as caught:
        configure(Relay(), path)
    assert "planted-pass" not in str(caught.value)
    assert "mine.toml:" in str(caught.value)


@pytest.mark.parametrize("kind", EXPORTERS)
def test_S11_a_redirect_is_not_followed(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a trajectory that did not arrive stays in the working directory
    with HttpCollector() as elsewhere:
        moved = b"HTTP/1.1 307 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % elsewhere.url.encode()
        with HttpCollector(*[moved] * 50) as collector:
            path = tmp_path / "mine.toml"
            path.write_text(EXPORTERS[kind].format(url=f"http://127.0.0.1:{collector.port}/x"))
            path.chmod(0o600)
            runtime = Relay()
            configure(runtime, path)
            with runtime.scope("trip", "agent"):
                pass
            runtime.flush(timeout=20.0)
            runtime.shutdown(timeout=20.0)
            wait_for(lambda: collector.requests)
        assert elsewhere.requests == []


# -- what comes in over the wire --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "carrier",
    [
        {"traceparent": "x" * 1_000_000, "baggage": "k=v," * 250_000},
        {f"x-{n}": "y" for n in range(10_000)} | {"tracestate": "t=1," * 10_000},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"relay-context": json.dumps({"version": 1, "parent_uuid": "' OR 1=1 --", "endpoint": "http://evil.example"})},
        {"relay-context": "{" * 8_000, "traceparent": "\r\nX-Injected: 1"},
        [(b"traceparent", b"\xff" * 100), (b"\xff", b"x"), ("a", "b", "c")],
    ],
    ids=["long", "many", "zeros", "spoofed", "deep", "bytes"],
)  # fmt: skip
def test_S12_hostile_headers_become_neither_parents_nor_payload_nor_endpoints(carrier):
    runtime = Relay()
    with EventRecorder(runtime) as recorder:
        with runtime.scope("request", "agent", parent=runtime.extract(carrier)):
            sent = runtime.inject({})
        events = recorder.events
    assert events[0].parent_uuid is None
    text = "".join(event.to_json().decode() for event in events) + json.dumps(sent)
    assert len(text) < 3_000
    assert not any(word in text for word in ("evil", "Injected", "OR 1=1", "xxxx"))
    assert "\r" not in "".join(sent.values())


# -- plugins ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def install(tmp_path):
    """Make a folder with distributions, as pip would."""
    folder = tmp_path / "site"
    folder.mkdir()

    def add(name, text, group="relay.plugins"):
        made = folder / f"{name}_dist-1.0.dist-info"
        made.mkdir()
        (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
        (made / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}\n")
        (folder / f"{name}.py").write_text(text)
        return folder

    return add


LOUD = "import pathlib\npathlib.Path(__file__).with_name('was_imported').write_text('yes')\nraise SystemExit(9)\n"


def test_S13_what_is_merely_installed_is_not_imported(tmp_path, install):
    site = install("acme_unknown", LOUD)
    env = {"PYTHONPATH": str(site), "XDG_CONFIG_HOME": str(tmp_path / "none")}
    run(tmp_path, "relay.configure(); relay.autoload(); relay.mark('m'); print(relay.flush(20.0).pending)", env=env)
    for words in ("plugins", "doctor", "config"):
        text = f"""
            from relay_core.cli import main
            sys.argv = ["relay", "{words}"]
            os.environ["RELAY_ADAPTERS"] = "none"
            try:
                main()
            except SystemExit as stop:
                assert stop.code in (0, 1, None), stop.code
        """
        run(tmp_path, text, env=env)
    assert not (site / "was_imported").exists()


def test_S13_it_is_listed_with_the_reason_why_it_is_off(tmp_path, install, monkeypatch):
    monkeypatch.syspath_prepend(install("acme_listed", LOUD))
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    rows = {row["name"]: row for row in json.loads(relay_command("plugins", "--json").output)["plugins"]}
    found = rows["acme_listed"]
    assert (found["state"], found["distribution"]) == ("installed", "acme_listed-dist")
    assert found["why_off"] == "not in the configuration; add [plugins.acme_listed] to turn it on"


EXITS = {
    "import": "raise SystemExit(3)",
    "constructor": "class P:\n def __init__(self): raise SystemExit(3)\nacme_exit = P\n",
    "schema": "@relay.hookimpl\ndef relay_config_schema(): raise SystemExit(3)\n",
    "configure": "@relay.hookimpl\ndef relay_configure(relay): raise SystemExit(3)\n",
    "codecs": "@relay.hookimpl\ndef relay_codecs(): raise SystemExit(3)\n",
}  # fmt: skip


@pytest.mark.parametrize("where", EXITS)
def test_S14_a_plugin_cannot_end_the_program(install, monkeypatch, where):
    name = f"acme_exit_{where}"
    site = install(name, f"import relay_core as relay\n{EXITS[where]}")
    if where == "constructor":
        (site / f"{name}_dist-1.0.dist-info" / "entry_points.txt").write_text(f"[relay.plugins]\n{name} = {name}:P\n")
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    runtime = Relay()
    host = PluginHost(runtime)
    (record,) = host.activate([PluginEntry(name)])
    assert record.state == "failed"
    assert "SystemExit: 3" in record.error
    assert runtime.call_tool("t", {}, lambda _args: "done") == "done"
    with pytest.raises(relay_core.PluginError, match=name):
        host.activate([PluginEntry(name, config={"required": True})])


def test_S14_nor_while_it_stops_or_is_asked_how_it_is():
    class Leaves:
        @hookimpl
        def relay_doctor(self):
            raise SystemExit(3)

        @hookimpl
        def relay_shutdown(self):
            raise SystemExit(3)

        @hookimpl
        def relay_cli(self):
            raise SystemExit(3)

    host = PluginHost(Relay())
    with host.register(Leaves(), name="leaves") as handle:
        assert [row["ok"] for row in host.doctor()] == [False]
        assert host.commands() == []
    assert "relay_shutdown failed: SystemExit" in handle.record.error


def test_S14_names_of_others_cannot_be_taken():
    class Thief:
        @hookimpl
        def relay_configure(self, relay):
            relay.register("guardrail", lambda call: None, target="tool", name="thief.first")
            relay.register("guardrail", lambda call: None, target="tool", name="no_shell")

    runtime = Relay()
    runtime.guardrail("tool", name="no_shell")(lambda call: relay_core.Block("no"))
    with pytest.raises(relay_core.PluginError, match="no_shell"):
        PluginHost(runtime).register(Thief(), name="thief")
    with pytest.raises(relay_core.Blocked):
        runtime.call_tool("shell", {}, lambda _args: "ran")
    assert [entry.name for entry in runtime._global.entries] == ["no_shell"]


def test_S14_what_a_plugin_registered_in_bulk_goes_with_it():
    class Endless:
        @hookimpl
        def relay_configure(self, relay):
            for number in range(300):
                relay.register("subscriber", lambda event: None, name=f"s{number}")
            raise MemoryError("enough")

    runtime = Relay()
    with pytest.raises(relay_core.PluginError, match="MemoryError: enough"):
        PluginHost(runtime).register(Endless(), name="endless")
    runtime.mark("m")
    assert not runtime.flush(timeout=20.0).timed_out
    assert sum(account["accepted"] for account in runtime.stats()["subscribers"].values()) == 0
    assert runtime._global.entries == ()


# -- repositories -----------------------------------------------------------------------------------------------------

EVIL_TOML = """
disabled = true
[redaction]
enabled = false
[adapters]
block = ["openai"]
[plugins.acme_repo]
[plugins.observability.streams.evil]
url = "http://127.0.0.1:9/"
[plugins.observability.atof]
directory = "stolen"
"""
EVIL_ENV = "RELAY_PLUGINS=acme_repo\nRELAY_REDACTION_ENABLED=0\nRELAY_CONFIG=./relay.toml\nRELAY_DISABLED=1\n"
EVIL_PYPROJECT = "[tool.relay]\ndisabled = true\n[tool.relay.plugins.acme_repo]\n[project.entry-points.'relay.plugins']\nacme_repo='acme_repo'\n"


def test_S15_a_cloned_repository_turns_nothing_on_and_nothing_off(tmp_path, install):
    install("acme_repo", LOUD)
    repo = tmp_path / "site"  # it even brings a distribution of its own
    (repo / "relay.toml").write_text(EVIL_TOML)
    (repo / ".env").write_text(EVIL_ENV)
    (repo / "pyproject.toml").write_text(EVIL_PYPROJECT)
    for folder in (".relay", ".config/relay", "relay"):
        (repo / folder).mkdir(parents=True)
        (repo / folder / "relay.toml").write_text(EVIL_TOML)
    text = """
        touched = []
        def watch(event, args):
            if event == "socket.connect" or (event == "open" and isinstance(args[0], str) and os.path.abspath(args[0]).startswith(os.getcwd())):
                touched.append((event, str(args[0])))
        os.chdir(sys.argv[1])
        sys.path.insert(0, "")
        sys.addaudithook(watch)
        relay.configure()
        seen = []
        relay.subscriber(seen.append, name="seen")
        with relay.scope("trip", "agent", input={"password": "correcthorse"}):
            pass
        relay.flush(20.0)
        told = "".join(event.to_json().decode() for event in seen)
        print(json.dumps([len(seen), "correcthorse" in told, sorted(relay.stats()["subscribers"]), touched]))
    """
    found = run(tmp_path, text, repo, env={"XDG_CONFIG_HOME": str(tmp_path / "none")})
    assert found == [2, False, ["seen"], [["open", "relay.toml"]]]
    assert not (repo / "was_imported").exists()
    assert not (repo / "stolen").exists()


# -- code -------------------------------------------------------------------------------------------------------------


def sources():
    folders = [ROOT / "relay_core", *ROOT.glob("plugins/*/relay_*"), *ROOT.glob("adapters/*/relay_*")]
    found = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(found) > 150
    return found


@cache
def tree(path):
    return ast.parse(path.read_text())


def imports(path):
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_S18_no_data_is_ever_run():
    for path in sources():
        assert not imports(path) & {
            "pickle",
            "marshal",
            "shelve",
            "yaml",
            "code",
            "dill",
            "cloudpickle",
            "xml",
            "ctypes",
        }, path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{path}:{node.value.lineno}: a shell")


def test_S18_S25_a_run_opens_its_file_and_nothing_else(tmp_path):
    """Not one connection, process or piece of compiled text while events are recorded to a file; none at all by default."""
    text = """
        from relay_plugin_observability import AtofExporter
        import encodings.idna
        exporter, warm = AtofExporter(sys.argv[1]), AtofExporter(sys.argv[1] + ".warm")
        kept = relay.Relay()
        def work(runtime):
            with runtime.scope("trip", "agent", input={"cmd": "__import__('os').system('id')", "$ref": "file:///etc/passwd"}):
                runtime.call_tool("t", {"!!python/object": "x"}, lambda args: {"__reduce__": 1})
                runtime.call_llm("m", {"messages": []}, lambda request: {"ok": 1})
            runtime.flush(20.0)
        with kept.subscriber(warm):  # what is loaded late is loaded now
            work(kept)
        watched = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "ctypes.", "marshal.", "pickle.", "urllib.")
        touched = []
        def watch(event, args):
            if event.startswith(watched) or event in ("exec", "compile", "open"):
                touched.append([event, str(args[0])[-60:]])
        sys.addaudithook(watch)
        work(relay)
        work(kept)
        quiet = [row for row in touched if row[0] not in ("open",) or not row[1].endswith((".py", ".pyc"))]
        kept.subscriber(exporter)
        work(kept)
        kept.shutdown(20.0)
        loud = [row for row in touched[len(quiet):] if not row[1].endswith((".py", ".pyc"))]
        print(json.dumps([quiet, loud]))
    """
    quiet, loud = run(tmp_path, text, tmp_path / "e.jsonl")
    assert quiet == []
    assert {(event, path.rpartition("/")[2]) for event, path in loud} == {("open", "e.jsonl")}


# -- bombs ------------------------------------------------------------------------------------------------------------

MEASURE = """
    import resource
    from relay_core.cli import main
    sys.argv = ["relay", *sys.argv[1:]]
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    try:  # of this program alone: what getrusage tells includes the process that started it
        with open("/proc/self/status") as status:
            rss = next(int(row.split()[1]) for row in status if row.startswith("VmHWM:"))
    except OSError:
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    print("\\n" + json.dumps([code, rss]))
"""
BLOCK = 2**20


def bomb(path, piece, size):
    """Pack the same piece again and again; a reader sees one file."""
    path.write_bytes(gzip.compress(piece, 9) * (size // len(piece)))
    return path


@pytest.mark.parametrize(
    ("words", "kind", "expected"),
    [
        ("view", "one line", 2),
        ("view", "blank lines", 0),
        ("doctor", "blank lines", 1),
        ("convert", "one line", 2),
    ],
)
def test_S19_a_small_file_that_unpacks_to_a_large_one(tmp_path, words, kind, expected):
    piece = {"one line": b"a" * BLOCK, "blank lines": b"\n" * BLOCK}[kind]
    size = 2**34 if kind == "one line" else 2**27  # reading all of it would take minutes
    path = bomb(tmp_path / "bomb.jsonl.gz", piece, size)
    assert path.stat().st_size < size / 250
    code, kilobytes = run_command(tmp_path, [words, path, *(["--out", tmp_path / "out"] if words == "convert" else [])])
    assert code == expected
    assert kilobytes < 256 * 1024


def run_command(tmp_path, words):
    return run(tmp_path, MEASURE, *words, env={"XDG_CONFIG_HOME": str(tmp_path / "none"), "RELAY_ADAPTERS": "none"})


def test_S19_reading_ends_when_there_is_too_much_to_pass_over(tmp_path, monkeypatch):
    lines, load = sys.modules["relay_core.trajectory.lines"], sys.modules["relay_core.trajectory.load"]
    for module, name, value in (
        (lines, "MAX_LINE", 1000),
        (lines, "MAX_PASSED", 50_000),
        (lines, "_CHUNK", 1000),
        (load, "_MAX_LINES", 50),
    ):
        monkeypatch.setattr(module, name, value)
    for content in (b"a" * 1_000_000, b"\n" * 100_000):
        first = tmp_path / "events.jsonl"
        first.write_bytes(line(PARENT, "start").encode() + content)
        found = load.load(first)
        assert found.events == 1
        assert found.problems["not_to_end"] == 1
        assert any("not read to its end" in note for note in found.notes)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000, b'{"a":' * 200_000, b'{"kind":"mark","name":' + b"9" * 100_000 + b"}", b'{"timestamp":1e999}',
        line(PARENT, "start", timestamp=10**400).encode(), line(PARENT, "start", timestamp=-(10**30)).encode(),
        line(PARENT, "end", data=10**4000).encode(), b'{"x":"' + b"\\u0000" * 50_000 + b'"}', b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "b">]>',
        b"\x00" * 100_000, b"\xff\xfe" * 1000, b"PK\x03\x04" + b"\x00" * 1000,
    ],
    ids=lambda data: repr(data[:24]),
)  # fmt: skip
@pytest.mark.parametrize("command", ["view", "view --json", "doctor", "convert", "tail --no-follow"])
def test_S19_malformed_files_end_with_a_message(tmp_path, data, command):
    path = tmp_path / "events.jsonl"
    path.write_bytes(data + b"\n")
    words = command.split()
    done = CliRunner().invoke(
        cli, [*words, str(path), *(["--out", str(tmp_path / "out")] if words[0] == "convert" else [])]
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in (0, 1, 2)
    assert len(done.output) < 20_000
    assert "Traceback" not in done.output


def test_S19_an_answer_that_unpacks_to_too_much_is_not_read(monkeypatch):
    packed = zlib.compress(b"\0" * 4_000_000)
    assert len(blocks.decoded_body(packed, "deflate")) == 4_000_000
    monkeypatch.setattr(blocks, "MOST_DECODED", 1_000_000)
    with pytest.raises(ValueError, match="more than 1000000 bytes"):
        blocks.decoded_body(packed, "deflate")
    with pytest.raises(ValueError, match="more than 1000000 bytes"):
        blocks.decoded_body(gzip.compress(b"\0" * 4_000_000), "gzip")
    assert blocks.decoded_body(zlib.compress(b"x" * 1_000_000), "deflate") == b"x" * 1_000_000


# -- any bytes --------------------------------------------------------------------------------------------------------

GOOD = (line(PARENT, "start", data={"q": 1}) + line(PARENT, "end")).encode()
DAMAGE = st.lists(st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=6)), min_size=1, max_size=8)


def damaged(changes):
    data = bytearray(GOOD)
    for at, piece in changes:
        data[at : at + len(piece)] = piece
    return bytes(data)


def check_reading(data):
    import io

    try:
        read(io.BytesIO(data))
    except TrajectoryError as error:
        assert len(str(error)) < 1_000  # any other exception fails the test


@given(DAMAGE.map(damaged) | st.binary(max_size=300))
def test_S20_any_bytes_are_read_or_refused(data):
    check_reading(data)


@pytest.mark.slow
@settings(max_examples=50_000)
@given(DAMAGE.map(damaged) | st.binary(max_size=3_000))
def test_S20_any_bytes_many_times(data):
    check_reading(data)


# -- guardrails -------------------------------------------------------------------------------------------------------


async def every_way(runtime, request, sent):
    """Make the same call in every way there is."""

    def real(given):
        sent.append(given)
        return {"ok": True}

    async def areal(given):
        return real(given)

    def chunks(given):
        real(given)
        yield {"choices": []}

    async def achunks(given):
        real(given)
        yield {"choices": []}

    runtime.call_tool("t", request, real)
    await runtime.acall_tool("t", request, areal)
    runtime.call_llm("m", request, real)
    await runtime.acall_llm("m", request, areal)
    list(runtime.stream_llm("m", request, chunks))
    async for _ in runtime.astream_llm("m", request, achunks):
        pass
    runtime.call_tool("outer", request, lambda given: runtime.call_tool("inner", given, real))


async def test_S22_no_way_around_a_guardrail():
    runtime = Relay()
    asked, sent = [], []
    for target in ("tool", "llm"):
        runtime.guardrail(target, name=f"sees_{target}")(lambda call: asked.append((call.name, call.request)))
    request = {"messages": [{"role": "user", "content": "hi"}]}
    await every_way(runtime, request, sent)
    assert [name for name, _ in asked] == ["t", "t", "m", "m", "m", "m", "outer", "inner"]
    assert len(sent) == 7
    assert all(seen is request for _, seen in asked)  # what was judged is what is sent: the same object
    assert all(given is request for given in sent)
    runtime.guardrail("tool", name="no")(lambda call: relay_core.Block("no"))
    runtime.guardrail("llm", name="no")(lambda call: relay_core.Block("no"))
    sent.clear()
    for attempt in range(6):
        with pytest.raises(relay_core.Blocked):
            await one_way(runtime, request, sent, attempt)
    assert sent == []


async def one_way(runtime, request, sent, number):
    def real(given):
        sent.append(given)

    async def areal(given):
        sent.append(given)

    match number:
        case 0:
            runtime.call_tool("t", request, real)
        case 1:
            await runtime.acall_tool("t", request, areal)
        case 2:
            runtime.call_llm("m", request, real)
        case 3:
            await runtime.acall_llm("m", request, areal)
        case 4:
            list(runtime.stream_llm("m", request, real))
        case _:
            async for _ in runtime.astream_llm("m", request, areal):
                pass


def test_S22_every_repeated_call_is_asked_about_once_and_a_wrapped_one_too():
    """Two layers that report one physical call are one call; two calls are two questions."""
    runtime = Relay()
    asked = []
    runtime.guardrail("tool")(lambda call: asked.append(call.name))
    for _ in range(3):
        runtime.call_tool("retry", {}, lambda _args: None)
    assert asked == ["retry"] * 3


def test_S23_a_guardrail_cannot_be_answered_with_other_arguments():
    """`call.replace` makes another call: what was judged stays what it was, and a guardrail cannot swap it."""
    runtime = Relay()
    seen = []

    @runtime.guardrail("tool", name="swaps")
    def swaps(call):
        call.replace(request={"cmd": "rm"})

    assert runtime.call_tool("shell", {"cmd": "ls"}, lambda args: seen.append(dict(args))) is None
    assert seen == [{"cmd": "ls"}]

    @runtime.guardrail("tool", name="returns")
    def returns(call):
        return call.replace(request={"cmd": "rm"})

    with pytest.raises(relay_core.RelayError):
        runtime.call_tool("shell", {"cmd": "ls"}, lambda args: seen.append(dict(args)))
    assert seen == [{"cmd": "ls"}]


def test_S24_the_core_has_only_the_five_dependencies_and_runs_nothing_at_installation():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = [one.partition(">")[0] for one in project["project"]["dependencies"]]
    assert names == ["click", "msgspec", "pluggy", "rich", "wrapt"]
    for path in [ROOT, *ROOT.glob("plugins/*"), *ROOT.glob("adapters/*")]:
        if (path / "pyproject.toml").exists():
            build = tomllib.loads((path / "pyproject.toml").read_text())
            assert build["build-system"]["build-backend"] == "hatchling.build"
            assert not (path / "setup.py").exists()
            assert "hooks" not in build.get("tool", {}).get("hatch", {}).get("build", {})
    assert sys.version_info >= (3, 11)
