"""The arguments of ``generate``, which asks with several prompts at once: one call each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.prompt_values import ChatPromptValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Prompt", "prompts_of"]

_POSITIONS: Final = ("prompts", "stop", "callbacks")
_ABOUT: Final = ("callbacks", "tags", "metadata", "run_name", "run_id")


class Prompt(NamedTuple):
    """One prompt.

    Attributes:
        given: messages, or text for a text model.
        options: what the model is called with.
        about: what is said of its run.
    """

    given: Any
    options: dict[str, Any]
    about: dict[str, Any]

    def ask(self, generate: Callable[..., Any], given: Any, options: Mapping[str, Any]) -> Any:
        """Call ``generate`` with this prompt alone, as it is or edited."""
        if isinstance(self.given, str) and isinstance(given, list):
            given = ChatPromptValue(messages=given).to_string()
        return generate([given], **self.about, **options)


def prompts_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Prompt]:
    """Take the arguments of ``generate`` apart.

    Example:
        >>> [prompt.given for prompt in prompts_of((["a", "b"],), {"stop": ["END"]})]
        ['a', 'b']
    """
    named = {**dict(zip(_POSITIONS, args, strict=False)), **kwargs}
    given = named.pop("prompts", None)
    given = named.pop("messages", None) if given is None else given
    about = {name: named.pop(name) for name in _ABOUT if name in named}
    return [Prompt(item, named, _about_one(about, i, len(given))) for i, item in enumerate(given or ())]


def _about_one(about: Mapping[str, Any], index: int, count: int) -> dict[str, Any]:
    """Give the part that is about one prompt: text models take a list with an entry for each."""
    if count == 1:
        return dict(about)
    callbacks = about.get("callbacks")
    first = callbacks[0] if isinstance(callbacks, list) and callbacks else callbacks
    is_for_each = (
        isinstance(callbacks, list) and bool(callbacks) and isinstance(first, list | BaseCallbackManager | None)
    )
    found: dict[str, Any] = {}
    for name, value in about.items():
        if isinstance(value, list) and (is_for_each or name == "run_id"):
            found[name] = value[index : index + 1]
        elif name != "run_id" or not index:
            found[name] = value
    return found
