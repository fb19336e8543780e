"""The documentation runs, its links lead somewhere, and it leaves out no setting, command or page.

A Python block that imports something is a whole program: it is run by itself, in an empty folder. Other blocks are
fragments, and so is one after a comment ``<!-- fragment: why -->``; those are only compiled.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import NamedTuple

import msgspec
import pytest

from relay_core.cli import cli
from relay_core.settings import Settings
from tests.contracts.workspace import ROOT, project_files, shown

PAGES = sorted(path for path in project_files() if path.suffix == ".md")
BLOCK = re.compile(r"(<!-- fragment[^>]*-->\n)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")

# What a reader of a page has at hand before its blocks.
GIVEN = {
    "docs/langchain.md": """
from langchain_core.language_models import FakeListChatModel
model, tools = FakeListChatModel(responses=["hi"]), []
""",
    "docs/testing.md": """
import openai
from relay_core.testing import AdapterContract, PluginContract
""",
}


class Block(NamedTuple):
    page: str
    line: int
    text: str
    is_fragment: bool

    def __str__(self):
        return f"{self.page}:{self.line}"


def _blocks():
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            code = match.group(2)
            line = text.count("\n", 0, match.start(2)) + 1
            imports = re.search(r"^(import|from) ", code, re.MULTILINE)
            yield Block(shown(page), line, code, bool(match.group(1)) or not imports)


BLOCKS = list(_blocks())


def test_there_is_code_in_the_docs():
    assert {"README.md", "docs/quick-start.md"} <= {block.page for block in BLOCKS if not block.is_fragment}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.is_fragment], ids=str)
def test_fragments_are_python(block):
    compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.is_fragment], ids=str)
def test_programs_run(block, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(GIVEN.get(block.page, "") + block.text)
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_lead_to_files(page):
    prose = re.sub(r"(?s)```.*?```", "", page.read_text())
    targets = [target.partition("#")[0] for target in LINK.findall(prose) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = set(re.findall(r"[\w/.-]+\.md", navigation))
    assert {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")} == listed


def test_every_setting_is_described():
    page = (ROOT / "docs" / "configuration.md").read_text()
    keys = set(_keys(Settings)) - {"adapters.options", "plugins"}
    assert {key for key in keys if f"`{key}`" not in page} == set()


def _keys(schema, prefix=""):
    for field in msgspec.structs.fields(schema):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _keys(field.type, f"{prefix}{field.encode_name}.")
        else:
            yield f"{prefix}{field.encode_name}"


def test_every_command_is_described():
    page = (ROOT / "docs" / "command-line.md").read_text()
    assert cli.commands or cli.list_commands(None)
    assert [name for name in cli.list_commands(None) if f"\n## relay {name}\n" not in page] == []


def test_decisions_are_numbered_without_a_gap():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert [page.name for page in pages if len(page.read_text().splitlines()) > 60] == []


def test_the_readme_gives_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "\npython -m pip install uv && uv run relay demo\n" in readme
    assert "\npython -m pip install tox && tox\n" in readme
