"""The cheap test that runs before the search for credentials: could any rule change this JSON or text at all?

It must never say no where a rule of `relay_core.redaction_rules` matches; a yes in vain costs a walk. So it looks for a
hint at every rule: letters that are in all that the rule matches, and at most how long a run of letters follows them.

A search for many words at once stops at every byte that could begin one of them, and stopping is what takes time. Hence
most hints have an *anchor*, a letter that is rare in ordinary text, and one of few letters after it, its *second*: nearly
all stops end there. Text is *folded* first: into lower case, with one byte for all anchors, so that a search for a single
byte stops at nothing else. The hints are folded in the same way. Which anchor it was is lost, which can only make the
answer yes more often. Some capitals are folded to one byte of their own: many payloads have none, and hints with these
capitals need no search then.

Payloads are searched as MessagePack too. There a text is as it is, behind one byte or a few with its length. What is no
text may begin with any byte: after a name, a number can look like one more letter.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from relay_core.redaction_rules import KEY_OWNERS, OWNERS_OF_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["maybe_secret"]

# --- the hints ---------------------------------------------------------------------------------------------------------

# Bytes that are in no text, and seldom in MessagePack.
_ANCHOR: Final = "\xc1"
_ANCHORS: Final = "pkvxzPKZ"
_SECONDS: Final = "-.2_abcgilmosuw"
_CAPITAL: Final = "\xf9"
_CAPITALS: Final = "ABGJX"


def _fold(letter: str) -> str:
    return _ANCHOR if letter in _ANCHORS else _CAPITAL if letter in _CAPITALS else letter.lower()


_FOLDED: Final = "".join(map(_fold, map(chr, range(128)))).encode("latin-1") + bytes(range(128, 256))

# What follows, folded. Each class holds at least what the rules allow there.
_RUN: Final = rf"[0-9a-z_+/=\-{_ANCHOR}{_CAPITAL}]"
_LETTERS: Final = rf"[0-9a-z{_ANCHOR}{_CAPITAL}]"
_OPAQUE: Final = rf"[0-9a-z_\-.~+/=:{_ANCHOR}{_CAPITAL}]{{20}}"
_VALUE: Final = rf"(?:\\*\"\s*:\s*\\*\"|[\xb4-\xbf]|\xd9.|\xda..){_OPAQUE}"
"""An opaque text behind its key: in JSON, in JSON within text, or in MessagePack."""

_NAMES: Final = "passw pass_w pass-w pass.w pass~w passphrase passcode pwd authorizat cookie"
"""In any case; ``~`` is a space."""
_TOKENS: Final = {
    "": "hooks. hooks/ hookb2/",
    f"{_RUN}{{10}}": "sk- sk_live_ sk_test_ rk_live_ rk_test_ glpat- xapp- xox",
    f"{_RUN}{{16}}": (
        "shpat_ shpss_ shpca_ shppa_ sbp_ sq0atp- sq0csp- ghp_ gsk_ b_pat_ r_pat_ hvs. lsv2_ lin_api_ npm_ nvapi- nfp_"
        " p_v1_ dapi dp.pt. pypi-A pplx- csk_ pul- xai- tvly-"
    ),
}
"""As they are written, by what follows."""
_WITH_CAPITALS: Final = {
    "": "Bearer~ BEARER~ Basic~ BASIC~",
    f"{_RUN}{{8}}": "eyJ",
    f"{_RUN}{{16}}": "AIza ATATT3x ABSK SG. OCSPX- NRAK- PMAK-",
    f"{_LETTERS}{{16}}": "AKIA ASIA LTAI",
}
_BEFORE_UNDERSCORE: Final = "gho ghu ghs ghr glsa hf ntn r8 rubygems whsec sntrys sntryu figd"
"""Those without an anchor, but for an underscore and a run after it."""


def _folded(letter: str, *, any_case: bool = False) -> str:
    """Spell a letter of a hint as it may be after folding."""
    forms = {letter.lower(), letter.upper()} if any_case else {letter}
    found = sorted(set(map(_fold, forms)))
    return re.escape(found[0]) if len(found) == 1 else f"[{''.join(found)}]"


def _spelled(hints: dict[str, str], *, any_case: bool = False) -> Iterator[tuple[list[str], str]]:
    """Give each hint's letters, and what follows them."""
    for after, words in hints.items():
        for word in words.split():
            letters = [_folded(letter, any_case=any_case) for letter in word.replace("~", " ")]
            yield letters, f"(?={after})" if after else ""


def _rest(letters: list[str], cut: int, after: str) -> str:
    """Spell what follows a cut of a hint; what is before is looked back for at the end."""
    return f"{''.join(letters[cut:])}(?<={''.join(letters)}){after}"


def _owned(noun: str, owners: str) -> str:
    """Look back for a noun and one of its owners before it."""
    widths: dict[int, list[str]] = {}
    for owner in owners.split("|"):
        widths.setdefault(len(owner), []).append("".join(_folded(letter, any_case=True) for letter in owner))
    groups = ["|".join(words) for words in widths.values()]
    return "|".join(rf"(?<=(?:{group}){gap}{noun})" for group in groups for gap in ("", "[-_. ]"))


def _search_of_anchors(*, is_strict: bool) -> re.Pattern[bytes]:
    """Make the main search.

    Args:
        is_strict: whatever comes after an owned token, it is one. In MessagePack, a letter after that name may be a number,
            but only where a value stood before. Without `is_strict` such a value is a hint.
    """
    by_third: dict[str, list[str]] = {} if is_strict else {"l": [rf"ue(?<=\xa5{_ANCHOR}alue)"]}
    at_end: list[str] = []
    before: set[str] = set()
    for letters, after in [*_spelled({"": _NAMES}, any_case=True), *_spelled(_TOKENS)]:
        at = next(at for at, pair in enumerate(pairwise(letters)) if pair[0] == _ANCHOR and _is_second(pair[1]))
        if at + 2 < len(letters):
            by_third.setdefault(letters[at + 2], []).append(_rest(letters, at + 3, after))
        else:
            before.add(letters[at - 1])
            at_end.append(_rest(letters, at + 2, after))
    branches = [f"{third}(?:{'|'.join(rests)})" for third, rests in by_third.items()]
    branches.append(f"(?<=[{''.join(before)}]{_ANCHOR}.)(?:{'|'.join(at_end)})")
    seconds = f"[{re.escape(_SECONDS)}{_CAPITAL}](?:{'|'.join(branches)})"
    key, token = f"{_ANCHOR}ey", f"to{_ANCHOR}en"
    keys = f"y(?:{_owned(key, KEY_OWNERS)}|sib-(?={_RUN}{{16}}))"
    tokens = f"n{'' if is_strict else '(?![a-z])'}(?<={token})(?:{_owned(token, OWNERS_OF_TOKENS)}|{_VALUE})"
    return re.compile(f"{_ANCHOR}(?:e(?:{keys}|{tokens})|{seconds})".encode("latin-1"), re.DOTALL)


def _is_second(spelled: str) -> bool:
    return set(spelled.strip("[\\]")) <= {*_SECONDS, _CAPITAL}


def _search_of_capitals() -> re.Pattern[bytes]:
    rests = (_rest(letters, letters.index(_CAPITAL) + 1, after) for letters, after in _spelled(_WITH_CAPITALS))
    return re.compile(f"{_CAPITAL}(?:{'|'.join(rests)})".encode("latin-1"))


def _search_of_underscores() -> re.Pattern[bytes]:
    words = ["".join(map(_folded, word)) for word in _BEFORE_UNDERSCORE.split()]
    last, before = ("".join(sorted({word[-at] for word in words})) for at in (1, 2))
    behind = "|".join(f"(?<={word}_)" for word in words)
    return re.compile(f"_(?<=[{before}][{last}]_)(?={_RUN}{{16}})(?:{behind})".encode("latin-1"))


# --- the test ----------------------------------------------------------------------------------------------------------

_anchored: Final = _search_of_anchors(is_strict=False).search
_strictly: Final = _search_of_anchors(is_strict=True).search
_capital: Final = _search_of_capitals().search
_underscored: Final = _search_of_underscores().search
_hex_key: Final = re.compile(rb"SK[0-9a-f]{16}").search
_user_in_url: Final = re.compile(rb"://[^\x00-\x20/@\"'<>\\]{0,5200}@").search
_ANY_CAPITAL: Final = ord(_CAPITAL)
_AT, _K = b"@K"


def maybe_secret(raw: bytes | bytearray) -> bool:
    """Tell from JSON, text or MessagePack whether any rule could match.

    Example:
        >>> maybe_secret(b'{"api_key": "x"}'), maybe_secret(b'{"max_tokens": 5}')
        (True, False)
    """
    folded = raw.translate(_FOLDED)
    # Secret and credent(ial) have no anchor. The method partition takes half as long as find, and copies nothing where
    # nothing is found.
    return (
        (_anchored(folded) is not None and _strictly(folded) is not None)
        or _underscored(folded) is not None
        or (folded.partition(b"cre")[1] != b"" and (folded.find(b"secret") >= 0 or folded.find(b"credent") >= 0))
        or (_ANY_CAPITAL in folded and _capital(folded) is not None)
        or (_K in raw and _hex_key(raw) is not None)
        or (_AT in raw and raw.find(b"://") >= 0 and _user_in_url(raw) is not None)
    )
