"""Input and output of any span: text as it is, anything else as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_plugin_observability.openinference.masking import HIDDEN
from relay_plugin_observability.openinference.values import as_text, json_text, without_blobs
from relay_plugin_observability.openinference.words import JSON, SPAN, TEXT

if TYPE_CHECKING:
    from relay_plugin_observability.openinference.masking import Masking
    from relay_plugin_observability.openinference.values import Attributes

__all__ = ["put_input", "put_output", "put_unless"]


def put_input(out: Attributes, value: Any, masking: Masking, *, hidden: bool = False) -> None:
    """Write ``input.value`` and its type; nothing where there is no input."""
    if value is not None:
        _put(out, SPAN.INPUT_VALUE, SPAN.INPUT_MIME_TYPE, value, masking, hidden=hidden or masking.hide_inputs)


def put_output(out: Attributes, value: Any, masking: Masking, *, hidden: bool = False) -> None:
    """Write ``output.value`` and its type; nothing where there is no output."""
    if value is not None:
        _put(out, SPAN.OUTPUT_VALUE, SPAN.OUTPUT_MIME_TYPE, value, masking, hidden=hidden or masking.hide_outputs)


def put_unless(out: Attributes, key: str, value: Any, masking: Masking, *, hidden: bool) -> None:
    """Write a text or JSON, or what stands for a hidden one."""
    shown = masking.mark if hidden else as_text(value)
    if shown is not None:
        out[key] = shown


def _put(out: Attributes, key: str, mime: str, value: Any, masking: Masking, *, hidden: bool) -> None:
    if hidden:
        if masking.mark is not None:
            out[key] = masking.mark
        return
    if type(value) is str:
        out[key], out[mime] = value, TEXT
        return
    text = json_text(value)
    limit = masking.base64_image_max_length
    if len(text) > limit:
        lean = without_blobs(value, limit, HIDDEN)
        text = text if lean == value else json_text(lean)
    out[key], out[mime] = text, JSON
