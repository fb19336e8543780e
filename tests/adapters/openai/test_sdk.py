"""The rows that every SDK adapter must keep, for OpenAI's chat completions and responses."""

from __future__ import annotations

import openai

import relay_adapter_openai
from tests.adapters.sdk_layer_rows import SdkLayerRows
from tests.adapters.sdk_rows import Driver, SdkRows
from tests.adapters.sdk_surface_rows import SdkSurfaceRows
from tests.adapters.sdk_text_rows import SdkTextRows


class OpenAIDriver(Driver):
    name = "openai"
    adapter = relay_adapter_openai
    sync = openai.OpenAI
    asyncio = openai.AsyncOpenAI
    request_id = "x-request-id"
    status_error = openai.APIStatusError
    connection_error = openai.APIConnectionError
    api_error = openai.APIError
    cut_after = 2

    def options(self, provider):
        return {"api_key": "sk-test-0123456789", "base_url": provider.openai_url}


class ChatDriver(OpenAIDriver):
    codec = "openai_chat"
    parsed_as = "response_format"
    request = {"model": "gpt-test", "messages": [{"role": "user", "content": "Say hello"}]}

    def api(self, client):
        return client.chat.completions

    def text(self, result):
        return result.choices[0].message.content

    def piece(self, chunk):
        return (chunk.choices[0].delta.content or "") if chunk.choices else ""

    def shout(self, chunk):
        for choice in chunk["choices"]:
            if choice["delta"].get("content"):
                choice["delta"]["content"] = choice["delta"]["content"].upper()
        return chunk

    def helper(self, client):
        return client.chat.completions.stream(**self.request)

    def final(self, stream):
        return stream.get_final_completion()


class ResponsesDriver(OpenAIDriver):
    codec = "openai_responses"
    parsed_as = "text_format"
    request = {"model": "gpt-test", "input": "Say hello"}
    cut_after = 4
    raises_events = False

    def api(self, client):
        return client.responses

    def text(self, result):
        return result.output_text

    def piece(self, chunk):
        return chunk.delta if chunk.type == "response.output_text.delta" else ""

    def shout(self, chunk):
        if chunk["type"] == "response.output_text.delta":
            chunk["delta"] = chunk["delta"].upper()
        return chunk

    def helper(self, client):
        return client.responses.stream(**self.request)

    def final(self, stream):
        return stream.get_final_response()


class TestChat(SdkRows, SdkTextRows, SdkSurfaceRows, SdkLayerRows):
    driver = ChatDriver()


class TestResponses(SdkRows, SdkTextRows, SdkSurfaceRows, SdkLayerRows):
    driver = ResponsesDriver()
