"""One program for sync and async clients: what an async client has to be awaited for, a sync client gives at once."""

from __future__ import annotations

import inspect
import re
from contextlib import asynccontextmanager


async def now(value):
    """A value, awaited if it has to be."""
    return await value if inspect.isawaitable(value) else value


async def every(stream):
    """The items of a stream, sync or async."""
    return [item async for item in stream] if hasattr(stream, "__aiter__") else list(stream)


@asynccontextmanager
async def inside(manager):
    """A context manager, sync or async, as an async one."""
    if hasattr(manager, "__aenter__"):
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered


def drive(program):
    """Run a program that has nothing to wait for, in no event loop."""
    try:
        program.send(None)
    except StopIteration as done:
        return done.value
    program.close()
    raise AssertionError("a sync client had to be awaited")


SURFACES = (
    "create",
    "parse",
    "stream",
    "raw",
    "raw stream",
    "lines",
    "streaming",
    "lines of a stream",
    "streaming stream",
    "helper",
    "parsing helper",
)
FINAL = ("get_final_completion", "get_final_response", "get_final_message")


async def objects(api, surface, request, parse):
    """All that a surface of an SDK gives the program for one request, in order."""
    if surface == "create":
        return [await now(api.create(**request))]
    if surface == "parse":
        return [await now(api.parse(**request, **parse))]
    if surface == "stream":
        async with inside(await now(api.create(**request, stream=True))) as stream:
            return [stream, *await every(stream)]
    if surface in ("raw", "raw stream"):
        options = {"stream": True} if surface == "raw stream" else {}
        raw = await now(api.with_raw_response.create(**request, **options))
        parsed = await now(raw.parse())
        found = [raw, type(raw.headers), raw.http_response, parsed]
        return [*found, *await every(parsed)] if options else [*found, raw.http_response.text]
    if "helper" in surface:
        return await _helped(api.stream(**request, **(parse if surface == "parsing helper" else {})))
    options = {"stream": True} if "stream" in surface.split() else {}
    async with inside(api.with_streaming_response.create(**request, **options)) as response:
        if "lines" in surface:
            return [response, *await every(response.iter_lines())]
        parsed = await now(response.parse())
        return [response, parsed, *(await every(parsed) if options else ())]


async def _helped(manager):
    async with inside(manager) as stream:
        events = await every(stream)
        final = next(getattr(stream, name) for name in FINAL if hasattr(stream, name))
        return [manager, stream, *events, await now(final())]


def said(found):
    """All that can be read in what a surface gave; where objects lie in memory is left out."""
    return re.sub(r"object at 0x\w+", "", "\n".join(map(str, found)))
