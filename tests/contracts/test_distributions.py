"""One naming rule in five places, one version, and no member that some list has forgotten."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

import relay_core
from tests.contracts.workspace import MEMBERS, PACKAGES, PROJECT, ROOT, shown, sources

FRAMEWORKS = ("langchain", "langchain_core", "langgraph", "openai", "anthropic", "opentelemetry", "pydantic")

members = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.distribution)


def test_there_are_members():
    assert {member.kind for member in MEMBERS} == {"adapter", "plugin"}


@members
def test_the_naming_rule_holds_in_five_places(member):
    assert member.project["name"] == member.distribution
    assert (member.folder / member.package / "__init__.py").is_file()
    points = member.project["entry-points"][f"relay.{member.kind}s"]
    assert set(points) == {member.name}
    assert points[member.name].partition(":")[0] == member.package
    assert list((ROOT / "tests" / f"{member.kind}s" / member.name).glob("test_*.py"))


@members
def test_the_entry_point_loads(member):
    found = [
        p for p in entry_points(group=f"relay.{member.kind}s", name=member.name) if p.dist.name == member.distribution
    ]
    if member.is_apart and not found:
        pytest.skip(f"{member.distribution} is installed in an environment of its own: tox -e only-{member.name}")
    assert len(found) == 1
    assert found[0].load() is not None


@members
def test_all_distributions_carry_one_version(member):
    assert member.project["version"] == PROJECT["project"]["version"]
    assert f"relay-core=={PROJECT['project']['version']}" in member.project["dependencies"]


def test_the_core_knows_its_version():
    assert relay_core.__version__ == PROJECT["project"]["version"] == version("relay-core")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{relay_core.__version__}]" in changelog


@members
def test_members_tell_what_they_are(member):
    assert member.project["readme"] == "README.md"
    assert (member.folder / "README.md").read_text().startswith(f"# {member.distribution}\n")
    lowest, *rest = member.project["requires-python"].split(",")
    assert lowest == PROJECT["project"]["requires-python"]
    assert member.is_apart or not rest  # a framework may not be there for the newest Python yet
    assert member.project["license"] == PROJECT["project"]["license"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_packages_are_typed(package):
    assert (package / "py.typed").is_file()


@members
def test_no_list_has_forgotten_a_member(member):
    dev = [need for need in PROJECT["dependency-groups"]["dev"] if isinstance(need, str)]
    named = any(re.fullmatch(rf"{member.distribution}(\[.*\])?", need) for need in dev)
    assert (PROJECT["tool"]["uv"]["sources"].get(member.distribution) == {"workspace": True}) is not member.is_apart
    assert named is not member.is_apart
    linter = PROJECT["tool"]["importlinter"]
    assert member.package in linter["root_packages"]
    independent = next(c for c in linter["contracts"] if c["type"] == "independence")
    assert member.package in independent["modules"]
    forbidden = next(c for c in linter["contracts"] if c["type"] == "forbidden")
    assert member.package in forbidden["forbidden_modules"]


@members
def test_every_member_has_its_tox_environment(member):
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    assert (f"{member.kind}s/{member.name}" in tox["workspace"]["members"]) is not member.is_apart
    assert f"testenv:only-{member.name}" in tox
    if member.kind == "adapter" and (
        len(member.project["dependencies"]) > 1 or "optional-dependencies" in member.project
    ):
        assert f"testenv:latest-{member.name}" in tox
    only = re.search(r"only-\{([^}]*)\}", tox["tox"]["env_list"]).group(1)
    assert member.name in only.replace(" ", "").split(",")


def test_every_tox_environment_says_what_it_does():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    environments = [tox[section] for section in tox.sections() if section.startswith("testenv:")]
    assert environments
    assert [env.name for env in environments if not env.get("description")] == []


@members
def test_importing_it_imports_no_framework(member):
    code = f"import sys, {member.package}; print(*(m for m in sys.modules if m.partition('.')[0] in {FRAMEWORKS!r}))"
    path = {"PYTHONPATH": str(member.folder)} if member.is_apart else {}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_the_core_depends_on_what_is_decided():
    names = {re.match(r"[\w-]+", need).group() for need in PROJECT["project"]["dependencies"]}
    decided = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()
    assert {name for name in names if f"`{name}`" not in decided} == set()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_packages_import_only_what_they_declare(package):
    project = next((m.project for m in MEMBERS if m.package == package.name), PROJECT["project"])
    extras = project.get("optional-dependencies", {}).values()
    needs = [
        *PROJECT["project"]["dependencies"],
        *project["dependencies"],
        *(need for extra in extras for need in extra),
    ]
    declared = {
        found for need in needs for found in IMPORTED_AS.get(_import_name(need), {_import_name(need)})
    }  # members pin the core's version, so what it brings is theirs too
    undeclared = {}
    for path in sources(package):
        kit = {"pytest"} if "testing" in path.parts else set()  # the kit is for those who test with pytest
        foreign = _imports(path) - sys.stdlib_module_names - declared - kit - {package.name} - BROUGHT
        undeclared |= {shown(path): foreign} if foreign else {}
    assert undeclared == {}


IMPORTED_AS = {
    "nvidia_nat_core": {"nat"},
    "opentelemetry_proto": {"opentelemetry"},
    "googleapis_common_protos": {"google"},
    "protobuf": {"google"},
    "grpcio": {"grpc"},
    "openinference_semantic_conventions": {"openinference"},
}
BROUGHT = {"langgraph", "langchain_core", "pydantic"}  # LangChain, Deep Agents and NAT cannot be had without them


def _import_name(need):
    return re.match(r"[\w-]+", need).group().replace("-", "_")


def _imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
