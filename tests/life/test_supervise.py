"""Staying connected, on trio's virtual clock: hours of it in no time, and no connection is real."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from itertools import cycle, pairwise
from typing import Any

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from relay.core.backoff import FIRST, LONGEST, REMINDED, SLOW
from relay.errors import (
    FileError,
    HostKeyRefused,
    LegLost,
    ProtocolViolation,
    Refused,
    RelayError,
)
from relay.events import Event, Events
from relay.events.client import Disconnected, NotConnected, StillTrying
from relay.life.supervise import Prompt, Supervisor
from relay.observe.lines import duration
from tests.told import logged

Up = Callable[[], None]

AWAY = LegLost("cannot connect to b:22: Connection refused")
NO_KEY = Refused("me@b:22: Permission denied (publickey)")


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The sentences that were logged so far."""
    logger = logging.getLogger("relay.test")
    logger.setLevel(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def supervisor(told: Events | None = None, **options: Any) -> Supervisor:
    settings: dict[str, Any] = {"once": False, "keep_trying": True, "random": lambda: 1.0}
    return Supervisor("b:22", told or logged(), **settings | options)


def run(main: Callable[[], Awaitable[None]], hours: float = 24.0) -> None:
    """Run for so long at most, of the virtual clock's time."""

    async def bounded() -> None:
        with trio.move_on_after(hours * 3600):
            await main()

    trio.run(bounded, clock=MockClock(autojump_threshold=0))


class Server:
    """What each attempt meets: how long the connection holds (0: it never comes up), and how it
    ends. When there is no more, the attempt returns."""

    def __init__(self, *meetings: tuple[float, Exception]) -> None:
        self.meetings = list(meetings)
        self.tried_at: list[float] = []
        self._began: float | None = None

    async def attempt(self, up: Up) -> None:
        now = anyio.current_time()
        self._began = now if self._began is None else self._began
        self.tried_at.append(now - self._began)
        if not self.meetings:
            up()
            return
        holds, error = self.meetings.pop(0)
        if holds:
            up()
            await anyio.sleep(holds)
        raise error


def test_a_server_that_is_away_is_tried_ever_more_rarely() -> None:
    server = Server(*[(0, AWAY)] * 9)
    run(lambda: supervisor().run(server.attempt))
    assert server.tried_at == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 91.5, 121.5]


def test_a_connection_that_held_begins_anew() -> None:
    server = Server((0, AWAY), (0, AWAY), (10, AWAY), (0, AWAY))
    run(lambda: supervisor().run(server.attempt))
    assert server.tried_at == [0, 0.5, 1.5, 12, 13]


def test_a_connection_that_did_not_hold_does_not() -> None:
    server = Server(*[(9.9, AWAY)] * 4)
    run(lambda: supervisor().run(server.attempt))
    waits = [b - a - 9.9 for a, b in zip(server.tried_at, server.tried_at[1:], strict=False)]
    assert waits == pytest.approx([0.5, 1, 2, 4])


@given(st.lists(st.floats(0, 1), min_size=200, max_size=200), st.floats(0, 60))
def test_who_is_back_is_found_in_about_the_time_that_he_was_away(
    drawn: list[float], away: float
) -> None:
    """However the tries fall: no wait is longer than all that went before it."""
    source = cycle(drawn)
    server = Server((60, AWAY), *[(0, AWAY)] * 150)
    back_at = 60 + away
    run(
        lambda: supervisor(random=lambda: next(source)).run(server.attempt),
        hours=(back_at + LONGEST + 1) / 3600,
    )
    found_at = next((at for at in server.tried_at if at >= back_at), None)
    if found_at is None:
        assert not server.meetings, "it was not found"
    else:
        assert found_at - back_at <= min(away + FIRST, LONGEST)


def test_a_connection_that_comes_and_goes_is_not_made_more_often_for_that() -> None:
    """It is away since it was last there for long."""
    server = Server((60, AWAY), *[(9, AWAY)] * 9)
    run(lambda: supervisor().run(server.attempt))
    waits = [b - a - 9 for a, b in zip(server.tried_at[1:], server.tried_at[2:], strict=False)]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30, 30])


# -- who waits for it


class Want:
    """Somebody who begins to wait for the connection at a time."""

    def __init__(self, at: float) -> None:
        self._at = at

    async def __call__(self) -> None:
        await anyio.sleep(max(0.0, self._at - anyio.current_time()))


def test_who_waits_for_it_makes_the_wait_short() -> None:
    server = Server(*[(0, AWAY)] * 8)
    run(lambda: supervisor(wanted=Want(at=70)).run(server.attempt))
    assert server.tried_at == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 74]


def test_as_long_as_somebody_waits_it_is_tried_often_but_not_without_pause() -> None:
    server = Server(*[(0, AWAY)] * 1000)
    run(lambda: supervisor(wanted=Want(at=0)).run(server.attempt))
    assert server.tried_at[:6] == [0, 0.5, 1.5, 3.5, 7.5, 11.5]
    assert server.tried_at[-1] > 990 * 4


def test_who_waits_does_not_make_a_short_wait_longer() -> None:
    server = Server((0, AWAY))
    run(lambda: supervisor(wanted=Want(at=0.4)).run(server.attempt))
    assert server.tried_at == [0, 0.5]


def test_who_waits_does_not_hurry_a_lasting_refusal() -> None:
    server = Server((0, NO_KEY))
    run(lambda: supervisor(wanted=Want(at=0)).run(server.attempt))
    assert server.tried_at == [0, SLOW]


@pytest.mark.parametrize(
    "error", [AWAY, ProtocolViolation("a packet of 0 bytes"), OSError(24, "Too many open files")]
)
def test_what_passes_is_tried_again_even_where_refusals_are_not(error: Exception) -> None:
    server = Server((0, error), (20, error))
    run(lambda: supervisor(keep_trying=False).run(server.attempt))
    assert server.tried_at == [0, 0.5, 21]


LASTING = [
    NO_KEY,
    HostKeyRefused("the host key of b has changed"),
    RelayError("no cipher in common"),
]


@pytest.mark.parametrize("error", LASTING)
@pytest.mark.parametrize("held", [0, 60])
def test_a_lasting_refusal_is_tried_slowly(error: RelayError, held: float) -> None:
    server = Server((held, error), (0, error))
    run(lambda: supervisor().run(server.attempt))
    assert server.tried_at == [0, held + SLOW, held + 2 * SLOW]


@pytest.mark.parametrize("error", LASTING)
@pytest.mark.parametrize("held", [0, 60])
def test_a_lasting_refusal_ends_who_does_not_keep_trying(error: RelayError, held: float) -> None:
    server = Server((held, error))
    with pytest.raises(type(error), match=str(error)[:10]):
        run(lambda: supervisor(keep_trying=False).run(server.attempt))
    assert server.tried_at == [0]


@pytest.mark.parametrize("error", [AWAY, NO_KEY, FileError("key", "gone")])
@pytest.mark.parametrize("held", [0, 60])
def test_once_is_once(error: RelayError, held: float) -> None:
    server = Server((held, error))
    with pytest.raises(type(error)):
        run(lambda: supervisor(once=True).run(server.attempt))
    assert server.tried_at == [0]


def test_what_is_wrong_here_ends_the_first_try_and_no_later_one() -> None:
    missing = FileError("key", "No such file or directory")
    with pytest.raises(FileError):
        run(lambda: supervisor().run(Server((0, missing)).attempt))
    server = Server((20, AWAY), (0, missing))
    run(lambda: supervisor().run(server.attempt))
    assert server.tried_at == [0, 20.5, 20.5 + SLOW]


def test_patience_is_for_the_first_connection_only() -> None:
    server = Server(*[(0, AWAY)] * 9)
    with pytest.raises(LegLost):
        run(lambda: supervisor(patience=15).run(server.attempt))
    assert server.tried_at == [0, 0.5, 1.5, 3.5, 7.5]
    server = Server((60, AWAY), *[(0, AWAY)] * 9)
    run(lambda: supervisor(patience=15).run(server.attempt))
    assert not server.meetings


def test_without_patience_there_is_one_try() -> None:
    with pytest.raises(LegLost):
        run(lambda: supervisor(patience=0).run(Server((0, AWAY)).attempt))


def test_a_mistake_of_ours_is_not_tried_again() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: supervisor().run(Server((0, ZeroDivisionError())).attempt))


# -- what it says


def test_one_line_when_it_is_lost_and_one_when_it_is_back(
    events: Callable[[], list[str]],
) -> None:
    run(lambda: supervisor().run(Server((3600, LegLost("no answer")), (0, AWAY)).attempt))
    assert events() == [
        "lost b:22: no answer; trying again in 0.5 s",
        "cannot connect to b:22: Connection refused; trying again in 1.0 s",
        "connected to b:22 again, after 1.5 s",
    ]


def test_the_first_connection_is_the_programs_to_tell(events: Callable[[], list[str]]) -> None:
    run(lambda: supervisor().run(Server((0, AWAY)).attempt))
    assert len(events()) == 1


def test_the_server_is_named_once_in_a_line(events: Callable[[], list[str]]) -> None:
    run(lambda: supervisor().run(Server((60, LegLost("b:22: no answer"))).attempt))
    assert events()[0].startswith("lost b:22: no answer;")


def test_a_long_absence_is_no_flood(events: Callable[[], list[str]]) -> None:
    server = Server(*[(0, AWAY)] * 100_000)
    run(lambda: supervisor().run(server.attempt), hours=24)
    assert len(server.tried_at) > 2800
    assert 24 * 60 - 1 <= len(events()) < 24 * 60 + 30


def test_a_connection_that_comes_and_goes_is_no_flood(events: Callable[[], list[str]]) -> None:
    server = Server(*[(1, LegLost("closed"))] * 100_000)
    run(lambda: supervisor().run(server.attempt), hours=24)
    assert len(server.tried_at) > 2700
    # Each loss that is said has its return; and once a minute there is a word.
    said = [line for line in events() if "still trying" not in line]
    assert 2 < len(said) < 60
    assert sum("lost" in line for line in said) - sum("again, after" in line for line in said) < 2
    assert len(events()) < 24 * 60 + 60


def told_at() -> tuple[Events, list[float]]:
    """When there was a warning, in seconds of the virtual clock."""
    times: list[float] = []
    began = None

    def sink(event: Event) -> None:
        nonlocal began
        if isinstance(event, NotConnected | Disconnected | StillTrying):
            began = anyio.current_time() if began is None else began
            times.append(anyio.current_time() - began)

    return Events(sink), times


@pytest.mark.parametrize("error", [AWAY, NO_KEY, LegLost("no answer")])
@pytest.mark.parametrize("held", [0, 1])
def test_no_minute_without_a_word(error: RelayError, held: float) -> None:
    """Whatever the waits are, and though the reason is the same."""
    told, times = told_at()
    run(lambda: supervisor(told).run(Server(*[(held, error)] * 10_000).attempt), hours=2)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert max(pauses) <= REMINDED + held
    assert times[-1] > 7100


def test_the_word_says_since_when_why_and_what_is_next(
    events: Callable[[], list[str]],
) -> None:
    run(lambda: supervisor().run(Server((0, NO_KEY), (0, NO_KEY)).attempt))
    assert events()[1] == (
        "still trying b:22, for 60 s now: me@b:22: Permission denied (publickey); again in 60 s"
    )


def test_where_there_is_a_connection_nothing_is_said(events: Callable[[], list[str]]) -> None:
    run(lambda: supervisor().run(Server((3600, AWAY)).attempt))
    assert len(events()) == 2


# -- a prompt


@pytest.mark.parametrize("error", [AWAY, NO_KEY, FileError("key", "gone")])
def test_a_prompt_is_obeyed_at_once_whatever_the_reason(error: RelayError) -> None:
    prompt = Prompt()
    server = Server((60, error), *[(0, error)] * 30)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor(prompt=prompt).run, server.attempt)
            await anyio.sleep(777.25)
            tried = len(server.tried_at)
            prompt()
            await anyio.sleep(0.01)
            assert server.tried_at[tried:] == [777.25]
            # What passes by itself is then tried as often as at first.
            await anyio.sleep(0.5)
            assert len(server.tried_at) == tried + (2 if error is AWAY else 1)
            tasks.cancel_scope.cancel()

    run(main)


def test_a_prompt_for_nobody_is_no_promise() -> None:
    """Given while there is a connection, it does not make the wait after its loss shorter."""
    prompt = Prompt()
    server = Server((60, NO_KEY))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor(prompt=prompt).run, server.attempt)
            await anyio.sleep(30)
            prompt()

    run(main)
    assert server.tried_at == [0, 60 + SLOW]


def test_the_line_for_machines_has_the_reason_and_the_delay(
    caplog: pytest.LogCaptureFixture, events: Callable[[], list[str]]
) -> None:
    run(lambda: supervisor().run(Server((60, LegLost("no answer"))).attempt))
    record = caplog.records[0]
    assert record.event == "leg lost"  # type: ignore[attr-defined]
    fields = record.fields  # type: ignore[attr-defined]
    assert json.dumps(fields) == '{"where": "b:22", "reason": "no answer", "delay": "0.5 s"}'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (15, "15 s"), (240, "4 min"), (86400, "24 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
