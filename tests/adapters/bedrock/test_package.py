"""The package as `relay.autoload()` and newcomers meet it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import relay_adapter_bedrock as package
import relay_core
from relay_core.adapters import Adapter

NATIVE = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_importing_it_imports_no_sdk():
    code = (
        "import sys, relay_adapter_bedrock; "
        "print([m for m in sys.modules if m.partition('.')[0] in ('google', 'boto3', 'botocore', 'pydantic', 'httpx2')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_names_the_adapter():
    (found,) = entry_points(group="relay.adapters", name="bedrock")
    assert found.load() is package.adapter
    assert isinstance(package.adapter, Adapter)
    assert (package.adapter.name, package.adapter.requires) == ("bedrock", ())


def test_all_public_names_exist():
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_enabling_it_brings_the_codec_and_disabling_takes_it():
    relay = relay_core.Relay()
    record = relay.adapters.install("bedrock")
    assert (record.state, record.error) == ("active", None)
    assert record.control.startswith("none")
    assert relay.codecs.get("bedrock_converse") is package.CODEC
    relay.adapters.uninstall("bedrock")
    assert "bedrock_converse" not in relay.codecs


def test_it_has_no_options():
    with pytest.raises(relay_core.AdapterError, match="speed"):
        relay_core.Relay().adapters.install(package.adapter, speed=11)


def test_an_intercept_edits_a_call_through_the_codec():
    relay = relay_core.Relay()
    relay.adapters.install("bedrock")
    sent = []

    @relay.request_intercept("llm")
    def shout(call):
        return call.replace(request=call.view.map_text(str.upper))

    relay.call_llm("model", NATIVE, sent.append, codec="bedrock_converse")
    assert sent[0]["messages"][0]["content"][0]["text"] == "HI"
    assert NATIVE["messages"][0]["content"][0]["text"] == "hi"
