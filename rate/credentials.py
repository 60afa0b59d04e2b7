"""Removal of credentials from every text that is stored or shown.

A URL carries them in two places: before the host (`https://user:password@host`), and in its query, where a signature
and what belongs to it (who signed, when, for how long) are parameters. Without them a URL names the object alone: a
URL that was signed again names the same one.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, unquote_plus

_USER = re.compile(
    r"(\b[a-z][\w+.-]{1,31}:/{1,2})"
    r"(?:[^\s/?#@:]{0,255}:(?!:|\d*(?:/|$))[^\s?#@]{0,1024}@(?:[^\s/?#@]{0,255}@)*|(?<=//)(?:[^\s/?#@]{0,1024}@)+)",
    re.IGNORECASE,
)
"""A name, or a name and a password, before a host. A password may hold unescaped characters; a port is not a password.
A single slash remains of two where a URL was parsed as a path.
"""

_QUERY = re.compile(r"""[?#][^\s'"<>`]+""")

_SECRET = re.compile(
    r"x-(?:amz|goog|oss|obs|cos|tos|ms)-.*|q-(?:sign-.*|ak|key-time|url-param-list|header-list|signature)"
    r"|.*(?:token|secret|passw|signature|credential|api[-_]?key|access[-_]?key|access[-_]?id|authorization).*"
    r"|sig|auth|sas|jwt|pwd|key-pair-id",
    re.IGNORECASE,
)
"""Names of parameters that hold a credential, or belong to signatures of AWS, Google, Azure and similar services."""

_SIGNED_WITH = re.compile(
    r"expires|policy|s[vrtpsei]|spr|sip|sdd|sks|skv|ske|skt|sktid|skoid|saoid|suoid|scid", re.IGNORECASE
)
"""Parameters that belong to a signature and have another meaning in a query without one."""

_SIGNATURE = re.compile(r"sig|signature", re.IGNORECASE)

_ALONE = re.compile(
    r"\b(x-(?:amz|goog)-(?:signature|credential|security-token)|AWSAccessKeyId|GoogleAccessId|aws_secret_access_key"
    r"|aws_access_key_id|aws_session_token|Signature|sig|password|passwd)(['\"]?\s*[=:]\s*['\"]?)[^\s&;,'\"<>]+",
    re.IGNORECASE,
)
"""Such a parameter outside a URL, as in the error messages of some storages."""

_HEADER = re.compile(r"(\bauthorization['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]+", re.IGNORECASE)


def without_credentials(text: str, known: str = "") -> str:
    """Remove the credentials from the URLs and headers in ``text``.

    Args:
        text: any text, for example a URL.
        known: a URL whose credentials are removed everywhere in ``text``, also outside URLs.
    """
    for secret in _secrets(known) if known else ():
        text = text.replace(secret, "***")
    if ":/" in text:
        text = _USER.sub(r"\1", text)
    if "?" in text or "#" in text:
        text = _QUERY.sub(_stripped, text)
    if "=" in text or ":" in text:
        text = _HEADER.sub(r"\1***", _ALONE.sub(r"\1\2***", text))
    return text


def storable(value: Any) -> Any:
    """Apply `without_credentials` to every text in a JSON value."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, dict):
        return {storable(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(inner) for inner in value]
    return value


def _parameters(query: str) -> list[tuple[str, str, str]]:
    """Split a query or fragment into (separator before it, decoded name, text) of every parameter."""
    _, *parts = re.split("([?&;#])", query)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [(before, unquote_plus(part.partition("=")[0]), part) for before, part in pairs]


def _stripped(query: re.Match[str]) -> str:
    """Remove the secret parameters of a query. A colon before a space ends the URL."""
    written = query[0]
    own = written.rstrip(".,:;)") if query.string[query.end() : query.end() + 1].isspace() else written
    parameters = _parameters(own)
    signed = any(_SIGNATURE.fullmatch(name.rpartition("-")[2]) for _, name, _ in parameters)
    secret = [bool(_SECRET.fullmatch(name) or (signed and _SIGNED_WITH.fullmatch(name))) for _, name, _ in parameters]
    if not any(secret):
        return written
    kept = ""
    for (before, _, part), cut in zip(parameters, secret, strict=True):
        if part and not cut:
            kept += (before if kept or before in "?#" else "?") + part
    return kept + written[len(own) :]


def _secrets(url: str) -> list[str]:
    """List the passwords and secret values of a URL, encoded and decoded, the longest first."""
    secrets: set[str] = set()
    for match in _USER.finditer(url):
        user = match[0].removeprefix(match[1]).removesuffix("@")
        secrets.add(user.partition(":")[2] or user)
    for query in _QUERY.findall(url):
        secrets |= {part.partition("=")[2] for _, name, part in _parameters(query) if _SECRET.fullmatch(name)}
    return sorted((one for text in secrets for one in {text, unquote(text)} if len(one) >= 4), key=len, reverse=True)
