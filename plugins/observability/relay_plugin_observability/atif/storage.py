"""Ways to put one file somewhere else: HTTP, and S3 through boto3."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from relay_plugin_observability.atif.settings import HttpStorage, S3Storage
from relay_plugin_observability.headers import Headers
from relay_plugin_observability.streams.connection import Connection
from relay_plugin_observability.streams.transport import DeliveryError, refusal

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["File", "HttpTarget", "S3Target", "Target", "make_target"]

_AGENT: Final = "relay-plugin-observability"
_LOGIN: Final = (401, 403)
_BLOCK: Final = 1 << 18
_SLOWEST: Final = 1 << 16  # bytes a second; a larger file may take longer than the timeout


class File(msgspec.Struct, frozen=True):
    """What is to be sent.

    Args:
        path: where it is.
        name: at the other side.
        trajectory_id: of the document that it belongs to.
        session_id: of its run.
    """

    path: Path
    name: str
    trajectory_id: str
    session_id: str

    @property
    def media_type(self) -> str:
        """By the name's ending."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


class Target(Protocol):
    """One destination; a thread of its own uses it."""

    @property
    def place(self) -> str:
        """What may be shown of the address."""
        ...

    def put(self, file: File) -> None:
        """Send one file.

        Raises:
            DeliveryError: it did not arrive, as far as we know.
            OSError: it cannot be read, or the network failed.
        """
        ...

    def check(self) -> str | None:
        """Say what keeps files from being sent, without sending one; None if nothing is known to."""
        ...


def make_target(settings: HttpStorage | S3Storage) -> Target:
    """Make the way to a destination."""
    return HttpTarget(settings) if isinstance(settings, HttpStorage) else S3Target(settings)


class HttpTarget:
    """One request for each file, through a proxy where the environment names one; every 2xx means that it arrived.

    Redirects are not followed, headers may be secret.

    Args:
        settings: of the destination.
    """

    def __init__(self, settings: HttpStorage) -> None:
        self._settings = settings
        self._endpoint = settings.endpoint()
        self._headers = Headers(settings.headers)

    @property
    def place(self) -> str:
        """The URL, without secrets."""
        return self._endpoint.shown

    def put(self, file: File) -> None:
        """Send one file; see `Target`."""
        fixed = {
            "User-Agent": _AGENT,
            "Content-Type": file.media_type,
            "X-Relay-Atif-Filename": _plain(file.name),
            "X-Relay-Atif-Trajectory-Id": _plain(file.trajectory_id),
            "X-Relay-Atif-Session-Id": _plain(file.session_id),
        }
        given = self._headers.resolve()
        connection = self._connect()
        try:
            with file.path.open("rb") as body:
                size = file.path.stat().st_size
                sent = {**fixed, **given, "Content-Length": str(size), "Connection": "close"}
                timeout = self._settings.timeout + size / _SLOWEST
                connection.start(sent, timeout, method=self._settings.method, target=self._settings.target(file.name))
                answer = connection.finish(iter(lambda: body.read(_BLOCK), b""))
        finally:
            connection.close()
        if not 200 <= answer.status < 300:  # success in HTTP
            failure = refusal(answer.status, answer.headers.get("Retry-After"))
            # A rotated token may be read anew by the next attempt.
            failure.retryable = failure.retryable or (answer.status in _LOGIN and self._headers.resolve() != given)
            raise failure

    def check(self) -> str | None:
        """Open a connection and close it; see `Target`."""
        problem = self._headers.check()
        if problem is not None:
            return problem
        connection = self._connect()
        try:
            connection.open(self._settings.timeout)
        except OSError as error:
            return f"{self.place} cannot be reached ({error.strerror or type(error).__name__})"
        except DeliveryError as error:
            return f"{self.place} cannot be reached ({error})"
        finally:
            connection.close()
        return None

    def _connect(self) -> Connection:
        return Connection(self._endpoint, self._settings.ca_file)


class S3Target:
    """One object for each file, through boto3, which is imported with the first.

    Args:
        settings: of the destination.
    """

    def __init__(self, settings: S3Storage) -> None:
        self._settings = settings
        self._client: Any = None

    @property
    def place(self) -> str:
        """Bucket and prefix."""
        return f"s3://{self._settings.bucket}/{self._settings.prefix}"

    def put(self, file: File) -> None:
        """Put one object; see `Target`."""
        settings = self._settings
        client = self._open()
        options = {} if settings.storage_class is None else {"StorageClass": settings.storage_class}
        named = {"trajectory-id": _plain(file.trajectory_id), "session-id": _plain(file.session_id)}
        try:
            with file.path.open("rb") as body:
                client.put_object(
                    Bucket=settings.bucket,
                    Key=settings.prefix + file.name,
                    Body=body,
                    ContentType=file.media_type,
                    Metadata=named,
                    **options,
                )
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  # botocore's exceptions are made at run time
            raise _s3_failure(error) from None

    def check(self) -> str | None:
        """Look whether boto3 finds credentials, and whether the bucket is there; see `Target`."""
        try:
            client = self._open()
        except DeliveryError as error:
            return str(error)
        try:
            client.head_bucket(Bucket=self._settings.bucket)
        except Exception as error:  # noqa: BLE001  # see put
            failure = _s3_failure(error)
            # Who may put objects need not be allowed to look at the bucket.
            return None if failure.reason == "s3_403" else f"{self.place} cannot be reached ({failure})"
        return None

    def _open(self) -> Any:
        if self._client is None:
            try:
                import boto3  # noqa: PLC0415  # pyright: ignore[reportMissingImports]  # an extra, slow to import
                from botocore.config import Config  # noqa: PLC0415  # pyright: ignore[reportMissingImports]  # see above
            except ImportError:
                text = "boto3 is not installed; pip install 'relay-plugin-observability[s3]'"
                raise DeliveryError("no_boto3", text, retryable=False) from None
            settings = self._settings
            try:
                session = boto3.session.Session(profile_name=settings.profile, region_name=settings.region)
                known = session.get_credentials() is not None
                # The outbox tries again by itself, and counts.
                config = Config(
                    connect_timeout=settings.timeout,
                    read_timeout=settings.timeout,
                    retries={"total_max_attempts": 1},
                )
                self._client = session.client("s3", endpoint_url=settings.endpoint_url, config=config)
            except Exception as error:  # noqa: BLE001  # see put
                raise _s3_failure(error) from None
            if not known:
                self._client = None
                raise DeliveryError("no_credentials", "boto3 finds no AWS credentials", retryable=False)
        return self._client


def _s3_failure(error: Exception) -> DeliveryError:
    """Tell what an error of boto3 means; its own text may hold a request."""
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict):
        facts = answer.get("ResponseMetadata", {})
        failure = refusal(int(facts.get("HTTPStatusCode", 0)), facts.get("HTTPHeaders", {}).get("retry-after"))
        code = answer.get("Error", {}).get("Code")
        name = f"s3_{code}" if isinstance(code, str) and code.isalnum() else failure.reason
        slow = name in ("s3_SlowDown", "s3_RequestTimeout", "s3_InternalError", "s3_ServiceUnavailable")
        return DeliveryError(name, retryable=failure.retryable or slow, asked=failure.asked)
    # Endpoints that do not answer come back; a missing profile or region does not.
    name = type(error).__name__
    return DeliveryError(f"s3_{name}", retryable="Timeout" in name or "Connection" in name)


def _plain(text: str) -> str:
    """A text as a header may carry it."""
    return "".join(char if char.isascii() and char.isprintable() else "-" for char in text)[:256]
