"""Relay as a peer of the LangChain benchmark kit: a counting subscriber, the callback handler, the middleware."""

import relay_core as relay

count = None  # the kit sets it: the subscriber to register
_ready = False


def _once():
    global _ready
    if not _ready:
        _ready = True
        relay.subscriber(count)


def relay_callbacks():
    from relay_adapter_langchain import RelayCallbackHandler

    _once()
    return [RelayCallbackHandler()]


def relay_middleware():
    from relay_adapter_langchain import RelayMiddleware

    _once()
    return [RelayMiddleware()]
