"""An adapter of such an SDK: what `relay.autoload()` finds, and what its package offers for one client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import relay_core
from relay_core.errors import AdapterError
from relay_core.stainless.patching import Patcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.codecs import Codec
    from relay_core.runtime import Relay
    from relay_core.stainless.provider import Provider

__all__ = ["SdkAdapter"]

_Client = TypeVar("_Client")


class SdkAdapter:
    """Puts one client of an SDK under Relay, or every client once the SDK is there.

    Args:
        name: of the adapter, and of the SDK's package.
        load: gives the SDK: its provider, and the base classes of its sync and async clients.
        codecs: makes the codecs of the SDK's wire formats; they need no SDK.
        codec_names: of these.
        control: which calls are put under policy.
        options: the options that ``[adapters.NAME]`` may have.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], tuple[Provider, type[Any], type[Any]]],
        codecs: Callable[[], list[Codec]],
        *,
        codec_names: tuple[str, ...],
        control: str,
        options: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.requires = name
        self.control = control
        self.codecs = codecs
        self.codec_names = codec_names
        self._patcher = Patcher(load)
        self._options = options

    def version(self) -> str:
        """Version of the SDK."""
        from importlib.metadata import version  # noqa: PLC0415  # only `relay doctor` asks

        return version(self.name)

    def attach(self, client: _Client, relay: Relay | None = None, **options: Any) -> _Client:
        """Put the calls of one client under Relay; the packages of the adapters say more.

        Raises:
            UsageError: it is no client of this SDK, or an option is wrong.
            AdapterError: this version of the SDK is not known.
        """
        return self._patcher.attach(client, relay or relay_core.default, **options)

    def detach(self, client: _Client) -> _Client:
        """Let go of a client; one that is not attached stays as it is.

        Returns:
            The client, of its own class again.
        """
        self._patcher.detach(client)
        return client

    def install(self, relay: Relay | None = None, **options: Any) -> None:
        """Put the calls of every client of this process under Relay; `relay.autoload()` does this.

        Args:
            relay: the runtime; default the process-wide one. The last one given counts.
            **options: those that `attach` and ``[adapters.NAME]`` take for calls.

        Raises:
            AdapterError: an unknown option, or a version of the SDK that is not known; nothing was changed.
        """
        unknown = options.keys() - set(self._options)
        if unknown:
            known = f"it has {', '.join(self._options)}" if self._options else "it has none"
            raise AdapterError(f"adapter {self.name!r} has no option {', '.join(sorted(unknown))}; {known}")
        self._patcher.install(relay or relay_core.default, **options)

    def uninstall(self, relay: Relay | None = None) -> None:
        """Let go of what `install` took.

        Args:
            relay: only if the clients are under this runtime; default under any.
        """
        self._patcher.uninstall(relay)
