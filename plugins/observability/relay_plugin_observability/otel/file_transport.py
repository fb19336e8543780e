"""OTLP into a file: one request as OTLP/JSON in each line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay_plugin_observability.otel.encoding import otlp_json
from relay_plugin_observability.otel.transport import Outcome

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from relay_plugin_observability.file_sink import FileSink
    from relay_plugin_observability.otel.encoding import TraceRequest

__all__ = ["FileTransport"]


class FileTransport:
    """Appends requests to a file that survives crashes, full disks and forks.

    Args:
        sink: the file.
    """

    def __init__(self, sink: FileSink) -> None:
        self._sink = sink
        self.where = str(sink.path)

    def send(self, request: Message | TraceRequest) -> Outcome:
        """Append one line; an empty request only looks whether the file can be written."""
        if not request.ByteSize():
            problem = self._sink.check()
            return Outcome(ok=problem is None, retry=True, reason="file", detail=problem or "")
        if not self._sink.ready():
            return self._not_now()
        before = self._sink.stats().written
        self._sink.write([otlp_json(request)])
        return Outcome(ok=True) if self._sink.stats().written > before else self._not_now()

    def _not_now(self) -> Outcome:
        problem = self._sink.stats().last_error or "the file cannot be written"
        return Outcome(ok=False, retry=True, reason="file", detail=problem)

    def abort(self) -> None:
        """Nothing to break off: a write does not wait for anybody."""

    def close(self) -> None:
        """Close the file; later requests are refused."""
        self._sink.close()

    def renew(self) -> None:
        """Nothing to do: the sink opens its file anew in each process."""
