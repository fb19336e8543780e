"""The surfaces: what is registered on the call path, and how decisions become requests, results and exceptions."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from relay_core.errors import CodecError
from relay_core.text_rules import is_stream
from relay_plugin_guardrails.chunks import without_echoes
from relay_plugin_guardrails.curtain import INSIDE
from relay_plugin_guardrails.decision import Decision, refusal
from relay_plugin_guardrails.library import in_check
from relay_plugin_guardrails.messages import PartsCheck
from relay_plugin_guardrails.streaming import check_async, check_sync, is_async_stream
from relay_plugin_guardrails.texts import (
    Unplaceable,
    content_of,
    envelope,
    merged,
    opened,
    unscanned,
    user_messages,
    with_content,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from relay_core.call_types import Call, LlmCall, ToolCall
    from relay_core.runtime import Relay
    from relay_plugin_guardrails.checker import Checker
    from relay_plugin_guardrails.curtain import Curtain
    from relay_plugin_guardrails.settings import InputSettings, OutputSettings, RetrievalSettings

__all__ = ["Surfaces"]


class Surfaces:
    """What Relay calls. Surfaces without a checker are off.

    Args:
        relay: the runtime.
        curtain: learns which outputs were blocked; None where content is captured.
        checkers: by surface.
    """

    def __init__(self, relay: Relay, curtain: Curtain | None, checkers: dict[str, Checker]) -> None:
        self.relay = relay
        self.curtain = curtain
        self.checkers = checkers

    def register(self) -> list[Any]:
        """Register all surfaces; returns the handles."""
        add, on = self.relay.register, self.checkers
        handles: list[Any] = [
            add("request_intercept", _marked, target=target, name="guardrails.inside", priority=-1_000)
            for target in ("llm", "tool")
        ]
        places: list[tuple[str, str, str, Callable[..., Any]]] = [
            ("llm_input", "request_intercept", "llm", self.on_llm_request),
            ("llm_output", "execution_intercept", "llm", self.around_llm),
            ("tool_args", "request_intercept", "tool", self.on_tool_request),
            ("tool_result", "execution_intercept", "tool", self.around_tool),
            ("retrieval", "execution_intercept", "tool", self.around_retrieval),
        ]
        for surface, kind, target, function in places:
            if surface in on:
                priority = on[surface].settings.priority
                handles.append(add(kind, function, target=target, name=f"guardrails.{surface}", priority=priority))
        if "llm_output" in on:
            handles.append(add("request_intercept", self.unstreamed, target="llm", name="guardrails.unstreamed"))
        return handles

    # -- what models are asked -----------------------------------------------------------------------------------------

    def on_llm_request(self, call: LlmCall) -> LlmCall | Awaitable[LlmCall]:
        """Check what the user says."""
        if in_check.get() or call.category != "llm":
            return call
        return self._checked_request(call)

    async def _checked_request(self, call: LlmCall) -> LlmCall:
        checker = self.checkers["llm_input"]
        settings: InputSettings = checker.settings  # pyright: ignore[reportAssignmentType]  # of this surface
        try:
            view = call.view
        except CodecError as error:
            return self._unread(checker, call, error)
        messages = list(view.messages)
        for place, message in user_messages(view, settings.history):
            parts = PartsCheck(checker, call.parent, unscanned(message.parts))
            try:
                messages[place] = message.replace(parts=await parts.run(message.parts))
            except Unplaceable as error:
                self._refuse_early("llm_input", call, Decision(kind="block", reason=str(error)))
            if parts.refused is not None:
                self._refuse_early("llm_input", call, parts.refused)
        if checker.memory is not None:
            messages = [one.map_text(checker.memory.seen) if one.role == "user" else one for one in messages]
        if all(a is b or a == b for a, b in zip(messages, view.messages, strict=True)):
            return call
        try:
            return call.replace(request=view.replace(messages=tuple(messages)))
        except CodecError:
            self._refuse_early("llm_input", call, Decision(kind="block", reason="the rewritten text has no place"))
            raise

    def unstreamed(self, call: LlmCall) -> LlmCall:
        """Keep an agent framework from showing tokens before they are checked: it shows the checked message instead."""
        settings: OutputSettings = self.checkers["llm_output"].settings  # pyright: ignore[reportAssignmentType]  # see above
        codec = getattr(call.codec, "name", None)
        if in_check.get() or codec != "langchain" or settings.streaming == "monitor" or settings.shadow:
            return call
        model, override = getattr(call.request, "model", None), getattr(call.request, "override", None)
        if override is None or not hasattr(model, "model_copy") or not hasattr(model, "tags"):
            return call
        tags = [*(model.tags or []), "nostream"]
        return call.replace(request=override(model=model.model_copy(update={"tags": tags})))

    # -- what models answer --------------------------------------------------------------------------------------------

    def around_llm(self, call: LlmCall) -> Generator[Any, Any, Any]:
        """Check what a model answers, whole or as a stream."""
        result = yield call
        if in_check.get() or call.category != "llm":
            return result
        checker = self.checkers["llm_output"]
        settings: OutputSettings = checker.settings  # pyright: ignore[reportAssignmentType]  # see above
        if is_async_stream(result):
            return self._stopped_async(call, check_async(result, settings, self._stream_check(checker, call)))
        if is_stream(result):
            check = self._stream_check(checker, call)
            return self._stopped_sync(
                call, check_sync(result, settings, lambda text: self.relay.run_async(check(text)))
            )
        return (yield self._checked_answer(checker, call, result))

    def _stream_check(self, checker: Checker, call: LlmCall) -> Callable[[str], Awaitable[Decision]]:
        asked = _asked(call)

        async def check(text: str) -> Decision:
            found = await checker.check(text, asked, parent=call.scope)
            if found.kind in ("block", "error"):
                self._refuse_late(checker.surface, call, found)
            return found

        return check

    def _stopped_sync(self, call: Call, chunks: Any) -> Any:
        try:
            yield from chunks
        except Unplaceable as error:
            self._refuse_late("llm_output", call, Decision(kind="block", reason=str(error)))

    async def _stopped_async(self, call: Call, chunks: Any) -> Any:
        try:
            async for chunk in chunks:
                yield chunk
        except Unplaceable as error:
            self._refuse_late("llm_output", call, Decision(kind="block", reason=str(error)))
        finally:
            await chunks.aclose()

    async def _checked_answer(self, checker: Checker, call: LlmCall, result: Any) -> Any:
        try:
            view = call.response_view(result)
        except CodecError as error:
            return self._unread(checker, call, error, result)
        choices = list(view.choices)
        for place, choice in enumerate(choices):
            parts = PartsCheck(checker, call.scope, unscanned(choice.parts), _asked(call))
            try:
                choices[place] = choice.replace(parts=await parts.run(choice.parts))
            except Unplaceable as error:
                self._refuse_late("llm_output", call, Decision(kind="block", reason=str(error)))
            if parts.refused is not None:
                self._refuse_late("llm_output", call, parts.refused)
        if all(a == b for a, b in zip(choices, view.choices, strict=True)):
            return result
        try:
            made = call.edit_response(result, view.replace(choices=tuple(choices)))
            return without_echoes(made) if isinstance(made, dict) else made
        except CodecError:
            return self._refuse_late(
                "llm_output", call, Decision(kind="block", reason="the rewritten text has no place")
            )

    # -- tools ---------------------------------------------------------------------------------------------------------

    def on_tool_request(self, call: ToolCall) -> ToolCall | Awaitable[ToolCall]:
        """Check the arguments of a tool call."""
        return call if in_check.get() else self._checked_arguments(call)

    async def _checked_arguments(self, call: ToolCall) -> ToolCall:
        checker = self.checkers["tool_args"]
        found = await checker.check(envelope(call.name, arguments=call.request), parent=call.parent)
        if found.kind == "rewrite":
            try:
                arguments = merged(call.request, opened(found.text or "", "arguments"))
            except Unplaceable as error:
                found = Decision(kind="block", reason=str(error))
            else:
                self._remember(checker, call.request, arguments)
                return call.replace(request=arguments)
        if found.kind != "allow":
            self._remember(checker, call.request)
            self._refuse_early("tool_args", call, found)
        return call

    def around_tool(self, call: ToolCall) -> Generator[Any, Any, Any]:
        """Check what a tool gives back."""
        result = yield call
        if in_check.get() or result is None:
            return result
        return (yield self._checked_result(self.checkers["tool_result"], call, result, self._result))

    def around_retrieval(self, call: ToolCall) -> Generator[Any, Any, Any]:
        """Check what a retrieving tool gives back, text by text."""
        result = yield call
        checker = self.checkers["retrieval"]
        settings: RetrievalSettings = checker.settings  # pyright: ignore[reportAssignmentType]  # of this surface
        if in_check.get() or result is None or not any(fnmatchcase(call.name, one) for one in settings.tools):
            return result
        return (yield self._checked_result(checker, call, result, self._retrieved))

    async def _checked_result(
        self, checker: Checker, call: ToolCall, result: Any, check: Callable[..., Awaitable[Any]]
    ) -> Any:
        if hasattr(type(result), "__next__") or is_async_stream(result):
            found = await checker.check("", parent=call.scope, unscanned=["stream"])
            return result if found.kind == "allow" else self._refuse_late(checker.surface, call, found)
        content = content_of(result)
        try:
            made = await check(checker, call, content)
            if made is content:
                return result
            self._remember(checker, content, made)
            return with_content(result, made)
        except Unplaceable as error:
            self._remember(checker, content)
            return self._refuse_late(checker.surface, call, Decision(kind="block", reason=str(error)))

    async def _result(self, checker: Checker, call: ToolCall, content: Any) -> Any:
        facts = {"arguments": call.request, "result": content}
        text = envelope(call.name, **facts)
        asked = envelope(call.name, arguments=call.request)
        found = await checker.check(text, asked, parent=call.scope)
        if found.kind == "rewrite":
            return opened(found.text or "", "result")
        if found.kind != "allow":
            self._remember(checker, content)
            self._refuse_late(checker.surface, call, found)
        return content

    async def _retrieved(self, checker: Checker, call: ToolCall, content: Any) -> Any:
        if isinstance(content, str):
            found = await checker.check(content, str(call.request), parent=call.scope)
            if found.kind in ("block", "error"):
                self._refuse_late(checker.surface, call, found)
            return found.text if found.kind == "rewrite" else content
        if isinstance(content, dict):
            made: Any = {key: await self._retrieved(checker, call, value) for key, value in content.items()}
            return content if all(made[key] is content[key] for key in content) else made
        if isinstance(content, list | tuple):
            made = [await self._retrieved(checker, call, value) for value in content]
            return content if all(a is b for a, b in zip(made, content, strict=True)) else made
        return content

    # -- refusals ------------------------------------------------------------------------------------------------------

    def _unread(self, checker: Checker, call: LlmCall, error: Exception, result: Any = None) -> Any:
        """What cannot be read counts as a failed check."""
        found = Decision(kind="error", reason=f"it cannot be read: {type(error).__name__}")
        scope = {"surface": checker.surface, "engine": checker.engine.name, "rails": list(checker.engine.rails)}
        allows = checker.settings.shadow or checker.settings.on_error == "allow"
        with self.relay.scope(
            f"guardrails.{checker.surface}", "guardrail", input=scope, parent=call.scope or call.parent
        ) as shown:
            shown.output = {"decision": "error", "reason": found.reason, "enforced": not allows}
        if allows:
            return call if checker.surface == "llm_input" else result
        if checker.surface == "llm_input":
            return self._refuse_early(checker.surface, call, found)
        return self._refuse_late(checker.surface, call, found)

    def _refuse_early(self, surface: str, call: Call, found: Decision) -> Any:
        made = refusal(surface, found, call)
        data = {"rejected": True, "rejection_reason": made.reason}
        self.relay.mark(call.name, data=data, **call.context())
        raise made from None

    def _refuse_late(self, surface: str, call: Call, found: Decision) -> Any:
        if self.curtain is not None and call.scope is not None:
            self.curtain.refuse(call.scope.uuid)
        raise refusal(surface, found, call) from None

    def _remember(self, checker: Checker, before: Any, after: Any = None) -> None:
        if checker.memory is None:
            return
        if after is None:
            checker.memory.remember_tree(before)
        else:
            checker.memory.remember_changes(before, after)


def _marked(call: Any) -> Any:
    """Note on calls that rails make that they do: they are not checked, and not shown."""
    return call.replace(metadata={**(call.metadata or {}), INSIDE: True}) if in_check.get() else call


def _asked(call: LlmCall) -> str:
    try:
        return call.view.last_user_text() or ""
    except CodecError:
        return ""
