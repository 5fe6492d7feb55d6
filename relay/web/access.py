"""Who may ask what: the rules that are the same for every path.

A browser takes every page that it shows to this machine's ports, and lets it ask what it likes; it
says so in headers that no page can change. So the first question is whose page it is:

* `Host` is what the browser believes that it talks to. A page whose name has been made to resolve
  to this machine (DNS rebinding) has that name there. Without a token it must be a loopback name;
  with one it may be any, as to such a page no browser gives the token of another.
* `Origin`, or `Sec-Fetch-Site` of all browsers since 2023, is whose page asks. It is our own, or
  nobody's (a person who typed the address, a program). A link to us from elsewhere may be followed.
* What changes something is no GET, and says that it is JSON: a form cannot.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from relay.control.api import JSON
from relay.core.forward import split_fields
from relay.observe.faults import whatever_fails
from relay.web.address import is_loopback

Headers = Mapping[str, str]
"""By names in lower case."""

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""For a load balancer, which has no token: they say what a connection to the port says too."""

LOOKING: Final = frozenset({"GET", "HEAD"})

HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'none'; "
     b"frame-ancestors 'none'; object-src 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)  # fmt: skip
"""Of every answer. No script or style stands in the page itself, so that what somebody has called a
service or a key can be none."""

CHALLENGE: Final = 'Basic realm="relay", charset="UTF-8", Bearer'


@dataclass(frozen=True, slots=True)
class Door:
    """One way in."""

    token: bytes | None = None
    """None: who can come here may look."""


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    reason: str
    guessed: bool = False
    """A token came, and it was wrong."""


def judge(door: Door, method: str, path: str, headers: Headers) -> Refusal | None:
    """None: it may be answered."""
    host = headers.get("host", "")
    if (refusal := _judge_host(door, host)) or (refusal := _judge_page(method, host, headers)):
        return refusal
    if door.token is not None and path not in OPEN_PATHS:
        given = given_token(headers.get("authorization", ""))
        if given is None or not hmac.compare_digest(given, door.token):
            reason = "give the token: Authorization: Bearer ..., or as the password of any user"
            return Refusal(401, reason, guessed=given is not None)
    return None


def _judge_host(door: Door, host: str) -> Refusal | None:
    fields = split_fields(host)
    name = fields[0] if fields and len(fields) <= 2 else ""
    if not name:
        return Refusal(421, "give a Host")
    if door.token is None and not is_loopback(name):
        return Refusal(421, "Host must be localhost or 127.0.0.1, with any port")
    return None


def _judge_page(method: str, host: str, headers: Headers) -> Refusal | None:
    """Whose page asks?"""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return Refusal(403, "no web page from elsewhere has business here")
    looks = method in LOOKING
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        mode, dest = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
        if not looks or (mode, dest) != ("navigate", "document"):
            return Refusal(403, "no web page from elsewhere has business here")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not looks and kind != JSON:
        return Refusal(415, f"give Content-Type: {JSON}")
    return None


def given_token(authorization: str) -> bytes | None:
    """Of a program, or of a browser that has asked a person; None: none was given."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value.encode("latin-1", errors="replace")
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b""
    return password if colon else b""


class Guard:
    """An ASGI application before another: it asks `judge`, and dresses every answer."""

    def __init__(self, app: Any, guessed: Callable[[], object] = lambda: None) -> None:
        """`guessed` is called when somebody came with a wrong token."""
        self._app = app
        self._guessed = guessed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def dressed(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in HEADERS}
                left = [one for one in message.get("headers", ()) if one[0].lower() not in own]
                message = {**message, "headers": [*left, *HEADERS]}
            await send(message)

        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        refusal = judge(scope["state"]["door"], scope["method"], scope["path"], headers)
        if refusal is None:
            with whatever_fails("answering at --http"):
                await self._app(scope, receive, dressed)
            return
        if refusal.guessed:
            self._guessed()
        more = [(b"www-authenticate", CHALLENGE.encode())] if refusal.status == 401 else []
        await answer(dressed, refusal.status, f"{refusal.reason}\n".encode(), more)


async def answer(
    send: Any, status: int, body: bytes, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    """A text."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        *(more or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
