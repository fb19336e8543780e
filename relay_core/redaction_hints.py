"""The cheap test that runs before the search for credentials: could any rule change this JSON or text at all?

It must never say no where a rule of `relay_core.redaction_rules` matches; a yes in vain costs a walk. So it looks for a
hint at every rule: letters that are in all that the rule matches, and at most how long a run of letters follows them.

A search for many words at once stops at every byte that could begin one of them, and stopping is what takes time. Hence
all hints have an *anchor*, a letter that is rare in ordinary text. Text is *folded* first: into lower case, with one byte
for all anchors, so that a search for a single byte stops at nothing else. The hints are folded in the same way. Which
anchor it was is lost, which can only make the answer yes more often.

Payloads are searched as MessagePack too. There a text is as it is, behind one byte or a few with its length.
"""

from __future__ import annotations

import re
from typing import Final

from relay_core.redaction_rules import KEY_OWNERS, OWNERS_OF_TOKENS

__all__ = ["maybe_secret"]

# --- the hints ---------------------------------------------------------------------------------------------------------

_ANCHOR: Final = "\x01"
# Capitals where a credential has them in one case only: "J" is rarer than "j", and "I" than "i".
_ANCHORS: Final = "pkvxzqPKVXZQJIGB"
_FOLDED: Final = bytes(ord(_ANCHOR if chr(byte) in _ANCHORS else chr(byte).lower()) for byte in range(128)) + bytes(
    range(128, 256)
)

# What follows, folded. Each class holds at least what the rules allow there.
_RUN: Final = rf"[0-9a-z_+/=\-{_ANCHOR}]"
_LETTERS: Final = rf"[0-9a-z{_ANCHOR}]"
_HEX: Final = r"[0-9a-f]"
_OPAQUE: Final = rf"[0-9a-z_\-.~+/=:{_ANCHOR}]{{20}}"
_VALUE: Final = rf"(?:\\*\"\s*:\s*\\*\"|[\xb4-\xbf]|\xd9.|\xda..){_OPAQUE}"
"""An opaque text behind its key: in JSON, in JSON within text, or in MessagePack."""

_NAMES: Final = "passw pass_w pass-w pass.w pass~w passphrase passcode pwd authoriza cookie"
"""In any case; ``~`` is a space."""
_TOKENS: Final = {
    "": "Bearer~ BEARER~ Basic~ BASIC~ hooks. hooks/ hookb2/",
    f"{_RUN}{{8}}": "eyJ",
    f"{_RUN}{{10}}": "sk- sk_live_ sk_test_ rk_live_ rk_test_ glpat- xapp- xox",
    f"{_RUN}{{16}}": (
        "shpat_ shpss_ shpca_ shppa_ sbp_ sq0atp- sq0csp- ghp_ gsk_ b_pat_ r_pat_ hvs. lsv2_ lin_api_ npm_ nvapi- nfp_"
        " p_v1_ dapi dp.pt. pypi-A pplx- csk_ pul- xai- xkeysib- AIza ATATT3x ABSK SG. tvly- OCSPX- NRAK- PMAK-"
    ),
    f"{_LETTERS}{{16}}": "AKIA ASIA LTAI",
    f"{_HEX}{{16}}": "SK",
}
"""As they are written, by what follows."""
_BEFORE_UNDERSCORE: Final = "gho ghu ghs ghr glsa hf ntn r8 rubygems whsec sntrys sntryu figd"
"""Those without an anchor, but for an underscore and a run after it."""


def _folded(letter: str, *, any_case: bool) -> str:
    """Spell a letter of a hint as it may be after folding."""
    forms = {letter.lower(), letter.upper()} if any_case else {letter}
    found = sorted({chr(_FOLDED[ord(form)]) for form in forms})
    return re.escape(found[0]) if len(found) == 1 else f"[{''.join(found)}]"


def _hint(word: str, after: str = "", *, any_case: bool = False) -> tuple[str, str]:
    """Split a hint after the first letter that follows its anchor; what is before is looked back for at the end."""
    letters = [_folded(letter, any_case=any_case) for letter in word.replace("~", " ")]
    at = letters.index(_ANCHOR) + 1
    first, rest = letters[at] if at < len(letters) else "", "".join(letters[at + 1 :])
    behind = f"(?<={''.join(letters)})" if at > 1 else ""
    return first, f"{rest}{behind}{f'(?={after})' if after else ''}"


def _owned(noun: str, owners: str, between: str) -> str:
    """Look back for a noun and one of its owners before it."""
    widths: dict[int, list[str]] = {}
    for owner in owners.split("|"):
        widths.setdefault(len(owner), []).append("".join(_folded(letter, any_case=True) for letter in owner))
    groups = ["|".join(words) for words in widths.values()]
    return "|".join(rf"(?<=(?:{group}){gap}{noun})" for group in groups for gap in ("", between))


def _search_of_anchors() -> re.Pattern[bytes]:
    hints = [_hint(word, any_case=True) for word in _NAMES.split()]
    hints += [_hint(word, after) for after, words in _TOKENS.items() for word in words.split()]
    key, token = f"{_ANCHOR}ey", f"to{_ANCHOR}en"
    separator = "[-_. ]"
    hints += [
        ("e", rf"y(?:{_owned(key, KEY_OWNERS, separator)})"),
        (
            "e",
            rf"n(?![a-z])(?<={token})(?:{_owned(token, OWNERS_OF_TOKENS, separator)}|{_VALUE})",
        ),
    ]
    by_first: dict[str, list[str]] = {}
    for first, rest in hints:
        by_first.setdefault(first, []).append(rest)
    anywhere = by_first.pop("")
    before = "".join(sorted({rest.split(_ANCHOR + ")")[0][-1] for rest in anywhere}))
    branches = [f"{first}(?:{'|'.join(rests)})" for first, rests in by_first.items()]
    branches.append(f"(?<=[{before}]{_ANCHOR})(?:{'|'.join(anywhere)})")
    return re.compile(f"{_ANCHOR}(?:{'|'.join(branches)})".encode(), re.DOTALL)


def _search_of_underscores() -> re.Pattern[bytes]:
    words = ["".join(_folded(letter, any_case=False) for letter in word) for word in _BEFORE_UNDERSCORE.split()]
    last, before = ("".join(sorted({word[-at] for word in words})) for at in (1, 2))
    return re.compile(
        f"_(?<=[{before}][{last}]_)(?={_RUN}{{16}})(?:{'|'.join(f'(?<={word}_)' for word in words)})".encode()
    )


# --- the test ----------------------------------------------------------------------------------------------------------

_anchored: Final = _search_of_anchors().search
_underscored: Final = _search_of_underscores().search
_user_in_url: Final = re.compile(rb"://[^\x00-\x20/@\"'<>\\]{0,5200}@").search
_AT: Final = ord("@")


def maybe_secret(raw: bytes | bytearray) -> bool:
    """Tell from JSON, text or MessagePack whether any rule could match.

    Example:
        >>> maybe_secret(b'{"api_key": "x"}'), maybe_secret(b'{"max_tokens": 5}')
        (True, False)
    """
    folded = raw.translate(_FOLDED)
    # Secret and credent(ial) have no anchor, nor an "I", which would be one. The method partition takes half as long as find, and copies nothing where nothing is found.
    return (
        _anchored(folded) is not None
        or _underscored(folded) is not None
        or (folded.partition(b"cre")[1] != b"" and (folded.find(b"secret") >= 0 or folded.find(b"credent") >= 0))
        or (_AT in raw and _user_in_url(raw) is not None)
    )
