"""`--http` under attack: web pages that the operator's browser shows, other users of the machine,
strangers at a door with a token, and programs that speak no HTTP, too much of it, or none."""

from __future__ import annotations

import base64
import os
import select
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest

from relay.errors import AddressError, FileError, UsageError
from relay.web import access, connections
from relay.web.address import is_loopback, open_address, read_token
from relay.web.limits import CONNECTIONS, MAX_BODY, MAX_HEAD
from tests.web.bench import (
    TOKEN,
    Program,
    in_thread,
    program,
    program_at,
    request,
    status_of,
    talk_to,
)

pytestmark = pytest.mark.anyio

GET = request(b"GET /v1/status")
KICK = b'{"what": "12"}'
AS_JSON = b"Content-Type: application/json"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    return path


# -- where it listens


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "*"])
async def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="--http-token-file"):
        await open_address(("" if host == "*" else host, 0), has_token=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3"])
async def test_loopback_needs_none(host: str) -> None:
    listening = await open_address((host, 0), has_token=False)
    assert all(is_loopback(sock.getsockname()[0]) for sock in listening.sockets)
    listening.close()


async def test_a_port_that_is_taken() -> None:
    first = await open_address(("127.0.0.1", 0), has_token=False)
    with pytest.raises(AddressError, match="cannot listen on"):
        await open_address(first.sockets[0].getsockname(), has_token=False)
    first.close()


async def test_a_unix_socket_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    async with program_at(path) as one:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert status_of(await one.says(GET)) == 200
        with pytest.raises(AddressError, match="another program listens there"):
            await open_address(path, has_token=False)
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "\n", "short\n", "two\nlines of a token\n"])
def test_a_token_that_is_none(token_file: Path, text: str) -> None:
    token_file.write_text(text)
    with pytest.raises(FileError):
        read_token(token_file)


def test_a_token_that_others_can_read(token_file: Path) -> None:
    token_file.chmod(0o644)
    with pytest.raises(FileError, match="too open"):
        read_token(token_file)


# -- whose page asks


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 200),
        (b"LOCALHOST:9222", 200),
        (b"127.0.0.1:9222", 200),
        (b"[::1]:9222", 200),
        (b"evil.example", 421),
        (b"localhost.evil.example", 421),
        (b"evil.example:9222", 421),
        (b"localhost@evil.example", 421),
        (b"evil.example:localhost", 421),
        (b"127.0.0.1.evil.example", 421),
        (b"0.0.0.0:9222", 421),
        (b"10.0.0.1:9222", 421),
        (b"[::]:9222", 421),
        (b"localhost:1:2", 421),
        (b"", 421),
    ],
)
async def test_a_page_whose_name_is_this_machine(host: bytes, status: int) -> None:
    async with program() as one:
        assert status_of(await one.says(request(b"GET /v1/status", host=host))) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 200),
        ((b"Origin: http://localhost:1",), 200),
        ((b"Sec-Fetch-Site: same-origin",), 200),
        ((b"Sec-Fetch-Site: none",), 200),
        ((b"Origin: null",), 403),
        ((b"Origin: http://localhost",), 403),
        ((b"Origin: http://localhost:2",), 403),
        ((b"Origin: http://evil.example",), 403),
        ((b"Origin: http://localhost:1.evil.example",), 403),
        ((b"Sec-Fetch-Site: cross-site",), 403),
        ((b"Sec-Fetch-Site: same-site",), 403),
        ((b"Sec-Fetch-Site: same-site", b"Sec-Fetch-Mode: no-cors"), 403),
        ((b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate",
          b"Sec-Fetch-Dest: iframe"), 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_page_from_elsewhere(
    headers: tuple[bytes, ...], status: int, method: bytes
) -> None:
    async with program() as one:
        if method == b"GET":
            answer = await one.says(request(b"GET /v1/status", *headers))
        else:
            answer = await one.says(request(b"POST /v1/kick", *headers, AS_JSON, body=KICK))
        assert status_of(answer) == status
        assert one.kicked == (["12"] if method == b"POST" and status == 200 else [])


async def test_a_link_to_us_may_be_followed_but_changes_nothing() -> None:
    headers = (
        b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document",
    )  # fmt: skip
    async with program() as one:
        assert status_of(await one.says(request(b"GET /v1/status", *headers))) == 200
        answer = await one.says(request(b"POST /v1/kick", *headers, AS_JSON, body=KICK))
        assert status_of(answer) == 403
        assert one.kicked == []


@pytest.mark.parametrize(
    "kind",
    [
        b"X-None: ",
        b"Content-Type: text/plain",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Type: multipart/form-data; boundary=application/json",
        b"Content-Type: text/plain; application/json",
    ],
)
async def test_a_form(kind: bytes) -> None:
    async with program() as one:
        answer = await one.says(request(b"POST /v1/kick", kind, body=KICK))
        assert status_of(answer) == 415
        assert one.kicked == []


@pytest.mark.parametrize("line", [b"GET /v1/kick?what=12", b"HEAD /v1/kick", b"PUT /v1/kick"])
async def test_nothing_changes_by_another_method(line: bytes) -> None:
    async with program() as one:
        assert status_of(await one.says(request(line, AS_JSON, body=KICK))) in (400, 405)
        assert one.kicked == []


async def test_no_page_is_let_in_by_a_question_before() -> None:
    """CORS: who is not told that he may (Access-Control-…) may not."""
    async with program() as one:
        headers = (b"Origin: http://evil.example", b"Access-Control-Request-Method: POST")
        answer = await one.says(request(b"OPTIONS /v1/kick", *headers))
        assert status_of(answer) == 403
        assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    "path", [b"/", b"/page.js", b"/healthz", b"/metrics", b"/v1/status", b"/nothing", b"/v1/kick"]
)
@pytest.mark.parametrize("host", [b"localhost", b"evil.example"])
async def test_every_answer_is_dressed(path: bytes, host: bytes) -> None:
    async with program() as one:
        head = (await one.says(request(b"GET " + path, host=host))).partition(b"\r\n\r\n")[0]
        lines = [line.lower() for line in head.split(b"\r\n")]
        for name, value in access.HEADERS:
            assert lines.count(name + b": " + value.lower()) == 1, name
        assert not any(line.startswith(b"server:") for line in lines)


@pytest.mark.parametrize(
    "path", [b"/../app.py", b"/%2e%2e/app.py", b"/page.js/", b"//etc/passwd", b"/index.html",
             b"/page.js%00", b"http://localhost/v1/status", b"*"]
)  # fmt: skip
async def test_no_other_file(path: bytes) -> None:
    async with program() as one:
        assert status_of(await one.says(request(b"GET " + path))) == 404


# -- the token


def bearer(token: str) -> bytes:
    return f"Authorization: Bearer {token}".encode()


def basic(text: str) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (bearer(TOKEN), 200),
        (basic(f":{TOKEN}"), 200),
        (basic(f"me:{TOKEN}"), 200),
        (b"X-None: ", 401),
        (bearer(""), 401),
        (bearer(TOKEN[:-1]), 401),
        (bearer(TOKEN + "x"), 401),
        (bearer("ü" * 16), 401),
        (basic(TOKEN), 401),
        (basic(f"{TOKEN}:"), 401),
        (b"Authorization: Basic \xff\xff", 401),
        (b"Authorization: Basic =", 401),
        (b"Authorization: " + TOKEN.encode(), 401),
        (b"Authorization: Digest username=" + TOKEN.encode(), 401),
    ],
)
async def test_who_has_the_token(token_file: Path, header: bytes, status: int) -> None:
    async with program(token_file=token_file) as one:
        answer = await one.says(request(b"GET /v1/status", header, host=b"b.example:9222"))
        assert status_of(answer) == status
        assert (b"www-authenticate: Basic" in answer) == (status == 401)
        assert TOKEN.encode() not in answer


async def test_the_token_is_no_leave_for_pages_from_elsewhere(token_file: Path) -> None:
    """To a page of its own the browser adds the password that it remembers."""
    async with program(token_file=token_file) as one:
        headers = (basic(f":{TOKEN}"), AS_JSON, b"Origin: http://evil.example")
        answer = await one.says(request(b"POST /v1/kick", *headers, host=b"b.example", body=KICK))
        assert status_of(answer) == 403
        assert one.kicked == []


async def test_a_load_balancer_has_no_token(token_file: Path) -> None:
    async with program(token_file=token_file) as one:
        for path in (b"/healthz", b"/readyz"):
            assert status_of(await one.says(request(b"GET " + path, host=b"10.0.0.1"))) == 200
        for path in (b"/metrics", b"/", b"/v1/live", b"/healthz/../metrics", b"//healthz"):
            assert status_of(await one.says(request(b"GET " + path, host=b"10.0.0.1"))) == 401


# -- what is no request


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\0" * 100 + b"\r\n\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 4096, 400),
        (b"x" * (MAX_HEAD + 1), 400),
        (request(b"GET /healthz", b"Content-Length: -1"), 400),
        (request(b"CONNECT localhost:22", AS_JSON), 404),
        (request(b"GET /v1/live", b"Upgrade: websocket", b"Connection: upgrade",
                 b"Sec-WebSocket-Key: x"), 200),
        (request(b"POST /v1/kick", AS_JSON, body=b"x" * (MAX_BODY + 1)), 413),
        (request(b"POST /v1/kick", AS_JSON, body=b"[" * MAX_BODY), 400),
        (request(b"POST /v1/kick", AS_JSON, body=b'{"what": 1}'), 400),
        (request(b"GET /v1/status?" + b"a&" * 100), 400),
    ],
)  # fmt: skip
async def test_what_is_no_request(data: bytes, status: int) -> None:
    async with program() as one:

        def first() -> bytes:
            with one.connect() as sock:
                try:
                    sock.sendall(data)
                    return sock.recv(65536)
                except BrokenPipeError:
                    return sock.recv(65536)

        assert status_of(await in_thread(first)) == status
        assert status_of(await one.says(GET)) == 200
        assert one.kicked == []


@contextmanager
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The patience of tests."""
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.2)
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr(connections, "LOOKED_AFTER", 0.02)
    yield


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /v1/sta",
        b"POST /v1/kick HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 10\r\n\r\n",
    ],
)
async def test_a_request_that_does_not_come(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with hurried(monkeypatch):
        async with program() as one:
            assert await one.says(begun) == b""
            assert one.kicked == []


@pytest.mark.parametrize("begun", [b"", b"POST /v1/kick HTTP/1.1\r\nHost: localhost\r\n"
                                        b"Content-Type: application/json\r\n"
                                        b"Content-Length: 1000000\r\n\r\n"])  # fmt: skip
async def test_a_request_that_never_ends(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not keep it open."""
    with hurried(monkeypatch):
        async with program() as one:

            def drip() -> None:
                with one.connect() as sock:
                    sock.sendall(begun)
                    while True:
                        sock.send(b"G")
                        select.select([], [], [], 0.02)

            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await in_thread(drip)


@pytest.mark.parametrize("line", [b"GET /v1/status", b"GET /v1/live"])
async def test_who_asks_and_never_reads(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") * 100
    with hurried(monkeypatch):
        async with program() as one:
            one.filler = "x" * 1_000_000
            monkeypatch.setattr("relay.web.live.TICK", 0.001)

            def ask_on() -> None:
                with one.connect() as sock:
                    while True:
                        sock.sendall(asked)

            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await in_thread(ask_on)
            assert status_of(await one.says(GET)) == 200
            await nobody_left(one)


async def nobody_left(one: Program) -> None:
    while len(one.web.connections):  # noqa: ASYNC110
        await anyio.sleep(0.01)


async def test_thousands_of_connections() -> None:
    """Of those that ask nothing the eldest goes, so that who asks is answered."""
    async with program() as one:
        before = len(os.listdir("/proc/self/fd"))

        def flood() -> None:
            with ExitStack() as stack:
                clients = [stack.enter_context(one.connect()) for _ in range(500)]
                with one.connect() as honest:
                    assert status_of(talk_to(honest, GET)) == 200
                served = len(os.listdir("/proc/self/fd")) - before - len(clients)
                assert served <= CONNECTIONS + 8

        await in_thread(flood)


async def test_the_end_waits_for_nobody() -> None:
    async with program() as one:
        with one.connect() as asks_on, one.connect() as silent, one.connect() as listens:
            await in_thread(lambda: asks_on.sendall(b"GET /v1/st"))
            await in_thread(lambda: listens.sendall(request(b"GET /v1/live")))
            assert (await in_thread(lambda: listens.recv(10))) == b"HTTP/1.1 2"
            await one.web.connections.aclose()
            for sock in (asks_on, silent):
                assert await in_thread(lambda sock=sock: sock.recv(1)) == b""
            await in_thread(lambda: talk_to(listens, b""))
