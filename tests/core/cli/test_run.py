from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

SCRIPT = """
import sys, relay_core as relay
with relay.scope("job", "agent", input={"argv": sys.argv[1:]}):
    relay.call_tool("add", {"a": 1}, lambda args: args["a"])
print("out", sys.stdin.read(), sys.argv[1:])
print("err", file=sys.stderr)
sys.exit(7)
"""


@pytest.fixture
def script(tmp_path):
    def write(text, name="app.py"):
        file = tmp_path / name
        file.write_text(textwrap.dedent(text))
        return file

    return write


@pytest.mark.parametrize("command", [(), (sys.executable,)])
def test_an_unchanged_program_writes_events(relay_process, script, tmp_path, command):
    pytest.importorskip("relay_plugin_observability")
    from relay_core.trajectory import load

    out = tmp_path / "runs"
    done = relay_process("run", "--out", out, "--", *command, script(SCRIPT), "--flag", "x", input=b"typed")
    assert (done.returncode, done.stderr) == (7, b"err\n")
    assert done.stdout == b"out typed ['--flag', 'x']\n"
    (root,) = load(out).roots
    assert (root.name, [child.name for child in root.children]) == ("job", ["add"])
    assert root.input == {"argv": ["--flag", "x"]}


def test_modules_and_options_after_the_program(relay_process, script):
    script("import sys; print(sys.argv[1:])", "mod.py")
    done = relay_process("run", "-m", "mod", "--config", "--json")
    assert done.stdout == b"['--config', '--json']\n"


def test_processes_below_are_under_relay_too(relay_process, script, tmp_path):
    pytest.importorskip("relay_plugin_observability")
    from relay_core.trajectory import load

    script("""
        import subprocess, sys, relay_core as relay
        with relay.scope("parent"):
            subprocess.run([sys.executable, "-c", "import relay_core as r; r.scope('child').__enter__().close()"], check=True)
    """)
    done = relay_process("run", "--out", "runs", "app.py")
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(root.name for root in load(tmp_path / "runs").roots) == ["child", "parent"]


def test_the_users_own_sitecustomize_runs_first(relay_process, script, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "sitecustomize.py").write_text("import sys; assert 'relay_core' not in sys.modules; MARK = 'mine'")
    script("""
        import os, sys, sitecustomize
        print(sitecustomize.MARK, any("_bootstrap" in entry for entry in sys.path), "relay_core" in sys.modules)
    """)
    done = relay_process("run", "app.py", env={"PYTHONPATH": str(mine)})
    assert (done.stdout, done.stderr) == (b"mine False True\n", b"")


def test_a_failing_sitecustomize_fails_as_without_relay(relay_process, script, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text("raise RuntimeError('mine is broken')")
    script("import sys; print('relay_core' in sys.modules)")
    done = relay_process("run", "app.py", env={"PYTHONPATH": str(tmp_path / "mine")})
    assert done.stdout == b"True\n"
    assert b"mine is broken" in done.stderr


def test_programs_in_other_languages_just_run(relay_process):
    done = relay_process("run", "--", "sh", "-c", "echo hello; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hello\n", b"")


@pytest.mark.parametrize(
    "words, code, text",
    [
        (["no-such-command-here"], 127, b"'no-such-command-here' is no command and no Python script"),
        (["./plain.txt"], 126, b"cannot be executed"),
        (["missing.py"], 127, b"missing.py"),
        ([], 2, b"name the program"),
        (["--adapter", "x", "true"], 2, b"no such option"),
        (["--config", "missing.toml", "true"], 2, b"missing.toml"),
        (["--config", "odd.toml", "true"], 2, b"odd.toml:2: plugins.observability.pat: unknown key"),
        (["--out", "plain.txt", "true"], 2, b"is no directory"),
    ],
)
def test_what_cannot_run(relay_process, tmp_path, words, code, text):
    (tmp_path / "plain.txt").write_text("no program")
    (tmp_path / "odd.toml").write_text("[plugins.observability]\npat = 3\n")
    done = relay_process("run", *words)
    assert done.returncode == code
    assert text in done.stderr
    assert b"Traceback" not in done.stderr


def test_json_tells_and_runs_nothing(relay, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/mine")
    result = relay("run", "--json", "--adapters", "a,b", "--out", "x", "sh", "-c", "echo ran")
    found = json.loads(result.output)
    assert found["command"][1:] == ["-c", "echo ran"]
    assert found["environment"]["PYTHONPATH"].endswith(f"_bootstrap{os.pathsep}/mine")
    assert found["environment"]["RELAY_ADAPTERS"] == "a,b"


def test_signals_reach_the_program(environ, script, tmp_path):
    script("""
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
        print("ready", flush=True)
        time.sleep(30)
    """)
    words = [sys.executable, "-m", "relay_core", "run", "app.py"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environ, cwd=tmp_path) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 42


def test_a_program_that_dies_of_a_signal_says_so(relay_process):
    assert relay_process("run", "sh", "-c", "kill -9 $$").returncode == -signal.SIGKILL


def test_a_python_without_relay_runs_without_it(relay_process, script, tmp_path):
    """-S hides site-packages from a process below; PYTHONPATH still brings the bootstrap once site is imported."""
    script("print('ran')")
    done = relay_process(
        "run", "--", sys.executable, "-S", "-c", "import site; site.main; import sitecustomize; print('ran')"
    )
    assert done.stdout == b"ran\n"
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_disabled_relay_stays_out(relay_process, script):
    script("import sys; print('relay_core' in sys.modules)")
    assert relay_process("run", "app.py", env={"RELAY_DISABLED": "1"}).stdout == b"False\n"


def test_relay_costs_the_program_no_second_process(relay_process, script):
    script("import os; print(os.getpid())")
    started = time.monotonic()
    done = relay_process("run", "--json", "app.py")
    assert json.loads(done.stdout)["command"] == [sys.executable, "app.py"]
    assert time.monotonic() - started < 30
