"""R7 to R9, R21: killed programs, lost power, and what the next program finds. Through the whole of Relay."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import pytest

from relay_core import Relay
from relay_plugin_observability import AtofExporter
from tests.reliability.support import assert_account, program, run, whole_lines

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and fsync of POSIX")

WRITER = """
from relay_plugin_observability import AtofExporter
exporter = AtofExporter(sys.argv[1], durability=sys.argv[2])
relay.register("subscriber", exporter)
n = int(sys.argv[3])
print("ready", n, flush=True)
while True:
    for _ in range(100):
        relay.mark("m", data={"n": n, "text": "x" * (n % 300)})
        n += 1
    assert not relay.flush(20.0).timed_out
    print(n, flush=True)
"""


def kill_rounds(tmp_path, durability, rounds):
    """Kill a writer again and again; each goes on in the file of the one before. Gives the most that a kill has cost."""
    path = tmp_path / "e.jsonl"
    next_number, most = 0, 0
    for _ in range(rounds):
        command = program(tmp_path, WRITER, path, durability, next_number)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline().startswith(b"ready")
            time.sleep(random.uniform(0.0, 0.05))
            process.kill()
            told = [int(line) for line in process.stdout.read().splitlines()]
        *whole, torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
        numbers = [json.loads(line)["data"]["n"] for line in whole]
        mine = [n for n in numbers if n >= next_number]
        assert mine == list(range(next_number, next_number + len(mine))), "nothing is missing in between"
        acknowledged = told[-1] if told else next_number
        assert next_number + len(mine) >= acknowledged, "a flush that returned was on its way to the disk"
        most = max(most, len(torn) > 0)
        next_number += len(mine) + 1_000  # the gap shows where one was killed
    return path, most


@pytest.mark.parametrize("durability", ["buffered", "line", "fsync"])
def test_R07_R09_kill_at_random_points_and_go_on(tmp_path, durability):
    path, _ = kill_rounds(tmp_path, durability, 4)
    runtime = Relay()
    exporter = AtofExporter(path)
    runtime.register("subscriber", exporter)
    runtime.mark("after", data={"n": -1})
    runtime.shutdown(timeout=20.0)
    assert whole_lines(path)[-1]["name"] == "after"
    torn = path.with_name(path.name + ".torn")
    assert not torn.exists() or all(not line.endswith(b"}") for line in torn.read_bytes().splitlines())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("durability", ["buffered", "line", "fsync"])
def test_R07_fifty_kills(tmp_path, durability):
    kill_rounds(tmp_path, durability, 50)


def test_R08_power_loss_costs_nothing_that_was_acknowledged(tmp_path, monkeypatch):
    """A disk that keeps what was synced, and of the rest any part or none."""
    synced = {}
    real = os.fsync

    def fsync(fd):
        real(fd)
        status = os.fstat(fd)
        synced[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    draw = random.Random(8)
    for round_ in range(10):
        path = tmp_path / f"{round_}.jsonl"
        runtime = Relay()
        exporter = AtofExporter(path, durability="fsync")
        runtime.register("subscriber", exporter)
        for n in range(draw.randrange(1, 2_000)):
            runtime.mark("m", data={"n": n})
        runtime.flush(timeout=draw.choice([0.0, 0.001, 5.0]))
        acknowledged = exporter.stats().written  # of this moment: the worker may still be writing
        data, kept = (
            path.read_bytes() if path.exists() else b"",
            synced.get(path.stat().st_ino, 0) if path.exists() else 0,
        )
        disk = data[: draw.randint(kept, max(kept, len(data)))]
        survived = disk.split(b"\n")[:-1]
        assert [json.loads(line)["data"]["n"] for line in survived] == list(range(len(survived)))
        assert len(survived) >= acknowledged
        runtime.shutdown(timeout=20.0)


def test_R08_the_name_of_a_new_file_is_on_the_disk_too(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd)))
    runtime = Relay()
    runtime.register("subscriber", AtofExporter(tmp_path / "new" / "e.jsonl", durability="fsync"))
    runtime.mark("m")
    runtime.shutdown(timeout=20.0)
    assert (tmp_path / "new").stat().st_ino in synced
    assert (tmp_path / "new" / "e.jsonl").stat().st_ino in synced


ENDINGS = {
    "os._exit": ("os._exit(0)", 0),
    "SIGKILL": ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
    "SIGTERM": ("os.kill(os.getpid(), 15)", -signal.SIGTERM),
    "abort": ("os.abort()", -signal.SIGABRT),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_R21_a_sudden_end_costs_only_what_still_waits_in_the_queue(tmp_path, ending):
    """Without any flush: the worker writes by itself, so that a program which has been idle for a moment loses nothing."""
    how, code = ENDINGS[ending]
    text = f"""
        from relay_plugin_observability import AtofExporter
        relay.register("subscriber", AtofExporter(sys.argv[1]))
        for n in range(200):
            relay.mark("m", data={{"n": n}})
        while relay.stats()["subscribers"]["atof"]["pending"]:
            time.sleep(0.01)
        {how}
        """
    run(tmp_path, text, tmp_path / "e.jsonl", code=code)
    assert [line["data"]["n"] for line in whole_lines(tmp_path / "e.jsonl")] == list(range(200))


def test_R21_a_signal_handler_may_shut_down(tmp_path):
    """What a server does at SIGTERM; the handler interrupts whatever Relay is doing in the main thread."""
    text = """
        import signal
        from relay_plugin_observability import AtofExporter
        relay.register("subscriber", AtofExporter(sys.argv[1]))
        def stop(number, frame):
            report = relay.shutdown(timeout=20.0)
            print(json.dumps([emitted, report.pending, report.timed_out]), flush=True)
            os._exit(0)
        signal.signal(signal.SIGTERM, stop)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        emitted = 0
        while True:
            relay.mark("m")
            emitted += 1
        """
    emitted, pending, timed_out = run(tmp_path, text, tmp_path / "e.jsonl")
    assert (pending, timed_out) == (0, False)
    assert 0 <= len(whole_lines(tmp_path / "e.jsonl")) - emitted <= 1


def test_R34_the_account_of_a_killed_neighbour_is_its_own(tmp_path):
    runtime = Relay()
    runtime.register("subscriber", AtofExporter(tmp_path / "e.jsonl"))
    with subprocess.Popen(
        program(tmp_path, WRITER, tmp_path / "e.jsonl", "buffered", 0), stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"ready 0\n"
        for _ in range(300):
            runtime.mark("mine")
        runtime.flush(timeout=20.0)
        other.kill()
        other.stdout.read()
    for _ in range(300):
        runtime.mark("mine")
    runtime.shutdown(timeout=20.0)
    assert_account(runtime, "atof", 600, dropped={})
    names = [line["name"] for line in whole_lines(tmp_path / "e.jsonl")]
    assert names.count("mine") == 600
