"""Passwords in URLs: put in, taken out, and hidden from whoever reads what is printed."""

from __future__ import annotations

import re

_SECRET_QUERY = re.compile(r"([?&;][^=&;]*(?:pass|pw|secret|token)[^=&;]*=)[^&;#]*", re.IGNORECASE)
_USER_AND_PASSWORD = re.compile(r"^([a-z][a-z0-9+.-]*://[^:/@?#]*):.*@", re.IGNORECASE | re.DOTALL)


def with_password(url: str, password: str | None, *, strip: bool = False) -> str:
    """``url`` with its password set, or taken out."""
    from urllib.parse import quote, urlsplit, urlunsplit

    parts = urlsplit(url)
    if not parts.netloc or (password is None and not strip):
        return url
    userinfo, _, host = parts.netloc.rpartition("@")
    user = userinfo.partition(":")[0]
    if password is not None:
        user = f"{user}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host))


def hide_password(url: str) -> str:
    """A URL without any password in it, even if it is not well-formed, or the password is in its query."""
    url = _SECRET_QUERY.sub(r"\1***", url)
    if has_password(url):
        return with_password(url, "***").replace("%2A%2A%2A", "***")
    if url.startswith("sqlite"):
        return url
    # a password with an unquoted slash or hash: urlsplit does not see it as one, people do
    return _USER_AND_PASSWORD.sub(r"\1:***@", url)


def has_password(url: str) -> bool:
    """Whether there is one where a URL has it; raises nothing."""
    from urllib.parse import urlsplit

    try:
        return urlsplit(url).password is not None
    except ValueError:  # a host that cannot be one
        return False
