"""A proxy on the way that is hostile, broken, or no proxy at all: one line, no secret, no byte
lost, and nobody waits for longer than the time that was given."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from relay.errors import FileError, LegLost, PeerError, ProtocolViolation, Refused
from relay.io.dial import dial
from relay.io.http_proxy import dial_through
from relay.sshconfig import proxy as url
from tests.programs.http_proxy import HttpProxy, certificate, says
from tests.programs.process import GUARD

YES = b"HTTP/1.1 200 Connection established\r\n\r\n"
SSH = b"SSH-2.0-B\r\n" + bytes(range(256)) * 40

Start = Callable[..., HttpProxy]
Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(**how: Any) -> HttpProxy:
            proxy = HttpProxy(**how)
            stack.callback(proxy.close)
            return proxy

        yield start


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param:
        pytest.importorskip("uvloop")

    def run(main: Callable[[], Awaitable[Any]]) -> Any:
        return anyio.run(main, backend_options={"use_uvloop": request.param})

    return run


def through(run: Run, text: str, *, seconds: float = GUARD) -> socket.socket:
    async def main() -> socket.socket:
        proxy = url.parse(text, "ProxyURL")
        return await dial_through(proxy, "b.example", 2222, dial, seconds)

    sock: socket.socket = run(main)
    sock.settimeout(GUARD)
    return sock


def refused(run: Run, text: str, *, seconds: float = GUARD) -> PeerError | OSError:
    with pytest.raises((PeerError, OSError)) as caught:
        through(run, text, seconds=seconds)
    return caught.value


def received(sock: socket.socket) -> bytes:
    data = b""
    with sock:
        while part := sock.recv(65536):
            data += part
    return data


def test_what_is_behind_the_header_belongs_to_ssh(start: Start, run: Run) -> None:
    for parts in ((YES + SSH,), (*tuple(bytes([one]) for one in YES), SSH)):
        proxy = start(answer=says(*parts))
        assert received(through(run, proxy.url)) == SSH
        assert proxy.asked == ["b.example:2222"]


def test_one_that_answers_and_closes(start: Start, run: Run) -> None:
    assert received(through(run, start(answer=says(YES)).url)) == b""


def test_one_that_closes(start: Start, run: Run) -> None:
    for said in (b"", b"H", YES[:-1]):
        error = refused(run, start(answer=says(said)).url)
        assert "the proxy closed the connection" in str(error)


def test_one_that_resets(start: Start, run: Run) -> None:
    def answer(client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    assert "the proxy closed the connection" in str(refused(run, start(answer=answer).url))


def test_one_that_says_nothing_or_a_byte_at_a_time_without_end(start: Start, run: Run) -> None:
    """By its time it is over, however often it says something."""
    over = threading.Event()

    def drip(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not over.wait(0.005):
            client.sendall(b"x")

    try:
        for answer in (says(stays=True), says(YES[:-2], stays=True), drip):
            error = refused(run, start(answer=answer).url, seconds=0.3)
            assert isinstance(error, LegLost)
            assert str(error) == "the proxy does not answer"
    finally:
        over.set()


def test_one_that_floods(start: Start, run: Run) -> None:
    def flood(client: socket.socket) -> None:
        while True:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    error = refused(run, start(answer=flood).url)
    assert isinstance(error, ProtocolViolation)
    assert str(error) == "the proxy says more than 16 KiB"


def test_one_that_says_the_secret_back(start: Start, run: Run, tmp_path: Path) -> None:
    words = b"HTTP/1.1 403 user:secret\r\nX: dXNlcjpzZWNyZXQ=\r\n\r\nsecret"
    proxy = start(answer=says(words))
    error = refused(run, proxy.url.replace("//", "//user:secret@"))
    assert isinstance(error, Refused)
    assert str(error) == "the proxy answered 403 Forbidden"
    assert "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in proxy.heads[0]


def test_one_that_is_not_there(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refused(run, f"http://127.0.0.1:{port}")
    assert isinstance(error, OSError)
    assert error.strerror == "Connection refused"


def test_the_file_is_read_before_anybody_is_asked(start: Start, run: Run, tmp_path: Path) -> None:
    proxy = start()
    found = url.HttpProxy("127.0.0.1", proxy.port, user="u", password_file=tmp_path / "missing")
    with pytest.raises(FileError, match="missing: cannot read the password"):
        run(lambda: dial_through(found, "b", 22, dial, GUARD))
    assert proxy.asked == []


# -- TLS


def test_tls_as_a_way(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways whole, and with flow control: the proxy reads nothing while we send, and sends more
    than fits while we do not read."""
    context, trusted = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    amount = bytes(1 << 20) * 8
    got: list[bytes] = []

    def answer(client: socket.socket) -> None:
        client.sendall(YES + SSH + amount)
        data = b""
        while len(data) < len(amount):
            data += client.recv(65536)
        got.append(data)

    proxy = start(answer=answer, context=context)

    async def main() -> bytes:
        with anyio.fail_after(GUARD):
            found = url.parse(proxy.url, "ProxyURL")
            sock = await dial_through(found, "b.example", 2222, dial, GUARD)
            with sock:
                data = await anyio.to_thread.run_sync(_read, sock, len(SSH) + len(amount))
                await anyio.to_thread.run_sync(sock.sendall, amount)
                data += await anyio.to_thread.run_sync(sock.recv, 1)
            return data

    for uvloop in (False, True):
        assert anyio.run(main, backend_options={"use_uvloop": uvloop}) == SSH + amount
    assert got == [amount] * 2


def _read(sock: socket.socket, amount: int) -> bytes:
    sock.settimeout(GUARD)
    data = b""
    while len(data) < amount:
        data += sock.recv(65536)
    return data


def test_a_certificate_that_nobody_trusts_or_of_another(
    start: Start, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path, "127.0.0.2")
    proxy = start(context=context)
    for file, words in (("/dev/null", "self-signed"), (str(trusted), "mismatch")):
        monkeypatch.setenv("SSL_CERT_FILE", file)
        error = refused(run, proxy.url.replace("//", "//user:secret@"))
        assert isinstance(error, OSError)
        assert error.strerror
        assert "its certificate: " in error.strerror
        assert words in error.strerror
    assert proxy.asked == []


def test_no_tls_where_tls_was_meant_and_the_other_way_round(
    start: Start, run: Run, tmp_path: Path
) -> None:
    def answer(client: socket.socket) -> None:
        raise AssertionError("there is no request")

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def plain() -> None:
            client, _ = listener.accept()
            with client:
                assert client.recv(1) == b"\x16"  # A handshake, and no CONNECT.
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=plain)
        thread.start()
        error = refused(run, f"https://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert isinstance(error, OSError)
    assert error.strerror == "no TLS with it: is it a proxy for https://?"
    context: ssl.SSLContext = certificate(tmp_path, "127.0.0.1")[0]
    proxy = start(context=context, answer=answer)
    error = refused(run, proxy.url.replace("https", "http"))
    assert "is it a proxy?" in str(error) or "the proxy closed" in str(error)


def test_a_tls_proxy_that_never_ends_its_handshake(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = refused(run, f"https://127.0.0.1:{listener.getsockname()[1]}", seconds=0.3)
    assert str(error) == "the proxy does not answer"
