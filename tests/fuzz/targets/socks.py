"""`SocksServer`: any bytes, whole and in any pieces, come to the same end.

The first byte says how many of the next are the pieces' sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from relay.wire.socks import MAX_TEXT, Request, SocksServer, SocksViolation

MOST = 8 + 2 * (MAX_TEXT + 1)
"""The longest request, one of SOCKS 4a: nobody can make a server keep more."""


def one_input(data: bytes) -> None:
    count = data[0] if data else 0
    sizes, sent = data[1 : 1 + count], data[1 + count :]
    assert outcome(pieces(sent, sizes)) == outcome([sent])


def pieces(sent: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    for size in sizes:
        yield sent[:size]
        sent = sent[size:]
    yield sent


def outcome(parts: Iterable[bytes]) -> tuple[Request | None, bytes, bytes, str]:
    """The request, what was answered, what was left, and what was wrong."""
    server, answers, left = SocksServer(), b"", iter(parts)
    for piece in left:
        try:
            request, answer = server.receive(piece)
        except SocksViolation as violation:
            return None, answers + violation.reply, b"", str(violation)
        answers += answer
        if request is not None:
            assert request.host.isascii()
            assert request.host.isprintable()
            assert request.host
            assert 0 <= request.port <= 0xFFFF
            return request, answers, server.rest + b"".join(left), ""
        assert len(server.rest) <= MOST
    return None, answers, server.rest, ""
