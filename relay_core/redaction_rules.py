"""What a credential looks like: names, shapes, and pairs in text.

All expressions are linear: every repetition that can fail is bounded or starts only where a run of its characters
starts. Each rule needs a hint in `relay_core.redaction_hints`, the cheap test that runs before; the tests hold the two
together.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "BARE_TOKEN_KEY",
    "HEADER_NAMES",
    "KEY_OWNERS",
    "OPAQUE",
    "OWNERS_OF_TOKENS",
    "REDACTED",
    "SECRET_KEY",
    "own_name",
    "plain_name",
    "scrub_pairs",
    "scrub_shapes",
]

REDACTED: Final = "[REDACTED]"

# --- names ------------------------------------------------------------------------------------------------------

OWNERS_OF_TOKENS: Final = (
    "access|refresh|id|session|auth|oauth|security|bearer|api|csrf|xsrf|client|service|bot|personal|private|identity|"
    "hf|huggingface|github|gh|gitlab|npm|pypi|slack|discord|telegram|vault|jwt|deploy|webhook|device|user|app|admin|"
    "login|sas|secret"
)
KEY_OWNERS: Final = "api|private|secret|access|signing|encryption|account|shared|storage|master|service|subscription"
_WORDS: Final = r"pass_?words?|passwd|pwd|passphrase|passcode|secrets?|authorization|cookies?|credentials?"

SECRET_KEY: Final = re.compile(
    rf"(?:^|_)(?:{_WORDS}|(?:{KEY_OWNERS})_?keys?|(?:{OWNERS_OF_TOKENS})_?token)$|(?:password|passwd|api_?key|cookie)$"
)
"""Searched in a `plain_name`: text below such a key is hidden."""

BARE_TOKEN_KEY: Final = frozenset({"token"})
"""Names that are often harmless: only `OPAQUE` text below them is hidden."""

OPAQUE: Final = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_\-.~+/=:]{20,4096}")
HEADER_NAMES: Final = frozenset({"authorization", "cookie"})

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATOR: Final = re.compile(r"[-. ]")


def plain_name(key: str) -> str:
    """Spell a name in one way: ``X-Api-Key``, ``xApiKey`` and ``x.api.key`` are all ``x_api_key``."""
    if not key.isascii():
        key = key.encode("ascii", "replace").decode()  # the Kelvin sign is no k
    return _SEPARATOR.sub("_", _CAMEL.sub("_", key)).lower()


def own_name(key: str) -> str:
    """Spell a name in the same way, but for letters beyond ASCII, which stay: ``MotDeClé`` is ``mot_de_clé``."""
    return "".join(map(_lower, _SEPARATOR.sub("_", _CAMEL.sub("_", key))))


def _lower(letter: str) -> str:
    lower = letter.lower()
    return letter if not letter.isascii() and any(map(str.isascii, lower)) else lower


# --- shapes -----------------------------------------------------------------------------------------------------

_RUN: Final = r"[A-Za-z0-9_\-]"
_TAIL: Final = r"[A-Za-z0-9]{16,}(?:_[A-Za-z0-9]{6,80})?"
_TOKENS: Final = {
    "s": (
        rf"k-(?:(?:ant|proj|svcacct|admin|or|lf)-{_RUN}{{8,}}|[A-Za-z0-9]{{20,}}"
        rf"|(?=[A-Za-z_\-]{{0,60}}+[0-9]){_RUN}{{16,}})|k_(?:live|test)_[A-Za-z0-9]{{10,}}|hp(?:at|ss|ca|pa)_{_TAIL}"
        rf"|ecret_[A-Za-z0-9]{{40,}}|bp_[0-9a-f]{{40}}|ntry[su]_[A-Za-z0-9+/=_\-]{{30,}}|q0(?:atp|csp)-{_RUN}{{20,}}"
    ),
    "g": rf"h[pousr]_{_TAIL}|sk_{_TAIL}|ithub_pat_{_RUN}{{16,}}|lpat-{_RUN}{{10,}}|lsa_{_RUN}{{20,}}|lc_eyJ{_RUN}{{20,}}",
    "h": rf"f_{_TAIL}|vs\.{_RUN}{{20,}}",
    "l": rf"sv2_(?:pt|sk)_{_TAIL}|in_api_[A-Za-z0-9]{{30,}}",
    "n": rf"pm_{_TAIL}|vapi-{_RUN}{{20,}}|tn_[A-Za-z0-9]{{30,}}|fp_[A-Za-z0-9]{{30,}}",
    "r": rf"8_{_TAIL}|k_(?:live|test)_[A-Za-z0-9]{{10,}}|ubygems_[0-9a-f]{{40,}}",
    "d": rf"op_v1_{_TAIL}|ckr_pat_{_RUN}{{16,}}|api[0-9a-f]{{32}}(?![A-Za-z0-9])|p\.pt\.[A-Za-z0-9]{{30,}}",
    "w": rf"hsec_{_TAIL}",
    "p": rf"ypi-A{_RUN}{{20,}}|plx-[A-Za-z0-9]{{20,}}|csk_{_RUN}{{30,}}|ul-[0-9a-f]{{40}}",
    "x": rf"(?:app|ox[abceoprs])-{_RUN}{{10,}}|ai-[A-Za-z0-9]{{20,}}|keysib-[0-9a-f]{{32,}}",
    "A": (
        rf"Iza{_RUN}{{30,}}|(?:KIA|SIA)[A-Z0-9]{{16}}(?![A-Za-z0-9])"
        rf"|TATT3x{_RUN}{{30,}}|BSK[A-Za-z0-9+/]{{40,}}={{0,2}}|GE-SECRET-KEY-1[A-Z0-9]{{40,}}"
    ),
    "S": rf"G\.{_RUN}{{16,80}}\.{_RUN}{{16,80}}|K[0-9a-f]{{32}}(?![A-Za-z0-9])",
    "t": rf"vly-{_RUN}{{16,}}|gp_v1_{_RUN}{{16,}}",
    "f": rf"igd_{_RUN}{{30,}}",
    "b": rf"edrock-api-key-{_RUN}{{20,}}",
    "G": rf"OCSPX-{_RUN}{{20,}}",
    "L": r"TAI[A-Za-z0-9]{16,26}(?![A-Za-z0-9])",
    "N": r"RAK-[A-Z0-9]{20,}",
    "P": r"MAK-[0-9a-f]{24}-[0-9a-f]{30,}",
    "e": rf"(?<![_\-]e)yJ{_RUN}{{8,}}+\.{_RUN}{{8,}}+\.{_RUN}*",
}
"""By its first letter, the rest of a credential that starts at the start of a word."""
_PRIVATE_KEY: Final = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[\s\\rn]{0,9}(?:Proc-Type|DEK-Info|Version|Comment):[^\n\\]{0,99}){0,4}"
    r"[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:eyJ[A-Za-z0-9_\-.]*)?)?"
)
# Each alternative starts with a literal letter: then the search skips what is none of those letters.
_SHAPES: Final = re.compile(
    "|".join([*(rf"{letter}(?<![A-Za-z0-9]{letter})(?:{rest})" for letter, rest in _TOKENS.items()), _PRIVATE_KEY])
)
_CHARACTERS: Final = r"[A-Za-z0-9._~+/=\-]"
_SCHEMES: Final = re.compile(
    rf"(B(?<![A-Za-z0-9]B)(?:earer|EARER|asic|ASIC))( {{1,4}})"
    rf"(?:(?={_CHARACTERS}{{0,80}}[0-9=_]){_CHARACTERS}{{8,}}|{_CHARACTERS}{{24,}})"
)
_USERINFO: Final = re.compile(r"(://[^\x00-\x20/@:\"'<>\\]{0,256}:)[^\x00-\x20/@\"'<>\\]{1,1024}(?=@)")
_WEBHOOKS: Final = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/|webhook\.office\.com/webhookb2/)[A-Za-z0-9/_@\-]{8,}"
)


_MATCHES: Final = 24
_APART: Final = 64  # characters


def scrub_shapes(text: str) -> str:
    """Hide what looks like a credential by itself."""
    text = _SHAPES.sub(REDACTED, text)
    if text.find("earer ") >= 0 or text.find("asic ") >= 0 or text.find("EARER ") >= 0 or text.find("ASIC ") >= 0:
        text = _hide(_SCHEMES, rf"\1\2{REDACTED}", text)
    if text.find("@") >= 0 and text.find("://") >= 0:
        text = _hide(_USERINFO, rf"\1{REDACTED}", text)
    if text.find("hooks.slack.com/") >= 0 or text.find("discord") >= 0 or text.find("webhookb2/") >= 0:
        text = _hide(_WEBHOOKS, rf"\1{REDACTED}", text)
    return text


def _hide(expression: re.Pattern[str], how: Callable[[re.Match[str]], str] | str, text: str) -> str:
    """Replace what an expression finds; where it finds something every few characters, hide the whole rest.

    That bounds the time: looking at one match takes as long as a search through hundreds of characters.
    """
    most = _MATCHES + len(text) // _APART
    clean, made = expression.subn(how, text, most)
    if made < most:
        return clean
    end = next(islice(expression.finditer(text), made - 1, None)).end()
    if expression.search(text, end) is None:
        return clean
    return clean[: len(clean) - (len(text) - end)] + REDACTED


# --- pairs in text ----------------------------------------------------------------------------------------------


def _after_owner(noun: str, owners: str, separator: str) -> str:
    """Match a noun only behind one of its owners; looking back from few nouns is faster than trying many owners."""
    widths: dict[int, list[str]] = {}
    for owner in owners.split("|"):
        widths.setdefault(len(owner), []).append(owner)
    groups = ["|".join(words) for words in widths.values()]
    behind = [rf"(?<=(?:{group}){between}{noun})" for group in groups for between in ("", separator)]
    return f"{noun}(?:{'|'.join(behind)})"


def _any_case(words: Iterable[tuple[str, str]]) -> str:
    """Spell words so that each alternative starts with a literal letter, see `_SHAPES`."""
    return "|".join(f"{letter}(?i:{rest})" for first, rest in words for letter in (first, first.upper()))


_NOUNS: Final = (
    ("p", "ass(?:words?|wd|phrase|code)|wd"),
    ("s", "ecret"),
    ("k", _after_owner("key", KEY_OWNERS, "[_. -]")[1:]),
    ("t", _after_owner("token", OWNERS_OF_TOKENS, "[_.-]")[1:]),
)
_PAIRS: Final = re.compile(
    rf"(?a)({_any_case(_NOUNS)})"
    r"(\\{0,3}[\"']?\s{0,3}(?:=>|[:=])\s{0,3})(\\{0,3}[\"'])?"
    r"([^\s\"'\\,;&<>(){}\[\]]{3,})([(\[{]?)"
)
_LINES: Final = re.compile(
    rf"(?a)({_any_case((('a', 'uthorization'), ('c', 'ookie')))})"
    r"(\\{0,3}[\"']?\s{0,3}[:=]\s{0,3}\\{0,3}[\"']?)([^\r\n\"'\\]{3,})"
)
_ORDINARY: Final = re.compile(
    r"(?i)(?:string|str|text|required|optional|true|false|null|none|nil|undefined|redacted|password|secret|token|value|"
    r"hidden|the|your|is|are|and|not|must|should|invalid|missing|incorrect|wrong|changed|reset|yes|no|any)[.!?:]{0,3}"
)
_ORDINARY_CHARS: Final = 12
_IDENTIFIERS: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*[.!?:]?")


_CREDENTIALS: Final = re.compile(r"(?i)(?:bearer|basic|token|digest|apikey|negotiate)\b|[^\s]{8,}$|[^0-9]*[0-9]")


def _hide_line(match: re.Match[str]) -> str:
    name, gap, value = match.groups()
    likely = "=" in value if name.lower().endswith("cookie") else _CREDENTIALS.match(value) is not None
    if not likely or value == REDACTED or _ORDINARY.fullmatch(value):
        return match.group()
    return f"{name}{gap}{REDACTED}"


def _hide_pair(match: re.Match[str]) -> str:
    name, gap, quote, value, after = match.groups()
    if REDACTED[1:-1] in value or _benign(name, gap, quote, value, after):
        return match.group()
    return f"{name}{gap}{quote or ''}{REDACTED}{after}"


def _benign(name: str, gap: str, quote: str | None, value: str, after: str) -> bool:
    """Tell prose, code and schemas from a credential."""
    if len(value) <= _ORDINARY_CHARS and _ORDINARY.fullmatch(value):
        return True
    if quote:
        return False
    if after or value[0] in "$%*":
        return True  # a call, an index, a placeholder
    identifier = len(value) <= 64 and _IDENTIFIERS.fullmatch(value) is not None
    if not identifier:
        return False
    spelled = value.lower()
    if "." in spelled.rstrip(".") or name.lower() in spelled:
        return True  # settings.api_key, api_key=my_api_key
    return (":" in gap or " " in gap) and (value.isalpha() or not any(letter.isdigit() for letter in value))


def scrub_pairs(text: str) -> str:
    """Hide the value in ``api_key=...``, ``"password": "..."`` and in header lines."""
    lower = text.lower()
    if lower.find("authorization") >= 0 or lower.find("cookie") >= 0:
        text = _hide(_LINES, _hide_line, text)
    return _hide(_PAIRS, _hide_pair, text)
