"""A tool call that loads a skill leaves a mark; one that only looks like it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.skills import skills_in
from tests.core.golden_scenario import Recording

LOADS = [
    ("skill", {"skill": "pdf"}, "pdf", "skill_tool"),
    ("Skill", {"skill_name": "pdf"}, "pdf", "skill_tool"),
    ("mcp__agents__load_skill", {"name": "pdf"}, "pdf", "skill_tool"),
    ("read_file", {"path": "skills/pdf/SKILL.md"}, "pdf", "structured_read"),
    ("filesystem.read_text_file", {"file_path": "/a/b/pdf/skill.md", "offset": 0}, "pdf", "structured_read"),
    ("my_read_file", {"filename": "C:\\skills\\pdf\\SKILL.md"}, "pdf", "structured_read"),
    ("ReadFile", {"path": "pdf/SKILL.md"}, "pdf", "structured_read"),
    ("read_resource", {"uri": "file:///skills/pdf/SKILL.md"}, "pdf", "structured_read"),
    ("bash", {"command": "cat -u skills/pdf/SKILL.md"}, "pdf", "shell_read"),
    ("shell", {"cmd": "bat --plain 'skills/my pdf/SKILL.md'"}, "my pdf", "shell_read"),
    ("run_command", {"command": "bash -c 'cat skills/pdf/SKILL.md'"}, "pdf", "shell_read"),
    ("powershell", {"command": "Get-Content -Raw skills/pdf/SKILL.md"}, "pdf", "shell_read"),
]
LOOKS_ONLY = [
    ("search", {"path": "skills/pdf/SKILL.md"}),
    ("read_file", {"path": "SKILL.md"}),
    ("read_file", {"path": "/SKILL.md"}),
    ("read_file", {"path": "skills/pdf/README.md"}),
    ("read_file", {"path": "skills/pdf/SKILL.md", "limit": 5}),
    ("read_file", {"path": "skills/pdf/SKILL.md", "offset": 5}),
    ("read_file", ["skills/pdf/SKILL.md"]),
    ("thread_file", {"path": "skills/pdf/SKILL.md"}),
    ("skill", {"skill": 5}),
    ("bash", {"command": "cat skills/pdf/SKILL.md | head"}),
    ("bash", {"command": "cat skills/pdf/SKILL.md > out"}),
    ("bash", {"command": "cat $(ls)/SKILL.md"}),
    ("bash", {"command": "cat a/SKILL.md; rm -r /"}),
    ("bash", {"command": "cat -n skills/pdf/SKILL.md"}),
    ("bash", {"command": "head skills/pdf/SKILL.md"}),
    ("bash", {"command": "sh -c \"bash -c 'cat skills/pdf/SKILL.md'\""}),
    ("bash", {"command": "cat 'skills/pdf/SKILL.md"}),
    ("bash", {}),
    (3, {"path": "skills/pdf/SKILL.md"}),
]


@pytest.mark.parametrize(("name", "arguments", "skill", "way"), LOADS)
def test_a_load_is_recognised(name, arguments, skill, way):
    assert skills_in(name, arguments) == [(skill, way)]


@pytest.mark.parametrize(("name", "arguments"), LOOKS_ONLY)
def test_what_only_looks_like_one_is_none(name, arguments):
    assert skills_in(name, arguments) == []


def test_each_skill_counts_once():
    paths = ["a/SKILL.md", "b/SKILL.md", "x/a/SKILL.md", "notes.md"]
    assert skills_in("read_multiple_files", {"paths": paths}) == [("a", "structured_read"), ("b", "structured_read")]


@given(st.sampled_from(["bash", "read_file", "skill"]), st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_no_arguments_upset_it(name, arguments):
    assert isinstance(skills_in(name, arguments), list)
    assert isinstance(skills_in(name, {"command": "".join(arguments), "path": list(arguments)}), list)


@pytest.mark.parametrize("way", ["managed", "by hand"])
def test_the_mark_lies_under_the_tool_at_its_start(way):
    with Recording() as rec:
        arguments = {"path": "skills/pdf/SKILL.md"}
        if way == "managed":
            rec.relay.call_tool("read_file", arguments, lambda given: "text")
        else:
            rec.relay.open_scope("read_file", "tool", input=arguments, parent=None).close()
        start, mark = rec.start("read_file"), rec.find("skill.load")
        assert rec.shape() == ["+tool read_file", "*skill.load", "-tool read_file ok"]
        assert (mark.parent_uuid, mark.timestamp) == (start.uuid, start.timestamp)
        assert mark.data == {"skill_name": "pdf"}
        assert mark.metadata == {"skill_load_source": "structured_read", "tool_name": "read_file"}
