"""The part about a bystander beside attacks, with few of them. No figure is judged."""

from __future__ import annotations

import math

import pytest

from benchmarks.chains import RELAY
from benchmarks.context import Context, Settings
from benchmarks.parts import strangers
from tests.attacks.__main__ import ATTACKS

FEW = ("small_packets_before_the_login", "publish_and_withdraw")


def test_every_attack_is_measured() -> None:
    assert set(strangers.ATTACKS) == set(ATTACKS)


def test_a_row_for_each_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "ATTACKS", FEW)
    monkeypatch.setattr(strangers, "QUICK_SECONDS", 0.2)
    settings = Settings(rounds=1, size_mib=1, quick=True, only=(RELAY,))
    result = strangers.run(Context(settings))
    assert [row.measure for row in result.series] == [
        f"{attack}: {measure}" for attack in ("none", *FEW) for measure in strangers.COLUMNS
    ]
    assert all(math.isfinite(sample) for row in result.series for sample in row.samples)
    assert [line.split("  ")[0] for line in result.notes[-1].splitlines()[1:]] == [
        attack.replace("_", " ") for attack in ("none", *FEW)
    ]
