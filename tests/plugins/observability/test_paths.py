from __future__ import annotations

import os

import pytest

from relay_core.errors import ConfigError
from relay_plugin_observability.exporter import AtofExporter
from relay_plugin_observability.paths import DEFAULT_FILENAME, expand_filename, process_values, resolve

VALUES = {"session": "s-1", "pid": "42"}

BAD_NAMES = [
    "../escape.jsonl",
    "..",
    ".",
    "",
    " ",
    "/etc/passwd",
    "a/b.jsonl",
    "a\\b.jsonl",
    "C:x.jsonl",
    "\\\\host\\share",
    "a\0b",
    "a\nb",
    "a\x1b[31mb",
    "a\u202eb",
    "a\u2215b",
    "a\uff0fb",
    "\ud800",
    "CON",
    "con.jsonl",
    "nul",
    "Aux.tar.gz",
    "COM1",
    "lpt9.jsonl",
    "~root",
    "name.",
    " name",
    "x" * 300,
    "é" * 150,
    "a*b",
    "a|b",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_template_that_is_no_plain_name_is_refused(tmp_path, name):
    with pytest.raises(ConfigError) as caught:
        resolve(tmp_path, name, VALUES)
    assert caught.value.problems[0].startswith("filename: ")
    assert "\n" not in caught.value.problems[0]
    assert caught.value.problems[0].isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["../../etc/x", "/etc/passwd", "a\0b", "a\\b", "C:", "a\u29f8b", "x" * 300])
def test_a_value_cannot_lead_out_of_the_directory(tmp_path, value):
    with pytest.raises(ConfigError):
        resolve(tmp_path, "run-{session}.jsonl", {"session": value})


@pytest.mark.parametrize("value", ["..", ".", "CON", "", "~root", "."])
def test_a_value_alone_is_checked_as_a_name(tmp_path, value):
    with pytest.raises(ConfigError):
        resolve(tmp_path, "{session}", {"session": value})


@pytest.mark.parametrize(
    "template", ["{nobody}.jsonl", "{pid!r}", "{pid:>10}", "{pid.__class__}", "{0}", "{}", "{pid[0]}", "{pid", "pid}"]
)
def test_a_template_may_only_name_its_values(tmp_path, template):
    with pytest.raises(ConfigError) as caught:
        resolve(tmp_path, template, VALUES)
    assert "filename" in str(caught.value)


def test_good_names_stay_in_their_directory(tmp_path):
    for template, name in {
        "run-{session}-{pid}.jsonl": "run-s-1-42.jsonl",
        "{{literal}}.jsonl": "{literal}.jsonl",
        "naïve 文件.jsonl": "naïve 文件.jsonl",
        "console.jsonl": "console.jsonl",
        "com10": "com10",
        "a..b": "a..b",
    }.items():
        assert expand_filename(template, VALUES) == name
        assert resolve(tmp_path, template, VALUES) == tmp_path / name


def test_the_default_name_differs_between_processes():
    values = process_values()
    name = expand_filename(DEFAULT_FILENAME, values)
    assert str(os.getpid()) in name
    assert name != expand_filename(DEFAULT_FILENAME, {**values, "pid": "0"})


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_symbolic_link_is_refused(tmp_path):
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "e.jsonl").symlink_to(outside)
    with pytest.raises(ConfigError, match="symbolic link"):
        resolve(folder, "e.jsonl", VALUES)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_symbolic_link_planted_later_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    exporter = AtofExporter(directory=tmp_path / "folder", filename="e.jsonl")
    (tmp_path / "folder").mkdir()
    exporter.path.symlink_to(outside)
    assert exporter.sink.write([b"{}"]) == 0
    assert exporter.stats().dropped == {"ELOOP": 1}
    assert not outside.exists()


@pytest.mark.parametrize("directory", ["", "a\0b", "~nobody-of-that-name/x"])
def test_a_directory_that_is_none_is_refused(directory):
    with pytest.raises(ConfigError, match="directory"):
        resolve(directory, "e.jsonl", VALUES)


def test_the_home_directory_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert resolve("~/runs", "e.jsonl", VALUES) == tmp_path / "runs" / "e.jsonl"


@pytest.mark.skipif(os.name != "posix", reason="removes the current directory")
def test_a_current_directory_that_is_gone_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for options in ({"directory": "."}, {"path": "e.jsonl"}, {}):
        with pytest.raises(ConfigError, match="current directory"):
            AtofExporter(**options)
    AtofExporter(tmp_path / "e.jsonl")
