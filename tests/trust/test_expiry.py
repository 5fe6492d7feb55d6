"""relay/trust/expiry.py: each item is due once, at its time, and leaves nothing behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.trust.expiry import Expiries

steps = st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(0, 20)))


@given(steps, st.floats(0, 25))
def test_due_is_what_was_set_last(steps: list[tuple[int, float | None]], now: float) -> None:
    expiries: Expiries[int] = Expiries()
    model: dict[int, float] = {}
    for item, when in steps:
        expiries.set(item, when)
        model.pop(item, None)
        if when is not None:
            model[item] = when
    assert len(expiries) == len(model)
    due = expiries.due(now)
    assert len(set(due)) == len(due)
    # Up to a second late, and never early.
    assert {item for item, when in model.items() if when <= now - 1} <= set(due)
    assert set(due) <= {item for item, when in model.items() if when <= now}
    assert len(expiries) == len(model) - len(due)
    assert not set(expiries.due(now)) & set(due)
    assert len(expiries.due(100)) == len(model) - len(due)


def test_what_comes_and_goes_leaves_one_place_behind() -> None:
    expiries: Expiries[object] = Expiries()
    for _ in range(1000):
        item = object()
        expiries.set(item, 10.0)
        expiries.discard(item)
        expiries.discard(item)
    assert len(expiries) == 0
    assert len(expiries._at) == len(expiries._seconds) == 1
    assert expiries.due(11) == []
    assert not expiries._at
