"""`relay demo`: the example agent against a fake provider, and what Relay saw of it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from relay_core.cli.output import CommandError, Painter, Span, echo_json, json_option
from relay_core.cli.text import plural, safe
from relay_core.cli.tree import Selection, paint, summary
from relay_core.trajectory import Trajectory, load

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["command", "example_file"]

_NEEDED: Final = {
    "langchain": "'relay-adapter-langchain[agents]'",
    "langchain_openai": "langchain-openai",
    "relay_adapter_langchain": "'relay-adapter-langchain[agents]'",
    "relay_plugin_observability": "relay-plugin-observability",
}
_MARKER: Final = "[REDACTED"


class Finding(NamedTuple):
    """What the demo set out to show, read back from the event file."""

    blocked: list[dict[str, str | None]]
    rewritten: int
    scrubbed: list[str]
    leaked: bool

    @property
    def complete(self) -> bool:
        """Whether everything happened, and the secret is nowhere."""
        return bool(self.blocked and self.rewritten and self.scrubbed) and not self.leaked


@click.command("demo")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("relay-demo"), show_default=True, metavar="DIR",
    help="Where events.jsonl goes.",
)  # fmt: skip
@json_option
def command(out: Path, *, as_json: bool) -> None:
    """Run an example agent and show what Relay saw.

    A real LangChain agent talks through the real OpenAI client to a fake provider on this machine; no key is needed. A
    guardrail blocks one of its tool calls, an intercept rewrites its requests, and a secret in a tool's result is
    scrubbed from every event. Ends with 1 if any of that did not happen.
    """
    _check_installed()
    _stay_on_this_machine()
    example = _load_example()
    events = _prepare(out)
    painter = Painter()
    report, sent = _run(example, out, show=_silent if as_json else _show)
    found = load(events)
    finding = _find(found, events, sent, example)
    if as_json:
        echo_json(_summary(report, found, finding, events))
    else:
        click.echo("\n")
        paint(found, Selection(), painter)
        _tell(painter, finding, out, events)
    if not finding.complete:
        raise SystemExit(1)


def example_file() -> Path:
    """Find the example agent: beside this module in an installation, under docs/ in a checkout.

    Raises:
        CommandError: it is in neither place.
    """
    here = Path(__file__)
    places = (here.with_name("_trip_agent.py"), here.parents[2] / "docs" / "examples" / "trip_agent.py")
    for place in places:
        if place.is_file():
            return place
    raise CommandError("the example agent is not part of this installation; reinstall relay-core")


def _check_installed() -> None:
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise CommandError(f"relay demo needs more packages: pip install {' '.join(dict.fromkeys(missing))}")


def _stay_on_this_machine() -> None:
    """A proxy would not find the provider, and nobody's tracing account needs this run."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1")))
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ.pop(name, None)


def _load_example() -> Any:
    file = example_file()
    spec = importlib.util.spec_from_file_location("relay_demo_trip_agent", file)
    if spec is None or spec.loader is None:
        raise CommandError(f"the example agent {str(file)!r} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations of its tools are looked up there
    spec.loader.exec_module(module)
    return module


def _prepare(out: Path) -> Path:
    events = out / "events.jsonl"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if events.exists():
            events.replace(events.with_name("events.jsonl.previous"))
    except OSError as error:
        raise CommandError(f"--out: {str(out)!r}: {error.strerror or error}") from error
    return events


def _run(example: Any, out: Path, *, show: Callable[[str], None]) -> tuple[dict[str, Any], list[str]]:
    """Run the agent in a runtime of its own; gives its report and the requests that the provider got."""
    from relay_core.runtime import Relay  # noqa: PLC0415  # not needed for --help
    from relay_core.testing.fake_provider import FakeProvider  # noqa: PLC0415  # see above

    relay = Relay()
    with FakeProvider(example.fake_script()) as provider:
        try:
            report = example.run(out=out, base_url=provider.openai_url, api_key="none needed", relay=relay, show=show)
        finally:
            relay.shutdown(timeout=5.0)
        return report, [str(request.body) for request in provider.requests]


def _show(text: str) -> None:
    click.echo(text, nl=False)


def _silent(text: str) -> None:
    del text


def _find(found: Trajectory, events: Path, sent: list[str], example: Any) -> Finding:
    marks = [mark for node in found.walk() for mark in node.marks] + found.marks
    tools = [node for node in found.walk() if node.category == "tool"]
    return Finding(
        blocked=[{"name": mark.name, "reason": mark.reason} for mark in marks if mark.rejected],
        rewritten=sum(example.HOUSE_RULE in request for request in sent),
        scrubbed=sorted({node.name for node in tools if _MARKER in str(node.output)}),
        leaked=example.FAKE_KEY.encode() in events.read_bytes(),
    )


def _summary(report: dict[str, Any], found: Trajectory, finding: Finding, events: Path) -> dict[str, Any]:
    told = finding._asdict() | {"complete": finding.complete}
    return {"events": str(events), "answer": report["answer"], **told, "summary": summary(found), "notes": found.notes}


def _tell(painter: Painter, finding: Finding, out: Path, events: Path) -> None:
    painter.line("")
    for block in finding.blocked:
        painter.line(Span("blocked:   ", "bold magenta"), f"{safe(block['name'] or '')}: {safe(block['reason'] or '')}")
    painter.line(Span("rewritten: ", "bold cyan"), f"{plural(finding.rewritten, 'model request')} got the house rule")
    where = ", ".join(safe(name) for name in finding.scrubbed) or "nothing"
    painter.line(Span("scrubbed:  ", "bold green"), f"a key in the result of {where}; it is in no event")
    if finding.leaked:
        painter.line(Span("leaked:    the key is in the event file", "bold red"))
    painter.line(Span("events:    ", "bold"), safe(str(events), 1_000))
    painter.line(Span("again:     ", "bold"), f"relay view {safe(str(out), 1_000)}")
    painter.line(Span("for real:  ", "bold"), f"OPENAI_API_KEY=... python {_short(example_file())}")


def _short(file: Path) -> str:
    if file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    return safe(str(file), 1_000)
