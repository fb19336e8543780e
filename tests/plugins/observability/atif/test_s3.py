"""Documents go into buckets; a loopback endpoint speaks S3's part of the conversation."""

from __future__ import annotations

import sys

import pytest

from relay_plugin_observability.atif import AtifExporter, AtifSettings, S3Storage, read_atif
from tests.plugins.observability.atif.test_uploads import QUICK, Archive, stats_of
from tests.plugins.observability.scenarios import play


def exporter_to(folder, **storage):
    storage = S3Storage(bucket="acme-runs", prefix="relay/", region="eu-north-1", **storage)
    return AtifExporter(AtifSettings(directory=str(folder), storage=[storage]))


def test_without_boto3_documents_stay_and_the_cure_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    exporter = exporter_to(tmp_path)
    play("simple", exporter)
    assert exporter.flush(timeout=5.0)
    assert stats_of(exporter).dropped == {"no_boto3": 1}
    assert "pip install 'relay-plugin-observability[s3]'" in exporter.check()[0]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def credentials(monkeypatch, tmp_path_factory):
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path_factory.mktemp("aws") / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path_factory.mktemp("aws") / "credentials"))


@pytest.mark.usefixtures("credentials")
def test_objects_are_put_under_their_key(tmp_path, caplog):
    with Archive((503, {})) as archive:
        endpoint = archive.url.partition("/runs")[0]
        exporter = exporter_to(tmp_path, endpoint_url=endpoint, retry=QUICK, storage_class="STANDARD_IA")
        play("multimodal", exporter)
        assert exporter.flush(timeout=20.0)
    stats = stats_of(exporter)
    assert (stats.delivered, stats.failures) == (1, 1)
    assert list(tmp_path.iterdir()) == []
    paths = [path for _, path, _, _ in archive.got]
    assert paths[0] == paths[1]  # the first try was refused for the moment
    assert paths[1].startswith("/acme-runs/relay/")
    assert paths[1].endswith(".png")
    method, path, headers, body = archive.got[2]
    assert (method, path.startswith("/acme-runs/relay/trajectory-")) == ("PUT", True)
    assert headers["Content-Type"] == "application/json"
    assert headers["x-amz-storage-class"] == "STANDARD_IA"
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert b"calculator" in body or b"viewer" in body
    assert "wJalrXUtnFEMI" not in caplog.text


@pytest.mark.usefixtures("credentials")
def test_a_refusal_is_counted_by_its_code(tmp_path):
    with Archive((403, {})) as archive:
        exporter = exporter_to(tmp_path, endpoint_url=archive.url.partition("/runs")[0], retry=QUICK)
        play("simple", exporter)
        assert exporter.flush(timeout=20.0)
    assert stats_of(exporter).dropped == {"s3_403": 1}
    (path,) = tmp_path.iterdir()
    assert read_atif(path)


@pytest.mark.usefixtures("credentials")
def test_doctor_asks_for_the_bucket(tmp_path):
    with Archive((200, {}), (403, {}), (404, {})) as archive:
        exporter = exporter_to(tmp_path, endpoint_url=archive.url.partition("/runs")[0], timeout=2.0)
        assert exporter.check() == []
        assert exporter.check() == [], "who may put objects need not be allowed to look at the bucket"
        assert exporter.check() == ["s3://acme-runs/relay/ cannot be reached (s3_404)"]
        assert {(method, path) for method, path, _, _ in archive.got} == {("HEAD", "/acme-runs")}
    (problem,) = exporter.check()
    assert "cannot be reached (s3_EndpointConnectionError)" in problem
    assert "wJalrXUtnFEMI" not in problem
