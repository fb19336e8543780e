"""One connection of the fake provider: reads requests, writes what the script says."""

from __future__ import annotations

import json
import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from relay_core.testing.fake_provider.anthropic_messages import AnthropicMessages
from relay_core.testing.fake_provider.api import Api, InvalidRequest
from relay_core.testing.fake_provider.body import BadBody, read_body
from relay_core.testing.fake_provider.models import render_models
from relay_core.testing.fake_provider.openai_chat import OpenAIChat
from relay_core.testing.fake_provider.openai_embeddings import check_embeddings, render_embeddings
from relay_core.testing.fake_provider.openai_responses import OpenAIResponses
from relay_core.testing.fake_provider.replies import Drop, Failure, Reply
from relay_core.testing.fake_provider.requests import RecordedRequest
from relay_core.testing.fake_provider.routes import Route, find_route
from relay_core.testing.fake_provider.sse import ServerSentEvent, to_json
from relay_core.testing.fake_provider.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socketserver import BaseServer

    from relay_core.testing.fake_provider.state import ProviderState

_APIS: dict[str, Api] = {api.name: api for api in (OpenAIChat(), OpenAIResponses(), AnthropicMessages())}
_POLL_SECONDS = 0.02
_MESSAGES = {
    401: "Incorrect API key provided.",
    408: "The request timed out.",
    429: "Rate limit reached.",
    500: "The server had an error while processing your request.",
    503: "The service is temporarily unavailable.",
    529: "Overloaded",
}
_NO_RETRY = {"x-should-retry": "false"}


class ClientGone(Exception):  # noqa: N818 - an event, not an error of ours
    """The client closed the connection before its answer was complete."""


class Stopping(Exception):  # noqa: N818 - an event, not an error of ours
    """The provider is closing."""


class Handler(BaseHTTPRequestHandler):
    """Serves one connection, kept alive over many requests."""

    protocol_version = "HTTP/1.1"
    server_version = "FakeProvider"
    sys_version = ""
    disable_nagle_algorithm = True

    def __init__(self, connection: socket.socket, address: Any, server: BaseServer, state: ProviderState) -> None:
        # The base class serves the whole connection inside its constructor.
        self.state = state
        super().__init__(connection, address, server)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Print nothing: tests read `provider.requests`."""

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            raw = read_body(headers, self.rfile)
        except (BadBody, OSError):
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        route = find_route(path)
        found = route or Route("", "")
        request = self.state.record(
            RecordedRequest(
                method=self.command,
                path=path,
                headers=headers,
                body=_decode(raw),
                at=time.monotonic(),
                query=query,
                raw=raw,
                api=found.api,
                deployment=found.deployment,
            )
        )
        with self.state.busy():
            try:
                self._answer(request, route)
            except ClientGone:
                self.state.note_disconnect(request)
                self.close_connection = True
            except Stopping:
                self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base class looks for these names

    def _answer(self, request: RecordedRequest, route: Route | None) -> None:
        api = _api_of(request)
        try:
            self._follow(request, route, api)
        except InvalidRequest as problem:
            self._send_error(request, api, problem.status, str(problem), problem=problem)
        except (ClientGone, Stopping):
            raise
        except Exception as error:  # noqa: BLE001 - a broken script must reach the client, not hang it
            self.state.note_error(error)
            self._send_error(request, api, 500, str(error), headers=_NO_RETRY)

    def _follow(self, request: RecordedRequest, route: Route | None, api: Api) -> None:
        if route is None:
            raise InvalidRequest(f"Invalid URL ({request.method} {request.path})", status=404)
        if request.method != route.method:
            raise InvalidRequest(f"Not allowed: {request.method} {request.path}. Use {route.method}.", status=405)
        if route.method == "POST" and not isinstance(request.body, dict):
            raise InvalidRequest("We could not parse the body of your request as a JSON object.")
        if route.api in _APIS:
            api.check(request)
            answer = self.state.script.next(request)
        else:
            answer = self.state.script.next_fault() or self._fixed(request, route)
        if isinstance(answer, Drop):
            self.close_connection = True
        elif isinstance(answer, Failure):
            self._fail(request, api, answer)
        elif isinstance(answer, Reply):
            self._reply(Turn(self.state.next_reply_number(), answer, request), api)
        else:
            self._send_json(request, api, 200, answer)

    def _fixed(self, request: RecordedRequest, route: Route) -> dict[str, Any]:
        """Embeddings and models follow from the request alone."""
        if route.api == "models":
            return render_models(request, self.state.models, route.item)
        check_embeddings(request)
        return render_embeddings(request)

    def _fail(self, request: RecordedRequest, api: Api, failure: Failure) -> None:
        self._pause(failure.delay)
        headers = dict(failure.headers)
        if failure.retry_after is not None:
            headers["retry-after"] = f"{failure.retry_after:g}"
        if isinstance(failure.body, str):
            plain = {**_id_header(request, api), "Content-Type": "text/plain; charset=utf-8", **headers}
            self._send(failure.status, failure.body.encode(), plain)
        elif failure.body is not None:
            self._send_json(request, api, failure.status, dict(failure.body), headers)
        else:
            message = failure.message or _MESSAGES.get(failure.status, f"The request failed with {failure.status}.")
            self._send_error(request, api, failure.status, message, headers=headers)

    def _reply(self, turn: Turn, api: Api) -> None:
        # Rendered before the first byte goes out, so that a script that cannot be rendered still gets its 500.
        rendered = _events(turn, api) if turn.request.stream else api.render(turn)
        self._pause(turn.reply.delay)
        headers = {**_id_header(turn.request, api), **turn.reply.headers}
        if isinstance(rendered, list):
            self._stream(turn.reply, rendered, headers)
        elif turn.reply.truncate_after is None:
            self._send_json(turn.request, api, 200, rendered, headers)
        else:
            body = to_json(rendered).encode()
            half = body[: len(body) // 2]
            announced = len(half) if turn.reply.clean_cut else len(body)
            headers = {"Content-Type": "application/json", **headers}
            self._send(200, half, headers, length=announced)
            self.close_connection = True

    def _stream(self, reply: Reply, events: list[ServerSentEvent], headers: Mapping[str, str]) -> None:
        chunked = self.request_version != "HTTP/1.0"
        cut = reply.truncate_after is not None and reply.truncate_after <= len(events)
        kept = events[: reply.truncate_after] if cut else events
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")
        kind = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        self._send_head(200, {**kind, **headers, framing[0]: framing[1]})
        end = b"0\r\n\r\n" if chunked and not (cut and not reply.clean_cut) else b""
        for position, event in enumerate(kept):
            if position:
                self._pause(reply.chunk_delay)
            data = event.encode()
            framed = b"%x\r\n%s\r\n" % (len(data), data) if chunked else data
            # The end goes out with the last event: a client that hangs up after it has left nothing behind.
            self._write(framed + end if position == len(kept) - 1 else framed)
        if not kept:
            self._write(end)
        if cut:
            self.close_connection = True

    def _send_error(
        self,
        request: RecordedRequest,
        api: Api,
        status: int,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        problem: InvalidRequest | None = None,
    ) -> None:
        body = api.error(status, message, _request_id(request), problem)
        self._send_json(request, api, status, body, headers)

    def _send_json(
        self,
        request: RecordedRequest,
        api: Api,
        status: int,
        body: dict[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        fixed = {"Content-Type": "application/json", **_id_header(request, api)}
        self._send(status, to_json(body).encode(), {**fixed, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], length: int | None = None) -> None:
        announced = len(body) if length is None else length
        self._send_head(status, {**headers, "Content-Length": str(announced)})
        self._write(body)

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        try:
            self.end_headers()
        except OSError as error:
            raise self._lost() from error

    def _write(self, data: bytes) -> None:
        if self._client_gone():
            raise self._lost()
        try:
            self.wfile.write(data)
        except OSError as error:
            raise self._lost() from error

    def _pause(self, seconds: float) -> None:
        """Wait, but notice a client that leaves and a provider that closes."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.state.stopping.wait(min(left, _POLL_SECONDS)):
                raise Stopping
            if self._client_gone():
                raise self._lost()

    def _lost(self) -> Exception:
        return Stopping() if self.state.stopping.is_set() else ClientGone()

    def _client_gone(self) -> bool:
        """A closed connection can be read: it gives nothing."""
        timeout = self.connection.gettimeout()
        try:
            self.connection.setblocking(False)
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(timeout)


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _events(turn: Turn, api: Api) -> list[ServerSentEvent]:
    events = list(api.events(turn))
    after = turn.reply.error_event_after
    if after is None or after >= len(events):
        return events
    return [*events[:after], *api.error_events(turn, after)]


def _api_of(request: RecordedRequest) -> Api:
    """The API whose error shape the client understands."""
    if request.api in _APIS:
        return _APIS[request.api]
    return _APIS["anthropic_messages" if "anthropic-version" in request.headers else "openai_chat"]


def _request_id(request: RecordedRequest) -> str:
    return f"req_fake_{request.number}"


def _id_header(request: RecordedRequest, api: Api) -> dict[str, str]:
    return {api.request_id_header: _request_id(request)}
