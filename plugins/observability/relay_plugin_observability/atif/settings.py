"""The section ``[plugins.observability.atif]``."""

# JSON of any shape passes here:
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import re
import string
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec

from relay_core.errors import ConfigError
from relay_plugin_observability.backoff import Backoff
from relay_plugin_observability.headers import HeaderTable, header_problems
from relay_plugin_observability.paths import expand_filename, process_values, resolve
from relay_plugin_observability.streams.endpoint import Endpoint, parse_endpoint

__all__ = ["DEFAULT_FILENAME", "AtifSettings", "HttpStorage", "S3Storage", "expand_document_name"]

DEFAULT_FILENAME = "trajectory-{trajectory_id}.json"
_PLACEHOLDERS = ("trajectory_id", "session_id", "agent")
_METADATA = "metadata."
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_VALUE = 60
_RESERVED_HEADERS = (
    "host", "content-length", "content-type", "transfer-encoding", "connection", "expect",
    "x-relay-atif-filename", "x-relay-atif-trajectory-id", "x-relay-atif-session-id",
)  # fmt: skip
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:/_-]{1,254}\Z")


class _Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What destinations have in common."""

    timeout: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0
    give_up_after: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 300.0
    max_pending: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    retry: Backoff = Backoff()


class HttpStorage(_Storage, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="http"):
    """Send each document to an HTTP endpoint.

    Args:
        url: with ``PUT`` the folder, to which the file name is added; with ``POST`` the endpoint itself.
        method: ``PUT`` or ``POST``.
        headers: each a literal, ``{env = "NAME"}`` or ``{file = "path"}``; never shown anywhere.
        ca_file: certificates to trust instead of the system's; verification cannot be turned off.
        timeout: seconds for a whole request, and one more for each 64 KiB of the document.
        give_up_after: seconds of failure after which a document stays where it is, in ``directory``.
        max_pending: most documents that wait at once.
        retry: pauses between attempts.

    Example:
        >>> HttpStorage(url="https://archive.example/runs").target("a.json")
        '/runs/a.json'
    """

    url: str
    method: Literal["PUT", "POST"] = "PUT"
    headers: HeaderTable = {}
    ca_file: Annotated[str, msgspec.Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse what does not fit together, with one line for each problem."""
        problems: list[str] = []
        try:
            self.endpoint()
        except ValueError as error:
            problems.append(f"url: {error}")
        problems += header_problems(self.headers, reserved=_RESERVED_HEADERS)
        if problems:
            raise ValueError("\n".join(problems))

    def endpoint(self) -> Endpoint:
        """Take the URL apart."""
        return parse_endpoint(self.url, ("http", "https"))

    def target(self, name: str) -> str:
        """Give path and query of the request for a file name."""
        whole = self.endpoint().target
        if self.method == "POST":
            return whole
        path, mark, query = whole.partition("?")
        return f"{path.rstrip('/')}/{quote(name)}{mark}{query}"


class S3Storage(_Storage, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="s3"):
    """Put each document into a bucket; needs the extra ``s3``. Credentials come from where boto3 finds them.

    Args:
        bucket: its name or ARN.
        prefix: before the file name, such as ``"runs/"``.
        region: default what boto3 finds.
        profile: of the AWS configuration; default what boto3 finds.
        endpoint_url: of another service that speaks S3.
        storage_class: such as ``"STANDARD_IA"``.
        timeout: seconds for each step of a request.
        give_up_after: seconds of failure after which a document stays where it is, in ``directory``.
        max_pending: most documents that wait at once.
        retry: pauses between attempts.

    Example:
        >>> S3Storage(bucket="acme-runs", prefix="relay/").bucket
        'acme-runs'
    """

    bucket: str
    prefix: str = ""
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    storage_class: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a bucket, a key or an address."""
        problems: list[str] = []
        if not _BUCKET.match(self.bucket):
            problems.append(f"bucket: {self.bucket!r} is no bucket name; use letters, digits, '.' and '-'")
        if self.prefix.startswith("/") or ".." in self.prefix.split("/") or not self.prefix.isprintable():
            problems.append(f"prefix: {self.prefix!r} is no key prefix; write it like 'runs/'")
        if self.endpoint_url is not None:
            try:
                parse_endpoint(self.endpoint_url, ("https", "http"))
            except ValueError as error:
                problems.append(f"endpoint_url: {error}")
        if problems:
            raise ValueError("\n".join(problems))


class AtifSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.observability.atif]``: write a trajectory document for each run.

    Args:
        enabled: ``False`` keeps the settings and writes nothing.
        directory: where the documents go.
        filename: their names; must hold ``{trajectory_id}``, may hold ``{session_id}``, ``{agent}``,
            ``{metadata.KEY}``, ``{timestamp}``, ``{pid}`` and ``{host}``.
        agent_name: of root agents; default the name of the agent's scope.
        agent_version: where the scope's metadata have no ``agent_version``.
        model_name: of root agents; default the model that was used most.
        extra: what to write under the root agent's ``extra``.
        payloads: put requests and responses, as they were, into the steps.
        media: write pictures to files beside the document; else they are only mentioned.
        checkpoint: seconds after which runs that go on are written as they are; 0 writes finished runs only.
        storage: where to send finished documents; one that arrived everywhere is taken off ``directory``.
        keep_local: leave it there all the same.

    Example:
        >>> AtifSettings(directory="runs").filename
        'trajectory-{trajectory_id}.json'
    """

    enabled: bool = True
    directory: str = "."
    filename: str = DEFAULT_FILENAME
    agent_name: str | None = None
    agent_version: Annotated[str, msgspec.Meta(min_length=1)] = "unknown"
    model_name: str | None = None
    extra: dict[str, Any] | None = None
    payloads: bool = False
    media: bool = True
    checkpoint: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    storage: list[HttpStorage | S3Storage] = []
    keep_local: bool = False

    def __post_init__(self) -> None:
        """Refuse a file name that could leave its directory, or that two runs would share."""
        if not self.enabled:
            return
        try:
            fields = _fields(self.filename)
            sample = {**process_values(), **dict.fromkeys((*fields, *_PLACEHOLDERS), "x")}
            resolve(self.directory, self.filename, sample)
        except ConfigError as error:
            raise ValueError("\n".join(error.problems)) from None
        if "trajectory_id" not in fields:
            raise ValueError(f"filename: {self.filename!r} has no {{trajectory_id}}, so runs would share a file")


def expand_document_name(template: str, values: dict[str, str], facts: dict[str, str], metadata: dict[str, Any]) -> str:
    """Name the file of one document.

    Args:
        template: of the settings.
        values: of the process.
        facts: trajectory_id, session_id and agent.
        metadata: of the run's root scope.

    Returns:
        A plain name: what a run says of itself is reduced to letters, digits, '.', '_' and '-'.

    Raises:
        ConfigError: no such name can be made.

    Example:
        >>> facts = {"trajectory_id": "01b7", "session_id": "../s", "agent": "my agent"}
        >>> expand_document_name(
        ...     "{metadata.team.id}-{agent}-{session_id}-{trajectory_id}.json", {}, facts, {"team": {"id": "a/b"}}
        ... )
        'a-b-my-agent-s-01b7.json'
    """
    known = dict(values)
    for name in _fields(template):
        found: Any = facts.get(name)
        if name.startswith(_METADATA):
            found = metadata
            for key in name.removeprefix(_METADATA).split("."):
                found = found.get(key) if isinstance(found, dict) else None
        known[name] = _plain(found)
    return expand_filename(template, known)


def _fields(template: str) -> list[str]:
    """The placeholders that each run fills in for itself."""
    try:
        names = [field for _, field, _, _ in string.Formatter().parse(template) if field]
    except ValueError as error:
        raise ConfigError([f"filename: {template!r} is no template ({error}); write literal braces twice"]) from None
    return [name for name in names if name in _PLACEHOLDERS or name.startswith(_METADATA)]


def _plain(value: Any) -> str:
    text = str(value) if isinstance(value, str | int) else ""
    return _ODD.sub("-", text[: 4 * _LONGEST_VALUE]).strip("-.")[:_LONGEST_VALUE] or "none"
