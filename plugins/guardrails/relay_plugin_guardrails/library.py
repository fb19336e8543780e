"""The quirks of the library, all in one place: its telemetry, its logs, its configuration, and how it says that it failed."""

from __future__ import annotations

import logging
import os
import re
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from relay_core.errors import ConfigError
from relay_plugin_guardrails.decision import ALLOW, Decision

if TYPE_CHECKING:
    from relay_plugin_guardrails.engines.engine import Direction
    from relay_plugin_guardrails.settings import SurfaceSettings

__all__ = ["in_check", "load", "prepare", "pruned", "quiet_logs", "read_status"]

in_check: ContextVar[bool] = ContextVar("relay_guardrails_in_check", default=False)
"""Whether this code runs inside a check: then calls are the rails' own and are not checked again."""

RETRIEVAL_FLOW: Final = "relay check retrieval"
_RETRIEVAL_COLANG: Final = f"""
define subflow {RETRIEVAL_FLOW}
  $relevant_chunks = $user_message
  do run retrieval rails
  $user_message = $relevant_chunks
"""
_BROKEN: Final = re.compile(r"I'm sorry, an internal error has occurred\.|Action '[^']*' not found\.")


def prepare(*, usage_telemetry: bool) -> None:
    """Set the process up for the library; call before it is built."""
    if not usage_telemetry:
        os.environ.setdefault("NEMO_GUARDRAILS_NO_USAGE_STATS", "1")


def load(settings: SurfaceSettings) -> Any:
    """Read the rails of a surface into a configuration of its own: the library changes the one that it is given.

    Raises:
        ConfigError: there is no such file, or the library refuses it.
    """
    from nemoguardrails import RailsConfig  # noqa: PLC0415  # takes seconds

    path = Path(settings.config or "")
    if settings.yaml is None and not path.exists():
        raise ConfigError([f"guardrails: there is no {settings.config!r}"])
    try:
        if settings.yaml is not None:
            found = RailsConfig.from_content(yaml_content=settings.yaml, colang_content=settings.colang)
        else:
            found = RailsConfig.from_path(str(path))
    except Exception as error:  # the library raises what YAML, pydantic and Colang raise
        raise ConfigError([f"guardrails: the rails cannot be read: {type(error).__name__}: {error}"]) from error
    if found.colang_version != "1.0":
        raise ConfigError([f"guardrails: Colang {found.colang_version} cannot check texts; write the rails in 1.0"])
    return found


def flows_of(config: Any, direction: Direction) -> tuple[str, ...]:
    """Give the names of a configuration's rails of one direction."""
    return tuple(getattr(config.rails, direction).flows)


def pruned(config: Any, direction: Direction) -> Any:
    """Leave one direction's rails in a configuration, so that nothing else decides the engine or runs."""
    rails = config.rails
    keep = {"config", "input" if direction == "retrieval" else direction, *(["retrieval"] * (direction == "retrieval"))}
    given = {name: getattr(rails, name) for name in keep & rails.model_fields_set}
    if direction == "retrieval":
        given["input"] = type(rails.input)(flows=[RETRIEVAL_FLOW])
    return config.model_copy(update={"rails": type(rails)(**given)})


def with_retrieval_flow(config: Any) -> Any:
    """Add the flow by which retrieval rails run without a dialog around them."""
    from nemoguardrails import RailsConfig  # noqa: PLC0415  # see load

    return config + RailsConfig.from_content(colang_content=_RETRIEVAL_COLANG)


def read_status(status: str, content: str, rail: str | None, text: str) -> Decision:
    """Read the library's answer: a rail that broke looks like one that blocked, but for its words.

    Example:
        >>> read_status("blocked", "I'm sorry, an internal error has occurred.", "mine", "hi").kind
        'error'
    """
    if status == "passed" or (status == "modified" and content == text):
        return ALLOW
    if status == "modified":
        return Decision(kind="rewrite", text=content)
    if _BROKEN.fullmatch(content.strip()):
        return Decision(kind="error", rail=rail, reason="a rail failed inside the library")
    return Decision(kind="block", rail=rail, message=content)


# -- logs ----------------------------------------------------------------------------------------------------------------


class _Discreet(logging.Filter):
    """Takes what was checked, and the configuration with its keys, out of records that the library makes in a check."""

    def filter(self, record: logging.LogRecord) -> bool:
        if in_check.get():
            failed = record.exc_info[0] if record.exc_info else None
            record.msg = "%s said something during a check; its words may hold what was checked and are left out%s"
            record.args = (record.name, f" ({failed.__name__})" if failed is not None else "")
            record.exc_info = record.exc_text = record.stack_info = None
        return True


_DISCREET: Final = _Discreet()


def quiet_logs() -> None:
    """Put the filter on all loggers of the library that there are; a filter of a parent does not see their records."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if name.partition(".")[0] == "nemoguardrails" and isinstance(logger, logging.Logger):
            logger.addFilter(_DISCREET)
