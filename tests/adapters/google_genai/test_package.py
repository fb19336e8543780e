"""The package as `relay.autoload()` and newcomers meet it."""

from __future__ import annotations

from tests.adapters.packages import CodecPackage


class TestThePackage(CodecPackage):
    name = "google_genai"
    codec = "gemini_generate_content"
    native = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}

    def text_of(self, native):
        return native["contents"][0]["parts"][0]["text"]
