"""What each kind of run becomes: name, category, parent, payload; and how it joins a managed call around it."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from relay_adapter_langchain.calls import current_frame
from relay_adapter_langchain.codec import CODEC
from relay_adapter_langchain.outcomes import outcome_of
from relay_adapter_langchain.runs import Run
from relay_adapter_langchain.shapes import has_failed, llm_result, model_of, shown
from relay_adapter_langchain.snapshots import later, later_request, later_result
from relay_core.claims import left, seen
from relay_core.ids import uuid_text
from relay_core.observation import shown_by, unreadable
from relay_core.payloads import Frozen
from relay_core.scopes import UNSET, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.outputs import LLMResult

    from relay_adapter_langchain.extensions import RunNote
    from relay_adapter_langchain.handler import RelayCallbackHandler
    from relay_adapter_langchain.runs import RunTable
    from relay_core.claims import Claim

__all__ = [
    "Start",
    "chain_ended",
    "chain_started",
    "failed",
    "give_up",
    "llm_ended",
    "llm_started",
    "name_of",
    "retrieved",
    "retriever_started",
    "tool_ended",
    "tool_started",
]

_GRAPHS: Final = frozenset({"LangGraph"})
_LEFT_OUT: Final = ("lc_versions", "checkpoint_ns", "langgraph_triggers")  # of all runs the same; told by others
_OWN_TAGS: Final = ("graph:step:", "seq:step:", "map:key:")  # LangChain's, where a run's place in the tree says it
_ATTEMPT: Final = "retry:attempt:"
_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
_FIXED: Final = _ATOMS | {tuple}
_NO_DETAILS: Final[Mapping[str, Any]] = MappingProxyType({})


class Start:
    """What every start of a run brings, and the opening of its scope.

    Attributes:
        fresh: whether the run is to get a scope; the others mean nothing where it is not.
        parent: the run that it is in.
        metadata: LangChain's; not to be changed.
        tags: LangChain's.
        details: what else LangChain tells of the start of a chain.
        name: of the scope.
        category: of the scope.
        kind: of the run: chain, llm, tool or retriever.
        subtype: of the scope, if an extension gives one.
        extra: metadata that extensions add.
        note: what an extension keeps with the run.
    """

    __slots__ = (
        "category",
        "details",
        "extra",
        "fresh",
        "kind",
        "metadata",
        "name",
        "note",
        "parent",
        "relay",
        "run_id",
        "subtype",
        "table",
        "tags",
    )

    def __init__(
        self,
        handler: RelayCallbackHandler,
        table: RunTable,
        run_id: UUID,
        parent_run_id: UUID | None,
        tags: list[str] | None,
        metadata: dict[str, Any] | None,
    ) -> None:
        self.relay = relay = handler.relay
        self.table = table
        self.run_id = run_id
        self.tags = tags
        self.metadata = metadata
        self.details: Mapping[str, Any] = _NO_DETAILS
        self.fresh = handler.enabled and table.get(run_id) is None and not relay.disabled
        self.parent = table.parent_of(parent_run_id) if self.fresh else None

    def correlation(self, extra: Mapping[str, Any] | None = None) -> Frozen | dict[str, Any] | None:
        """Metadata of the scope: the run's own, its id and tags, and what extensions add. Made late where it cannot change."""
        if not self.relay.observed:
            return None
        given = dict(self.metadata) if self.metadata else {}
        for name in _LEFT_OUT:
            given.pop(name, None)
        make = partial(_correlated, self.run_id, given, tuple(self.tags) if self.tags else (), extra)
        return Frozen.late(make) if _is_fixed(given) and (not extra or _is_fixed(extra)) else make()

    def open(
        self,
        name: str,
        category: str,
        *,
        kind: str = "",
        data: Any = None,
        profile: dict[str, Any] | None = None,
        codec: Any = None,
    ) -> Run:
        """Open a scope of its own for the run."""
        note: RunNote | None = None
        extra: dict[str, Any] | None = None
        if self.table.extensions:
            self._extend(name, category, kind or category)
            category, note, extra = self.category, self.note, self.extra
            if self.subtype:
                profile = {**(profile or {}), "subtype": self.subtype}
        parent = self.table.scope_for(self.relay, self.parent)
        scope = Scope().prepare(self.relay, name, category, parent, data, None, profile, (), None, codec)
        self._correlate(scope, extra)
        run = self._enter(scope.open(), kind or category, owned=True)
        run.note = note
        return run

    def _extend(self, name: str, category: str, kind: str) -> None:
        """Let the extensions look at the run."""
        self.name, self.category, self.kind = name, category, kind
        self.subtype: str | None = None
        self.extra: dict[str, Any] = {}
        self.note: RunNote | None = None
        for extension in self.table.extensions:
            try:
                extension.starting(self)
            except Exception as error:  # noqa: BLE001  # the scope opens all the same
                self.relay.fault("langchain extension", error)

    def join(self, scope: Scope, kind: str) -> Run:
        """Let the run be the inside of a managed call, whose scope it does not end."""
        self._correlate(scope)
        return self._enter(scope, kind, owned=False)

    def _correlate(self, scope: Scope, extra: Mapping[str, Any] | None = None) -> None:
        found = self.correlation(extra)
        if type(found) is Frozen:
            scope.correlate(found)
        elif found:
            scope.metadata.update(found)

    def _enter(self, scope: Scope, kind: str, *, owned: bool) -> Run:
        run = Run(self.run_id, self.parent, kind, scope, owned=owned, mono=self.relay.monotonic())
        run.agent = (self.metadata or {}).get("lc_agent_name")
        self.table.add(run)
        return run


def _is_fixed(metadata: Mapping[str, Any]) -> bool:
    """Tell whether nobody can change the values."""
    kinds = list(map(type, metadata.values()))
    if _ATOMS.issuperset(kinds):
        return True
    if not _FIXED.issuperset(kinds):
        return False
    for value in metadata.values():  # noqa: SIM110  # a generator takes longer
        if type(value) is tuple and not _ATOMS.issuperset(map(type, value)):
            return False
    return True


def _correlated(
    run_id: UUID, given: dict[str, Any], tags: tuple[str, ...], extra: Mapping[str, Any] | None
) -> dict[str, Any]:
    own = uuid_text(run_id.int) if type(run_id) is UUID else str(run_id)  # the same, in less time
    found: dict[str, Any] = {"langchain.run_id": own, **given}
    for tag in tags:
        if tag.startswith(_OWN_TAGS):
            continue
        found.setdefault("langchain.tags", []).append(tag)
        if tag.startswith(_ATTEMPT) and tag[len(_ATTEMPT) :].isdecimal():
            found["attempt"] = int(tag[len(_ATTEMPT) :])
    if extra:
        found.update(extra)
    return found


def name_of(serialized: Mapping[str, Any] | None, kwargs: Mapping[str, Any], default: str) -> str:
    """Give the name of a run."""
    name = kwargs.get("name") or (serialized or {}).get("name")
    if not name:
        path = (serialized or {}).get("id")
        name = path[-1] if isinstance(path, list) and path else default
    return str(name)


# -- chains ----------------------------------------------------------------------------------------------------------


def chain_started(start: Start, serialized: Mapping[str, Any] | None, inputs: Any, kwargs: Mapping[str, Any]) -> None:
    """Open the scope of a chain: an agent where a tree, an agent or a graph begins, else a function."""
    name = name_of(serialized, kwargs, "chain")
    start.details = kwargs
    metadata = start.metadata or {}
    is_deferred = _is_placeholder(inputs)
    data = later(inputs) if start.relay.observed and not is_deferred else None
    profile = {"subtype": kwargs["run_type"]} if kwargs.get("run_type") else None
    category = "agent" if _begins_agent(start, name, metadata, serialized) else "function"
    run = start.open(name, category, kind="chain", data=data, profile=profile)
    run.defers = is_deferred


def chain_ended(run: Run, outputs: Any, inputs: Any = UNSET, *, observed: bool) -> None:
    """End a chain; `inputs` are those of a stream, known only now."""
    if not observed:
        run.scope.close(status=run.status)
        return
    if run.defers and run.parent is None and inputs is not UNSET:
        run.scope.mark("langchain.inputs", data=later(inputs))
    run.scope.close(output=later(outputs), status=run.status)


def _is_placeholder(inputs: Any) -> bool:
    """Tell whether this stands for the input of a stream, which LangChain knows only at the end."""
    if type(inputs) is not dict or len(inputs) != 1:
        return False
    value = inputs.get("input")
    return type(value) is str and not value


def _begins_agent(start: Start, name: str, metadata: Mapping[str, Any], serialized: Any) -> bool:
    if start.parent is None:
        return True
    if serialized is not None or name == metadata.get("langgraph_node"):
        return False
    agent = metadata.get("lc_agent_name")
    return name in _GRAPHS or (agent is not None and agent == name and agent != start.parent.agent)


# -- models ----------------------------------------------------------------------------------------------------------


def llm_started(
    start: Start, serialized: Mapping[str, Any] | None, messages: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Open the scope of a model call, or join the managed call around it."""
    params: dict[str, Any] = kwargs.get("invocation_params") or {}
    model = params.get("model") or params.get("model_name") or (start.metadata or {}).get("ls_model_name")
    profile = {"model_name": model} if isinstance(model, str) else None
    claim = start.relay.current_claim("llm")
    if claim is not None and _joined(start, claim, "llm", profile):
        return
    data = later_request(messages, params, model=model, tools=params.get("tools")) if start.relay.observed else None
    seen(start.relay, start.open(name_of(serialized, kwargs, "model"), "llm", data=data, profile=profile, codec=CODEC))


def llm_ended(run: Run, response: Any, *, observed: bool) -> None:
    """End a model run, or add what it knows to the managed call around it."""
    left(run)
    profile = _timing(run)
    model = shown_by(model_of, response)
    if isinstance(model, str):
        profile["model_name"] = model
    if run.owned:
        run.scope.close(output=later_result(response) if observed else UNSET, profile=profile)
    elif profile and not run.scope.closed:
        run.scope.add_profile(profile)


def _timing(run: Run) -> dict[str, Any]:
    return {"time_to_first_chunk": run.first / 1e9} if run.first else {}


# -- tools -----------------------------------------------------------------------------------------------------------


def tool_started(start: Start, serialized: Mapping[str, Any] | None, inputs: Any, kwargs: Mapping[str, Any]) -> None:
    """Open the scope of a tool call, or join the managed call around it."""
    name = str((serialized or {}).get("name") or kwargs.get("name") or "tool")
    call_id = kwargs.get("tool_call_id")
    claim = start.relay.current_claim("tool")
    if claim is not None and _is_same_tool(claim, name, call_id) and _joined(start, claim, "tool", None):
        return
    data = later(inputs) if start.relay.observed else None
    start.open(name, "tool", data=data, profile={"tool_call_id": call_id} if call_id else None)


def _is_same_tool(claim: Claim, name: str, call_id: str | None) -> bool:
    frame = current_frame(claim)
    return frame.is_same_tool(name, call_id) if frame is not None else claim.scope.name == name


def tool_ended(run: Run, output: Any, *, observed: bool) -> None:
    """End a tool run; LangChain reports a failure that the tool handles as a message with status "error"."""
    if not run.owned:
        return
    status = "error" if has_failed(output) else None
    run.scope.close(output=later(output) if observed else UNSET, status=status)


def retriever_started(
    start: Start, serialized: Mapping[str, Any] | None, query: str, kwargs: Mapping[str, Any]
) -> None:
    """Open the scope of a retrieval."""
    start.open(name_of(serialized, kwargs, "retriever"), "retriever", data={"query": query})


def retrieved(run: Run, documents: Any, *, observed: bool) -> None:
    """End a retrieval with the documents found."""
    run.scope.close(output={"documents": shown(documents)} if observed else UNSET)


# -- both ------------------------------------------------------------------------------------------------------------


def failed(run: Run, error: BaseException, response: Any = None, *, observed: bool) -> None:
    """End a run that an exception ended, with the part of a model's response that had arrived.

    Control flow is no failure.
    """
    left(run)
    partial = shown_by(_begun, response) if observed and response is not None else None
    if not run.owned:
        _fail_inside(run, error, partial)
        return
    status, carried = outcome_of(error)
    output = partial if partial is not None else carried
    is_failure = status is None or status == "cancelled"
    run.scope.close(
        output=shown(output) if output is not UNSET else UNSET,
        status=status,
        error=error if is_failure else None,
        profile=_timing(run),
    )


def _begun(response: LLMResult) -> dict[str, Any] | None:
    return llm_result(response) if response.generations else None


def give_up(run: Run, outcome: Any, error: BaseException) -> None:
    """End a run whose end could not be told as usual."""
    if run.owned and not run.scope.closed:
        failure = outcome if issubclass(type(outcome), BaseException) else None
        run.scope.close(output=unreadable(error), error=failure)


def _fail_inside(run: Run, error: BaseException, partial: Any) -> None:
    """Tell a managed call how the run inside it failed; whether the call fails too is for others to decide."""
    scope = run.scope
    if scope.closed:
        return
    if partial is not None:
        scope.output = partial  # stays only if the call has no result
    frame = run.frame
    if frame is not None:
        frame.failure = error
    if run.first:
        scope.add_profile(_timing(run))


def _joined(start: Start, claim: Claim, kind: str, profile: dict[str, Any] | None) -> bool:
    """Bind a run to the managed call around it: the first as the call itself, a later one as another attempt.

    A run that starts while the bound one is open is a call of its own, made by the model or tool inside.
    """
    frame = current_frame(claim)
    scope = claim.scope
    if profile:
        claim.enrich(profile=profile)
    if frame is None:
        start.join(scope, kind)
        return True
    if frame.table is not None and frame.table.get(frame.run_id) is not None:
        return False
    frame.attempts += 1
    if frame.attempts > 1:
        frame.failure = None
        claim.mark("attempt", data={"attempt": frame.attempts, **(profile or {})}, severity="warn")
    frame.run_id, frame.table = start.run_id, start.table
    start.join(scope, kind).frame = frame
    return True
