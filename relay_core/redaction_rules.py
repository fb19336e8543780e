"""What a credential looks like: names, shapes, pairs in text, and the cheap test that runs before them.

All expressions are linear: every repetition that can fail is bounded or starts only where a run of its characters
starts. `maybe_secret` must be true for every text that `scrub_shapes`, `scrub_pairs` or a `SECRET_KEY` would change; the
tests hold the two together.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "BARE_TOKEN_KEY",
    "HEADER_NAMES",
    "OPAQUE",
    "REDACTED",
    "SECRET_KEY",
    "maybe_secret",
    "plain_name",
    "scrub_pairs",
    "scrub_shapes",
]

REDACTED: Final = "[REDACTED]"

# --- names ------------------------------------------------------------------------------------------------------

_OWNERS_OF_TOKENS: Final = (
    "access|refresh|id|session|auth|oauth|security|bearer|api|csrf|xsrf|client|service|bot|personal|private|identity|"
    "hf|huggingface|github|gh|gitlab|npm|pypi|slack|discord|telegram|vault|jwt|deploy|webhook|device|user|app|admin|"
    "login|sas|secret"
)
_KEY_OWNERS: Final = "api|private|secret|access|signing|encryption|account|shared|storage|master|service|subscription"
_WORDS: Final = r"pass_?words?|passwd|pwd|passphrase|passcode|secrets?|authorization|cookies?|credentials?"

SECRET_KEY: Final = re.compile(
    rf"(?:^|_)(?:{_WORDS}|(?:{_KEY_OWNERS})_?keys?|(?:{_OWNERS_OF_TOKENS})_?token)$|(?:password|passwd|api_?key|cookie)$"
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


# --- shapes -----------------------------------------------------------------------------------------------------

_SHAPES: Final = re.compile(
    r"(?=[sghlnrdwpxASe\-])(?:(?<![A-Za-z0-9])(?:"
    r"sk-(?:(?:ant|proj|svcacct|admin|or|lf)-[A-Za-z0-9_\-]{8,}|[A-Za-z0-9]{20,}|(?=[A-Za-z_\-]{0,60}[0-9])[A-Za-z0-9_\-]{16,})"
    r"|(?:gh[pousr]|hf|gsk|npm|r8|lsv2_(?:pt|sk)|dop_v1|shp(?:at|ss|ca|pa)|whsec)_[A-Za-z0-9]{16,}(?:_[A-Za-z0-9]{6,80})?"
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{10,}"
    r"|(?:github|dckr)_pat_[A-Za-z0-9_\-]{16,}"
    r"|(?:glpat|xapp|xox[abceoprs])-[A-Za-z0-9_\-]{10,}|nvapi-[A-Za-z0-9_\-]{20,}|pypi-A[A-Za-z0-9_\-]{20,}"
    r"|(?:xai|pplx)-[A-Za-z0-9]{20,}"
    r"|AIza[A-Za-z0-9_\-]{30,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|SG\.[A-Za-z0-9_\-]{16,80}\.[A-Za-z0-9_\-]{16,80}"
    r"|SK[0-9a-f]{32}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"
    r")"
    r"|-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[\s\\rn]{0,9}(?:Proc-Type|DEK-Info|Version|Comment):[^\n\\]{0,99}){0,4}"
    r"[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?)"
)
_CHARACTERS: Final = r"[A-Za-z0-9._~+/=\-]"
_SCHEMES: Final = re.compile(
    rf"(?=B)(?<![A-Za-z0-9])(Bearer|BEARER|Basic|BASIC)( {{1,4}})(?:(?={_CHARACTERS}{{0,80}}[0-9=_]){_CHARACTERS}{{8,}}|{_CHARACTERS}{{24,}})"
)
_USERINFO: Final = re.compile(r"(://[^\x00-\x20/@:\"'<>\\]{0,256}:)[^\x00-\x20/@\"'<>\\]{1,1024}(?=@)")
_WEBHOOKS: Final = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/)[A-Za-z0-9/_\-]{8,}"
)


def scrub_shapes(text: str) -> str:
    """Hide what looks like a credential by itself."""
    text = _SHAPES.sub(REDACTED, text)
    text = _SCHEMES.sub(rf"\1\2{REDACTED}", text)
    text = _USERINFO.sub(rf"\1{REDACTED}", text)
    return _WEBHOOKS.sub(rf"\1{REDACTED}", text)


# --- pairs in text ----------------------------------------------------------------------------------------------


def _after_owner(noun: str, owners: str, separator: str) -> str:
    """Match a noun only behind one of its owners; looking back from few nouns is faster than trying many owners."""
    widths: dict[int, list[str]] = {}
    for owner in owners.split("|"):
        widths.setdefault(len(owner), []).append(owner)
    groups = ["|".join(words) for words in widths.values()]
    behind = [rf"(?<=(?:{group}){between}{noun})" for group in groups for between in ("", separator)]
    return f"{noun}(?:{'|'.join(behind)})"


_PAIRS: Final = re.compile(
    r"(?ia)(?P<name>pass(?:words?|wd|phrase|code)|pwd|secret"
    rf"|{_after_owner('key', _KEY_OWNERS, '[_. -]')}|{_after_owner('token', _OWNERS_OF_TOKENS, '[_.-]')})"
    r"(?P<gap>\\{0,3}[\"']?\s{0,3}(?:=>|[:=])\s{0,3})(?P<quote>\\{0,3}[\"'])?"
    r"(?P<value>[^\s\"'\\,;&<>(){}\[\]]{3,})(?P<after>[(\[{]?)"
)
_LINES: Final = re.compile(
    r"(?ia)(?P<name>authorization|cookie)(?P<gap>\\{0,3}[\"']?\s{0,3}[:=]\s{0,3}\\{0,3}[\"']?)(?P<value>[^\r\n\"'\\]{3,})"
)
_ORDINARY: Final = re.compile(
    r"(?i)(?:string|str|text|required|optional|true|false|null|none|nil|undefined|redacted|password|secret|token|value|"
    r"hidden|the|your|is|are|and|not|must|should|invalid|missing|incorrect|wrong|changed|reset|yes|no|any)[.!?:]{0,3}"
)
_IDENTIFIERS: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*[.!?:]?")


_CREDENTIALS: Final = re.compile(r"(?i)(?:bearer|basic|token|digest|apikey|negotiate)\b|[^\s]{8,}$|[^0-9]*[0-9]")


def _hide_line(match: re.Match[str]) -> str:
    name, gap, value = match.group("name", "gap", "value")
    likely = "=" in value if name.lower().endswith("cookie") else _CREDENTIALS.match(value) is not None
    if not likely or value == REDACTED or _ORDINARY.fullmatch(value):
        return match.group()
    return f"{name}{gap}{REDACTED}"


def _hide_pair(match: re.Match[str]) -> str:
    name, gap, quote, value, after = match.group("name", "gap", "quote", "value", "after")
    if REDACTED[1:-1] in value or _benign(name, gap, quote, value, after):
        return match.group()
    return f"{name}{gap}{quote or ''}{REDACTED}{after}"


def _benign(name: str, gap: str, quote: str | None, value: str, after: str) -> bool:
    """Tell prose, code and schemas from a credential."""
    if _ORDINARY.fullmatch(value):
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
    return (":" in gap or " " in gap) and not any(letter.isdigit() for letter in value)


def scrub_pairs(text: str) -> str:
    """Hide the value in ``api_key=...``, ``"password": "..."`` and in header lines."""
    text = _LINES.sub(_hide_line, text)
    return _PAIRS.sub(_hide_pair, text)


# --- the cheap test ---------------------------------------------------------------------------------------------
# One pass per rare letter: an expression that starts with a single literal byte is searched with memchr, and looks
# around only at the hits. On lower-cased bytes, so that names match in any case.


def _tails(owners: str, width: int) -> str:
    return "|".join(sorted({re.escape(word[-width:]) for word in owners.split("|") if len(word) >= width}))


_KEY_TAILS: Final = _tails(_KEY_OWNERS, 3).encode()
_TOKEN_TAILS: Final = _tails(_OWNERS_OF_TOKENS, 2).encode()
_ON_K: Final = re.compile(
    rb"k(?=e[yn]|ie|s[./]|-[a-z0-9_-]|_)(?:"
    rb"(?=ey)(?:(?<=[-_. ]k)(?<=(?:%(key)s).k)|(?<=(?:%(key)s)k))"
    rb"|(?=en(?![a-z]))(?:(?<=(?:%(token)s)tok)|(?<=(?:%(token)s)[-_.]tok))"
    rb"|(?=en\\*\"\s*:\s*\\*\"[^\"\s]{20})|(?=ie)(?<=cook)|(?=s)(?<=hook)"
    rb"|(?=-)(?<=sk)|(?=_[lt])(?<=[rs]k)(?=_live_|_test_)|(?=_)(?:(?<=gsk)|(?<=lsv2_sk)))"
    % {b"key": _KEY_TAILS, b"token": _TOKEN_TAILS}
)
_ON_P: Final = re.compile(
    rb"p(?:ass(?:w|phrase|code)|wd|i-(?<=(?:va|py)pi-)|plx-|at[-_](?<=(?:gl|b_|r_|sh)pat[-_])"
    rb"|_(?<=ghp_)|p-(?<=xapp-)|m_(?<=npm_)|_v1_(?<=dop_v1_))"
)
_ON_CRE: Final = re.compile(rb"cre(?:t(?<=secret)|dential)")
_ON_UNDERSCORE: Final = re.compile(
    rb"_(?=[a-z0-9_-])(?:(?<=gh[ousr]_)|(?<=(?:hf|r8)_)|(?<=whsec_)|(?<=lsv2_)(?=pt_)|(?<=shp(?:ss|ca|pa)_))"
)
_RARE: Final = (
    re.compile(rb"J(?<=eyJ)"),
    re.compile(rb"I(?:(?<=AI)(?=za)|(?<=A[KS]I)(?=A))"),
    re.compile(rb"G(?<=SG)(?=\.)"),
    re.compile(rb"K(?<=SK)(?=[0-9a-f]{8})"),
    re.compile(rb"B(?:(?=earer |EARER |asic |ASIC )|(?<=-----B)(?=EGIN ))"),
)
_URL_WITH_AT: Final = re.compile(rb"://[^\x00-\x20/@\"'<>\\]{0,5200}@")
_FEW: Final = 64


def maybe_secret(raw: bytes, lower: bytes) -> bool:
    """Tell from JSON or text bytes, and the same lower-cased, whether any rule could match."""
    # The method find is much faster than the operator in, which first tries to read its operand as a number.
    return bool(
        _ON_CRE.search(lower)
        or _ON_P.search(lower)
        or _ON_K.search(lower)
        or (lower.find(b"_") >= 0 and _ON_UNDERSCORE.search(lower))
        or (raw.find(b"@") >= 0 and _URL_WITH_AT.search(raw))
        or (lower.find(b"z") >= 0 and lower.find(b"authoriz") >= 0)
        or (lower.find(b"x") >= 0 and (lower.find(b"xox") >= 0 or lower.find(b"xai-") >= 0))
        or _any_rare(raw)
    )


def _any_rare(raw: bytes) -> bool:
    """Search shapes with a capital letter: few hits are checked one by one, many with one search."""
    for expression in _RARE:
        letter = expression.pattern[:1]
        at = raw.find(letter)
        if at < 0:
            continue
        if raw.count(letter) > _FEW:
            if expression.search(raw):
                return True
            continue
        while at >= 0:
            if expression.match(raw, at):
                return True
            at = raw.find(letter, at + 1)
    return False
