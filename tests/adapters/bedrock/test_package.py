"""The package as `relay.autoload()` and newcomers meet it."""

from __future__ import annotations

from tests.adapters.packages import CodecPackage


class TestThePackage(CodecPackage):
    name = "bedrock"
    codec = "bedrock_converse"
    native = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}

    def text_of(self, native):
        return native["messages"][0]["content"][0]["text"]
