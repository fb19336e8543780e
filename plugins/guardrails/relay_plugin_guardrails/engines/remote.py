"""Rails on a server: the library's own, or the NeMo microservice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx

from relay_plugin_guardrails.decision import ALLOW, Decision
from relay_plugin_guardrails.engines.engine import messages_for

if TYPE_CHECKING:
    from relay_plugin_guardrails.engines.engine import Direction
    from relay_plugin_guardrails.settings import RemoteSettings

__all__ = ["RemoteEngine", "RemoteFailed"]

_PATHS: Final = {"oss": "/v1/checks", "microservice": "/v1/guardrail/checks"}


class RemoteFailed(Exception):  # noqa: N818  # it is what has happened to the server, seen from here
    """The server did not answer, or answered something that is no decision."""


class RemoteEngine:
    """Asks a server. It never calls the model that the request names.

    Args:
        settings: the server.
        direction: which of the server's rails run; ``retrieval`` has none there, so its text is shown to input rails.
        timeout: seconds for one request.
    """

    name = "remote"
    apart = True
    rails: tuple[str, ...] = ()

    def __init__(self, settings: RemoteSettings, direction: Direction, timeout: float) -> None:
        self.settings = settings
        self.direction: Direction = "output" if direction == "output" else "input"
        self.reason = f"rails run at {settings.url} ({settings.dialect})"
        self._client: httpx.AsyncClient | None = None
        self._timeout = timeout

    async def check(self, text: str, asked: str) -> Decision:
        """Check a text; see `Engine`."""
        messages = messages_for(self.direction, text, asked)
        if self.settings.dialect == "oss":
            return _read_oss(await self._post(messages), text)
        return _read_microservice(await self._post(messages))

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _post(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        settings = self.settings
        if self._client is None:
            # Its own connections: what the environment says about proxies does not apply to policy.
            self._client = httpx.AsyncClient(base_url=settings.url.rstrip("/"), timeout=self._timeout, trust_env=False)
        guardrails: dict[str, Any] = {}
        if settings.config_id is not None:
            guardrails["config_id"] = settings.config_id
        if settings.dialect == "oss":
            guardrails["rail_types"] = [self.direction]
        body = {"model": settings.model, "messages": messages, "guardrails": guardrails}
        try:
            headers = settings.resolved_headers()
        except OSError as error:
            raise RemoteFailed(f"a header has no value: {type(error).__name__}") from None
        try:
            response = await self._client.post(_PATHS[settings.dialect], json=body, headers=headers)
        except httpx.HTTPError as error:
            raise RemoteFailed(f"the rails server did not answer: {type(error).__name__}") from None
        if response.status_code != httpx.codes.OK:
            raise RemoteFailed(f"the rails server answered HTTP {response.status_code}")
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RemoteFailed("the rails server answered something else than a JSON object")
        return found


def _read_oss(found: dict[str, Any], text: str) -> Decision:
    from relay_plugin_guardrails.library import read_status  # noqa: PLC0415  # imports the library

    status, content = found.get("status"), found.get("content")
    if status not in ("passed", "modified", "blocked") or not (content is None or isinstance(content, str)):
        raise RemoteFailed("the rails server answered without a status of passed, modified or blocked")
    return read_status(status, content or "", found.get("rail"), text)


def _read_microservice(found: dict[str, Any]) -> Decision:
    status = found.get("status")
    if status == "success":
        return ALLOW
    rails: Any = found.get("rails_status")
    if status != "blocked":
        raise RemoteFailed("the rails server answered without a status of success or blocked")
    blocking = [
        str(name)
        for name, one in (rails.items() if isinstance(rails, dict) else ())
        if isinstance(one, dict) and one.get("status") == "blocked"
    ]
    return Decision(kind="block", rail=blocking[0] if blocking else None)
