"""The plugin's section of the configuration, ``[plugins.guardrails]``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

__all__ = [
    "SURFACES",
    "Engine",
    "GuardrailsSettings",
    "HeaderSource",
    "InputSettings",
    "OutputSettings",
    "RemoteSettings",
    "RetrievalSettings",
    "SurfaceName",
    "SurfaceSettings",
]

SurfaceName: TypeAlias = Literal["llm_input", "llm_output", "tool_args", "tool_result", "retrieval"]
Engine: TypeAlias = Literal["auto", "iorails", "llmrails", "remote"]
Mode: TypeAlias = Literal["buffer", "guarded", "monitor"]
SURFACES: tuple[SurfaceName, ...] = ("llm_input", "llm_output", "tool_args", "tool_result", "retrieval")


class HeaderSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the value of a header comes from; give one of env and file.

    Args:
        env: the name of an environment variable.
        file: the path of a file.
        prefix: text before the value, such as ``"Bearer "``.

    Example:
        >>> HeaderSource(env="GUARDRAILS_TOKEN", prefix="Bearer ").env
        'GUARDRAILS_TOKEN'
    """

    env: str | None = None
    file: str | None = None
    prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse none and both."""
        if bool(self.env) is bool(self.file):
            raise ValueError("a header gives one of env and file")

    def resolve(self) -> str:
        """Read the value, at each request: tokens are rotated.

        Raises:
            OSError: the file cannot be read, or the variable is not set.
        """
        if self.file is not None:
            return self.prefix + Path(self.file).expanduser().read_text(encoding="utf-8").strip()
        found = os.environ.get(self.env or "")
        if found is None:
            raise OSError(f"the environment variable {self.env} is not set")
        return self.prefix + found


class RemoteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where rails run that do not run in this process.

    Args:
        url: of the server, without the path.
        dialect: ``oss`` for the server of the library (``/v1/checks``), ``microservice`` for the NeMo microservice
            (``/v1/guardrail/checks``).
        config_id: which of the server's configurations to use; None leaves it to the server.
        model: sent along; both servers want one and neither calls it for a check.
        headers: sent with each request: text, or ``{env = "TOKEN", prefix = "Bearer "}``.

    Example:
        >>> RemoteSettings(url="http://127.0.0.1:8000").dialect
        'oss'
    """

    url: Annotated[str, Meta(pattern="^https?://")]
    dialect: Literal["oss", "microservice"] = "oss"
    config_id: str | None = None
    model: str = "relay"
    headers: dict[str, str | HeaderSource] = {}

    def __repr__(self) -> str:
        return f"RemoteSettings(url={self.url!r}, dialect={self.dialect!r}, headers={sorted(self.headers)})"

    def resolved_headers(self) -> dict[str, str]:
        """Give the headers with their values."""
        return {name: one if isinstance(one, str) else one.resolve() for name, one in self.headers.items()}


class SurfaceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one surface is checked.

    Args:
        enabled: ``False`` keeps the settings and checks nothing.
        config: a directory or YAML file with the rails; default the plugin's own ``config``.
        yaml: the rails themselves, instead of `config`.
        colang: Colang 1.0 flows that belong to `yaml`.
        engine: ``auto`` takes the fast engine wherever it can run the rails.
        remote: the server, for the engine ``remote``; default the plugin's own.
        priority: among all that is registered on the call path; lower runs first.
        timeout: seconds for one check, waiting for a place included.
        max_inflight: checks at the same time.
        on_error: what happens when a rail fails or takes too long: ``block`` or ``allow``.
        shadow: only record what would have happened.
        unscannable: what happens to content that no text rail can read, such as images: ``allow`` or ``block``.
        message: said to the user when a rail blocks, instead of the rail's own words.

    Example:
        >>> SurfaceSettings(timeout=2.0).on_error
        'block'
    """

    enabled: bool = True
    config: str | None = None
    yaml: str | None = None
    colang: str | None = None
    engine: Engine = "auto"
    remote: RemoteSettings | None = None
    priority: int = 100
    timeout: Annotated[float, Meta(gt=0)] = 10.0
    max_inflight: Annotated[int, Meta(ge=1)] = 64
    on_error: Literal["block", "allow"] = "block"
    shadow: bool = False
    unscannable: Literal["allow", "block"] = "allow"
    message: str | None = None


class InputSettings(SurfaceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.guardrails.llm_input]``.

    Args:
        history: how many of the latest user messages are checked, each by itself.
    """

    history: Annotated[int, Meta(ge=1)] = 1


class OutputSettings(SurfaceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.guardrails.llm_output]``.

    Args:
        streaming: ``buffer`` checks the whole answer before its first chunk goes out, ``guarded`` lets chunks go once
            they are safe, ``monitor`` lets all go and ends the stream when a rail objects.
        step: characters of an answer between two checks while it streams.
        hold: characters that ``guarded`` holds back; no shorter secret leaves in part.
        context: characters before the held ones that a check sees as well.
    """

    streaming: Mode = "buffer"
    step: Annotated[int, Meta(ge=1)] = 200
    hold: Annotated[int, Meta(ge=0)] = 200
    context: Annotated[int, Meta(ge=0)] = 800


class RetrievalSettings(SurfaceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.guardrails.retrieval]``.

    Args:
        tools: names of tools whose results are retrieved text; ``*`` stands for any characters.
    """

    tools: tuple[str, ...] = ("*retriev*", "*search*")


class GuardrailsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.guardrails]``: one table for each surface; without any, those that the configuration has rails for.

    Args:
        config: a directory or YAML file with the rails of all surfaces that name none themselves.
        yaml: the rails themselves, instead of `config`.
        colang: Colang 1.0 flows that belong to `yaml`.
        remote: the server of all surfaces that name none themselves.
        llm_input: what the user says to a model.
        llm_output: what a model answers.
        tool_args: the arguments of a tool call.
        tool_result: what a tool gives back.
        retrieval: what retrieving tools give back, and what `Guardrails.check_retrieval` is given.
        unchecked_content: what observers see of scopes that no rail looks at, such as the input of an agent:
            ``withhold`` or ``keep``.
        capture_content: show checked text in the events, also what a rail has blocked or masked.
        usage_telemetry: let the library report its usage to its maker.

    Example:
        >>> GuardrailsSettings(config="rails").llm_input is None
        True
    """

    config: str | None = None
    yaml: str | None = None
    colang: str | None = None
    remote: RemoteSettings | None = None
    llm_input: InputSettings | None = None
    llm_output: OutputSettings | None = None
    tool_args: SurfaceSettings | None = None
    tool_result: SurfaceSettings | None = None
    retrieval: RetrievalSettings | None = None
    unchecked_content: Literal["withhold", "keep"] = "withhold"
    capture_content: bool = False
    usage_telemetry: bool = False

    def surface(self, name: SurfaceName) -> SurfaceSettings | None:
        """Give the table of a surface, with what it leaves to the plugin filled in; None where there is none."""
        own: SurfaceSettings | None = getattr(self, name)
        if own is None:
            return None
        if own.config is None and own.yaml is None and (own.remote is None or own.engine != "remote"):
            own = msgspec.structs.replace(own, config=self.config, yaml=self.yaml, colang=own.colang or self.colang)
        return msgspec.structs.replace(own, remote=own.remote or self.remote)

    def __post_init__(self) -> None:
        """Refuse surfaces without rails and rails without surfaces, with one line for each problem."""
        problems = [f"{name}: {problem}" for name in SURFACES if (problem := self._problem(name))]
        if not any(getattr(self, name) for name in SURFACES) and not (self.config or self.yaml):
            problems.append(
                "there is nothing to check: give config (a directory with rails), or a table for a surface, "
                "such as [plugins.guardrails.llm_input]"
            )
        if problems:
            raise ValueError("\n".join(problems))

    def _problem(self, name: SurfaceName) -> str | None:
        one = self.surface(name)
        if one is None or not one.enabled:
            return None
        if one.config is not None and one.yaml is not None:
            return "give config or yaml, not both"
        if one.engine == "remote" or (one.engine == "auto" and one.config is None and one.yaml is None):
            return None if one.remote is not None else "there are no rails: give config, yaml or remote"
        return None if one.config or one.yaml else "there are no rails: give config or yaml"
