"""Relay: a runtime under agent stacks. Scopes, guardrails, intercepts, and one stream of lifecycle events.

The functions here belong to `default`, the runtime that a program uses unless it makes its own with `Relay()`.
"""

from __future__ import annotations

import os as _os  # private: it is no name of Relay's
from typing import TYPE_CHECKING, Any

from relay_core.call_types import LlmCall as LlmCall
from relay_core.call_types import ToolCall as ToolCall
from relay_core.claims import Claim as Claim
from relay_core.errors import *  # noqa: F403  # all of them are public names
from relay_core.middleware import Block as Block
from relay_core.middleware import Handle as Handle
from relay_core.runtime import Relay
from relay_core.scopes import CURRENT as CURRENT
from relay_core.scopes import RemoteScope as RemoteScope
from relay_core.scopes import Scope as Scope

if TYPE_CHECKING:
    from relay_core.dispatch import FlushReport as FlushReport
    from relay_core.events import MarkEvent as MarkEvent
    from relay_core.events import ScopeEvent as ScopeEvent
    from relay_core.events import parse_event as parse_event
    from relay_core.hookspecs import hookimpl as hookimpl
    from relay_core.metrics import Measurement as Measurement
    from relay_core.settings import Settings as Settings

__version__ = "0.1.0"

_EVENTS = dict.fromkeys(("MarkEvent", "ScopeEvent", "parse_event"), "events")
_LAZY = _EVENTS | {"FlushReport": "dispatch", "Measurement": "metrics", "Settings": "settings", "hookimpl": "hookspecs"}

default = Relay()
acall_llm = default.acall_llm
acall_tool = default.acall_tool
astream_llm = default.astream_llm
autoload = default.autoload
bind = default.bind
call_llm = default.call_llm
call_tool = default.call_tool
claim = default.claim
configure = default.configure
current = default.current
current_claim = default.current_claim
execution_intercept = default.execution_intercept
extract = default.extract
extract_env = default.extract_env
flush = default.flush
guardrail = default.guardrail
inject = default.inject
inject_env = default.inject_env
mark = default.mark
metadata_injector = default.metadata_injector
metric = default.metric
open_scope = default.open_scope
register = default.register
register_plugin = default.register_plugin
request_intercept = default.request_intercept
sanitizer = default.sanitizer
scope = default.scope
shutdown = default.shutdown
stats = default.stats
stream_llm = default.stream_llm
subscriber = default.subscriber
wrap_executor = default.wrap_executor


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib  # noqa: PLC0415  # only for names that are loaded late

        return getattr(importlib.import_module(f"relay_core.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'relay_core' has no attribute {name!r}")


if _os.environ.get("RELAY_AUTOLOAD", "").strip().lower() in ("1", "true", "yes", "on"):
    autoload()
