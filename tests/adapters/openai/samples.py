"""Hand-written requests, responses and streams in the OpenAI formats, among them what compatible servers send."""

from __future__ import annotations

import json

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA, "x_vendor": {"k": [1]}}
CALL = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":  "Oslo"}'}, "x": 1}
USER = {"role": "user", "content": "Will it rain?"}

CHAT_REQUESTS = {
    "plain": {"model": "m-1", "messages": [USER]},
    "limits": {
        "messages": [USER],
        "model": "m-1",
        "max_tokens": 30,
        "temperature": 1,
        "top_p": 0.5,
        "seed": 7,
        "n": 3,
        "stop": "END",
        "frequency_penalty": 0.1,
        "logit_bias": {"50256": -100},
        "metadata": {"team": "blue"},
        "user": "u-1",
    },
    "two limits": {"messages": [USER], "max_tokens": 30, "max_completion_tokens": 40, "stop": ["a", "b"]},
    "nulls": {
        "model": "m-1",
        "messages": [{**USER, "name": None, "tool_calls": None}],
        "max_tokens": None,
        "stop": None,
        "tools": None,
        "tool_choice": None,
        "temperature": None,
        "response_format": None,
    },
    "unknown fields": {
        "zeta": {"deep": [1, {"a": None}]},
        "messages": [{**USER, "x_vendor": {"k": []}}],
        "guided_json": {"a": 1},
        "alpha": 0,
    },
    "media": {
        "model": "m-1",
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            },
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": "What are these?"},
                    {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low", "z": 1}},
                    {"type": "image_url", "image_url": "data:image/png;base64,QUJD"},
                    {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
                    {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
                    {"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}},
                    {"type": "vendor_block", "payload": {"a": [1]}},
                    "a bare string",
                ],
            },
        ],
    },
    "tools": {
        "model": "m-1",
        "tools": [
            {"type": "function", "function": {**FUNCTION, "strict": True}, "y": 2},
            {"type": "custom", "custom": {"name": "sql", "description": "Runs SQL.", "format": {"type": "text"}}},
            {"type": "web_search", "depth": 2},
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "messages": [
            {"role": "developer", "content": "Use tools."},
            USER,
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [
                    CALL,
                    {"id": "call_b", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_a", "content": "dry", "name": "weather"},
            {"role": "tool", "tool_call_id": "call_b", "content": [{"type": "text", "text": "1"}]},
        ],
    },
    "object arguments": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": [1]}}}]}
        ]
    },
    "broken arguments": {
        "messages": [
            USER,
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]},
        ]
    },
    "functions of old": {
        "model": "m-1",
        "functions": [FUNCTION],
        "function_call": {"name": "weather"},
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'},
            },
            {"role": "function", "name": "weather", "content": "dry"},
        ],
    },
    "thoughts": {
        "model": "m-1",
        "reasoning_effort": "low",
        "messages": [
            USER,
            {"role": "assistant", "content": "No.", "reasoning_content": "Clouds are few."},
            {
                "role": "assistant",
                "content": "No.",
                "reasoning": "Few clouds.",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "Few clouds.", "signature": "sig", "index": 0},
                    {"type": "reasoning.summary", "summary": "Dry.", "index": 1},
                    {"type": "reasoning.encrypted", "data": "ENC", "id": "r1", "index": 2},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "Dry."},
                ],
                "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
            },
        ],
    },
    "gateway reasoning": {"messages": [USER], "reasoning": {"effort": "high", "max_tokens": 900, "exclude": False}},
    "structured": {
        "messages": [USER],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA, "description": "d"},
        },
    },
    "other formats": {"messages": [USER], "response_format": {"type": "json_object"}, "tool_choice": "any", "stop": []},
    "spoken": {
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "wav"},
        "messages": [USER, {"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "content": "Again."}],
    },
    "the same message twice": {"messages": [USER, dict(USER), dict(USER)]},
    "cited": {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": "Rain.",
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "X", "start_index": 0}}
                ],
            },
        ]
    },
    "nobody speaks": {"messages": [], "stream": True, "stream_options": {"include_usage": True}},
}

CHAT_RESPONSES = {
    "text": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Dry.", "refusal": None},
                "logprobs": {"content": [{"token": "Dry", "logprob": -0.1, "top_logprobs": []}], "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 30,
            "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp",
    },
    "several": {
        "id": "chatcmpl-2",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
                "finish_reason": "tool_calls",
            },
            {"index": 1, "message": {"role": "assistant", "refusal": "I will not."}, "finish_reason": "content_filter"},
            {"index": 2, "message": {"role": "assistant", "content": "cut"}, "finish_reason": "length"},
            {"index": 3, "finish_reason": "", "content_filter_results": {"hate": {"filtered": False}}},
        ],
    },
    "spoken": {
        "id": "chatcmpl-3",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "audio": {"id": "audio_1", "data": "QUJD", "transcript": "It is dry.", "expires_at": 9},
                },
                "finish_reason": "stop",
            }
        ],
    },
    "gateway": {
        "id": "gen-1",
        "provider": "Some",
        "choices": [
            {
                "index": 0,
                "native_finish_reason": "end_turn",
                "message": {
                    "role": "assistant",
                    "content": "Dry.",
                    "reasoning": "Clouds.",
                    "reasoning_details": [{"type": "reasoning.text", "text": "Clouds.", "signature": "sig"}],
                    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}],
                    "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "X"}}],
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "cost": 0.00125},
    },
    "function of old": {
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "function_call": {"name": "weather", "arguments": "{}"},
                },
                "finish_reason": "function_call",
            }
        ],
    },
    "text of old": {"object": "text_completion", "choices": [{"index": 0, "text": "Dry.", "finish_reason": "stop"}]},
    "refused": {"error": {"message": "No such model.", "type": "invalid_request_error", "param": None, "code": "x"}},
}

INPUT_TEXT = {"type": "input_text", "text": "What is this?"}
RESPONSES_REQUESTS = {
    "a string": {"model": "m-1", "input": "Will it rain?"},
    "fields": {
        "model": "m-1",
        "instructions": "Be brief.",
        "input": [USER],
        "max_output_tokens": 90,
        "temperature": 0.2,
        "top_p": 1,
        "reasoning": {"effort": "low", "summary": "auto", "x": 1},
        "text": {
            "format": {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA},
            "verbosity": "low",
        },
        "previous_response_id": "resp_0",
        "conversation": {"id": "conv_1"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "metadata": {"team": "blue"},
        "x_unknown": [None, {}],
    },
    "tools": {
        "model": "m-1",
        "parallel_tool_calls": True,
        "tool_choice": {"type": "function", "name": "weather"},
        "tools": [
            {"type": "function", "strict": False, **FUNCTION},
            {"type": "web_search_preview", "search_context_size": "low"},
            {"type": "mcp", "server_label": "docs", "server_url": "https://x.test", "require_approval": "never"},
            {"type": "custom", "name": "sql", "description": "Runs SQL."},
            {"type": "computer_use_preview", "display_width": 9},
        ],
        "input": [
            {"type": "message", "role": "user", "content": [INPUT_TEXT]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "ENC"},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "dry"},
            {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_2", "name": "sql", "input": "select 1"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "1"}]},
            {"type": "computer_call", "id": "cc_1", "call_id": "call_3", "action": {"type": "click", "x": 1, "y": 2}},
            {
                "type": "computer_call_output",
                "call_id": "call_3",
                "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,QUJD"},
            },
            {"type": "local_shell_call", "id": "ls", "call_id": "call_4", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "id": "call_4", "output": "a.txt"},
            {"type": "shell_call", "call_id": "call_5", "action": {"commands": ["ls"]}},
            {
                "type": "shell_call_output",
                "call_id": "call_5",
                "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
            },
            {"type": "apply_patch_call", "call_id": "call_6", "operation": {"type": "delete_file", "path": "a"}},
            {"type": "apply_patch_call_output", "call_id": "call_6", "status": "failed", "output": "no such file"},
            {"type": "item_reference", "id": "msg_9"},
            {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
            {"type": "compaction", "id": "cmp", "encrypted_content": "ENC"},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "Dry.", "annotations": []},
                {"type": "refusal", "refusal": "No more."},
            ]},
        ],
    },
    "media": {
        "input": [
            {
                "role": "user",
                "content": [
                    INPUT_TEXT,
                    {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"},
                    {"type": "input_image", "file_id": "file-1", "detail": "auto"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"},
                    {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
                    {"type": "input_thing", "value": {"a": 1}},
                ],
            }
        ]
    },
    "a prompt of the server": {"model": "m-1", "prompt": {"id": "pmpt_1", "variables": {"city": "Oslo"}}},
}  # fmt: skip

MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [
        {
            "type": "output_text",
            "text": "Dry.",
            "annotations": [{"type": "url_citation", "url": "https://x.test", "title": "X", "start_index": 0}],
            "logprobs": [],
        }
    ],
}
RESPONSES_RESPONSES = {
    "text": {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "m-1",
        "output": [
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm."}],
                "encrypted_content": "E",
            },
            MESSAGE,
        ],
        "service_tier": "default",
        "usage": {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 20},
            "total_tokens": 130,
        },
        "x_unknown": {"a": []},
    },
    "calls": {
        "id": "resp_2",
        "object": "response",
        "status": "completed",
        "output": [
            MESSAGE,
            {
                "type": "function_call",
                "id": "fc",
                "call_id": "call_1",
                "name": "weather",
                "arguments": '{"city": "Oslo"}',
            },
            {"type": "custom_tool_call", "id": "ct", "call_id": "call_2", "name": "sql", "input": "select 1"},
        ],
    },
    "server tools": {
        "id": "resp_3",
        "object": "response",
        "status": "completed",
        "output": [
            {
                "type": "web_search_call",
                "id": "ws",
                "status": "completed",
                "action": {"type": "search", "query": "rain"},
            },
            {
                "type": "file_search_call",
                "id": "fs",
                "queries": ["rain"],
                "results": [{"file_id": "file-1", "filename": "a.md", "score": 0.5, "text": "It rains."}],
            },
            {
                "type": "code_interpreter_call",
                "id": "ci",
                "container_id": "cntr",
                "code": "print(1)",
                "outputs": [{"type": "logs", "logs": "1"}, {"type": "image", "url": "https://x.test/a.png"}],
            },
            {
                "type": "image_generation_call",
                "id": "ig",
                "status": "completed",
                "result": "QUJD",
                "output_format": "png",
            },
            {"type": "mcp_list_tools", "id": "ml", "server_label": "docs", "tools": []},
            {
                "type": "mcp_call",
                "id": "mc",
                "server_label": "docs",
                "name": "find",
                "arguments": "{}",
                "output": "found",
            },
            {
                "type": "mcp_call",
                "id": "md",
                "server_label": "docs",
                "name": "find",
                "arguments": "{}",
                "error": {"code": 1},
            },
            {"type": "some_new_call", "id": "new", "value": [1]},
            {**MESSAGE, "id": "msg_2"},
        ],
    },
    "cut": {
        "id": "resp_4",
        "object": "response",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [{**MESSAGE, "status": "incomplete"}],
    },
    "failed": {
        "id": "resp_5",
        "object": "response",
        "status": "failed",
        "error": {"code": "server_error", "message": "No."},
        "output": [],
    },
    "refused": {"error": {"message": "No such model.", "type": "invalid_request_error", "param": None, "code": "x"}},
}

EMBEDDINGS_REQUESTS = {
    "one": {"model": "e-1", "input": "rain", "encoding_format": "base64", "x_unknown": {"a": []}},
    "several": {"input": ["rain", "sun"], "model": "e-1", "dimensions": 256, "user": "u"},
    "tokens": {"input": [[1, 2], [3]], "model": "e-1"},
    "blocks": {"model": "e-1", "input": [{"type": "text", "text": "rain"}, {"type": "image_url", "image_url": "u"}]},
    "of ollama": {"model": "e-1", "prompt": "rain"},
}
EMBEDDINGS_RESPONSES = {
    "floats": {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
        "model": "e-1",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    },
    "base64": {"data": [{"index": 0, "embedding": "AACAPwAAAEA="}], "usage": {"total_tokens": 3}},
    "of ollama": {"embedding": [0.5, 0.25, 1]},
    "refused": {"error": {"message": "No.", "code": "401"}},
}


def sse(*chunks, done=True, named=False):
    """The bytes of an event stream."""
    name = (lambda chunk: f"event: {chunk['type']}\n") if named else (lambda chunk: "")
    events = [f"{name(chunk)}data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return ("".join(events) + ("data: [DONE]\n\n" if done else "")).encode()


def chunk(delta, *, index=0, finish=None, **fields):
    """A chat completion chunk with one choice."""
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice], **fields}
