"""The rows that every SDK adapter must keep, for Anthropic's messages and their beta surface."""

from __future__ import annotations

import anthropic

import relay_adapter_anthropic
from tests.adapters.sdk_layer_rows import SdkLayerRows
from tests.adapters.sdk_rows import Driver, SdkRows
from tests.adapters.sdk_surface_rows import SdkSurfaceRows
from tests.adapters.sdk_text_rows import SdkTextRows


class MessagesDriver(Driver):
    name = "anthropic"
    codec = "anthropic_messages"
    parsed_as = "output_format"
    adapter = relay_adapter_anthropic
    sync = anthropic.Anthropic
    asyncio = anthropic.AsyncAnthropic
    request_id = "request-id"
    status_error = anthropic.APIStatusError
    connection_error = anthropic.APIConnectionError
    api_error = anthropic.APIError
    cut_after = 4
    request = {"model": "claude-test", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello"}]}

    def options(self, provider):
        return {"api_key": "sk-test-0123456789", "base_url": provider.anthropic_url}

    def api(self, client):
        return client.messages

    def text(self, result):
        return result.content[0].text

    def piece(self, chunk):
        return chunk.delta.text if chunk.type == "content_block_delta" else ""

    def shout(self, chunk):
        if chunk["type"] == "content_block_delta":
            chunk["delta"]["text"] = chunk["delta"]["text"].upper()
        return chunk

    def helper(self, client):
        return self.api(client).stream(**self.request)

    def final(self, stream):
        return stream.get_final_message()


class BetaDriver(MessagesDriver):
    def api(self, client):
        return client.beta.messages


class TestMessages(SdkRows, SdkTextRows, SdkSurfaceRows, SdkLayerRows):
    driver = MessagesDriver()


class TestBeta(SdkRows, SdkTextRows, SdkSurfaceRows, SdkLayerRows):
    driver = BetaDriver()
