"""`/metrics`: the text is the library's, whole, and never much of it is made in one turn."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay.web.metrics import ROWS_PER_TURN, Row, counter, exposition, gauge, loop_delays
from tests.programs.chain import find

pytestmark = pytest.mark.anyio

HOSTILE = 'a"} 1\nevil_total{x="\\'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def text_of(*families: object) -> str:
    histogram = await loop_delays()
    histogram.observe(0.003)
    pieces = [piece async for piece in exposition(families, histogram)]  # type: ignore[arg-type]
    return b"".join(pieces).decode()


async def test_ten_thousand_rows_take_their_turns() -> None:
    taken = turns = most = 0

    def rows() -> Iterator[Row]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield (f"gpu{number}:8000",), number

    async def somebody_else() -> None:
        nonlocal turns, most
        while True:
            before = taken
            await anyio.lowlevel.checkpoint()
            turns += 1
            most = max(most, taken - before)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(somebody_else)
        text = await text_of(counter("relay_x_total", "X.", rows(), "service"))
        tasks.cancel_scope.cancel()
    assert turns >= 10_000 / ROWS_PER_TURN
    assert most <= ROWS_PER_TURN
    families = {one.name: one for one in text_string_to_metric_families(text)}
    assert len(families["relay_x"].samples) == 10_000
    assert text.count("# TYPE relay_x_total") == 1


async def test_a_name_is_no_text_of_ours() -> None:
    text = await text_of(gauge("relay_x", "X.", [((HOSTILE,), 1)], "service"))
    families = {one.name: one for one in text_string_to_metric_families(text)}
    assert "evil" not in families
    assert families["relay_x"].samples[0].labels == {"service": HOSTILE}


async def test_what_promtool_says() -> None:
    text = await text_of(
        counter("relay_x_total", "X.", [((f"g{number}",), 1) for number in range(100)], "service"),
        gauge("relay_empty", "Empty.", [], "what"),
        gauge("relay_y_bytes", "Y.", 3),
    )
    command = [find("promtool"), "check", "metrics"]
    done = await anyio.run_process(command, input=text.encode(), check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
