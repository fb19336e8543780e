"""What the tests of Anthropic's SDK share."""

from __future__ import annotations

import asyncio

import anthropic
import pytest

import relay_adapter_anthropic as adapter
from tests.core.golden_scenario import Recording


@pytest.fixture
def rec():
    with Recording() as recording:
        yield recording


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def using(request, rec):
    """Run a function, or for an async client its async twin, with an attached client."""

    def run(url, do, ado, *, sync=anthropic.Anthropic, async_=anthropic.AsyncAnthropic, attach=None, **options):
        settings = {"api_key": "sk-test", "base_url": url, "max_retries": 0, **options}
        if not request.param:
            with sync(**settings) as client:
                return do(adapter.attach(client, rec.relay, **(attach or {})))

        async def main():
            async with async_(**settings) as client:
                return await ado(adapter.attach(client, rec.relay, **(attach or {})))

        return asyncio.run(main())

    return run
