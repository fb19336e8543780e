"""Engines: which one is chosen and why, what the library's rails answer, and rails on a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip(
    "nemoguardrails", reason="needs nemoguardrails, in an environment of its own: tox -e only-guardrails"
)

from nemoguardrails.testing import FakeLLMModel

import relay_core as relay
from relay_core.errors import ConfigError
from relay_plugin_guardrails import Guardrails, RailBlocked, RailFailed
from tests.plugins.guardrails.rails import COLANG, MASK, REGEX, SECRET, flows, mask

SELF_CHECK = """
models: []
rails:
  input: {flows: [self check input]}
prompts:
  - task: self_check_input
    content: |
      Should this be blocked? "{{ user_input }}" Answer yes or no.
"""


def engine_of(**fields):
    runtime = relay.Relay()
    with Guardrails(**fields).install(runtime) as rails:
        return next(iter(rails.checkers.values())).engine


class TestChoice:
    @pytest.mark.parametrize("surface", ["llm_input", "llm_output", "tool_args", "tool_result", "retrieval"])
    def test_rails_of_the_catalog_run_on_the_fast_engine(self, surface):
        engine = engine_of(yaml=REGEX, **{surface: {}})
        assert (engine.name, engine.reason) == ("iorails", "all rails are in the library's catalog")

    def test_rails_of_other_surfaces_do_not_decide(self):
        config = REGEX + "  retrieval: {flows: [regex check retrieval]}\n  dialog: {single_call: {enabled: false}}\n"
        assert engine_of(yaml=config, llm_input={}).name == "iorails"
        mixed = REGEX.replace("[regex check output]", "[mask output]")
        assert engine_of(yaml=mixed, colang=COLANG, llm_input={}).name == "iorails"
        assert engine_of(yaml=mixed, colang=COLANG, llm_output={}).name == "llmrails"

    def test_flows_of_one_s_own_need_colang(self):
        engine = engine_of(**MASK, llm_input={})
        assert engine.name == "llmrails"
        assert "mask input" in engine.reason

    def test_a_flow_of_the_catalog_that_the_rails_define_themselves(self):
        colang = "define subflow regex check input\n  $x = 1\n"
        engine = engine_of(yaml=REGEX, colang=colang, llm_input={})
        assert (engine.name, engine.reason) == ("llmrails", "the rails define the flow 'regex check input' themselves")

    def test_a_model_given_in_code(self):
        engine = engine_of(yaml=SELF_CHECK, llm_input={}, llm=FakeLLMModel(responses=["no"]))
        assert engine.name == "llmrails"
        assert "llm" in engine.reason

    def test_what_is_asked_for(self):
        assert engine_of(yaml=REGEX, llm_input={"engine": "llmrails"}).reason == "asked for"
        with pytest.raises(ConfigError, match="the engine iorails cannot run these rails"):
            engine_of(**MASK, llm_input={"engine": "iorails"})

    def test_what_cannot_be_built_is_refused_at_the_start(self, tmp_path):
        for fields, text in (
            ({"config": str(tmp_path / "nowhere")}, "there is no"),
            ({"yaml": "models: ["}, "cannot be read"),
            ({"yaml": "colang_version: 2.x\nmodels: []"}, "write the rails in 1.0"),
            ({"yaml": "models: []"}, "the rails have no rails.input.flows"),
            ({"yaml": flows(input="nothing like that")}, "refuses the rails"),
        ):
            with pytest.raises(ConfigError, match=re.escape(text)):
                engine_of(**fields, llm_input={})

    def test_without_tables_the_rails_decide_which_surfaces_are_on(self):
        with Guardrails(yaml=REGEX).install(relay.Relay()) as rails:
            assert list(rails.checkers) == ["llm_input", "llm_output"]

    def test_a_directory_of_rails_with_actions(self, tmp_path):
        (tmp_path / "config.yml").write_text(MASK["yaml"])
        (tmp_path / "rails.co").write_text(MASK["colang"])
        (tmp_path / "actions.py").write_text(
            "from nemoguardrails.actions import action\n\n\n@action(name='mask')\nasync def mask(text):\n"
            f"    return text.replace({SECRET!r}, '<MASKED>')\n"
        )
        with Guardrails(config=str(tmp_path), llm_input={}).install(relay.Relay()) as rails:
            found = rails.check("llm_input", f"a {SECRET}")
        assert (found.kind, found.text) == ("rewrite", "a <MASKED>")


class TestRails:
    def test_injection_detection(self, watched):
        pytest.importorskip("yara", reason="needs yara-python: pip install relay-plugin-guardrails[injection]")
        config = """
models: []
rails:
  config:
    injection_detection: {injections: [sqli, template], action: reject}
  output: {flows: [injection detection]}
"""
        watch = watched(yaml=config, llm_output={})
        assert watch.rails.checkers["llm_output"].engine.name == "iorails"
        assert watch.rails.check("llm_output", "SELECT * FROM users; DROP TABLE users; --").kind == "block"
        assert watch.rails.check("llm_output", "the sea is blue").kind == "allow"

    @pytest.mark.parametrize(("answer", "kind"), [("yes", "block"), ("no", "allow")])
    def test_self_check_with_a_scripted_model_shows_its_call(self, watched, answer, kind):
        watch = watched(yaml=SELF_CHECK, llm_input={}, llm=FakeLLMModel(responses=[answer]))
        assert watch.rails.check("llm_input", f"is it {SECRET}?").kind == kind
        check, call = (
            next(e for e in watch.flush() if e.kind == "scope" and e.category == category)
            for category in ("guardrail", "llm")
        )
        assert call.parent_uuid == check.uuid
        assert call.name == "test"
        assert call.metadata["relay.guardrails.inside"] is True
        assert watch.leaked() == []

    def test_a_model_that_fails_is_an_error(self, watched):
        model = FakeLLMModel(llm_exception=ConnectionError("the line is down"))
        watch = watched(yaml=SELF_CHECK, llm_input={}, llm=model)
        assert watch.rails.check("llm_input", f"is it {SECRET}?").kind == "error"
        assert watch.leaked() == []

    @pytest.mark.parametrize(("answer", "kind"), [("yes", "block"), ("no", "allow")])
    def test_self_check_on_the_fast_engine_with_a_server(self, watched, answer, kind, monkeypatch):
        from relay_core.testing.fake_provider import FakeProvider, Reply

        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        with FakeProvider([Reply(text=answer)] * 2) as provider:
            model = (
                f"models: [{{type: main, engine: openai, model: m, parameters: {{base_url: '{provider.openai_url}'}}}}]"
            )
            watch = watched(yaml=SELF_CHECK.replace("models: []", model), llm_input={})
            assert watch.rails.checkers["llm_input"].engine.name == "iorails"
            assert watch.rails.check("llm_input", f"is it {SECRET}?").kind == kind

            async def again():
                return await watch.rails.acheck("llm_input", f"is it {SECRET}?")

            assert asyncio.run(again()).kind == kind
            assert len(provider.requests) == 2
            watch.rails.uninstall()
        calls = [e for e in watch.flush() if e.kind == "scope" and e.category == "llm" and e.scope_category == "start"]
        checks = {e.uuid for e in watch.events if e.kind == "scope" and e.category == "guardrail"}
        assert len(calls) == 2
        assert {call.parent_uuid for call in calls} == checks
        assert watch.leaked() == []

    def test_rails_that_call_models_through_relay_do_not_recurse(self, watched):
        watch = watched(
            **{**MASK, "yaml": flows(input="mask input")}, llm_input={}, tool_args={}, actions={"mask": None}
        )
        asked = []

        async def through_relay(text):
            asked.append(text)
            await watch.relay.acall_tool("lookup", {"text": text}, lambda _: "seen")
            return text

        for checker in watch.rails.checkers.values():
            checker.engine._rails.register_action(through_relay, "mask")
        assert watch.relay.call_tool("note", {"text": SECRET}, lambda _: "noted") == "noted"
        assert len(asked) == 1
        lookups = [e for e in watch.flush() if e.name == "lookup"]
        assert len(lookups) == 2
        assert all(e.data is None for e in lookups)

    def test_retrieval_rails_of_the_library(self, watched):
        config = REGEX.partition("  input: {flows")[0] + "  retrieval: {flows: [regex check retrieval]}\n"
        watch = watched(yaml=config, retrieval={})
        assert watch.rails.checkers["retrieval"].engine.name == "llmrails"
        assert watch.rails.check_retrieval(["the sea", f"a {SECRET}"]) == ["the sea", ""]
        assert watch.leaked() == []

    def test_retrieval_with_other_rails_blocks(self, watched):
        watch = watched(yaml=REGEX, retrieval={})
        with pytest.raises(RailBlocked):
            watch.rails.check_retrieval(["the sea", f"a {SECRET}"])


class Microservice(BaseHTTPRequestHandler):
    """Answers as the NeMo microservice does."""

    asked: list = []
    answer = None

    def do_GET(self):
        self.respond(200, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Microservice.asked.append((self.path, body, self.headers.get("authorization")))
        if self.answer is not None:
            return self.respond(*self.answer)
        status = "blocked" if SECRET in body["messages"][-1]["content"] else "success"
        rails = {"no secrets": {"status": status}, "politeness": {"status": "success"}}
        return self.respond(200, {"status": status, "rails_status": rails, "guardrails_data": {}})

    def respond(self, code, body):
        written = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, *args):
        pass


@pytest.fixture
def microservice():
    Microservice.asked, Microservice.answer = [], None
    with ThreadingHTTPServer(("127.0.0.1", 0), Microservice) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestMicroservice:
    def remote(self, url, **more):
        headers = {"Authorization": "Bearer k"}
        return {"url": url, "dialect": "microservice", "config_id": "mine", "headers": headers} | more

    @pytest.mark.parametrize("surface", ["llm_input", "llm_output", "tool_args", "tool_result", "retrieval"])
    def test_every_surface(self, watched, microservice, surface):
        watch = watched(remote=self.remote(microservice), **{surface: {"engine": "remote"}})
        assert watch.rails.check(surface, "hi").kind == "allow"
        found = watch.rails.check(surface, f"a {SECRET}", asked="what?")
        assert (found.kind, found.rail) == ("block", "no secrets")
        path, body, key = Microservice.asked[-1]
        assert (path, key, body["guardrails"]) == ("/v1/guardrail/checks", "Bearer k", {"config_id": "mine"})
        assert watch.leaked() == []

    @pytest.mark.parametrize(
        "answer", [(500, {}), (200, b"no JSON"), (200, []), (200, {"status": "perhaps"}), (404, {"error": {}})]
    )
    def test_other_answers_are_errors(self, watched, microservice, answer):
        Microservice.answer = answer
        watch = watched(remote=self.remote(microservice), tool_args={})
        with pytest.raises(RailFailed):
            watch.relay.call_tool("note", {"a": SECRET}, print)
        assert watch.decisions() == ["error"]
        assert watch.leaked() == []

    def test_a_key_from_the_environment_or_a_file(self, watched, microservice, monkeypatch, tmp_path):
        monkeypatch.setenv("RAILS_TOKEN", "one")
        (tmp_path / "token").write_text("two\n")
        for source in ({"env": "RAILS_TOKEN"}, {"file": str(tmp_path / "token")}):
            headers = {"Authorization": {**source, "prefix": "Bearer "}}
            watch = watched(remote=self.remote(microservice, headers=headers), tool_args={})
            assert watch.rails.check("tool_args", "hi").kind == "allow"
        assert [key for _, _, key in Microservice.asked] == ["Bearer one", "Bearer two"]
        monkeypatch.delenv("RAILS_TOKEN")
        watch = watched(remote=self.remote(microservice, headers={"A": {"env": "RAILS_TOKEN"}}), tool_args={})
        assert watch.rails.check("tool_args", "hi").kind == "error"

    def test_a_server_that_is_gone(self, watched):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            watch = watched(remote=self.remote(url), tool_args={"on_error": "allow"})
            assert watch.relay.call_tool("note", {"a": "b"}, lambda _: "noted") == "noted"
        assert watch.decisions() == ["error"]


@pytest.fixture(scope="module")
def oss_server(tmp_path_factory):
    """The library's own server, with regex rails and with masking ones."""
    pytest.importorskip("fastapi", reason="needs the library's server: pip install fastapi uvicorn openai")
    root = tmp_path_factory.mktemp("server")
    for name, files in {
        "regex": {"config.yml": REGEX},
        "mask": {
            "config.yml": MASK["yaml"],
            "rails.co": MASK["colang"],
            "actions.py": "from nemoguardrails.actions import action\n\n\n@action(name='mask')\n"
            f"async def mask(text):\n    return text.replace({SECRET!r}, '<MASKED>')\n",
        },
    }.items():
        (root / name).mkdir()
        for file, text in files.items():
            (root / name / file).write_text(text)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "nemoguardrails", "server", "--config", str(root), "--port", str(port)]
    environment = {**os.environ, "NEMO_GUARDRAILS_NO_USAGE_STATS": "1"}
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(  # the interpreter that runs the tests
            [*command, "--disable-chat-ui"], stdout=log, stderr=log, env=environment, cwd=root
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/v1/rails/configs", timeout=5):
                break
            assert process.poll() is None, (root / "log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.timeout(120)
class TestServer:
    def rails(self, watched, url, config, **surfaces):
        return watched(remote={"url": url, "config_id": config}, **surfaces)

    def test_blocks_arguments_and_results(self, watched, oss_server):
        watch = self.rails(watched, oss_server, "regex", tool_args={"timeout": 30.0}, tool_result={"timeout": 30.0})
        assert watch.relay.call_tool("note", {"a": "b"}, lambda _: "noted") == "noted"
        for args, result in (({"a": SECRET}, "x"), ({"a": "b"}, SECRET)):
            with pytest.raises(RailBlocked) as caught:
                watch.relay.call_tool("note", args, lambda _, said=result: said)
            assert caught.value.rail in ("regex check input", "regex check output")
        assert watch.leaked() == []

    def test_rewrites(self, watched, oss_server):
        watch = self.rails(watched, oss_server, "mask", tool_args={"timeout": 30.0}, tool_result={"timeout": 30.0})
        given = []

        async def main():
            return await watch.relay.acall_tool("note", {"a": SECRET}, lambda a: given.append(a) or {"b": [SECRET, 1]})

        assert asyncio.run(main()) == {"b": ["<MASKED>", 1]}
        assert given == [{"a": "<MASKED>"}]
        assert watch.leaked() == []

    def test_an_unknown_configuration_is_an_error(self, watched, oss_server):
        watch = self.rails(watched, oss_server, "nothing", llm_input={"timeout": 30.0})
        assert watch.rails.check("llm_input", "hi").kind == "error"


async def test_masking_a_message_of_the_past_as_before(watched):
    from tests.plugins.guardrails.test_failures import Codec

    watch = watched(**MASK, actions={"mask": mask}, llm_input={})
    sent = []

    async def turn(*said):
        messages = [{"role": "user", "content": text} for text in said]
        await watch.relay.acall_llm(
            "toy", {"messages": messages}, lambda r: sent.append(r) or {"text": "ok"}, codec=Codec()
        )

    await turn(f"it is {SECRET}")
    await turn(f"it is {SECRET}", "and now?")
    assert [m["content"] for m in sent[1]["messages"]] == ["it is <MASKED>", "and now?"]
    assert watch.leaked() == []


async def test_the_depth_of_the_history(watched):
    from tests.plugins.guardrails.test_failures import Codec

    for depth, checks in ((1, 1), (2, 2), (9, 3)):
        watch = watched(yaml=REGEX, llm_input={"history": depth})
        messages = [{"role": "user", "content": text} for text in ("one", "two", "three")]
        await watch.relay.acall_llm("toy", {"messages": messages}, lambda _: {"text": "ok"}, codec=Codec())
        assert watch.decisions() == ["allow"] * checks
