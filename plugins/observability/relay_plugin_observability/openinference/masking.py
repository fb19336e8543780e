"""What is left out of spans, by the names and environment variables that OpenInference has for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import force_setattr

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HIDDEN", "Masking"]

HIDDEN: Final = "__REDACTED__"
"""What stands where something was hidden; viewers know this text."""

_OFF: Final = frozenset({"", "0", "false", "no", "off", "none"})
_PREFIX: Final = "OPENINFERENCE_"
_OLDER: Final = {"hide_embeddings_vectors": "HIDE_EMBEDDING_VECTORS", "hide_prompts": "HIDE_LLM_PROMPTS"}


class Masking(msgspec.Struct, frozen=True, kw_only=True):
    """What spans do not show. All defaults show everything.

    Each field has an environment variable: `hide_inputs` is ``OPENINFERENCE_HIDE_INPUTS``, and so on.

    Args:
        hide_inputs: input values and messages, prompts, tools, tool arguments, queries, embedded text.
        hide_outputs: output values and messages, documents found, vectors, explanations of evaluators.
        hide_input_messages: messages of LLM requests.
        hide_output_messages: messages of LLM responses.
        hide_input_images: pictures in LLM requests.
        hide_input_text: text in LLM requests.
        hide_output_text: text in LLM responses.
        hide_prompts: prompts of text models and prompt templates.
        hide_choices: answers of text models.
        hide_llm_tools: definitions of tools.
        hide_llm_invocation_parameters: parameters of LLM and embedding calls.
        hide_embeddings_text: text that was embedded.
        hide_embeddings_vectors: the vectors.
        base64_image_max_length: longest inline picture or other media, in characters of base64.
        omit: leave hidden values out instead of writing ``__REDACTED__`` in their place.

    Example:
        >>> Masking.from_environment({"OPENINFERENCE_HIDE_INPUT_TEXT": "true"}).hide_input_text
        True
        >>> Masking(hide_inputs=True).hide_llm_tools
        True
    """

    hide_inputs: bool = False
    hide_outputs: bool = False
    hide_input_messages: bool = False
    hide_output_messages: bool = False
    hide_input_images: bool = False
    hide_input_text: bool = False
    hide_output_text: bool = False
    hide_prompts: bool = False
    hide_choices: bool = False
    hide_llm_tools: bool = False
    hide_llm_invocation_parameters: bool = False
    hide_embeddings_text: bool = False
    hide_embeddings_vectors: bool = False
    base64_image_max_length: int = 32_000
    omit: bool = False

    def __post_init__(self) -> None:
        """Hide what is part of something hidden."""
        for whole, parts in _PARTS.items():
            if getattr(self, whole):
                for part in parts:
                    force_setattr(self, part, True)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Masking:
        """Read the ``OPENINFERENCE_*`` variables.

        A value of ``HIDE`` that is neither on nor off hides: a typing error must not show what was to be hidden.

        Args:
            environ: default the environment of the process.
        """
        found = os.environ if environ is None else environ
        fields: dict[str, Any] = {}
        for name in cls.__struct_fields__:
            texts = [found.get(_PREFIX + key) for key in (name.upper(), _OLDER.get(name, name.upper()))]
            if name.startswith("hide_"):
                fields[name] = any(text is not None and text.strip().lower() not in _OFF for text in texts)
            elif name == "base64_image_max_length" and texts[0] is not None and texts[0].strip().isdecimal():
                fields[name] = int(texts[0])
        return cls(**fields)

    @classmethod
    def everything(cls) -> Masking:
        """Show no content at all, and no sign where it was."""
        return cls(**{name: True for name in cls.__struct_fields__ if name.startswith("hide_")}, omit=True)

    @property
    def mark(self) -> str | None:
        """What to write in the place of a hidden value."""
        return None if self.omit else HIDDEN


_PARTS: Final = {
    "hide_inputs": (
        "hide_input_messages",
        "hide_input_text",
        "hide_input_images",
        "hide_prompts",
        "hide_llm_tools",
        "hide_embeddings_text",
    ),
    "hide_outputs": ("hide_output_messages", "hide_output_text", "hide_choices", "hide_embeddings_vectors"),
}
