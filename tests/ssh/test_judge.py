"""Who is in is judged again, on trio's virtual clock; the legs are none, but for their rights."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from trio.testing import MockClock

from relay.core.limits import JUDGED_AT_ONCE, LOOK_INTERVAL
from relay.events import LegName
from relay.ssh.judge import Judge
from relay.ssh.server import ServerLeg
from relay.trust.authorized_keys import AuthorizedKeys, Entry, Refusal
from relay.trust.keyfile import KeyFile
from tests.told import logged
from tests.trust.test_keyfile import KEY

START = datetime(2025, 6, 1, 12, tzinfo=UTC)


class Leg:
    """What the judge sees of a `ServerLeg`."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.logged_in = True
        self.alive = True
        self.ended = ""
        self.name = LegName(1, "SHA256:x", "", "192.0.2.1:1")

    def judge(self, keys: AuthorizedKeys, now: datetime) -> str | None:
        found = keys.find(self.entry.blob, address="192.0.2.1", now=now)
        if isinstance(found, Refusal):
            return found.reason
        self.entry = found
        return None

    def dismiss(self, reason: str, code: int) -> None:
        self.alive = False
        self.ended = reason


class Court:
    """A file, a judge, and what he decided."""

    def __init__(self, folder: Path, text: str = KEY, legs: int = 1) -> None:
        self.path = folder / "authorized_keys"
        self.path.write_text(text)
        self.file = KeyFile(self.path, logged())
        entries = self.file.keys().entries
        self.legs: list[Any] = [Leg(entries[0]) for _ in range(legs)]
        self.changed: list[ServerLeg] = []
        self.settled = 0
        self.turns: list[int] = []

    def _settled(self) -> None:
        self.settled += 1

    @property
    def ended(self) -> int:
        return sum(not leg.alive for leg in self.legs)

    def run(self, story: Callable[[Judge], Awaitable[None]]) -> None:
        async def main() -> None:
            began = anyio.current_time()
            judge = Judge(
                self.file, logged(), self.legs, self.changed.append, self._settled,
                lambda: START + timedelta(seconds=anyio.current_time() - began),
            )  # fmt: skip
            for leg in self.legs:
                judge.leg_up(leg)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(judge.run)
                await anyio.sleep(10.5 * LOOK_INTERVAL)
                await story(judge)
                tasks.cancel_scope.cancel()

        trio.run(main, clock=MockClock(autojump_threshold=0))


def looks(number: int) -> Awaitable[None]:
    return anyio.sleep(number * LOOK_INTERVAL)


def test_a_key_that_is_gone_loses_its_leg(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    court = Court(tmp_path)

    async def story(judge: Judge) -> None:
        court.path.write_text("# nobody\n")
        await looks(2)
        assert court.ended == 1

    court.run(story)
    assert "may not be here any more: unknown key" in caplog.text


def test_a_file_that_is_just_written_throws_nobody_out(tmp_path: Path) -> None:
    court = Court(tmp_path)

    async def story(judge: Judge) -> None:
        for text in ("", "#", "", KEY[:20], KEY[:40]):
            court.path.write_text(text)
            court.file.keys()  # A login.
            await looks(1)
        court.path.write_text(KEY)
        await looks(5)
        assert court.ended == 0
        court.path.unlink()
        await looks(5)
        assert court.ended == 0

    court.run(story)


def test_other_rights_are_told_and_the_leg_goes_on(tmp_path: Path) -> None:
    court = Court(tmp_path)

    async def story(judge: Judge) -> None:
        before = court.settled
        court.path.write_text(f'permitopen="gpu1:1" {KEY}')
        await looks(2)
        assert court.changed == court.legs
        assert court.legs[0].entry.grant.permitopen
        court.path.write_text(f'# moved\npermitopen="gpu1:1" {KEY}')
        await looks(2)
        assert court.changed == court.legs
        assert court.ended == 0
        assert court.settled == before + 2

    court.run(story)


def test_the_address_counts_again(tmp_path: Path) -> None:
    court = Court(tmp_path)

    async def story(judge: Judge) -> None:
        court.path.write_text(f'from="192.0.2.0/24" {KEY}')
        await looks(2)
        assert court.ended == 0
        court.path.write_text(f'from="10.0.0.0/8" {KEY}')
        await looks(2)
        assert court.ended == 1

    court.run(story)


def test_asked_by_its_operator_it_judges_at_once(tmp_path: Path) -> None:
    court = Court(tmp_path)

    async def story(judge: Judge) -> None:
        court.path.write_text("")
        judge.ask()
        await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.001)
        assert court.ended == 1

    court.run(story)


def test_a_key_ends_when_its_time_comes(tmp_path: Path) -> None:
    court = Court(tmp_path, f'expiry-time="20250601121000Z" {KEY}')

    async def story(judge: Judge) -> None:
        await anyio.sleep(580)
        assert court.ended == 0
        await anyio.sleep(12)
        assert court.ended == 1

    court.run(story)


def test_a_time_that_is_put_off_counts(tmp_path: Path) -> None:
    court = Court(tmp_path, f'expiry-time="20250601121000Z" {KEY}')

    async def story(judge: Judge) -> None:
        court.path.write_text(f'expiry-time="20250601122000Z" {KEY}')
        await anyio.sleep(700)
        assert court.ended == 0
        await anyio.sleep(500)
        assert court.ended == 1

    court.run(story)


def test_a_later_line_for_the_same_key_takes_over(tmp_path: Path) -> None:
    court = Court(tmp_path, f'expiry-time="20250601121000Z" {KEY}permitopen="none" {KEY}')

    async def story(judge: Judge) -> None:
        await anyio.sleep(700)
        assert court.ended == 0
        assert court.changed == court.legs

    court.run(story)


def test_many_legs_are_judged_a_few_at_a_time(tmp_path: Path) -> None:
    court = Court(tmp_path, legs=10 * JUDGED_AT_ONCE)

    async def story(judge: Judge) -> None:
        court.path.write_text("")
        judge.ask()
        seen = []
        while court.ended < len(court.legs):
            seen.append(court.ended)
            await anyio.lowlevel.checkpoint()
        # Of the two tasks the judge may have two turns between two of this one's.
        assert max(after - before for before, after in pairwise(seen)) <= 2 * JUDGED_AT_ONCE

    court.run(story)


def test_a_leg_that_goes_meanwhile_is_let_go(tmp_path: Path) -> None:
    court = Court(tmp_path, f'expiry-time="20250601121000Z" {KEY}')

    async def story(judge: Judge) -> None:
        judge.leg_down(court.legs[0])
        court.legs[0].alive = False
        await anyio.sleep(700)
        assert court.legs[0].ended == ""

    court.run(story)
