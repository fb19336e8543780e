from __future__ import annotations

import pytest

from relay_plugin_observability.headers import HeaderError, Headers, HeaderSource, header_problems


def test_values_come_from_literals_variables_and_files(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("\ufeff  from-file \n")
    monkeypatch.setenv("A_TOKEN", "from-env")
    headers = Headers(
        {
            "A": "plain",
            "B": HeaderSource(value="plain too"),
            "C": HeaderSource(env="A_TOKEN", prefix="Bearer "),
            "D": HeaderSource(file=str(tmp_path / "token")),
        }
    )
    assert headers.resolve() == {"A": "plain", "B": "plain too", "C": "Bearer from-env", "D": "from-file"}
    assert headers.check() is None
    monkeypatch.setenv("A_TOKEN", "rotated")
    assert headers.resolve()["C"] == "Bearer rotated"


def test_what_has_no_value_is_named_without_it(tmp_path, monkeypatch):
    monkeypatch.delenv("A_TOKEN", raising=False)
    (tmp_path / "lines").write_text("SECRET\nSECRET")
    (tmp_path / "blank").write_text(" \n")
    (tmp_path / "bytes").write_bytes(b"SECRET\xff\xfe")
    (tmp_path / "large").write_text("SECRET" * 20_000)
    for source, words in (
        (HeaderSource(env="A_TOKEN"), "environment variable A_TOKEN is not set"),
        (HeaderSource(file=str(tmp_path / "none")), "No such file"),
        (HeaderSource(file=str(tmp_path)), "directory"),
        (HeaderSource(file=str(tmp_path / "lines")), "newline"),
        (HeaderSource(file=str(tmp_path / "blank")), "is empty"),
        (HeaderSource(file=str(tmp_path / "bytes")), "not text"),
        (HeaderSource(file=str(tmp_path / "large")), "larger"),
        (HeaderSource(), "exactly one"),
        (HeaderSource(env="A", file="b"), "exactly one"),
    ):
        with pytest.raises(HeaderError, match=words) as caught:
            Headers({"X-Token": source}).resolve()
        assert str(caught.value).startswith("header X-Token: ")
        assert "SECRET" not in str(caught.value)
    monkeypatch.setenv("A_TOKEN", "  ")
    assert "is empty" in Headers({"X": HeaderSource(env="A_TOKEN")}).check()


def test_nothing_shows_a_value():
    source = HeaderSource(value="SECRET")
    shown = [repr(source), str(source), repr(Headers({"A": "SECRET", "B": source})), source.where]
    assert "SECRET" not in str(shown)
    assert repr(HeaderSource(env="A_TOKEN")) == "HeaderSource(environment variable A_TOKEN)"


def test_every_problem_of_a_table_is_told():
    table = {
        "X Y": "SECRET", "": "SECRET", "Host": "SECRET", "A": "SECRET", "a": "SECRET", "B": "SEC\nRET", "C": "\u20ac",
        "D": "", "E": HeaderSource(env=" "), "Fine": "x", "Fine-Too": HeaderSource(file="~/token"),
    }  # fmt: skip
    problems = header_problems(table, reserved=["host"], key="streams.headers")
    assert len(problems) == 8
    assert all(problem.startswith("streams.headers: ") for problem in problems)
    assert "SECRET" not in str(problems) and "Fine" not in str(problems)
