"""Secrets inside a text, and the text without them; knows names and forms, and no file.

Chance alone is no sign: a digest, a commit, an image in base64 and a run's id look drawn at random too. A
value counts by its form, by the name before it, or by where it stands in an address or a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from runkit.secrets.forms import FORMS, UNANCHORED
from runkit.secrets.names import Verdict, grants_access, has_owner, verdict_on

DROPPED = "[dropped]"
"""Stands where a secret was left out."""


class Secret(NamedTuple):
    """What looks like a secret in a text."""

    start: int
    end: int
    kind: str
    """In our words; never a part of the secret."""


_USERINFO = re.compile(r"://[^/\s:@\"'<>]*:(?P<value>[^/\s\"'<>,]+)(?=@)")
_USER = re.compile(r"://(?P<value>[^/\s:@\"'<>]{16,})@")
_PARAMETER = re.compile(r"[?&;](?P<name>[A-Za-z][\w.-]{0,60})=(?P<value>[^&\s\"'`#<>\\]+)")
_HEADER = re.compile(
    r"\b(?P<name>(?:proxy-)?authorization|(?:set-)?cookie)(?:\\*[\"'])?[ \t]*[:=,][ "
    r"\t]*(?:[fbru]?\\*[\"'])?[ \t]*"
    r"(?:(?:bearer|basic|token|digest|apikey|negotiate|aws4-hmac-sha256)[ \t]+)?(?P<value>[^\"'`\\\r\n]+)",
    re.IGNORECASE,
)
_SCHEMES = frozenset({"bearer", "basic", "token", "digest", "apikey", "negotiate", "aws4-hmac-sha256"})
_BEARER = re.compile(r"\bbearer[ \t]+(?P<value>[A-Za-z0-9._~+/=-]{16,})", re.IGNORECASE)
_LOGIN = re.compile(r"\b(?:machine|default|login)\b[^\r\n]{0,200}?\bpassword[ \t]+(?P<value>\S+)")
_LOGIN_KEY = re.compile(r"\blogin[ \t]+(?:--relogin[ \t]+)?(?P<value>[0-9a-f]{40})\b")
_CURL = re.compile(
    r"\b(?:curl|wget|http)\b[^\r\n]{0,400}?[ \t](?:-u|--user)[ =]?[^\s:]+:(?P<value>[^\s\"']+)"
)
_OPTION = re.compile(
    r"(?<![\w-])--?(?P<name>[A-Za-z][\w-]{0,60})[ \t]+(?P<q>\\*[\"'])?(?P<value>[^\s\"'`\\]+)"
)
_NAME = re.compile(
    r"(?<![\w.])(?P<name>[A-Za-z_][\w.-]{0,80}+)(?P<close>\\*[\"'`]\]?)?"
    r"(?::[ \t]*\w[\w.\[\]| ]{0,40}?[ \t]*(?==[ \t]*[fbru]?[\"']))?[ \t]*"
    r"(?P<sep>=>|:=|=(?!=)|:|,(?=[ \t]*\\*[\"']))[ \t]*"
)
_QUOTED = re.compile(r"[fbru]{0,2}(?P<q>\\*[\"'`])(?P<value>(?:(?!(?P=q)).)*)(?P=q)?")
_BARE = re.compile(r"[^\s,;&\"'`)\]}<>\\]+")
_PLACEHOLDER = re.compile(
    r"(?i:none|null|nil|undefined|true|false|yes|no|on|off|empty|todo|redacted|dropped|hidden|secret|password|token"
    r"|changeme|your[_-].*|my[_-](?:token|secret|password|key)|str|int|bool|bytes|string|optional.*|any|secretstr)"
    r"|[x*.•_-]+|<.*|\[.*|\$.*|%[\w(].*|[{(].*|.*\$?\{[^}]*\}.*|.*\[dropped\].*|.*\.\.\.|[A-Z][A-Z_]*",
    re.DOTALL,
)
"""What stands in a program where a secret will be put, or a type."""
_NOTHING = re.compile(r"(?i:none|null|nil|true|false)?|<[^<>]*>|\[\]|\{\}|\[dropped\]")
"""Values of a setting that hold no secret, whatever its name."""
_NUMBER = re.compile(r"[+-]?[0-9][0-9_.]*(?:[eE][+-]?[0-9]+)?")
_DIGEST_SIZES = frozenset({32, 40, 56, 64, 96, 128})
_SHORTEST = 4


def secrets_in(text: str, *, is_code: bool = False) -> tuple[Secret, ...]:
    """Return what looks like a secret in *text*, in order, without overlaps.

    Args:
        is_code: The text is a program or its output, where ``password = given`` names a variable: a value
            counts when it is written out. Otherwise it is a setting or an argument, where every value is.
    """
    found = sorted(_candidates(text, is_code), key=lambda one: (one.start, -one.end))
    kept: list[Secret] = []
    for one in found:
        if one.end <= one.start:
            continue
        if kept and one.start < kept[-1].end:
            kept[-1] = kept[-1]._replace(end=max(kept[-1].end, one.end))
        else:
            kept.append(one)
    return tuple(kept)


def tokens_in(text: str) -> tuple[Secret, ...]:
    """Return what has the form of a token in *text*, whatever stands around it."""
    return tuple(sorted(_by_form(text)))


def without_secrets(text: str) -> str:
    """Return *text*, a setting or an argument, with :data:`DROPPED` in the place of each secret.

    >>> without_secrets("pretrained=org/m,base_url=https://me:word@host/v1")
    'pretrained=org/m,base_url=https://me:[dropped]@host/v1'
    """
    pieces, end = [], 0
    for one in secrets_in(text):
        pieces += [text[end : one.start], DROPPED]
        end = one.end
    return "".join([*pieces, text[end:]]) if pieces else text


def is_secret_value(name: str, value: str) -> bool:
    """Return whether *value*, the whole value of a setting called *name*, is a secret by its name."""
    verdict = verdict_on(name)
    plain = value.strip().strip("\"'")
    if verdict is Verdict.ORDINARY or _NOTHING.fullmatch(plain):
        return False
    if verdict is Verdict.PASSWORD:
        return True
    if _NUMBER.fullmatch(plain):
        return False
    return _looks_drawn(plain) if verdict is Verdict.MAYBE else True


def _candidates(text: str, is_code: bool) -> Iterator[Secret]:
    yield from _by_form(text)
    for match in _USERINFO.finditer(text) if "://" in text else ():
        if _is_written_out(match["value"], is_code):
            yield _secret(match, "the password in an address")
    for match in _USER.finditer(text) if "://" in text else ():
        if _looks_drawn(match["value"], or_digest=True):
            yield _secret(match, "the user in an address")
    for match in _PARAMETER.finditer(text) if "://" in text or "?" in text else ():
        if grants_access(match["name"]) and _is_written_out(match["value"], is_code):
            yield _secret(match, f"the value of {match['name']} in an address")
    lower = text.lower()
    if "authorization" in lower or "cookie" in lower:
        for match in _HEADER.finditer(text):
            if _is_header_value(match["value"], is_code):
                yield _secret(match, f"the header {match['name']}")
    if "bearer" in lower:
        for match in _BEARER.finditer(text):
            if any(character.isdigit() for character in match["value"]) or not is_code:
                yield _secret(match, "a bearer token")
    if "password" in lower:
        yield from (_secret(match, "a password") for match in _LOGIN.finditer(text))
    if "login" in lower:
        yield from (_secret(match, "a key to log in") for match in _LOGIN_KEY.finditer(text))
    if "-u" in text:
        for match in _CURL.finditer(text):
            if not _PLACEHOLDER.fullmatch(match["value"]):
                yield _secret(match, "a password")
    yield from _by_option(text, is_code)
    yield from _by_name(text, is_code)


def _secret(match: re.Match[str], kind: str) -> Secret:
    return Secret(match.start("value"), match.end("value"), kind)


def _by_form(text: str) -> Iterator[Secret]:
    for form in FORMS:
        if not any(anchor in text for anchor in form.anchors):
            continue
        for match in form.pattern.finditer(text):
            before = text[match.start() - 1] if match.start() else " "
            if (
                form.may_follow_a_letter
                or not (before.isalnum() and before.isascii())
                or _is_escape(text, match)
            ):
                yield Secret(match.start(), match.end(), form.kind)
    for kind, pattern in UNANCHORED:
        for match in pattern.finditer(text):
            yield Secret(match.start(), match.end(), kind)


def _is_escape(text: str, match: re.Match[str]) -> bool:
    """Return whether the letter before is the end of an escape, as in ``\\nhf_…`` inside JSON."""
    return match.start() >= 2 and text[match.start() - 2] == "\\" and text[match.start() - 1] in "nrt"


def _is_header_value(value: str, is_code: bool) -> bool:
    plain = value.strip()
    if plain.lower() in _SCHEMES:
        return False
    if not is_code:
        return not _NOTHING.fullmatch(plain)
    return not _PLACEHOLDER.fullmatch(plain) and len(plain) >= 8 and any(one.isdigit() for one in plain)


def _by_option(text: str, is_code: bool) -> Iterator[Secret]:
    if "-" not in text:
        return
    for match in _OPTION.finditer(text):
        verdict = verdict_on(match["name"])
        value = match["value"]
        if verdict in {Verdict.SECRET, Verdict.PASSWORD} and not value.startswith("--"):
            if is_code and not (match["q"] or _has_digit_and_letter(value)):
                continue
            if _is_written_out(value, is_code) and not _NUMBER.fullmatch(value):
                yield _secret(match, f"the value of {match['name']}")


def _by_name(text: str, is_code: bool) -> Iterator[Secret]:
    place = 0
    while (match := _NAME.search(text, place)) is not None:
        name = match["name"]
        verdict = verdict_on(name)
        if verdict is Verdict.ORDINARY:
            place = match.end("name") if match["sep"] == "," else match.end()
            continue
        quoted = _QUOTED.match(text, match.end())
        value = quoted or _BARE.match(text, match.end())
        place = match.end()
        if value is None:
            continue
        start, end = value.span("value") if quoted else value.span()
        plain = text[start:end]
        if plain.partition(" ")[0].lower() in _SCHEMES and name.lower().endswith("authorization"):
            continue  # the header is looked at by itself
        if match["sep"] == "," and not (match["close"] and _has_digit_and_letter(plain)):
            continue
        counts = (
            _counts_in_code(name, verdict, plain, is_quoted=quoted is not None)
            if is_code
            else is_secret_value(name, plain)
        )
        if counts:
            yield Secret(start, end, f"the value of {name}")
            place = end


def _counts_in_code(name: str, verdict: Verdict, value: str, *, is_quoted: bool) -> bool:
    if not _is_written_out(value, True) or _NUMBER.fullmatch(value):
        return False
    if verdict is Verdict.MAYBE:
        return is_quoted and _looks_drawn(value)
    if not is_quoted:
        is_variable = name.isupper() and not re.search(r"[.(]", value)
        return (
            is_variable
            or _looks_drawn(value, or_digest=True)
            or (
                verdict is Verdict.PASSWORD
                and name != "pass"
                and value.isalnum()
                and _has_digit_and_letter(value)
            )
        )
    if any(character.isspace() for character in value):
        return False
    if verdict is Verdict.PASSWORD:
        return True
    return _looks_drawn(value, or_digest=True) or (has_owner(name) and _has_digit_and_letter(value))


def _is_written_out(value: str, is_code: bool) -> bool:
    if not is_code:
        return not _NOTHING.fullmatch(value)
    return len(value) >= _SHORTEST and not _PLACEHOLDER.fullmatch(value)


def _has_digit_and_letter(value: str) -> bool:
    return any(one.isdigit() for one in value) and any(one.isalpha() for one in value)


def _looks_drawn(value: str, *, or_digest: bool = False) -> bool:
    """Return whether a part of *value* looks drawn at random; words joined by hyphens and digests do not."""
    for part in re.split(r"[-_./\s]", value):
        is_digest = len(part) in _DIGEST_SIZES and re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", part)
        if is_digest and not or_digest:
            continue
        num_digits = sum(character.isdigit() for character in part)
        num_letters = sum(character.isalpha() for character in part)
        if len(part) >= 16 and part.isascii() and num_digits >= 2 and num_letters >= 2:
            return True
    return False
