"""The SDK's HTTP library is httpx or its successor httpx2; the adapter takes whichever a client has, and imports none."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import openai
import pytest

import relay_adapter_openai as adapter
from relay_core.testing.fake_provider import FakeProvider, Reply
from relay_core.text_rules import text_rule
from tests.adapters.both import drive, every, inside, now
from tests.core.golden_scenario import Recording

REQUEST = {"model": "gpt-test", "messages": [{"role": "user", "content": "Say hello"}]}


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("masked", [False, True], ids=["observed", "masked"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_either_library_of_a_client(library, masked, is_async):
    http = pytest.importorskip(library, reason=f"{library} is not installed")
    if library == "httpx2" and openai.__version__.startswith("2."):
        pytest.skip("this SDK takes httpx alone")

    class Own(http.AsyncClient if is_async else http.Client):
        """A client of the program's own."""

    async def main(provider, runtime):
        made = (openai.AsyncOpenAI if is_async else openai.OpenAI)(
            api_key="sk-test", base_url=provider.openai_url, http_client=Own()
        )
        async with inside(adapter.attach(made, runtime)) as client:
            whole = await now(client.chat.completions.create(**REQUEST))
            chunks = await every(await now(client.chat.completions.create(**REQUEST, stream=True)))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            return whole.choices[0].message.content, text

    with Recording() as rec, FakeProvider(lambda request: Reply(text="Hello Ann")) as provider:
        if masked:
            rec.relay.register("execution_intercept", text_rule(lambda text: text.replace("Ann", "***")), target="llm")
        said = asyncio.run(main(provider, rec.relay)) if is_async else drive(main(provider, rec.relay))
        ends = [event for event in rec.events if event.kind == "scope" and event.scope_category == "end"]
        assert [end.metadata["relay.status"] for end in ends] == ["ok", "ok"]
    assert said == (("Hello ***",) if masked else ("Hello Ann",)) * 2


def test_neither_library_can_be_imported():
    code = """
import sys
sys.modules.update({"httpx": None, "httpx2": None, "pydantic": None})
import relay_core as relay, relay_adapter_openai as adapter
from relay_core.stainless import blocks, exchange, quick, requests, taps, wire
assert [codec.name for codec in adapter.adapter.codecs()] == ["openai_chat", "openai_responses", "openai_embeddings"]
print([record.state for record in relay.autoload(["openai"])])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True, timeout=50
    )
    assert (done.stdout.strip(), done.stderr) == ("['waiting']", "")


def test_a_version_of_the_sdk_that_is_not_known_is_told_once_and_by_the_doctor():
    code = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
import openai, relay_core as relay
from openai._base_client import AsyncAPIClient
del AsyncAPIClient._process_response
from relay_core.testing.fake_provider import FakeProvider, Reply
seen = []
relay.default.subscriber(seen.append)
for _ in range(2):
    (record,) = relay.autoload(["openai"])
    assert record.state == "failed", record
with FakeProvider([Reply(text="Hi")]) as provider, openai.OpenAI(api_key="k", base_url=provider.openai_url) as client:
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "Hi"
relay.default.flush(20.0)
assert seen == [], seen
from click.testing import CliRunner
from relay_core.cli import cli
print([line for line in CliRunner().invoke(cli, ["doctor", "--json"], prog_name="relay").output.splitlines() if "not known" in line])
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    warnings = [line for line in done.stdout.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "AsyncAPIClient._process_response" in warnings[0]
    assert "not known" in done.stdout.splitlines()[-1]
