"""relay/core/backlog.py: a leg's part in what waits in the process."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.core.backlog import Backlog
from relay.core.channel import Channel
from tests.core.playbook import Shared


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["push", "push", "push", "pop", "drop", "clear"]),
            st.integers(0, 1),
            st.integers(0, 2),
            st.integers(1, 100_000),
        )
    )
)
def test_what_is_shared_is_what_all_hold(steps: list[tuple[str, int, int, int]]) -> None:
    shared = Shared()
    legs = [Backlog(shared), Backlog(shared)]
    channels = [Channel() for _ in range(3)]
    for step, number, channel, size in steps:
        leg = legs[number]
        if step == "push":
            leg.push(channels[channel], bytearray(size))
        elif step == "pop" and leg:
            leg.pop()
        elif step == "drop":
            leg.drop(channels[channel])
        elif step == "clear":
            leg.clear()
            assert not leg
        assert shared.waiting == sum(leg.waiting for leg in legs)
        assert shared.legs_waiting == sum(map(bool, legs))
    for leg in legs:
        leg.clear()
    assert (shared.waiting, shared.legs_waiting) == (0, 0)
