"""R34: the page about reliability names tests that exist, and has a row for each case."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_R34_every_case_has_a_row():
    rows = re.findall(r"^\| (R\d+) \|", PAGE, re.MULTILINE)
    assert rows == [f"R{n}" for n in range(1, 37)]


def test_R34_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)*)", PAGE)
    assert len(named) > 30
    for path, names in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        for name in filter(None, names.split("::")):
            assert re.search(rf"(def|class) {name}\b", text), f"{path} has no {name}"
    here = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for name in re.findall(r"`(test_R\w+)\*?`", PAGE):
        assert f"def {name}" in here, name
