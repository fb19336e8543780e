"""Relay as a peer of the LangChain benchmark kit: a counting subscriber, the callback handler, the middleware.

The kit sets `count`, the subscriber to register. With ``RELAY_BENCH_ATOF=path`` events are written to that file as well.
"""

import os

import relay_core as relay

count = None
_ready = False


def _once():
    global _ready
    if _ready:
        return
    _ready = True
    relay.subscriber(count)
    path = os.environ.get("RELAY_BENCH_ATOF")
    if path:
        from relay_plugin_observability import AtofExporter

        relay.subscriber(AtofExporter(path))


def _flush():
    relay.flush(timeout=60)


def relay_callbacks():
    from relay_adapter_langchain import RelayCallbackHandler

    _once()
    return [RelayCallbackHandler()], [], _flush


def relay_middleware():
    from relay_adapter_langchain import RelayMiddleware

    handlers, _, flush = relay_callbacks()
    return handlers, [RelayMiddleware()], flush
