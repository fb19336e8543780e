"""The lint configuration explains itself, and every layer of the core is a real module."""

from __future__ import annotations

import re

import pytest

from tests.contracts.workspace import PACKAGES, PROJECT, ROOT, shown, sources

SUPPRESSION = re.compile(r"# ?(noqa|pyright: ?ignore|type: ?ignore|fmt: ?(skip|off))\b")
NAMED = re.compile(r"noqa: ?[A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*|(pyright|type): ?ignore\[[\w, -]+\]|fmt: ?(skip|off)")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_suppression_names_its_rule_and_its_reason(package):
    silent = []
    for path in sources(package):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = SUPPRESSION.search(line)
            if found is None or "fmt" in found.group(1):
                continue  # a layout kept by hand explains itself
            said = NAMED.sub("", line[found.start() :])
            if "ignore" in said.partition("  ")[0] or "noqa" in said or not re.search(r"\w{3}", said):
                silent.append(f"{shown(path)}:{number}: {line.strip()[-60:]}")
    assert silent == []


def test_every_ignored_rule_has_a_reason():
    text = (ROOT / "pyproject.toml").read_text()
    ignored = PROJECT["tool"]["ruff"]["lint"]["ignore"]
    assert [rule for rule in ignored if not re.search(rf'"{rule}",? +# \S', text)] == []


def test_every_layer_is_a_module_of_the_core():
    contract = next(c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert contract["exhaustive"]
    named = [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    there = {path.stem for path in (ROOT / "relay_core").glob("*.py")}
    there |= {path.parent.name for path in (ROOT / "relay_core").glob("*/__init__.py")}
    assert sorted(named) == sorted(there - {"__init__", "__main__"})


def test_tests_treat_warnings_as_errors_and_run_in_random_order():
    options = PROJECT["tool"]["pytest"]["ini_options"]
    assert options["filterwarnings"][0] == "error"
    assert options["xfail_strict"]
    assert {"--strict-markers", "--strict-config"} <= set(options["addopts"])
    assert any(need.startswith("pytest-randomly") for need in PROJECT["dependency-groups"]["test"])
