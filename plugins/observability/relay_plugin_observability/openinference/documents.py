"""Spans of retrievers, rerankers and embedders: documents, queries and vectors."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import TYPE_CHECKING, Any, Final

from relay_plugin_observability.openinference.llm import request_in
from relay_plugin_observability.openinference.payload import put_input, put_output, put_unless
from relay_plugin_observability.openinference.tokens import read_usage
from relay_plugin_observability.openinference.values import (
    as_count,
    as_dict,
    as_list,
    as_number,
    as_text,
    first_text,
    is_text,
    json_text,
)
from relay_plugin_observability.openinference.words import EMBEDDING, RERANKER, SPAN, document_keys

if TYPE_CHECKING:
    from relay_plugin_observability.openinference.masking import Masking
    from relay_plugin_observability.openinference.values import Attributes
    from relay_plugin_observability.projection import Attribute, ScopeRecord

__all__ = ["put_embedding", "put_reranker", "put_retriever"]

_LISTS: Final = ("documents", "results", "matches", "hits", "chunks", "nodes", "data")
_TEXTS: Final = ("page_content", "content", "text", "document", "body", "passage", "chunk")
_SCORES: Final = ("score", "relevance_score", "similarity", "similarity_score")
_QUERIES: Final = ("query", "question", "q", "text", "input", "search_query")
_EMBEDDED: Final = ("input", "inputs", "texts", "text", "content", "contents", "documents", "query")


def put_retriever(out: Attributes, record: ScopeRecord, masking: Masking) -> None:
    """Write the query and the documents found."""
    query = as_dict(record.start.data)
    put_input(out, query["query"] if query.keys() == {"query"} else record.start.data, masking)
    found = None if record.end is None else record.end.data
    put_output(out, found, masking)
    _put_documents(out, SPAN.RETRIEVAL_DOCUMENTS, _documents(found), masking, hidden=masking.hide_outputs)


def put_reranker(out: Attributes, record: ScopeRecord, profile: dict[str, Any], masking: Masking) -> None:
    """Write the query, the documents in their old order, and in their new one."""
    raw = request_in(record.start.data)
    fields = as_dict(raw)
    put_input(out, raw, masking)
    result = None if record.end is None else record.end.data
    put_output(out, result, masking)
    query = first_text(fields, *_QUERIES)
    if query is not None:
        put_unless(out, RERANKER.RERANKER_QUERY, query, masking, hidden=masking.hide_inputs)
    model = first_text(profile, "model_name") or first_text(fields, "model")
    if model is not None:
        out[RERANKER.RERANKER_MODEL_NAME] = model
    top = next((count for name in ("top_k", "top_n") if (count := as_count(fields.get(name))) is not None), None)
    if top is not None:
        out[RERANKER.RERANKER_TOP_K] = top
    given = _documents(fields)
    _put_documents(out, RERANKER.RERANKER_INPUT_DOCUMENTS, given, masking, hidden=masking.hide_inputs)
    ranked = [_ranked(item, given) for item in _documents(result)]
    hidden = masking.hide_outputs or masking.hide_inputs  # the same documents
    _put_documents(out, RERANKER.RERANKER_OUTPUT_DOCUMENTS, ranked, masking, hidden=hidden)


def put_embedding(out: Attributes, record: ScopeRecord, profile: dict[str, Any], masking: Masking) -> None:
    """Write what was embedded, the vectors, and how many tokens that took."""
    raw = request_in(record.start.data)
    fields = as_dict(raw)
    result = None if record.end is None else record.end.data
    put_input(out, raw, masking, hidden=masking.hide_embeddings_text)
    put_output(out, result, masking, hidden=masking.hide_embeddings_vectors)
    answer = as_dict(result)
    model = first_text(answer, "model") or first_text(profile, "model_name") or first_text(fields, "model")
    if model is not None:
        out[SPAN.EMBEDDING_MODEL_NAME] = model
    parameters = {name: value for name, value in fields.items() if name not in _EMBEDDED and name != "model"}
    if parameters and not masking.hide_llm_invocation_parameters:
        out[SPAN.EMBEDDING_INVOCATION_PARAMETERS] = json_text(parameters)
    _put_embeddings(out, _embedded(raw), _vectors(result), masking)
    usage = read_usage(as_dict(as_dict(profile.get("annotated_response")).get("usage")), result)
    if usage is not None:
        total = usage.total_tokens if usage.total_tokens is not None else usage.input_tokens
        for key, count in ((SPAN.LLM_TOKEN_COUNT_PROMPT, usage.input_tokens), (SPAN.LLM_TOKEN_COUNT_TOTAL, total)):
            if count is not None:
                out[key] = count


# -- documents -------------------------------------------------------------------------------------------------------


def _documents(value: Any) -> list[Any]:
    if type(value) is list:
        return as_list(value)
    fields = as_dict(value)
    return as_list(next((fields[name] for name in _LISTS if type(fields.get(name)) is list), None))


def _ranked(item: Any, given: list[Any]) -> Any:
    """Rerankers answer with places in the list that they were given."""
    fields = as_dict(item)
    index = as_count(fields.get("index"))
    if index is None or index >= len(given) or any(name in fields for name in _TEXTS):
        return item
    source = given[index]
    return {**(as_dict(source) or {"content": as_text(source)}), **fields}


def _put_documents(out: Attributes, base: str, documents: list[Any], masking: Masking, *, hidden: bool) -> None:
    for index, raw in enumerate(documents):
        score: Any = None
        pair = as_list(raw)
        if len(pair) == 2 and as_number(pair[1]) is not None:  # a document and its score, as many stores give it
            raw, score = pair  # noqa: PLW2901  # opened
        document = as_dict(raw)
        inner = as_dict(document.get("document")) or as_dict(document.get("node"))
        document = {**inner, **document} if inner else document
        keys = document_keys(f"{base}.{index}.")
        _put_facts(out, keys.id, keys.score, document, score)
        text = next((document[name] for name in _TEXTS if type(document.get(name)) is str), None)
        if text is None and not document and raw is not None:
            text = as_text(raw)
        if text is not None:
            put_unless(out, keys.content, text, masking, hidden=hidden)
        if hidden:
            continue
        metadata = document.get("metadata")
        if metadata not in (None, {}):
            out[keys.metadata] = as_text(metadata)
        for key, names in (
            (keys.url, ("url", "uri")),
            (keys.mime_type, ("mime_type",)),
            (keys.name, ("name", "title")),
        ):
            found = first_text(document, *names)
            if found is not None:
                out[key] = found


def _put_facts(out: Attributes, identity_key: str, score_key: str, document: dict[str, Any], score: Any) -> None:
    identity = document.get("id", document.get("document_id"))
    if is_text(identity) or as_number(identity) is not None:
        out[identity_key] = str(identity)
    scores = (score, *(document.get(name) for name in _SCORES))
    number = next((one for value in scores if (one := as_number(value)) is not None), None)
    if number is not None:
        out[score_key] = float(number)


# -- vectors ---------------------------------------------------------------------------------------------------------


def _embedded(raw: Any) -> list[Any]:
    """What was embedded, one entry each; numbers of tokens have no text."""
    if type(raw) is dict:
        fields = as_dict(raw)
        raw = next((fields[name] for name in _EMBEDDED if name in fields), None)
    if type(raw) is list:
        items = as_list(raw)
        return [] if items and all(type(item) is int for item in items) else items
    return [raw] if type(raw) is str else []


def _vectors(result: Any) -> list[Any]:
    if type(result) is dict:
        fields = as_dict(result)
        single = fields.get("embedding")
        if single is not None:
            return [_vector_in(single)]
        result = next((fields[name] for name in ("data", "embeddings") if type(fields.get(name)) is list), None)
    items = as_list(result)
    if items and as_number(items[0]) is not None:
        return [items]
    return [_vector_in(item) for item in items]


def _vector_in(item: Any) -> Any:
    fields = as_dict(item)
    return fields.get("embedding", fields.get("values")) if fields else item


def _put_embeddings(out: Attributes, texts: list[Any], vectors: list[Any], masking: Masking) -> None:
    for index in range(max(len(texts), len(vectors))):
        prefix = f"{SPAN.EMBEDDING_EMBEDDINGS}.{index}."
        if index < len(texts) and type(texts[index]) is str:
            key = prefix + EMBEDDING.EMBEDDING_TEXT
            put_unless(out, key, texts[index], masking, hidden=masking.hide_embeddings_text)
        vector = _floats(vectors[index]) if index < len(vectors) else None
        if vector is None:
            continue
        shown: Attribute | None = masking.mark if masking.hide_embeddings_vectors else vector
        if shown is not None:
            out[prefix + EMBEDDING.EMBEDDING_VECTOR] = shown


def _floats(value: Any) -> list[float] | None:
    """Read a vector: numbers, or the base64 of little-endian 32-bit floats."""
    if type(value) is str:
        try:
            packed = base64.b64decode(value, validate=True)
            return list(struct.unpack(f"<{len(packed) // 4}f", packed)) or None
        except (binascii.Error, ValueError, struct.error):
            return None
    items = as_list(value)
    numbers = [as_number(item) for item in items]
    return None if not items or None in numbers else [float(number) for number in numbers if number is not None]
