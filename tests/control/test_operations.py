"""relay/control/: what can be asked of a program, by its socket."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from relay.control import operations
from relay.control.http import encoded
from relay.core.forward import parse_forward
from relay.core.forwards import Far
from tests.control.bench import program

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_status(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        await one.forward("gpu1:8000:localhost:80")
        answer = await one.call("GET", "/v1/status")
        assert answer.status == 200
        assert answer.body["version"] == 1
        assert answer.body["program"] == "relay-agent"
        assert answer.body["destination"] == "b:22"
        assert not answer.body["connection"]["up"]
        (forward,) = answer.body["forwards"]
        assert forward == {
            "kind": "remote", "forward": "gpu1:8000:localhost:80", "listening": "gpu1:8000",
            "target": "localhost:80", "state": "granted", "port": 8000, "reason": "",
            "again_in": None, "stream_refused": "", "stream_refused_for": None,
        }  # fmt: skip


async def test_what_is_granted_stays(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        answer = await one.forward("gpu1:8000:localhost:80")
        assert (answer.status, answer.body["state"]) == (201, "granted")
        again = await one.forward("gpu1:8000:localhost:80")
        assert (again.status, again.body["state"]) == (200, "granted")
        assert one.asked == ["gpu1:8000:localhost:80"]
        one.desired.leg_lost()
        while len(one.asked) < 2:
            await one.desired.change()


async def test_what_is_refused_is_forgotten(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        answer = await one.forward("no:8000:localhost:80")
        assert (answer.status, answer.error) == (409, "no: refused by the server")
        assert list(one.desired.forwards) == []


async def test_what_was_wanted_before_is_not_forgotten(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        wanted = one.desired.want(parse_forward("no:8000:localhost:80"))
        await one.desired.settled(wanted)
        answer = await one.forward("no:8000:localhost:80")
        assert (answer.status, answer.error) == (409, "no: refused by the server")
        assert list(one.desired.forwards) == [wanted]


async def test_who_gets_no_answer_has_changed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "SERVER_WAIT", 0.0)
    async with program(tmp_path) as one:
        one.silent = True
        answer = await one.forward("gpu1:8000:localhost:80")
        assert (answer.status, answer.error) == (503, "there is no connection to b:22")
        assert not any(desired.wanted for desired in one.desired.forwards)


async def test_who_does_not_wait_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "SERVER_WAIT", 3600.0)
    async with program(tmp_path) as one:
        one.silent = True
        with one.connect() as sock:
            body = b'{"kind":"remote","forward":"gpu1:8000:localhost:80"}'
            sock.sendall(
                b"POST /v1/forwards HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                b"\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            while not list(one.desired.forwards):
                await one.desired.change()
        (desired,) = one.desired.forwards
        while desired.wanted:
            await one.desired.change()
        assert desired.far is Far.ASKED


async def test_cancel(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        for text in ("gpu1:8000:localhost:80", "gpu2:8000:localhost:80", "0:localhost:1"):
            assert (await one.forward(text)).status == 201
        # As it was asked for; by where it listens alone; by the port that was picked.
        assert (await one.cancels("gpu1:8000:localhost:80")).status == 200
        assert (await one.cancels("gpu2:8000", kind="remote-dynamic")).status == 200
        answer = await one.cancels("localhost:40000", kind="remote-dynamic")
        assert [each["state"] for each in answer.body["forwards"]] == ["withdrawing"]
        assert one.withdrawn == [
            "gpu1:8000:localhost:80", "gpu2:8000:localhost:80", "0:localhost:1",
        ]  # fmt: skip
        assert list(one.desired.forwards) == []
        # Another target is another forward.
        await one.forward("gpu1:8000:localhost:80")
        answer = await one.cancels("gpu1:8000:localhost:81")
        assert (answer.status, answer.error) == (404, "gpu1:8000:localhost:81 is not forwarded")


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("local", "1:localhost:80", "'local' is no kind of forward here"),
        ("remote", "nonsense", "is no forward"),
        ("remote", "gpu1:8000", "is no forward"),
        ("remote-dynamic", "gpu1:8000:localhost:80", "is no forward"),
        ("remote", "/a/socket:localhost:80", "a unix socket on the server's side is not served"),
    ],
)
async def test_what_is_no_forward(tmp_path: Path, kind: str, text: str, problem: str) -> None:
    async with program(tmp_path) as one:
        answer = await one.forward(text, kind)
        assert answer.status == 400
        assert problem in answer.error
        assert one.asked == []


async def test_exit(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        one.streams = 1
        answer = await one.call("POST", "/v1/exit")
        assert (answer.status, answer.body["streams"]) == (202, 1)
        await one.exited.wait()
        assert one.withdrawn == []
        assert not one.path.exists()


async def test_stop_waits_for_the_streams(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        await one.forward("gpu1:8000:localhost:80")
        one.streams = 1
        assert (await one.call("POST", "/v1/stop")).status == 202
        while one.withdrawn != ["gpu1:8000:localhost:80"]:
            await one.desired.change()
        # It takes no more commands, as ssh's master does not.
        assert not one.path.exists()
        assert not one.exited.is_set()
        one.streams = 0
        await one.exited.wait()


async def test_the_socket_is_its_users_alone(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        assert stat.S_IMODE(one.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(one.path.parent.stat().st_mode) == 0o700


async def test_several_in_one_connection(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        request = b"GET /v1/forwards HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        answer = await one.says(2 * request + last)
        assert answer.count(b"HTTP/1.1 200") == 3


async def test_many_at_once(tmp_path: Path) -> None:
    async with program(tmp_path) as one, anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(one.forward, f"gpu{number}:1:localhost:80")
    assert len(one.asked) == 100


async def test_head_has_no_body(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        answer = await one.says(
            b"HEAD /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405")
        assert b"Allow: GET" in head
        assert body == b""


async def test_a_long_answer_lets_others_have_their_turn() -> None:
    """Ten thousand legs must not stop everybody's streams."""
    rows = [{"leg": number, "comment": "somebody"} for number in range(10_000)]
    turns = 0

    async def rest_of_the_program() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rest_of_the_program)
        body = await encoded({"legs": rows})
        tasks.cancel_scope.cancel()
    assert json.loads(body) == {"legs": rows}
    assert turns > 100
