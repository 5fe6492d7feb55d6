"""relay/agent/health.py: who is asked, when (on a virtual clock), and what counts as an answer."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import anyio
import pytest
import trio.testing

from relay.agent.health import MAX_HEAD, Checker, ask
from relay.agent.published import Publishable
from relay.core.forward import Forward, parse_forward
from relay.core.health import Check, Checks, Rhythm
from relay.events import Event, Events
from relay.events.client import ServiceDown, ServiceUp
from relay.life.reconcile import Reconciler

GPU1 = parse_forward("gpu1:8000:localhost:1")
GPU2 = parse_forward("gpu2:8000:localhost:2")


class World:
    """Services that say what they are told to."""

    def __init__(self) -> None:
        self.desired: Reconciler[Publishable] = Reconciler()
        self.told: list[Event] = []
        self.refused: list[str] = []
        self.answers: dict[Publishable, str] = {}
        self.asked: list[tuple[float, Publishable]] = []
        checks = Checks(Rhythm(5.0, 3.0, 2), Check(), {})
        self.checker = Checker(
            checks, self.desired, Events(self.told.append), self.refused.append, self.probe
        )

    async def probe(self, forward: Forward, check: Check) -> str:
        self.asked.append((anyio.current_time(), forward))
        answer = self.answers.get(forward, "")
        if answer == "nothing":
            await anyio.sleep_forever()
        if answer == "refused":
            raise ConnectionRefusedError(111, "Connection refused")
        return answer

    def times(self, forward: Forward = GPU1) -> list[float]:
        return [time for time, asked in self.asked if asked is forward]


Story = Callable[[World], Awaitable[None]]


def play(story: Story, before: Callable[[World], object] = lambda world: None) -> World:
    """From the first answers on."""
    worlds = []

    async def main() -> None:
        world = World()
        worlds.append(world)
        world.desired.want(GPU1)
        before(world)
        async with anyio.create_task_group() as tasks:
            await tasks.start(world.checker.run)
            await story(world)
            tasks.cancel_scope.cancel()

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(main, backend="trio", backend_options={"clock": clock})
    return worlds[0]


def test_it_is_withdrawn_and_comes_back() -> None:
    async def story(world: World) -> None:
        (desired,) = world.desired.forwards
        await anyio.sleep(1)
        world.answers[GPU1] = "refused"
        await anyio.sleep(5)
        assert not desired.down
        await anyio.sleep(5)
        assert (desired.down, desired.down_since) == ("connection refused", 5.0)
        world.answers[GPU1] = "HTTP 503"
        await anyio.sleep(5)
        assert desired.down == "HTTP 503"
        world.answers[GPU1] = ""
        await anyio.sleep(10)
        assert not desired.down

    world = play(story)
    assert world.told == [
        ServiceDown("gpu1:8000", "localhost:1", "connection refused"),
        ServiceUp("gpu1:8000", "localhost:1", 20.0),
    ]
    assert world.times() == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]


def test_what_is_down_at_the_start_is_never_published() -> None:
    async def story(world: World) -> None:
        assert anyio.current_time() == 3.0
        down = {one.key: one.down for one in world.desired.forwards}
        assert down == {GPU1: "no answer within 3 s", GPU2: ""}

    def silent(world: World) -> None:
        world.desired.want(GPU2)
        world.answers[GPU1] = "nothing"

    play(story, silent)


def test_one_that_does_not_answer_keeps_no_other_waiting() -> None:
    async def story(world: World) -> None:
        world.answers[GPU1] = "nothing"
        world.desired.want(GPU2)
        await anyio.sleep(11)
        assert world.times(GPU2) == [0.0, 5.0, 10.0]
        assert world.times(GPU1) == [0.0, 5.0, 10.0]

    play(story)


def test_what_is_not_wanted_any_more_is_not_asked() -> None:
    async def story(world: World) -> None:
        world.desired.drop(GPU1)
        await anyio.sleep(60)
        assert world.times() == [0.0]
        world.desired.want(GPU1)
        await anyio.sleep(6)
        assert world.times() == [0.0, 60.0, 65.0]

    play(story)


# -- what counts as an answer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def serve(stack: ExitStack, listener: socket.socket, answer: bytes, asked: list[bytes]) -> None:
    """Answer one request with this, and hang up."""

    def run() -> None:
        sock, _ = listener.accept()
        with sock:
            asked.append(sock.recv(4096))
            try:
                sock.sendall(answer)
            except OSError:
                pass

    thread = Thread(target=run)
    thread.start()
    stack.callback(thread.join)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n" + bytes(10**6), ""),
        (b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "HTTP 503"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP 404"),
        (b"", "it hung up without an answer"),
        (b"HTTP/1.1 200", "it hung up without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "its answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6, "its answer is too long"),
        (b"HTTP/1.1 103 Hints\r\n\r\n" * 10**5, "its answer is too long"),
    ],
)
async def test_http(answer: bytes, problem: str) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        asked: list[bytes] = []
        serve(stack, listener, answer, asked)
        said = await ask(parse_forward(f"gpu1:1:127.0.0.1:{port}"), Check("/health?a=b"))
        assert said == problem
    (request,) = asked
    assert request.startswith(b"GET /health?a=b HTTP/1.1\r\n")
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % port in request
    assert len(request) < MAX_HEAD


@pytest.mark.anyio
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    forward = Forward("gpu1", 1, target_path=path)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        with pytest.raises(ConnectionRefusedError):
            await ask(forward, Check())
        listener.listen()
        assert await ask(forward, Check()) == ""
        listener.accept()[0].close()
        asked: list[bytes] = []
        serve(stack, listener, b"HTTP/1.1 200 OK\r\n\r\n", asked)
        assert await ask(forward, Check("/")) == ""
    assert b"\r\nHost: localhost\r\n" in asked[0]
