"""Small files, small functions, and an import that costs next to nothing."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.contracts.workspace import PACKAGES, ROOT, shown, sources

MODULE_LINES, TEST_LINES, FUNCTION_LINES = 500, 800, 60
MODULES_OF_AN_IMPORT = 60
HEAVY = {"asyncio", "click", "dataclasses", "http", "importlib.metadata", "inspect", "json", "logging", "msgspec"}
HEAVY |= {"pluggy", "rich", "socket", "typing_extensions", "uuid", "wrapt"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_modules_are_small(package):
    sizes = {shown(path): len(path.read_text().splitlines()) for path in sources(package)}
    assert sizes
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES} == {}


def test_test_files_are_small():
    sizes = {shown(path): len(path.read_text().splitlines()) for path in sources(ROOT / "tests")}
    assert {name: size for name, size in sizes.items() if size > TEST_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_functions_are_small(package):
    long = {}
    for path in sources(package):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _code_lines(node) > FUNCTION_LINES:
                long[f"{shown(path)}:{node.name}"] = _code_lines(node)
    assert long == {}


def _code_lines(function):
    """Lines from `def` to the end, without the docstring."""
    documented = ast.get_docstring(function) is not None
    doc = function.body[0].end_lineno - function.body[0].lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - doc


def _modules_after(statement):
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return set(done.stdout.split()), done.stderr


def test_importing_the_core_is_cheap():
    path = repr(str(ROOT))
    loaded, errors = _modules_after(f"sys.path.insert(0, {path}); import relay_core")
    assert "relay_core.runtime" in loaded, errors
    assert len(loaded) <= MODULES_OF_AN_IMPORT, sorted(loaded)
    assert loaded & HEAVY == set()
