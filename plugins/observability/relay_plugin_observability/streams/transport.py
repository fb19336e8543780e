"""What a stream needs of a connection, and how a failed delivery is told."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import time
from typing import TYPE_CHECKING, Protocol

from relay_plugin_observability.backoff import is_retryable, retry_after
from relay_plugin_observability.headers import HeaderError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DeliveryError", "Transport", "failure_of", "refusal", "remaining", "tls_context"]


class DeliveryError(Exception):
    """Lines were not delivered.

    Args:
        reason: a short name to count by, such as ``ECONNREFUSED``, ``timeout`` or ``http_503``.
        detail: what happened, for people; never a header, a body or a secret.
        retryable: whether the same lines may get through later.
        asked: seconds that the other side wants us to wait.
        too_large: whether fewer lines at once may get through.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        retryable: bool = True,
        asked: float | None = None,
        too_large: bool = False,
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.retryable = retryable
        self.asked = asked
        self.too_large = too_large


class Transport(Protocol):
    """A way to one endpoint. One thread uses it; only `abort` comes from others."""

    def send(self, lines: Sequence[bytes]) -> bool:
        """Deliver lines.

        Args:
            lines: without newlines.

        Returns:
            Whether the other side has confirmed these and all lines before; if not, `acknowledge` asks for that.

        Raises:
            DeliveryError: what was not confirmed before is to be sent again.
        """
        ...

    def acknowledge(self) -> None:
        """Wait until the other side confirms what was sent.

        Raises:
            DeliveryError: it does not.
        """
        ...

    def close(self) -> None:
        """Let go of the connection, politely and quickly."""
        ...

    def abort(self) -> None:
        """Cut the connection, so that a thread that waits for it comes back; for other threads."""
        ...

    def forget(self) -> None:
        """Drop the connection without a word: in a forked child it is the parent's."""
        ...

    def check(self, timeout: float) -> str | None:
        """Say what keeps the endpoint from being reached; None if nothing does. Sends no event."""
        ...


def failure_of(error: Exception) -> DeliveryError:
    """Tell what an exception of the network means for a delivery, without texts that may hold secrets.

    Example:
        >>> failure_of(TimeoutError()).reason
        'timeout'
        >>> failure_of(ConnectionRefusedError(111, "Connection refused")).reason
        'ECONNREFUSED'
    """
    match error:
        case DeliveryError():
            return error
        case HeaderError():
            return DeliveryError("no_header", str(error))
        case TimeoutError():
            return DeliveryError("timeout", "no answer in time")
        case ssl.SSLCertVerificationError():
            return DeliveryError("tls_certificate", f"the certificate is not accepted: {error.verify_message}")
        case ssl.SSLError():
            return DeliveryError("tls", str(error.reason or "failed").replace("_", " ").lower())
        case socket.gaierror():
            return DeliveryError("dns", "the host has no address")
        case http.client.RemoteDisconnected():
            return DeliveryError("disconnected", "the connection was closed without an answer")
        case http.client.HTTPException():
            return DeliveryError("bad_response", f"the answer is not HTTP ({type(error).__name__})")
        case OSError():
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
            return DeliveryError(name, error.strerror or "")
        case _:
            return DeliveryError(type(error).__name__, "unexpected")


def refusal(status: int, asked: str | None) -> DeliveryError:
    """Tell what an HTTP status that is not 2xx means for a delivery.

    Example:
        >>> refusal(503, "5").asked, refusal(400, None).retryable, refusal(413, None).too_large
        (5.0, False, True)
    """
    again = is_retryable(status)
    return DeliveryError(
        f"http_{status}",
        http.client.responses.get(status, ""),
        retryable=again,
        asked=retry_after(asked) if again else None,
        too_large=status == 413,
    )


def remaining(deadline: float) -> float:
    """Give the seconds until a monotonic time.

    Raises:
        TimeoutError: it has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Make the context of a verified connection.

    Args:
        ca_file: certificates to trust instead of the system's.

    Raises:
        DeliveryError: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        what = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror or "no text"
        raise DeliveryError("ca_file", f"{ca_file!r} cannot be used ({what})") from None
