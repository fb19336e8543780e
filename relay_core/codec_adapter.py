"""An adapter that brings codecs and attaches to no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay_core.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from relay_core.codecs import Codec
    from relay_core.runtime import Relay

__all__ = ["CodecAdapter"]


class CodecAdapter:
    """What the entry point of a package with codecs only names: calls go through `relay.call_llm`.

    Args:
        name: of the adapter.
        codec_names: of its codecs, which are loaded when one is asked for.
        codecs: makes them.

    Example:
        >>> adapter = CodecAdapter("mine", ("my_format",), lambda: [])
        >>> adapter.requires, adapter.codec_names
        ((), ('my_format',))
    """

    requires: Final = ()
    control: Final = "none: a codec only, for calls made through relay.call_llm"

    def __init__(self, name: str, codec_names: tuple[str, ...], codecs: Callable[[], Iterable[Codec]]) -> None:
        self.name = name
        self.codec_names = codec_names
        self.codecs = codecs

    def install(self, relay: Relay, **options: Any) -> None:
        """Attach to nothing: there is no SDK to attach to.

        Raises:
            AdapterError: there are options; this adapter has none.
        """
        del relay
        if options:
            raise AdapterError(f"adapter {self.name!r} has no option {', '.join(sorted(options))}; it has none")

    def uninstall(self, relay: Relay) -> None:
        """Detach from nothing."""
