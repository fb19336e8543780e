"""No credential leaves the process, whatever field it is in and whatever reads it; ordinary text stays as it is."""

from __future__ import annotations

import base64
import json
import logging
import re
import time

import pytest
from click.testing import CliRunner

import relay_core
from relay_core import Relay, redaction_rules
from relay_core.cli import cli
from relay_core.plugins import configure, host_of
from relay_core.redaction import REDACTED, Redactor
from relay_core.testing import EventRecorder
from tests.core.test_redaction import HARMLESS, KEYS
from tests.plugins.observability.scenarios import LLM
from tests.plugins.observability.streams.collectors import HttpCollector
from tests.reliability.corpus import NAMES, PLANTED, TEXTS, benign

pytest.importorskip("opentelemetry.proto", reason="the exporters under test need it")

CONFIGURED = "Zq7XkP2mVw9RtB4nLd8YcS1f"  # a header's value in the configuration: only its name announces it


def leaks(data, planted=PLANTED):
    """An independent look: the credential itself, or how JSON or base64 would spell it."""
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    return sorted(
        {gone for _, gone in planted if gone in text or base64.b64encode(gone.encode()).decode()[:-4] in text}
    )


def chain(text):
    """An exception whose cause, context and notes tell it too."""
    try:
        try:
            raise KeyError(text)
        except KeyError as inner:
            raise RuntimeError(f"could not call: {text}") from inner
    except RuntimeError as error:
        error.add_note(f"note {text}")
        return error


def tell_everywhere(runtime, text):
    """Put one text wherever a program can put one."""

    def fail(_request):
        raise chain(text)

    answer = {"model": "m", "choices": [{"message": {"role": "assistant", "content": f"it is {text}"}}]}
    request = {"messages": [{"role": "user", "content": text}], "model": "m", "url": f"https://h.example/?q={text}"}
    headers = {"x-custom": text, "user-agent": f"agent {text}", "Authorization": f"Bearer {text}", "api-key": text}
    with runtime.scope(
        f"agent {text}", "agent", input={"q": text, text: 1}, metadata={"note": text, text: "key"}, profile={"p": text}
    ) as top:
        top.metadata["later"] = [text]
        runtime.mark(f"mark {text}", {"args": [text], "deep": {"x": json.dumps({"inner": text})}}, metadata={"m": text})
        runtime.call_tool(f"tool {text}", {"cmd": f"curl {text}"}, lambda args: {"stdout": text}, metadata={"t": text})
        runtime.call_llm(f"llm {text}", request, lambda _request: answer, headers=headers, **LLM)
        for call in (runtime.call_tool, runtime.call_llm):
            with pytest.raises(RuntimeError):
                call("fails", {"messages": []}, fail)
        with pytest.raises(relay_core.Blocked), top.guardrail("tool")(lambda _call: relay_core.Block(f"no: {text}")):
            runtime.call_tool("blocked", {}, lambda _args: None)
    broken = top.subscriber(lambda _event: (_ for _ in ()).throw(ValueError(f"subscriber saw {text}")))
    broken.remove()


@pytest.fixture
def exporters(tmp_path, monkeypatch):
    """A runtime with every exporter, its configuration, and what the stream's collector got."""
    monkeypatch.chdir(tmp_path)
    with HttpCollector() as collector:
        folder = json.dumps(str(tmp_path / "runs"))
        path = tmp_path / "mine.toml"
        path.write_text(f"""
            [plugins.observability.atof]
            directory = {folder}
            filename = "events.jsonl"
            [plugins.observability.streams.live]
            url = "{collector.url}"
            linger = 0.01
            headers = {{X-Api-Key = "{CONFIGURED}"}}
            [plugins.observability.atif]
            directory = {folder}
            payloads = true
            [plugins.observability.otel]
            protocol = "file"
            directory = {folder}
            capture_content = true
            signals = ["traces", "logs", "metrics"]
            filename = "genai-{{signal}}.jsonl"
            promote_metadata = ["note"]
            [plugins.observability.otel_destinations.full]
            protocol = "file"
            directory = {folder}
            filename = "full-{{signal}}.jsonl"
            projection = "full"
            [plugins.observability.otel_destinations.phoenix]
            protocol = "file"
            directory = {folder}
            filename = "openinference-{{signal}}.jsonl"
            projection = "openinference"
            """)
        path.chmod(0o600)
        runtime = Relay()
        configure(runtime, path)
        assert {record.state for record in host_of(runtime).records() if record.name == "observability"} == {"active"}
        yield runtime, path, collector
        runtime.shutdown(timeout=20.0)


def test_S01_no_planted_credential_reaches_any_output(exporters, tmp_path, caplog, capfd):
    runtime, _path, collector = exporters
    caplog.set_level(logging.DEBUG)
    assert len(PLANTED) >= 60

    def complain(event):
        raise ValueError(f"cannot take {event.name}: {PLANTED[0][0]}")

    runtime.subscriber(complain, name="complains")
    for text, _ in PLANTED:
        tell_everywhere(runtime, text)
    assert not runtime.flush(timeout=20).timed_out
    rows = host_of(runtime).doctor()
    stats = json.dumps(runtime.stats(), default=str)
    runtime.shutdown(timeout=20.0)
    seen = {file.name: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()}
    kinds = {name.partition("-")[0].partition(".")[0] for name in seen}
    assert {"events", "trajectory", "genai", "full", "openinference"} <= kinds
    seen["stream"] = b"\n".join(request.body for request in collector.requests)
    assert seen["stream"].count(b"\n") > len(PLANTED) * 10
    for name, data in seen.items():
        assert leaks(data) == [], name
        if name != "genai-metrics.jsonl":
            assert REDACTED.encode() in data or "trajectory" in name, name
    told = caplog.text + stats + json.dumps(rows) + "".join(capfd.readouterr())
    assert "complains" in told
    assert leaks(told) == []
    assert CONFIGURED not in told + "".join(data.decode() for data in seen.values())


@pytest.mark.parametrize(
    "words",
    [
        ["view", "FILE"], ["view", "FILE", "--json"], ["view", "FILE", "--marks", "--grep", "agent"], ["doctor", "FILE"],
        ["tail", "FILE", "--no-follow", "-n", "5000"], ["tail", "FILE", "--no-follow", "--json", "-n", "5000"],
        ["convert", "FILE", "--out", "out"], ["config", "--config", "TOML"], ["config", "--config", "TOML", "--json"],
        ["doctor", "--config", "TOML"], ["plugins", "--config", "TOML"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_S01_no_command_shows_one(exporters, words, tmp_path, monkeypatch):
    runtime, path, _ = exporters
    for text, _gone in PLANTED[::6]:
        tell_everywhere(runtime, text)
    runtime.flush(timeout=20.0)
    runtime.shutdown(timeout=20.0)
    monkeypatch.setenv("RELAY_ADAPTERS", "none")  # doctor would import their frameworks
    places = {"FILE": str(tmp_path / "runs" / "events.jsonl"), "TOML": str(path)}
    done = CliRunner().invoke(cli, [places.get(word, word) for word in words])
    assert done.exit_code in (0, 1), done.output
    assert len(done.output) > 40
    made = "".join(file.read_text() for file in tmp_path.glob("out/*"))
    assert leaks(done.output + made) == []
    assert CONFIGURED not in done.output


def test_S01_variables_of_the_environment_are_not_recorded(monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", CONFIGURED)
    runtime = Relay()
    with EventRecorder(runtime) as recorder:
        with runtime.scope("trip", "agent"):
            runtime.call_tool("t", {}, lambda _args: None)
        runtime.flush(timeout=20.0)
    assert CONFIGURED.encode() not in b"".join(event.to_json() for event in recorder.events)


# -- what stays -------------------------------------------------------------------------------------------------------


def test_S02_benign_look_alikes_stay():
    corpus = benign()
    assert len(set(corpus)) >= 300
    redactor = Redactor()
    changed = [text for text in corpus if redactor.scrub_text(text) != text]
    assert len(changed) <= len(corpus) // 100, changed
    tree = {"messages": [{"content": text, "id": str(at)} for at, text in enumerate(corpus)]}
    assert json.dumps(redactor.scrub_tree(tree)).count(REDACTED) == len(changed)


def test_S02_keys_and_structure_are_never_changed():
    redactor = Redactor()
    tree = {text: {"list": [1, None, True, 1.5]} for text in (*NAMES, *TEXTS, *HARMLESS, *KEYS)}
    clean = redactor.scrub_tree(tree)
    assert clean == tree
    assert list(clean) == list(tree)


# -- order ------------------------------------------------------------------------------------------------------------


def test_S03_every_reader_gets_the_scrubbed_event_only():
    text, gone = PLANTED[0]
    runtime = Relay()
    told = []

    class Batches:
        def on_event(self, event):
            told.append(event)

        def on_batch(self, events):
            told.extend(events)

    runtime.sanitizer(lambda event: told.append(event) or event)  # even what may rewrite events
    runtime.metadata_injector(lambda event: {"injected": f"x {text}"})
    runtime.subscriber(told.append, name="one")
    runtime.subscriber(Batches(), name="many")
    with runtime.scope(text, "agent", input=text) as scope:
        scope.subscriber(told.append, name="local")
        runtime.mark("m", text)
    runtime.flush(timeout=20.0)
    runtime.shutdown(timeout=20.0)
    assert len(told) >= 9
    final = [event for event in told if event.metadata.get("injected")]
    assert final
    for event in told:
        assert gone not in event.to_json().decode() + repr(event) + str(event.to_dict())


def test_S03_what_a_sanitizer_puts_in_is_scrubbed_too():
    text, gone = PLANTED[0]
    runtime = Relay()
    runtime.sanitizer(lambda event: event.replace(data={"added": text}, name=f"now {text}"))
    with EventRecorder(runtime) as recorder:
        runtime.mark("m")
        runtime.flush(timeout=20.0)
    (event,) = recorder.events
    assert gone not in event.to_json().decode()
    assert REDACTED in event.to_json().decode()


# -- sanitizers that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, 3, "text", object(), RuntimeError("broken"), SystemExit(3)], ids=repr)
def test_S04_a_sanitizer_that_fails_hides_the_payload_and_keeps_the_event(answer):
    def broken(event):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    runtime = Relay()
    runtime.sanitizer(broken)
    with EventRecorder(runtime) as recorder:
        with runtime.scope("trip", "agent", input={"private": "correcthorse"}, metadata={"m": "correcthorse"}):
            pass
        runtime.flush(timeout=20.0)
    assert [event.scope_category for event in recorder.events] == ["start", "end"]
    assert "correcthorse" not in "".join(event.to_json().decode() for event in recorder.events)


# -- time -------------------------------------------------------------------------------------------------------------

PIECES = [
    "tvly-", "pcsk_", "hvs.", "glc_eyJ", "ntn_", "secret_", "dapi0", "dp.pt.", "lin_api_", "AGE-SECRET-KEY-1", "ABSK",
    "bedrock-api-key-", "LTAI", "NRAK-", "PMAK-0", "sntrys_", "rubygems_0", "sq0atp-", "pul-0", "vs.", "vly-", "webhookb2/",
    "webhook.office.com/webhookb2/", "_", "n_", "p_", "i", "sk-", "eyJ", "://a:", "password=", "Bearer ", "-----BEGIN PRIVATE KEY-----",
]  # fmt: skip


class Steps:
    """Counts how much text each expression is given, so that the bound does not depend on the machine."""

    def __init__(self, pattern, counts):
        self._pattern, self._counts = pattern, counts

    def __getattr__(self, name):
        method = getattr(self._pattern, name)

        def counted(*args, **kwargs):
            self._counts.append(max((len(arg) for arg in args if isinstance(arg, str | bytes)), default=0))
            return method(*args, **kwargs)

        return counted


@pytest.mark.parametrize("piece", PIECES)
def test_S05_the_number_of_searches_does_not_grow_with_the_text(piece, monkeypatch):
    def searched(size):
        counts = []
        with pytest.MonkeyPatch.context() as patch:
            for name in ("_SHAPES", "_SCHEMES", "_USERINFO", "_WEBHOOKS", "_PAIRS", "_LINES"):
                patch.setattr(redaction_rules, name, Steps(getattr(redaction_rules, name), counts))
            redaction_rules.scrub_pairs(redaction_rules.scrub_shapes((piece * size)[:size]))
        return sum(counts) / size

    assert searched(64_000) <= searched(8_000) + 1  # passes over the whole text: a constant, whatever its length


@pytest.mark.parametrize("piece", PIECES)
def test_S05_time_is_linear(piece):
    """Eight times the text takes about eight times as long; a quadratic expression takes 64 times as long."""

    def seconds(size):
        text = (piece * size)[:size]
        raw = text.encode()
        redactor = Redactor()
        best = 9.0
        for _ in range(3):
            start = time.thread_time()
            redactor.scrub_text(text)
            redactor.suspicious(raw)
            best = min(best, time.thread_time() - start)
        return best

    small, large = seconds(16_000), seconds(128_000)
    assert large < 28 * max(small, 0.0005)


def test_S05_no_repetition_inside_a_repetition():
    """The usual cause of exponential time, looked for in the rules themselves."""
    source = "\n".join(str(value.pattern) for value in vars(redaction_rules).values() if isinstance(value, re.Pattern))
    assert len(source) > 3_000
    inner = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"  # its parts are kept apart by a dot, and it gets 64 characters at most
    assert re.findall(r"[+*]\)[+*]|\.\*\.\*", source.replace(inner, "")) == []


def test_S05_a_huge_payload_holds_neither_caller_nor_reader_up(monkeypatch):
    """What is scrubbed of a text of ten megabytes is what is kept of it."""
    runtime = Relay()
    sizes = []
    scrub = Redactor.scrub_text
    monkeypatch.setattr(Redactor, "scrub_text", lambda self, text: sizes.append(len(text)) or scrub(self, text))
    with EventRecorder(runtime) as recorder:
        runtime.mark("big", "password=x " * 1_000_000)
        (event,) = recorder.events
    assert len(event.to_json()) < 2_000_000
    assert sizes and max(sizes) < 2_000_000
