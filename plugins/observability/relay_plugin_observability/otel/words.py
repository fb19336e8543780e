"""The words of the GenAI semantic conventions, of the schema named here, and the few that are Relay's own."""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"
EMBEDDINGS: Final = "embeddings"
RETRIEVAL: Final = "retrieval"

AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
AGENT_DESCRIPTION: Final = "gen_ai.agent.description"
AGENT_VERSION: Final = "gen_ai.agent.version"

TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_DESCRIPTION: Final = "gen_ai.tool.description"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"

REQUEST_MODEL: Final = "gen_ai.request.model"
CHOICE_COUNT: Final = "gen_ai.request.choice.count"
STREAM: Final = "gen_ai.request.stream"
REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
PREVIOUS_RESPONSE: Final = "gen_ai.request.previous_response.id"
ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
OUTPUT_TYPE: Final = "gen_ai.output.type"
OUTPUT_TYPES: Final = {"json_object": "json", "json_schema": "json", "json": "json", "text": "text"}
PARAMS: Final = {
    "temperature": "gen_ai.request.temperature",
    "max_tokens": "gen_ai.request.max_tokens",
    "top_p": "gen_ai.request.top_p",
    "stop": "gen_ai.request.stop_sequences",
}
API_PARAMS: Final = {
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}

SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"

INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  # the name of an attribute

EMBEDDING_DIMENSIONS: Final = "gen_ai.embeddings.dimension.count"
DATA_SOURCE_ID: Final = "gen_ai.data_source.id"
RETRIEVAL_QUERY: Final = "gen_ai.retrieval.query.text"
RETRIEVAL_DOCUMENTS: Final = "gen_ai.retrieval.documents"
RETRIEVAL_TOP_K: Final = "gen_ai.retrieval.top_k"

TOKEN_USAGE_METRIC: Final = "gen_ai.client.token.usage"  # noqa: S105  # the name of a metric
DURATION_METRIC: Final = "gen_ai.client.operation.duration"
FIRST_CHUNK_METRIC: Final = "gen_ai.client.operation.time_to_first_chunk"
TOOL_DURATION_METRIC: Final = "gen_ai.execute_tool.duration"
AGENT_DURATION_METRIC: Final = "gen_ai.invoke_agent.duration"
ERRORS_METRIC: Final = "relay.errors"

STATUS: Final = "relay.status"
GUARDRAIL_ALLOWED: Final = "relay.guardrail.allowed"
CATEGORY: Final = "relay.category"
