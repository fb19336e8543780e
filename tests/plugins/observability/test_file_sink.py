from __future__ import annotations

import json
import logging
import os
import random
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from relay_core.errors import ConfigError
from relay_plugin_observability import FileSink
from tests.waiting import told

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, signals and locks")


def lines_of(path):
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def numbered(start, count):
    return [b'{"n":%d}' % n for n in range(start, start + count)]


def run_python(code, *args):
    """Run a program to its end and return its exit code."""
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], check=False, timeout=40).returncode


@pytest.mark.parametrize("durability", ["buffered", "line", "fsync"])
def test_lines_are_in_the_file_when_write_returns(tmp_path, durability):
    sink = FileSink(tmp_path / "e.jsonl", durability=durability)
    assert sink.write(numbered(0, 5000)) == 5000
    assert [line["n"] for line in lines_of(sink.path)] == list(range(5000))
    stats = sink.stats()
    assert (stats.accepted, stats.written, stats.dropped, stats.state) == (5000, 5000, {}, "ok")
    assert stats.bytes == sink.path.stat().st_size
    assert sink.flush(20.0) is True
    sink.close()


def test_a_batch_is_joined_to_blocks_of_about_64_kib(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl")
    blocks = list(sink._blocks([b"x" * 1000] * 1000))
    assert len(blocks) == 16
    assert sum(count for _, count in blocks) == 1000
    assert all(block.endswith(b"\n") and len(block) < (1 << 16) + 1002 for block, _ in blocks)


def test_a_large_line_is_written_whole(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl")
    text = "é" * 3_000_000
    assert sink.write([b'{"n":1}', json.dumps({"t": text}, ensure_ascii=False).encode(), b'{"n":2}']) == 3
    assert lines_of(sink.path)[1]["t"] == text


@pytest.mark.parametrize("durability", ["buffered", "line", "fsync"])
@pytest.mark.parametrize("vectored", [True, False])
def test_lines_in_pieces_stand_between_the_others(tmp_path, durability, vectored, monkeypatch):
    if not vectored:  # as on Windows
        monkeypatch.setattr("relay_plugin_observability.append_file._writev", None)
    long = b"x" * 100_000
    sink = FileSink(tmp_path / "a.jsonl", durability=durability)
    lines = [b"1", (b"[", long, memoryview(long)[:9], b"]"), b"2", b"", b"3\n4", (long, b"!")] * 40
    assert sink.write(lines) == 4 * 40
    joined = [b"".join(line) if type(line) is tuple else line for line in lines]
    assert (tmp_path / "a.jsonl").read_bytes().split(b"\n") == [
        line for line in joined if line and b"\n" not in line
    ] + [b""]
    stats = sink.stats()
    assert (stats.accepted, stats.dropped) == (6 * 40, {"invalid_line": 2 * 40})
    assert stats.bytes == (tmp_path / "a.jsonl").stat().st_size


@pytest.mark.parametrize("at", [0, 3, 7, 50_000, 70_006])
def test_a_line_in_pieces_that_is_written_in_part_is_finished(tmp_path, monkeypatch, at):
    monkeypatch.setattr(
        "relay_plugin_observability.append_file._writev", lambda fd, pieces: os.write(fd, b"".join(pieces)[: at or 1])
    )
    sink = FileSink(tmp_path / "a.jsonl")
    assert sink.write([b"first", (b"a" * 70_000, b"b")]) == 2
    assert (tmp_path / "a.jsonl").read_bytes() == b"first\n" + b"a" * 70_000 + b"b\n"


def test_lines_of_very_many_pieces(tmp_path):
    sink = FileSink(tmp_path / "a.jsonl")
    assert sink.write([tuple(b"%d," % n for n in range(5_000))] * 3) == 3
    assert (tmp_path / "a.jsonl").read_bytes() == (b"".join(b"%d," % n for n in range(5_000)) + b"\n") * 3


def test_no_file_before_the_first_line(tmp_path):
    sink = FileSink(tmp_path / "sub" / "e.jsonl")
    assert sink.flush(20.0) is True
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_append_continues_and_overwrite_empties_once(tmp_path):
    path = tmp_path / "e.jsonl"
    for start in (0, 2):
        sink = FileSink(path)
        sink.write(numbered(start, 2))
        sink.close()
    assert [line["n"] for line in lines_of(path)] == [0, 1, 2, 3]
    sink = FileSink(path, mode="overwrite")
    assert path.read_bytes() == b""
    sink.write(numbered(7, 1))
    sink.write(numbered(8, 1))
    assert [line["n"] for line in lines_of(path)] == [7, 8]


def test_lines_that_would_break_the_format_are_dropped_and_counted(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl")
    assert sink.write([b"", b'{"n":\n1}', b'{"n":2}']) == 1
    assert lines_of(sink.path) == [{"n": 2}]
    assert sink.stats().dropped == {"invalid_line": 2}
    assert sink.stats().accepted == 3


def test_lines_after_close_are_counted(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl")
    sink.write(numbered(0, 1))
    sink.close()
    sink.close()
    assert sink.ready() is False
    assert sink.write(numbered(1, 3)) == 0
    assert sink.stats().dropped == {"closed": 3}
    assert sink.stats().state == "closed"
    assert len(lines_of(sink.path)) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"durability": "fast"}, ["durability", "'fast'", "'fsync'"]),
        ({"mode": "w"}, ["mode", "'w'", "'overwrite'"]),
        ({"path": "a\0b"}, ["path"]),
        ({"path": ""}, ["path"]),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ConfigError) as caught:
        FileSink(**{"path": "e.jsonl", **options})
    assert all(word in str(caught.value) for word in words)


@posix
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path, umask):
    code = """if True:
        import os, pathlib, sys
        from relay_plugin_observability import FileSink
        os.umask(int(sys.argv[2]))
        sink = FileSink(sys.argv[1] + "/a/b/e.jsonl")
        assert sink.write([b"{}"]) == 1, sink.stats()
        sink.close()
        pathlib.Path(sys.argv[1], "a/b/e.jsonl").open("a").write('{"torn')
        FileSink(sys.argv[1] + "/a/b/e.jsonl").write([b"{}"])
    """
    assert run_python(code, tmp_path, umask) == 0
    for name in ("e.jsonl", "e.jsonl.torn"):
        assert stat.S_IMODE((tmp_path / "a" / "b" / name).stat().st_mode) == 0o600
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix
def test_a_place_that_is_not_private_is_reported_once(tmp_path, caplog):
    tmp_path.chmod(0o777)
    sink = FileSink(tmp_path / "e.jsonl")
    sink.write(numbered(0, 1))
    sink.path.unlink()
    sink.write(numbered(1, 1))
    assert sum("everybody may write" in record.message for record in caplog.records) == 1


@posix
def test_an_existing_file_that_others_may_read_is_reported(tmp_path, caplog):
    path = tmp_path / "e.jsonl"
    path.touch()
    path.chmod(0o644)
    FileSink(path).write(numbered(0, 1))
    assert "mode 0644" in caplog.text


@posix
def test_a_planted_file_of_another_user_is_refused(tmp_path, caplog):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    tmp_path.chmod(0o777)
    path = tmp_path / "e.jsonl"
    path.touch()
    os.chown(path, 12345, 12345)
    sink = FileSink(path)
    assert sink.write(numbered(0, 1)) == 0
    assert sink.stats().dropped == {"EPERM": 1}
    assert path.read_bytes() == b""


@posix
@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, kind, caplog):
    path, other = tmp_path / "e.jsonl", tmp_path / "other"
    other.write_bytes(b"untouched\n")
    {"symlink": lambda: path.symlink_to(other), "fifo": lambda: os.mkfifo(path), "directory": path.mkdir}[kind]()
    sink = FileSink(path)
    assert sink.check() is not None
    assert sink.write(numbered(0, 2)) == 0
    stats = sink.stats()
    assert stats.state == "degraded"
    assert sum(stats.dropped.values()) == stats.accepted == 2
    assert other.read_bytes() == b"untouched\n"


def test_a_torn_tail_is_cut_off_and_kept(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"n":0}\n{"n":1,"text":"unfin')
    sink = FileSink(path)
    sink.write(numbered(2, 1))
    assert [line["n"] for line in lines_of(path)] == [0, 2]
    assert (tmp_path / "e.jsonl.torn").read_bytes() == b'{"n":1,"text":"unfin\n'


def test_a_file_that_is_only_a_torn_line_and_nul_bytes(tmp_path):
    path = tmp_path / "e.jsonl"
    torn = b'{"n":1' + b"\0" * 200_000
    path.write_bytes(torn)
    FileSink(path).write(numbered(2, 1))
    assert lines_of(path) == [{"n": 2}]
    assert (tmp_path / "e.jsonl.torn").read_bytes() == torn + b"\n"


def test_a_whole_line_without_its_newline_is_kept(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"n":0}\n{"n":1}')
    FileSink(path).write(numbered(2, 2))
    assert [line["n"] for line in lines_of(path)] == [0, 1, 2, 3]
    assert not (tmp_path / "e.jsonl.torn").exists()


def test_a_torn_tail_that_cannot_be_kept_elsewhere_stays_alone_on_its_line(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"n":0}\n{"torn')
    (tmp_path / "e.jsonl.torn").mkdir()
    sink = FileSink(path)
    assert sink.write(numbered(1, 2)) == 2
    assert path.read_bytes() == b'{"n":0}\n{"torn\n{"n":1}\n{"n":2}\n'


@posix
def test_no_repair_while_another_writer_holds_the_file(tmp_path, monkeypatch):
    import fcntl

    from relay_plugin_observability import append_file

    monkeypatch.setattr(append_file, "_LOCK_WAIT", 0.05)
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"n":0}\n{"half of what the other is writing')
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        sink = FileSink(path)
        assert sink.write(numbered(1, 1)) == 1
        assert path.read_bytes() == b'{"n":0}\n{"half of what the other is writing\n{"n":1}\n'
    assert not (tmp_path / "e.jsonl.torn").exists()


@posix
def test_kill_at_random_points_tears_at_most_one_line(tmp_path):
    code = """if True:
        import sys
        from relay_plugin_observability import FileSink
        sink = FileSink(sys.argv[1], durability=sys.argv[2])
        print("ready", flush=True)
        n = 0
        while True:
            sink.write([b'{"n":%d,"t":"%s"}' % (n + i, b"x" * 5000) for i in range(40)])
            n += 40
            print(n, flush=True)
    """
    path = tmp_path / "e.jsonl"
    total = 0
    for round_ in range(10):
        durability = ("buffered", "line", "fsync")[round_ % 3]
        with subprocess.Popen([sys.executable, "-c", code, path, durability], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(random.uniform(0.001, 0.04))
            process.kill()
            reported = [int(line) for line in process.stdout.read().splitlines()]
        *whole, torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
        numbers = [json.loads(line)["n"] for line in whole]
        mine = numbers[total:]
        assert mine == list(range(len(mine)))
        assert len(mine) >= (reported[-1] if reported else 0)
        total = len(numbers)
        assert b"\n" not in torn
    assert total > 0
    sink = FileSink(path)
    sink.write([b'{"n":-1}'])
    assert lines_of(path)[-1] == {"n": -1}
    assert len(lines_of(path)) == total + 1


@posix
@pytest.mark.slow
def test_eight_processes_write_one_file(tmp_path):
    code = """if True:
        import sys
        from relay_plugin_observability import FileSink
        who = int(sys.argv[2])
        sink = FileSink(sys.argv[1], durability=("buffered", "line")[who % 2])
        for start in range(0, 2000, 50):
            sink.write([b'{"who":%d,"n":%d,"t":"%s"}' % (who, n, b"x" * (n % 700)) for n in range(start, start + 50)])
        assert sink.stats().written == 2000, sink.stats()
    """
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"torn by somebody killed before')
    processes = [subprocess.Popen([sys.executable, "-c", code, path, str(who)]) for who in range(8)]
    assert [process.wait(50) for process in processes] == [0] * 8
    lines = lines_of(path)
    assert len(lines) == 16_000
    for who in range(8):
        assert [line["n"] for line in lines if line["who"] == who] == list(range(2000))


@posix
def test_nothing_is_lost_by_os_exit(tmp_path):
    code = """if True:
        import os, sys
        from relay_plugin_observability import FileSink
        sink = FileSink(sys.argv[1])
        sink.write([b'{"n":%d}' % n for n in range(10000)])
        sink.flush(1.0)
        os._exit(3)
    """
    path = tmp_path / "e.jsonl"
    assert run_python(code, path) == 3
    assert len(lines_of(path)) == 10_000


@posix
def test_a_forked_child_writes_its_own_lines_once(tmp_path):
    code = """if True:
        import os, sys
        from relay_plugin_observability import FileSink
        sink = FileSink(sys.argv[1])
        sink.write([b'{"who":"parent"}'] * 10)
        sink._locks[os.getpid()].acquire()  # as if a thread that the child does not have were writing
        children = []
        for child in range(4):
            pid = os.fork()
            if pid == 0:
                assert sink.write([b'{"who":"child"}'] * 500) == 500
                assert sink.stats().accepted == 500
                os._exit(0)
            children.append(pid)
        sink._locks[os.getpid()].release()
        sink.write([b'{"who":"parent"}'] * 10)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
        assert sink.stats().accepted == 20
    """
    assert run_python(code, tmp_path / "e.jsonl") == 0
    who = [line["who"] for line in lines_of(tmp_path / "e.jsonl")]
    assert (who.count("parent"), who.count("child")) == (20, 2000)


def test_threads_take_turns(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl")
    threads = [threading.Thread(target=lambda: [sink.write(numbered(0, 10)) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines_of(sink.path)) == sink.stats().written == 4000


def test_flush_gives_up_after_its_time(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl")
    with sink._turn(-1):
        assert sink.flush(0.05) is False


def test_many_events_pass_and_are_counted(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl")
    line = b'{"text":"%s"}' % (b"x" * 500)
    for _ in range(200):
        sink.write([line] * 500)
    assert sink.stats().written == 100_000
    assert sink.stats().bytes == sink.path.stat().st_size == 100_000 * (len(line) + 1)


def test_importing_the_package_is_cheap():
    code = """if True:
        import sys
        before = set(sys.modules)
        import relay_plugin_observability
        new = {name for name in set(sys.modules) - before if not name.startswith("relay_core")}
        assert not {"msgspec", "pluggy", "logging", "json", "pathlib"} & new, new
    """
    assert run_python(code) == 0


def test_the_log_of_a_strange_path_stays_on_one_line(tmp_path, caplog):
    sink = FileSink(Path(tmp_path) / "a\nforged line.jsonl" / "e.jsonl")
    (tmp_path / "a\nforged line.jsonl").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="relay.observability"):
        sink.write(numbered(0, 1))
    (record,) = told(caplog)
    assert "\n" not in record.getMessage()
