"""Who waits for a leg and for how long, on trio's virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import pytest
import trio
from anyio.abc import TaskGroup
from trio.testing import MockClock

from relay.connect.gate import Gate


@dataclass(eq=False)
class Leg:
    alive: bool = True


class Clients:
    """Connections that come to a gate, and what became of each and when."""

    def __init__(self, gate: Gate[Leg]) -> None:
        self._gate = gate
        self.ends: dict[str, tuple[float, Leg | None]] = {}

    def come(self, name: str) -> None:
        def end(leg: Leg | None) -> None:
            assert name not in self.ends
            self.ends[name] = anyio.current_time() - start, leg

        start = anyio.current_time()
        self._gate.enter(end, lambda: end(None))


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


def test_the_end_of_the_program_turns_them_away() -> None:
    async def main(gate: Gate[Leg], clients: Clients, tasks: TaskGroup) -> None:
        clients.come("a")
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()

    assert run(main) == {"a": (1, None)}
