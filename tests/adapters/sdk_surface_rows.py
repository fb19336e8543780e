"""Rows for every way in which an SDK gives an answer: its types, its blocks, cached answers, and rules on its text."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

import relay_core as relay
from relay_core.testing.fake_provider import FakeProvider, Reply, Tokens
from relay_core.text_rules import text_rule
from tests.adapters.both import SURFACES, objects, said

CITY = '{"name":"Rome"}'
SECRET = "sk-12345-abcde"  # made up
PIECES = ['{"na', 'me":"sk-12', "345-ab", 'cde"', "}"]


class City(BaseModel):
    name: str


def mask(text):
    return text.replace(SECRET, "[secret]")


def _replies(request):
    return Reply(text=CITY, usage=Tokens(11, 7))


def kinds(found):
    return [type(item) for item in found]


class SdkSurfaceRows:
    """The rows; mixed in after `SdkRows`."""

    pytestmark = pytest.mark.filterwarnings("ignore:The 'output_format' parameter is deprecated")  # the oldest SDK's

    @pytest.fixture(params=SURFACES)
    def surface(self, request):
        if request.param == "parse" and not hasattr(self.driver.api(self.driver.sync(api_key="unused")), "parse"):
            pytest.skip("this SDK has no parse here")
        return request.param

    def asking(self, surface):
        """The program that asks on one surface."""
        d = self.driver

        async def program(client):
            return await objects(d.api(client), surface, d.request, {d.parsed_as: City})

        return program

    def answers(self, using, is_async):
        """An intercept that gives what the server would, from JSON that was kept."""
        d = self.driver
        with FakeProvider(_replies) as provider, d.client(provider, relay.Relay(), attach=False) as bare:
            whole = d.api(bare).create(**d.request).to_dict()
            chunks = [chunk.to_dict() for chunk in d.api(bare).create(**d.request, stream=True)]

        async def later():
            for chunk in chunks:
                yield chunk

        def cached(call):
            if not call.request.get("stream"):
                return whole
            return later() if is_async else iter(chunks)
            yield

        return cached

    def test_every_surface_gives_what_it_gives_without_us(self, rec, using, surface):
        with FakeProvider(_replies) as provider:
            theirs = using(provider, self.asking(surface), attach=False)
        with FakeProvider(_replies) as provider:
            ours = using(provider, self.asking(surface))
        assert kinds(ours) == kinds(theirs)
        assert said(ours) == said(theirs)
        assert self.status(rec) == "ok"
        assert self.pair(rec)[1].category_profile["annotated_response"]["message"] == CITY

    def test_nothing_is_sent_by_any_surface_when_it_is_blocked(self, rec, using, surface):
        rec.relay.register("guardrail", lambda call: relay.Block("not today"), target="llm", name="no")
        with FakeProvider(_replies) as provider:
            with pytest.raises(relay.Blocked, match="not today"):
                using(provider, self.asking(surface))
            assert provider.requests == []

    def test_a_cached_answer_has_the_types_of_a_sent_one_on_every_surface(self, rec, using, surface, is_async):
        with FakeProvider(_replies) as provider:
            theirs = using(provider, self.asking(surface), attach=False)
            rec.relay.register("execution_intercept", self.answers(using, is_async), target="llm")
            ours = using(provider, self.asking(surface))
            assert len(provider.requests) == 1
        if surface == "lines of a stream":  # names of events and the last line are the server's own
            ours, theirs = ours[:2], theirs[:2]
        assert kinds(ours) == kinds(theirs)
        assert self.status(rec) == "cached"
        assert self.pair(rec)[1].category_profile["annotated_response"]["message"] == CITY

    def test_a_rule_holds_on_every_surface(self, rec, using, surface):
        rec.relay.register("execution_intercept", text_rule(mask, window=20), target="llm", name="mask")
        with FakeProvider([Reply(chunks=PIECES)]) as provider:
            found = said(using(provider, self.asking(surface)))
        assert "[secret]" in found
        assert not any(piece in found for piece in ("sk-12", "345-ab", 'cde"'))
        assert self.status(rec) == "ok"
        assert SECRET not in str([event.to_dict() for event in rec.events])
