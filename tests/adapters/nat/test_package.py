"""The package as NAT, `relay.autoload()` and newcomers meet it; and what it needs of NAT beyond the stable API."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest.importorskip("nat.builder", reason="nvidia-nat-core has an environment of its own: tox -e only-nat")

import nat.plugin_api
from nat.cli.type_registry import GlobalTypeRegistry
from nat.data_models.intermediate_step import (
    IntermediateStep,
    IntermediateStepPayload,
    IntermediateStepState,
    IntermediateStepType,
    StreamEventData,
    TraceMetadata,
    UsageInfo,
)
from nat.data_models.invocation_node import InvocationNode
from nat.data_models.token_usage import TokenUsageBaseModel
from nat.utils.providers import set_time_provider

import relay_adapter_nat
import relay_core
from relay_adapter_nat import adapter, compat
from relay_adapter_nat.activation import is_instrumented
from relay_adapter_nat.steps import KINDS
from tests.adapters.nat import parts
from tests.adapters.packages import brought_by, check_public_names, entry_point_of

# -- the package -------------------------------------------------------------------------------------------------------


def test_importing_it_imports_no_nat():
    assert brought_by("relay_adapter_nat", "nat", "pydantic") == []


def test_the_entry_points_name_the_adapter_and_nat_s_components():
    assert entry_point_of("nat") is adapter
    (components,) = entry_points(group="nat.components", name="relay")
    assert components.value == "relay_adapter_nat.register"


def test_all_public_names_exist():
    check_public_names(relay_adapter_nat)


_PROGRAM = """
import asyncio, json
{first}
import relay_core
names = []
relay_core.subscriber(lambda event: names.append([event.name, event.scope_category]), name="recorder")
relay_core.autoload(names=["nat"])
from nat.builder.workflow_builder import WorkflowBuilder
from nat.data_models.config import Config
from nat.plugin_api import FunctionBaseConfig, FunctionInfo, register_function
from nat.runtime.session import SessionManager
class GreetConfig(FunctionBaseConfig, name="greet"):
    pass
@register_function(config_type=GreetConfig)
async def greet(config, builder):
    async def say(name: str) -> str:
        return name
    yield FunctionInfo.from_fn(say)
async def main():
    config = Config(workflow=GreetConfig())
    async with WorkflowBuilder.from_config(config=config) as builder:
        manager = await SessionManager.create(config=config, shared_builder=builder)
        async with manager.session() as session, session.run("x") as runner:
            await runner.result()
        await manager.shutdown()
asyncio.run(main())
relay_core.flush(20.0)
print(json.dumps(names))
"""


@pytest.mark.parametrize("first", ["", "import nat.builder.workflow_builder"])
def test_the_first_workflow_of_an_unchanged_program_is_seen(first):
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(first=first)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        ["greet", "start"],
        ["<workflow>", "start"],
        ["<workflow>", "end"],
        ["greet", "end"],
    ]


@pytest.mark.parametrize("options", [{"speed": 11}, {"payloads": "no"}])
def test_wrong_options_are_refused(options):
    with pytest.raises(relay_core.AdapterError, match=next(iter(options))):
        relay_core.Relay().adapters.install("nat", **options)


def test_it_is_installed_and_taken_off():
    runtime, other = relay_core.Relay(), relay_core.Relay()
    bare = compat.ExporterManager.create_isolated_exporters
    record = runtime.adapters.install("nat", payloads=False)
    assert record.framework.startswith("1.9") and is_instrumented(runtime)
    adapter.uninstall(other)
    assert is_instrumented(runtime), "another runtime takes nothing off"
    runtime.adapters.uninstall()
    assert not is_instrumented(runtime)
    assert compat.ExporterManager.create_isolated_exporters is bare


# -- versions of NAT ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.8.0", "1.10.0", "2.0", "1.90.1", "nonsense"])
def test_another_version_gets_one_clear_error(version):
    with pytest.raises(relay_adapter_nat.UnsupportedNatError) as caught:
        compat.check_version(version)
    assert str(caught.value) == (
        f'relay-adapter-nat works with nvidia-nat-core 1.9, found {version}: pip install "nvidia-nat-core>=1.9,<1.10"'
    )
    assert isinstance(caught.value, relay_core.AdapterError)
    assert isinstance(caught.value, ImportError), "NAT's loader reports it and goes on"


@pytest.mark.parametrize("version", ["1.9.0", "1.9.7", "1.9.0rc1"])
def test_supported_versions_pass(version):
    assert compat.check_version(version) == version


_OTHER_VERSION = """
import importlib.metadata as metadata
real = metadata.version
metadata.version = lambda name: "1.8.0" if name == "nvidia-nat-core" else real(name)
import relay_core
try:
    relay_core.Relay().adapters.install("nat")
except relay_core.AdapterError as error:
    print(error)
"""


def test_installing_with_another_version_says_so():
    done = subprocess.run([sys.executable, "-c", _OTHER_VERSION], capture_output=True, text=True, check=True)
    assert "relay-adapter-nat works with nvidia-nat-core 1.9, found 1.8.0" in done.stdout


# -- what the adapter needs of NAT -------------------------------------------------------------------------------------


def test_the_stable_names_are_in_the_stable_api():
    used = {
        "Builder",
        "FunctionGroup",
        "FunctionMiddleware",
        "FunctionMiddlewareBaseConfig",
        "FunctionMiddlewareContext",
        "TelemetryExporterBaseConfig",
        "register_middleware",
        "register_telemetry_exporter",
    }
    assert used <= set(nat.plugin_api.__all__)


def test_every_type_of_step_is_known():
    assert set(KINDS) == {kind.value for kind in IntermediateStepType}
    for name, kind in KINDS.items():
        step = IntermediateStepPayload(event_type=name)
        assert step.event_state == IntermediateStepState(kind.phase.upper())
        assert step.event_category.value == kind.name.upper()


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (IntermediateStep, {"parent_id", "function_ancestry", "payload"}),
        (
            IntermediateStepPayload,
            {"event_type", "event_timestamp", "framework", "name", "tags", "metadata", "data", "usage_info", "UUID"},
        ),
        (InvocationNode, {"function_id", "function_name", "parent_id", "parent_name"}),
        (StreamEventData, {"input", "output", "chunk", "payload"}),
        (TraceMetadata, {"provided_metadata", "tool_inputs", "tools_schema", "chat_inputs"}),
        (UsageInfo, {"token_usage"}),
        (
            TokenUsageBaseModel,
            {"prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"},
        ),
    ],
)
def test_what_is_read_of_a_step_is_there(model, fields):
    assert fields <= set(model.model_fields)


def test_an_exporter_has_the_hooks_that_ours_fills_in():
    for name in ("_pre_start", "_cleanup", "export", "create_isolated_instance"):
        assert callable(getattr(compat.BaseExporter, name))
    assert list(inspect.signature(compat.ExporterManager.create_isolated_exporters).parameters) == [
        "self",
        "context_state",
    ]


async def test_the_steps_that_code_runs_in_are_told():
    seen = []

    async def look(functions, text):
        seen.append((list(compat.active_steps()), nat.plugin_api.Context.get().active_span_id, compat.runtime_type()))
        return text

    await parts.run(parts.body(look), telemetry={})
    ((stack, innermost, runtime),) = seen
    assert stack[-1] == innermost and len(stack) == 3
    assert runtime == "run_or_serve"


def test_nat_s_clock_is_asked():
    before = set_time_provider(lambda: 12.5)
    try:
        assert compat.now() == 12_500_000_000
    finally:
        set_time_provider(before)


async def test_the_models_of_a_builder_are_told():
    seen = []

    class Looks:
        async def prepare(self, builder):
            seen.append(compat.llm_names(builder))

        async def __call__(self, prepared, text):
            return text

    parts.BODIES["looks"] = Looks()
    await parts.run({"_type": "t_caller", "body": "looks"}, llms={"model": {"_type": "t_scripted"}}, telemetry={})
    assert seen == [["model"]]


def test_nat_knows_our_components_by_the_names_of_the_guide():
    registry = GlobalTypeRegistry.get()
    assert registry.get_telemetry_exporter(relay_adapter_nat.RelayTelemetryConfig)
    for config in (relay_adapter_nat.RelayMiddlewareConfig, relay_adapter_nat.ExperimentalRelayLlmConfig):
        assert registry.get_middleware(config)
    names = [relay_adapter_nat.RelayTelemetryConfig, relay_adapter_nat.RelayMiddlewareConfig]
    assert [config.static_type() for config in names] == ["relay", "relay"]
    assert relay_adapter_nat.ExperimentalRelayLlmConfig.static_type() == "relay_experimental_llm"
