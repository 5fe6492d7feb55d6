"""B beside a scraper, with few services. No figure is judged."""

from __future__ import annotations

import pytest

from benchmarks import observed
from benchmarks.context import Context, Settings
from benchmarks.parts import observe


def test_a_chain_is_scraped_while_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "QUICK_SERVICES", 30)
    monkeypatch.setattr(observed, "ANSWERS", 1)
    context = Context(Settings(rounds=1, size_mib=1, quick=True))
    result = observe.run(context)
    assert not context.failed
    chains = [row.chain for row in result.series if row.measure == observe.COST]
    assert chains == [observe.ALONE, observe.SCRAPED]
    assert all(result.reached(bar) is not None for bar in result.bars)
