"""LangChain under Relay: every run observed, every model and tool call under policy.

Importing this package imports no LangChain; the public classes are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from relay_adapter_langchain.activation import LangChainAdapter, instrument, uninstrument

if TYPE_CHECKING:
    from relay_adapter_langchain.codec import LangChainCodec as LangChainCodec
    from relay_adapter_langchain.handler import RelayCallbackHandler as RelayCallbackHandler
    from relay_adapter_langchain.middleware import RelayMiddleware as RelayMiddleware
    from relay_adapter_langchain.models import wrap_model as wrap_model
    from relay_adapter_langchain.requests import ModelCall as ModelCall
    from relay_adapter_langchain.tools import wrap_tool as wrap_tool
    from relay_adapter_langchain.wrapping import wrap as wrap

__all__ = [
    "LangChainCodec",
    "ModelCall",
    "RelayCallbackHandler",
    "RelayMiddleware",
    "adapter",
    "instrument",
    "uninstrument",
    "wrap",
    "wrap_model",
    "wrap_tool",
]

__version__ = "0.1.0"

adapter = LangChainAdapter()
"""What the entry point ``langchain`` of the group ``relay.adapters`` names."""

_HOMES = {
    "LangChainCodec": "codec",
    "ModelCall": "requests",
    "RelayCallbackHandler": "handler",
    "RelayMiddleware": "middleware",
    "wrap": "wrapping",
    "wrap_model": "models",
    "wrap_tool": "tools",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
