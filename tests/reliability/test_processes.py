"""R19 to R22: forks of every kind, at the worst moments, and servers that fork."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request

import pytest

from tests.reliability.support import program, run, whole_lines
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def counts(path):
    """Count what each process has written, by the name of its events."""
    names = [line["name"] for line in whole_lines(path)]
    return {name: names.count(name) for name in set(names)}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_R19_four_workers_with_a_thousand_events_each(tmp_path, method):
    text = f"""
        import multiprocessing
        from relay_plugin_observability import AtofExporter
        relay.register("subscriber", AtofExporter(sys.argv[1]))
        def work(index):
            for n in range(1_000):
                relay.mark(f"child{{index}}")
        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            children = [context.Process(target=work, args=(n,)) for n in range(4)]
            for n in range(100):
                relay.mark("before")
            for child in children:
                child.start()
            for n in range(100):
                relay.mark("after")
            for child in children:
                child.join()
                assert child.exitcode == 0
            assert not relay.flush(20.0).timed_out
            account = relay.stats()["subscribers"]["atof"]
            assert account["accepted"] == account["delivered"] == 200, account
        """
    run(tmp_path, text, tmp_path / "e.jsonl")
    expected = {"before": 100, "after": 100, **{f"child{n}": 1_000 for n in range(4)}}
    assert counts(tmp_path / "e.jsonl") == expected


def test_R19_a_pool_that_is_terminated_loses_what_it_had_not_handed_over_and_nothing_else(tmp_path):
    text = """
        import multiprocessing
        from relay_plugin_observability import AtofExporter
        relay.register("subscriber", AtofExporter(sys.argv[1]))
        def work(index):
            with relay.scope(f"job{index}"):
                pass
            assert not relay.flush(20.0).timed_out
            return index
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(3) as pool:
                assert sorted(pool.map(work, range(60))) == list(range(60))
        """
    run(tmp_path, text, tmp_path / "e.jsonl")
    assert counts(tmp_path / "e.jsonl") == {f"job{n}": 2 for n in range(60)}


def test_R19_a_server_that_forks_in_c(tmp_path):
    """As uWSGI does: a plain C fork, then the interpreter is told; and a daemon, that forks twice and closes everything."""
    text = """
        import ctypes
        from relay_plugin_observability import AtofExporter
        exporter = AtofExporter(sys.argv[1])
        relay.register("subscriber", exporter)
        c = ctypes.PyDLL(None)
        for n in range(50):
            relay.mark("parent")
        c.PyOS_BeforeFork()
        pid = c.fork()
        if not pid:
            c.PyOS_AfterFork_Child()
            for n in range(500):
                relay.mark("c-child")
            os._exit(1 if relay.shutdown(5.0).timed_out else 0)
        c.PyOS_AfterFork_Parent()
        assert os.waitpid(pid, 0)[1] == 0
        first = os.fork()
        if not first:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.closerange(0, 256)
            for n in range(500):
                relay.mark("daemon")
            relay.shutdown(20.0)
            open(sys.argv[1] + ".done", "w").close()
            os._exit(0)
        assert os.waitpid(first, 0)[1] == 0
        """
    run(tmp_path, text, tmp_path / "e.jsonl")
    wait_for((tmp_path / "e.jsonl.done").exists, 20.0)
    assert counts(tmp_path / "e.jsonl") == {"parent": 50, "c-child": 500, "daemon": 500}


@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed")
def test_R19_gunicorn_with_preloaded_application(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "app.py").write_text(
        "import os\nimport relay_core as relay\nfrom relay_plugin_observability import AtofExporter\n"
        f"relay.register('subscriber', AtofExporter({str(tmp_path / 'e.jsonl')!r}))\n"
        "relay.mark('loaded')\n"
        "def app(environ, start):\n"
        "    with relay.scope('request', 'agent', metadata={'pid': os.getpid()}):\n"
        "        pass\n"
        "    start('200 OK', [('Content-Length', '0')])\n"
        "    return [b'']\n"
    )
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "4", "-b", f"127.0.0.1:{port}", "app:app"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as server:
        try:
            deadline, done = time.monotonic() + 20, 0
            while done < 200:
                assert time.monotonic() < deadline
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                        done += 1
                except OSError:
                    time.sleep(0.05)
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert counts(tmp_path / "e.jsonl") == {"loaded": 1, "request": 400}


FORKS = """
import signal
from relay_plugin_observability import AtofExporter
exporter = AtofExporter(sys.argv[1])
relay.register("subscriber", exporter)
stop = []
def busy():
    n = 0
    while not stop:
        handle = relay.subscriber(lambda event: None, name="churn")
        with relay.scope("work", input={"n": n}):
            relay.mark("m")
        handle.remove()
        relay.stats(), exporter.stats()
        relay.flush(timeout=0.001)
        n += 1
def emit():
    while not stop:
        relay.mark("n", data="x" * 2_000)
threads = [threading.Thread(target=work, daemon=True) for work in (busy, emit)]
for thread in threads:
    thread.start()
def child(number):
    signal.alarm(30)
    for n in range(3):
        relay.mark("child", data={"number": number, "n": n})
    report = relay.shutdown(20.0)
    os._exit(1 if report.timed_out or exporter.stats().written != 3 else 0)
def fds():
    return len(os.listdir("/proc/self/fd"))
"""


def forks(tmp_path, ending, **options):
    found = run(tmp_path, FORKS + ending, tmp_path / "e.jsonl", **options)
    numbers = [line["data"]["number"] for line in whole_lines(tmp_path / "e.jsonl") if line["name"] == "child"]
    assert sorted(numbers) == sorted(list(range(found["forks"])) * 3)
    assert found["bad"] == 0
    return found


LOOP = """
bad = 0
for number in range({count}):
    pid = os.fork()
    if not pid:
        child(number)
    bad += os.waitpid(pid, 0)[1] != 0
stop.append(1)
for thread in threads:
    thread.join()
print(json.dumps({{"forks": {count}, "bad": bad}}))
"""


def test_R20_forks_while_other_threads_hold_every_lock(tmp_path):
    forks(tmp_path, LOOP.format(count=40))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_R20_five_hundred_forks_while_other_threads_hold_every_lock(tmp_path):
    forks(tmp_path, LOOP.format(count=500), seconds=280)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_R22_a_storm_of_forks(tmp_path, figure):
    storm = """
        bad = number = 0
        before, began, running = fds(), time.monotonic(), set()
        while time.monotonic() < began + 30:
            pid = os.fork()
            if not pid:
                child(number)
            running.add(pid)
            number += 1
            while len(running) >= 8:
                pid, status = os.wait()
                running.discard(pid)
                bad += status != 0
            time.sleep(max(0.0, began + number / 200 - time.monotonic()))
        for pid in running:
            bad += os.waitpid(pid, 0)[1] != 0
        stop.append(1)
        for thread in threads:
            thread.join()
        assert fds() <= before + 1, (before, fds())
        print(json.dumps({"forks": number, "bad": bad}))
    """
    found = forks(tmp_path, textwrap.dedent(storm), seconds=120)
    figure(f"R22, forks in 30 s: {found}")


def test_R21_nothing_hangs_when_the_program_ends_in_the_middle(tmp_path):
    """Threads that emit, a subscriber of the user's and open scopes, while the interpreter goes down."""
    text = """
        import atexit
        from relay_plugin_observability import AtofExporter
        relay.register("subscriber", AtofExporter(sys.argv[1]))
        relay.subscriber(lambda event: time.sleep(0.001))
        def emit():
            while True:
                with relay.scope("s", input={"x": 1}):
                    relay.mark("m")
        atexit.register(relay.mark, "at exit")
        class Last:
            def __del__(self):
                relay.mark("last")
        kept = Last()
        for _ in range(3):
            threading.Thread(target=emit, daemon=True).start()
        relay.open_scope("never closed")
        time.sleep(0.2)
        """
    began = time.monotonic()
    with subprocess.Popen(program(tmp_path, text, tmp_path / "e.jsonl"), stderr=subprocess.PIPE) as process:
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
    assert time.monotonic() - began < 8.0
    assert "never closed" in counts(tmp_path / "e.jsonl")
