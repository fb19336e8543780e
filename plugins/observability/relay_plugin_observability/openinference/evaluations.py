"""What an evaluator found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.openinference.payload import put_unless
from relay_plugin_observability.openinference.values import as_dict, as_list, as_number, as_text, is_text, json_text
from relay_plugin_observability.openinference.words import EVALUATION, SPAN

if TYPE_CHECKING:
    from relay_plugin_observability.openinference.masking import Masking
    from relay_plugin_observability.openinference.values import Attributes
    from relay_plugin_observability.projection import ScopeRecord

__all__ = ["put_evaluations"]

_LISTS: Final = ("evaluations", "results", "scores")
_TELLING: Final = frozenset({"score", "label", "explanation", "value", "passed"})
_MOST: Final = 256


def put_evaluations(out: Attributes, record: ScopeRecord, masking: Masking) -> None:
    """Write each result: name, score, label, explanation, and who judged. The default name is the evaluator's."""
    result = None if record.end is None else record.end.data
    for index, found in enumerate(_results(result)[:_MOST]):
        prefix = f"{SPAN.EVALUATIONS}.{index}."
        out[prefix + EVALUATION.EVALUATION_NAME] = as_text(found.get("name") or record.start.name)
        score = as_number(found.get("score", found.get("value")))
        if score is not None:
            out[prefix + EVALUATION.EVALUATION_SCORE] = float(score)
        label = found.get("label")
        if label is None and type(found.get("passed")) is bool:
            label = "pass" if found["passed"] else "fail"
        for key, value in (
            (EVALUATION.EVALUATION_LABEL, label),
            (EVALUATION.EVALUATION_ANNOTATOR_KIND, found.get("annotator_kind")),
            (EVALUATION.EVALUATION_IDENTIFIER, found.get("identifier")),
        ):
            if is_text(value):
                out[prefix + key] = value
        if is_text(found.get("explanation")):
            key = prefix + EVALUATION.EVALUATION_EXPLANATION
            put_unless(out, key, found["explanation"], masking, hidden=masking.hide_outputs)
        if as_dict(found.get("metadata")) and not masking.hide_outputs:
            out[prefix + EVALUATION.EVALUATION_METADATA] = json_text(found["metadata"])


def _results(result: Any) -> list[dict[str, Any]]:
    if as_number(result) is not None:
        return [{"score": result}]
    fields = as_dict(result)
    if _TELLING & fields.keys():
        return [fields]
    items = next((as_list(fields[name]) for name in _LISTS if type(fields.get(name)) is list), as_list(result))
    return [as_dict(item) for item in items if _TELLING & as_dict(item).keys()]
