"""What the tests of all packages of adapters share. Imports no framework."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import pytest

import relay_core
from relay_core.adapters import Adapter


def brought_by(package, *frameworks):
    """Those of the frameworks that importing a package imports, in a fresh Python."""
    code = f"import sys, {package}; print(*(m for m in sys.modules if m.partition('.')[0] in {frameworks!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def entry_point_of(name):
    """The adapter that the entry point of this name gives."""
    (found,) = entry_points(group="relay.adapters", name=name)
    return found.load()


def check_public_names(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        package.nothing  # noqa: B018  # the access is the test


class CodecPackage:
    """The package of an adapter that brings a codec and nothing else."""

    name: str
    codec: str
    native: dict[str, Any]

    @property
    def package(self):
        return import_module(f"relay_adapter_{self.name}")

    def text_of(self, native):
        raise AssertionError("say where the text of a request stands")

    def test_importing_it_imports_no_sdk(self):
        sdks = ("google", "boto3", "botocore", "pydantic", "httpx2")
        assert brought_by(f"relay_adapter_{self.name}", *sdks) == []

    def test_the_entry_point_names_the_adapter(self):
        adapter = entry_point_of(self.name)
        assert adapter is self.package.adapter
        assert isinstance(adapter, Adapter)
        assert (adapter.name, adapter.requires) == (self.name, ())

    def test_all_public_names_exist(self):
        check_public_names(self.package)

    def test_enabling_it_brings_the_codec_and_disabling_takes_it(self):
        relay = relay_core.Relay()
        record = relay.adapters.install(self.name)
        assert (record.state, record.error) == ("active", None)
        assert record.control.startswith("none")
        assert relay.codecs.get(self.codec) is self.package.CODEC
        relay.adapters.uninstall(self.name)
        assert self.codec not in relay.codecs

    def test_it_has_no_options(self):
        with pytest.raises(relay_core.AdapterError, match="speed"):
            relay_core.Relay().adapters.install(self.package.adapter, speed=11)

    def test_an_intercept_edits_a_call_through_the_codec(self):
        relay = relay_core.Relay()
        relay.adapters.install(self.name)
        sent = []

        @relay.request_intercept("llm")
        def shout(call):
            return call.replace(request=call.view.map_text(str.upper))

        relay.call_llm("model", self.native, sent.append, codec=self.codec)
        assert self.text_of(sent[0]) == "HI"
        assert self.text_of(self.native) == "hi"
