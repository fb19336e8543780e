"""Building OTLP messages (protobuf) and writing them as OTLP/JSON."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from relay_plugin_observability.projection import Attribute

__all__ = ["TraceRequest", "any_value", "clean", "instrumentation_scope", "key_values", "otlp_json", "resource_of"]
__all__ += ["unix_nano"]

_IDS: Final = ("traceId", "spanId", "parentSpanId")
_LARGEST: Final = 2**63 - 1
_DEEPEST: Final = 64


class TraceRequest:
    """A request made of spans that are bytes already; senders take it for a protobuf message.

    Args:
        data: the bytes of an ``ExportTraceServiceRequest``.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802  # protobuf's name
        """Give the bytes."""
        return self._data

    def ByteSize(self) -> int:  # noqa: N802  # protobuf's name
        """Give their number."""
        return len(self._data)

    def message(self) -> ExportTraceServiceRequest:
        """Read the bytes back, for who writes something else than protobuf."""
        return ExportTraceServiceRequest.FromString(self._data)


def clean(text: str) -> str:
    """Give text that protobuf takes: lone surrogates are replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def unix_nano(time_ns: int) -> int:
    """Give a time that OTLP can hold: not before 1970, not after 2262."""
    return 0 if time_ns < 0 else min(time_ns, _LARGEST)


def key_values(attributes: Mapping[str, Attribute]) -> list[KeyValue]:
    """Write attributes; a mapping has each key once, and so has the list."""
    return [KeyValue(key=clean(key), value=_value(value)) for key, value in attributes.items()]


def _value(value: Attribute) -> AnyValue:
    kind = type(value)
    if kind is str:
        text = cast("str", value)
        return AnyValue(string_value=text if text.isascii() else clean(text))
    if kind is bool:
        return AnyValue(bool_value=cast("bool", value))
    if kind is int:
        return AnyValue(int_value=cast("int", value))
    if kind is float:
        return AnyValue(double_value=cast("float", value))
    return any_value(value)


def any_value(value: Any, depth: int = 0) -> AnyValue:
    """Write any JSON value."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=clean(value))
    if isinstance(value, int):
        small = -_LARGEST - 1 <= value <= _LARGEST
        return AnyValue(int_value=value) if small else AnyValue(string_value=str(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if value is None or depth > _DEEPEST:
        return AnyValue()
    if isinstance(value, list | tuple):
        items = cast("Iterable[Any]", value)
        return AnyValue(array_value=ArrayValue(values=[any_value(item, depth + 1) for item in items]))
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        made = [KeyValue(key=clean(str(key)), value=any_value(item, depth + 1)) for key, item in pairs]
        return AnyValue(kvlist_value=KeyValueList(values=made))
    return AnyValue(string_value=clean(str(value)))


def resource_of(attributes: Mapping[str, str]) -> Resource:
    """Write what produces the telemetry."""
    return Resource(attributes=key_values(attributes))


def instrumentation_scope(name: str, version: str) -> InstrumentationScope:
    """Write who made the telemetry."""
    return InstrumentationScope(name=name, version=version)


def otlp_json(request: Message | TraceRequest) -> bytes:
    """Write a request as OTLP/JSON: ids as hexadecimal digits, 64-bit numbers as text, enumerations as numbers."""
    message = request.message() if isinstance(request, TraceRequest) else request
    row = MessageToDict(message, use_integers_for_enums=True)
    _hex_ids(row)
    return msgspec.json.encode(row)


def _hex_ids(node: Any) -> None:
    if isinstance(node, dict):
        row = cast("dict[str, Any]", node)
        for key, value in row.items():
            if key in _IDS and isinstance(value, str):
                row[key] = binascii.hexlify(base64.b64decode(value)).decode()
            elif isinstance(value, dict | list) and key != "attributes":
                _hex_ids(value)
    elif isinstance(node, list):
        for item in cast("list[Any]", node):
            _hex_ids(item)
