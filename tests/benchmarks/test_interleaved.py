"""How rounds are taken. No figure is judged."""

from __future__ import annotations

from benchmarks.chains import CHAINS, PLAIN, Chain
from benchmarks.context import Context, Settings
from benchmarks.parts.interleaved import counted, interleaved, rotated
from benchmarks.report import Result


def test_each_round_begins_with_another_chain() -> None:
    orders = [rotated("abc", number) for number in range(4)]
    assert ["".join(order) for order in orders] == ["abc", "bca", "cab", "abc"]
    assert rotated([], 1) == []


def test_a_number_agrees_with_its_noun() -> None:
    assert (counted(1, "round"), counted(3, "round")) == ("1 round", "3 rounds")


def test_each_chain_is_warmed_up_once_and_measured_each_round() -> None:
    context = Context(Settings(rounds=2, size_mib=1, only=(PLAIN,)))
    seen: list[str] = []

    def measure(chain: Chain) -> dict[str, float]:
        seen.append("measure")
        return {"visits": float(len(seen))}

    result = interleaved(
        context,
        Result("part", "", []),
        CHAINS.chains,
        measure,
        warm_up=lambda chain: seen.append("warm up"),
    )
    assert seen == ["warm up", "measure", "measure"]
    row = result.find("visits", PLAIN)
    assert row is not None
    assert row.samples == [2.0, 3.0]
