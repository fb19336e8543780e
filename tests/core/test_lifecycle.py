"""The process around a runtime: exit, forks, switching it off, and what merely importing it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

PRELUDE = """
import os, sys, threading, time
import relay_core as relay

def to_file(event):
    line = f"{os.getpid()} {event.kind} {event.scope_category or '-'} {event.name}\\n"
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)
"""


def run(tmp_path, program, *, seconds=40.0, env=None, code=0):
    """Run a program in an interpreter of its own; gives what its subscriber has written, and its output."""
    script = tmp_path / "program.py"
    script.write_text(PRELUDE + textwrap.dedent(program))
    out = tmp_path / "events.txt"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(out)],
        capture_output=True,
        text=True,
        timeout=seconds + 10,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == code, done.stderr
    assert time.monotonic() - began < seconds
    lines = [line.split(" ", 3) for line in out.read_text().splitlines()] if out.exists() else []
    return lines, done


class TestExit:
    @pytest.mark.parametrize(
        ("ending", "code"),
        [("pass", 0), ("sys.exit(3)", 3), ("raise ValueError('told on stderr')", 1), ("quit()", 0)],
    )
    def test_pending_events_are_delivered(self, tmp_path, ending, code):
        lines, done = run(
            tmp_path,
            f"""
            relay.subscriber(to_file)
            for n in range(300):
                relay.mark(f"m{{n}}")
            {ending}
            """,
            code=code,
        )
        assert [name for *_, name in lines] == [f"m{n}" for n in range(300)]
        assert ("told on stderr" in done.stderr) is (code == 1)

    def test_a_scope_that_an_exception_ends_is_delivered(self, tmp_path):
        lines, _ = run(
            tmp_path,
            """
            relay.subscriber(to_file)
            with relay.scope("job"):
                sys.exit()
            """,
        )
        assert [line[2:] for line in lines] == [["start", "job"], ["end", "job"]]

    def test_events_of_exit_hooks_are_delivered(self, tmp_path):
        lines, _ = run(
            tmp_path,
            """
            import atexit
            relay.subscriber(to_file)
            atexit.register(relay.mark, "from a hook")
            """,
        )
        assert [name for *_, name in lines] == ["from a hook"]

    def test_exporters_are_closed(self, tmp_path):
        _, done = run(
            tmp_path,
            """
            class Exporter:
                def on_event(self, event): print(event.name)
                def flush(self, timeout): print("flush")
                def close(self, timeout): print("close")
            relay.subscriber(Exporter())
            relay.mark("m")
            """,
        )
        assert done.stdout.split() == ["m", "flush", "close"]

    def test_daemon_threads_that_still_emit_do_no_harm(self, tmp_path):
        lines, done = run(
            tmp_path,
            """
            relay.subscriber(to_file)
            def work():
                while True:
                    with relay.scope("work"):
                        time.sleep(0.001)
            for _ in range(4):
                threading.Thread(target=work, daemon=True).start()
            relay.mark("main")
            time.sleep(0.05)
            """,
            seconds=40.0,
        )
        assert "main" in [name for *_, name in lines]
        assert done.stderr == ""

    def test_a_stuck_subscriber_does_not_keep_the_process(self, tmp_path):
        lines, done = run(
            tmp_path,
            """
            relay.subscriber(lambda event: threading.Event().wait(), name="stuck", priority=1)
            relay.subscriber(to_file)
            for n in range(50):
                relay.mark(f"m{n}")
            """,
            seconds=40.0,
        )
        assert len(lines) == 50
        assert done.stderr == ""

    def test_a_stuck_async_subscriber_does_not_keep_the_process(self, tmp_path):
        run(
            tmp_path,
            """
            import asyncio
            async def stuck(event):
                await asyncio.Event().wait()
            relay.subscriber(stuck)
            relay.mark("m")
            """,
            seconds=40.0,
        )

    def test_after_a_flush_even_a_hard_exit_loses_nothing(self, tmp_path):
        lines, _ = run(
            tmp_path,
            """
            relay.subscriber(to_file)
            for n in range(100):
                relay.mark(f"m{n}")
            relay.flush(timeout=20.0)
            os._exit(0)
            """,
        )
        assert len(lines) == 100

    def test_runtimes_of_ones_own_are_drained_too(self, tmp_path):
        lines, _ = run(
            tmp_path,
            """
            one, two = relay.Relay(), relay.Relay()
            one.subscriber(to_file)
            two.subscriber(to_file)
            one.mark("one")
            two.mark("two")
            """,
        )
        assert sorted(name for *_, name in lines) == ["one", "two"]


class TestForks:
    def test_each_event_is_delivered_once_by_the_process_that_emitted_it(self, tmp_path):
        lines, done = run(
            tmp_path,
            """
            relay.subscriber(to_file)
            for n in range(200):
                relay.mark(f"parent{n}")
            pids = []
            for child in range(3):
                pid = os.fork()
                if not pid:
                    for n in range(50):
                        relay.mark(f"child{child}-{n}")
                    sys.exit(0)
                pids.append(pid)
            for pid in pids:
                assert os.waitpid(pid, 0)[1] == 0
            print(os.getpid())
            """,
        )
        parent = done.stdout.split()[-1]
        expected = [f"parent{n}" for n in range(200)] + [f"child{c}-{n}" for c in range(3) for n in range(50)]
        assert sorted(name for *_, name in lines) == sorted(expected)
        assert all((pid == parent) is name.startswith("parent") for pid, *_, name in lines)

    def test_a_scope_is_ended_by_the_process_that_opened_it(self, tmp_path):
        lines, done = run(
            tmp_path,
            """
            relay.subscriber(to_file)
            with relay.scope("job"):
                pid = os.fork()
                with relay.scope("parent" if pid else "child"):
                    pass
            if pid:
                os.waitpid(pid, 0)
                print(os.getpid())
            """,
        )
        parent = done.stdout.split()[-1]
        ends = [(pid == parent, name) for pid, _, phase, name in lines if phase == "end"]
        assert sorted(ends) == [(False, "child"), (True, "job"), (True, "parent")]

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_processes_of_multiprocessing_deliver_without_a_flush(self, tmp_path, method):
        lines, _ = run(
            tmp_path,
            f"""
            import multiprocessing
            def work(index):
                relay.mark(f"child{{index}}")
                with relay.scope(f"scope{{index}}"):
                    pass
            relay.subscriber(to_file)
            if __name__ == "__main__":
                relay.mark("parent")
                context = multiprocessing.get_context("{method}")
                children = [context.Process(target=work, args=(n,)) for n in range(2)]
                for child in children:
                    child.start()
                for child in children:
                    child.join()
                    assert child.exitcode == 0
            """,
            seconds=30.0,
        )
        expected = [["mark", "-", "parent"]]
        for n in range(2):
            expected += [["mark", "-", f"child{n}"], ["scope", "start", f"scope{n}"], ["scope", "end", f"scope{n}"]]
        assert sorted(line[1:] for line in lines) == sorted(expected)

    def test_a_fork_while_other_threads_are_inside_hurts_no_child(self, tmp_path):
        _, done = run(
            tmp_path,
            """
            import signal
            relay.subscriber(lambda event: None, name="seen")
            def busy():
                while not stop:
                    handle = relay.subscriber(lambda event: None, name="churn")
                    with relay.scope("work"):
                        relay.mark("m")
                    handle.remove()
                    relay.stats()
                    relay.flush(timeout=0.001)
            stop = []
            threads = [threading.Thread(target=busy, daemon=True) for _ in range(1)]
            threads += [threading.Thread(target=lambda: [relay.mark("n") for _ in iter(lambda: bool(stop), True)], daemon=True)]
            for thread in threads:
                thread.start()
            bad = 0
            for attempt in range(100):
                pid = os.fork()
                if not pid:
                    signal.alarm(30)
                    got = []
                    relay.subscriber(lambda event: got.append(event.name), name="child")
                    with relay.scope("child"):
                        pass
                    report = relay.flush(timeout=20.0)
                    os._exit(0 if got == ["child", "child"] and not report.timed_out else 1)
                bad += os.waitpid(pid, 0)[1] != 0
            stop.append(1)
            print("bad", bad)
            """,
            seconds=60.0,
        )
        assert done.stdout.split() == ["bad", "0"]


class TestDisabled:
    PROGRAM = """
    import asyncio
    class Args(dict): pass
    args, seen = Args(n=1), []
    relay.subscriber(seen.append)
    relay.guardrail("tool")(lambda call: relay.Block("no"))
    relay.guardrail("llm")(lambda call: relay.Block("no"))
    relay.sanitizer(lambda event: 1 / 0)
    async def later(request): return request
    async def chunks(request):
        yield request
        yield 2
    async def main():
        assert await relay.acall_tool("t", args, later) is args
        assert await relay.acall_llm("l", args, later) is args
        assert [chunk async for chunk in relay.astream_llm("l", args, chunks)] == [args, 2]
    asyncio.run(main())
    assert relay.call_tool("t", args, lambda given: given) is args
    assert relay.call_llm("l", args, lambda given: given) is args
    assert list(relay.stream_llm("l", args, lambda given: iter([given, 2]))) == [args, 2]
    with relay.scope("s", input=args) as scope:
        scope.output = 1
        scope.metadata["k"] = 1
        scope.mark("m")
        relay.mark("m", data=args)
        relay.metric("g", [relay.Measurement("turns", "counter", "u64", 1)])
        assert relay.current() is None
        repr(scope), scope.uuid, scope.parent_uuid, scope.root_uuid, scope.status, scope.closed
    manual = relay.open_scope("o")
    manual.close(output=1)
    assert manual.close() is False
    @relay.scope("decorated")
    def double(n): return 2 * n
    assert double(2) == 4
    async def adouble(n): return 2 * n
    assert asyncio.run(relay.scope("d")(adouble)(2)) == 4
    relay.inject()
    assert relay.bind(lambda: 5)() == 5
    assert relay.flush(timeout=20.0) == (0, 0, 0, False)
    relay.shutdown(timeout=20.0)
    assert seen == []
    assert [t.name for t in threading.enumerate()] == ["MainThread"]
    print("unchanged")
    """

    @pytest.mark.parametrize("value", ["1", "true", "YES", " on "])
    def test_everything_works_as_if_it_were_not_there(self, tmp_path, value):
        _, done = run(tmp_path, self.PROGRAM, env={"RELAY_DISABLED": value})
        assert done.stdout.split() == ["unchanged"]

    @pytest.mark.parametrize("value", ["", "0", "false", "no"])
    def test_other_values_leave_it_on(self, tmp_path, value):
        lines, _ = run(
            tmp_path,
            "relay.subscriber(to_file)\nrelay.mark('m')",
            env={"RELAY_DISABLED": value},
        )
        assert [name for *_, name in lines] == ["m"]

    def test_errors_of_the_work_come_through(self, tmp_path):
        _, done = run(
            tmp_path,
            """
            error = KeyError("mine")
            def fail(args):
                raise error
            try:
                relay.call_tool("t", {}, fail)
            except KeyError as caught:
                print(caught is error)
            """,
            env={"RELAY_DISABLED": "1"},
        )
        assert done.stdout.split() == ["True"]


def modules_after(statement):
    """Run a statement in a fresh interpreter without site packages' start-up code; gives the names of all modules."""
    root = Path(__file__).resolve().parents[2]
    code = f"import sys; sys.path.insert(0, {str(root)!r}); {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


class TestImport:
    def test_it_loads_few_modules_and_none_that_are_heavy(self):
        loaded = modules_after("import relay_core") - modules_after("pass")
        assert len(loaded) <= 60, sorted(loaded)
        heavy = {"asyncio", "msgspec", "pluggy", "inspect", "dataclasses", "click", "rich", "http", "logging", "json"}
        assert not loaded & heavy

    def test_scopes_without_a_subscriber_load_nothing_more(self):
        work = (
            "import relay_core as r\n"
            "with r.scope('s', input={}) as s: s.output = 1; r.mark('m')\n"
            "r.call_tool('t', {}, lambda args: 1)"
        )
        loaded = modules_after(f"exec({work!r})") - modules_after("import relay_core")
        assert not loaded & {"asyncio", "msgspec", "pluggy", "inspect", "threading", "logging"}, sorted(loaded)

    def test_no_thread_starts_before_the_first_event(self, tmp_path):
        _, done = run(
            tmp_path,
            """
            import json
            names = []
            note = lambda: names.append([t.name for t in threading.enumerate()])
            note()
            relay.subscriber(lambda event: None)
            relay.guardrail("tool")(lambda call: None)
            relay.flush(timeout=20.0)
            note()
            relay.mark("m")
            note()
            print(json.dumps(names))
            """,
        )
        before, registered, emitted = json.loads(done.stdout)
        assert before == registered == ["MainThread"]
        assert "relay-dispatch" in emitted
