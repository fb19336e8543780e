"""Arguments of a function call that a stream brings piece by piece, each piece with its place in them."""

from __future__ import annotations

import re
from typing import Any, Final

from relay_adapter_google_genai.names import get
from relay_core.codec_parts import list_of, table_of, text_of

__all__ = ["join_arguments"]

_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\['([^']*)'\]|\["([^"]*)"\]""")
_VALUES: Final = ("stringValue", "numberValue", "boolValue")


def join_arguments(pieces: list[Any]) -> dict[str, Any]:
    """Put the pieces together; texts for the same place follow each other.

    Example:
        >>> pieces = [{"jsonPath": "$.to.city", "stringValue": "Os"}, {"jsonPath": "$.to.city", "stringValue": "lo"}]
        >>> join_arguments([*pieces, {"jsonPath": "$.days[0]", "numberValue": 2}])
        {'to': {'city': 'Oslo'}, 'days': [2]}
    """
    root: dict[str, Any] = {}
    for piece in pieces:
        path = text_of(get(piece, "jsonPath")) or ""
        value = next((given for name in _VALUES if (given := get(piece, name)) is not None), None)
        steps = [int(step[1]) if step[1] else step[0] or step[2] or step[3] for step in _STEP.findall(path)]
        if steps:
            _put(root, steps, value)
    return root


def _put(spot: Any, steps: list[int | str], value: Any) -> None:
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(spot, list) != isinstance(step, int):
            return  # the place leads through a value of another shape
        if isinstance(step, int):
            if step > len(list_of(spot)):
                return
            if step == len(list_of(spot)):
                spot.append(None)
            old = spot[step]
        else:
            old = table_of(spot).get(step)
        if following is None:
            spot[step] = old + value if isinstance(old, str) and isinstance(value, str) else value
            return
        if not isinstance(old, dict | list):
            spot[step] = [] if isinstance(following, int) else {}
        spot = spot[step]
