"""Documents go to HTTP endpoints, from a thread of their own, whatever the endpoint does; what does not arrive stays."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from relay_core import Relay
from relay_plugin_observability.atif import AtifExporter, AtifSettings, HttpStorage, read_atif
from relay_plugin_observability.atif.storage import File, HttpTarget
from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.doctor import examine_atif
from tests.plugins.observability.proxies import Proxy, use
from tests.plugins.observability.scenarios import play
from tests.plugins.observability.streams.collectors import HttpCollector, drip

QUICK = Backoff(first=0.01, longest=0.05, jitter=0.0)


class Archive:
    """An HTTP endpoint that keeps what it gets and answers as it was told."""

    def __init__(self, *answers, hang=None):
        archive = self
        self.got = []
        self.answers = deque(answers)

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self):
                if hang is not None:
                    hang.wait(20)
                body = self.rfile.read(int(self.headers["content-length"] or 0))
                archive.got.append((self.command, self.path, dict(self.headers), body))
                status, headers = archive.answers.popleft() if archive.answers else (201, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            do_PUT = do_POST = do_HEAD = handle_any

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/runs?key=1"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def exporter_to(folder, *storage, **settings):
    return AtifExporter(AtifSettings(directory=str(folder), storage=list(storage), **settings))


def stats_of(exporter):
    (stats,) = exporter.stats().uploads.values()
    assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.pending
    return stats


def stats_place(exporter):
    (place,) = exporter.stats().uploads
    return place


def test_put_sends_each_document_and_takes_the_file_away(tmp_path, monkeypatch):
    monkeypatch.setenv("ATIF_TOKEN", "s3cret")
    (tmp_path / "tenant").write_text("acme\n")
    table = {
        "X-Plain": "yes",
        "Authorization": {"env": "ATIF_TOKEN", "prefix": "Bearer "},
        "X-Tenant": {"file": str(tmp_path / "tenant")},
    }
    with Archive() as archive:
        storage = msgspec.convert({"type": "http", "url": archive.url, "headers": table}, HttpStorage)
        exporter = exporter_to(tmp_path / "runs", storage)
        play("several_roots", exporter)
        assert exporter.flush(timeout=5.0)
    assert stats_of(exporter).delivered == 3
    assert list((tmp_path / "runs").iterdir()) == []
    for method, path, headers, body in archive.got:
        document = read_atif(body)
        assert method == "PUT"
        assert path == f"/runs/trajectory-{document.trajectory_id}.json?key=1"
        assert headers["Content-Type"] == "application/json"
        assert headers["X-Relay-Atif-Session-Id"] == document.session_id
        assert (headers["Authorization"], headers["X-Tenant"], headers["X-Plain"]) == ("Bearer s3cret", "acme", "yes")
    assert "s3cret" not in repr(exporter.settings) + repr(exporter.stats())


def test_post_sends_to_the_endpoint_itself_and_files_can_be_kept(tmp_path):
    with Archive() as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url, method="POST"), keep_local=True)
        play("simple", exporter)
        assert exporter.flush(timeout=5.0)
    ((method, path, headers, body),) = archive.got
    assert (method, path) == ("POST", "/runs?key=1")
    (kept,) = tmp_path.iterdir()
    assert (headers["X-Relay-Atif-Filename"], body) == (kept.name, kept.read_bytes())


def test_pictures_go_before_their_document(tmp_path):
    with Archive() as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url))
        play("multimodal", exporter)
        assert exporter.flush(timeout=5.0)
    paths = [path.partition("?")[0] for _, path, _, _ in archive.got]
    picture = json.loads(archive.got[1][3])["steps"][0]["message"][2]["source"]["path"]
    assert paths[0] == f"/runs/{picture}"
    assert archive.got[0][2]["Content-Type"] == "image/png"
    assert list(tmp_path.iterdir()) == []


def test_passing_failures_are_tried_again(tmp_path):
    with Archive((503, {}), (429, {"Retry-After": "0"}), (500, {})) as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url, retry=QUICK))
        play("simple", exporter)
        assert exporter.flush(timeout=5.0)
    assert len(archive.got) == 4
    stats = stats_of(exporter)
    assert (stats.delivered, stats.failures, stats.last_error) == (1, 3, "http_500: Internal Server Error")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [(400, {}), (302, {"Location": "http://127.0.0.1:1/"}), (403, {})])
def test_a_refusal_leaves_the_file_as_a_copy_to_recover(answer, tmp_path, caplog):
    with Archive(answer) as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url, headers={"Authorization": "hush"}))
        play("simple", exporter)
        assert exporter.flush(timeout=5.0)
    assert len(archive.got) == 1
    assert stats_of(exporter).dropped == {f"http_{answer[0]}": 1}
    (path,) = tmp_path.iterdir()
    assert read_atif(path).agent.name == "calculator"
    assert "hush" not in caplog.text
    assert "key=1" not in caplog.text or "trajectory cannot be sent" in caplog.text


def test_what_cannot_be_sent_for_too_long_stays(tmp_path):
    with Archive() as archive:
        pass  # nobody listens any more
    exporter = exporter_to(tmp_path, HttpStorage(url=archive.url, retry=QUICK, give_up_after=0.1))
    play("several_roots", exporter)
    assert exporter.flush(timeout=10.0)
    assert stats_of(exporter).dropped == {"ECONNREFUSED": 3}
    assert len(list(tmp_path.iterdir())) == 3
    assert len(exporter.check()) == 1


def test_one_failing_destination_keeps_the_file_and_holds_up_no_other(tmp_path):
    with Archive() as good, Archive(*[(400, {})] * 9) as bad:
        exporter = exporter_to(tmp_path, HttpStorage(url=bad.url), HttpStorage(url=good.url))
        play("several_roots", exporter)
        assert exporter.flush(timeout=5.0)
    assert [row.delivered for row in exporter.stats().uploads.values()] == [0, 3]
    assert len(list(tmp_path.iterdir())) == 3


def test_an_endpoint_that_hangs_costs_the_program_nothing(tmp_path):
    release = threading.Event()
    with Archive(hang=release) as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url, max_pending=2))
        began = time.monotonic()
        for _ in range(4):
            for event in play("simple"):
                exporter.on_event(event)
        exporter.close(timeout=0.2)
        assert time.monotonic() - began < 15.0  # the endpoint would have taken 20 seconds for each
        stats = stats_of(exporter)
        assert (stats.pending, stats.dropped) == (2, {"queue_full": 2})
        (path,) = tmp_path.iterdir()
        assert read_atif(path)
        release.set()


def test_several_endpoints_that_hang_share_the_five_seconds_of_closing(tmp_path):
    release = threading.Event()
    with Archive(hang=release) as one, Archive(hang=release) as two, Archive(hang=release) as three:
        exporter = exporter_to(tmp_path, *[HttpStorage(url=archive.url) for archive in (one, two, three)])
        for event in play("simple"):
            exporter.on_event(event)
        began = time.monotonic()
        exporter.close()
        assert 4.5 < time.monotonic() - began < 9.0
        assert [row.pending for row in exporter.stats().uploads.values()] == [1, 1, 1]
        release.set()


def test_doctor_tells_what_became_of_documents_elsewhere(tmp_path):
    with Archive((400, {})) as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url))
        row = examine_atif(exporter)
        assert row["ok"] and f"{stats_place(exporter)}: delivered 0, pending 0" in row["detail"]
        play("several_roots", exporter)
        assert exporter.flush(timeout=5.0)
        row = examine_atif(exporter)
    assert row["ok"] is False
    assert "delivered 2, pending 0, failed attempts 1, dropped 1 http_400" in row["detail"]
    row = examine_atif(exporter)  # nobody listens any more
    assert "cannot be reached" in row["detail"]
    assert "key=1" not in row["detail"]


def test_an_answer_that_drips_does_not_hold_an_upload(tmp_path):
    with HttpCollector(drip) as collector:
        exporter = exporter_to(tmp_path, HttpStorage(url=collector.url, timeout=0.4, retry=QUICK))
        began = time.monotonic()
        play("simple", exporter)
        assert exporter.flush(timeout=40.0)
        assert time.monotonic() - began < 20.0
    stats = stats_of(exporter)
    assert (stats.delivered, stats.failures) == (1, 1)
    assert "timeout" in stats.last_error


def test_a_proxy_of_the_environment_is_used(tmp_path, monkeypatch):
    with Archive() as archive, Proxy(int(archive.url.partition("127.0.0.1:")[2].partition("/")[0])) as proxy:
        use(monkeypatch, proxy, login="user:secretword@", no_proxy="127.0.0.1")
        for host in ("archive.invalid", archive.url.partition("//")[2].partition("/")[0]):
            exporter = exporter_to(tmp_path, HttpStorage(url=f"http://{host}/runs?key=1"))
            play("simple", exporter)
            assert exporter.flush(timeout=5.0)
            assert stats_of(exporter).delivered == 1
    ((line, headers),) = proxy.asked  # the second host needs none
    assert line.startswith("PUT http://archive.invalid/runs/trajectory-")
    assert headers["host"] == "archive.invalid"
    assert headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXR3b3Jk"
    assert len(archive.got) == 2


def test_a_large_document_is_sent_whole(tmp_path):
    with Archive() as archive:
        path = tmp_path / "large.json"
        path.write_bytes(bytes(range(256)) * 8_000)
        HttpTarget(HttpStorage(url=archive.url)).put(File(path, "large.json", "t", "s"))
    assert archive.got[0][3] == path.read_bytes()


def test_closing_ends_a_pause_at_once(tmp_path):
    slow = Backoff(first=600.0, longest=600.0, jitter=0.0)
    with Archive((503, {})) as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url, retry=slow, give_up_after=3_600))
        for event in play("simple"):
            exporter.on_event(event)
        while not archive.got:
            time.sleep(0.01)
        (box,) = exporter._outboxes
        thread = box._thread
        exporter.close(timeout=0.05)
        thread.join(5.0)
        assert not thread.is_alive()
    assert stats_of(exporter).pending == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_nobody_waits_for_an_attempt_that_lies_beyond_the_time(tmp_path):
    slow = Backoff(first=600.0, longest=600.0, jitter=0.0)
    with Archive((503, {})) as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url, retry=slow, give_up_after=3_600))
        relay = Relay()
        relay.register("subscriber", exporter)
        for name in ("first", "second"):
            with relay.scope(name, "agent"):
                pass
        began = time.monotonic()
        assert relay.flush(timeout=50.0).pending == 0
        assert not exporter.flush(timeout=50.0)
        report = relay.shutdown(timeout=50.0)
        assert time.monotonic() - began < 25.0
    assert (report.pending, report.dropped, report.timed_out) == (0, 0, False)
    stats = stats_of(exporter)
    assert (stats.accepted, stats.pending, stats.failures) == (2, 2, 1)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_attempt_within_the_time_is_waited_for(tmp_path):
    slow = Backoff(first=0.5, longest=600.0, jitter=0.0)
    with Archive((503, {})) as archive:
        exporter = exporter_to(tmp_path, HttpStorage(url=archive.url, retry=slow))
        for event in play("simple"):
            exporter.on_event(event)
        exporter.close(timeout=20.0)
    assert (stats_of(exporter).delivered, stats_of(exporter).pending) == (1, 0)


def test_a_missing_token_is_told_by_name_only(tmp_path, monkeypatch):
    monkeypatch.delenv("ATIF_TOKEN", raising=False)
    table = {"type": "http", "url": "http://127.0.0.1:9/", "headers": {"Authorization": {"env": "ATIF_TOKEN"}}}
    exporter = exporter_to(tmp_path, msgspec.convert({**table, "give_up_after": 0}, HttpStorage))
    play("simple", exporter)
    assert exporter.flush(timeout=5.0)
    assert stats_of(exporter).dropped == {"no_header": 1}
    assert exporter.check() == ["header Authorization: environment variable ATIF_TOKEN is not set"]
