"""Who waits for a leg and for how long, on trio's virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import pytest
import trio
from anyio.abc import TaskGroup
from trio.testing import MockClock

from relay.opener.gate import AGAIN, Gate, Visitor


@dataclass(eq=False)
class Leg:
    alive: bool = True


class Clients:
    """Connections that come to a gate, and what became of each and when."""

    def __init__(self, gate: Gate[Leg]) -> None:
        self._gate = gate
        self._began = anyio.current_time()
        # How often each was refused.
        self.tries: dict[str, int] = {}
        self.ends: dict[str, tuple[float, Leg | None]] = {}

    def come(self, name: str) -> None:
        def end(leg: Leg | None) -> None:
            assert name not in self.ends
            self.ends[name] = anyio.current_time() - start, leg

        start = anyio.current_time()
        self._gate.enter(Visitor(end, lambda: end(None)))

    def come_for(self, name: str, published_at: float) -> None:
        """For a service that is there only from then on."""

        def begin(leg: Leg) -> None:
            if anyio.current_time() - self._began < published_at:
                self.tries[name] = self.tries.get(name, 0) + 1
                if self._gate.may_enter_again(visitor.came):
                    self._gate.enter_again(visitor)
                    return
                end(None)
            else:
                end(leg)

        def end(leg: Leg | None) -> None:
            assert name not in self.ends
            self.ends[name] = anyio.current_time() - start, leg

        start = anyio.current_time()
        visitor = Visitor(begin, lambda: end(None))
        self._gate.enter(visitor)


Main = Callable[[Gate[Leg], Clients, TaskGroup], Awaitable[None]]


def run(main: Main, wait: float = 15.0) -> dict[str, tuple[float, Leg | None]]:
    async def in_tasks() -> Clients:
        async with anyio.create_task_group() as tasks:
            gate: Gate[Leg] = Gate(wait, tasks)
            clients = Clients(gate)
            await main(gate, clients, tasks)
        return clients

    return trio.run(in_tasks, clock=MockClock(autojump_threshold=0)).ends


def test_with_a_leg_nobody_waits() -> None:
    leg = Leg()

    async def main(gate: Gate[Leg], clients: Clients, _: TaskGroup) -> None:
        gate.open(leg)
        clients.come("a")
        assert clients.ends == {"a": (0, leg)}

    run(main)


def test_who_waits_is_let_through_together_and_in_turn() -> None:
    leg = Leg()

    async def main(gate: Gate[Leg], clients: Clients, _: TaskGroup) -> None:
        clients.come("a")
        await anyio.sleep(5)
        clients.come("b")
        await anyio.sleep(5)
        gate.open(leg)

    assert run(main) == {"a": (10, leg), "b": (5, leg)}


def test_who_has_waited_long_enough_is_turned_away() -> None:
    leg = Leg()

    async def main(gate: Gate[Leg], clients: Clients, _: TaskGroup) -> None:
        clients.come("early")
        await anyio.sleep(10)
        clients.come("late")
        await anyio.sleep(10)
        gate.open(leg)

    assert run(main) == {"early": (15, None), "late": (10, leg)}


def test_a_leg_that_is_gone_is_none() -> None:
    first, second = Leg(), Leg()

    async def main(gate: Gate[Leg], clients: Clients, _: TaskGroup) -> None:
        gate.open(first)
        first.alive = False
        clients.come("a")
        await anyio.sleep(3)
        gate.open(second)

    assert run(main) == {"a": (3, second)}


def test_a_leg_that_dies_before_it_is_used_keeps_them_waiting() -> None:
    first, second = Leg(), Leg()

    async def main(gate: Gate[Leg], clients: Clients, _: TaskGroup) -> None:
        clients.come("a")
        await anyio.sleep(1)
        gate.open(first)
        first.alive = False
        await anyio.sleep(1)
        gate.open(second)

    assert run(main) == {"a": (2, second)}


def test_the_gate_tells_while_somebody_waits() -> None:
    wanted_at: list[float] = []

    async def main(gate: Gate[Leg], clients: Clients, tasks: TaskGroup) -> None:
        began = anyio.current_time()

        async def listen() -> None:
            for _ in range(6):
                await gate.wanted()
                wanted_at.append(anyio.current_time() - began)
                await anyio.sleep(2)

        tasks.start_soon(listen)
        await anyio.sleep(1)
        clients.come("waits until it is turned away")
        await anyio.sleep(6)
        clients.come("and another one in that time")
        await anyio.sleep(1)
        gate.open(Leg())
        await anyio.sleep(12)
        gate.open(Leg(alive=False))
        clients.come("later")

    run(main, wait=5)
    assert wanted_at == [1, 3, 5, 7, 20, 22]


@pytest.mark.parametrize("there", [False, True])
def test_no_wait_at_all(there: bool) -> None:
    leg = Leg()

    async def main(gate: Gate[Leg], clients: Clients, _: TaskGroup) -> None:
        if there:
            gate.open(leg)
        clients.come("a")

    assert run(main, wait=0) == {"a": (0, leg if there else None)}


# -- a leg, and no service behind it yet


@pytest.mark.parametrize(
    ("comes", "up", "published", "end"),
    [
        pytest.param(0, 0, 3.5, 4, id="a little later"),
        pytest.param(0, 5, 8.5, 9, id="who waited for the leg as well"),
        pytest.param(8, 5, 12.5, 5, id="who came when the leg was there"),
        pytest.param(0, 5, 100, None, id="never, for who waited from the start"),
        pytest.param(10, 5, 100, None, id="never, for who came later"),
        pytest.param(25, 5, 100, None, id="never, when the leg has long been there"),
    ],
)
def test_a_service_that_is_not_there_yet(
    comes: float, up: float, published: float, end: float | None
) -> None:
    leg = Leg()
    ends: dict[str, tuple[float, Leg | None]] = {}
    tries: dict[str, int] = {}

    async def main(gate: Gate[Leg], clients: Clients, tasks: TaskGroup) -> None:
        nonlocal ends, tries
        ends, tries = clients.ends, clients.tries
        tasks.start_soon(later, up, lambda: gate.open(leg))
        tasks.start_soon(later, comes, lambda: clients.come_for("a", published))

    run(main)
    if end is not None:
        assert ends == {"a": (end, leg)}
        return
    took, given = ends["a"]
    assert given is None
    last = max(0.0, min(comes, up) + 15 - comes)
    assert last - AGAIN <= took <= last
    assert (tries["a"] == 1) is (last == 0)


async def later(seconds: float, do: Callable[[], None]) -> None:
    await anyio.sleep(seconds)
    do()


def test_a_leg_that_is_lost_meanwhile_is_waited_for() -> None:
    first, second = Leg(), Leg()

    async def main(gate: Gate[Leg], clients: Clients, _: TaskGroup) -> None:
        gate.open(first)
        clients.come_for("a", published_at=8)
        await anyio.sleep(2.5)
        first.alive = False
        await anyio.sleep(7.5)
        gate.open(second)

    assert run(main) == {"a": (10, second)}


def test_the_end_of_the_program_turns_away_who_waits_for_a_service() -> None:
    async def main(gate: Gate[Leg], clients: Clients, tasks: TaskGroup) -> None:
        gate.open(Leg())
        clients.come_for("a", published_at=100)
        await anyio.sleep(1.5)
        tasks.cancel_scope.cancel()

    assert run(main) == {"a": (1.5, None)}


def test_the_end_of_the_program_turns_them_away() -> None:
    async def main(gate: Gate[Leg], clients: Clients, tasks: TaskGroup) -> None:
        clients.come("a")
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()

    assert run(main) == {"a": (1, None)}
