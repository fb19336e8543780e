"""The attributes are OpenInference's, as its own package has them; the few others are told apart by their prefix."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

trace = pytest.importorskip("openinference.semconv.trace", reason="openinference-semantic-conventions is not installed")

from relay_plugin_observability.openinference import llm, told  # noqa: E402  # they need that package
from tests.plugins.observability.openinference.support import projection, records  # noqa: E402  # see above
from tests.plugins.observability.scenarios import SCENARIOS, play  # noqa: E402  # see above

OWN = {
    "error.type",  # OpenTelemetry's
    "relay.status",
    "relay.time_to_first_chunk",
    "relay.duplicate_of",
    "relay.cost.source",
    "relay.cost.total",
    "relay.cost.currency",
    "relay.projection_failed",
}
GROUPS = [value for name, value in vars(trace).items() if name.endswith("Attributes") and isinstance(value, type)]
NAMES = {value for group in GROUPS for name, value in vars(group).items() if name.isupper()}
# Lists and objects: `a.0.b.c` is the list `a` of objects with the attribute `b.c`.
STEP = re.compile(r"\.\d+\.")


def is_published(key):
    """Whether a key is put together from published names."""
    if key in NAMES:
        return True
    pieces = STEP.split(key)
    if len(pieces) > 1:
        return all(map(is_published, pieces))
    head, found, tail = key.partition(".image.")  # an object within an object, as in `message_content.image.image.url`
    for kind in ("image", "audio", "video", "document"):
        head, found, tail = key.partition(f".{kind}.")
        if found and f"{head}.{kind}" in NAMES:
            return tail in NAMES
    return False


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_attribute_is_published(name):
    subject = projection()
    for found in records(play(name)):
        keys = subject.project(found).attributes
        assert [key for key in keys if key not in OWN and not is_published(key)] == []


def test_the_check_refuses_what_is_not_published():
    assert is_published("llm.input_messages.0.message.contents.1.message_content.image.image.url")
    assert not is_published("llm.input_messages.0.message.contents.1.message_content.image.url")
    assert not is_published("llm.input_messages.0.message.text")
    assert not is_published("llm.provider_name")


def test_kinds_systems_and_providers_are_published():
    kinds = {kind.value for kind in trace.OpenInferenceSpanKindValues}
    assert {*told._KIND_OF.values(), *told._SUBTYPES.values()} <= kinds
    assert set(llm._PROVIDERS.values()) <= {one.value for one in trace.OpenInferenceLLMProviderValues}
    assert set(llm._SYSTEM_OF_API.values()) <= {one.value for one in trace.OpenInferenceLLMSystemValues}


PROGRAM = """
import sys, types
{make}
import relay_plugin_observability.openinference as subject
from relay_core.errors import PluginError
subject.Masking()
try:
    subject.OpenInferenceProjection
except PluginError as error:
    print(error)
"""


MISSING = 'sys.modules["openinference"] = None'
OLD = """
import openinference.semconv
openinference.semconv.trace = sys.modules["openinference.semconv.trace"] = types.ModuleType("trace")
"""


@pytest.mark.parametrize("make", [MISSING, OLD], ids=["missing", "too old"])
def test_the_package_is_named_with_the_extra_that_brings_it(make):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(make=make)], capture_output=True, text=True, timeout=30, check=True
    )
    assert "openinference-semantic-conventions" in done.stdout
    assert "relay-plugin-observability[openinference]" in done.stdout


def test_importing_the_plugin_does_not_import_the_package():
    code = "import sys, relay_plugin_observability.openinference as m; print('openinference.semconv' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"
