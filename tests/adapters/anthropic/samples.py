"""Requests, responses and streams of Anthropic's Messages API, written for these tests."""

from __future__ import annotations

EPHEMERAL = {"cache_control": {"type": "ephemeral"}}
WEATHER = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
USER = {"role": "user", "content": "Will it rain in Oslo?"}

REQUESTS = {
    "plain": {"model": "claude-x", "max_tokens": 100, "messages": [USER]},
    "every parameter": {
        "model": "claude-x",
        "max_tokens": 2000,
        "system": "Be brief.",
        "messages": [USER],
        "temperature": 1,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["END", "STOP"],
        "stream": True,
        "metadata": {"user_id": "u-1"},
        "service_tier": "auto",
        "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "summarized"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "container": "container_1",
        "context_management": {"edits": [{"type": "clear_tool_uses"}]},
        "x_unknown": {"deep": [None, {"a": 1.0}]},
    },
    "no model, as on Bedrock": {
        "anthropic_version": "bedrock-x",
        "max_tokens": 9,
        "messages": [USER],
        "temperature": 0.1,
    },
    "blocks": {
        "model": "claude-x",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "Rules."}, {"type": "text", "text": "Long text.", **EPHEMERAL}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look:", "x_unknown": 1},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}, **EPHEMERAL},
                    {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                    {
                        "type": "document",
                        "title": "Paper",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                        "citations": {"enabled": True},
                    },
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "Ann, 555-1234"},
                    },
                    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
                    {"type": "search_result", "source": "https://a", "title": "A", "content": []},
                    {"type": "container_upload", "file_id": "file_2"},
                    {"type": "from_the_future", "value": [1]},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "I see.", "citations": None}]},
            {"role": "user", "content": ""},
        ],
    },
    "tools": {
        "model": "claude-x",
        "max_tokens": 100,
        "tools": [
            {**WEATHER, **EPHEMERAL},
            {"type": "custom", "name": "strict", "input_schema": {"type": "object"}, "strict": True},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "mcp_toolset", "mcp_server_name": "calendar"},
        ],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        "mcp_servers": [{"type": "url", "name": "calendar", "url": "https://example.org"}],
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Look it up.", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "c2VhbGVk"},
                    {"type": "text", "text": "One moment."},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo", "days": [1, 2]}},
                    {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "rain", **EPHEMERAL},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "no city"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                        ],
                    },
                    {"type": "tool_result", "tool_use_id": "t3"},
                ],
            },
            {"role": "system", "content": "Now answer."},
        ],
    },
    "server tools": {
        "model": "claude-x",
        "max_tokens": 100,
        "tool_choice": {"type": "any"},
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "rain oslo"}},
                    {
                        "type": "web_search_tool_result",
                        "tool_use_id": "s1",
                        "content": [
                            {"type": "web_search_result", "url": "https://a", "title": "A", "encrypted_content": "ZW5j"}
                        ],
                    },
                    {
                        "type": "mcp_tool_use",
                        "id": "s2",
                        "name": "find",
                        "server_name": "calendar",
                        "input": {"q": "x"},
                    },
                    {
                        "type": "mcp_tool_result",
                        "tool_use_id": "s2",
                        "is_error": False,
                        "content": [{"type": "text", "text": "nothing on Monday"}],
                    },
                    {
                        "type": "code_execution_tool_result",
                        "tool_use_id": "s3",
                        "content": {"type": "code_execution_tool_result_error", "error_code": "unavailable"},
                    },
                    {"type": "compaction", "content": "They spoke of the weather."},
                    {"type": "compaction", "content": "Signed.", "signature": "c2ln"},
                    {
                        "type": "text",
                        "text": "It rains.",
                        "citations": [
                            {
                                "type": "web_search_result_location",
                                "url": "https://a",
                                "title": "A",
                                "cited_text": "Rain",
                                "encrypted_index": "ZQ==",
                            }
                        ],
                    },
                ],
            },
        ],
    },
    "odd types": {
        "model": None,
        "max_tokens": None,
        "temperature": "hot",
        "system": None,
        "tools": None,
        "tool_choice": None,
        "stop_sequences": None,
        "thinking": {"type": "disabled"},
        "output_format": {"type": "json_schema", "schema": {"type": "object"}},
        "container": {"id": "c", "skills": []},
        "messages": [USER, dict(USER), dict(USER), {"role": "assistant", "content": None}],
    },
}

USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 300,
    "cache_creation_input_tokens": 50,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    "output_tokens": 40,
    "output_tokens_details": {"thinking_tokens": 15},
    "service_tier": "standard",
}
CONTENT = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
    {
        "type": "text",
        "text": "It rains.",
        "citations": [{"type": "char_location", "document_title": "D", "cited_text": "r"}],
    },
    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}},
]
RESPONSES = {
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": CONTENT,
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": USAGE,
        "x_unknown": [1],
    },
    "nothing said": {"id": "m", "type": "message", "role": "assistant", "content": [], "stop_reason": "refusal"},
    "new reason": {
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "brand_new",
        "usage": {"output_tokens": 1},
    },
    "error": {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}, "request_id": "req_1"},
}


def delta(index, **fields):
    return {"type": "content_block_delta", "index": index, "delta": fields}


def start(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


HEAD = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**{key: USAGE[key] for key in list(USAGE)[:4]}, "output_tokens": 1, "service_tier": "standard"},
    },
}
STREAM = [
    HEAD,
    start(0, type="thinking", thinking="", signature=""),
    {"type": "ping"},
    delta(0, type="thinking_delta", thinking="H"),
    delta(0, type="thinking_delta", thinking="m.", estimated_tokens=4),
    delta(0, type="signature_delta", signature="c2ln"),
    {"type": "content_block_stop", "index": 0},
    start(1, type="text", text=""),
    delta(1, type="text_delta", text="It "),
    start(2, type="tool_use", id="t1", name="weather", input={}),
    delta(2, type="input_json_delta", partial_json=""),
    delta(2, type="input_json_delta", partial_json='{"city": '),
    delta(1, type="text_delta", text="rains."),
    delta(1, type="citations_delta", citation={"type": "char_location", "document_title": "D", "cited_text": "r"}),
    delta(2, type="input_json_delta", partial_json='"Oslo"}'),
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_stop", "index": 2},
    {"type": "brand_new_event", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 15}, "input_tokens": None},
    },
    {"type": "message_stop"},
]
