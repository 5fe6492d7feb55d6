"""A stream that one agent does not serve goes to another that shares the service, before its first
byte: the opener hears of none of it."""

from __future__ import annotations

import pytest

from relay.core.grants import Grant
from relay.errors import ProtocolViolation
from relay.server import routing
from relay.server.routing import MOST_TRIED
from relay.server.splices import SplicedStream, SpliceEnd
from relay.ssh.server import ServerLeg
from relay.wire import messages
from relay.wire.numbers import MSG_CHANNEL_OPEN_CONFIRMATION, OpenFailure
from tests.server.test_routing import World
from tests.ssh.bench import C_NUMBER, server_leg

pytestmark = pytest.mark.anyio

NUMBER = 100
NO = OpenFailure.CONNECT_FAILED


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Shared(World):
    """A service that several agents share; the last opened stream is `stream`."""

    def __init__(self, agents: int = 2) -> None:
        super().__init__()
        self.legs = [server_leg(self.bench.engine) for _ in range(agents)]
        self.ways[:] = [self.bench.route(leg) for leg in self.legs]

    def ask(self, number: int = NUMBER) -> SplicedStream:
        end = self.open()
        assert isinstance(end, SpliceEnd)
        end.opened_by_peer(number, 2**20, 2**15)
        return end.stream

    def asked(self) -> list[SplicedStream]:
        """The streams that agents have not answered, by agent."""
        return [
            one.stream for leg in self.legs for one in leg.mux.channels.values()
            if isinstance(one, SpliceEnd) and one.stream.splice.is_awaited
        ]  # fmt: skip

    def heard(self) -> list[bytes]:
        """What the opener has been told."""
        self.bench.engine.flush()
        return self.bench.read(self.bench.a)


def refuse(stream: SplicedStream, code: int = NO) -> ServerLeg:
    """Its agent does. Returns which."""
    end = stream.ends[1]
    end.failed(code, "connection refused")
    return end.leg


async def test_a_refusal_goes_to_the_other_and_the_opener_hears_its_answer() -> None:
    world = Shared()
    first = world.ask()
    assert refuse(first) is world.legs[0]
    (second,) = world.asked()
    assert second.route is world.ways[1]
    assert world.heard() == []
    second.ends[1].confirmed(C_NUMBER, 2**20, 2**15)
    (answer,) = world.heard()
    assert answer[0] == MSG_CHANNEL_OPEN_CONFIRMATION
    assert first.splice.over
    assert first.failure == "connection refused; another agent is asked"
    assert not world.legs[0].mux.channels
    assert [way.traffic.open for way in world.ways] == [0, 1]
    assert world.bench.a.traffic.open == 2  # One is the bench's own.
    assert len(world.bench.a.mux.channels) == 2


async def test_each_is_asked_once_and_the_last_ones_word_is_the_answer() -> None:
    world = Shared(3)
    stream = world.ask()
    asked = []
    while stream is not None:
        asked.append(refuse(stream))
        stream = next(iter(world.asked()), None)  # type: ignore[assignment]
    assert asked == world.legs
    assert world.heard() == [messages.open_failure(NUMBER, NO, "connection refused")]
    assert world.bench.a.traffic.open == 1
    assert len(world.bench.a.mux.channels) == 1


async def test_one_that_publishes_again_is_not_asked_again() -> None:
    world = Shared(1)
    stream = world.ask()
    world.ways[:] = [world.bench.route(world.legs[0])]
    refuse(stream)
    assert not world.asked()
    assert len(world.heard()) == 1


async def test_an_open_has_an_end_however_many_refuse_it() -> None:
    world = Shared(2 * MOST_TRIED)
    world.ask()
    for _ in range(MOST_TRIED):
        (stream,) = world.asked()
        refuse(stream)
    assert not world.asked()
    assert len(world.heard()) == 1


async def test_after_a_while_no_other_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "ANSWER_TIMEOUT", 0.0)
    world = Shared()
    refuse(world.ask())
    assert not world.asked()
    assert len(world.heard()) == 1


async def test_who_has_refused_is_asked_last_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """It always has the fewest streams, and would be asked first by everybody."""
    world = Shared()
    refuse(world.ask())
    for number in range(3):
        stream = next(one for one in world.asked() if one.route is world.ways[1])
        stream.ends[1].confirmed(C_NUMBER + number, 2**20, 2**15)
        world.ask(NUMBER + 1 + number)
        assert all(one.route is world.ways[1] for one in world.asked())
    # If all have refused, that says nothing.
    for _ in world.ways:
        (one,) = world.asked()
        refuse(one)
    assert not world.asked()
    monkeypatch.setattr(routing, "PASSED_OVER", 0.0)
    assert world.ask(NUMBER + 9).route is world.ways[0]


async def test_who_serves_one_again_is_forgiven() -> None:
    world = Shared(1)
    refuse(world.ask())
    assert world.ways[0].refused_at > 0
    world.ask(NUMBER + 1).ends[1].confirmed(C_NUMBER, 2**20, 2**15)
    assert world.ways[0].refused_at < 0


@pytest.mark.parametrize("code", [1, 3, 4])
async def test_another_refusal_is_final(code: int) -> None:
    world = Shared()
    refuse(world.ask(), code)
    assert not world.asked()
    assert world.heard() == [messages.open_failure(NUMBER, code, "connection refused")]


async def test_an_agent_that_is_lost_before_it_has_answered() -> None:
    world = Shared()
    stream = world.ask()
    world.legs[0].mux.channels.clear()
    stream.ends[1].leg_lost()
    (second,) = world.asked()
    assert second.route is world.ways[1]
    second.ends[1].leg_lost()
    (answer,) = world.heard()
    assert b"connection to the service's agent was lost" in answer


async def test_an_opener_that_is_gone_by_then_is_asked_for_no_more() -> None:
    world = Shared()
    stream = world.ask()
    stream.ends[0].leg_lost()
    refuse(stream)
    assert not world.asked()
    assert stream.splice.over


async def test_rights_are_judged_anew() -> None:
    world = Shared()
    stream = world.ask()
    entry = world.bench.a.entry
    assert entry is not None
    world.bench.a.entry = None  # As a key that was taken out of authorized_keys.
    refuse(stream)
    assert not world.asked()
    assert len(world.heard()) == 1
    assert entry.grant == Grant()


async def test_a_relay_that_ends_asks_nobody_else() -> None:
    world = Shared()
    stream = world.ask()
    world.drain.begin()
    refuse(stream)
    assert not world.asked()


async def test_an_answer_is_final() -> None:
    """Who confirms and then refuses breaks the protocol, and no stream of others."""
    world = Shared()
    stream = world.ask()
    stream.ends[1].confirmed(C_NUMBER, 2**20, 2**15)
    with pytest.raises(ProtocolViolation):
        refuse(stream)
    assert not world.asked()
    assert not stream.failure
