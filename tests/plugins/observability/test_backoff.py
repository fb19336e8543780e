from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_plugin_observability.backoff import Backoff, is_retryable, retry_after


@given(attempt=st.integers(-5, 10**6), draw=st.floats(0, 1), jitter=st.floats(0, 1))
def test_pauses_stay_in_their_bounds(attempt, draw, jitter):
    policy = Backoff(first=0.5, longest=8, jitter=jitter)
    pause = policy.delay(attempt, draw=lambda: draw)
    assert 0.5 * (1 - jitter) <= pause <= 8


def test_pauses_grow_and_spread():
    policy = Backoff(jitter=0.0)
    pauses = [policy.delay(attempt) for attempt in range(1, 20)]
    assert all(first <= second for first, second in itertools.pairwise(pauses))
    assert (pauses[0], pauses[-1]) == (policy.first, policy.longest)
    assert len({Backoff(jitter=1.0).delay(5) for _ in range(20)}) > 10


@given(asked=st.floats(0.001, 10**6), draw=st.floats(0, 1))
def test_what_the_server_asks_is_kept_up_to_a_limit(asked, draw):
    pause = Backoff(longest_asked=100).delay(1, asked=asked, draw=lambda: draw)
    assert pause >= min(asked, 100)
    assert pause <= max(105, 15)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), (" 17 ", 17.0), (None, None), ("", None), ("-5", None), ("1e3", None), ("soon", None), ("٣", None),
        ("9" * 100, None), ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0), ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:01 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(text, seconds):
    assert retry_after(text, now=10.0) == seconds


@given(st.text(max_size=80))
def test_no_text_breaks_it(text):
    found = retry_after(text)
    assert found is None or found >= 0


def test_which_answers_may_pass():
    assert [status for status in range(100, 600) if is_retryable(status)] == [408, 425, 429, 500, 502, 503, 504]
