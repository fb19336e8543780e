"""Requests, responses and streams of Gemini's generateContent, written for these tests."""

from __future__ import annotations

USER = {"role": "user", "parts": [{"text": "Will it rain in Oslo?"}]}
WEATHER = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
}

REQUESTS = {
    "plain": {"contents": [USER]},
    "every parameter": {
        "contents": [USER],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "generationConfig": {
            "maxOutputTokens": 100,
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 40.0,
            "stopSequences": ["END"],
            "seed": 7,
            "candidateCount": 2,
            "presencePenalty": 0.1,
            "frequencyPenalty": -0.1,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT"},
            "thinkingConfig": {"thinkingBudget": 512, "includeThoughts": True, "x": 1},
            "responseModalities": ["TEXT"],
        },
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
        "tools": [{"functionDeclarations": [WEATHER]}],
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/1",
        "labels": {"team": "a"},
        "xUnknown": [{"a": None}],
    },
    "snake case": {
        "contents": [
            {"parts": [{"inline_data": {"mime_type": "image/png", "data": "iVBO"}}, {"text": "What is it?"}]},
            {"role": "model", "parts": [{"function_call": {"name": "weather", "args": {"city_name": "Oslo"}}}]},
            {"role": "user", "parts": [{"function_response": {"name": "weather", "response": {"result": "rain"}}}]},
        ],
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "generation_config": {
            "max_output_tokens": 100,
            "top_p": 0.9,
            "stop_sequences": ["END"],
            "thinking_config": {"thinking_level": "LOW"},
            "response_mime_type": "application/json",
            "response_json_schema": {"type": "object"},
            "speech_config": {"language_code": "de"},
        },
        "tools": [
            {
                "function_declarations": [
                    {"name": "weather", "parameters_json_schema": {"type": "object", "properties": {}}},
                    {"name": "clock"},
                ]
            }
        ],
        "tool_config": {"function_calling_config": {"mode": "AUTO"}},
        "safety_settings": [],
    },
    "every part": {
        "model": "models/gemini-x",
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "Look:", "xUnknown": 1},
                    {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a/b"}, "videoMetadata": {"fps": 1}},
                    {"inlineData": {"mimeType": "audio/wav", "data": "UklG", "displayName": "sound"}},
                    {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
                    {"brandNew": {"a": 1}},
                    "no part",
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "I think.", "thought": True},
                    {"text": "Signed.", "thoughtSignature": "c2ln"},
                    {"thoughtSignature": "c2ln"},
                    {
                        "functionCall": {"id": "f1", "name": "weather", "args": {"city": "Oslo"}},
                        "thoughtSignature": "c2ln",
                    },
                    {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
                    {"functionCall": {"name": "clock"}},
                    {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_FAILED"}},
                    {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["rain"]}, "id": "s1"}},
                    {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "response": {"found": []}, "id": "s1"}},
                ],
            },
            {
                "role": "function",
                "parts": [
                    {"functionResponse": {"id": "f1", "name": "weather", "response": {"output": "rain"}}},
                    {"functionResponse": {"name": "weather", "response": {"error": "no such city"}}},
                    {
                        "functionResponse": {
                            "name": "clock",
                            "response": {"hour": 1, "minute": 2},
                            "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBO"}}],
                        }
                    },
                    {"functionResponse": {"name": "clock"}},
                ],
            },
        ],
    },
    "groups of tools": {
        "contents": [USER, USER],
        "tools": [
            {"googleSearch": {}},
            {"functionDeclarations": [WEATHER, {"name": "clock", "behavior": "NON_BLOCKING"}]},
            {
                "codeExecution": {},
                "functionDeclarations": [{"name": "other", "parametersJsonSchema": {"type": "object"}}],
            },
            {"computerUse": {"environment": "ENVIRONMENT_BROWSER"}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "retrievalConfig": {}},
    },
    "odd types": {
        "contents": [{"role": None, "parts": None}, {"role": "user"}, USER, dict(USER)],
        "generationConfig": {"temperature": "hot", "stopSequences": None, "thinkingConfig": None},
        "systemInstruction": None,
        "tools": [],
        "toolConfig": {},
    },
}

USAGE = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 60,
    "toolUsePromptTokenCount": 20,
    "candidatesTokenCount": 30,
    "thoughtsTokenCount": 15,
    "totalTokenCount": 165,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}, {"modality": "IMAGE", "tokenCount": 10}],
    "candidatesTokensDetails": [{"modality": 1, "tokenCount": 30}],
    "serviceTier": "standard",
}
RESPONSES = {
    "two candidates": {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "Hm.", "thought": True, "thoughtSignature": "c2ln"},
                        {"text": "It rains."},
                        {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
                    ],
                },
                "finishReason": "STOP",
                "index": 0,
                "citationMetadata": {"citationSources": [{"startIndex": 0, "uri": "https://a", "license": "mit"}]},
                "groundingMetadata": {
                    "webSearchQueries": ["rain"],
                    "groundingChunks": [{"web": {"uri": "https://b", "title": "B"}}],
                },
                "safetyRatings": [],
            },
            {"content": {"role": "model", "parts": [{"text": "It"}]}, "finishReason": "MAX_TOKENS", "index": 1},
        ],
        "usageMetadata": USAGE,
        "modelVersion": "gemini-x",
        "responseId": "r1",
        "createTime": "2026-01-02T03:04:05.5Z",
        "xUnknown": 1,
    },
    "blocked": {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
    },
    "nothing said": {"candidates": [{"finishReason": "SAFETY"}], "responseId": "r"},
    "numbers": {"candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": 1}]},
    "error": {"error": {"code": 429, "message": "Busy", "status": "RESOURCE_EXHAUSTED"}},
    "list of chunks": [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "It "}]}}], "responseId": "r1"},
        {
            "candidates": [{"content": {"role": "model", "parts": [{"text": "rains."}]}, "finishReason": "STOP"}],
            "usageMetadata": USAGE,
        },
    ],
}


def chunk(*parts, **fields):
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **fields}], "responseId": "r1"}


STREAM = [
    {**chunk({"text": "H", "thought": True}), "usageMetadata": {"promptTokenCount": 101, "totalTokenCount": 101}},
    chunk({"text": "m.", "thought": True}),
    chunk({"text": "It "}),
    chunk({"text": "rains."}),
    chunk({"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "c2ln"}),
    chunk({"functionCall": {"name": "weather", "args": {"city": "Rome"}}}),
    chunk({"text": "Done."}),
    {**chunk({"text": "", "thoughtSignature": "c2ln"}, finishReason="STOP", index=0), "usageMetadata": USAGE},
]
