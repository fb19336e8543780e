"""What tests of programs, adapters and plugins need: a recorder, assertions, contracts and a fake provider.

Example:
    >>> from relay_core import Relay
    >>> from relay_core.testing import assert_well_formed, record
    >>> runtime = Relay()
    >>> with record(runtime) as recorder, runtime.scope("job", "agent"):
    ...     runtime.mark("half way")
    >>> assert_well_formed(recorder.events)
    >>> print(recorder.tree())
    job [agent] ok
      * half way
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_core.testing.adapter_contract import AdapterContract as AdapterContract
    from relay_core.testing.adapter_drivers import AdapterCapabilities as AdapterCapabilities
    from relay_core.testing.assertions import assert_accounts_settled as assert_accounts_settled
    from relay_core.testing.assertions import assert_no_error as assert_no_error
    from relay_core.testing.assertions import assert_no_secret as assert_no_secret
    from relay_core.testing.assertions import assert_status as assert_status
    from relay_core.testing.assertions import assert_tools as assert_tools
    from relay_core.testing.assertions import assert_well_formed as assert_well_formed
    from relay_core.testing.contracts import contract_override as contract_override
    from relay_core.testing.plugin_contract import PluginContract as PluginContract
    from relay_core.testing.recorder import EventRecorder as EventRecorder
    from relay_core.testing.recorder import record as record

_HOMES = {
    "AdapterCapabilities": "adapter_drivers",
    "AdapterContract": "adapter_contract",
    "EventRecorder": "recorder",
    "PluginContract": "plugin_contract",
    "assert_accounts_settled": "assertions",
    "assert_no_error": "assertions",
    "assert_no_secret": "assertions",
    "assert_status": "assertions",
    "assert_tools": "assertions",
    "assert_well_formed": "assertions",
    "contract_override": "contracts",
    "record": "recorder",
}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # loaded late, so that pytest starts fast


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"relay_core.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'relay_core.testing' has no attribute {name!r}")
