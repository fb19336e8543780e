"""Looking at one's own program only, and waiting for its threads and tasks however busy the machine is."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest


def wait_for(condition, seconds=20.0):
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


async def until(condition, seconds=20.0):
    """The same, while the other tasks of the loop go on."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def collected(condition):
    """The same condition, looked at after the garbage is gone."""

    def look():
        gc.collect()
        return condition()

    return look


def told(caplog, logger="relay.observability", about=""):
    """What a logger and those below it have said of something; `caplog` has what all others say as well."""
    mine = (one for one in caplog.records if one.name == logger or one.name.startswith(f"{logger}."))
    return [one for one in mine if about in one.getMessage()]


def wait_until_gone(reference, seconds=20.0):
    """Wait until nothing holds an object; a thread that is about to end may hold it for a moment."""
    wait_for(collected(lambda: reference() is None), seconds)


async def cancelled_in_the_middle(consume, after=0.01):
    """Let a consumer run for a while, cancel it, and see that it ends as cancelled."""
    task = asyncio.create_task(consume())
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
