"""The CONNECT talk with an HTTP proxy (RFC 9110 §9.3.6): bytes in, bytes out, by h11.

    we    CONNECT b:2222, Host, Proxy-Authorization
    proxy 1xx                    passed over
    proxy 2xx                    open: what follows its empty line is not the proxy's
    proxy anything else          it refuses, or is no proxy

The proxy is a stranger's: nothing that it says is shown, only what its number means, and it may say
no more than `PROXY_ANSWER`. Who reads from it must leave what is not the proxy's to SSH, whose
version line may come in the same segment as the answer; so `receive` says how many bytes it used.
"""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import Final, NoReturn

import h11

from relay.core.forward import format_address
from relay.core.limits import PROXY_ANSWER
from relay.errors import LegLost, ProtocolViolation, Refused, RelayError, UsageError

_HTTP: Final = b"HTTP/"
"""How each answer begins. (h11 would wait for a whole header to find that it is none.)"""

_HOST: Final = re.compile(rb"[\w.:%-]+", re.ASCII)

_PASSING: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
"""Refusals that may be over at the next try, beside those of 500 and more."""

WHO_LOGS_IN: Final = "-o ProxyURL=http://user@proxy:3128 -o ProxyPasswordFile=FILE"


class HttpConnect:
    """One proxy asked for one host."""

    def __init__(self, host: str, port: int, credentials: tuple[str, str] | None = None) -> None:
        """
        Args:
            host: a name, which the proxy resolves, or an address.
            port: from 1 to 65535.
            credentials: the user, without a colon in it, and the password (RFC 7617 §2).

        Raises:
            UsageError: that is no name of a host.
        """
        try:
            name = host.encode("idna")
        except UnicodeError:
            name = b""
        if not _HOST.fullmatch(name):
            raise UsageError(f"{host!r} is no name that a proxy can be asked for")
        target = format_address(name.decode(), port)
        headers = [("Host", target)]
        if credentials is not None:
            token = base64.b64encode(":".join(credentials).encode(errors="surrogateescape"))
            headers.append(("Proxy-Authorization", f"Basic {token.decode()}"))
        self._logs_in = credentials is not None
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=PROXY_ANSWER)
        self.request = self._http.send(
            h11.Request(method="CONNECT", target=target, headers=headers)
        )
        """What is to be sent to the proxy, once."""
        self._http.send(h11.EndOfMessage())
        self.open = False
        """The proxy has said yes: the connection is no longer its own."""
        self._start = b""
        self._received = 0

    def receive(self, data: bytes) -> int:
        """Take what the proxy says; empty: it has closed. How many of the bytes are its own: all,
        but for those behind a yes.

        Raises:
            Refused: it says no, and will again.
            LegLost: it cannot now, or has closed.
            ProtocolViolation: it does not speak HTTP, or says too much.
        """
        assert not self.open
        if not data:
            raise LegLost("the proxy closed the connection without an answer")
        if len(self._start) < len(_HTTP):
            self._start = (self._start + data)[: len(_HTTP)]
            if not _HTTP.startswith(self._start):
                raise ProtocolViolation("what answers there speaks no HTTP: is it a proxy?")
        try:
            self._http.receive_data(data)
            while (event := self._http.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self._judge(event)
                    break
        except h11.RemoteProtocolError:
            raise ProtocolViolation("the proxy's answer is no HTTP, or has no end") from None
        used = len(data) - (len(self._http.trailing_data[0]) if self.open else 0)
        self._received += used
        if self._received > PROXY_ANSWER:
            raise ProtocolViolation(f"the proxy says more than {PROXY_ANSWER >> 10} KiB")
        return used

    def _judge(self, answer: h11.Response) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            self.open = True
        elif status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            self._wants_login(answer)
        else:
            kind: type[RelayError] = Refused
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
                kind = LegLost
            raise kind(f"the proxy answered {_named(status)}")

    def _wants_login(self, answer: h11.Response) -> NoReturn:
        """407 (RFC 9110 §15.5.8); each challenge begins with the name of its scheme."""
        said = b",".join(text for name, text in answer.headers if name == b"proxy-authenticate")
        answered = f"the proxy answered {_named(answer.status_code)}"
        if said and not re.search(rb"(?:^|,)\s*basic(?:[\s,]|$)", said, re.IGNORECASE):
            raise Refused(f"{answered}: it takes no user name and password (basic authentication)")
        if self._logs_in:
            raise Refused(f"{answered}: it does not accept the user name and the password")
        raise Refused(f"{answered}: give {WHO_LOGS_IN}")


def _named(status: int) -> str:
    """The number and what RFC 9110 §15 calls it; never the proxy's own words for it."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
