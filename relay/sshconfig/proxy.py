"""HTTP proxies: ProxyURL, a keyword of our own, and the environment's variables as curl reads them.

A password is taken from the environment alone. It stands in no error here, nor does the text that
it could be in: an error names the variable or the keyword.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from relay.core.forward import format_address, is_harmless_host, parse_port
from relay.core.patterns import parse_ip
from relay.errors import UsageError
from relay.sshconfig.words import Line

KEYWORD: Final = "ProxyURL"

VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""The first one that is not empty counts. (There is no variable for SSH: that of TLS is for what a
proxy passes through unread, which is all that CONNECT is for.)"""

EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")

SCHEMES: Final[Mapping[str, int]] = {"http": 80, "https": 443}
"""How the proxy itself is spoken to, and its port where none is named (RFC 9110 §4.2)."""

_URL: Final = re.compile(
    r"(?:(?P<user>[^:@]*)(?::(?P<password>.*))?@)?"
    r"(?:\[(?P<literal>[^\[\]]*)\]|(?P<name>[^\[\]:/?#@]*))(?::(?P<port>[^:/]*))?/?",
    re.DOTALL,
)
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
"""What neither a user's name nor a password has in it (RFC 7617 §2)."""

EXAMPLE: Final = "give http://proxy:3128 or https://proxy:3129"


class UnknownScheme(UsageError):
    """A proxy that is none of HTTP's."""


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """Where the proxy is, and who we are there."""

    host: str
    port: int
    tls: bool = False
    """`https://`: what is said to the proxy itself is encrypted."""
    user: str = ""
    """Empty: nobody; it has not asked."""
    password: str = field(default="", repr=False)
    """The environment's."""
    password_file: Path | None = None
    named_by: str = KEYWORD
    """The keyword, or the variable of the environment."""

    @property
    def where(self) -> str:
        """The address, for people."""
        return format_address(self.host, self.port)

    @property
    def url(self) -> str:
        """Without the password, to be read as ProxyURL again."""
        user = f"{quote(self.user.encode(errors='surrogateescape'), safe='')}@" if self.user else ""
        return f"http{'s' if self.tls else ''}://{user}{self.where}"


def proxy_url(line: Line) -> tuple[HttpProxy, ...]:
    """The value of ProxyURL; `none` is no proxy."""
    if len(line.words) != 1:
        raise UsageError(f"one URL is enough: {EXAMPLE}")
    if line.words[0].lower() == "none":
        return ()
    proxy = parse(line.words[0], KEYWORD)
    if proxy.password:
        raise UsageError(
            "a password has no place here, where others can read it: leave the user alone before "
            "the @, and name a file with the password by -o ProxyPasswordFile=FILE"
        )
    return (proxy,)


def parse(text: str, named_by: str) -> HttpProxy:
    """`http://[user[:password]@]host[:port]`, user and password percent-encoded (RFC 3986 §2.1).

    Raises:
        UsageError: it is no such URL; the text does not repeat it.
    """
    scheme, rest = "http", text
    if match := _SCHEME.fullmatch(text):
        scheme, rest = match[1].lower(), match[2]
    if scheme not in SCHEMES:
        raise UnknownScheme(f"only http:// and https:// proxies are served: {EXAMPLE}")
    match = _URL.fullmatch(rest)
    if match is None:
        raise UsageError(f"no URL of a proxy: {EXAMPLE}")
    host = match["name"] or match["literal"] or ""
    is_literal = parse_ip(host) is not None if match["literal"] else is_harmless_host(host)
    port = SCHEMES[scheme] if match["port"] is None else parse_port(match["port"])
    if not host or not is_literal or not port:
        raise UsageError(f"no host and port of a proxy: {EXAMPLE}")
    user, password = (_decoded(match[name]) for name in ("user", "password"))
    if ":" in user or CONTROL.search(user + password) or (password and not user):
        raise UsageError(f"no user name that basic authentication has: {EXAMPLE}")
    return HttpProxy(host, port, scheme == "https", user, password, named_by=named_by)


def _decoded(text: str | None) -> str:
    return unquote_to_bytes(text or "").decode(errors="surrogateescape")


def of_environment(environ: Mapping[str, str], host: str) -> HttpProxy | None:
    """The proxy for this host, an address in its usual form. None: there is none, or not for it.

    Raises UsageError for a value that is no URL of a proxy, and of these `UnknownScheme`.
    """
    name = next((one for one in VARIABLES if environ.get(one)), "")
    if not name or is_here(host):
        return None
    if is_excepted(next(filter(None, map(environ.get, EXCEPTIONS)), ""), host):
        return None
    try:
        return parse(environ[name].strip(), name)
    except UsageError as error:
        raise type(error)(f"{name} in the environment: {error}") from None


def is_here(host: str) -> bool:
    """Is it this machine? No proxy leads there."""
    if ip := parse_ip(host):
        return ip.is_loopback or ip.is_unspecified
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761 §6.3


def is_excepted(patterns: str, host: str) -> bool:
    """NO_PROXY as curl reads it: names with all that is below them, addresses, networks, `*`."""
    ip, name = parse_ip(host), host.lower().rstrip(".")
    for pattern in re.split(r"[,\s]+", patterns):
        if pattern == "*":
            return True
        if ip is not None:
            try:
                if ip in ip_network(pattern.strip("[]"), strict=False):
                    return True
            except ValueError:
                pass
            continue
        domain = pattern.lower().strip(".")
        if domain and (name == domain or name.endswith(f".{domain}")):
            return True
    return False
