"""R10, R11, R13: disks that fill up, fail and are shared, under a whole program."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

import pytest

from relay_core import Relay
from relay_plugin_observability import AtofExporter
from tests.reliability.support import assert_account, program, run, whole_lines
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits and permissions of POSIX")


def test_R10_a_full_disk_is_not_noticed_and_recovers(tmp_path):
    text = """
        import resource
        from relay_plugin_observability import AtofExporter
        exporter = AtofExporter(sys.argv[1])
        relay.register("subscriber", exporter)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
        for n in range(20_000):
            assert relay.call_tool("double", n, lambda n: 2 * n) == 2 * n
            if n % 2_000 == 0:  # one that is held up for a quarter of a second gets a bounded queue of its own
                assert not relay.flush(20.0).timed_out
        assert not relay.flush(20.0).timed_out
        stats = exporter.stats()
        assert stats.state == "degraded", stats
        assert stats.accepted == 40_000 == stats.written + sum(stats.dropped.values()), stats
        assert stats.dropped == {"EFBIG": 40_000 - stats.written}, stats
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        deadline = time.monotonic() + 20
        more = 0
        while exporter.stats().state != "ok":
            assert time.monotonic() < deadline
            relay.mark("again")
            more += 1
            time.sleep(0.05)
        account = relay.stats()["subscribers"]["atof"]
        assert account["accepted"] == 40_000 + more == account["delivered"] + account["pending"], account
        print(exporter.stats().written)
        """
    written = run(tmp_path, text, tmp_path / "e.jsonl")
    lines = whole_lines(tmp_path / "e.jsonl")
    gaps = [line for line in lines if line["name"] == "relay.events_dropped"]
    assert len(lines) - len(gaps) == written
    assert len(gaps) == 1
    assert gaps[0]["data"]["dropped"]["EFBIG"] > 30_000


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT, errno.EROFS, errno.ENOSPC])
def test_R11_an_error_of_the_disk_costs_only_what_is_counted(tmp_path, monkeypatch, number):
    path = tmp_path / "e.jsonl"
    runtime = Relay()
    exporter = AtofExporter(path)
    runtime.register("subscriber", exporter)
    runtime.mark("before")
    runtime.flush(timeout=20.0)
    broken, halves, real = [True], [], os.write

    def write(fd, data):
        if broken and os.fstat(fd).st_ino == path.stat().st_ino:
            if halves.append(fd) or len(halves) % 2:
                return real(fd, bytes(data)[:10])  # half a line arrives, then nothing, as real disks do it
            raise OSError(number, os.strerror(number))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    for _ in range(500):
        runtime.mark("during")
    runtime.flush(timeout=20.0)
    assert exporter.stats().state == "degraded"
    assert exporter.stats().dropped == {errno.errorcode[number]: 500}
    assert [line["name"] for line in whole_lines(path)] == ["before"]
    broken.clear()
    more = 0

    def works():
        nonlocal more
        runtime.mark("after")
        more += 1
        runtime.flush(timeout=20.0)
        return exporter.stats().state == "ok"

    wait_for(works, 10.0)
    runtime.shutdown(timeout=20.0)
    assert_account(runtime, "atof", 501 + more, dropped={})
    names = [line["name"] for line in whole_lines(path)]
    assert names[:2] == ["before", "relay.events_dropped"]
    assert len(names) - 1 + sum(exporter.stats().dropped.values()) == 501 + more


def test_R11_R12_the_folder_goes_the_file_moves_and_shrinks_while_threads_write(tmp_path):
    folder = tmp_path / "logs"
    path = folder / "e.jsonl"
    runtime = Relay()
    exporter = AtofExporter(path)
    runtime.register("subscriber", exporter)
    kept = 0
    for round_ in range(12):
        for n in range(100):
            runtime.mark("m", data={"round": round_, "n": n})
        assert not runtime.flush(timeout=20.0).timed_out
        lines = whole_lines(path)
        kept += sum(line["data"]["round"] == round_ for line in lines)
        assert b"\0" not in path.read_bytes()
        if round_ % 3 == 0:
            shutil.rmtree(folder)
        elif round_ % 3 == 1:
            path.rename(tmp_path / f"rotated-{round_}")
        else:
            os.truncate(path, 0)
    runtime.shutdown(timeout=20.0)
    assert kept == 1_200
    assert exporter.stats().dropped == {}
    assert_account(runtime, "atof", 1_200, dropped={})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_R13_eight_processes_with_ten_thousand_events_each_on_one_file(tmp_path):
    text = """
        from relay_plugin_observability import AtofExporter
        exporter = AtofExporter(sys.argv[1])
        relay.register("subscriber", exporter)
        for n in range(10_000):
            relay.mark("m", data={"who": int(sys.argv[2]), "n": n, "text": "x" * (n % 700)})
            if n % 2_000 == 0:  # one that waits a quarter of a second for the lock gets a bounded queue of its own
                assert not relay.flush(60.0).timed_out
        assert not relay.flush(200.0).timed_out
        assert exporter.stats().written == 10_000, exporter.stats()
        """
    path = tmp_path / "e.jsonl"
    command = program(tmp_path, text, path)
    processes = [subprocess.Popen([*command, str(who)]) for who in range(8)]
    assert [process.wait(280) for process in processes] == [0] * 8
    lines = whole_lines(path)
    assert len(lines) == 80_000
    for who in range(8):
        assert [line["data"]["n"] for line in lines if line["data"]["who"] == who] == list(range(10_000))
