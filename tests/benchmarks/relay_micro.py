"""Relay as a peer of the micro benchmark kit, which is run by ``tox -e bench`` where it is present.

The kit asks for these names: DISTS, IMPORT, setup, scope, tool_async, tool_sync, tool_manual, llm, stream, add_middleware,
flush, aflush, close. "Off" is a runtime that nothing is attached to.
"""

import payloads as P  # the kit's own: the same payloads and trivial functions for every peer

import relay_core as relay

DISTS = ("relay-core", "msgspec")
IMPORT = "import relay_core"


def setup(mode, path=None):
    # Lossless: the emitter waits for a full queue as long as it takes.
    relay.configure("/dev/null", queue={"block_timeout": 60.0})
    if mode == "noop":
        relay.subscriber(lambda event: None)
    elif mode == "file":
        from relay_plugin_observability import AtofExporter

        relay.subscriber(AtofExporter(path))


def scope(name):
    return relay.scope(name, "agent")


def tool_async(args):
    return relay.acall_tool("search", args, P.tool)


def tool_sync(args):
    return relay.call_tool("search", args, P.tool_sync)


def tool_manual(args):
    run = relay.open_scope("search", "tool", input=args)
    run.close(output=P.tool_sync(args))


def llm(request):
    return relay.acall_llm("openai", request, P.llm)


async def stream(request):
    return relay.astream_llm("openai", request, P.chunks)


def add_middleware():
    @relay.sanitizer
    def mask(event):
        return event

    @relay.guardrail("tool")
    def allow(call):
        return None

    @relay.request_intercept("tool")
    def add_field(call):
        return call.replace(request={**call.request, "trace": "t1"})

    for _ in range(2):

        @relay.execution_intercept("tool")
        def around(call):
            return (yield call)


def flush():
    report = relay.flush(timeout=120)
    if report.timed_out or report.dropped:
        raise RuntimeError(f"events were not delivered: {report}")


async def aflush():
    flush()


def close():
    relay.flush(timeout=120)
