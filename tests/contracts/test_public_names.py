"""Every public name says what it is, with an example that runs."""

from __future__ import annotations

import doctest
import inspect
import types

import pytest

import relay_core

NAMES = sorted(
    name
    for name in {*vars(relay_core), *relay_core._LAZY}
    if not name.startswith("_") and not isinstance(getattr(relay_core, name), types.ModuleType)
)
VALUES = {
    "Any",
    "CURRENT",
    "TYPE_CHECKING",
    "annotations",
    "default",
    "hookimpl",
}  # the last is an object of pluggy's: docs/hooks.md
CALLABLES = [name for name in NAMES if name not in VALUES]


def test_the_public_names_are_these():
    assert {"Relay", "scope", "call_tool", "acall_llm", "astream_llm", "guardrail", "Blocked", "flush"} <= set(NAMES)


@pytest.mark.parametrize("name", CALLABLES)
def test_it_is_documented_by_an_example_that_runs(name):
    thing = getattr(relay_core, name)
    text = inspect.getdoc(thing)
    assert text
    assert text.splitlines()[0].rstrip().endswith((".", ":", ")"))
    assert ">>> " in text
    _run(name, text)


def test_every_public_method_of_the_runtime_has_a_docstring():
    found = {
        name: inspect.getdoc(value) for name, value in inspect.getmembers(relay_core.Relay) if not name.startswith("_")
    }
    assert [name for name, text in found.items() if callable(getattr(relay_core.Relay, name)) and not text] == []


def _run(name, text):
    home = vars(inspect.getmodule(getattr(relay_core, name)) or relay_core)
    test = doctest.DocTestParser().get_doctest(text, dict(home), name, None, 0)
    shown = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=shown.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(shown)
