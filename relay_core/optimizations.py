"""What middleware did to make a model call cheaper: a mark for each optimization, and a summary on the end event."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Final, cast

from relay_core.claims import Around, response_by
from relay_core.errors import UsageError

if TYPE_CHECKING:
    from relay_core.llm import LlmResponse
    from relay_core.scopes import Scope

__all__ = ["MARK", "Summarised", "contribute", "contribution"]

MARK: Final = "nemo_relay.llm.optimization"  # the format's own name
_SCHEMA: Final = {"name": "nemo.relay.llm_optimization_contribution", "version": "1"}
_VERSIONS: Final = {"schema_version": "1", "calculation_version": "1"}
_SUMMED: Final = 64  # contributions of one call in its summary; each has its mark
_TOKENS: Final = ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens", "total_tokens")
_IMPACTS: Final = ("baseline", "effective", "saved")
_QUALITIES: Final = ("observed", "estimated")
_RESERVED: Final = frozenset({"id", "sequence"})


def contribution(
    producer: str,
    kind: str,
    *,
    applied: bool,
    model_transition: Mapping[str, Any] | None,
    token_impact: Mapping[str, Any] | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Check one optimization and give it as the format writes it; see `relay_core.LlmCall.optimization`.

    Raises:
        UsageError: a field is wrong; the text says which.

    Example:
        >>> contribution(
        ...     "router",
        ...     "model_routing",
        ...     applied=True,
        ...     model_transition={"effective": "small"},
        ...     token_impact=None,
        ...     more={},
        ... )
        {'producer': 'router', 'kind': 'model_routing', 'applied': True, 'model_transition': {'effective': {'model': 'small'}}}
    """
    problem = _problem(producer, kind, applied, more)
    if problem:
        raise UsageError(f"optimization {kind!r} of {producer!r}: {problem}")
    made: dict[str, Any] = {"producer": producer, "kind": kind, "applied": applied}
    try:
        if model_transition is not None:
            made["model_transition"] = _transition(model_transition)
        if token_impact is not None:
            made["token_impact"] = _impact(token_impact)
    except UsageError as error:
        raise UsageError(f"optimization {kind!r} of {producer!r}: {error}") from None
    return {**made, **more}


def _problem(producer: Any, kind: Any, applied: Any, more: Mapping[str, Any]) -> str | None:
    if not _is_name(producer) or not _is_name(kind):
        return "producer and kind are text, and not empty"
    if type(applied) is not bool:
        return f"applied is True or False, not {applied!r}"
    taken = _RESERVED & more.keys()
    if taken:
        return f"{', '.join(sorted(taken))} is given by Relay"
    return None if _is_text(more.get("contribution_id", "")) else "contribution_id is text"


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_name(value: object) -> bool:
    return _is_text(value) and bool(value)


def _mapping(value: Any, what: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    """Give a mapping that has no key but these."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is a mapping, got {type(value).__name__}")
    unknown = sorted(str(key) for key in cast("Mapping[Any, Any]", value) if key not in known)
    if unknown:
        raise UsageError(f"{what} has no {', '.join(unknown)}; it has {', '.join(known)}")
    return cast("Mapping[str, Any]", value)


def _transition(given: Any) -> dict[str, Any]:
    return {
        side: _model(model, f"model_transition[{side!r}]")
        for side, model in _mapping(given, "model_transition", ("baseline", "effective")).items()
    }


def _model(given: Any, what: str) -> dict[str, str]:
    found = {"model": given} if _is_text(given) else dict(_mapping(given, what, ("model", "provider")))
    if not _is_name(found.get("model")) or not all(map(_is_text, found.values())):
        raise UsageError(f'{what} is a model\'s name, or {{"model": name, "provider": name}}')
    return found


def _impact(given: Any) -> dict[str, Any]:
    found = dict(_mapping(given, "token_impact", (*_IMPACTS, "quality", "estimation_method")))
    for side in _IMPACTS:
        if side in found:
            found[side] = _tokens(found[side], f"token_impact[{side!r}]")
    if found.get("quality", "observed") not in _QUALITIES:
        raise UsageError(f"token_impact['quality'] is observed or estimated, not {found['quality']!r}")
    if not _is_text(found.get("estimation_method", "")):
        raise UsageError("token_impact['estimation_method'] is text")
    return found


def _tokens(given: Any, what: str) -> dict[str, int]:
    found = dict(_mapping(given, what, _TOKENS))
    for name, number in found.items():
        if type(number) is not int or number < 0:
            raise UsageError(f"{what}: {name} is a count, not {number!r}")
    return found


def contribute(scope: Scope, made: dict[str, Any]) -> None:
    """Emit the mark of an optimization under the open scope of its call, and add it to the summary of the end event."""
    relay: Any = scope._relay
    if scope.closed:
        relay.count("late_facts")
        return
    if scope._route is None:  # nobody observes
        return
    reader: Any = scope._codec
    if not isinstance(reader, Summarised):
        reader = scope._codec = Summarised(reader)  # pyright: ignore[reportAttributeAccessIssue]  # the end event reads it
    whole = {**made, "id": relay.new_id(), "sequence": reader.number()}
    reader.add(whole)
    scope.mark(MARK, data=whole, category="custom", data_schema=_SCHEMA)


class Summarised(Around):
    """Reads as the codec or view of a call does, and adds what its optimizations have brought.

    Args:
        reader: what reads the response without it.
    """

    __slots__ = ("_beyond", "_contributions", "_numbers", "describe_chunk")

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.describe_chunk = getattr(reader, "describe_chunk", None)
        self._contributions: list[dict[str, Any]] = []
        self._numbers = count()
        self._beyond = False

    def number(self) -> int:
        """Draw the place of one more contribution; from 0."""
        return next(self._numbers)

    def add(self, whole: dict[str, Any]) -> None:
        """Keep a contribution; its payload and further fields are on its mark alone."""
        if len(self._contributions) < _SUMMED:
            kept = (
                "id",
                "sequence",
                "contribution_id",
                "producer",
                "kind",
                "applied",
                "model_transition",
                "token_impact",
            )
            self._contributions.append({name: whole[name] for name in kept if name in whole})
        else:
            self._beyond = True

    def decode_response(self, data: Any) -> LlmResponse:
        """Read the response, with the summary among its further fields."""
        found = response_by(self.reader, data)
        return found.replace(extra={**found.extra, "optimization_summary": self._summary(found)})

    def without_response(self) -> LlmResponse:
        """Give the summary of a call that failed."""
        from relay_core.llm import LlmResponse  # noqa: PLC0415  # on the dispatcher's thread, where it is loaded

        return LlmResponse(extra={"optimization_summary": self._summary(LlmResponse())})

    def _summary(self, response: LlmResponse) -> dict[str, Any]:
        from relay_core.annotations import annotated_response  # noqa: PLC0415  # see without_response

        usage = dict(annotated_response(response.replace(choices=(), extra={})).get("usage") or {})
        cost = usage.pop("cost", None)
        applied = [item for item in self._contributions if item["applied"]]
        saved = _saved(applied)
        baseline_model, model = _models(applied, response.model)
        lacking = ["contribution_limit_exceeded"] if self._beyond else []
        found: dict[str, Any] = {"baseline_model": baseline_model, "effective_model": model}
        if usage:
            lacking += [f"missing_effective_{name}" for name in saved if name not in usage]
            found["effective_usage"] = usage
            found["baseline_usage"] = {name: usage[name] + saved.get(name, 0) for name in _TOKENS if name in usage}
        else:
            lacking.append("missing_effective_usage")
        found.update(_costs(cost, is_same=not saved and baseline_model == model))
        lacking += ["missing_actual_cost"] if cost is None else []
        lacking += ["missing_baseline_pricing"] if "baseline_cost" not in found and usage else []
        return {
            **_VERSIONS,
            "status": "partial" if lacking else "complete",
            "limitations": sorted(lacking),
            **{name: value for name, value in found.items() if value is not None},
            "tokens_saved": saved,
            "contributions": list(self._contributions),
        }


def _saved(applied: list[dict[str, Any]]) -> dict[str, int]:
    """Add up the tokens that were saved; a total that was not told is that of prompt and completion."""
    found: dict[str, int] = {}
    for item in applied:
        saved: dict[str, int] = dict(item.get("token_impact", {}).get("saved") or {})
        parts = [saved[name] for name in ("prompt_tokens", "completion_tokens") if name in saved]
        if parts:
            saved.setdefault("total_tokens", sum(parts))
        for name, number in saved.items():
            found[name] = found.get(name, 0) + number
    return found


def _models(applied: list[dict[str, Any]], answered: str | None) -> tuple[Any, Any]:
    """Give the model that would have answered, and the one that did: which that was, the response knows best."""
    transitions = [item["model_transition"] for item in applied if "model_transition" in item]
    wanted = next((each["effective"] for each in reversed(transitions) if "effective" in each), None)
    effective = wanted
    if answered and (wanted is None or not answered.startswith(wanted["model"].rpartition("/")[2])):  # or a dated name
        effective = {"model": answered}
    return next((each["baseline"] for each in transitions if "baseline" in each), effective), effective


def _costs(cost: Any, *, is_same: bool) -> dict[str, Any]:
    """Give what is known of the money: what another model or more tokens would have cost is for who has a price list."""
    if cost is None:
        return {}
    if not is_same:
        return {"actual_cost": cost}
    return {"actual_cost": cost, "baseline_cost": cost, "estimated_cost_saved": 0.0, "currency": cost["currency"]}
