"""Runtimes as a configuration file makes them."""

from __future__ import annotations

import relay_core
from relay_core.plugins import configure


def configured(folder, text):
    """A runtime under a `relay.toml` of this text, which nobody else may read."""
    path = folder / "relay.toml"
    path.write_text(text)
    path.chmod(0o600)
    runtime = relay_core.Relay()
    configure(runtime, path)
    return runtime
