"""Components of real NAT workflows: functions, a function group, a scripted model. Imported only where NAT is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator  # NAT reads the annotations
from contextlib import asynccontextmanager
from typing import Any

import langchain_core.callbacks.manager  # noqa: F401  # else a model's first call imports it in the run
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from nat.builder.workflow_builder import WorkflowBuilder
from nat.data_models.config import Config, GeneralConfig
from nat.observability.exporter.base_exporter import BaseExporter
from nat.plugin_api import (
    Builder,
    FunctionBaseConfig,
    FunctionGroup,
    FunctionGroupBaseConfig,
    FunctionInfo,
    FunctionMiddleware,
    FunctionMiddlewareBaseConfig,
    InvocationAction,
    LLMBaseConfig,
    LLMFrameworkEnum,
    LLMProviderInfo,
    TelemetryExporterBaseConfig,
    register_function,
    register_function_group,
    register_llm_client,
    register_llm_provider,
    register_middleware,
    register_telemetry_exporter,
)
from nat.runtime.loader import PluginTypes, discover_and_register_plugins
from nat.runtime.session import SessionManager

discover_and_register_plugins(PluginTypes.COMPONENT)  # brings ours too, by its entry point

USAGE = {"input_tokens": 11, "output_tokens": 5, "total_tokens": 16, "input_token_details": {"cache_read": 4}}


class ScriptedModel(BaseChatModel):
    """Answers with what its script says; an exception in the script is raised."""

    script: list[Any]
    model_name: str = "scripted-1"

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(**kwargs), "ls_model_name": self.model_name}

    def _next(self, messages: Any) -> AIMessage:
        said = sum(1 for message in messages if message.type == "ai")
        answer = self.script[min(said, len(self.script) - 1)]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, AIMessage):
            return answer.model_copy()
        return AIMessage(answer, usage_metadata=USAGE, response_metadata={"finish_reason": "stop"})

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        answer = self._next(messages)
        wanted = [
            {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": n}
            for n, call in enumerate(answer.tool_calls)
        ]
        told: list[Any] = [*str(answer.content).split(), None]
        for n, word in enumerate(told):
            if word is None:  # the last chunk has the tool calls and the tokens
                facts = {"usage_metadata": answer.usage_metadata, "response_metadata": answer.response_metadata}
                message = AIMessageChunk("", tool_call_chunks=wanted, **facts)
            else:
                message = AIMessageChunk(word if n == 0 else f" {word}")
            chunk = ChatGenerationChunk(message=message)
            if run_manager is not None:
                run_manager.on_llm_new_token(word or "", chunk=chunk)
            yield chunk

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[], **kwargs)


def calls(*wanted: tuple[str, dict[str, Any]]) -> AIMessage:
    """A turn in which the model calls tools."""
    tool_calls = [{"name": name, "args": args, "id": f"call_{n}"} for n, (name, args) in enumerate(wanted)]
    return AIMessage("", tool_calls=tool_calls, usage_metadata=USAGE, response_metadata={"finish_reason": "tool_calls"})


SCRIPTS: dict[str, list[Any]] = {"cli": [calls(("weather", {"city": "Oslo", "days": 2})), "It rains."]}


class ScriptedConfig(LLMBaseConfig, name="t_scripted"):
    script: str = "default"


@register_llm_provider(config_type=ScriptedConfig)
async def scripted_provider(config: ScriptedConfig, builder: Builder):
    yield LLMProviderInfo(config=config, description="a script")


@register_llm_client(config_type=ScriptedConfig, wrapper_type=LLMFrameworkEnum.LANGCHAIN)
async def scripted_langchain(config: ScriptedConfig, builder: Builder):
    yield ScriptedModel(script=SCRIPTS.get(config.script, ["hello"]))


class RawModel:
    """A client of no framework, with every kind of method."""

    model_name = "raw-1"

    def complete(self, prompt: str) -> str:
        return f"sync {prompt}"

    async def acomplete(self, prompt: str) -> str:
        return f"async {prompt}"

    def stream_complete(self, prompt: str):
        yield from prompt.split()

    async def astream_complete(self, prompt: str):
        async def chunks():
            for word in prompt.split():
                yield word

        return chunks()

    async def astream(self, prompt: str):
        for word in prompt.split():
            yield word


@register_llm_client(config_type=ScriptedConfig, wrapper_type="t_raw")
async def scripted_raw(config: ScriptedConfig, builder: Builder):
    yield RawModel()


class ToolConfig(FunctionBaseConfig, name="t_tool"):
    """A function of two arguments."""

    mode: str = "ok"


@register_function(config_type=ToolConfig)
async def weather(config: ToolConfig, builder: Builder):
    async def tool(city: str, days: int = 1) -> str:
        if config.mode == "hang":
            await asyncio.sleep(60)
        if config.mode == "fail":
            raise LookupError(f"no weather in {city}")
        return f"{days} days of rain in {city}"

    yield FunctionInfo.from_fn(tool, description="Tells the weather.")


class EchoConfig(FunctionBaseConfig, name="t_echo"):
    """A function of one text."""


@register_function(config_type=EchoConfig)
async def echo(config: EchoConfig, builder: Builder):
    async def say(text: str) -> str:
        await asyncio.sleep(0)
        return f"echo {text}"

    yield FunctionInfo.from_fn(say, description="Says it again.")


class StreamConfig(FunctionBaseConfig, name="t_stream"):
    """A function that streams words."""

    fail_at: int = -1


@register_function(config_type=StreamConfig)
async def words(config: StreamConfig, builder: Builder):
    async def say(text: str) -> str:
        return text

    async def stream(text: str) -> AsyncGenerator[str, None]:
        for n, word in enumerate(text.split()):
            if n == config.fail_at:
                raise ZeroDivisionError("the stream broke")
            yield word

    yield FunctionInfo.create(single_fn=say, stream_fn=stream, description="Says it word by word.")


class SumsConfig(FunctionGroupBaseConfig, name="t_sums"):
    """A group of functions."""


@register_function_group(config_type=SumsConfig)
async def sums(config: SumsConfig, builder: Builder):
    group = FunctionGroup(config=config)

    async def add(a: int, b: int) -> int:
        return a + b

    async def divide(a: int, b: int) -> float:
        return a / b

    group.add_function("add", add, description="Adds.")
    group.add_function("divide", divide, description="Divides.")
    yield group


class SkipsConfig(FunctionMiddlewareBaseConfig, name="t_skips"):
    """Middleware that lets no function run."""


class _Skips(FunctionMiddleware):
    async def pre_invoke(self, context: Any) -> Any:
        context.action = InvocationAction.SKIP
        return context


@register_middleware(config_type=SkipsConfig)
async def skips(config: SkipsConfig, builder: Builder):
    yield _Skips()


CAPTURED: list[Any] = []


class CaptureConfig(TelemetryExporterBaseConfig, name="t_capture"):
    """Keeps NAT's own steps."""


class _Capture(BaseExporter):
    def export(self, event: Any) -> None:
        CAPTURED.append(event)


@register_telemetry_exporter(config_type=CaptureConfig)
async def capture(config: CaptureConfig, builder: Builder):
    yield _Capture()


class CallerConfig(FunctionBaseConfig, name="t_caller"):
    """A workflow whose body is given by a test."""

    body: str


BODIES: dict[str, Any] = {}


@register_function(config_type=CallerConfig, framework_wrappers=[LLMFrameworkEnum.LANGCHAIN])
async def caller(config: CallerConfig, builder: Builder):
    body = BODIES[config.body]
    prepared = await body.prepare(builder) if hasattr(body, "prepare") else builder

    async def run(text: str) -> str:
        return await body(prepared, text)

    async def stream(text: str) -> AsyncGenerator[str, None]:
        async for chunk in body.stream(prepared, text):
            yield chunk

    yield FunctionInfo.create(single_fn=run, stream_fn=stream if hasattr(body, "stream") else None)


@asynccontextmanager
async def session(workflow: Any, **parts: Any):
    """Build a workflow and give its session manager; `parts` are sections of NAT's configuration."""
    telemetry = parts.pop("telemetry", {"relay": {"_type": "relay", "flush_timeout": 0}})
    general = GeneralConfig.model_validate({"telemetry": {"tracing": telemetry}, "use_uvloop": False})
    config = Config.model_validate({"general": general, "workflow": workflow, **parts})
    async with WorkflowBuilder.from_config(config=config) as builder:
        manager = await SessionManager.create(config=config, shared_builder=builder, max_concurrency=0)
        try:
            yield manager
        finally:
            await manager.shutdown()


async def run(workflow: Any, text: str = "hi", **parts: Any) -> Any:
    """Build a workflow and run it once."""
    async with session(workflow, **parts) as manager:
        return await once(manager, text)


async def once(manager: Any, text: str = "hi", *, upstream: dict[str, Any] | None = None, **options: Any) -> Any:
    """Run a workflow once; `upstream` tells what it is a part of."""
    async with manager.session(**options) as opened, opened.run(text, **(upstream or {})) as runner:
        return await runner.result()


class Body:
    """A workflow's body from plain functions of a test, with the functions that it calls looked up once."""

    def __init__(self, fn: Any, *names: str, stream: Any = None) -> None:
        self.fn = fn
        self.names = names
        if stream is not None:
            self.stream = stream

    async def prepare(self, builder: Any) -> dict[str, Any]:
        return {name: await builder.get_function(name) for name in self.names}

    async def __call__(self, prepared: Any, text: str) -> Any:
        return await self.fn(prepared, text)


def body(fn: Any, *names: str, **options: Any) -> dict[str, Any]:
    """Give the configuration of a workflow with this body."""
    key = f"{fn.__module__}.{fn.__qualname__}"
    BODIES[key] = Body(fn, *names, **options)
    return {"_type": "t_caller", "body": key}
