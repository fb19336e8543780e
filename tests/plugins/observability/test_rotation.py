from __future__ import annotations

import gzip
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

import relay_core
from relay_core.trajectory import load
from relay_plugin_observability import AtofExporter, FileSink, Rotation
from relay_plugin_observability.compress import compress
from relay_plugin_observability.rotation import rotated_files
from tests.waiting import told

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, signals and locks")
ROTATED = re.compile(r"e\.\d{8}T\d{6}\.\d{6}Z\.jsonl(\.gz)?")


def numbered(start, count, size=0):
    return [b'{"n":%d,"x":"%s"}' % (n, b"x" * size) for n in range(start, start + count)]


def content(path):
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def all_lines(folder):
    files = sorted(folder.iterdir(), key=lambda path: path.name.removesuffix(".gz"))
    assert not [path for path in files if path.suffix == ".tmp"]
    whole = [path for path in files if path.suffix != ".torn"]  # what a kill amid a write has left is kept there
    return [json.loads(line) for path in whole for line in content(path).splitlines()]


@pytest.mark.parametrize("durability", ["buffered", "line", "fsync"])
def test_no_file_grows_over_its_limit_and_no_line_is_lost(tmp_path, durability):
    sink = FileSink(tmp_path / "e.jsonl", durability=durability, rotation=Rotation(max_bytes=4096, compress=False))
    for start in range(0, 1000, 50):
        assert sink.write(numbered(start, 50, 20)) == 50
    sink.close()
    assert [line["n"] for line in all_lines(tmp_path)] == list(range(1000))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 4096
    stats = sink.stats()
    assert stats.rotated == len(list(tmp_path.iterdir())) - 1 > 5
    assert (stats.written, stats.dropped, stats.reopened) == (1000, {}, 0)
    assert all(ROTATED.fullmatch(path.name) for path in tmp_path.iterdir() if path.name != "e.jsonl")


def test_a_line_over_the_limit_gets_a_file_of_its_own(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl", rotation=Rotation(max_bytes=2000, compress=False))
    sink.write([*numbered(0, 1), *numbered(1, 1, 10_000), *numbered(2, 1)])
    sink.close()
    assert [line["n"] for line in all_lines(tmp_path)] == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("durability", ["buffered", "line"])
def test_lines_in_pieces_keep_to_the_limit_too(tmp_path, durability):
    rotation = Rotation(max_bytes=200_000, compress=False)
    sink = FileSink(tmp_path / "e.jsonl", durability=durability, rotation=rotation)
    line = (b'{"text":"', b"x" * 90_000, b'"}')
    assert sink.write([line, b'{"n":1}', line, line, (*line, *line, *line), line, b'{"n":2}']) == 7
    sizes = [path.stat().st_size for path in (*rotated_files(sink.path), sink.path)]
    assert [size for size in sizes if size > 200_000] == [3 * sum(map(len, line)) + 1]
    assert sum(sizes) == sink.stats().bytes == 7 * sum(map(len, line)) + 16 + 7 - 2


def test_rotation_by_age_looks_at_the_first_event(tmp_path):
    path = tmp_path / "e.jsonl"
    old = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
    path.write_text(f'{{"n":0,"timestamp":"{old}"}}\n')
    sink = FileSink(path, rotation=Rotation(max_age=7200, compress=False))
    sink.write(numbered(1, 1))
    sink.close()
    assert sink.stats().rotated == 0
    sink = FileSink(path, rotation=Rotation(max_age=1800, compress=False))
    sink.write(numbered(2, 1))
    sink.write(numbered(3, 1))
    sink.close()
    assert sink.stats().rotated == 1
    assert [line["n"] for line in all_lines(tmp_path)] == [0, 1, 2, 3]
    assert path.read_bytes().count(b"\n") == 2


def test_a_file_of_this_process_grows_old(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl", rotation=Rotation(max_age=1, compress=False))
    sink.write(numbered(0, 1))
    sink.write(numbered(1, 1))
    time.sleep(1.1)
    sink.write(numbered(2, 1))
    sink.close()
    assert [line["n"] for line in all_lines(tmp_path)] == [0, 1, 2]
    assert sink.stats().rotated == 1


def test_rotated_files_are_compressed_and_the_oldest_are_deleted(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl", rotation=Rotation(max_bytes=4096, keep=3))
    for start in range(0, 1000, 50):
        sink.write(numbered(start, 50, 20))
    sink.close(20)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[-1] == "e.jsonl" and len(names) == 4
    assert all(name.endswith(".jsonl.gz") for name in names[:3])
    kept = [line["n"] for line in all_lines(tmp_path)]
    assert kept == list(range(kept[0], 1000)) and kept[0] > 0
    assert sink.stats().written == 1000
    if os.name == "posix":
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_keep_none_of_them(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl", rotation=Rotation(max_bytes=1024, keep=0, compress=False))
    for start in range(0, 200, 10):
        sink.write(numbered(start, 10, 20))
    sink.close(20)
    assert [path.name for path in tmp_path.iterdir()] == ["e.jsonl"]


def test_a_real_run_that_was_rotated_reads_as_one(tmp_path):
    relay = relay_core.Relay()
    exporter = AtofExporter(tmp_path / "e.jsonl", rotation=Rotation(max_bytes=8192))
    relay.register("subscriber", exporter)
    with relay.scope("trip", "agent"):
        for number in range(100):
            relay.call_tool("search", {"n": number}, lambda request: request)
    assert relay.shutdown(timeout=20).pending == 0
    exporter.close(20)
    assert exporter.stats().rotated > 2
    found = load(tmp_path)
    (root,) = found.roots
    assert found.notes == []
    assert [child.input["n"] for child in root.children] == list(range(100))


def test_a_directory_that_forbids_renaming_costs_no_line(tmp_path, caplog):
    sink = FileSink(tmp_path / "e.jsonl", rotation=Rotation(max_bytes=1024, compress=False))
    sink.write(numbered(0, 5))

    class Refusing(type(sink._file)):
        def move(self, target, is_due):
            raise PermissionError(13, "Permission denied")

    sink._file.__class__ = Refusing  # root, who runs some test machines, may rename everywhere
    sink.write(numbered(5, 200))
    sink.write(numbered(205, 200))
    assert [line["n"] for line in all_lines(tmp_path)] == list(range(405))
    assert [record.levelno for record in told(caplog)] == [logging.WARNING]
    assert "cannot be rotated (Permission denied)" in caplog.text


WRITER = """if True:
    import sys, time
    from relay_plugin_observability import FileSink, Rotation
    path, me, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sink = FileSink(path, rotation=Rotation(max_bytes=20_000, compress="compress" in sys.argv))
    for n in range(count):
        sink.write([b'{"p":"%s","n":%d,"x":"%s"}' % (me.encode(), n, b"x" * (n % 300))])
    sink.close(20)
    stats = sink.stats()
    assert stats.written == count and not stats.dropped, stats
    print(stats.rotated)
"""


@posix
@pytest.mark.parametrize("extra", [(), ("compress",)])
def test_eight_processes_that_rotate_one_file_lose_no_line(tmp_path, extra):
    count = 400
    command = [sys.executable, "-c", WRITER, str(tmp_path / "e.jsonl")]
    running = [
        subprocess.Popen([*command, str(me), str(count), *extra], stdout=subprocess.PIPE, text=True) for me in range(8)
    ]
    rotated = sum(int(process.communicate(timeout=50)[0]) for process in running)
    assert [process.returncode for process in running] == [0] * 8
    lines = all_lines(tmp_path)
    assert len(lines) == 8 * count
    for me in range(8):
        assert [line["n"] for line in lines if line["p"] == str(me)] == list(range(count))
    assert rotated == len(rotated_files(tmp_path / "e.jsonl")) > 5


def test_rotation_under_load_from_threads_loses_no_line(tmp_path):
    sink = FileSink(tmp_path / "e.jsonl", rotation=Rotation(max_bytes=30_000))

    def work(me):
        for n in range(300):
            sink.write([b'{"p":%d,"n":%d,"x":"%s"}' % (me, n, b"x" * 200)])

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close(30)
    lines = all_lines(tmp_path)
    assert len(lines) == 1200 == sink.stats().written
    assert all([line["n"] for line in lines if line["p"] == me] == list(range(300)) for me in range(4))


@posix
def test_a_killed_program_leaves_whole_files_and_the_next_one_tidies_up(tmp_path):
    code = """if True:
        import sys
        from relay_plugin_observability import FileSink, Rotation
        sink = FileSink(sys.argv[1], rotation=Rotation(max_bytes=50_000))
        n = 0
        while True:
            sink.write([b'{"n":%d,"x":"%s"}' % (n + i, b"x" * 50) for i in range(20)])
            n += 20
            print(n, flush=True)
    """
    path = tmp_path / "e.jsonl"
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as process:
        written = 0
        while len(rotated_files(path) if path.exists() else ()) < 8:
            written = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split()
    written = int(rest[-1]) if rest else written
    whole = [path for path in tmp_path.iterdir() if path.suffix != ".tmp"]
    for file in whole:
        content(file)  # an archive that has its name is whole
    (tmp_path / "e.20200101T000000.000000Z.jsonl.gz.tmp").write_bytes(b"left behind")
    (tmp_path / "e.20200101T000000.000000Z.jsonl").write_bytes(b'{"n":-1}\n')
    sink = FileSink(path, rotation=Rotation(max_bytes=50_000))
    sink.write([])
    sink.write([b'{"n":-2}'])
    sink.close(30)
    assert not [file for file in rotated_files(path) if file.exists()]
    numbers = [line["n"] for line in all_lines(tmp_path)]
    assert numbers[0] == -1 and numbers[-1] == -2
    assert numbers[1:-1] == list(range(len(numbers) - 2))
    assert len(numbers) - 2 >= written


def test_a_compression_that_is_stopped_leaves_the_original(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"{}\n" * 500_000)
    assert compress(path, lambda: True) is False
    assert [file.name for file in tmp_path.iterdir()] == ["e.jsonl"]
    assert compress(path) is True
    assert content(tmp_path / "e.jsonl.gz") == b"{}\n" * 500_000
    assert not path.exists()
    assert compress(path) is False


@posix
def test_two_processes_do_not_compress_one_file_at_once(tmp_path):
    import fcntl

    path = tmp_path / "e.jsonl"
    path.write_bytes(b"{}\n")
    with (tmp_path / "e.jsonl.gz.tmp").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert compress(path) is False
        assert path.exists()
    assert compress(path) is True


@posix
def test_a_link_in_place_of_the_archive_is_not_followed(tmp_path):
    path, victim = tmp_path / "e.jsonl", tmp_path / "victim"
    path.write_bytes(b"{}\n")
    victim.write_bytes(b"precious")
    (tmp_path / "e.jsonl.gz.tmp").symlink_to(victim)
    with pytest.raises(OSError):
        compress(path)
    assert victim.read_bytes() == b"precious" and path.exists()


@posix
def test_a_full_disk_while_compressing_keeps_the_original(tmp_path):
    code = """if True:
        import pathlib, resource, signal, sys, os
        from relay_plugin_observability.compress import compress
        path = pathlib.Path(sys.argv[1])
        path.write_bytes(os.urandom(200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            compress(path)
        except OSError as error:
            sys.exit(error.errno)
    """
    import errno

    path = tmp_path / "e.jsonl"
    assert subprocess.run([sys.executable, "-c", code, path], check=False, timeout=40).returncode == errno.EFBIG
    assert [file.name for file in tmp_path.iterdir()] == ["e.jsonl"]
    assert path.stat().st_size == 200_000


FULL = """if True:
    import json, sys
    from relay_plugin_observability import FileSink, Rotation
    sink = FileSink(sys.argv[1] + "/e.jsonl", rotation=Rotation(max_bytes=20_000, compress=False))
    for start in range(0, 4000, 50):
        sink.write([b'{"n":%d,"x":"%s"}' % (n, b"x" * 50) for n in range(start, start + 50)])
    sink.close()
    import pathlib
    files = sorted(pathlib.Path(sys.argv[1]).iterdir())
    numbers = [json.loads(line)["n"] for file in files for line in file.read_bytes().splitlines()]
    stats = sink.stats()
    print(json.dumps([stats.accepted, stats.written, stats.dropped, numbers]))
"""


@posix
def test_a_full_file_system_loses_only_what_is_counted(tmp_path):
    # A small file system in a name space of its own, which ends with the process.
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    inside = f'mount -t tmpfs -o size=128k tmpfs "{tmp_path}" && exec "$0" -c "$1" "{tmp_path}"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, sys.executable, FULL], check=False, capture_output=True, timeout=50
    )
    if done.returncode and not done.stdout:
        pytest.skip("this machine allows no mounts")
    accepted, written, dropped, numbers = json.loads(done.stdout)
    assert dropped["ENOSPC"] > 0 and accepted == written + sum(dropped.values()) == 4000
    assert len(numbers) == written and numbers == sorted(numbers)
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_forked_child_rotates_the_shared_file_too(tmp_path):
    code = """if True:
        import os, sys
        from relay_plugin_observability import FileSink, Rotation
        sink = FileSink(sys.argv[1], rotation=Rotation(max_bytes=5000))
        sink.write([b'{"n":%d}' % n for n in range(500)])
        child = os.fork()
        sink.write([b'{"n":%d}' % n for n in range(500, 1500)])
        sink.close(20)
        if child == 0:
            os._exit(0)
        sys.exit(os.waitpid(child, 0)[1])
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "e.jsonl"], check=False, timeout=50)
    assert done.returncode == 0
    numbers = sorted(line["n"] for line in all_lines(tmp_path))
    assert numbers == sorted([*range(500), *range(500, 1500), *range(500, 1500)])


def test_names_of_rotated_files(tmp_path):
    for name in (
        "e.20260131T104500.000001Z.jsonl.gz", "e.20260131T104500.000000Z.jsonl", "e.20260131T104500.000000Z.jsonl.gz",
        "e.20260131T104500.000002Z.jsonl.gz.tmp", "e.2026.jsonl", "ee.20260131T104500.000000Z.jsonl", "e.jsonl",
    ):  # fmt: skip
        (tmp_path / name).touch()
    assert [path.name for path in rotated_files(tmp_path / "e.jsonl")] == [
        "e.20260131T104500.000000Z.jsonl",
        "e.20260131T104500.000001Z.jsonl",
    ]


@pytest.mark.parametrize("options", [{}, {"max_bytes": 5}, {"max_age": 0}, {"max_bytes": 5000, "keep": -1}])
def test_settings_that_make_no_sense_are_refused(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Rotation)


def test_nothing_is_read_or_written_by_asking(tmp_path):
    assert Rotation(max_bytes=5000).keep is None
    sink = FileSink(tmp_path / "e.jsonl", rotation=Rotation(max_bytes=5000))
    assert sink.check() is None
    sink.close()
    assert list(Path(tmp_path).iterdir()) == []
