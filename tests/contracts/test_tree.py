"""What must not be in the repository: places of one machine, hosts of a package index, forgotten work."""

from __future__ import annotations

import re

from tests.contracts.workspace import project_files, shown

HOSTS = re.compile(r"(files\.python" r"hosted|(test\.)?py" r"pi\.(org|python)|registry\.np" r"mjs|deb\.deb" r"ian)\b")
PLACES = re.compile(r"(?<![\w.])/(ro" r"ot|ho" r"me|Us" r"ers|wo" r"rk)/[\w.]+")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b")
GENERATED = {"uv.lock", "LICENSE"}
TEXT = {".py", ".md", ".toml", ".ini", ".yml", ".yaml", ".json", ".jsonl", ".txt", ".cfg", ""}


def _hits(pattern, files):
    found = []
    for path in files:
        if path.name in GENERATED or path.suffix not in TEXT:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{shown(path)}:{number}: {line.strip()[:120]}")
    return found


def test_no_host_of_a_package_index_is_named():
    assert _hits(HOSTS, project_files()) == []


def test_no_path_of_one_machine_is_named():
    assert _hits(PLACES, project_files()) == []


def test_nothing_is_left_to_do_in_the_sources():
    assert _hits(UNFINISHED, [path for path in project_files() if path.suffix == ".py"]) == []


def test_no_lock_file_and_no_build_is_committed():
    names = {shown(path) for path in project_files()}
    assert names & {"uv.lock", "relay-demo/events.jsonl"} == set()
    assert [name for name in names if name.endswith((".whl", ".tar.gz", ".pyc", ".so"))] == []


def test_no_file_is_large():
    assert {shown(p): p.stat().st_size for p in project_files() if p.stat().st_size > 500_000} == {}


def test_everyday_files_are_there():
    names = {shown(path) for path in project_files()}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "tox.ini", "mkdocs.yml", ".ci/run"} <= names
