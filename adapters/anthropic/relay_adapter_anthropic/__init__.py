"""Anthropic under Relay: every call of the SDK observed and under policy, and a codec for its wire format.

Importing this package does not import the SDK.
"""

from __future__ import annotations

from relay_adapter_anthropic.activation import adapter, attach, detach, install, uninstall

__all__ = ["adapter", "attach", "detach", "install", "uninstall"]

__version__ = "0.1.0"
