"""What is particular to one SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

if TYPE_CHECKING:
    from relay_core.codecs import Codec

__all__ = ["Operation", "Provider"]

_KNOWN_PATHS: Final = 256
_UNSAID: Final = frozenset({"Omit", "NotGiven"})  # types of the SDKs


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request that is put under policy.

    Args:
        path: how the request's path ends, without the query.
        codec: reads its requests and responses.
        endings: bytes of which the last event of a whole stream has one.
        category: of the scope: llm or embedder.
        asks_usage: a stream tells its usage only if ``stream_options.include_usage`` asks for it.
    """

    path: str
    codec: Codec
    endings: tuple[bytes, ...] = ()
    category: str = "llm"
    asks_usage: bool = False


class Provider:
    """One SDK: its name, what it can be asked, and the places where SDKs of this kind differ.

    Args:
        name: of the provider, as events show it, and of its package.
        request_id: the response header with the id of the request.
        operations: the kinds of requests that are put under policy.
        usage_hosts: hosts that are known to understand ``include_usage``.

    Attributes:
        kinds: what `operation` has found so far, by URL.
        prepares: what `is_preparing` has found so far.
        mark: what the SDK puts for what the program did not say: one object for all.
    """

    def __init__(
        self,
        name: str,
        request_id: str,
        operations: tuple[Operation, ...],
        *,
        usage_hosts: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.request_id = request_id
        self.operations = operations
        self.usage_hosts = usage_hosts
        self.mark: Any = object()  # none is known yet
        self.kinds: dict[str, Operation | None] = {}
        self.prepares: dict[type, bool] = {}

    def operation(self, options: Any) -> Operation | None:
        """Find the kind of a request; None for one that passes as it is."""
        if options.method not in ("post", "POST"):
            return None
        url = options.url
        try:
            return self.kinds[url]
        except KeyError:
            path = str(url).partition("?")[0]
            found = next((operation for operation in self.operations if path.endswith(operation.path)), None)
            if len(self.kinds) < _KNOWN_PATHS:
                self.kinds[url] = found
            return found

    def is_preparing(self, kind: type[object]) -> bool:
        """Tell whether the clients of a class make the body of a request plain data only when they send it."""
        try:
            return self.prepares[kind]
        except KeyError:
            prepares = self.prepares[kind] = hasattr(kind, "_copy_and_prepare")
            return prepares

    def prepared(self, client: Any, options: Any) -> Any:
        """Give the options with a body that is plain data; some versions of some SDKs make it so only later.

        An async client's may have to be awaited.
        """
        return client._copy_and_prepare(options) if self.is_preparing(cast("type[object]", type(client))) else options

    def body(self, options: Any) -> Any:
        """Give the JSON that will be sent; None if it is no object."""
        body = options.json_data
        if not isinstance(body, dict):
            return None
        extra: Any = getattr(options, "extra_json", None)
        return {**body, **extra} if extra else body  # pyright: ignore[reportUnknownVariableType]  # JSON

    def given(self, body: dict[str, Any]) -> dict[str, Any]:
        """Give a body without the SDK's marks for what the program did not say; the last one is kept as `mark`."""
        given: dict[str, Any] = {}
        for name, value in body.items():
            if type(value).__name__ in _UNSAID:
                self.mark = value
            else:
                given[name] = value
        return given

    def with_body(self, options: Any, body: Any) -> Any:
        """Give a copy of the options with another body."""
        made = options.model_copy()
        made.json_data = body
        if getattr(options, "extra_json", None):
            made.extra_json = None
        return made

    def knows_usage(self, client: Any) -> bool:
        """Tell whether the server is known to understand ``include_usage``."""
        host = str(getattr(getattr(client, "base_url", None), "host", ""))
        return any(host == known or host.endswith(f".{known}") for known in self.usage_hosts)
