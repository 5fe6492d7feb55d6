"""The control socket under attack: paths that are not ours, users who are not us, and programs that
speak no HTTP, too much of it, or none at all."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from relay.control import claim, http
from relay.control.claim import InUse, listen
from relay.control.client import ask
from relay.control.limits import CONNECTIONS, MAX_BODY, MAX_HEAD
from relay.errors import AddressError, LegLost, Refused
from tests.control.bench import bodies, program, talk_to

pytestmark = pytest.mark.anyio

NOBODY = 65534
GET = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSE = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def post(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /v1/forwards HTTP/1.1", b"Host: localhost", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


# -- the path


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (await listen(path)).sock.close()  # As one that was killed leaves it.
    assert path.exists()
    second = await listen(path)
    with pytest.raises(InUse, match="another program listens there"):
        await listen(path)
    second.close()
    assert not path.exists()


async def test_a_full_one_is_no_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other, ExitStack() as stack:
        other.bind(str(path))
        other.listen(0)
        for _ in range(2):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            one.connect_ex(str(path))
        with pytest.raises(InUse):
            await listen(path)


async def test_of_two_that_start_at_once_one_has_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (await listen(path)).sock.close()
    claimed: list[claim.ControlSocket] = []
    failed: list[AddressError] = []

    async def start() -> None:
        try:
            claimed.append(await listen(path))
        except AddressError as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(start)
    assert len(claimed) == 1
    assert all(isinstance(error, InUse) for error in failed)
    claimed[0].close()


async def test_what_took_our_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    ours = await listen(path)
    path.unlink()
    other = await listen(path)
    ours.close()
    assert path.exists()
    other.close()


@pytest.mark.parametrize("what", ["file", "folder", "link", "link to nothing"])
async def test_what_is_no_socket_is_left_alone(tmp_path: Path, what: str) -> None:
    path, other = tmp_path / "socket", tmp_path / "other"
    other.write_text("precious")
    make: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_text("precious"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(other),
        "link to nothing": lambda: path.symlink_to(tmp_path / "nothing"),
    }
    make[what]()
    with pytest.raises(AddressError, match="is there, and is no socket"):
        await listen(path)
    assert "socket" in os.listdir(tmp_path)
    assert other.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()


async def test_a_folder_where_others_write(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    with pytest.raises(AddressError, match="others can write to it"):
        await listen(tmp_path / "socket")
    os.chmod(tmp_path, 0o1777)  # /tmp
    (await listen(tmp_path / "socket")).close()


@as_root
async def test_a_folder_of_another_user(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    with pytest.raises(AddressError, match="must be yours or root's"):
        await listen(tmp_path / "socket")


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_the_folder_of_the_default_is_ours_alone(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "control"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(AddressError, match="nobody else can enter"):
        claim.make_folder(folder)


def test_nor_is_it_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "control").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AddressError, match="nobody else can enter"):
        claim.make_folder(tmp_path / "control")


async def test_a_folder_that_is_locked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "LOCK_PAUSE", 0.0)
    import fcntl

    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(AddressError, match="has locked it"):
        await listen(tmp_path / "socket")
    os.close(descriptor)


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="at most 107 bytes"):
        await listen(tmp_path / ("x" * 107))


# -- other users


@as_root
@pytest.mark.parametrize("open_to_all", [False, True])
async def test_another_user_is_not_served(tmp_path: Path, open_to_all: bool) -> None:
    """Not even where somebody has opened the way to the socket."""
    script = (
        "import os, socket, sys\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        "try: sock.connect(sys.argv[1])\n"
        "except PermissionError: sys.exit('denied')\n"
        f"try: sock.sendall({GET!r}); answer = sock.recv(4096)\n"
        "except (BrokenPipeError, ConnectionResetError): answer = b''\n"
        "sys.exit('answered' if answer else 'closed')\n"
    )
    async with program(tmp_path) as one:
        if open_to_all:
            one.path.chmod(0o666)
            for folder in [one.path.parent, *one.path.parents]:
                if os.stat(folder).st_uid == 0 and folder != Path("/"):
                    folder.chmod(folder.stat().st_mode | 0o055)
        command = [sys.executable, "-c", script, str(one.path)]
        run = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
        assert run.stderr.decode().strip() == ("closed" if open_to_all else "denied")
        assert (await one.call("GET", "/v1/status")).status == 200


@contextmanager
def another_user_listens(folder: Path) -> Iterator[Path]:
    """And answers every request with a status."""
    script = (
        "import os, socket, sys, threading\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        "sock.bind('socket'); sock.listen()\n"
        "print('listening', flush=True)\n"
        "def serve():\n"
        "    while True:\n"
        "        client, _ = sock.accept()\n"
        "        client.recv(4096)\n"
        "        client.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n{}')\n"
        "        client.close()\n"
        "threading.Thread(target=serve, daemon=True).start()\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline()
        yield folder / "socket"
        other.stdin.close()


@as_root
def test_the_socket_of_another_user_is_not_believed(tmp_path: Path) -> None:
    """In a folder like /tmp he was there first, and would tell what he likes."""
    tmp_path.chmod(0o1777)
    with (
        another_user_listens(tmp_path) as path,
        pytest.raises(Refused, match="another user listens there"),
    ):
        ask(path, "GET", "/v1/status")


@as_root
def test_but_root_believes_a_service_in_its_own_folder(tmp_path: Path) -> None:
    """Which has an account of its own (DynamicUser=)."""
    os.chown(tmp_path, NOBODY, NOBODY)
    with another_user_listens(tmp_path) as path:
        assert ask(path, "GET", "/v1/status").body == {}


def test_a_path_where_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(LegLost, match=f"looked at {tmp_path}"):
        ask(tmp_path / "socket", "GET", "/v1/status")


# -- requests


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1", 421),
        ("", 421),
    ],
)
async def test_a_web_page_whose_name_is_this_machine(
    tmp_path: Path, host: str, status: int
) -> None:
    async with program(tmp_path) as one:
        answer = await one.says(CLOSE.replace(b"localhost", host.encode()))
        assert answer.startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize(
    "header", [b"Origin: http://localhost", b"Origin: null", b"Sec-Fetch-Site: cross-site"]
)
async def test_a_web_page_that_says_so(tmp_path: Path, header: bytes) -> None:
    async with program(tmp_path) as one:
        assert (await one.says(post(b"", header))).startswith(b"HTTP/1.1 403")
        assert one.asked == []


@pytest.mark.parametrize(
    "kind", [b"", b"Content-Type: text/plain", b"Content-Type: application/x-www-form-urlencoded"]
)
async def test_a_form_of_a_web_page(tmp_path: Path, kind: bytes) -> None:
    async with program(tmp_path) as one:
        body = b'{"kind": "remote", "forward": "x:1:localhost:1"}'
        answer = await one.says(post(body, kind) if kind else post(body))
        assert answer.startswith(b"HTTP/1.1 400")
        assert one.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"kind": "remote"}',
        b'{"kind": "remote", "forward": 1}',
        b'{"kind": "remote", "forward": "x:1:localhost:1", "more": ""}',
        json.dumps({"kind": "remote", "forward": "x:1:/\ud800"}).encode(),
        json.dumps({"kind": "remote", "forward": "x\udc80:1:a:1"}).encode(),
        json.dumps({"kind": "remote", "forward": "x:1:/a\0b"}).encode(),
        json.dumps({"kind": "\ud800", "forward": "x"}).encode(),
        json.dumps({"kind": "remote", "forward": "x" * 10_000 + ":1:a:1"}).encode(),
    ],
)
async def test_a_body_that_is_no_forward(tmp_path: Path, body: bytes) -> None:
    async with program(tmp_path) as one:
        answer = await one.says(post(body, b"Content-Type: application/json"))
        assert answer.startswith(b"HTTP/1.1 400"), answer
        assert "error" in bodies(answer)[0]
        assert one.asked == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\0" * 100 + b"\r\n\r\n", b"400"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nx\0: y\r\n\r\n", b"400"),
        (CLOSE.replace(b"1.1", b"1.0"), b"200"),
        (GET + b"garbage\r\n\r\n", b"200"),
        (CLOSE.replace(b"/v1/status", b"/v1/../../etc/passwd"), b"404"),
        (CLOSE.replace(b"/v1/status", b"http://localhost/v1/status"), b"404"),
        (CLOSE.replace(b"GET", b"CONNECT"), b"405"),
        (CLOSE.replace(b"GET", b"get"), b"405"),
        (CLOSE.replace(b"/v1/status", b"/v1/status?a=b"), b"400"),
        (CLOSE.replace(b"/v1/status", b"/v1/status?" + b"a&" * 100), b"400"),
        (b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 4096, b"431"),
        (b"x" * (MAX_HEAD + 1), b"431"),
        (b"POST /v1/exit HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"400"),
        (post(b"x" * (MAX_BODY + 1)), b"413"),
        (
            b"POST /v1/exit HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"1000\r\n%s\r\n" % (b"x" * 4096) * 100,
            b"413",
        ),
    ],
)
async def test_what_is_no_request(tmp_path: Path, data: bytes, status: bytes) -> None:
    async with program(tmp_path) as one:
        answer = await one.says(data)
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert all(isinstance(body, dict) for body in bodies(answer))
        assert (await one.call("GET", "/v1/status")).status == 200
        assert not one.exited.is_set()


async def test_a_body_that_is_announced_and_never_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT", 0.1)
    async with program(tmp_path) as one:
        head = b"POST /v1/exit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
        assert await one.says(head) == b""
        assert not one.exited.is_set()


async def test_a_request_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not keep it open."""
    monkeypatch.setattr(http, "REQUEST_TIMEOUT", 0.3)
    async with program(tmp_path) as one:

        def drip() -> None:
            with one.connect() as sock:
                while True:
                    sock.send(b"G")
                    select.select([sock], [], [], 0.02)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await anyio.to_thread.run_sync(drip)


async def test_who_asks_and_never_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_TIMEOUT", 0.1)
    async with program(tmp_path) as one:

        def ask_on() -> None:
            with one.connect() as sock:
                while True:
                    sock.sendall(GET * 100)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await anyio.to_thread.run_sync(ask_on)
        assert (await one.call("GET", "/v1/status")).status == 200


async def test_thousands_of_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for their turn, and then it is another's: the program keeps its descriptors."""
    monkeypatch.setattr(http, "REQUEST_TIMEOUT", 0.05)
    async with program(tmp_path) as one:
        before = len(os.listdir("/proc/self/fd"))

        def flood() -> None:
            with ExitStack() as stack:
                clients = [stack.enter_context(one.connect()) for _ in range(1000)]
                served = len(os.listdir("/proc/self/fd")) - before - len(clients)
                assert served <= CONNECTIONS + 8
                with one.connect() as honest:
                    assert talk_to(honest, CLOSE).startswith(b"HTTP/1.1 200")

        await anyio.to_thread.run_sync(flood)


async def test_a_fault_of_ours_ends_one_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with program(tmp_path) as one:
        monkeypatch.setattr(one.desired.forwards, "get", lambda key: 1 / 0)
        with pytest.raises(LegLost):
            await one.forward("x:1:localhost:1")
        assert (await one.call("GET", "/v1/status")).status == 200
