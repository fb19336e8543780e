"""No rule without its hint: what the cheap test lets pass is what no rule would change."""

import json
import re
from itertools import product

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_core import redaction_rules as rules
from relay_core.redaction import Redactor
from relay_core.redaction_hints import maybe_secret

WORDS = "password pass_word passwd pwd passphrase passcode secret authorization cookie credential".split()
NOUNS = [("key", rules.KEY_OWNERS.split("|")), ("token", rules.OWNERS_OF_TOKENS.split("|"))]
NAMES = WORDS + [f"{owner}_{noun}" for noun, owners in NOUNS for owner in owners]
SPELLINGS = [str.lower, str.upper, str.title, str.capitalize, str.swapcase]
RULES = {letter: f"{letter}(?:{rest})" for letter, rest in rules._TOKENS.items()} | {
    name: getattr(rules, name).pattern for name in ("_SCHEMES", "_USERINFO", "_WEBHOOKS", "_PAIRS", "_LINES")
}


def written(tree):
    """The JSON that observers get, JSON with spaces, and MessagePack."""
    made = [json.dumps(tree, ensure_ascii=False, separators=separators).encode() for separators in [(",", ":"), None]]
    return [*made, msgspec.msgpack.encode(tree)]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_has_a_hint_however_it_is_spelled(name):
    redactor = Redactor()
    hidden = 0
    for spell, between, before, after in product(SPELLINGS, ["_", "-", ".", " ", ""], ["", "é_"], ["", "s"]):
        key = before + spell(name).replace("_", between) + after
        for tree in ({key: "x"}, [key, "x"], {"name": key, "value": "x"}, [f"--{key}", "x"], f"{key}=abc123x"):
            if redactor.scrub_tree(tree) != tree:
                hidden += 1
                assert all(map(maybe_secret, written(tree))), tree
    assert hidden > 30


@pytest.mark.parametrize(
    "name", ["pass_word", "pass word", "pass-word", "access token", "id token", "Gh Token", "CREDENTIALS"]
)
def test_a_name_of_two_words_is_hidden_in_an_event(name):
    assert Redactor().suspicious(b'{"%b":"x"}' % name.encode())


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_a_rule_matches_has_a_hint(name, data):
    pattern = RULES[name].replace("}+", "}").replace("(?=@)", "@")  # what the strategy cannot make text of
    text = data.draw(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True))
    for form in (text, f" {text} ", f"\n{text}\n", f'"{text}"', json.dumps([text])):
        if rules.scrub_pairs(rules.scrub_shapes(form)) != form:
            assert maybe_secret(form.encode())
            assert all(map(maybe_secret, written([form]) + written({form: 1})))


@pytest.mark.parametrize("size", [20, 31, 32, 255, 256, 4096])
def test_a_text_under_the_name_token_has_a_hint_whatever_its_length(size):
    tree = [{"token": ("a1" * size)[:size]}, {"Token": {"n": 1}}]
    assert Redactor().scrub_tree(tree) != tree
    assert all(map(maybe_secret, written(tree)))


@pytest.mark.parametrize("number", [0, 32, 97, 115, 122, -9])
@pytest.mark.parametrize("name", ["access_token", "hf.Token", "api_key", "password"])
def test_a_name_has_a_hint_whatever_number_comes_after_it(name, number):
    tree = [{"value": "hunter2", "name": name}, number]
    assert Redactor().scrub_tree(tree) != tree
    assert all(map(maybe_secret, written(tree)))


def test_tokens_and_keys_of_no_owner_are_harmless():
    text = (
        b'{"max_tokens":5,"prompt_tokens":1,"token":"Hello","keyboard":"monkey","task-force":"desk-top, risk-averse"}'
    )
    assert not maybe_secret(text)
    assert not any(map(maybe_secret, written([{"value": 1, "token_value": 2, "usage": {"prompt_tokens": 3}}])))
    assert not maybe_secret(b"Basically, I think that SG. is good. Slovakia is in Asia. " * 20)
