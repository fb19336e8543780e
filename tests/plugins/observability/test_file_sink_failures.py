from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relay_plugin_observability import FileSink
from tests.waiting import told

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX file systems and limits")

LINE = b'{"text":"%s"}' % (b"x" * 990)
IN_PIECES = (b'{"text":"', b"x" * 990, b'"}')


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", folder], check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("this system does not let root mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder, option):
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def write_until(sink, condition, line=b'{"n":1}'):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, sink.stats()
        sink.write([line])
        time.sleep(0.01)


def assert_accounted(sink):
    stats = sink.stats()
    assert stats.accepted == stats.written + sum(stats.dropped.values())
    return stats


def whole_lines(path):
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("durability", ["buffered", "line", "fsync"])
@pytest.mark.parametrize("line", [LINE, IN_PIECES], ids=["whole", "in pieces"])
def test_a_full_disk(small_disk, durability, line, caplog):
    path = small_disk / "e.jsonl"
    sink = FileSink(path, durability=durability)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * 300_000)
    for _ in range(200):
        sink.write([line] * 100)
    stats = assert_accounted(sink)
    assert stats.accepted == 20_000
    assert stats.state == "degraded"
    assert stats.dropped == {"ENOSPC": stats.accepted - stats.written}
    assert stats.last_error.startswith("ENOSPC")
    assert len(whole_lines(path)) == stats.written > 400
    assert sink.flush(1.0) is False
    sink._retry_at = time.monotonic() + 60  # however slow this machine is just now
    assert sink.ready() is False
    assert sink.write([LINE]) == 0
    sink._retry_at = 0.0
    assert sink.ready() is True
    assert [record.levelname for record in told(caplog)] == ["WARNING"]
    assert "ENOSPC" in caplog.text
    assert "xxx" not in caplog.text

    ballast.unlink()
    write_until(sink, lambda: sink.stats().state == "ok")
    assert sink.write([b'{"n":2}']) == 1
    stats = assert_accounted(sink)
    assert len(whole_lines(path)) == stats.written
    assert sink.flush(20.0) is True
    assert len(told(caplog)) == 2
    assert "works again" in told(caplog)[1].getMessage()


def test_a_full_disk_shared_by_processes_leaves_no_half_line(small_disk):
    code = """if True:
        import sys
        from relay_plugin_observability import FileSink
        sink = FileSink(sys.argv[1])
        for n in range(300):
            sink.write([b'{"who":"%s","t":"%s"}' % (sys.argv[2].encode(), b"x" * (n * 7 % 900))] * 10)
        stats = sink.stats()
        assert stats.accepted == 3000 == stats.written + stats.dropped.get("ENOSPC", 0), stats
        print(stats.written)
    """
    path = small_disk / "e.jsonl"
    command = [sys.executable, "-c", code, path]
    processes = [subprocess.Popen([*command, str(who)], stdout=subprocess.PIPE) for who in range(4)]
    written = [int(process.communicate(timeout=50)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(whole_lines(path)) == sum(written)


@pytest.mark.parametrize("line", [LINE, IN_PIECES], ids=["whole", "in pieces"])
def test_the_limit_of_a_file_size(tmp_path, line):
    code = """if True:
        import resource, sys
        from relay_plugin_observability import FileSink
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        sink = FileSink(sys.argv[1])
        for n in range(300):
            sink.write([LINE] * 10)
        stats = sink.stats()
        assert stats.state == "degraded", stats
        assert stats.dropped == {"EFBIG": 3000 - stats.written}, stats
        print(stats.written)
    """
    path = tmp_path / "e.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", code.replace("LINE", repr(line)), path], check=True, capture_output=True, timeout=40
    )
    assert len(whole_lines(path)) == int(done.stdout) == 99
    assert done.stderr.count(b"\n") == 1


def test_a_removed_directory_is_created_again(tmp_path, caplog):
    path = tmp_path / "a" / "b" / "e.jsonl"
    sink = FileSink(path)
    for number in range(3):
        assert sink.write([b'{"n":%d}' % number]) == 1
        assert whole_lines(path) == [{"n": number}]
        shutil.rmtree(tmp_path / "a")
    assert sink.write([b'{"n":3}']) == 1
    stats = assert_accounted(sink)
    assert (stats.dropped, stats.reopened, stats.state) == ({}, 3, "ok")
    assert len(told(caplog)) == 1
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_created_again(tmp_path, caplog):
    path = tmp_path / "a" / "e.jsonl"
    sink = FileSink(path)
    sink.write([b'{"n":0}'])
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"a file in the way")
    for _ in range(50):
        sink.write([LINE])
    stats = assert_accounted(sink)
    assert stats.state == "degraded"
    assert stats.written == 1
    assert sink.check() == stats.last_error
    (tmp_path / "a").unlink()
    write_until(sink, lambda: sink.stats().state == "ok")
    assert len(whole_lines(path)) == assert_accounted(sink).written - 1
    assert len(told(caplog, about="cannot write")) == 1


def test_rotation_by_rename_and_by_truncation(tmp_path):
    path = tmp_path / "e.jsonl"
    sink = FileSink(path)
    sink.write([LINE] * 3)
    path.rename(tmp_path / "e.jsonl.1")
    sink.write([LINE] * 2)
    assert len(whole_lines(tmp_path / "e.jsonl.1")) == 3
    assert len(whole_lines(path)) == 2
    os.truncate(path, 0)
    sink.write([LINE])
    assert len(whole_lines(path)) == 1
    os.truncate(path, 500)
    sink.write([LINE])
    assert whole_lines(path) == [json.loads(LINE)]
    assert sink.stats().dropped == {}


def test_a_read_only_file_system(small_disk, caplog):
    path = small_disk / "e.jsonl"
    sink = FileSink(path)
    sink.write([LINE])
    sink._abandon()  # a file system with files open for writing cannot become read-only
    remount(small_disk, "ro")
    sink.write([LINE] * 5)
    assert assert_accounted(sink).dropped == {"EROFS": 5}
    assert sink.stats().state == "degraded"
    remount(small_disk, "rw")
    write_until(sink, lambda: sink.stats().state == "ok")
    assert len(whole_lines(path)) == assert_accounted(sink).written


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir(mode=0o500)
    sink = FileSink(folder / "e.jsonl")
    assert sink.check() is not None
    assert sink.write([LINE]) == 0
    assert sink.stats().dropped == {"EACCES": 1}
    folder.chmod(0o700)
    write_until(sink, lambda: sink.stats().state == "ok")


def test_a_missing_directory_is_fine_for_check(tmp_path):
    sink = FileSink(tmp_path / "a" / "b" / "e.jsonl")
    assert sink.check() is None
    assert list(tmp_path.iterdir()) == []
    sink.write([LINE])
    assert sink.check() is None


def test_a_closed_descriptor_is_replaced(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl")
    sink.write([LINE])
    os.close(sink._file._fd)
    assert sink.write([LINE]) == 1
    assert len(whole_lines(sink.path)) == 2
    assert sink.stats().state == "ok"


def test_a_descriptor_that_now_belongs_to_the_program_is_left_alone(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl", durability="fsync")
    sink.write([LINE])
    stolen = sink._file._fd
    os.close(stolen)
    fd = os.open(tmp_path / "of the program", os.O_RDWR | os.O_CREAT)
    if fd != stolen:
        os.dup2(fd, stolen)
        os.close(fd)
    try:
        assert sink.write([LINE]) == 1
        sink.close()
        assert os.write(stolen, b"still open") == 10
    finally:
        os.close(stolen)
    assert (tmp_path / "of the program").read_bytes() == b"still open"
    assert len(whole_lines(sink.path)) == 2


def test_pauses_grow_and_nobody_sleeps(tmp_path, caplog):
    (tmp_path / "a").write_bytes(b"")
    sink = FileSink(tmp_path / "a" / "e.jsonl")
    started = time.monotonic()
    for _ in range(20_000):
        sink.write([LINE])
    assert time.monotonic() - started < 10
    assert sink._retry_delay > 0.1
    stats = assert_accounted(sink)
    assert (stats.accepted, stats.written) == (20_000, 0)
    with caplog.at_level(logging.DEBUG, logger="relay.observability"):
        sink.close()
    assert len(told(caplog)) == 1
    assert sink.stats().state == "closed"


def test_overwriting_a_file_that_cannot_be_opened_does_not_raise(tmp_path, caplog):
    (tmp_path / "a").write_bytes(b"")
    sink = FileSink(tmp_path / "a" / "e.jsonl", mode="overwrite")
    assert sink.stats().state == "degraded"
    assert sink.stats().dropped == {}
    (tmp_path / "a").unlink()
    write_until(sink, lambda: sink.stats().state == "ok")


def test_descriptors_do_not_leak(tmp_path):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("counts descriptors in /proc")
    before = len(list(descriptors.iterdir()))
    for number in range(50):
        sink = FileSink(tmp_path / f"{number % 3}.jsonl")
        sink.write([LINE])
        if number % 2:
            sink.close()
    del sink
    assert len(list(descriptors.iterdir())) == before


def test_lines_count_as_written_only_when_the_disk_has_them(tmp_path, monkeypatch, caplog):
    sink = FileSink(tmp_path / "e.jsonl", durability="fsync")
    sink.write([LINE])
    fsync, seen = os.fsync, []

    def watched(fd):
        seen.append((sink._written, os.fstat(fd).st_size))
        if len(seen) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    size = len(LINE) + 1
    assert sink.write([LINE] * 300) == 300
    assert seen == [(1, size * 301)]
    assert sink.write([LINE] * 3) == 0
    stats = assert_accounted(sink)
    assert (stats.written, stats.dropped, stats.state) == (301, {"EIO": 3}, "degraded")
    write_until(sink, lambda: sink.stats().state == "ok")
    assert_accounted(sink)
    assert len(told(caplog)) == 2
