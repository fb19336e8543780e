"""What `relay.autoload()` finds of such an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay_core.codecs import Codec
    from relay_core.runtime import Relay
    from relay_core.stainless.patching import Patcher

__all__ = ["SdkAdapter"]


class SdkAdapter:
    """Puts every client of an SDK under Relay once the SDK is there.

    Args:
        name: of the adapter, and of the SDK's package.
        patcher: wires the clients.
        codecs: makes the codecs of the SDK's wire formats; they need no SDK.
        codec_names: of these.
        control: which calls are put under policy.
        options: the options that ``[adapters.NAME]`` may have.
    """

    def __init__(
        self,
        name: str,
        patcher: Patcher,
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
        self._patcher = patcher
        self._options = options

    def version(self) -> str:
        """Version of the SDK."""
        from importlib.metadata import version  # noqa: PLC0415  # only `relay doctor` asks

        return version(self.name)

    def install(self, relay: Relay, **options: Any) -> None:
        """Put the calls of every client under Relay.

        Raises:
            AdapterError: an unknown option, or an SDK that is not known.
        """
        unknown = options.keys() - set(self._options)
        if unknown:
            known = f"it has {', '.join(self._options)}" if self._options else "it has none"
            raise AdapterError(f"adapter {self.name!r} has no option {', '.join(sorted(unknown))}; {known}")
        self._patcher.install(relay, **options)

    def uninstall(self, relay: Relay) -> None:
        """Let go, if `relay` is the runtime that the clients are under."""
        self._patcher.uninstall(relay)
